"""Every class of the protocol that has an encoding: found, so that none can be forgotten."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Final

import firmware_protocol
from firmware_protocol.schema import WireMap

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE: Final = f"{firmware_protocol.__name__}."


def wire_maps() -> list[type[WireMap]]:
    """Return every declared map of the package, in the order of their names."""
    for module in pkgutil.iter_modules(firmware_protocol.__path__):
        importlib.import_module(f"firmware_protocol.{module.name}")
    found = {kind for kind in _below(WireMap) if "FIELDS" in vars(kind) and kind.__module__.startswith(_PACKAGE)}
    return sorted(found, key=lambda kind: kind.__name__)


def _below(kind: type[WireMap]) -> Iterator[type[WireMap]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)
