"""Nobody legitimate is kept out: the side of the people who need the door.

In each story something is broken that breaks in real homes. The right person gets in all the same, and the
wrong one does not: a gateway that opens for everybody would pass half of it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from firmware_protocol.chains import make_bundle, parse_bundle
from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.noise import KeyPair
from firmware_protocol.vocabulary import Bolt, OfflineClass, Parcel, Tier
from gatewayd.link.troubles import NOT_OURS
from tests.support.courier_phone import CourierPhone
from tests.support.life_world import LifeWorld
from tests.support.memory_world import PROVIDER, MemoryWorld
from tests.support.old_unit import OldUnit, alerts
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from gatewayd.house import House
    from simulator.office import Holder

MINUTE_S = 60
HOUR_S = 3_600
DAY_S = 24 * HOUR_S
YEAR_MS = 365 * DAY_S * 1_000
RESPONDER_LIFE_S = 30 * DAY_S


def life(folder: Path, seed: int, tell: Callable[[MemoryWorld], Coroutine[Any, Any, None]]) -> None:
    """Run a story in a world whose gateway is provisioned, linked, and knows the time."""

    async def story() -> None:
        world = MemoryWorld(folder, seed)
        async with world.gateway():
            await world.settled()
            await tell(world)

    run_virtual(story())


async def gets_in(world: MemoryWorld, holder: Holder) -> None:
    assert (await world.visit(holder)).final is Code.DONE
    assert world.mechanics.bolt is Bolt.UNLOCKED
    world.relock()


async def stays_out(world: MemoryWorld, holder: Holder, code: Code) -> None:
    before = len(world.command_movements)
    assert (await world.visit(holder)).final is code
    assert len(world.command_movements) == before


async def linked(world: MemoryWorld) -> House:
    """Start the gateway and wait for its lock; the internet may be away."""
    house = await world.start_gateway()
    async with asyncio.timeout(120):
        await house.links[world.home.lock_id].wait_ready()
    return house


@asynccontextmanager
async def without_power(world: MemoryWorld) -> AsyncIterator[None]:
    """Let the gateway be without power for the length of a block."""
    await world.kill_gateway()
    yield
    world.machine_boot += " and one more"
    await linked(world)


def responder(world: MemoryWorld, person: str = "night-patrol", **grant: Any) -> Holder:
    """Return who is called when somebody has fallen: a phone that opens for 30 days without internet."""
    now_s = world.utc_s()
    return world.carer(
        person, offline_class=OfflineClass.RESPONDER, nbf_s=now_s - 60, exp_s=now_s - 60 + RESPONDER_LIFE_S, **grant
    )


def lone(world: MemoryWorld, holder: Holder, challenge: bytes) -> bytes:
    """Return the command of a phone that has not been sent its own grant's bytes."""
    command, *_ = parse_bundle(world.unlock_bundle(holder, challenge))
    return make_bundle(command)


async def is_nobody(world: MemoryWorld, holder: Holder) -> None:
    """A phone comes without its grant, and the gateway knows of none."""
    before = len(world.command_movements)
    assert not (await world.visit_with(lambda challenge: lone(world, holder, challenge))).receipts
    assert len(world.command_movements) == before


def forged(signed: bytes) -> bytes:
    """Return an object in which one bit of the signature is another."""
    return signed[:-1] + bytes((signed[-1] ^ 1,))


# No internet.


def test_first_day_without_internet_the_patrol_gets_in_and_a_shift_that_cannot_be_proven_waits(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 200)
        world.broker.stop()
        await world.provision()
        house = await linked(world)
        try:
            assert house.statements.tier() is Tier.COLD
            await gets_in(world, responder(world))
            await stays_out(world, world.carer("anna"), Code.TIER)
            world.broker.start()
            await world.settled()
            await gets_in(world, world.carer("anna"))
        finally:
            await world.kill_gateway()

    run_virtual(story())


def test_a_day_without_internet_the_shifts_go_on_and_yesterdays_is_over(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld) -> None:
        yesterdays = world.carer("anna")
        world.broker.stop()
        async with without_power(world):
            await asyncio.sleep(DAY_S)
        await gets_in(world, world.carer("bo"))
        await stays_out(world, yesterdays, Code.EXPIRED)

    life(tmp_path, 201, tell)


