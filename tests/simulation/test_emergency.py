"""Rescue goes on when the disk takes nothing: the lock is the durable side, and everybody else is refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from firmware_protocol import cose
from firmware_protocol.codes import Code
from firmware_protocol.commands import Alarm
from firmware_protocol.vocabulary import Action, OfflineClass
from simulator.office import unlock_over_mqtt
from tests.support.faulty_disk import FaultyDisk
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual
from tests.support.waits import until_ready

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from firmware_protocol.statements import CommandReceipt

Fault: TypeAlias = "Callable[[FaultyDisk], None]"
FAULTS = pytest.mark.parametrize("fault", [FaultyDisk.fill, FaultyDisk.mount_read_only], ids=["full", "read-only"])


def codes(receipts: list[CommandReceipt]) -> list[Code]:
    return [receipt.code for receipt in receipts]


async def operator_bundle(world: MemoryWorld, alarm_ref: bytes, action: Action = Action.UNLOCK) -> bytes:
    place = (await world.ask_info()).locks[0]
    return unlock_over_mqtt(
        world.office.operator("olga", now_s=world.utc_s()),
        world.home,
        epoch=place.epoch,
        issued_s=place.now_s,
        command_id=world.entropy.token(16),
        now_s=world.utc_s(),
        alarm_ref=alarm_ref,
        action=action,
    )


@FAULTS
def test_an_emergency_opens_on_a_disk_that_takes_nothing_and_a_visit_does_not(tmp_path: Path, fault: Fault) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 60)
        async with world.gateway():
            await world.settled()
            alarm_ref = await world.raise_alarm()
            await asyncio.sleep(2)
            fault(world.disk)
            assert (await world.visit(world.carer())).final is Code.STORE_UNAVAILABLE
            bundle = await operator_bundle(world, alarm_ref)
            receipts = await world.command(bundle)
            assert codes(receipts) == [Code.PERMITTED, Code.DONE]
            assert [receipt.journal_index for receipt in receipts] == [None, None]
            world.relock()
            responder = world.carer("rita", offline_class=OfflineClass.RESPONDER)
            assert (await world.visit(responder)).final is Code.DONE
            locking = await operator_bundle(world, alarm_ref, Action.LOCK)
            assert codes(await world.command(locking)) == [Code.STORE_UNAVAILABLE]
            assert len(world.command_movements) == 2

    run_virtual(story())


@FAULTS
def test_attack_a_replay_moves_nothing_while_the_disk_takes_nothing_nor_when_it_is_back(
    tmp_path: Path, fault: Fault
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 61)
        async with world.gateway():
            await world.settled()
            alarm_ref = await world.raise_alarm()
            await asyncio.sleep(2)
            fault(world.disk)
            bundle = await operator_bundle(world, alarm_ref)
            assert codes(await world.command(bundle)) == [Code.PERMITTED, Code.DONE]
            world.relock()
            world.send(world.topics.command, bundle)
            assert (await world.next_receipt()).code is Code.DONE
            world.disk.mend()
            world.send(world.topics.command, bundle)
            assert (await world.next_receipt()).code is Code.DONE
            assert (await world.visit(world.carer())).final is Code.DONE
            await world.settled()
            world.send(world.topics.command, bundle)
            assert (await world.next_receipt()).code in {Code.DONE, Code.PERMITTED}
            assert len(world.command_movements) == 2

    run_virtual(story())


@FAULTS
def test_an_alarm_raised_while_the_disk_takes_nothing_lets_one_operator_in(tmp_path: Path, fault: Fault) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 62)
        async with world.gateway():
            await world.settled()
            fault(world.disk)
            assert codes(await world.unlock_from_centre(alarm_ref=bytes(16))) == [Code.ALARM_NOT_OPEN]
            alarm_ref = await world.raise_alarm()
            await asyncio.sleep(2)
            assert codes(await world.unlock_from_centre(alarm_ref=alarm_ref)) == [Code.PERMITTED, Code.DONE]
            await world.close_alarm(alarm_ref)
            await asyncio.sleep(2)
            assert codes(await world.unlock_from_centre(alarm_ref=alarm_ref)) == [Code.ALARM_NOT_OPEN]

    run_virtual(story())


@FAULTS
def test_the_link_drops_and_the_daemon_restarts_on_a_disk_that_takes_nothing_and_rescue_goes_on(
    tmp_path: Path, fault: Fault
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 63)
        async with world.gateway():
            await world.settled()
            fault(world.disk)
            assert codes(await world.unlock_together()) == [Code.PERMITTED, Code.DONE]
            world.relock()
            world.radio.drop_link()
            await asyncio.sleep(1)
            await until_ready(world)
            assert codes(await world.unlock_together()) == [Code.PERMITTED, Code.DONE]
            world.relock()
            for _ in range(2):
                await world.kill_gateway()
                await world.start_gateway()
                await until_ready(world)
                assert codes(await world.unlock_together()) == [Code.PERMITTED, Code.DONE]
                world.relock()
            assert len(world.command_movements) == 4
            world.disk.mend()
            await world.kill_gateway()
            await world.start_gateway()
            await world.settled()
            assert (await world.visit(world.carer())).final is Code.DONE
            assert world.house is not None
            assert not world.house.base.suspicion.active

    run_virtual(story())


def test_what_was_decided_without_the_disk_is_journaled_when_it_is_back(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 64)
        async with world.gateway():
            await world.settled()
            world.disk.fill()
            await world.unlock_together()
            world.relock()
            world.disk.mend()
            assert (await world.visit(world.carer())).final is Code.DONE
            await world.settled()
            decided = [event["data"] for event in world.events() if event["type"] == "carelock.command.decided"]
            assert {each["subject"] for each in decided} == {"anna", "olga"}
            assert world.codes("carelock.command.outcome").count(Code.DONE.dotted) == 2

    run_virtual(story())


def test_session_numbers_that_are_used_up_end_in_an_alarm_and_not_in_a_second_use(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 65)
        async with world.gateway() as house:
            await world.settled()
            world.disk.mount_read_only()
            ledger = house.links[world.home.lock_id]._ledger  # noqa: SLF001 - its durable side
            assert await ledger.resume_session(world.home.lock_id, 62) == 63
            assert await ledger.resume_session(world.home.lock_id, 63) == 64
            assert await ledger.resume_session(world.home.lock_id, 64) is None

    run_virtual(story())


def test_attack_when_what_has_acted_cannot_be_read_a_new_epoch_voids_all_that_was_asked_for_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 66)
        async with world.gateway() as house:
            await world.settled()
            alarm_ref = await world.raise_alarm()
            await asyncio.sleep(2)
            world.disk.fill()

            async def nothing(_asked: object) -> None:
                return None

            monkeypatch.setattr(house.emergencies, "_read", nothing)  # a card that gives nothing back
            before = house.epoch.value
            assert codes(await world.unlock_from_centre(alarm_ref=alarm_ref)) == [Code.WRONG_EPOCH]
            assert house.epoch.value != before
            await asyncio.sleep(1)
            world.answers.clear()  # the info that goes with such a refusal
            held = house.epoch.value
            assert codes(await world.unlock_from_centre(alarm_ref=alarm_ref)) == [Code.PERMITTED, Code.DONE]
            world.relock()
            responder = world.carer("rita", offline_class=OfflineClass.RESPONDER)
            assert (await world.visit(responder)).final is Code.DONE
            assert house.epoch.value == held

    run_virtual(story())


def test_an_alarm_that_the_disk_did_not_take_holds_when_it_is_back_and_over_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 67)
        async with world.gateway():
            await world.settled()
            world.disk.fill()
            opened, closed = await world.raise_alarm(), await world.raise_alarm()
            await asyncio.sleep(2)
            await world.close_alarm(closed)
            await asyncio.sleep(2)
            world.disk.mend()
            assert codes(await world.unlock_from_centre(alarm_ref=opened)) == [Code.PERMITTED, Code.DONE]
            world.relock()
            assert codes(await world.unlock_from_centre(alarm_ref=closed)) == [Code.ALARM_NOT_OPEN]
            await asyncio.sleep(5)
            await world.kill_gateway()
            await world.start_gateway()
            await world.settled()
            assert codes(await world.unlock_from_centre(alarm_ref=opened)) == [Code.PERMITTED, Code.DONE]
            assert codes(await world.unlock_from_centre(alarm_ref=closed)) == [Code.ALARM_NOT_OPEN]

    run_virtual(story())


def test_an_alarms_end_that_is_on_its_way_to_the_disk_is_not_forgotten_when_its_opening_has_arrived(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 68)
        async with world.gateway() as house:
            await world.settled()
            place, alarm_ref = (await world.ask_info()).locks[0], world.entropy.token(16)
            options: dict[str, Any] = {"alarm_ref": alarm_ref, "epoch": place.epoch, "exp_s": place.now_s + 30}
            opening = world.office.alarm(world.home, **options)
            closing = world.office.alarm(world.home, **options, opens=False)
            await house.alarm_desk.take_alarm(opening)
            opened, closed = (Alarm.from_bytes(cose.parse(raw, size_max=1_024).payload) for raw in (opening, closing))
            house.emergencies.note_alarm(opened, 10**9)
            house.emergencies.note_alarm(closed, 10**9)
            house.emergencies.note_alarm_kept(opened)  # only now does the loop hear of it
            assert codes(await world.unlock_from_centre(alarm_ref=alarm_ref)) == [Code.ALARM_NOT_OPEN]

    run_virtual(story())
