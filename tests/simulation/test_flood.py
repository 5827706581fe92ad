"""A flood on MQTT of a known signer's commands with a bad signature: it costs nobody at the door anything.

What it costs in time is measured by `benchmarks/bench_flood.py`; here it is what must hold however fast the machine is.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import tracemalloc
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol.chains import make_bundle, parse_bundle
from firmware_protocol.codes import Code
from gatewayd.channel import Channel, Submission
from gatewayd.daemon import beat
from gatewayd.service_manager import ServiceManager, Watchdog
from gatewayd.settings import LimitSettings
from gatewayd.uplink.downlink import SUBMISSION_COUNT_MAX
from simulator.office import unlock_over_mqtt
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gatewayd.house import House
    from gatewayd.trust_keeper import TrustKeeper

PAUSE_S: Final = 0.01
GROWTH_SIZE_MAX: Final = 1_000_000
TTL_S: Final = 30
WATCHDOG_S: Final = 30


def forged(world: MemoryWorld) -> bytes:
    """Return a bundle of a known carer's in which one bit of the command's signature is another."""
    command, *chain = parse_bundle(world.unlock_bundle(world.carer("known"), bytes(16)))
    return make_bundle(command[:-1] + bytes((command[-1] ^ 1,)), *chain)


@asynccontextmanager
async def flooded(world: MemoryWorld) -> AsyncIterator[None]:
    """Flood the broker for the length of a block."""
    bundle = forged(world)

    async def flood() -> None:
        while True:
            world.send(world.topics.command, bundle)
            await asyncio.sleep(PAUSE_S)

    flooding = asyncio.create_task(flood())
    try:
        yield
    finally:
        flooding.cancel()


@dataclass(frozen=True, kw_only=True)
class NotingManager(ServiceManager):
    """Notes when the watchdog of a service manager is fed."""

    watchdog_interval_ms: int | None = WATCHDOG_S * 1_000
    fed_s: list[float] = field(default_factory=lambda: [asyncio.get_running_loop().time()])

    def feed_watchdog(self) -> None:
        """Note it."""
        self.fed_s.append(asyncio.get_running_loop().time())

    def gap_s(self) -> float:
        """The longest time until now in which it was not fed."""
        moments = [*self.fed_s, asyncio.get_running_loop().time()]
        return max(later - earlier for earlier, later in itertools.pairwise(moments))


@asynccontextmanager
async def watched(house: House, world: MemoryWorld) -> AsyncIterator[NotingManager]:
    """Feed a watchdog, as the daemon does, for the length of a block."""
    manager = NotingManager()
    beating = asyncio.create_task(beat(house, Watchdog(manager, ("loop", "store"), clock=world.clock)))
    try:
        yield manager
    finally:
        beating.cancel()


class Looked:
    """Counts how often, and how often at once, a keeper of grants looks for one on the disk."""

    def __init__(self, trust: TrustKeeper) -> None:
        self.count = self.at_once_max = self._at_once = 0
        self.begun = asyncio.Event()
        self._prefetch = trust.prefetch
        trust.prefetch = self._look  # type: ignore[method-assign]  # the same, counted

    async def _look(self, bundle: bytes) -> None:
        self.begun.set()
        self.count += 1
        self._at_once += 1
        self.at_once_max = max(self.at_once_max, self._at_once)
        await self._prefetch(bundle)
        self._at_once -= 1


class Deaf:
    """A sender who does not listen."""

    async def receipt(self, raw: bytes) -> None:
        """Take it."""

    async def info(self, raw: bytes) -> None:
        """Take it."""

    async def denied(self) -> None:
        """Take it."""


def test_a_flood_is_one_alarm_and_a_few_entries_and_the_phone_at_the_door_waits_for_nobody(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 400, limits=LimitSettings(lock_burst=20))
        async with world.gateway() as house:
            await world.settled()
            alone = await world.visit(world.carer("anna"))
            world.relock()
            before = (await house.ledger.marks()).size
            async with flooded(world):
                await asyncio.sleep(10)
                visit = await world.visit(world.carer("anna"))
                await asyncio.sleep(10)
                assert all(link.ready for link in house.links.values())
            assert visit.final is Code.DONE
            assert visit.decided_ms is not None
            assert alone.decided_ms is not None
            assert visit.decided_ms < alone.decided_ms + 100
            await world.settled()
            assert world.codes("carelock.alert.raised") == ["flood.mqtt"]
            assert (await house.ledger.marks()).size - before < 30

    run_virtual(story())


@pytest.mark.parametrize("broker_delay_s", [0, TTL_S - 5, TTL_S + 5])
def test_a_centres_command_in_a_flood_is_executed_and_answered_or_dead_by_its_own_deadline(
    tmp_path: Path, broker_delay_s: int
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 401)
        async with world.gateway() as house:
            await world.settled()
            alarm_ref, place = await world.raise_alarm(), (await world.ask_info()).locks[0]
            bundle = unlock_over_mqtt(
                world.office.operator("olga", now_s=world.utc_s()),
                world.home,
                epoch=place.epoch,
                issued_s=place.now_s,
                command_id=world.entropy.token(16),
                now_s=world.utc_s(),
                alarm_ref=alarm_ref,
                ttl_s=TTL_S,
            )
            async with watched(house, world) as watchdog, flooded(world):
                await asyncio.sleep(broker_delay_s)
                for _ in range(5):  # the same bytes until a receipt, as the centre does
                    world.send(world.topics.command, bundle)
                    await asyncio.sleep(1)
                receipt = await world.next_receipt()
                await asyncio.sleep(TTL_S)
            in_time = broker_delay_s < TTL_S
            assert receipt.code is (Code.PERMITTED if in_time else Code.EXPIRED)
            assert len(world.command_movements) == int(in_time)
            assert all(link.ready for link in house.links.values())
            assert watchdog.gap_s() <= WATCHDOG_S / 2
            await world.settled()
            assert world.codes("carelock.alert.raised") == ["flood.mqtt"]

    run_virtual(story())


def test_attack_commands_that_name_grants_in_plenty_have_them_looked_for_one_at_a_time_and_the_door_waits_for_one(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 403)
        async with world.gateway() as house:
            await world.settled()
            looked = Looked(house.base.trust)
            command, *_ = parse_bundle(world.unlock_bundle(world.carer("known"), bytes(16)))
            for number in range(SUBMISSION_COUNT_MAX):
                world.send(world.topics.command, make_bundle(command[:-1] + bytes([number])))
            await looked.begun.wait()
            stranger = Submission(channel=Channel.RELAY, bundle=make_bundle(command))
            before = looked.count
            await house.door(stranger, Deaf())
            assert looked.count - before <= 4
            async with asyncio.timeout(60):
                while looked.count <= SUBMISSION_COUNT_MAX:
                    await asyncio.sleep(0.1)
            assert looked.at_once_max == 1

    run_virtual(story())


def test_memory_stays_flat_in_a_flood(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 402)
        async with world.gateway():
            await world.settled()
            async with flooded(world):
                await asyncio.sleep(5)
                world.trace.clear()
                world.answers.clear()
                gc.collect()
                tracemalloc.start()
                before, _ = tracemalloc.get_traced_memory()
                await asyncio.sleep(10)
                world.trace.clear()
                world.answers.clear()
                gc.collect()
                after, _ = tracemalloc.get_traced_memory()
                tracemalloc.stop()
            assert after - before < GROWTH_SIZE_MAX

    run_virtual(story())
