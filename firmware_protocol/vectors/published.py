"""Which format a file of vectors has, and who judges it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.vectors import cbor_file, cose_file, merkle_file, noise_file, own, wycheproof
from firmware_protocol.vectors.tally import VectorFileError

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.vectors.tally import Tally

_FORMATS: Final[tuple[tuple[str, Callable[[Any], Tally]], ...]] = (
    ("format", own.judge),
    ("vectors", lambda document: noise_file.judge(document["vectors"])),
    ("testGroups", wycheproof.judge),
    ("leafIdx", merkle_file.judge),
    ("size1", merkle_file.judge),
    ("input", cose_file.judge),
)
"""By a member that only this format has, or the first of these that has it."""


def judge(text: str) -> Tally:
    """Return what the vectors in `text` came to.

    Raises:
        VectorFileError: not JSON, not a known format, or not whole.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise VectorFileError(f"not JSON: {error}") from error
    try:
        return _judge_for(document)(document)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise VectorFileError(f"not a whole file of its format: {type(error).__name__}: {error}") from error


def _judge_for(document: object) -> Callable[[Any], Tally]:
    if isinstance(document, list) and document and all(isinstance(row, dict) and "hex" in row for row in document):
        return cbor_file.judge
    if isinstance(document, dict):
        for member, judge_format in _FORMATS:
            if member in document:
                return judge_format
    raise VectorFileError("not a format that is known here")
