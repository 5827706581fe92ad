"""Who gets one of the adapter's few connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gatewayd.link.slots import Slots
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Coroutine


def lock(number: int) -> bytes:
    return b"lock%d" % number


def slots_of(slot_count: int, lock_count: int) -> Slots:
    slots = Slots(slot_count)
    for number in range(lock_count):
        slots.join(lock(number))
    return slots


async def soon(waiting: Coroutine[object, object, None]) -> asyncio.Task[None]:
    """Start to wait, and give it a moment."""
    task = asyncio.create_task(waiting)
    await asyncio.sleep(0.001)
    return task


def test_with_no_more_locks_than_connections_all_have_one_for_ever() -> None:
    async def story() -> None:
        slots = slots_of(3, 3)
        for number in range(3):
            await slots.take(lock(number), urgent=False)
        wanted = [await soon(slots.wanted(lock(number), visited=True)) for number in range(3)]
        await asyncio.sleep(1_000)
        assert not any(task.done() for task in wanted)
        for task in wanted:
            task.cancel()

    run_virtual(story())


def test_where_locks_take_turns_one_connection_is_left_to_who_is_in_a_hurry() -> None:
    async def story() -> None:
        slots = slots_of(2, 3)
        await slots.take(lock(0), urgent=False)
        ordinary = await soon(slots.take(lock(1), urgent=False))
        assert not ordinary.done()
        await slots.take(lock(2), urgent=True)
        slots.give_back(lock(2))
        await asyncio.sleep(0.001)
        assert not ordinary.done()
        slots.give_back(lock(0))
        await ordinary

    run_virtual(story())


def test_who_came_first_is_first_and_who_is_in_a_hurry_before() -> None:
    async def story() -> None:
        slots, order = slots_of(1, 9), list[int]()

        async def visit(number: int, *, urgent: bool) -> None:
            await slots.take(lock(number), urgent=urgent)
            order.append(number)
            await asyncio.sleep(1)
            slots.give_back(lock(number))

        tasks = [await soon(visit(number, urgent=number >= 4)) for number in range(6)]
        slots.hurry(lock(3))
        await asyncio.gather(*tasks)
        assert order == [0, 3, 4, 5, 1, 2]

    run_virtual(story())


def test_the_one_that_has_had_its_visit_for_longest_makes_room_and_only_one_for_each_that_waits() -> None:
    async def story() -> None:
        slots = slots_of(4, 5)
        for number in range(3):
            await slots.take(lock(number), urgent=False)
        wanted = [await soon(slots.wanted(lock(number), visited=number > 0)) for number in range(3)]
        first = await soon(slots.take(lock(3), urgent=False))
        assert [task.done() for task in wanted] == [False, True, False]
        second = await soon(slots.take(lock(4), urgent=False))
        assert [task.done() for task in wanted] == [False, True, True]
        slots.give_back(lock(1))
        slots.give_back(lock(2))
        await asyncio.gather(first, second)
        wanted[0].cancel()

    run_virtual(story())


def test_who_is_in_a_hurry_ends_a_visit_that_has_just_begun() -> None:
    async def story() -> None:
        slots = slots_of(1, 3)
        await slots.take(lock(0), urgent=False)
        wanted = await soon(slots.wanted(lock(0), visited=False))
        ordinary = await soon(slots.take(lock(1), urgent=False))
        assert not wanted.done()
        urgent = await soon(slots.take(lock(2), urgent=True))
        assert wanted.done()
        slots.give_back(lock(0))
        await urgent
        ordinary.cancel()

    run_virtual(story())


@pytest.mark.parametrize("admitted", [False, True])
def test_who_gives_up_waiting_leaves_nothing_behind(*, admitted: bool) -> None:
    async def story() -> None:
        slots = slots_of(1, 1)
        await slots.take(lock(0), urgent=False)
        waiting = await soon(slots.take(lock(1), urgent=False))
        if admitted:
            slots.give_back(lock(0))  # the turn comes in the moment of the cancellation
        waiting.cancel()
        await asyncio.wait({waiting})
        slots.give_back(lock(0))
        assert slots.held_count == 0
        await slots.take(lock(2), urgent=False)

    run_virtual(story())


def test_giving_back_twice_is_giving_back() -> None:
    async def story() -> None:
        slots = slots_of(1, 2)
        await slots.take(lock(0), urgent=False)
        slots.give_back(lock(0))
        slots.give_back(lock(0))
        assert slots.held_count == 0

    run_virtual(story())
