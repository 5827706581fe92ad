"""Scene 5: the gateway dies in mid-movement and comes back, still without a broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from simulator.demo_offline import berit_is_limited, name, open_at_door
from simulator.demo_processes import POLL_S
from simulator.demo_promises import Promise
from simulator.demo_stage import command_in
from simulator.demo_world import poll

if TYPE_CHECKING:
    from simulator.demo_stage import Stage
    from simulator.phone import Visit

MOVEMENT_S_MAX: Final = 8.0
RETURN_S_MAX: Final = 25.0
SETTLE_TRY_COUNT: Final = 5
SETTLE_PAUSE_S: Final = 0.5
PROVEN_TIERS: Final = frozenset({"fresh", "stale"})


async def gateway_dies_and_returns(stage: Stage) -> bytes:
    """Tell the scene; returns the bundle that was in flight when the gateway was killed."""
    bundle = await _killed_in_flight(stage)
    stage.teller.scene(5, "anna asks; as the bolt begins to move the gateway is killed (SIGKILL)")
    await _life_goes_on(stage)
    stage.teller.scene(5, "meanwhile the door opens and closes, a hand turns the knob; the lock writes it down")
    began_ms = stage.teller.elapsed_ms
    await stage.world.gateway.start()
    status = await poll(lambda: _returned(stage), timeout_s=RETURN_S_MAX)
    stage.summary.latencies_ms["restart to trusted time"] = stage.teller.elapsed_ms - began_ms
    tier = "no link" if not status else status["tier"]
    stage.check(Promise.TIER_RESTORED, held=tier in PROVEN_TIERS, detail=f"tier: {tier}")
    stage.teller.scene(5, f"the gateway is back, still offline: tier {tier} by the lock's clock")
    await _asked_not_moved(stage, bundle)
    await _same_carer_opens(stage)
    visit = await berit_is_limited(stage, Promise.LIMITS_SURVIVE, "berit opens after the crash")
    stage.teller.scene(5, f"berit tries again: {name(visit.final)} still")
    await stage.lock_by_hand()
    return bundle


async def _killed_in_flight(stage: Stage) -> bytes:
    await stage.lock_by_hand()
    kept: list[bytes] = []
    make = stage.people.unlock(stage.people.anna)

    def keep(challenge: bytes) -> bytes:
        kept.append(make(challenge))
        return kept[-1]

    visit = asyncio.create_task(stage.phones.visit(keep))
    await poll(lambda: _moves(stage, kept), timeout_s=MOVEMENT_S_MAX)
    await stage.world.gateway.kill()
    await visit
    if kept:
        stage.book.note("anna opens as the gateway dies", kept[-1], Code.PERMITTED)
    return kept[-1] if kept else b""


async def _moves(stage: Stage, kept: list[bytes]) -> bool:
    return bool(kept) and await stage.motor_count(command_in(kept[-1]).command_id) > 0


async def _life_goes_on(stage: Stage) -> None:
    async def is_unlocked() -> bool:
        return bool((await stage.world.truth())["bolt"] == "unlocked")

    await poll(is_unlocked, timeout_s=MOVEMENT_S_MAX)
    for deed in ("door_open", "door_close", "knob"):
        await stage.world.hand(deed)
        await asyncio.sleep(POLL_S)


async def _returned(stage: Stage) -> dict[str, object] | None:
    status = await stage.world.status()
    is_back = status is not None and any(lock["ready"] for lock in status["locks"])
    return status if is_back else None


async def _asked_not_moved(stage: Stage, bundle: bytes) -> None:
    """The bolt was thrown by hand meanwhile, so a movement that is sent twice would show."""
    if not bundle:
        stage.check(Promise.NO_RESEND, held=False, detail="the lock never gave a challenge")
        return
    command_id = command_in(bundle).command_id
    again = await _ask_until_settled(stage, bundle)
    moved = await stage.motor_count(command_id)
    stage.check(Promise.NO_RESEND, held=moved == 1, detail=f"{moved} movements by the command in flight")
    stage.check_answers("anna asks what became of it", again)
    stage.check(Promise.NO_RESEND, held=again.final is Code.DONE, detail=f"settled as {name(again.final)}")
    stage.teller.scene(5, f"what was in flight was settled by asking the lock: {name(again.final)}, {moved} movement")


async def _ask_until_settled(stage: Stage, bundle: bytes) -> Visit:
    """Send the same bytes until the record says how it ended: asking the lock takes the gateway a moment."""
    visit = await stage.phones.visit(lambda _challenge: bundle)
    for _ in range(SETTLE_TRY_COUNT):
        if visit.final is not Code.PERMITTED:
            break
        await asyncio.sleep(SETTLE_PAUSE_S)
        visit = await stage.phones.visit(lambda _challenge: bundle)
    return visit


async def _same_carer_opens(stage: Stage) -> None:
    before = await stage.motor_count()
    opened = await open_at_door(stage, "anna opens again", stage.people.unlock(stage.people.anna), Code.PERMITTED)
    moved = await stage.motor_count() - before
    found = f"{name(opened.visit.final)}, {moved} movements"
    stage.check(Promise.SAME_CARER, held=(opened.visit.final, moved) == (Code.DONE, 1), detail=found)
    stage.teller.scene(5, f"anna opens again with a new command: {found}")
    await stage.lock_by_hand()
