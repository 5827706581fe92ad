"""This project's own vectors: which kinds there are, who makes and who judges each (docs/protocol.md §17)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from firmware_protocol.vectors import (
    own_bodies,
    own_bundles,
    own_fragments,
    own_handshakes,
    own_log,
    own_notes,
    own_ownership,
    own_relay,
    own_sealed,
    own_sessions,
    own_signed,
)
from firmware_protocol.vectors.tally import VectorFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from firmware_protocol.vectors.case import Case
    from firmware_protocol.vectors.tally import Tally

_MODULES: Final[tuple[ModuleType, ...]] = (
    own_signed,
    own_bodies,
    own_bundles,
    own_fragments,
    own_handshakes,
    own_relay,
    own_sealed,
    own_sessions,
    own_ownership,
    own_log,
    own_notes,
)
_BY_KIND: Final[Mapping[str, ModuleType]] = {module.KIND: module for module in _MODULES}


def documents() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every file, the same bytes each time."""
    for module in _MODULES:
        for name, document in module.documents():
            yield f"{name}.json", as_text(document)


def judge(document: Case) -> Tally:
    """Return what the cases of one document came to.

    Raises:
        VectorFileError: of a kind that this version does not have.
    """
    module = _BY_KIND.get(document["kind"])
    if module is None:
        raise VectorFileError(f"vectors of the kind {document['kind']!r}: not known in this version")
    tally: Tally = module.judge(document)
    return tally


def as_text(document: Case) -> str:
    """Return the document as JSON with a case a line, so that a change shows as what it is."""
    members = []
    for key, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n  ".join(map(json.dumps, value))
            members.append(f'"{key}": [\n  {rows}\n ]')
        else:
            members.append(f'"{key}": {json.dumps(value)}')
    return "{\n " + ",\n ".join(members) + "\n}\n"
