"""Six weeks without internet: everything is kept on disk and nothing in memory, and goes out in order afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from benchmarks.memory import resident_kib
from gatewayd.uplink import uplink as uplink_module
from simulator.central_store import CentralStore
from simulator.journal_leaf import read_leaf
from tests.support.inline_executor import InlineExecutor
from tests.support.uplink_bench import UplinkBench
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.uplink.seam import Incoming

OUTAGE_S = 6 * 7 * 86_400
BATCH_COUNT = 500
GROWTH_KIB_MAX = 8 * 1_024
"""A hundred thousand entries in memory would be seven times as much."""


class Diary:
    """What reached the central log: whether the indexes came one after another, without keeping them."""

    def __init__(self, bench: UplinkBench, folder: Path) -> None:
        self._bench = bench
        self.store = CentralStore(folder / "central.sqlite")
        bench.central.log = bench.new_central(self.store)
        self.following = 0
        self.repeated_count = 0

    def listen(self) -> None:
        topics = self._bench.topics
        self._bench.broker.listen(topics.log_entries, self._take_entry)
        self._bench.broker.listen(
            topics.log_checkpoint,
            lambda message: self._bench.central.answer(
                self._bench.central.log.take_checkpoint(
                    self._bench.home.gateway_id, message.payload, self._bench.central_now()
                )
            ),
        )

    def _take_entry(self, message: Incoming) -> None:
        index = read_leaf(message.payload).index
        assert index <= self.following, "an entry came before the one before it"
        self.repeated_count += index < self.following
        self.following = max(self.following, index + 1)
        answer = self._bench.central.log.take_entry(
            self._bench.home.gateway_id, message.payload, self._bench.central_now()
        )
        self._bench.central.answer(answer)


async def live_through(bench: UplinkBench, count: int, span_s: int) -> None:
    """Let events happen, evenly."""
    batches = count // BATCH_COUNT
    for _ in range(batches):
        await asyncio.sleep(span_s / batches)
        await bench.append(BATCH_COUNT)


@pytest.mark.no_cover
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "count",
    [
        pytest.param(100_000, marks=pytest.mark.slow),
        pytest.param(1_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(0)]),
    ],
)
def test_six_weeks_of_outage_lose_no_event_and_fill_no_memory(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An attempt after a day costs what one after a minute does; with the real cap there would be 240,000 of them.
    monkeypatch.setattr(uplink_module, "BACKOFF_S_MAX", 1_800.0)

    async def main() -> None:
        async with UplinkBench(tmp_path, executor=InlineExecutor()) as bench:
            diary = Diary(bench, tmp_path)
            diary.listen()
            bench.broker.stop()
            bench.start()
            await live_through(bench, count // 10, OUTAGE_S // 10)
            offline_kib = resident_kib()
            await live_through(bench, count - count // 10, OUTAGE_S - OUTAGE_S // 10)
            assert resident_kib() - offline_kib < GROWTH_KIB_MAX
            assert (await bench.marks()).received == 0
            bench.broker.start()
            await bench.until_received(count // 10, within_s=OUTAGE_S)
            draining_kib = resident_kib()
            await bench.until_received(count, within_s=OUTAGE_S)
            assert resident_kib() - draining_kib < GROWTH_KIB_MAX
            assert diary.following == count
            assert diary.repeated_count == 0
            assert diary.store.alarms() == ()
            ((held_size, _),) = [(held.frontier.size, held.note) for held in diary.store.logs()]
            assert held_size == count
            diary.store.close()

    with capture_logs():
        run_virtual(main())
