from __future__ import annotations

import asyncio

import pytest

from gatewayd.uplink.inbox import Inbox
from gatewayd.uplink.seam import INCOMING_COUNT_MAX, BrokerCode, BrokerError, Incoming


def message(number: int) -> Incoming:
    return Incoming(topic="t", payload=str(number).encode(), retained=False)


async def test_messages_come_in_order_and_what_came_before_the_end_is_still_read() -> None:
    inbox = Inbox(lambda: None)
    inbox.put(message(1))
    inbox.put(message(2))
    inbox.end(BrokerCode.LOST, "gone")
    assert [await inbox.get(), await inbox.get()] == [message(1), message(2)]
    for _ in range(2):
        with pytest.raises(BrokerError) as caught:
            await inbox.get()
        assert caught.value.code == BrokerCode.LOST


async def test_a_reader_that_waits_gets_what_comes_and_a_cancelled_one_loses_nothing() -> None:
    inbox = Inbox(lambda: None)
    cancelled = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    reader = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    inbox.put(message(1))
    assert await reader == message(1)


async def test_a_full_inbox_says_so_and_tells_once_when_half_of_it_is_read() -> None:
    rooms: list[int] = []
    inbox = Inbox(lambda: rooms.append(1))
    for number in range(INCOMING_COUNT_MAX):
        assert not inbox.full
        inbox.put(message(number))
    assert inbox.full
    for number in range(INCOMING_COUNT_MAX):
        assert await inbox.get() == message(number)
        assert len(rooms) == (number + 1 >= INCOMING_COUNT_MAX // 2)
