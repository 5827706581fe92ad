"""Scene 6: the broker comes back, the gateway first and the central log later, and everything arrives."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.checkpoint import cosign
from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.topics import Topics
from firmware_protocol.vocabulary import Role
from simulator.demo_audit import audit
from simulator.demo_offline import name
from simulator.demo_online import alarm_centre
from simulator.demo_promises import Promise
from simulator.demo_world import poll
from simulator.mqtt_client import MqttClient

if TYPE_CHECKING:
    from simulator.demo_stage import Stage

RECONNECT_S_MAX: Final = 35.0
"""The gateway's own wait before another attempt at the broker is at most 30 s."""
CHECKPOINT_S_MAX: Final = 10.0
FORGERY_S: Final = 0.5
"""What the gateway gets to fall for a forgery."""
EMPTY_S_MAX: Final = 20.0


async def broker_returns(stage: Stage) -> None:
    """The gateway drains to a broker at which nobody who could sign listens: its outbox must stay full."""
    world = stage.world
    await world.start_broker()
    stage.teller.scene(6, "the broker is back, with nothing in it")
    async with alarm_centre(stage.world, stage.people, stage.door), _eavesdropper(stage) as stranger:
        began_ms = stage.teller.elapsed_ms
        checkpoint = await _overheard_checkpoint(stage, stranger)
        stage.summary.latencies_ms["broker back to checkpoint"] = stage.teller.elapsed_ms - began_ms
        depth = await _depth(stage)
        held = checkpoint is not None and depth is not None and depth > 0
        stage.check(Promise.PUBACK_KEEPS, held=held, detail=f"outbox {depth} after the broker took everything")
        stage.teller.scene(6, f"the gateway has sent everything; the broker's word counts nothing: outbox {depth}")
        if checkpoint is not None:
            await _forge(stage, stranger, checkpoint)
        await _central_returns(stage)


async def _central_returns(stage: Stage) -> None:
    world = stage.world
    began_ms = stage.teller.elapsed_ms
    await world.central.start()
    await world.central.ready()
    emptied = await poll(lambda: _is_empty(stage), timeout_s=EMPTY_S_MAX)
    status = await world.status_command()
    depth = status["outbox"]["depth"]
    stage.check(Promise.RECEIPT_EMPTIES, held=bool(emptied) and depth == 0, detail=f"`gatewayd status`: outbox {depth}")
    stage.summary.latencies_ms["central log back to outbox empty"] = stage.teller.elapsed_ms - began_ms
    stage.teller.scene(6, f"the central log is back, asks for what it lacks and signs: outbox {depth}")
    await audit(stage)


async def honest_resend(stage: Stage, bundle: bytes, receipts: tuple[bytes, ...]) -> None:
    """After the receipt the gateway may prune, but not forget: the same bytes get the same answer."""
    before = await stage.motor_count()
    visit = await stage.phones.visit(lambda _challenge: bundle)
    moved = await stage.motor_count() - before
    answered = bool(visit.raw_receipts) and set(visit.raw_receipts) <= set(receipts)
    found = f"{name(visit.final)}, {moved} movements"
    stage.check(Promise.RESEND_AFTER_RECEIPT, held=answered and moved == 0 and visit.final is Code.DONE, detail=found)
    stage.teller.scene(6, f"anna's bytes of scene 3 once more, after the receipt: {found}")


def _eavesdropper(stage: Stage) -> MqttClient:
    world = stage.world
    return MqttClient(port=world.broker_port, client_id="stranger", version=world.mqtt)


async def _overheard_checkpoint(stage: Stage, stranger: MqttClient) -> bytes | None:
    """Subscribe as anybody might, so that no broker can say that nobody listens; return the last checkpoint."""
    topics = Topics.of(stage.people.home.gateway_id)
    await stranger.subscribe((topics.log_entries, topics.log_checkpoint))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RECONNECT_S_MAX):
            while True:
                mail = await stranger.next_mail()
                if mail.topic == topics.log_checkpoint:
                    return mail.payload
    return None


async def _forge(stage: Stage, stranger: MqttClient, checkpoint: bytes) -> None:
    """Cosign as the central log would, but with a key that no Keyset names."""
    people = stage.people
    topics = Topics.of(people.home.gateway_id)
    mallory = people.office.signing_key("mallory")
    honest = bytes(people.office.role_keys[Role.RECEIPT].verify_key)
    before = await _depth(stage)
    for public in (bytes(mallory.verify_key), honest):
        claimed = f"carelock/receipt/{kid_of(public).hex()}"
        forged = cosign(checkpoint, key=mallory, name=claimed, time_s=people.now_s)
        await stranger.publish(topics.log_receipt, forged)
    await asyncio.sleep(FORGERY_S)
    after = await _depth(stage)
    held = before is not None and after is not None and after >= before
    stage.check(Promise.FORGERY_KEEPS, held=held, detail=f"outbox {before} before the forged receipts, {after} after")
    stage.teller.scene(6, f"a stranger forges receipts: outbox {after}")


async def _depth(stage: Stage) -> int | None:
    status = await stage.world.status()
    if status is None:
        return None
    depth: int = status["outbox"]["depth"]
    return depth


async def _is_empty(stage: Stage) -> Any:  # noqa: ANN401 - a truth value
    return await _depth(stage) == 0
