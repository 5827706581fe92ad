"""A disk that hangs without failing: all are answered in time, rescue goes on, and what it keeps late moves nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from firmware_protocol.chains import make_bundle, parse_bundle
from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Phase
from gatewayd.daemon import STALL_MS_MAX, beat
from gatewayd.service_manager import ServiceManager, Watchdog
from gatewayd.store import commands
from gatewayd.store.store import STALL_S, Health, StoreCode, StoreError
from simulator.office import unlock_over_mqtt
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_protocol.statements import CommandReceipt

SEEN = "carelock.command.decided"
OUTCOME = "carelock.command.outcome"


def codes(receipts: list[CommandReceipt]) -> list[Code]:
    return [receipt.code for receipt in receipts]


def of_command(world: MemoryWorld, kind: str, command_id: bytes) -> list[dict[str, Any]]:
    events = [event["data"] for event in world.events() if event["type"] == kind]
    return [data for data in events if data["command_id"] == command_id.hex()]


async def operator_bundle(world: MemoryWorld, alarm_ref: bytes, command_id: bytes) -> bytes:
    place = (await world.ask_info()).locks[0]
    return unlock_over_mqtt(
        world.office.operator("olga", now_s=world.utc_s()),
        world.home,
        epoch=place.epoch,
        issued_s=place.now_s,
        command_id=command_id,
        now_s=world.utc_s(),
        alarm_ref=alarm_ref,
    )


async def open_intent_count(world: MemoryWorld) -> int:
    assert world.house is not None
    return len(await world.house.base.seams.store.run(commands.open_intents))


def test_a_visit_is_refused_in_time_and_what_the_disk_keeps_of_it_late_moves_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 90)
        async with world.gateway():
            await world.settled()
            world.executor.hang()
            assert (await world.visit(world.carer())).final is Code.STORE_UNAVAILABLE
            world.executor.go_on()
            await asyncio.sleep(1)
            assert await open_intent_count(world) == 0
            await world.settled()
            assert world.codes(SEEN) == [Code.PERMITTED.dotted]
            assert world.codes(OUTCOME) == [Code.STORE_UNAVAILABLE.dotted]
            assert world.codes("carelock.alert.raised") == ["disk.stalled"]
            assert world.command_movements == []
            assert (await world.visit(world.carer())).final is Code.DONE

    run_virtual(story())


def test_a_command_sent_again_before_its_doubt_is_settled_is_told_that_it_never_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 91)
        async with world.gateway() as house:
            await world.settled()
            alarm_ref = await world.raise_alarm()
            await asyncio.sleep(1)
            bundle = await operator_bundle(world, alarm_ref, bytes(16))

            async def later() -> None:
                return None

            monkeypatch.setattr(house.door.doubts, "settle_all", later)
            monkeypatch.setattr(house.emergencies, "serves", lambda *_: False)  # as if it were a visit
            world.executor.hang()
            for _ in range(2):
                world.send(world.topics.command, bundle)
                assert (await world.next_receipt()).code is Code.STORE_UNAVAILABLE
            world.executor.go_on()
            await asyncio.sleep(1)
            assert await open_intent_count(world) == 1
            world.send(world.topics.command, bundle)
            assert (await world.next_receipt()).phase is Phase.OUTCOME
            assert await open_intent_count(world) == 0
            assert world.command_movements == []

    run_virtual(story())


@pytest.mark.parametrize(
    "stranger_first", [False, True], ids=["its own reservation hangs", "a look-up hangs before it"]
)
def test_rescue_goes_on_while_the_disk_hangs_and_what_it_keeps_late_moves_nothing_twice(
    tmp_path: Path, *, stranger_first: bool
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 92)
        async with world.gateway():
            await world.settled()
            alarm_ref = await world.raise_alarm()
            await asyncio.sleep(1)
            voided = await operator_bundle(world, alarm_ref, b"1" * 16)
            stranger = make_bundle(parse_bundle(voided)[0])  # names a grant that the disk has to be asked for
            world.executor.hang()
            started_s = asyncio.get_running_loop().time()
            for bundle in (stranger, voided) if stranger_first else (voided, stranger):
                world.send(world.topics.command, bundle)
            assert (await world.next_receipt()).code is Code.WRONG_EPOCH, "what has acted cannot be read"
            assert asyncio.get_running_loop().time() - started_s < STALL_S + 1, "nobody waits for the disk twice"
            await asyncio.sleep(1)
            world.answers.clear()
            obeyed = await operator_bundle(world, alarm_ref, b"2" * 16)
            assert codes(await world.command(obeyed)) == [Code.PERMITTED, Code.DONE]
            assert world.command_movements == [b"2" * 16]
            world.relock()
            for _ in range(2):  # while it hangs, and when it has answered
                for bundle, code in ((voided, Code.WRONG_EPOCH), (obeyed, Code.DONE)):
                    world.send(world.topics.command, bundle)
                    assert (await world.next_receipt()).code is code
                    world.answers.clear()
                world.executor.go_on()
                await asyncio.sleep(1)
            assert await open_intent_count(world) == 0
            await world.settled()
            assert world.command_movements == [b"2" * 16]
            assert [each["code"] for each in of_command(world, OUTCOME, b"2" * 16)] == [Code.DONE.dotted]
            assert (await world.visit(world.carer())).final is Code.DONE

    run_virtual(story())


def test_a_number_that_the_disk_keeps_late_is_no_other_commands_even_over_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 93)
        async with world.gateway() as house:
            await world.settled()
            alarm_ref = await world.raise_alarm()
            assert (await world.visit(world.carer())).final is Code.DONE  # the lock's count is ahead of its greeting
            world.relock()
            await world.settled()
            assert house.links[world.home.lock_id].last_command_seq == 0
            assert house.door._command_seq_floor(world.home.lock_id) == 1  # noqa: SLF001 - what rescue goes on above
            world.executor.hang()
            assert (await world.visit(world.carer())).final is Code.STORE_UNAVAILABLE
            await world.command(await operator_bundle(world, alarm_ref, b"1" * 16))
            await asyncio.sleep(1)
            world.answers.clear()
            obeyed = await operator_bundle(world, alarm_ref, b"2" * 16)
            assert codes(await world.command(obeyed)) == [Code.PERMITTED, Code.DONE]
            (doubt,) = house.door.doubts._attempts.values()  # noqa: SLF001 - which command is in doubt
            world.executor.go_on()  # and before anybody hears of it
            await world.kill_gateway()
            await world.start_gateway()
            await world.settled()
            told = of_command(world, OUTCOME, doubt.asked.bundle.command.command_id)
            assert [each["code"] for each in told] == [Code.FAILED.dotted]
            assert len(world.command_movements) == 2

    run_virtual(story())


def test_records_of_a_lock_that_the_disk_keeps_late_are_journaled_once_and_the_copying_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 95)
        async with world.gateway() as house:
            await world.settled()
            ledger = house.links[world.home.lock_id]._ledger  # noqa: SLF001 - its durable side
            commit = ledger.commit_records

            async def commit_late(*batch: Any) -> None:
                await commit(*batch)
                monkeypatch.undo()
                raise StoreError(StoreCode.STALLED, "kept all the same")

            for _ in range(2):
                monkeypatch.setattr(ledger, "commit_records", commit_late)
                assert (await world.visit(world.carer())).final is Code.DONE
                world.relock()
                await asyncio.sleep(60)
            await world.settled()
            records = [event["data"]["seq"] for event in world.events() if event["type"] == "carelock.lock.recorded"]
            assert records == list(range(records[0], world.lock.flash.last_seq + 1))

    run_virtual(story())


def test_a_watchdog_waits_for_a_disk_that_hangs_but_not_for_ever(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 94)
        async with world.gateway() as house:
            await world.settled()
            watchdog = Watchdog(ServiceManager.from_environment({}), ("loop", "store"), clock=world.clock)
            beating = asyncio.create_task(beat(house, watchdog))
            world.executor.hang()
            await asyncio.sleep(STALL_S + 20)
            assert house.base.seams.store.health is Health.STALLED
            assert await fed_within(watchdog, 20)
            await asyncio.sleep(STALL_MS_MAX / 1_000)
            assert not await fed_within(watchdog, 60)
            world.executor.go_on()
            assert await fed_within(watchdog, 20)
            beating.cancel()

    run_virtual(story())


async def fed_within(watchdog: Watchdog, seconds: int) -> bool:
    """Tell whether the watchdog, all of whose parts beat together, is fed: all are silent again then."""
    for _ in range(seconds * 2):
        if watchdog.silent == {"loop", "store"}:
            return True
        await asyncio.sleep(0.5)
    return False
