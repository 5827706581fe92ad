from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from gatewayd.store.store import StoreCode, StoreError
from gatewayd.uplink.supervision import supervise
from tests.support.inline_executor import InlineExecutor
from tests.support.uplink_bench import UplinkBench
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

INTERVAL_S = 6 * 3_600


def supervised(
    folder: Path, story: Callable[[UplinkBench, list[float]], Awaitable[None]], *, fails: bool = False
) -> None:
    async def main() -> None:
        async with UplinkBench(folder, executor=InlineExecutor()) as bench:
            loop = asyncio.get_running_loop()
            beats: list[float] = []

            async def beat() -> None:
                beats.append(loop.time())
                if fails:
                    raise StoreError(StoreCode.FULL, "no room")
                await bench.append(1)

            task = asyncio.ensure_future(supervise(bench.ledger, beat, interval_s=INTERVAL_S))
            await story(bench, beats)
            task.cancel()

    run_virtual(main())


def test_an_idle_gateway_beats_once_an_interval(tmp_path: Path) -> None:
    async def story(_bench: UplinkBench, beats: list[float]) -> None:
        await asyncio.sleep(4.5 * INTERVAL_S)
        assert [round(later - earlier) for earlier, later in itertools.pairwise(beats)] == [INTERVAL_S] * 3

    supervised(tmp_path, story)


def test_a_gateway_with_other_entries_does_not_beat(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, beats: list[float]) -> None:
        for _ in range(10):
            await asyncio.sleep(INTERVAL_S / 2)
            await bench.append(1)
        assert beats == []

    supervised(tmp_path, story)


def test_a_store_that_cannot_be_read_does_not_end_supervision(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, beats: list[float]) -> None:
        await bench.store.close()
        await asyncio.sleep(3.5 * INTERVAL_S)
        assert beats == []

    supervised(tmp_path, story)


def test_a_disk_that_fails_does_not_end_supervision(tmp_path: Path) -> None:
    async def story(_bench: UplinkBench, beats: list[float]) -> None:
        await asyncio.sleep(3.5 * INTERVAL_S)
        assert len(beats) == 3

    supervised(tmp_path, story, fails=True)
