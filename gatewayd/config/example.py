"""The commented example and what is in effect, both made from the model, so that neither can lag behind it."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from gatewayd.config.docstrings import description
from gatewayd.config.model import LockSection, Section, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

    from gatewayd.config.problems import KeyPath
    from gatewayd.config.values import Config

HIDDEN: Final = "(hidden)"
_WIDTH: Final = 100
_HEADER: Final = """\
# CareLock gateway: configuration, /etc/gatewayd/config.toml.
#
# What is commented out is the default, or an example where there is none. Files in conf.d/*.toml beside this one are
# read after it, in the order of their names; then credentials; then variables GATEWAYD_<SECTION>__<KEY>. Later ones
# win, tables are merged.
# `gatewayd check-config` says everything that is wrong, with file and line.
"""
_PLACEHOLDERS: Final[Mapping[str, object]] = {
    "adapter": "hci0",
    "address": "C0:FF:EE:00:00:01",
    "backend": "simulator",
    "ca_file": "broker-ca.pem",
    "cert_file": "mqtt-client.pem",
    "client_id": "gateway-17",
    "directory": "credentials",
    "discovery_prefix": "homeassistant",
    "file": "/run/gatewayd/gatewayd.prom",
    "host": "mqtt.example.org",
    "lock_id": "0123456789abcdef",
    "password": "only where nobody else can read this file",
    "port": 8_883,
    "seal_to": "51" * 32,
    "username": "gateway-17",
}
"""By key: an example of a value that has no default."""


def example() -> str:
    """Return a configuration file with every key, its meaning and its default."""
    sections = [_section_text(name, field) for name, field in Settings.model_fields.items()]
    return "\n".join([_HEADER, *sections])


def schema() -> str:
    """Return the JSON Schema of a configuration file, for editors."""
    document = Settings.model_json_schema()
    for section in Section.__subclasses__():
        for key, value in document["$defs"][section.__name__]["properties"].items():
            value["description"] = description(section, key)
    return json.dumps(document, indent=2)


def effective(config: Config) -> str:
    """Return every value as it is in effect and where it comes from; secrets are hidden."""
    lines: list[str] = []
    for path, value in settings_in(config.settings):
        place = str(config.layers.place(path)) if config.layers.has(path) else "default"
        lines.append(f"{'.'.join(path)} = {toml_value(value)}  # {place}")
    return "\n".join(lines)


def settings_in(table: BaseModel | Mapping[str, object], above: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Yield every key of the settings, or of a table in them, with its value."""
    inner = {name: getattr(table, name) for name in type(table).model_fields} if isinstance(table, BaseModel) else table
    for name, value in inner.items():
        if isinstance(value, BaseModel | dict):
            yield from settings_in(value, (*above, name))
        else:
            yield (*above, name), value


def toml_value(value: object) -> str:
    """Return a value as TOML writes it; a secret as `(hidden)`, an absent one as `(none)`."""
    match value:
        case None:
            return "(none)"
        case SecretStr():
            return HIDDEN
        case str() | Path():
            # A TOML basic string has the escapes of a JSON string.
            return json.dumps(str(value), ensure_ascii=not str(value).isprintable())
        case _:
            return json.dumps(value)


def _section_text(name: str, field: FieldInfo) -> str:
    inner: Any = field.annotation
    if isinstance(inner, type) and issubclass(inner, Section):
        return _table(f"[{name}]", inner, "")
    return _table("# [locks.front]", LockSection, "# ")


def _table(header: str, section: type[Section], prefix: str) -> str:
    lines = [*_comment(section.__doc__ or ""), header]
    for name, field in section.model_fields.items():
        lines += ["", *_comment(description(section, name)), *_key(name, field, prefix)]
    return "\n".join([*lines, ""])


def _key(name: str, field: FieldInfo, prefix: str) -> Iterator[str]:
    default: Any = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        yield f"{prefix}{name} = {toml_value(_PLACEHOLDERS[name])}"
    else:
        yield f"# {name} = {toml_value(_PLACEHOLDERS[name] if default is None else default)}"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), _WIDTH)]
