"""An old copy of the card is put back: the central log proves it, and nothing that happened since is lost."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Tier
from gatewayd.journal.events import GatewayHeartbeat
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.house import House


def logs_of(world: MemoryWorld) -> list[list[dict[str, Any]]]:
    """What the central log has verified of each log of the gateway, in the order in which they began."""
    return [
        [
            json.loads(world.central_store.leaf(held.gateway_id, held.log_id, index) or b"")
            for index in range(held.frontier.size)
        ]
        for held in world.central_store.logs()
    ]


async def renewed(world: MemoryWorld, house: House) -> House:
    """Wait until this house has stopped by its own will, and return the one that was started after it."""
    async with asyncio.timeout(600):
        while not house.must_restart or world.house in {None, house}:
            await asyncio.sleep(1)
    return world.house


def test_a_restored_card_is_proved_by_the_central_log_and_a_fresh_log_tells_what_happened_since(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 61)
        await world.provision()
        await world.start_gateway()
        await world.settled()
        assert world.house is not None
        former = world.house.base.journal.log_id
        await world.kill_gateway()
        old_card = world.store_path.read_bytes()
        await world.start_gateway()
        await world.settled()
        assert (await world.visit(world.carer())).final is Code.DONE
        await world.settled()
        await world.kill_gateway()
        world.store_path.write_bytes(old_card)
        house = await renewed(world, await world.start_gateway())
        assert house.statements.tier() is Tier.SUSPECT, "a fresh log clears nobody"
        assert house.base.journal.log_id != former
        await asyncio.sleep(120)
        old, new = logs_of(world)
        assert new[0]["type"] == "carelock.log.begun"
        assert new[0]["data"]["former_log_id"] == former.hex()
        assert new[0]["data"]["reason"] == "journal.rolled_back"
        carried = [event for event in new if "carriedfrom" in event]
        assert "carelock.gateway.started" in {event["type"] for event in carried}, "what the copy did is told"
        assert "carelock.command.decided" in {event["type"] for event in old}, "what was received stays received"
        assert not house.must_restart, "once is enough"
        for _, conflict in world.central.greetings():  # a central log that comes back says how far it holds each log
            world.send(world.topics.log_receipt, conflict)
        await asyncio.sleep(120)
        alerts = [event["data"]["code"] for event in logs_of(world)[1] if event["type"] == "carelock.alert.raised"]
        assert not [code for code in alerts if code.startswith("receipt.")], "its word on an ended log is no forgery"
        await world.kill_gateway()

    run_virtual(story())


def test_a_restored_card_that_has_outgrown_what_the_central_log_holds_is_proved_all_the_same(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 63)
        await world.provision()
        await world.start_gateway()
        await world.settled()
        await world.kill_gateway()
        old_card = world.store_path.read_bytes()
        await world.start_gateway()
        await world.settled()
        await world.kill_gateway()
        (held,) = world.central_store.logs()
        world.store_path.write_bytes(old_card)
        world.broker.stop()  # offline it writes on: at the size that the log holds it has another history, unsigned
        house = await world.start_gateway()
        for _ in range(20):
            await house.base.recorder.record(GatewayHeartbeat(tier="suspect", state_seq=1, keyset_version=1))
        assert (await house.ledger.marks()).size > held.frontier.size
        world.broker.start()
        house = await renewed(world, house)
        assert house.statements.tier() is Tier.SUSPECT
        await asyncio.sleep(120)
        _, new = logs_of(world)
        assert new[0]["data"]["reason"] == "journal.rolled_back"
        told = [event["type"] for event in new if "carriedfrom" in event]
        assert told.count("carelock.gateway.heartbeat") == 20, "what the copy did is told"
        assert not house.must_restart, "once is enough"
        await world.kill_gateway()

    with capture_logs() as lines:
        run_virtual(story())
    said = [line["to"] for line in lines if line["event"] == "outbox.rewound" and line["log_level"] != "debug"]
    assert len(said) == len(set(said)) <= 1


def test_an_entry_that_rots_on_the_card_starts_a_fresh_log_and_raises_no_suspicion(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 62)
        await world.provision()
        house = await world.start_gateway()
        await world.settled()
        world.disconnect_central()
        assert (await world.visit(world.carer())).final is Code.DONE
        store = house.base.seams.store
        await store.run(
            lambda tx: tx.execute("UPDATE entries SET leaf = x'00' WHERE idx = (SELECT max(idx) FROM entries)")
        )
        await world.kill_gateway()
        world.connect_central()
        house = await renewed(world, await world.start_gateway())
        await world.settled()
        assert house.statements.tier() is not Tier.SUSPECT
        _, new = logs_of(world)
        assert new[0]["data"]["reason"] == "journal.damaged"
        assert "carelock.command.decided" in {event["type"] for event in new}
        await world.kill_gateway()

    run_virtual(story())
