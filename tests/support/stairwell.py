"""Many locks on one gateway's adapter: real firmware, real bytes, virtual time."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from firmware_protocol.vocabulary import Action, Bolt
from gatewayd.link.adapter import Adapter
from gatewayd.link.slots import SLOT_COUNT
from tests.support.link_home import LinkHome, move
from tests.support.memory_radio import MemoryRadio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd.link.ports import MoveOutcome


def address_of(number: int) -> str:
    """Return where the lock with this number is."""
    return f"F0:00:00:00:01:{number:02X}"


class Door(LinkHome):
    """One of them."""

    def __init__(self, number: int) -> None:
        super().__init__(seed=1_000 + number)
        self.number = number
        self.address = address_of(number)
        self.command_seq = 0

    async def turn(self) -> tuple[MoveOutcome, float]:
        """Have the bolt moved to where it is not; return how that went and how long it took, in seconds."""
        self.command_seq += 1
        action = Action.LOCK if self.mechanics.bolt is Bolt.UNLOCKED else Action.UNLOCK
        begun_s = asyncio.get_running_loop().time()
        outcome = await self.link.execute(move(self.command_seq, action=action))
        return outcome, asyncio.get_running_loop().time() - begun_s

    def longest_silence_s(self, *, until_s: float) -> float:
        """Return the longest time without an authenticated word about the door."""
        times = [observed.observed_at.monotonic_ms / 1_000 for observed in self.diary.doors] + [until_s]
        return max(later - earlier for earlier, later in itertools.pairwise(times))


class Stairwell:
    """Made in a running loop."""

    ROUND_S: Final = 120
    """Every lock proves itself at least so often."""

    def __init__(self, lock_count: int, *, slot_count: int = SLOT_COUNT) -> None:
        self.doors = [Door(number) for number in range(lock_count)]
        first = self.doors[0]
        self.random = first.random
        self.radio = MemoryRadio(first.lock, self.random, slot_count=slot_count)
        self.radio.locks.clear()
        self.adapter = Adapter(radio=self.radio, ledger=first.ledger, clock=first.clock, slot_count=slot_count)
        for door in self.doors:
            door.lock.attach_beacon(self.radio.add(door.lock, door.address))
            door.radio, door.adapter = self.radio, self.adapter
            door.link = door.make_link(address=door.address)

    @asynccontextmanager
    async def running(self, *, settle_s: float = 120) -> AsyncIterator[None]:
        """Run all links; begin the block when every lock has proved itself."""
        tasks = [asyncio.create_task(door.link.run()) for door in self.doors]
        try:
            await asyncio.sleep(settle_s)
            yield
            assert not [task for task in tasks if task.done()]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
