from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gatewayd.uplink.seam import Incoming
from gatewayd.uplink.sorting import (
    LIVE_COUNT_MAX,
    LIVE_RUN_COUNT_MAX,
    PAPER_INTERVAL_S,
    PAPER_OVERHEAD_SIZE,
    PAPER_SIZE_MAX,
    QUIET_S,
    Sorting,
)
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

COMMAND, DOCUMENT, GRANT = "command", "authority/state", "authority/grants/"


def sorting(story: Callable[[Sorting], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(3_600):
            await story(Sorting(documents=(DOCUMENT,), grants=(GRANT,)))

    run_virtual(main())


def message(topic: str, payload: bytes = b"x") -> Incoming:
    return Incoming(topic=topic, payload=payload, retained=False)


async def take(waiting: Sorting, count: int) -> list[str]:
    return [(await waiting.get()).topic for _ in range(count)]


def test_live_messages_go_first_then_documents_then_grants_each_in_the_order_of_their_arrival() -> None:
    async def story(waiting: Sorting) -> None:
        for topic in (GRANT + "1", DOCUMENT + "1", COMMAND + "1", GRANT + "2", DOCUMENT + "2", COMMAND + "2"):
            await waiting.put(message(topic))
        assert await take(waiting, 6) == [
            *(COMMAND + "1", COMMAND + "2"),
            *(DOCUMENT + "1", DOCUMENT + "2"),
            *(GRANT + "1", GRANT + "2"),
        ]

    sorting(story)


@pytest.mark.parametrize("count", [LIVE_RUN_COUNT_MAX, LIVE_RUN_COUNT_MAX + 1])
def test_attack_a_flood_of_commands_keeps_no_revocation_out(count: int) -> None:
    async def story(waiting: Sorting) -> None:
        await waiting.put(message(DOCUMENT))
        for _ in range(count):
            await waiting.put(message(COMMAND))
        taken = await take(waiting, count + 1)
        assert taken.index(DOCUMENT) == LIVE_RUN_COUNT_MAX
        # Where no paper waits nobody counts.
        for _ in range(2 * LIVE_RUN_COUNT_MAX):
            await waiting.put(message(COMMAND))
        assert await take(waiting, 2 * LIVE_RUN_COUNT_MAX) == [COMMAND] * 2 * LIVE_RUN_COUNT_MAX

    sorting(story)


def test_papers_wait_until_no_more_stream_in_and_a_command_behind_them_is_taken_first() -> None:
    async def story(waiting: Sorting) -> None:
        taking = asyncio.ensure_future(waiting.get())
        for number in range(20):
            await waiting.put(message(f"{GRANT}{number}"))
            await asyncio.sleep(QUIET_S / 2)
        assert not taking.done()
        await waiting.put(message(COMMAND))
        await asyncio.sleep(0)
        assert (await taking).topic == COMMAND
        began_s = asyncio.get_running_loop().time()
        assert await take(waiting, 20) == [f"{GRANT}{number}" for number in range(20)]
        assert asyncio.get_running_loop().time() - began_s <= QUIET_S

    sorting(story)


def test_attack_papers_that_never_end_hold_no_paper_up_for_ever() -> None:
    async def story(waiting: Sorting) -> None:
        async def stream() -> None:
            for number in range(1_000):
                await waiting.put(message(f"{GRANT}{number}"))
                await asyncio.sleep(QUIET_S / 2)

        began_s = asyncio.get_running_loop().time()
        streaming = asyncio.ensure_future(stream())
        await take(waiting, 8)
        assert not streaming.done()
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(8 * PAPER_INTERVAL_S, abs=QUIET_S)
        streaming.cancel()

    sorting(story)


def test_attack_papers_take_so_much_memory_and_the_line_is_not_read_on_until_one_is_taken() -> None:
    size = len(GRANT) + 8 + PAPER_OVERHEAD_SIZE + 1_000
    count_max = -(-PAPER_SIZE_MAX // size)

    async def story(waiting: Sorting) -> None:
        for number in range(count_max):
            assert not waiting.full
            await waiting.put(message(f"{GRANT}{number:08}", bytes(1_000)))
        assert waiting.full
        putting = asyncio.ensure_future(waiting.put(message(COMMAND)))
        await asyncio.sleep(60)
        assert not putting.done()
        assert await take(waiting, 1) == [f"{GRANT}{0:08}"]  # at once: nobody waits for quiet in front of a full house
        await asyncio.sleep(0)
        assert putting.done()
        assert await take(waiting, 1) == [COMMAND]
        assert len(await take(waiting, count_max - 1)) == count_max - 1

    sorting(story)


def test_attack_commands_that_nobody_takes_are_bounded() -> None:
    async def story(waiting: Sorting) -> None:
        for _ in range(LIVE_COUNT_MAX):
            assert not waiting.full
            await waiting.put(message(COMMAND))
        putting = asyncio.ensure_future(waiting.put(message(COMMAND)))
        await asyncio.sleep(60)
        assert not putting.done()
        assert await take(waiting, LIVE_COUNT_MAX + 1) == [COMMAND] * (LIVE_COUNT_MAX + 1)

    sorting(story)


def test_a_paper_that_comes_again_while_it_waits_is_taken_once_and_afterwards_again() -> None:
    async def story(waiting: Sorting) -> None:
        for payload in (b"old", b"new", b"old"):
            await waiting.put(message(GRANT + "1", payload))
        await waiting.put(message(GRANT + "2", b"old"))
        taken = [(each.topic, each.payload) for each in [await waiting.get() for _ in range(3)]]
        assert taken == [(GRANT + "1", b"old"), (GRANT + "1", b"new"), (GRANT + "2", b"old")]
        await waiting.put(message(GRANT + "1", b"old"))
        assert (await waiting.get()).payload == b"old"

    sorting(story)


def test_a_getter_that_is_cancelled_loses_nothing() -> None:
    async def story(waiting: Sorting) -> None:
        cancelled = asyncio.ensure_future(waiting.get())
        await asyncio.sleep(1)
        cancelled.cancel()
        await asyncio.sleep(0)
        await waiting.put(message(DOCUMENT))
        assert await take(waiting, 1) == [DOCUMENT]

    sorting(story)
