"""What must hold when something fails in the middle: the laws of the door on virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Bolt, OfflineClass, Tier
from gatewayd.settings import LimitSettings
from simulator.office import unlock_at_door
from tests.support.memory_world import MOTOR_MS, NOW_S, PROVIDER, MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path


def test_a_killed_gateway_lets_the_same_carer_in_again_without_a_broker(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 3)
        async with world.gateway():
            await world.settled()
            carer = world.carer()
            world.broker.stop()
            assert (await world.visit(carer)).final is Code.DONE
            world.relock()
            await world.kill_gateway()
            await asyncio.sleep(60)
            house = await world.start_gateway()
            async with asyncio.timeout(60):
                await house.links[world.home.lock_id].wait_ready()
            assert house.base.start.unclean
            assert house.statements.tier() is Tier.FRESH
            assert (await world.visit(carer)).final is Code.DONE
            world.broker.start()
            await world.settled()
        assert len(world.command_movements) == 2

    run_virtual(story())


def test_without_the_locks_clock_a_restarted_gateway_admits_no_shift_grant(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 4)
        async with world.gateway():
            await world.settled()
            world.broker.stop()
            await world.kill_gateway()
            world.lock.power_cycle()
            house = await world.start_gateway()
            await house.links[world.home.lock_id].wait_ready()
            assert house.statements.tier() is Tier.COLD
            assert (await world.visit(world.carer())).final is Code.TIER
            responder = world.carer("bo", offline_class=OfflineClass.RESPONDER)
            assert (await world.visit(responder)).final is Code.DONE

    run_virtual(story())


def test_a_gateway_killed_while_the_motor_runs_asks_and_never_moves_again(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 5)
        async with world.gateway():
            await world.settled()
            visiting = asyncio.create_task(world.visit(world.carer()))
            while not world.mechanics.movements:
                await asyncio.sleep(0.005)
            await asyncio.sleep(MOTOR_MS / 4_000)
            await world.kill_gateway()
            await visiting
            house = await world.start_gateway()
            await house.links[world.home.lock_id].wait_ready()
            await asyncio.sleep(5)  # the motor comes to rest, and the lock is asked until it knows
            await world.settled()
            assert len(world.command_movements) == 1
            assert world.mechanics.bolt is Bolt.UNLOCKED
            (outcome,) = [event for event in world.events() if event["type"] == "carelock.command.outcome"]
            assert outcome["data"]["code"] == Code.DONE.dotted
            assert outcome["data"]["late"] is True

    run_virtual(story())


def test_a_link_lost_after_sending_is_asked_about_and_the_bolt_moves_once(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 6)
        async with world.gateway():
            await world.settled()
            visiting = asyncio.create_task(world.unlock_from_centre(alarm_ref=await world.raise_alarm()))
            while not world.mechanics.movements:
                await asyncio.sleep(0.005)
            world.radio.drop_link()
            receipts = await visiting
            assert [receipt.code for receipt in receipts] == [Code.PERMITTED, Code.DONE]
            assert len(world.command_movements) == 1

    run_virtual(story())


def test_a_lost_receipt_is_answered_again_and_moves_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 8)
        async with world.gateway():
            await world.settled()
            kept: list[bytes] = []
            carer, command_id = world.carer(), world.entropy.token(16)

            def once(challenge: bytes) -> bytes:
                if not kept:
                    kept.append(
                        unlock_at_door(carer, world.home, challenge=challenge, command_id=command_id, now_s=NOW_S)
                    )
                return kept[0]

            first = await world.visit_with(once)
            second = await world.visit_with(once)
            assert first.final is Code.DONE
            assert second.raw_receipts == first.raw_receipts[-1:]
            assert len(world.command_movements) == 1

    run_virtual(story())


def test_limits_survive_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 9, limits=LimitSettings(lock_burst=4))
        async with world.gateway():
            await world.settled()
            carer = world.carer()
            for expected in (Code.DONE, Code.DONE, Code.RATE_LIMITED):
                assert (await world.visit(carer)).final is expected
                world.relock()
            await world.kill_gateway()
            await world.start_gateway()
            await world.settled()
            assert (await world.visit(carer)).final is Code.RATE_LIMITED
            assert len(world.command_movements) == 2

    run_virtual(story())


def test_an_outage_loses_no_event_and_a_central_log_that_comes_late_asks_for_what_it_missed(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 10)
        world.broker.reports_no_subscribers = False
        async with world.gateway() as house:
            await world.settled()
            world.disconnect_central()
            world.broker.stop()
            world.mechanics.hand_turns_knob()
            world.mechanics.door_opens()
            world.mechanics.door_closes()
            assert (await world.visit(world.carer())).final is Code.DONE
            world.broker.start()
            await asyncio.sleep(60)
            marks = await house.ledger.marks()
            assert marks.sent == marks.size
            assert marks.received < marks.size
            world.connect_central()
            await world.settled()
            kinds = [event["data"]["kind"] for event in world.events() if event["type"] == "carelock.lock.recorded"]
            assert {"knob_unlocked", "door_opened", "door_closed"} <= set(kinds)

    run_virtual(story())


def test_a_stranger_at_the_door_hears_denied_and_the_log_knows_why(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 11)
        async with world.gateway():
            await world.settled()
            stranger = world.office.carer(world.home, "nobodys-care", "eve", now_s=NOW_S)
            forged = type(stranger)(key=stranger.key, grant=stranger.grant, authority=None)
            visit = await world.visit(forged)
            assert visit.denied
            assert visit.receipts == ()
            await world.settled()
            assert world.codes("carelock.command.denied") == [Code.UNKNOWN_SIGNER.dotted]
            assert world.command_movements == []

    run_virtual(story())


def test_garbage_on_every_topic_changes_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 12)
        async with world.gateway() as house:
            await world.settled()
            for topic in house.topics.subscriptions:
                for payload in (b"\x00", b"{", b"\xff" * 3_000, b"\xd2\x84", b"[]", b"\x80" * 200):
                    world.send(topic.replace("+", "x"), payload)
            await asyncio.sleep(10)
            assert house.downlink.dropped.total() > 0
            assert (await world.visit(world.carer())).final is Code.DONE
            await world.settled()

    run_virtual(story())


def test_the_same_refused_bytes_again_get_the_recorded_refusal_and_no_second_entry(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 13)
        async with world.gateway() as house:
            await world.settled()
            grant = world.office.grant(world.office.home("home-2"), PROVIDER, "anna", now_s=NOW_S)
            misled = world.office.carer(world.home, PROVIDER, "anna", now_s=NOW_S, grant=grant)
            kept: list[bytes] = []

            def same(challenge: bytes) -> bytes:
                kept.append(kept[0] if kept else world.unlock_bundle(misled, challenge))
                return kept[-1]

            first = await world.visit_with(same)
            size = (await house.ledger.marks()).size
            second = await world.visit_with(same)
            assert first.final is Code.WRONG_AUDIENCE
            assert second.raw_receipts == first.raw_receipts
            assert (await house.ledger.marks()).size == size

    run_virtual(story())
