"""A turn for each channel: a flood on one keeps nobody else waiting for more than one verification."""

from __future__ import annotations

import asyncio

import pytest

from gatewayd.turns import Turns


async def work(turns: Turns, channel: str, done: list[str]) -> None:
    async with turns.turn(channel):
        done.append(channel)


async def test_attack_a_flood_on_one_channel_keeps_the_door_waiting_for_one_verification() -> None:
    turns, done = Turns(), list[str]()
    flood = [asyncio.create_task(work(turns, "mqtt", done)) for _ in range(50)]
    await asyncio.sleep(0)
    await work(turns, "relay", done)
    assert done.index("relay") <= 2
    await asyncio.gather(*flood)
    assert len(done) == 51


async def test_one_verification_a_round_of_the_loop() -> None:
    turns, done, rounds = Turns(), list[str](), 0
    flood = [asyncio.create_task(work(turns, "mqtt", done)) for _ in range(10)]
    while not all(task.done() for task in flood):
        before = len(done)
        await asyncio.sleep(0)
        rounds += 1
        assert len(done) - before <= 1
    assert rounds >= 10


async def test_channels_that_all_wait_are_served_in_turn() -> None:
    turns, done = Turns(), list[str]()
    tasks = [asyncio.create_task(work(turns, channel, done)) for channel in "aaabbc"]
    await asyncio.gather(*tasks)
    assert done == ["a", "a", "b", "c", "a", "b"]


async def test_a_fault_gives_the_turn_back() -> None:
    turns, done = Turns(), list[str]()
    with pytest.raises(ValueError, match="bad bytes"):
        async with turns.turn("mqtt"):
            raise ValueError("bad bytes")
    await work(turns, "relay", done)
    assert done == ["relay"]


async def test_whoever_gives_up_waiting_leaves_the_turn_to_the_next() -> None:
    turns, done = Turns(), list[str]()
    first = asyncio.create_task(work(turns, "mqtt", done))
    waiting = [asyncio.create_task(work(turns, "mqtt", done)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await first
    await asyncio.sleep(0)
    waiting[1].cancel()  # perhaps in the very round in which its turn has come
    await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    await asyncio.wait_for(work(turns, "relay", done), 5)
    assert done[-1] == "relay"
