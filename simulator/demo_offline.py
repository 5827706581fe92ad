"""Scenes 3 and 4, without a broker: a carer opens at the door, and much is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from simulator.demo_home import SIGNER_BURST
from simulator.demo_promises import Promise

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.demo_stage import Stage
    from simulator.phone import Visit

SAME_MOMENT_MS: Final = 1_000
"""Strangers that were answered within it must not both have been told no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A visit that opened the door, with the bytes that did."""

    bundle: bytes
    visit: Visit


class _Keeping:
    """Keeps the bundle that was made over whatever challenge the lock gave."""

    def __init__(self, make: Callable[[bytes], bytes]) -> None:
        self.bundle = b""
        self._make = make

    def __call__(self, challenge: bytes) -> bytes:
        self.bundle = self._make(challenge)
        return self.bundle


async def open_at_door(stage: Stage, label: str, make: Callable[[bytes], bytes], decision: Code) -> Opened:
    """Go to the door with what `make` signs; the gateway must decide `decision`.

    Raises:
        PhoneRadioError: there is no link to the lock.
    """
    keeping = _Keeping(make)
    visit = await stage.phones.visit(keeping)
    if keeping.bundle:
        stage.book.note(label, keeping.bundle, decision)
    stage.check_answers(label, visit)
    return Opened(bundle=keeping.bundle, visit=visit)


async def carer_opens(stage: Stage) -> Opened:
    """Scene 3: with the broker gone the gateway decides alone, through the lock's relay."""
    before = await stage.motor_count()
    opened = await open_at_door(stage, "anna opens", stage.people.unlock(stage.people.anna), Code.PERMITTED)
    moved = await stage.motor_count() - before
    found = f"{name(opened.visit.final)}, {moved} movements"
    stage.check(Promise.OFFLINE_UNLOCK, held=(opened.visit.final, moved) == (Code.DONE, 1), detail=found)
    if opened.visit.decided_ms is not None:
        stage.summary.latencies_ms["unlock at the door, decided"] = opened.visit.decided_ms
    stage.summary.latencies_ms["unlock at the door, bolt moved"] = opened.visit.elapsed_ms
    stage.teller.scene(3, f"anna's phone asks at the door, the gateway decides offline: {found}")
    await stage.lock_by_hand()
    return opened


async def much_is_refused(stage: Stage, opened: Opened) -> None:
    """Scene 4: each refusal has its reason, strangers get none, and nothing moves."""
    before = await stage.motor_count()
    people = stage.people
    await _refused(stage, Promise.EXPIRY, "yesterday's grant", people.unlock(people.with_expired_grant()), Code.EXPIRED)
    elsewhere = people.unlock_elsewhere(people.anna)
    await _refused(stage, Promise.AUDIENCE, "a command for another lock", elsewhere, Code.WRONG_AUDIENCE)
    other_grant = people.unlock(people.with_grant_elsewhere())
    await _refused(stage, Promise.AUDIENCE, "a grant for another lock", other_grant, Code.WRONG_AUDIENCE)
    later = people.unlock(people.with_later_window())
    await _refused(stage, Promise.WINDOW, "before the visit", later, Code.OUTSIDE_WINDOW)
    await _strangers(stage)
    await _replayed(stage, opened)
    moved = await stage.motor_count() - before
    stage.check(Promise.REFUSALS_STILL, held=moved == 0, detail=f"{moved} movements by commands that had to be refused")
    await _one_too_many(stage)
    await stage.lock_by_hand()


async def berit_is_limited(stage: Stage, promise: Promise, label: str) -> Visit:
    """Let Berit ask once more than she may."""
    before = await stage.motor_count()
    asked = await open_at_door(stage, label, stage.people.unlock(stage.people.berit), Code.RATE_LIMITED)
    moved = await stage.motor_count() - before
    retry_after_s = asked.visit.receipts[-1].retry_after_s if asked.visit.receipts else None
    held = asked.visit.final is Code.RATE_LIMITED and retry_after_s is not None and moved == 0
    stage.check(
        promise, held=held, detail=f"{name(asked.visit.final)}, come back in {retry_after_s} s, {moved} movements"
    )
    return asked.visit


async def _refused(stage: Stage, promise: Promise, label: str, make: Callable[[bytes], bytes], code: Code) -> None:
    before = await stage.motor_count()
    asked = await open_at_door(stage, label, make, code)
    moved = await stage.motor_count() - before
    held = asked.visit.final is code and moved == 0
    stage.check(
        promise, held=held, detail=f"{label}: {name(asked.visit.final)} instead of {code.dotted}, {moved} movements"
    )
    stage.teller.scene(4, f"{label}: {name(asked.visit.final)}")
    await stage.lock_by_hand()


async def _strangers(stage: Stage) -> None:
    """Two who prove nothing, at the same moment: at most one of them is told so much as no."""
    people = stage.people
    unknown, flipped = await stage.phones.visit_together(people.unlock(people.stranger), people.flipped(people.anna))
    for promise, visit in ((Promise.UNKNOWN_SIGNER, unknown), (Promise.FLIPPED_BIT, flipped)):
        turned_away = visit.denied or visit.closed is Code.DENIED
        told = f"receipts {[receipt.code.dotted for receipt in visit.receipts]}, closed {name(visit.closed)}"
        stage.check(promise, held=turned_away and not visit.receipts and visit.info is None, detail=told)
    told_count = sum(visit.denied for visit in (unknown, flipped))
    apart_ms = abs(unknown.elapsed_ms - flipped.elapsed_ms)
    held = told_count == 1 or (told_count > 1 and apart_ms >= SAME_MOMENT_MS)
    stage.check(Promise.DENIED_PACE, held=held, detail=f"{told_count} told within {apart_ms} ms")
    stage.teller.scene(4, f"an unknown key and a flipped bit, at once: {told_count} DENIED, no reason given")


async def _replayed(stage: Stage, opened: Opened) -> None:
    before = await stage.motor_count()
    again = await stage.phones.visit(lambda _challenge: opened.bundle)
    moved = await stage.motor_count() - before
    stage.check(Promise.REPLAY, held=moved == 0, detail=f"{moved} movements by the same bytes at the door")
    answered = bool(again.raw_receipts) and set(again.raw_receipts) <= set(opened.visit.raw_receipts)
    stage.check(Promise.REPLAY_ANSWERED, held=answered, detail=f"{name(again.final)} instead of the receipt on record")
    stage.teller.scene(4, f"anna's bytes of scene 3 again: {name(again.final)} from the record, nothing moves")


async def _one_too_many(stage: Stage) -> None:
    for number in range(1, SIGNER_BURST + 1):
        make = stage.people.unlock(stage.people.berit)
        opened = await open_at_door(stage, f"berit opens, {number} of {SIGNER_BURST}", make, Code.PERMITTED)
        found = f"berit's {number}. of {SIGNER_BURST}: {name(opened.visit.final)}"
        stage.check(Promise.LIMIT, held=opened.visit.final is Code.DONE, detail=found)
    await stage.lock_by_hand()
    visit = await berit_is_limited(stage, Promise.LIMIT, "berit opens once too often")
    retry_after_s = visit.receipts[-1].retry_after_s if visit.receipts else None
    stage.teller.scene(4, f"berit once more than {SIGNER_BURST} times: {name(visit.final)}, back in {retry_after_s} s")


def name(code: Code | None) -> str:
    """Return how a code is shown."""
    return "no answer" if code is None else code.dotted
