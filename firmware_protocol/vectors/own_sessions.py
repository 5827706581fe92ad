"""Vectors of whole sessions: what one side is given and says, and where it must hang up (docs/protocol.md §8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.vectors.case import Case, document
from firmware_protocol.vectors.pairing_cases import pairings
from firmware_protocol.vectors.session_cases import bad_for_both, bad_for_gateway, bad_for_lock, good
from firmware_protocol.vectors.session_side import Session, act, make
from firmware_protocol.vectors.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator


KIND: Final = "sessions"


def documents() -> Iterator[tuple[str, Case]]:
    """Yield the one file of sessions."""
    about = (
        "One side, from its start at 1000 ms: `first` is what it says by itself; then each step is done to it "
        "(`receive` a value; `answer` with a LockStatus; `confirm` with an interval; `record`: send this plaintext; "
        "`tick`: time passes) and gives `events` and the values that it sends. A case with an `error` ends with it, "
        "at its last step."
    )
    cases = [*good(), *bad_for_lock(), *bad_for_gateway(), *bad_for_both()]
    yield "sessions", document(KIND, "8", about, cases=cases)
    yield "pairings", document(KIND, "18", about, cases=list(pairings()))


def judge(given: Case) -> Tally:
    """Replay every case."""
    tally = Tally()
    for case in given["cases"]:
        tally.judge(case["name"], is_right=_replays(case))
    return tally


def _replays(case: Case) -> bool:
    session = make(case["role"], case["facts"])
    if [value.hex() for value in session.take_values()] != case["first"]:
        return False
    *before, last = case["steps"]
    if not all(_said(session, step) == (step["events"], step["send"]) for step in before):
        return False
    if case["error"] is None:
        return _said(session, last) == (last["events"], last["send"])
    try:
        act(session, last)
    except RemoteProtocolError as error:
        return bool(error.code.name == case["error"])
    return False


def _said(session: Session, step: Case) -> tuple[list[str], list[str]]:
    return act(session, step), [value.hex() for value in session.take_values()]
