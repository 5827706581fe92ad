"""Many locks on one adapter: each proven alive in turn, whoever is at a door goes first."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING

import pytest
import structlog

from firmware_protocol.codes import Code
from gatewayd.link.budget import CONNECT_BURST, CONNECT_REFILL_MS
from gatewayd.link.radio import Rung
from tests.support.link_home import LinkHome
from tests.support.stairwell import Door, Stairwell
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCK_COUNT = 64
PHONE_S = 3
P95_EXTRA_S = 1
SIZE_A_LOCK_MAX = 1_000_000


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def loop_s() -> float:
    return asyncio.get_running_loop().time()


def p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * len(values))]


@pytest.mark.no_cover
def test_each_of_64_locks_proves_itself_every_two_minutes_and_within_its_budget() -> None:
    async def story() -> None:
        stairwell = Stairwell(LOCK_COUNT)
        async with stairwell.running():
            await asyncio.sleep(600)
            now_s = loop_s()
            worst_s = max(door.longest_silence_s(until_s=now_s) for door in stairwell.doors)
            counts = [door.link.status.connect_count for door in stairwell.doors]
            print(f"{LOCK_COUNT} locks: longest silence {worst_s:.0f} s, connects in 12 minutes {max(counts)}")  # noqa: T201 - the figures of the run
            assert worst_s <= Stairwell.ROUND_S
            assert max(counts) <= 1 + 720_000 // CONNECT_REFILL_MS
            assert all(door.link.status.connect_left_count >= CONNECT_BURST - 3 for door in stairwell.doors)
            assert stairwell.radio.refused == []
            assert stairwell.radio.recoveries == []

    run_virtual(story())


def test_an_unlock_jumps_the_queue_and_costs_at_most_a_second_more_than_with_one_lock() -> None:
    async def alone() -> list[float]:
        home, times = Door(0), list[float]()
        async with home.running():
            for _ in range(60):
                await asyncio.sleep(home.random.uniform(0, 10))
                outcome, took_s = await home.turn()
                assert outcome.code is Code.DONE
                times.append(took_s)
        return times

    async def among_64() -> list[float]:
        stairwell, times = Stairwell(LOCK_COUNT), list[float]()
        async with stairwell.running():
            for _ in range(100):
                await asyncio.sleep(stairwell.random.uniform(0, 6))
                outcome, took_s = await stairwell.random.choice(stairwell.doors).turn()
                assert outcome.code is Code.DONE
                times.append(took_s)
        return times

    single_s, shared_s = p95(run_virtual(alone())), p95(run_virtual(among_64()))
    print(f"unlock p95: {single_s:.2f} s with one lock, {shared_s:.2f} s with {LOCK_COUNT}")  # noqa: T201 - the figures of the run
    assert shared_s <= single_s + P95_EXTRA_S


def test_a_phone_that_waits_at_one_of_64_locks_is_served_within_three_seconds() -> None:
    async def story() -> list[float]:
        stairwell, times = Stairwell(LOCK_COUNT), list[float]()
        async with stairwell.running():
            while len(times) < 40:
                await asyncio.sleep(stairwell.random.uniform(0, 6))
                door = stairwell.random.choice(stairwell.doors)
                if door.link.ready:
                    continue
                begun_s = loop_s()
                stairwell.radio.connect_phone(door.address)  # the lock has no gateway for it, and says so in the air
                await door.until(partial(getattr, door.link, "ready"))
                times.append(loop_s() - begun_s)
                stairwell.radio.drop_phones(door.address)
        return times

    times = run_virtual(story())
    print(f"waiting phone: most {max(times):.2f} s")  # noqa: T201 - the figures of the run
    assert max(times) <= PHONE_S


def test_an_alarm_in_the_whole_house_opens_more_doors_at_once_than_there_are_connections() -> None:
    async def story() -> None:
        stairwell = Stairwell(LOCK_COUNT)
        async with stairwell.running():
            results = await asyncio.gather(*(door.turn() for door in stairwell.doors[:12]))
            assert [outcome.code for outcome, _ in results] == [Code.DONE] * 12
            assert max(took_s for _, took_s in results) < 10
            assert stairwell.radio.refused == []

    run_virtual(story())


def gone(stairwell: Stairwell, door: Door) -> None:
    stairwell.radio.set_reachable(False, address=door.address)


def takes_no_connection(stairwell: Stairwell, door: Door) -> None:
    stairwell.radio.locks[door.address].deaf = True


def drops_every_link(_stairwell: Stairwell, door: Door) -> None:
    door.lock.gateway_connected = lambda pipe: pipe.disconnect()  # type: ignore[method-assign]  # a broken lock


def says_nothing(_stairwell: Stairwell, door: Door) -> None:
    door.lock.gateway_value = lambda value: None  # type: ignore[method-assign]  # noqa: ARG005 - a broken lock


def says_that_phones_wait(stairwell: Stairwell, door: Door) -> None:
    stairwell.radio.locks[door.address].set_phone_waiting(True)
    drops_every_link(stairwell, door)


@pytest.mark.parametrize("bad", [gone, takes_no_connection, drops_every_link, says_nothing, says_that_phones_wait])
def test_one_bad_lock_costs_the_others_nothing(bad: Callable[[Stairwell, Door], None]) -> None:
    async def story() -> None:
        stairwell = Stairwell(24)
        worse, *others = stairwell.doors
        async with stairwell.running(settle_s=60):
            bad(stairwell, worse)
            stairwell.radio.drop_link(worse.address)
            await asyncio.sleep(600)
            outcome, took_s = await others[7].turn()
            assert (outcome.code, took_s < 4) == (Code.DONE, True)
            assert max(door.longest_silence_s(until_s=loop_s()) for door in others) <= Stairwell.ROUND_S
            assert {rung for rung, _ in stairwell.radio.recoveries} <= {Rung.FORGET}
            assert stairwell.radio.connects[worse.address] <= CONNECT_BURST + 10

    run_virtual(story())


@pytest.mark.no_cover
def test_an_adapter_that_hangs_under_64_locks_is_recovered_for_all() -> None:
    async def story() -> None:
        stairwell = Stairwell(LOCK_COUNT)
        async with stairwell.running():
            stairwell.radio.hang(Rung.POWER_CYCLE)
            hung_s = loop_s()
            await asyncio.sleep(300)
            assert [rung for rung, _ in stairwell.radio.recoveries].count(Rung.POWER_CYCLE) == 1
            last_s = [door.diary.doors[-1].observed_at.monotonic_ms / 1_000 for door in stairwell.doors]
            assert min(last_s) > hung_s + 120

    run_virtual(story())


@pytest.mark.no_cover
def test_a_lock_more_is_a_megabyte_at_most_its_own_simulated_memory_included() -> None:
    async def story(lock_count: int) -> int:
        tracemalloc.start()
        try:
            stairwell = Stairwell(lock_count)
            async with stairwell.running(settle_s=100):
                size, _ = tracemalloc.get_traced_memory()
                return size
        finally:
            tracemalloc.stop()

    run_virtual(story(2))  # what is imported and cached once
    few, many = run_virtual(story(6)), run_virtual(story(LOCK_COUNT))
    a_lock = (many - few) / (LOCK_COUNT - 6)
    print(f"memory: {a_lock / 1_000:.0f} kB a lock")  # noqa: T201 - the figures of the run
    assert a_lock <= SIZE_A_LOCK_MAX


def test_with_one_lock_nothing_is_ever_given_up_for_others() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            await asyncio.sleep(3_600)
            assert link.status.connect_count == 1

    run_virtual(story())
