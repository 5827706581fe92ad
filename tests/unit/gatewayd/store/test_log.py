"""The journal taken out of a store that no daemon has open, and what a store is checked for when it opens."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import pytest

from gatewayd.journal.verification import Keys, verify_log
from gatewayd.store.database import Database
from gatewayd.store.faults import StoreCode, StoreError
from gatewayd.store.log import read_log
from gatewayd.store.store import Store
from tests.support.journal_bench import GATEWAY, LOG_ID, JournalBench, public, receipt

if TYPE_CHECKING:
    from pathlib import Path

KEYS = Keys(gateway=public(GATEWAY))


@pytest.fixture
def bench(tmp_path: Path) -> JournalBench:
    (tmp_path / "live").mkdir()
    bench = JournalBench.make(tmp_path / "live" / "store.db")
    bench.beat(8)
    bench.take_receipt(receipt(bench.note()))
    return bench


def refusal(path: Path) -> str:
    with pytest.raises(StoreError) as refused:
        read_log(path)
    return refused.value.code


def test_a_stopped_daemons_log_can_be_read(bench: JournalBench) -> None:
    bench.run(lambda tx: bench.journal.prune(tx, 5))
    bench.database.close()
    copy = read_log(bench.path)
    assert (copy.log_id, copy.size, copy.received, copy.before.size) == (LOG_ID, 8, 8, 3)
    assert [each.size for each in copy.checkpoints] == [8]
    assert [each.index for each in copy.leaves] == [3, 4, 5, 6, 7]


def test_reading_leaves_the_file_as_it_is(bench: JournalBench) -> None:
    bench.database.close()
    before = hashlib.sha256(bench.path.read_bytes()).digest()
    assert verify_log(read_log(bench.path), keys=KEYS).is_whole
    assert hashlib.sha256(bench.path.read_bytes()).digest() == before


def test_a_running_daemons_log_is_said_to_be_locked(bench: JournalBench) -> None:
    assert refusal(bench.path) == StoreCode.LOCKED
    bench.beat(1)


def test_the_log_of_a_daemon_that_was_killed_is_whole(bench: JournalBench, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    shutil.copytree(bench.path.parent, killed)
    assert (killed / "store.db-wal").stat().st_size > 0
    verification = verify_log(read_log(killed / "store.db"), keys=KEYS)
    assert (verification.problems, verification.entry_count) == ((), 8)


def test_the_log_of_a_daemon_that_was_killed_still_opens_after_it_was_read(bench: JournalBench, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    shutil.copytree(bench.path.parent, killed)
    list(read_log(killed / "store.db").leaves)
    again = JournalBench.open(killed / "store.db")
    assert again.marks.size == 8
    again.database.close()


def test_what_is_no_store_is_said_so(tmp_path: Path) -> None:
    assert refusal(tmp_path / "store.db") == StoreCode.ABSENT
    (tmp_path / "store.db").write_bytes(b"noise" * 1_000)
    assert refusal(tmp_path / "store.db") == StoreCode.DAMAGED


DAMAGE = {
    "the last entry gone": "DELETE FROM entries WHERE idx = 7",
    "all entries gone": "DELETE FROM entries",
    "a size too many": "UPDATE gateway SET log_size = 9",
    "the tree forgotten": "UPDATE gateway SET frontier = oldest_frontier",
    "the pruned tree ahead": "UPDATE gateway SET oldest_frontier = frontier",
    "no tree": "UPDATE gateway SET frontier = x'00'",
    "no row": "DELETE FROM gateway",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_store_whose_tree_and_entries_disagree_does_not_open(bench: JournalBench, damage: str) -> None:
    bench.run(lambda tx: tx.execute(damage))
    bench.database.close()
    with pytest.raises(StoreError) as refused:
        Store.open(bench.path)
    assert refused.value.code == StoreCode.DAMAGED
    Database(bench.path).close()  # and its lock is free again


@pytest.mark.parametrize("name", ["no tree", "no row"])
def test_of_a_store_without_its_tree_no_log_can_be_read(bench: JournalBench, name: str) -> None:
    bench.run(lambda tx: tx.execute(DAMAGE[name]))
    bench.database.close()
    assert refusal(bench.path) == StoreCode.DAMAGED


def test_an_entry_missing_in_the_middle_is_named_by_the_verification(bench: JournalBench) -> None:
    bench.run(lambda tx: tx.execute("DELETE FROM entries WHERE idx = 4"))
    bench.database.close()
    assert verify_log(read_log(bench.path), keys=KEYS).problems == ("entry 4: missing",)
