"""What may stand in a configuration: every key with its unit, its bounds and its default."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StringConstraints
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

if TYPE_CHECKING:
    from gatewayd.config.layers import Layer

_LAYERS: Final = "layers"


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("is not a whole number")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def _plain(value: str) -> str:
    if not value.isprintable():
        raise ValueError("has control characters")
    return value


def _plain_path(value: Path) -> Path:
    _plain(str(value))
    return value


def _file_name(value: str) -> str:
    if "/" in value or value in {".", ".."}:
        raise ValueError("is not a file name: the folder is credentials.directory")
    return value


def _lock_id(value: str) -> str:
    if re.fullmatch("[0-9a-f]{16}", value.lower()) is None:
        raise ValueError("is not 16 hex digits")
    return value.lower()


def _public_key(value: str) -> str:
    if re.fullmatch("[0-9a-f]{64}", value.lower()) is None:
        raise ValueError("is not 64 hex digits")
    return value.lower()


def _address(value: str) -> str:
    if re.fullmatch("[0-9A-F]{2}(:[0-9A-F]{2}){5}", value.upper()) is None:
        raise ValueError("is not a Bluetooth address like C0:FF:EE:00:00:01")
    return value.upper()


NO_BOOL: Final = BeforeValidator(_no_bool)
Text = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_plain)]
FilePath = Annotated[Path, AfterValidator(_plain_path)]
FileName = Annotated[Text, AfterValidator(_file_name)]
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,253}$")]


class Section(BaseModel):
    """A table: nothing in it is unknown, nothing in it changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GatewaySection(Section):
    """Where this gateway keeps what it knows. A relative path starts at the folder of the configuration file."""

    state_directory: FilePath = Path("/var/lib/gatewayd")
    """Folder of the store, mode 0700."""
    runtime_directory: FilePath = Path("/run/gatewayd")
    """Folder of the control socket."""
    trust_directory: FilePath = Path("trust.d")
    """Folder of `*.pub` files with the pinned root keys: Ed25519, one a line, hex or base64."""


class CredentialsSection(Section):
    """Files with secrets. systemd's LoadCredential= or this folder brings them; none of them stands in this file."""

    directory: FilePath | None = None
    """Folder of the secrets; absent: $CREDENTIALS_DIRECTORY, which systemd sets, or `credentials` beside this file.
    Outside systemd's folder, a file that others can read is refused."""
    identity_key: FileName = "gateway-identity.key"
    """Ed25519 seed of this gateway, 32 bytes: raw, hex or base64."""
    link_key: FileName = "gateway-link.key"
    """X25519 private key of this gateway, 32 bytes: raw, hex or base64."""
    mqtt_password: FileName = "mqtt.password"  # noqa: S105 - a file name
    """Password for the broker, one line; may be absent."""
    mqtt_client_key: FileName = "mqtt-client.key"
    """Private key of `mqtt.cert_file`, PEM; absent: the key stands in `mqtt.cert_file` too."""


class RadioSection(Section):
    """The Bluetooth radio."""

    backend: Text | None = None
    """Entry point of another radio than BlueZ, for tests and simulators."""
    adapter: Text | None = None
    """Address of the adapter, such as 00:1A:7D:DA:71:13, or its index, such as hci0; absent: the first one. An index is
    looked at once: the adapter that has it then is found again by its address."""
    options: Mapping[Text, Text] = Field(default_factory=dict)
    """Free table of texts for the backend."""


class MqttSection(Section):
    """The broker. It is not trusted; every command and every event carries its own signature."""

    host: HostName
    """Name or address; the name that its certificate must have."""
    port: Annotated[int, Field(ge=1, le=65_535), NO_BOOL] | None = None
    """TCP port, 1 to 65535; absent: 8883, or 1883 without TLS."""
    protocol: Literal["5", "3.1.1"] = "5"
    """MQTT version, "5" or "3.1.1"."""
    client_id: Text | None = None
    """Unique at the broker; absent: `carelock-` and the gateway's id."""
    username: Text | None = None
    """Name for the broker."""
    password: SecretStr | None = None
    """Better a credential file than this key: a password may not stand in a file that others can read."""
    tls: bool = True
    """Encrypt and check the broker's certificate; false only for a broker on this machine or an isolated network."""
    ca_file: FilePath | None = None
    """PEM file of the authorities that may vouch for the broker; absent: the system's."""
    cert_file: FilePath | None = None
    """PEM file of this gateway's certificate; absent: none is shown."""
    seal_to: Annotated[str, AfterValidator(_public_key)] | None = None
    """X25519 public key of the central log, 64 hex digits: entries are sealed to it, so that whoever reads the broker
    sees that something happened and not what, and no state of a door is retained; absent: nothing is sealed."""
    keepalive_s: Annotated[int, Field(ge=5, le=15), NO_BOOL] = 10
    """Seconds between proofs of life, 5 to 15; a dead connection shows after one and a half of it."""


