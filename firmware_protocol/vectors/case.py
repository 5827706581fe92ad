"""What the documents of vectors have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.schema import WireMap

FORMAT: Final = "carelock-vectors/1"
Case = dict[str, Any]
"""At least `name`, and `error`: the name of the code that must follow, or null where nothing is wrong."""


def document(kind: str, section: str, about: str, **members: Any) -> Case:  # noqa: ANN401 - JSON
    """Return a document of one kind of cases."""
    return {"format": FORMAT, "kind": kind, "section": section, "about": about, **members}


def rule_of(kind: type[WireMap]) -> str:
    """Return the name of the class's rule in `carelock.cddl`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def error_of(act: Callable[..., object], *given: object) -> str | None:
    """Return the name of the code that `act(*given)` ends with, or None."""
    try:
        act(*given)
    except RemoteProtocolError as error:
        return error.code.name
    return None
