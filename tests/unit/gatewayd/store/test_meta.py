"""Starts and time: what a restart may know."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gatewayd.store import meta
from gatewayd.store.meta import StoredTime, TimeAnchor
from tests.support.store_rows import LOCK, OTHER_LOCK

if TYPE_CHECKING:
    from tests.support.store_rows import Rows


def test_every_start_is_counted_from_one(rows: Rows) -> None:
    starts = []
    for _ in range(3):
        starts.append(rows.run(lambda tx: meta.begin_run(tx, "boot-a")).boot)
        rows.restart()
    assert starts == [1, 2, 3]


def test_a_start_knows_whether_the_run_before_it_ended_by_its_own_will(rows: Rows) -> None:
    assert not rows.run(lambda tx: meta.begin_run(tx, "boot-a")).unclean
    assert rows.run(lambda tx: meta.begin_run(tx, "boot-a")).unclean
    rows.run(meta.end_run)
    assert not rows.run(lambda tx: meta.begin_run(tx, "boot-a")).unclean


def test_a_start_knows_whether_the_machine_was_started_too(rows: Rows) -> None:
    rebooted = [rows.run(partial(meta.begin_run, machine_boot=boot)).machine_rebooted for boot in "aabb"]
    assert rebooted == [True, False, True, False]


def test_before_any_evidence_there_is_no_time(rows: Rows) -> None:
    assert rows.run(meta.load_time) is None


def test_time_and_its_anchors_outlive_a_restart(rows: Rows) -> None:
    anchor = TimeAnchor(lock_boot=1, lock_up_ms=2, lo_ms=3, hi_ms=4)
    time = StoredTime(floor_ms=1_000, anchors={LOCK: anchor, OTHER_LOCK: replace(anchor, lock_boot=9)})
    rows.run(lambda tx: meta.save_time(tx, time))
    rows.restart()
    assert rows.run(meta.load_time) == time


def test_the_floor_of_time_never_falls_but_anchors_may_go(rows: Rows) -> None:
    anchor = TimeAnchor(lock_boot=1, lock_up_ms=2, lo_ms=3, hi_ms=4)
    rows.run(lambda tx: meta.save_time(tx, StoredTime(floor_ms=1_000, anchors={LOCK: anchor})))
    rows.run(lambda tx: meta.save_time(tx, StoredTime(floor_ms=999, anchors={})))
    assert rows.run(meta.load_time) == StoredTime(floor_ms=1_000, anchors={})
