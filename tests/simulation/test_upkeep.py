"""What the gateway looks after now and then: evidence of time on disk, and the age of what it knows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gatewayd import upkeep
from gatewayd.store import meta
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

HOUR_S = 3_600


def test_evidence_of_time_is_on_disk_ten_minutes_later_and_an_idle_gateway_writes_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 70)
        async with world.gateway() as house:
            await world.settled()
            store, keeper = house.base.seams.store, house.base.timekeeper
            await asyncio.sleep(700)
            assert not keeper.is_unsaved
            wal = world.store_path.with_name(f"{world.store_path.name}-wal")
            before = (world.store_path.stat().st_size, wal.stat().st_size, wal.stat().st_mtime_ns)
            await asyncio.sleep(HOUR_S)
            assert (world.store_path.stat().st_size, wal.stat().st_size, wal.stat().st_mtime_ns) == before
            now_ms = world.clock.now().boottime_ms
            keeper.take_receipt(time_s=world.utc_s(), signed_boottime_ms=now_ms)
            await asyncio.sleep(601)
            stored = await store.run(meta.load_time)
            assert stored is not None
            assert stored.floor_ms >= (world.utc_s() - 602) * 1_000
            assert not keeper.is_unsaved

    run_virtual(story())


def test_too_long_without_fresh_word_of_revocations_raises_one_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "STALE_MS_MAX", HOUR_S * 1_000)  # 72 virtual hours take a minute

    async def story() -> None:
        world = MemoryWorld(tmp_path, 71)
        async with world.gateway():
            await world.settled()
            await asyncio.sleep(6.8 * HOUR_S)
            assert "authority.stale" not in world.codes("carelock.alert.raised")
            await asyncio.sleep(2 * HOUR_S)
            await world.settled()
            assert world.codes("carelock.alert.raised").count("authority.stale") == 1
            fresh = world.office.state(world.home, now_s=world.utc_s(), seq=2)
            world.send(world.topics.authority_state, fresh)
            await asyncio.sleep(7.5 * HOUR_S)
            await world.settled()
            assert world.codes("carelock.alert.raised").count("authority.stale") == 2

    run_virtual(story())
