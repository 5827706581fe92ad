"""Rate limits outlive a restart and stay bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd.store import buckets

if TYPE_CHECKING:
    import pytest

    from tests.support.store_rows import Rows


def test_buckets_outlive_a_restart_and_unknown_ones_are_left_out(rows: Rows) -> None:
    rows.run(lambda tx: buckets.save_buckets(tx, {"a": 1, "b": 2**62}))
    rows.run(lambda tx: buckets.save_buckets(tx, {"a": 3}))
    rows.restart()
    assert rows.run(lambda tx: buckets.load_buckets(tx, ["a", "b", "c"])) == {"a": 3, "b": 2**62}


def test_buckets_are_bounded_and_the_one_full_for_longest_goes(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "BUCKET_COUNT_MAX", 3)
    rows.run(lambda tx: buckets.save_buckets(tx, {"a": 5, "b": 1, "c": 7}))
    rows.run(lambda tx: buckets.save_buckets(tx, {"d": 2}))
    assert rows.run(lambda tx: buckets.load_buckets(tx, "abcd")) == {"a": 5, "c": 7, "d": 2}
