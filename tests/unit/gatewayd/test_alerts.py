"""Alerts reach a person and do not fill the disk, however many locks are in trouble."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from gatewayd.alerts import KIND_COUNT_MAX, REPEAT_MS_MIN, Alerts
from gatewayd.recorder import Recorder
from gatewayd.store.log import load_journal
from gatewayd.store.store import Store
from gatewayd.system_clock import SystemEntropy
from gatewayd.timekeeper import TimeKeeper
from tests.support.inline_executor import InlineExecutor
from tests.support.manual_clock import ManualClock
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path

LOCKS = tuple(number.to_bytes(8, "big") for number in range(64))
CODES = ("link.clone_suspect", "owner.epoch", "denied")


async def raised_in_two_rounds(folder: Path, codes: tuple[str, ...], *, pause_ms: int) -> tuple[int, int]:
    """Return how many entries two rounds of every lock's alerts have made."""
    store = Store.create(folder / "gatewayd.sqlite", log_id=bytes(16), executor=InlineExecutor())
    try:
        clock = ManualClock()
        journal = await store.run(lambda tx: load_journal(tx, gateway_id=bytes(8)))
        keeper = TimeKeeper(clock=clock, stored=None)
        alerts = Alerts(
            clock=clock,
            recorder=Recorder(store=store, journal=journal, timekeeper=keeper, entropy=SystemEntropy()),
        )
        counts = []
        for _ in range(2):
            for lock_id, code in itertools.product(LOCKS, codes):
                await alerts.alert(code, "in trouble", lock_id)
            counts.append(await store.run(journal.marks))
            await asyncio.sleep(pause_ms / 1_000)
        return counts[0].size, counts[1].size - counts[0].size
    finally:
        await store.close()


def test_attack_a_stairwell_in_trouble_tells_each_alert_once(tmp_path: Path) -> None:
    assert run_virtual(raised_in_two_rounds(tmp_path, CODES, pause_ms=REPEAT_MS_MIN // 2)) == (64 * 3, 0)


def test_it_is_told_again_where_it_goes_on(tmp_path: Path) -> None:
    assert run_virtual(raised_in_two_rounds(tmp_path, CODES, pause_ms=REPEAT_MS_MIN)) == (64 * 3, 64 * 3)


def test_what_is_remembered_has_a_bound_and_the_newest_is_told_whatever_it_is(tmp_path: Path) -> None:
    codes = tuple(f"code.{number}" for number in range(KIND_COUNT_MAX // len(LOCKS) + 1))
    first, second = run_virtual(raised_in_two_rounds(tmp_path, codes, pause_ms=0))
    assert first == second == len(LOCKS) * len(codes)
