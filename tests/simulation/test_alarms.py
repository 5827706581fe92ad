"""Alarms, the operators who open by them, and a carer who is forced to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.vocabulary import Action, Role
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual
from tests.support.waits import given_time

if TYPE_CHECKING:
    from pathlib import Path


def test_an_alarm_by_the_alarm_role_itself_opens_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 28)
        async with world.gateway():
            await world.settled()
            world.office.role_keys[Role.INTAKE] = world.office.role_keys[Role.ALARM]
            receipts = await world.unlock_from_centre(alarm_ref=await world.raise_alarm())
            assert [receipt.code for receipt in receipts] == [Code.ALARM_NOT_OPEN]

    run_virtual(story())


def test_a_closed_alarm_and_one_of_an_hour_ago_open_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 29)
        async with world.gateway():
            await world.settled()
            alarm_ref = await world.raise_alarm()
            await given_time()
            await world.close_alarm(alarm_ref)
            assert (await world.unlock_from_centre(alarm_ref=alarm_ref))[0].code is Code.ALARM_NOT_OPEN
            second = await world.raise_alarm()
            await given_time(3_590)
            assert (await world.unlock_from_centre(alarm_ref=second))[0].code is Code.PERMITTED
            await given_time(20)
            assert (await world.unlock_from_centre(alarm_ref=second))[0].code is Code.ALARM_NOT_OPEN

    run_virtual(story())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"epoch": bytes(16)}, Code.WRONG_EPOCH, id="of an earlier start"),
        pytest.param({"late_s": -1}, Code.EXPIRED, id="that waited too long"),
        pytest.param({"late_s": 61}, Code.TTL_TOO_LONG, id="for later"),
        pytest.param({"home": "home-2"}, Code.WRONG_AUDIENCE, id="for another home"),
    ],
)
def test_an_alarm_not_of_now_or_not_of_here_is_refused(tmp_path: Path, change: dict[str, object], code: Code) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 30)
        async with world.gateway() as house:
            await world.settled()
            await given_time(5)
            now_s = house.epoch.now_s(world.clock.now().boottime_ms)
            alarm = world.office.alarm(
                world.office.home(str(change.get("home", "home-1"))),
                alarm_ref=bytes(16),
                epoch=change.get("epoch", house.epoch.value),  # type: ignore[arg-type]  # from the table above
                exp_s=now_s + int(change.get("late_s", 30)),  # type: ignore[call-overload]  # from the table above
            )
            with pytest.raises(RemoteProtocolError) as refused:
                await house.alarm_desk.take_alarm(alarm)
            assert refused.value.code is code

    run_virtual(story())


def test_a_reboot_of_the_machine_closes_every_alarm(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 31)
        async with world.gateway():
            await world.settled()
            alarm_ref = await world.raise_alarm()
            await given_time()
            await world.kill_gateway()
            world.machine_boot = "the next boot"
            await world.start_gateway()
            await world.settled()
            assert (await world.unlock_from_centre(alarm_ref=alarm_ref))[0].code is Code.ALARM_NOT_OPEN

    run_virtual(story())


def test_two_operators_are_asked_for_where_no_alarm_is_named(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 32)
        async with world.gateway():
            await world.settled()
            (receipt,) = await world.unlock_from_centre(alarm_ref=None)
            assert receipt.code is Code.SECOND_OPERATOR_NEEDED

    run_virtual(story())


def test_two_operators_open_where_no_alarm_is_open_and_both_are_named(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 43)
        async with world.gateway():
            await world.settled()
            receipts = await world.unlock_together()
            assert [receipt.code for receipt in receipts] == [Code.PERMITTED, Code.DONE]
            await world.settled()
            (decided,) = (
                event["data"]
                for event in world.events()
                if event["type"] == "carelock.command.decided" and event["data"]["code"] == Code.PERMITTED.dotted
            )
            assert (decided["subject"], decided["second_subject"]) == ("olga", "otto")

    run_virtual(story())


# Duress.


def test_under_duress_the_door_opens_as_ever_and_the_centre_hears_of_it(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 44)
        async with world.gateway():
            await world.settled()
            carer = world.carer()
            forced = await world.visit_with(
                lambda challenge: world.unlock_bundle(carer, challenge, action=Action.UNLOCK_UNDER_DURESS)
            )
            world.relock()
            await given_time()
            plain = await world.visit(carer)
            assert [each.code for each in forced.receipts] == [each.code for each in plain.receipts]
            await world.settled()
            (call,) = (event for event in world.events() if event["type"] == "carelock.duress.signalled")
            assert call["priority"]
            assert call["data"]["subject"] == "anna"
            decided = [event["data"] for event in world.events() if event["type"] == "carelock.command.decided"]
            assert [each["action"] for each in decided] == ["unlock", "unlock"]

    run_virtual(story())
