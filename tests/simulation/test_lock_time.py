"""A lock that may have to decide alone knows the time: what its gateway brings it, and what that is good for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from firmware_protocol.codes import Code
from firmware_protocol.lock_log import RecordType
from firmware_protocol.vocabulary import OfflineClass
from tests.support.life_laws import lock_records
from tests.support.life_world import LifeWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.house import House

HOUR_S = 3_600


async def paired(world: LifeWorld) -> House:
    await world.pair()
    house = await world.start_gateway()
    await world.settled()
    return house


async def until_ready_again(world: LifeWorld, house: House) -> None:
    link = house.links[world.home.lock_id]
    async with asyncio.timeout(120):
        while link.ready:
            await asyncio.sleep(0.1)
        await link.wait_ready()


async def change_battery(world: LifeWorld) -> None:
    world.lock.power_off()
    await asyncio.sleep(20)
    world.lock.power_on()


def times_set(world: LifeWorld) -> int:
    return [record.type for record in lock_records(world)].count(RecordType.TIME)


def test_after_a_battery_change_the_lock_knows_the_time_within_a_minute_and_judges_windows_by_it_alone(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 60)
        house = await paired(world)
        shift_over = world.carer("early", offline_class=OfflineClass.RESPONDER, exp_s=world.utc_s() + 4 * HOUR_S)
        await asyncio.sleep(5 * HOUR_S)
        assert (await world.visit(world.carer("anna"))).final is Code.DONE  # and the central log signs for it
        world.relock()
        await world.settled()
        signed_s = world.utc_s()
        await change_battery(world)
        await until_ready_again(world, house)
        await asyncio.sleep(60)
        assert world.lock.flash.values.time_floor_s >= signed_s - 60

        # Its gateway is gone, and so is, with the next batteries, the interval: the signed floor is left.
        await world.kill_gateway()
        await change_battery(world)
        await asyncio.sleep(30)
        assert (await world.visit(shift_over)).final is Code.EXPIRED
        still_on = world.carer("late", offline_class=OfflineClass.RESPONDER)
        assert (await world.visit(still_on)).final is Code.DONE

    run_virtual(story())


def test_a_gateway_that_comes_to_know_the_time_gives_it_to_a_lock_that_has_none(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 61)
        world.broker.stop()
        await world.pair()
        house = await world.start_gateway()
        await house.links[world.home.lock_id].wait_ready()
        await asyncio.sleep(HOUR_S)
        assert not house.base.timekeeper.interval().trusted
        world.broker.start()
        await world.settled()
        connect_count = house.links[world.home.lock_id].status.connect_count
        await asyncio.sleep(150)
        assert house.links[world.home.lock_id].status.connect_count == connect_count + 1
        await asyncio.sleep(12 * HOUR_S)
        assert house.links[world.home.lock_id].status.connect_count <= connect_count + 2
        await world.kill_gateway()
        await asyncio.sleep(30)
        assert (await world.visit(world.carer("anna"))).final is Code.DONE, "a shift grant needs an interval"

    run_virtual(story())


def test_a_lock_whose_gateway_has_just_gone_has_an_interval_that_serves_for_half_a_day_at_least(tmp_path: Path) -> None:
    """A session lasts a day, and a lock alone believes its interval for a day."""

    async def story() -> None:
        world = LifeWorld(tmp_path, 62)
        await paired(world)
        for _ in range(4):
            await asyncio.sleep(23.5 * HOUR_S / 4)
            world.send(world.topics.authority_state, world.fresh_state(), retain=True)
        await asyncio.sleep(180)
        await world.kill_gateway()
        await asyncio.sleep(11 * HOUR_S)
        assert (await world.visit(world.carer("anna"))).final is Code.DONE

    run_virtual(story())


def test_receipts_that_earn_receipts_come_to_an_end(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 63)
        await paired(world)
        await asyncio.sleep(300)
        before = times_set(world), len(world.events())
        await asyncio.sleep(5 * HOUR_S)
        assert (times_set(world), len(world.events())) == before
        await world.kill_gateway()

    run_virtual(story())
