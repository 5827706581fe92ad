"""What a story in a world waits for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.memory_world import MemoryWorld


async def given_time(seconds: float = 2) -> None:
    """Let what has been sent arrive and be worked at."""
    await asyncio.sleep(seconds)


async def until_ready(world: MemoryWorld) -> None:
    """Wait for the lock alone, where there is no central log to wait for."""
    async with asyncio.timeout(300):
        while world.house is None or not all(link.ready for link in world.house.links.values()):
            await asyncio.sleep(0.1)
