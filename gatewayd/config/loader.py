"""From a path to a `Config`, or to everything that is wrong, at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from gatewayd.config.agreement import disagreements
from gatewayd.config.credentials import folder_of, read_credentials
from gatewayd.config.findings import problems_of
from gatewayd.config.layers import read_layers
from gatewayd.config.model import CredentialsSection, GatewaySection, LimitsSection, Section, Settings
from gatewayd.config.problems import ConfigError
from gatewayd.config.roots import read_roots
from gatewayd.config.values import FORMER_KEY_NAME, SOCKET_NAME, STORE_NAME, Config, Folders, SecretPlaces
from gatewayd.settings import LimitSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gatewayd.config.credentials import Credentials

S = TypeVar("S", bound=Section)


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read the file, its drop-ins, the credentials, the variables and the pinned root keys.

    `environ` None is this process's.

    Raises:
        ConfigError: with every problem that could be found.
    """
    return _Loading(path.absolute(), os.environ if environ is None else environ).config()


def load_folders(path: Path, environ: Mapping[str, str] | None = None) -> Folders:
    """Read only where things are, for commands that look at a gateway from outside and may not see its secrets.

    Raises:
        ConfigError: a file cannot be read, or its section `gateway` is wrong.
    """
    file = path.absolute()
    layers = read_layers(file, os.environ if environ is None else environ, tuple(Settings.model_fields))
    try:
        section = GatewaySection.model_validate(layers.table("gateway"))
    except ValidationError as error:
        raise ConfigError(problems_of(error, layers, within="gateway")) from None
    if not layers.complete:
        raise ConfigError(layers.problems)
    folder = file.parent
    return Folders(
        store_path=folder / section.state_directory / STORE_NAME,
        control_path=folder / section.runtime_directory / SOCKET_NAME,
        trust_directory=folder / section.trust_directory,
    )


def load_secret_places(path: Path, environ: Mapping[str, str] | None = None) -> SecretPlaces:
    """Read only where secrets may stand, for a command that works whether or not they still do; see `load_folders`.

    Raises:
        ConfigError: a file cannot be read, or its section `credentials` is wrong.
    """
    file, environ = path.absolute(), os.environ if environ is None else environ
    layers = read_layers(file, environ, tuple(Settings.model_fields))
    try:
        section = CredentialsSection.model_validate(layers.table("credentials"))
    except ValidationError as error:
        raise ConfigError(problems_of(error, layers, within="credentials")) from None
    if not layers.complete:
        raise ConfigError(layers.problems)
    folder, _ = folder_of(section, file.parent, environ)
    names = (section.identity_key, section.link_key, FORMER_KEY_NAME, section.mqtt_password, section.mqtt_client_key)
    files = [folder / each for name in names for each in (name, f"{name}.new")]
    certificate = layers.table("mqtt").get("cert_file")
    if isinstance(certificate, str):
        files.append(file.parent / certificate)  # its key may stand in it
    has_password = layers.has(("mqtt", "password"))
    return SecretPlaces(
        identity_key=folder / section.identity_key,
        link_key=folder / section.link_key,
        files=tuple(files),
        password_at=str(layers.place(("mqtt", "password"))) if has_password else None,
    )


def load_limits(path: Path, environ: Mapping[str, str] | None = None) -> LimitSettings:
    """Read only how often doors may be opened; see `load_folders`.

    Raises:
        ConfigError: a file cannot be read, or its section `limits` is wrong.
    """
    layers = read_layers(path.absolute(), os.environ if environ is None else environ, tuple(Settings.model_fields))
    try:
        section = LimitsSection.model_validate(layers.table("limits"))
    except ValidationError as error:
        raise ConfigError(problems_of(error, layers, within="limits")) from None
    return LimitSettings(**section.model_dump())


class _Loading:
    """One load: goes on after a mistake, so that an installer mends all of them at once."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self._layers = read_layers(path, environ, tuple(Settings.model_fields))
        self._files = tuple(layer.source for layer in self._layers.layers[:-1])
        self._problems = list(self._layers.problems)

    def config(self) -> Config:
        """Return the configuration.

        Raises:
            ConfigError: there are problems.
        """
        credentials = self._credentials()
        settings = self._settings()
        roots = self._roots()
        if settings is not None:
            client_key = None if credentials is None else credentials.client_key
            self._problems += disagreements(settings, self._layers, base=self._path.parent, client_key=client_key)
        if self._problems or settings is None or credentials is None or credentials.keys is None:
            raise ConfigError(sorted(self._problems, key=self._layers.rank))
        return Config(
            path=self._path,
            settings=settings,
            keys=credentials.keys,
            client_key=credentials.client_key,
            roots=roots,
            layers=self._layers,
            used=(*self._files, *credentials.used, *self._layers.variables()),
        )

    def _settings(self) -> Settings | None:
        try:
            return Settings.of(self._layers.layers)
        except ValidationError as error:
            self._problems += problems_of(error, self._layers)
            return None

    def _credentials(self) -> Credentials | None:
        section = self._section("credentials", CredentialsSection)
        if section is None:
            return None
        credentials = read_credentials(
            section, base=self._path.parent, environ=self._environ, layers=self._layers, problems=self._problems
        )
        self._layers = self._layers.under(credentials.layer)
        return credentials

    def _roots(self) -> tuple[bytes, ...]:
        section = self._section("gateway", GatewaySection)
        if section is None:
            return ()
        where = self._layers.place(("gateway", "trust_directory"))
        return tuple(read_roots(self._path.parent / section.trust_directory, where, self._problems))

    def _section(self, name: str, kind: type[S]) -> S | None:
        """Return a section that more files hang on; None where it is wrong or may be hidden by an unread file."""
        if not self._layers.complete:
            return None
        try:
            return kind.model_validate(self._layers.table(name))
        except ValidationError:
            return None  # `_settings` says why
