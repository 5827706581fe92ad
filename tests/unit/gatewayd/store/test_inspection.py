"""Pages of the journal for a reader that asks the daemon, and the keys that a reader needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from firmware_protocol.merkle import Frontier
from gatewayd.store import locks, trust
from gatewayd.store.faults import StoreCode, StoreError
from gatewayd.store.inspection import (
    StoredTrust,
    read_checkpoints,
    read_header,
    read_leaves,
    read_trust,
    read_trust_file,
)
from gatewayd.store.log import read_log
from tests.support.journal_bench import JournalBench, receipt
from tests.support.store_rows import HOME

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> JournalBench:
    """Return a journal of 9 entries, the first 2 pruned; checkpoints at 3, 6 and 9, the first with a receipt."""
    bench = JournalBench.make(tmp_path / "store.db")
    for count in (3, 3, 3):
        bench.beat(count)
        note = bench.note()
        if bench.marks.size == 3:
            bench.take_receipt(receipt(note))
    bench.run(lambda tx: bench.journal.prune(tx, 7))
    return bench


def test_the_header_and_its_pages_are_what_a_copy_of_the_stopped_store_holds(bench: JournalBench) -> None:
    header = bench.run(read_header)
    leaves = bench.run(lambda tx: read_leaves(tx, 2, 100, 10**9))
    checkpoints = bench.run(lambda tx: read_checkpoints(tx, 0, 100))
    bench.database.close()
    copy = read_log(bench.path)
    assert (header.log_id, header.size, header.root, header.received) == (
        copy.log_id,
        copy.size,
        copy.root,
        copy.received,
    )
    assert Frontier.from_bytes(header.before) == copy.before
    assert leaves == tuple(copy.leaves)
    assert checkpoints == copy.checkpoints


@pytest.mark.parametrize(
    ("from_index", "count", "size_max", "indexes"),
    [(2, 2, 10**9, [2, 3]), (8, 5, 10**9, [8]), (9, 5, 10**9, []), (2, 5, 1, [2]), (2, 0, 10**9, [])],
    ids=["count", "the end", "beyond it", "one too large", "none asked for"],
)
def test_a_page_is_bounded_and_always_gets_on(
    bench: JournalBench, from_index: int, count: int, size_max: int, indexes: list[int]
) -> None:
    assert [each.index for each in bench.run(lambda tx: read_leaves(tx, from_index, count, size_max))] == indexes


def test_checkpoints_come_by_size_from_where_the_last_page_ended(bench: JournalBench) -> None:
    first = bench.run(lambda tx: read_checkpoints(tx, 0, 2))
    rest = bench.run(lambda tx: read_checkpoints(tx, first[-1].size, 2))
    assert ([each.size for each in first], [each.size for each in rest]) == ([3, 6], [9])


def test_keys_are_read_alike_from_a_running_and_from_a_stopped_store(bench: JournalBench) -> None:
    assert bench.run(read_trust) == StoredTrust(keyset=None, doors=())
    bench.run(lambda tx: trust.save_keyset(tx, b"keyset", 1))
    bench.run(lambda tx: locks.save_lock_home(tx, HOME))
    running = bench.run(read_trust)
    with pytest.raises(StoreError) as refused:
        read_trust_file(bench.path)
    assert refused.value.code == StoreCode.LOCKED
    bench.database.close()
    assert read_trust_file(bench.path) == running == StoredTrust(keyset=b"keyset", doors=(HOME.door,))