def test_three_weeks_without_internet_the_patrol_still_gets_in_and_last_months_does_not(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld) -> None:
        patrol = responder(world)
        last_months = responder(world, "former-patrol", windows=((world.utc_s() - DAY_S, world.utc_s() + DAY_S),))
        world.broker.stop()
        async with without_power(world):
            await asyncio.sleep(21 * DAY_S)
        await gets_in(world, patrol)
        await stays_out(world, last_months, Code.OUTSIDE_WINDOW)

    life(tmp_path, 202, tell)


def test_three_weeks_without_internet_a_phone_carries_the_shift_plan_in_and_a_carer_without_hers_gets_in(
    tmp_path: Path,
) -> None:
    async def tell(world: MemoryWorld) -> None:
        world.broker.stop()
        async with without_power(world):
            await asyncio.sleep(21 * DAY_S)
        now_s, office = world.utc_s(), world.office
        noras = office.grant(world.home, PROVIDER, "nora", now_s=now_s, number=1)
        nora = office.carer(world.home, PROVIDER, "nora", now_s=now_s, grant=noras)
        fred = world.carer("fred", number=2)  # dismissed since: his shift was planned, and his phone kept it
        await is_nobody(world, nora)
        courier = await CourierPhone.come(world)
        assert await courier.ask(world.carer("anna")) is Code.TIER
        assert await courier.carry_journal() is Code.DONE
        state = office.state(world.home, now_s=now_s, seq=2, revoked_kids=(kid_of(bytes(fred.key.verify_key)),))
        assert await courier.bring(Parcel.STATE, state) is Code.DONE
        assert await courier.bring(Parcel.GRANT, noras) is Code.DONE
        assert await courier.bring(Parcel.GRANT, forged(noras)) is Code.BAD_SIGNATURE
        other = office.grant(office.home("home-2"), PROVIDER, "nora", now_s=now_s)
        assert await courier.bring(Parcel.GRANT, other) is Code.WRONG_AUDIENCE
        await courier.leave()
        visit = await world.visit_with(lambda challenge: lone(world, nora, challenge))
        assert visit.final is Code.DONE
        world.relock()
        await gets_in(world, world.carer("anna", number=3))
        await stays_out(world, fred, Code.REVOKED)
        await is_nobody(world, world.carer("olaf", number=4))  # whose grant nobody has carried in

    life(tmp_path, 217, tell)


def test_after_three_weeks_the_internet_comes_back_and_so_do_the_shifts(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld) -> None:
        world.broker.stop()
        async with without_power(world):
            await asyncio.sleep(21 * DAY_S)
        world.broker.start()
        await world.settled()
        await gets_in(world, world.carer("anna"))
        await stays_out(world, world.carer("bo", windows=()), Code.OUTSIDE_WINDOW)

    life(tmp_path, 203, tell)


# Power.


@pytest.mark.parametrize("away_s", [5, 10 * MINUTE_S, 8 * HOUR_S])
def test_power_cut_of_the_gateway_without_internet_the_locks_clock_brings_the_time_back(
    tmp_path: Path, away_s: int
) -> None:
    async def tell(world: MemoryWorld) -> None:
        ending = world.carer("anna", exp_s=world.utc_s() + 4)
        world.broker.stop()
        async with without_power(world):
            await asyncio.sleep(away_s)
        await gets_in(world, world.carer("bo"))
        await stays_out(world, ending, Code.EXPIRED)

    life(tmp_path, 204, tell)


def test_power_cut_of_the_lock_the_gateway_keeps_the_time_and_opens(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld) -> None:
        world.broker.stop()
        world.lock.power_cycle()
        await asyncio.sleep(30)
        await gets_in(world, world.carer("anna"))
        await stays_out(world, world.carer("bo", windows=()), Code.OUTSIDE_WINDOW)

    life(tmp_path, 205, tell)


def test_power_cut_of_both_at_once_without_internet_the_patrol_gets_in(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld) -> None:
        world.broker.stop()
        async with without_power(world):
            world.lock.power_cycle()
            await asyncio.sleep(HOUR_S)
        await gets_in(world, responder(world))
        await stays_out(world, world.carer("anna"), Code.TIER)
        world.broker.start()
        await world.settled()
        await gets_in(world, world.carer("anna"))

    life(tmp_path, 206, tell)


# Phones.


def test_new_phone_opens_at_once_and_the_lost_one_no_more(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld) -> None:
        lost = world.carer("anna")
        new = world.carer("anna-s-new-phone")
        kid = kid_of(bytes(lost.key.verify_key))
        state = world.office.state(world.home, now_s=world.utc_s(), seq=2, revoked_kids=(kid,))
        world.send(world.topics.authority_state, state, retain=True)
        await asyncio.sleep(2)
        await gets_in(world, new)
        await stays_out(world, lost, Code.REVOKED)

    life(tmp_path, 207, tell)


