"""The settings without what people wrote into them: numbers, switches and choices, and of a text that it is set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import PydanticUndefined

from gatewayd.config.example import settings_in, toml_value
from gatewayd.config.findings import known_keys, table_at
from gatewayd.config.layers import VARIABLE_PREFIX, read_layers
from gatewayd.config.loader import load
from gatewayd.config.model import Settings
from gatewayd.config.problems import ConfigError, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatewayd.bugreport.words import Words
    from gatewayd.config.layers import Layers
    from gatewayd.config.problems import ConfigProblem, KeyPath, Place
    from gatewayd.config.values import Config

SET: Final = "(set)"
SHOWN_TEXTS: Final = frozenset({"lock_id", "log.format", "log.level", "mqtt.protocol"})
"""Texts that can only be one of a few, or that the status shows; of the keys of a lock only the last part counts."""


def settings_view(path: Path, environ: Mapping[str, str], words: Words) -> str:
    """Return what is set and where; of a configuration that cannot work also everything that is wrong with it."""
    try:
        return "\n".join(_effective(load(path, environ), words))
    except ConfigError as error:
        layers = read_layers(path.absolute(), environ, tuple(Settings.model_fields))
        problems = [_problem(each, words) for each in error.problems]
        return "\n".join(["the configuration cannot work:", *problems, "what it sets:", *_written(layers, words)])


def _effective(config: Config, words: Words) -> Iterator[str]:
    names = list(config.settings.locks)
    for path, value in settings_in(config.settings):
        place = _place(config.layers.place(path), words) if config.layers.has(path) else "default"
        yield f"{_key(path, names)} = {_shown(path, value)}  # {place}"


def _written(layers: Layers, words: Words) -> Iterator[str]:
    names: list[str] = []
    for layer in layers.layers:
        for path, place in layer.places.items():
            if path[0] == "locks" and len(path) > 1 and path[1] not in names:
                names.append(path[1])
            if table_at(path) is None:
                yield f"{_known_key(path, names)}  # {_place(place, words)}"


def _shown(path: KeyPath, value: object) -> str:
    if value is None or isinstance(value, bool | int) or dotted(path) in SHOWN_TEXTS or path[-1] in SHOWN_TEXTS:
        return toml_value(value)
    table = table_at(path[:-1])
    field = None if table is None else table.model_fields.get(path[-1])
    default: Any = PydanticUndefined if field is None else field.get_default(call_default_factory=True)
    return toml_value(value) if default is not PydanticUndefined and value == default else SET


def _key(path: KeyPath, names: list[str]) -> str:
    """Return a key with a number for the name of a lock: people call doors after who lives behind them."""
    if path[0] == "locks" and len(path) > 1:
        return dotted(("locks", names.index(path[1]) + 1, *path[2:]))
    return dotted(path[:2])


def _known_key(path: KeyPath, names: list[str]) -> str:
    known = all(
        part in known_keys(path[:place]) for place, part in enumerate(path[:2]) if (place, path[0]) != (1, "locks")
    )
    if path[0] == "locks":
        known = len(path) < 3 or path[2] in known_keys(path[:2])  # noqa: PLR2004 - locks.<name>.<key>
    return _key(path, names) if known else "a key that is not known"


def _problem(problem: ConfigProblem, words: Words) -> str:
    text = ": ".join(part for part in (problem.key, problem.problem) if part)
    hint = f" ({problem.hint})" if problem.hint else ""
    return f"{_place(problem.where, words)}: {words.text(f'{text}{hint}')}"


def _place(place: Place, words: Words) -> str:
    if place.source.startswith(VARIABLE_PREFIX):
        return "a variable"
    name = words.text(Path(place.source).name)
    return name if place.line is None else f"{name}:{place.line}"
