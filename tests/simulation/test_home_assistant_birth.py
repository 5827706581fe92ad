"""Home Assistant starts: its devices and their states are written again, at a pace that nobody else sets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gatewayd.uplink.home_assistant import BIRTH_INTERVAL_S
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gatewayd.house import House

BIRTH = "homeassistant/status"


def announced(
    folder: Path, seed: int, story: Callable[[MemoryWorld, House], Awaitable[None]], refused: str = ""
) -> None:
    async def main() -> None:
        world = MemoryWorld(folder, seed)
        world.discovery_prefix = "homeassistant"
        world.broker.refused_topics.add(refused)
        async with world.gateway() as house:
            await world.settled()
            await asyncio.sleep(2 * BIRTH_INTERVAL_S)
            await story(world, house)

    run_virtual(main())


def forget(world: MemoryWorld) -> set[str]:
    """Take the devices away, as Home Assistant does when somebody deletes them there; return their topics."""
    topics = {topic for topic in world.broker.retained if topic.startswith("homeassistant/device/")}
    for topic in topics:
        world.send(topic, b"", retain=True)
    return topics


async def is_back(world: MemoryWorld, topics: set[str]) -> bool:
    await asyncio.sleep(5)
    return topics <= world.broker.retained.keys()


def test_at_its_birth_devices_and_states_are_written_again(tmp_path: Path) -> None:
    async def story(world: MemoryWorld, house: House) -> None:
        topics = forget(world)
        assert len(topics) == 2
        shown = [world.topics.state, world.topics.lock_state(world.home.lock_id)]
        before = [world.broker.publish_counts[topic] for topic in shown]
        world.send(BIRTH, b"online")
        assert await is_back(world, topics)
        assert world.broker.publish_counts[shown[1]] > before[1]
        assert house.downlink.dropped == {}

    announced(tmp_path, 180, story)


@pytest.mark.parametrize(
    "payload", [b"offline", b"", b"ONLINE", b"online" * 1_000], ids=["off", "none", "loud", "long"]
)
def test_attack_what_is_no_birth_writes_nothing(tmp_path: Path, payload: bytes) -> None:
    async def story(world: MemoryWorld, _house: House) -> None:
        topics = forget(world)
        world.send(BIRTH, payload)
        assert not await is_back(world, topics)

    announced(tmp_path, 181, story)


def test_attack_a_storm_of_births_is_answered_once_a_minute(tmp_path: Path) -> None:
    async def story(world: MemoryWorld, _house: House) -> None:
        topic = next(topic for topic in world.broker.retained if topic.startswith("homeassistant/device/"))
        before = world.broker.publish_counts[topic]
        for _ in range(600):
            world.send(BIRTH, b"online")
            await asyncio.sleep(0.5)
        assert 4 <= world.broker.publish_counts[topic] - before <= 6

    announced(tmp_path, 182, story)


def test_where_the_broker_does_not_let_it_hear_births_everything_else_goes_on(tmp_path: Path) -> None:
    async def story(world: MemoryWorld, house: House) -> None:
        assert house.uplink.status.connected
        assert world.broker.connect_count == 1

    announced(tmp_path, 183, story, refused=BIRTH)
