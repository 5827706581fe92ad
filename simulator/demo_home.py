"""The files of one home, as an installer and systemd would leave them: configuration, secrets, pinned roots, orders."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.vocabulary import Role
from simulator.central import CentralCredentials
from simulator.lock_keys import LockKeys

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.mqtt_client import MqttVersion
    from simulator.office import Home, Office

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700
LOCK_BURST: Final = 7
"""Small, so that the story can reach the limit: 7 movements of the lock at once, 3 of them by one signer."""
SIGNER_BURST: Final = LOCK_BURST // 2
_FOLDERS: Final = (
    "gateway", "gateway/credentials", "gateway/trust.d", "gateway/state", "run", "lock", "central", "logs",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeFiles:
    """Where everything lies, below one folder."""

    root: Path

    @property
    def config(self) -> Path:
        """What `gatewayd run --config` is given."""
        return self.root / "gateway" / "config.toml"

    @property
    def provision(self) -> Path:
        """What `gatewayd provision` is given."""
        return self.root / "gateway" / "provision.json"

    @property
    def runtime(self) -> Path:
        """Folder of the gateway's control socket."""
        return self.root / "run"

    @property
    def gateway_socket(self) -> Path:
        """What `gatewayd status` talks to."""
        return self.runtime / "control.sock"

    @property
    def lock_keys(self) -> Path:
        """What was burnt into the lock, and what pairing pinned there."""
        return self.root / "lock" / "keys.json"

    @property
    def lock_flash(self) -> Path:
        """The lock's durable memory."""
        return self.root / "lock" / "flash"

    @property
    def lock_socket(self) -> Path:
        """The hands and eyes of the test world on the lock."""
        return self.runtime / "lock.sock"

    @property
    def central_credentials(self) -> Path:
        """Receipt key and door objects of the central log."""
        return self.root / "central" / "credentials.json"

    @property
    def central_store(self) -> Path:
        """What the central log holds."""
        return self.root / "central" / "central.sqlite"

    def log(self, name: str) -> Path:
        """Return where the process `name` writes."""
        return self.root / "logs" / f"{name}.log"


def write_home(
    files: HomeFiles, office: Office, home: Home, *, now_s: int, hci: str, broker_port: int, mqtt: MqttVersion
) -> None:
    """Write everything; `hci` is the gateway's radio."""
    for folder in _FOLDERS:
        (files.root / folder).mkdir(parents=True, mode=PRIVATE_FOLDER, exist_ok=True)
    gateway = files.config.parent
    _write_private(files.config, _config(files, hci=hci, broker_port=broker_port, mqtt=mqtt, home=home).encode())
    _write_private(gateway / "credentials" / "gateway-identity.key", bytes(home.gateway_signing_key))
    _write_private(gateway / "credentials" / "gateway-link.key", home.gateway_link_keys.private)
    roots = "\n".join(root.hex() for root in office.root_public_keys)
    _write_private(gateway / "trust.d" / "administrator.pub", f"{roots}\n".encode())
    _write_private(files.provision, _provision(office, home, now_s))
    _lock_keys(home).save(files.lock_keys)
    credentials = CentralCredentials(
        receipt_key=office.role_keys[Role.RECEIPT],
        roots=office.root_public_keys,
        keyset=office.keyset(now_s=now_s),
        doors=(office.door(home),),
    )
    credentials.save(files.central_credentials)


def _config(files: HomeFiles, *, hci: str, broker_port: int, mqtt: MqttVersion, home: Home) -> str:
    return f"""\
# Written by `python -m simulator demo`: a home whose radio is the simulator's.
[gateway]
state_directory = "{files.config.parent / "state"}"
runtime_directory = "{files.runtime}"

[radio]
backend = "simulator"

[radio.options]
hci = "{hci}"

[mqtt]
host = "127.0.0.1"
port = {broker_port}
protocol = "{mqtt.value}"
tls = false

[limits]
lock_burst = {LOCK_BURST}

[log]
level = "debug"

[locks.front-door]
lock_id = "{home.lock_id.hex()}"
"""


def _provision(office: Office, home: Home, now_s: int) -> bytes:
    papers = {
        "keyset": _text(office.keyset(now_s=now_s)),
        "doors": [_text(office.door(home))],
        "pairing_orders": [_text(office.pairing_order(home, now_s=now_s))],
    }
    return json.dumps(papers).encode()


def _text(signed: bytes) -> str:
    return base64.urlsafe_b64encode(signed).decode()


def _lock_keys(home: Home) -> LockKeys:
    return LockKeys(
        name=home.label,
        link=home.lock_link_keys,
        log_key=home.lock_log_key,
        gateway_key=home.gateway_link_keys.public,
        gateway_id=home.gateway_id,
    )


def _write_private(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), "wb") as file:
        file.write(data)
