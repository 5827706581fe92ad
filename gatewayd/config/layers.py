"""Layers of a configuration: each holds values and knows where each of them stands. Later layers win."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from gatewayd.config.files import FileProblem, read_file
from gatewayd.config.problems import ConfigProblem, KeyPath, Place, did_you_mean
from gatewayd.config.toml_lines import lines_of_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

FILE_SIZE_MAX: Final = 256 * 1_024
"""Longest configuration file, in bytes."""
DROP_IN_COUNT_MAX: Final = 64
"""Most files in `conf.d`."""
VARIABLE_PREFIX: Final = "GATEWAYD_"
VARIABLE_DELIMITER: Final = "__"

_TOMLLIB_TABLE: Final = re.compile(r"\((?:'[^']*',? ?)+\)")
_TOMLLIB_NAME: Final = re.compile(r"'([^']*)'")
_TOMLLIB_LINE: Final = re.compile(r"\(at line (\d+), column \d+\)")


@dataclass(frozen=True, slots=True)
class Layer:
    """Values from one file, from the credentials directory or from the environment."""

    source: str
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)

    def set(self, path: KeyPath, value: object, place: Place) -> bool:
        """Put a value in; False where a part of `path` has a value that is no table."""
        table = self.data
        for name in path[:-1]:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                return False
        if isinstance(table.get(path[-1]), dict):
            return False
        table[path[-1]] = value
        self.places[path] = place
        return True


@dataclass(frozen=True, slots=True)
class Layers:
    """All layers, lowest first, and what could not be read."""

    layers: tuple[Layer, ...]
    problems: tuple[ConfigProblem, ...] = ()
    complete: bool = True
    """Whether every file was read: where not, an absent key may only be hidden."""

    def place(self, path: Sequence[str]) -> Place:
        """Return where a value stands; for an absent one its table, or else the first file."""
        for length in range(len(path), 0, -1):
            for layer in reversed(self.layers):
                if found := layer.places.get(tuple(path[:length])):
                    return found
        return Place(self.layers[0].source)

    def has(self, path: KeyPath) -> bool:
        """Tell whether somebody wrote this key."""
        return any(path in layer.places for layer in self.layers)

    def table(self, name: str) -> dict[str, Any]:
        """Return a top-level table as later layers leave it; for tables without tables in them."""
        merged: dict[str, Any] = {}
        for layer in self.layers:
            table = layer.data.get(name)
            merged |= table if isinstance(table, dict) else {}
        return merged

    def variables(self) -> tuple[str, ...]:
        """Return the names of the variables that were taken."""
        return tuple(place.source for place in self.layers[-1].places.values())

    def under(self, layer: Layer) -> Layers:
        """Return these with one more layer below the last, which is the environment's."""
        return replace(self, layers=(*self.layers[:-1], layer, self.layers[-1]))

    def rank(self, problem: ConfigProblem) -> tuple[int, int]:
        """Return a key that sorts problems in the order in which one reads the sources."""
        sources = [layer.source for layer in self.layers]
        source = problem.where.source
        if source in sources:
            return sources.index(source), problem.where.line or 0
        return len(sources) + source.startswith(VARIABLE_PREFIX), 0


def read_layers(path: Path, environ: Mapping[str, str], sections: Sequence[str]) -> Layers:
    """Read the file, the drop-ins beside it and the variables; nothing of it is checked against the model."""
    problems: list[ConfigProblem] = []
    files = (path, *_drop_ins(path.parent / "conf.d", problems))
    layers = tuple(_file_layer(file, problems) for file in files)
    complete = not problems
    variables = _variable_layer(environ, sections, problems)
    return Layers((*layers, variables), tuple(problems), complete)


def _drop_ins(folder: Path, problems: list[ConfigProblem]) -> list[Path]:
    try:
        found = sorted(file for file in folder.iterdir() if file.suffix == ".toml")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        problems.append(ConfigProblem(Place(str(folder)), "", f"cannot be listed: {error.strerror}"))
        return []
    if len(found) > DROP_IN_COUNT_MAX:
        problems.append(ConfigProblem(Place(str(folder)), "", f"has more than {DROP_IN_COUNT_MAX} files"))
    return found[:DROP_IN_COUNT_MAX]


def _file_layer(path: Path, problems: list[ConfigProblem]) -> Layer:
    source = str(path)
    try:
        # "utf-8-sig": editors on Windows begin a file with a mark that no parser of TOML takes.
        text = read_file(path, size_max=FILE_SIZE_MAX).decode("utf-8-sig")
        data = tomllib.loads(text)
        lines = lines_of_keys(text)
    except FileProblem as problem:
        hint = "`gatewayd config init` prints an example" if problem.absent else problem.hint
        problems.append(ConfigProblem(Place(source), "", problem.problem, hint))
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problems.append(ConfigProblem(Place(source, line), "", "is not UTF-8 text", "TOML always is; save it as UTF-8"))
    except ValueError as error:  # tomllib.TOMLDecodeError is one, and so is a number of ten thousand digits
        problems.append(_syntax_problem(source, str(error)))
    except RecursionError:
        problems.append(ConfigProblem(Place(source), "", "has values nested too deep"))
    else:
        return Layer(source, data, {key: Place(source, line) for key, line in lines.items()})
    return Layer(source)


def _syntax_problem(source: str, message: str) -> ConfigProblem:
    # Python's tomllib names the line in its text only, until 3.14.
    found = _TOMLLIB_LINE.search(message)
    line = int(found[1]) if found else None
    said = _TOMLLIB_LINE.sub("", message).strip()
    # It names a table as Python has it, ('mqtt',), and not as the file does, [mqtt].
    said = _TOMLLIB_TABLE.sub(lambda table: f"[{'.'.join(_TOMLLIB_NAME.findall(table[0]))}]", said)
    return ConfigProblem(Place(source, line), "", f"is not TOML: {said[:1].lower()}{said[1:]}")


def _variable_layer(environ: Mapping[str, str], sections: Sequence[str], problems: list[ConfigProblem]) -> Layer:
    layer = Layer("environment")
    for name in sorted(environ):
        if name.startswith(VARIABLE_PREFIX):
            problem = _take_variable(layer, name, environ[name], sections)
            problems.extend(problem)
    return layer


def _take_variable(layer: Layer, name: str, value: str, sections: Sequence[str]) -> Iterable[ConfigProblem]:
    path = tuple(part.lower() for part in name.removeprefix(VARIABLE_PREFIX).split(VARIABLE_DELIMITER))
    if path[0] not in sections:
        near = did_you_mean(path[0], sections)
        yield ConfigProblem(Place(name), "", "no section has this name", f"GATEWAYD_<SECTION>__<KEY>; {near}")
    elif len(path) == 1 or not all(path):
        yield ConfigProblem(Place(name), "", "names no key", "GATEWAYD_<SECTION>__<KEY>")
    elif not layer.set(path, value, Place(name)):
        yield ConfigProblem(Place(name), ".".join(path), "contradicts another variable")