class HomeAssistantSection(Section):
    """Home Assistant's discovery: doors as sensors, never as something to press. Off where `mqtt.seal_to` is set."""

    discovery_prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    """First level of its discovery topics, usually homeassistant; absent: nothing is announced."""


class LimitsSection(Section):
    """How often doors may be opened: buckets that refill by one each `interval_ms`."""

    lock_burst: Annotated[int, Field(ge=2, le=100), NO_BOOL] = 12
    """Movements of one lock at once, 2 to 100; one signer gets half of it."""
    provider_burst: Annotated[int, Field(ge=2, le=10_000), NO_BOOL] = 60
    """Movements of one provider at this gateway at once, 2 to 10000."""
    global_burst: Annotated[int, Field(ge=2, le=10_000), NO_BOOL] = 120
    """Movements at this gateway at once, 2 to 10000."""
    emergency_burst: Annotated[int, Field(ge=2, le=100), NO_BOOL] = 10
    """Movements of one operator or responder at one lock at once, 2 to 100; nobody else draws from it."""
    motor_burst: Annotated[int, Field(ge=21, le=1_000), NO_BOOL] = 30
    """Strokes of one lock's motor at once, whoever asks for them, 21 to 1000."""
    motor_reserve: Annotated[int, Field(ge=1, le=20), NO_BOOL] = 10
    """Strokes of these that only an emergency may use, 1 to 20."""
    interval_ms: Annotated[int, Field(ge=1_000, le=3_600_000), NO_BOOL] = 60_000
    """One movement comes back each so many milliseconds, 1000 to 3600000."""


class JournalSection(Section):
    """The record of what happened."""

    heartbeat_s: Annotated[int, Field(ge=60, le=86_400), NO_BOOL] = 21_600
    """Seconds between entries that only say that the gateway lives, 60 to 86400."""
    retain_count: Annotated[int, Field(ge=0, le=1_000_000), NO_BOOL] = 10_000
    """Entries that stay on disk after the central log has signed for them, 0 to 1000000."""


class MetricsSection(Section):
    """A file for Prometheus' textfile collector. No port is opened."""

    file: FilePath | None = None
    """Where to, such as /run/gatewayd/gatewayd.prom; absent: none is written. Best on a tmpfs, which wears no card."""
    interval_s: Annotated[int, Field(ge=15, le=3_600), NO_BOOL] = 60
    """Seconds between two writings, 15 to 3600."""


class LogSection(Section):
    """What the daemon says to the system's journal, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written: debug, info, warning or error."""
    format: Literal["json", "console"] = "json"
    """json for machines, console for people."""


class LockSection(Section):
    """One lock. Which locks there are comes from provisioning; this only helps to find one."""

    lock_id: Annotated[str, AfterValidator(_lock_id)]
    """The lock's id, 16 hex digits."""
    address: Annotated[str, AfterValidator(_address)] | None = None
    """Bluetooth address to look for; a hint and never a proof."""


class LayerSource(PydanticBaseSettingsSource):
    """One layer as a source of settings."""

    def __init__(self, settings_cls: type[BaseSettings], layer: Layer) -> None:
        super().__init__(settings_cls)
        self._layer = layer

    def get_field_value(self, field: object, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the base's
        """Return the section `field_name`; values are checked by the model, never decoded here."""
        return self._layer.data.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the layer, unknown sections included, so that the model refuses them."""
        return self._layer.data


class Settings(BaseSettings):
    """The whole file. Made of layers by `of`: later ones win, tables are merged."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    gateway: GatewaySection = GatewaySection()
    credentials: CredentialsSection = CredentialsSection()
    radio: RadioSection = RadioSection()
    mqtt: MqttSection
    home_assistant: HomeAssistantSection = HomeAssistantSection()
    limits: LimitsSection = LimitsSection()
    journal: JournalSection = JournalSection()
    metrics: MetricsSection = MetricsSection()
    log: LogSection = LogSection()
    locks: Mapping[Text, LockSection] = Field(default_factory=dict)

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> Self:
        """Return the settings in these layers, lowest first.

        Raises:
            pydantic.ValidationError: with every value that is wrong.
        """
        values: dict[str, Any] = {_LAYERS: layers}
        return cls(**values)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - variables are a layer, which knows their names
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no such file is read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - credentials are a layer too
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the layers: pydantic-settings lets the first source win and merges tables deeply."""
        layers: Sequence[Layer] = init_settings()[_LAYERS]
        return tuple(LayerSource(settings_cls, layer) for layer in reversed(layers))
