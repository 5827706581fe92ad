"""The gateway's secrets, read from a folder that only the service should see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import SecretBytes, SecretStr

from gatewayd.config.files import READ_BY_OTHERS, FileProblem, read_file
from gatewayd.config.keys import KEY_FILE_SIZE_MAX, read_key
from gatewayd.config.layers import Layer
from gatewayd.config.problems import ConfigProblem, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewayd.config.layers import Layers
    from gatewayd.config.model import CredentialsSection

SYSTEMD_FOLDER: Final = "CREDENTIALS_DIRECTORY"
"""The variable by which systemd says where it has put the secrets of this service."""
T = TypeVar("T")
_KEY_HINT: Final = "gatewayd keys --make makes it; or LoadCredential= in gatewayd.service, credentials.directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayKeys:
    """The two private keys of a gateway, 32 bytes each. A printed one shows stars."""

    identity_seed: SecretBytes
    """Ed25519."""
    link_private: SecretBytes
    """X25519."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the folder of the secrets holds."""

    keys: GatewayKeys | None
    """None: a problem says why."""
    client_key: Path | None
    """PEM file, where there is one."""
    layer: Layer
    """What a credential sets in place of a key of the file: the password."""
    used: tuple[str, ...]
    """Files that were read."""


def read_credentials(
    section: CredentialsSection,
    *,
    base: Path,
    environ: Mapping[str, str],
    layers: Layers,
    problems: list[ConfigProblem],
) -> Credentials:
    """Read every secret; what is wrong with one goes to `problems`."""
    folder, given_by_systemd = folder_of(section, base, environ)
    reader = _Reader(folder, 0 if given_by_systemd else READ_BY_OTHERS, layers, problems)
    layer = Layer("credentials")
    seed = reader.key("identity_key", section.identity_key)
    private = reader.key("link_key", section.link_key)
    if password := reader.optional("mqtt_password", section.mqtt_password, _password):
        layer.set(("mqtt", "password"), password, Place(str(folder / section.mqtt_password)))
    client_key = reader.optional("mqtt_client_key", section.mqtt_client_key, lambda _: section.mqtt_client_key)
    return Credentials(
        keys=None if seed is None or private is None else GatewayKeys(identity_seed=seed, link_private=private),
        client_key=None if client_key is None else folder / client_key,
        layer=layer,
        used=tuple(reader.used),
    )


def folder_of(section: CredentialsSection, base: Path, environ: Mapping[str, str]) -> tuple[Path, bool]:
    """Return where the secrets are, and whether systemd has put them there."""
    systemd = environ.get(SYSTEMD_FOLDER)
    if section.directory is not None:
        folder = base / section.directory
        return folder, str(folder) == systemd
    return (Path(systemd), True) if systemd else (base / "credentials", False)


def _password(content: bytes) -> SecretStr:
    text = content.decode().removesuffix("\n").removesuffix("\r")
    if not text or not text.isprintable():
        raise ValueError("is no password: empty, or more than one line")
    return SecretStr(text)


class _Reader:
    """Reads files of one folder and notes what is wrong, each under the file's own name."""

    def __init__(self, folder: Path, forbidden_mode: int, layers: Layers, problems: list[ConfigProblem]) -> None:
        self._folder = folder
        self._forbidden_mode = forbidden_mode
        self._layers = layers
        self._problems = problems
        self.used: list[str] = []

    def key(self, setting: str, name: str) -> SecretBytes | None:
        """Return the 32 bytes in the file `name`, or None."""
        return self._read(setting, name, lambda content: SecretBytes(read_key(content)), required=True)

    def optional(self, setting: str, name: str, parse: Callable[[bytes], T]) -> T | None:
        """Return what `parse` makes of a file; it may be absent unless the configuration names it."""
        return self._read(setting, name, parse, required=self._layers.has(("credentials", setting)))

    def _read(self, setting: str, name: str, parse: Callable[[bytes], T], *, required: bool) -> T | None:
        path = self._folder / name
        try:
            value = parse(read_file(path, size_max=KEY_FILE_SIZE_MAX, forbidden_mode=self._forbidden_mode))
        except FileProblem as problem:
            if required or not problem.absent:
                self._note(path, setting, problem.problem, _KEY_HINT if problem.absent else problem.hint)
        except ValueError as error:
            self._note(path, setting, "is not UTF-8 text" if isinstance(error, UnicodeError) else str(error), "")
        else:
            self.used.append(str(path))
            return value
        return None

    def _note(self, path: Path, setting: str, problem: str, hint: str) -> None:
        self._problems.append(ConfigProblem(Place(str(path)), f"credentials.{setting}", problem, hint))
