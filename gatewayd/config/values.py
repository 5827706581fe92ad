"""A checked configuration, and what each part of the daemon takes from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nacl.signing import SigningKey

from firmware_protocol.noise import KeyPair
from gatewayd.identity import Identity
from gatewayd.settings import LimitSettings
from gatewayd.uplink.seam import BrokerSettings, TlsSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gatewayd.config.credentials import GatewayKeys
    from gatewayd.config.layers import Layers
    from gatewayd.config.model import Settings

STORE_NAME: Final = "gatewayd.sqlite"
SOCKET_NAME: Final = "control.sock"
FORMER_KEY_NAME: Final = "gateway-link.former.key"
"""In the folder of the credentials of a spare unit: the link key of the gateway that it takes the place of."""
TLS_PORT: Final = 8_883
PLAIN_PORT: Final = 1_883


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where a gateway keeps what others may look at; absolute."""

    store_path: Path
    """The store's file."""
    control_path: Path
    """The control socket."""
    trust_directory: Path
    """`*.pub` files with the pinned root keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretPlaces:
    """Where the secrets of a gateway may stand, whether or not they do."""

    identity_key: Path
    link_key: Path
    files: tuple[Path, ...]
    """Absolute, the identity key's first."""
    password_at: str | None
    """Place of a broker's password that stands in the configuration itself; None: none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Made by `loader.load` only, so whoever holds one need not doubt it. `repr` shows no secret."""

    path: Path
    """The file that was named; absolute."""
    settings: Settings
    """Every section, as written or by default."""
    keys: GatewayKeys
    client_key: Path | None
    """PEM file with the key of `mqtt.cert_file`; None: it stands in that file, or there is none."""
    roots: tuple[bytes, ...]
    """The pinned root keys: at least two, distinct, Ed25519."""
    layers: Layers = field(repr=False)
    """Where each value stands."""
    used: tuple[str, ...]
    """Files, variables and credentials that were read, in the order in which later ones win."""

    def resolve(self, path: Path) -> Path:
        """Return a path of the configuration as an absolute one: relative ones start at the file's folder."""
        return self.path.parent / path

    @property
    def store_path(self) -> Path:
        """The store's file."""
        return self.resolve(self.settings.gateway.state_directory) / STORE_NAME

    @property
    def control_path(self) -> Path:
        """The control socket."""
        return self.resolve(self.settings.gateway.runtime_directory) / SOCKET_NAME

    def identity(self) -> Identity:
        """Return the gateway's keys."""
        return Identity(
            signing_key=SigningKey(self.keys.identity_seed.get_secret_value()),
            link_keys=KeyPair.from_private(self.keys.link_private.get_secret_value()),
        )

    def limits(self) -> LimitSettings:
        """Return how often doors may be opened."""
        return LimitSettings(**self.settings.limits.model_dump())

    @property
    def seal_to(self) -> bytes | None:
        """The X25519 key that entries are sealed to."""
        text = self.settings.mqtt.seal_to
        return None if text is None else bytes.fromhex(text)

    def broker(self) -> BrokerSettings:
        """Return where the broker is and who we are to it."""
        mqtt = self.settings.mqtt
        return BrokerSettings(
            host=mqtt.host,
            port=mqtt.port or (TLS_PORT if mqtt.tls else PLAIN_PORT),
            protocol=mqtt.protocol,
            client_id=mqtt.client_id or f"carelock-{self.identity().gateway_id.hex()}",
            tls=self._tls() if mqtt.tls else None,
            username=mqtt.username,
            password=None if mqtt.password is None else mqtt.password.get_secret_value(),
            keepalive_s=mqtt.keepalive_s,
        )

    def addresses(self) -> Mapping[bytes, str]:
        """Return where to look for a lock, by its id: hints."""
        locks = self.settings.locks.values()
        return {bytes.fromhex(lock.lock_id): lock.address for lock in locks if lock.address is not None}

    def _tls(self) -> TlsSettings:
        mqtt = self.settings.mqtt
        return TlsSettings(
            ca_file=None if mqtt.ca_file is None else self.resolve(mqtt.ca_file),
            cert_file=None if mqtt.cert_file is None else self.resolve(mqtt.cert_file),
            key_file=self.client_key if mqtt.cert_file is not None else None,
        )
