"""Scenes 1 and 2, with everything connected: the link comes up, and the alarm centre opens."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import COMMAND_ID_SIZE, CTI_SIZE
from simulator.alarm_centre import AlarmCentre
from simulator.demo_promises import Promise
from simulator.demo_stage import PROVIDER
from simulator.demo_world import poll
from simulator.mqtt_client import MqttClient
from simulator.office import unlock_over_mqtt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from firmware_protocol.orders import Door
    from simulator.demo_stage import People, Stage
    from simulator.demo_world import World

LINK_S_MAX: Final = 20.0
RECEIPT_S_MAX: Final = 10.0
SHOWN_S_MAX: Final = 5.0
COMMAND_MS_MAX: Final = 10_000
ALARM_TTL_S: Final = 30


@contextlib.asynccontextmanager
async def alarm_centre(world: World, people: People, door: Door) -> AsyncIterator[AlarmCentre]:
    """Connect the alarm centre, which leaves the signed objects at the broker.

    Raises:
        MqttError: the broker is not there.
    """
    office, home, now_s = people.office, people.home, people.now_s
    async with (
        MqttClient(port=world.broker_port, client_id="alarm-centre", version=world.mqtt) as client,
        AlarmCentre(client, door=door, entropy=people.entropy) as centre,
    ):
        await centre.publish_authority(
            keyset=office.keyset(now_s=now_s),
            state=office.state(home, now_s=now_s),
            authorities={PROVIDER: office.authority(home, PROVIDER, now_s=now_s)},
        )
        yield centre


async def link_comes_up(stage: Stage, centre: AlarmCentre) -> None:
    """Scene 1: the daemon starts, finds its lock, and shows how the door stands."""
    world = stage.world
    began_ms = stage.teller.elapsed_ms
    await world.gateway.start()
    up = await poll(lambda: _link_is_up(stage), timeout_s=LINK_S_MAX)
    stage.check(Promise.LINK_UP, held=bool(up), detail=f"no session with the lock after {LINK_S_MAX:.0f} s")
    stage.summary.latencies_ms["start to encrypted link"] = stage.teller.elapsed_ms - began_ms
    stage.teller.scene(1, "the daemon is up; Noise KK with the lock over real ATT")
    await _check_shown_state(stage, centre)
    fresh = await poll(lambda: _is_fresh(stage), timeout_s=RECEIPT_S_MAX)
    stage.check(Promise.TIME_PROVEN, held=bool(fresh), detail=f"not fresh after {RECEIPT_S_MAX:.0f} s")
    stage.teller.scene(1, "the central log has signed a first receipt: time is proven, tier fresh")


async def alarm_centre_unlocks(stage: Stage, centre: AlarmCentre) -> None:
    """Scene 2: an alarm is open, one operator unlocks over MQTT, and the bolt moves once."""
    bundle = await emergency_bundle(stage.people, centre)
    if bundle is None:
        stage.check(Promise.EMERGENCY_UNLOCK, held=False, detail="the gateway did not say where it stands")
        return
    sent = stage.book.note("alarm centre unlocks", bundle, Code.PERMITTED)
    reply = await centre.command(bundle, patience_ms=COMMAND_MS_MAX)
    moved = await stage.motor_count(sent.command_id)
    stage.check_answers(sent.label, reply)
    found = f"{_name(reply.final)}, {moved} movements"
    stage.check(Promise.EMERGENCY_UNLOCK, held=(reply.final, moved) == (Code.DONE, 1), detail=found)
    _note_latency(stage, "emergency unlock", reply.decided_ms, reply.elapsed_ms)
    stage.teller.scene(2, f"the alarm centre unlocks over MQTT {stage.world.mqtt}: {found}")
    again = await centre.command(bundle, patience_ms=COMMAND_MS_MAX)
    await _check_repeated(stage, sent.command_id, again.raw_receipts, reply.raw_receipts)
    stage.teller.scene(2, f"the same bytes again: {_name(again.final)} from the record, nothing moves")
    await stage.lock_by_hand()


async def emergency_bundle(people: People, centre: AlarmCentre) -> bytes | None:
    """Raise an alarm and return an operator's unlock under it; None where the gateway does not say where it stands.

    Raises:
        MqttError: the broker is gone.
    """
    lock_id = people.home.lock_id
    standing = await centre.ask_info()
    if standing is None:
        return None
    epoch, now_s = standing.epoch_of(lock_id), standing.now_s(lock_id, centre.now_ms())
    alarm_ref = people.entropy.token(CTI_SIZE)
    alarm = people.office.alarm(people.home, alarm_ref=alarm_ref, epoch=epoch, exp_s=now_s + ALARM_TTL_S)
    await centre.raise_alarm(alarm)
    return unlock_over_mqtt(
        people.operator,
        people.home,
        epoch=epoch,
        issued_s=now_s,
        command_id=people.entropy.token(COMMAND_ID_SIZE),
        now_s=people.now_s,
        alarm_ref=alarm_ref,
    )


async def _check_repeated(stage: Stage, command_id: bytes, again: tuple[bytes, ...], before: tuple[bytes, ...]) -> None:
    moved = await stage.motor_count(command_id)
    stage.check(Promise.REPLAY, held=moved == 1, detail=f"{moved} movements by one command over MQTT")
    answered = bool(again) and set(again) <= set(before)
    stage.check(Promise.REPLAY_ANSWERED, held=answered, detail="another answer over MQTT than the one on record")


async def _check_shown_state(stage: Stage, centre: AlarmCentre) -> None:
    topic = centre.topics.lock_state(stage.people.home.lock_id)
    document: dict[str, Any] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SHOWN_S_MAX):
            document = json.loads((await centre.wait_shown(topic)).payload)
    has_age = {"observed_at", "age_s", "stale_after_s"} <= document.keys()
    stage.check(Promise.STATE_HAS_AGE, held=has_age, detail=f"shown: {document or 'nothing'}")
    shown = f"{document.get('bolt')}, door {document.get('door')}, {document.get('age_s')} s old"
    stage.teller.scene(1, f"the door is shown on MQTT: {shown}")


async def _link_is_up(stage: Stage) -> bool:
    """Ask both ends: the gateway for what it believes, the lock for what is true."""
    status = await stage.world.status()
    is_believed = status is not None and any(lock["ready"] for lock in status["locks"])
    return is_believed and bool((await stage.world.truth())["connected"])


async def _is_fresh(stage: Stage) -> bool:
    status = await stage.world.status()
    return status is not None and status["tier"] == "fresh" and bool(status["clock"]["trusted"])


def _note_latency(stage: Stage, label: str, decided_ms: int | None, elapsed_ms: int) -> None:
    if decided_ms is not None:
        stage.summary.latencies_ms[f"{label}, decided"] = decided_ms
    stage.summary.latencies_ms[f"{label}, bolt moved"] = elapsed_ms


def _name(code: Code | None) -> str:
    return "no answer" if code is None else code.dotted