def test_new_phone_opens_at_a_home_that_has_heard_of_nothing_new(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld) -> None:
        world.broker.stop()
        await gets_in(world, world.carer("anna-s-new-phone"))

    life(tmp_path, 208, tell)


# Wrong clocks.


@pytest.mark.parametrize("wrong_ms", [-56 * YEAR_MS, -HOUR_S * 1_000, HOUR_S * 1_000, 73 * YEAR_MS])
def test_wrong_clocks_of_gateway_and_phone_keep_nobody_out_and_let_nobody_in(tmp_path: Path, wrong_ms: int) -> None:
    async def tell(world: MemoryWorld) -> None:
        world.clock.step_utc(wrong_ms)
        async with without_power(world):
            world.clock.step_utc(-2 * wrong_ms)
        await world.settled()
        await gets_in(world, world.carer("anna"))
        await stays_out(world, world.carer("bo", nbf_s=world.utc_s() + 2 * MINUTE_S), Code.NOT_YET_VALID)

    life(tmp_path, 209, tell)


# People who are in the way.


def test_a_replaying_stranger_at_the_door_keeps_nobody_out(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld) -> None:
        anna, overheard = world.carer("anna"), list[bytes]()

        def unlock(challenge: bytes) -> bytes:
            overheard.append(world.unlock_bundle(anna, challenge))
            return overheard[-1]

        assert (await world.visit_with(unlock)).final is Code.DONE
        world.relock()
        for number in range(10):
            assert len((await world.visit_with(lambda _: overheard[0])).receipts) == 1
            assert len(world.command_movements) == 1 + number // 3
            if number % 3 == 2:
                await gets_in(world, anna)

    life(tmp_path, 210, tell)


def test_squatted_relay_slots_are_cleared_for_who_speaks(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld) -> None:
        squatters = [world.radio.connect_phone() for _number in range(2)]
        await asyncio.sleep(1)
        await gets_in(world, world.carer("anna"))
        for link in squatters:
            await link.close()

    life(tmp_path, 211, tell)


def test_squatters_who_come_again_and_again_only_delay_the_carer(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld) -> None:
        async def squat() -> None:
            while True:
                link = world.radio.connect_phone()
                await asyncio.sleep(0.7)
                await link.close()

        squatters = [asyncio.create_task(squat()) for _number in range(2)]
        tries = [await world.visit(world.carer("anna", number=number)) for number in range(3)]
        for squatter in squatters:
            squatter.cancel()
        assert Code.DONE in [visit.final for visit in tries]

    life(tmp_path, 212, tell)


def test_a_stranger_who_floods_the_broker_keeps_the_carer_at_the_door_waiting_no_second(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld) -> None:
        async def flood() -> None:
            while True:
                for _number in range(20):
                    world.send(world.topics.command, b"\x83\x41\x00\x41\x00\x41\x00")
                await asyncio.sleep(0.01)

        flooding = asyncio.create_task(flood())
        visit = await world.visit(world.carer("anna"))
        flooding.cancel()
        assert visit.final is Code.DONE
        assert visit.decided_ms is not None
        assert visit.decided_ms < 1_000

    life(tmp_path, 213, tell)


# The alarm centre at night.


@pytest.mark.parametrize("tier", list(Tier))
def test_one_operator_alone_at_night_gets_the_ambulance_in_whatever_the_gateway_can_prove(
    tmp_path: Path, tier: Tier
) -> None:
    async def tell(world: MemoryWorld) -> None:
        await _come_to(world, tier)
        assert world.house is not None
        alarm_ref = await world.raise_alarm()
        receipts = await world.unlock_from_centre(alarm_ref=alarm_ref)
        assert [receipt.code for receipt in receipts] == [Code.PERMITTED, Code.DONE]
        world.relock()
        before = len(world.command_movements)
        (alone,) = await world.unlock_from_centre(alarm_ref=None)
        assert alone.code is Code.SECOND_OPERATOR_NEEDED
        (elsewhere,) = await world.unlock_from_centre(alarm_ref=bytes(16))
        assert elsewhere.code is Code.ALARM_NOT_OPEN
        assert len(world.command_movements) == before

    life(tmp_path, 214, tell)


