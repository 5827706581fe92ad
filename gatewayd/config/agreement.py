"""Do the values agree with each other, and with the files that they name?"""

from __future__ import annotations

import ipaddress
import ssl
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatewayd.config.files import READ_BY_OTHERS, FileProblem, read_file
from gatewayd.config.problems import ConfigProblem, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayd.config.layers import Layers
    from gatewayd.config.model import MqttSection, Settings
    from gatewayd.config.problems import KeyPath

PEM_SIZE_MAX: Final = 1_048_576
"""Longest certificate file, in bytes: a bundle of every authority in the world fits."""


def disagreements(
    settings: Settings, layers: Layers, *, base: Path, client_key: Path | None
) -> Iterator[ConfigProblem]:
    """Yield what each value alone does not show."""
    yield from _password(settings.mqtt, layers)
    if settings.mqtt.tls:
        yield from _certificates(settings.mqtt, layers, base=base, client_key=client_key)
    else:
        yield from _plain(settings.mqtt, layers)
    yield from _locks(settings, layers)


def _at(layers: Layers, path: KeyPath, problem: str, hint: str = "") -> ConfigProblem:
    return ConfigProblem(layers.place(path), dotted(path), problem, hint)


def _password(mqtt: MqttSection, layers: Layers) -> Iterator[ConfigProblem]:
    if mqtt.password is None:
        return
    key = ("mqtt", "password")
    place = layers.place(key)
    if mqtt.username is None:
        yield _at(layers, key, "is a password without mqtt.username", "MQTT has no password without a name")
    if place.line is not None and stat.S_IMODE(Path(place.source).stat().st_mode) & READ_BY_OTHERS:
        hint = "use the credential mqtt.password, or chmod 600"
        yield _at(layers, key, "is a password in a file that others can read", hint)


def _plain(mqtt: MqttSection, layers: Layers) -> Iterator[ConfigProblem]:
    for name in ("ca_file", "cert_file"):
        if getattr(mqtt, name) is not None:
            yield _at(layers, ("mqtt", name), "means nothing while mqtt.tls is false")
    if mqtt.password is not None and not _is_loopback(mqtt.host):
        yield _at(layers, ("mqtt", "tls"), f"is false, and the password would go to {mqtt.host} in the clear")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _certificates(mqtt: MqttSection, layers: Layers, *, base: Path, client_key: Path | None) -> Iterator[ConfigProblem]:
    if mqtt.ca_file is not None:
        yield from _trusted(base / mqtt.ca_file, layers)
    if mqtt.cert_file is not None:
        yield from _shown(base / mqtt.cert_file, client_key, layers)


def _trusted(file: Path, layers: Layers) -> Iterator[ConfigProblem]:
    key = ("mqtt", "ca_file")
    try:
        read_file(file, size_max=PEM_SIZE_MAX)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except FileProblem as problem:
        yield _at(layers, key, f"{file} {problem.problem}", problem.hint)
    except OSError:  # ssl.SSLError is one
        yield _at(layers, key, f"{file} has no certificate in PEM form")


def _shown(file: Path, client_key: Path | None, layers: Layers) -> Iterator[ConfigProblem]:
    key = ("mqtt", "cert_file")
    try:
        # Where no other file has the private key, it stands in this one.
        read_file(file, size_max=PEM_SIZE_MAX, forbidden_mode=READ_BY_OTHERS if client_key is None else 0)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(file, client_key, password=_no_password)
    except FileProblem as problem:
        yield _at(layers, key, f"{file} {problem.problem}", problem.hint)
    except ssl.SSLError:
        hint = "one PEM certificate and its key, unencrypted, in this file or in the credential mqtt-client.key"
        yield _at(layers, key, f"{file} and its private key do not fit", hint)
    except (OSError, ValueError):
        yield _at(layers, key, f"the private key of {file} cannot be used: it is encrypted or unreadable")


def _no_password() -> str:
    # Without this, OpenSSL would ask on the terminal, and a service would hang at its start.
    raise ValueError("the private key is encrypted")


def _locks(settings: Settings, layers: Layers) -> Iterator[ConfigProblem]:
    names: dict[str, str] = {}
    for name, lock in settings.locks.items():
        first = names.setdefault(lock.lock_id, name)
        if first != name:
            yield _at(layers, ("locks", name, "lock_id"), f"is the same lock as locks.{first}")
