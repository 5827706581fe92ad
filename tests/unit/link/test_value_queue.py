from __future__ import annotations

import asyncio

import pytest

from gatewayd.link.radio import VALUE_QUEUE_COUNT_MAX, RadioCode, RadioError
from gatewayd.link.value_queue import ValueQueue


async def test_values_come_out_in_the_order_they_went_in() -> None:
    queue = ValueQueue()
    queue.put(b"1")
    queue.put(b"2")
    assert [await queue.get(), await queue.get()] == [b"1", b"2"]


async def test_a_waiting_reader_is_woken_by_a_value() -> None:
    queue = ValueQueue()
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(b"late")
    assert await reader == b"late"


async def test_a_cancelled_reader_loses_nothing() -> None:
    queue = ValueQueue()
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(b"kept")
    reader.cancel()
    await asyncio.wait({reader})
    assert await queue.get() == b"kept"


async def test_what_came_before_the_end_is_read_before_the_error() -> None:
    queue = ValueQueue()
    queue.put(b"last")
    queue.end()
    assert await queue.get() == b"last"
    for _ in range(2):
        with pytest.raises(RadioError) as caught:
            await queue.get()
        assert caught.value.code == RadioCode.DISCONNECTED


async def test_a_waiting_reader_is_woken_by_the_end() -> None:
    queue = ValueQueue()
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.end()
    with pytest.raises(RadioError):
        await reader


async def test_values_after_the_end_are_ignored() -> None:
    queue = ValueQueue()
    queue.end()
    assert queue.put(b"ghost")
    with pytest.raises(RadioError):
        await queue.get()


async def test_a_full_queue_is_fine_and_one_more_value_ends_it_empty() -> None:
    queue = ValueQueue()
    assert all(queue.put(bytes([index])) for index in range(VALUE_QUEUE_COUNT_MAX))
    ended_when_full = queue.ended
    assert not queue.put(b"one too many")
    assert (ended_when_full, queue.ended) == (False, True)
    with pytest.raises(RadioError):
        await queue.get()