async def _come_to(world: MemoryWorld, tier: Tier) -> None:
    house = world.house
    assert house is not None
    match tier:
        case Tier.FRESH:
            pass
        case Tier.STALE:
            await asyncio.sleep(7 * HOUR_S)
        case Tier.COLD:
            world.disconnect_central()
            async with without_power(world):
                world.lock.power_cycle()
        case Tier.SUSPECT:
            await house.base.suspicion.enter("proof of another holder of our keys")
    assert world.house is not None
    assert world.house.statements.tier() is tier


def test_the_operator_of_a_closed_alarm_or_an_ended_shift_stays_out(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld) -> None:
        alarm_ref = await world.raise_alarm()
        await asyncio.sleep(1)
        await world.close_alarm(alarm_ref)
        await asyncio.sleep(1)
        assert (await world.unlock_from_centre(alarm_ref=alarm_ref))[-1].code is Code.ALARM_NOT_OPEN
        open_ref = await world.raise_alarm()
        assert (await world.unlock_from_centre(alarm_ref=open_ref))[-1].code is Code.DONE

    life(tmp_path, 215, tell)


# A dead card.


def test_dead_card_a_spare_one_with_the_old_papers_is_suspect_and_the_patrol_and_the_ambulance_get_in(
    tmp_path: Path,
) -> None:
    async def tell(world: MemoryWorld) -> None:
        for person in ("anna", "bo", "cia"):  # commands that the lock has seen and the new card has not
            await gets_in(world, world.carer(person))
        await world.kill_gateway()
        world.store_path.unlink()
        world.store_path.with_name(f"{world.store_path.name}-wal").unlink(missing_ok=True)
        await world.provision()
        house = await linked(world)
        assert house.statements.tier() is Tier.SUSPECT  # as a thief of the keys would be; a new PairingOrder ends it
        await gets_in(world, responder(world))
        receipts = await world.unlock_from_centre(alarm_ref=await world.raise_alarm())
        assert receipts[-1].code is Code.DONE
        world.relock()
        await stays_out(world, world.carer("anna"), Code.TIER)

    life(tmp_path, 216, tell)


def test_dead_card_a_spare_unit_is_suspect_until_the_office_orders_it_and_the_old_card_moves_nothing(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 216)
        papers = world.papers()
        await world.pair(papers)
        await linked(world)
        await world.settled()
        for person in ("anna", "bo", "cia"):  # commands that the lock has seen and the new card has not
            await gets_in(world, world.carer(person))
        await world.kill_gateway()
        old_card = OldUnit(world, papers)

        # The spare unit has the keys of the backup and the papers of then, as a thief of the keys would: the lock has
        # confirmed more sessions than it knows of, so it gets none, and says so. The lock decides by itself meanwhile.
        world.store_path = tmp_path / "spare.sqlite"
        await world.provision()
        house = await world.start_gateway()
        await asyncio.sleep(2 * MINUTE_S)
        assert house.statements.tier() is Tier.SUSPECT
        assert not house.links[world.home.lock_id].ready
        assert len(alerts(world, Code.CLONE_SUSPECT.dotted)) == 1
        await gets_in(world, responder(world))
        await stays_out(world, world.carer("bo", windows=()), Code.OUTSIDE_WINDOW)
        await world.kill_gateway()

        # The office orders the lock to take the unit's own link key: what no copy of the card has.
        former, world.link_keys = world.link_keys, KeyPair.from_private(bytes([88]) * 32)
        world.door = world.office.door(world.home, gateway_link_key=world.link_keys.public)
        assert (await world.pair(world.papers(owner_epoch=2), former=former)).owner_epoch == 2
        house = await linked(world)
        await world.settled()
        assert house.statements.tier() is Tier.FRESH
        await gets_in(world, world.carer("anna", number=2))
        await stays_out(world, world.carer("bo", number=2, windows=()), Code.OUTSIDE_WINDOW)
        await world.kill_gateway()

        # The dead card was not as dead as it looked.
        old_card.comes_back()
        before = len(world.command_movements)
        house = await world.start_gateway()
        await asyncio.sleep(2 * MINUTE_S)
        assert alerts(world, Code.DENIED.dotted) == [NOT_OURS]
        assert not house.links[world.home.lock_id].ready
        assert [receipt.code for receipt in await world.unlock_together()][-1] is Code.LINK_DOWN
        assert len(world.command_movements) == before
        await world.kill_gateway()

    run_virtual(story())
