"""What pydantic found, in words for an installer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeGuard, get_args

from pydantic import BaseModel

from gatewayd.config.docstrings import description
from gatewayd.config.model import Settings
from gatewayd.config.problems import ConfigProblem, did_you_mean, dotted
from gatewayd.plain_text import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from gatewayd.config.layers import Layers
    from gatewayd.config.problems import KeyPath

SECRET_KEYS: Final = frozenset({"password"})
"""Keys whose values are never shown."""

_NOT_A: Final = {
    "bool": "is not true or false",
    "dict": "is not a table",
    "int": "is not a whole number",
    "literal": "is not a choice",
    "mapping": "is not a table",
    "model": "is not a table",
    "path": "is not a path",
    "string": "is not a text in quotes",
}
"""By the first word of pydantic's error type."""
_BOUNDS: Final = {"greater_than_equal": ("ge", "less than"), "less_than_equal": ("le", "more than")}


def problems_of(error: ValidationError, layers: Layers, *, within: str | None = None) -> list[ConfigProblem]:
    """Return one problem for each finding; absent keys are left out where a file could not be read.

    `within`: the section that was validated, where it was not all of `Settings`.
    """
    found = error.errors(include_url=False)
    prefix = () if within is None else (within,)
    return [_problem(one, layers, prefix) for one in found if layers.complete or one["type"] != "missing"]


def _problem(found: ErrorDetails, layers: Layers, prefix: KeyPath) -> ConfigProblem:
    # pydantic marks a mistake in the name of a table's entry with a last part "[key]".
    path = (*prefix, *(str(part) for part in found["loc"] if part != "[key]"))
    problem, hint = _words(found, path)
    return ConfigProblem(layers.place(path), dotted(path), problem, hint)


def _words(found: ErrorDetails, path: Sequence[str]) -> tuple[str, str]:
    if found["type"] == "extra_forbidden":
        return f"unknown {'section' if len(path) == 1 else 'key'}", did_you_mean(path[-1], known_keys(path[:-1]))
    hint = described(path)
    if found["type"] == "missing":
        return "is missing", hint
    value = "its value" if path[-1] in SECRET_KEYS else shown(found["input"])
    if isinstance(found["input"], dict):
        value = "a table"
    return f"{value} {_fault(found)}", hint


def _fault(found: ErrorDetails) -> str:
    kind, context = found["type"], found.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"is {words} {context[bound]}"
    if kind == "literal_error":
        return f"is not {context['expected']}"
    if kind in {"string_too_short", "string_too_long", "string_pattern_mismatch"}:
        return "is empty, too long or has characters that do not belong there"
    return _NOT_A.get(kind.partition("_")[0], found["msg"])


def table_at(path: Sequence[str]) -> type[BaseModel] | None:
    """Return the model of the table at a key path, if there is one."""
    inner: Any = Settings
    for name in path:
        if _is_model(inner):
            field = inner.model_fields.get(name)
            inner = None if field is None else field.annotation
        else:  # a table of named entries: any name leads to the entries' model
            inner = (get_args(inner) or (None,))[-1]
    return inner if _is_model(inner) else None


def known_keys(path: Sequence[str]) -> list[str]:
    """Return the keys that the table at a path may have."""
    table = table_at(path)
    return [] if table is None else list(table.model_fields)


def described(path: Sequence[str]) -> str:
    """Return what the key at a path means, up to the first semicolon; empty where the model has no such key."""
    table = table_at(path[:-1])
    text = "" if table is None else description(table, path[-1])
    return " ".join(text.partition(";")[0].split()).rstrip(".")


def _is_model(value: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(value, type) and issubclass(value, BaseModel)
