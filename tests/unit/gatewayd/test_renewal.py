"""A journal that cannot be borne out begins anew: it names the old one, and carries over what was not received."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from firmware_protocol.merkle import leaf_hash, root_of
from gatewayd.journal.events import LockRecorded
from gatewayd.journal.verification import Keys, verify_log
from gatewayd.recorder import Page
from gatewayd.renewal import CARRIED_AT_ONCE, carry_over, renew_where_doubted
from gatewayd.store import locks, renewal
from gatewayd.store.log import read_log
from gatewayd.store.meta import StoredTime
from gatewayd.timekeeping import TimeInterval
from tests.support.journal_bench import GATEWAY, LOG_ID, SALT, TIME, JournalBench, heartbeat, public, receipt
from tests.support.seeded_entropy import SeededEntropy
from tests.support.store_rows import HOME, LOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gatewayd.store.store import Transaction

T = TypeVar("T")

LOCK_LOG = b"L" * 16


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[JournalBench]:
    bench = JournalBench.make(tmp_path / "store.db")
    bench.run(lambda tx: locks.save_lock_home(tx, HOME))
    yield bench
    bench.database.close()


def page_of(bench: JournalBench, tx: Transaction) -> Page:
    return Page(
        tx=tx,
        time=TimeInterval(lo_ms=TIME.lo_ms, hi_ms=TIME.lo_ms + 1_000),
        stored_time=StoredTime(floor_ms=0, anchors={}),
        journal=bench.journal,
        entropy=SeededEntropy(7),
    )


def renew(bench: JournalBench) -> None:
    bench.journal = bench.run(lambda tx: renew_where_doubted(page_of(bench, tx), own_key=public(GATEWAY)))


class BenchRecorder:
    """Runs pages on a bench, as a Recorder does on a store."""

    def __init__(self, bench: JournalBench, *, run_count_max: int = 1_000) -> None:
        self._bench = bench
        self._left_count = run_count_max

    async def run(self, work: Callable[[Page], T]) -> T:
        self._left_count -= 1
        if self._left_count < 0:
            raise KeyboardInterrupt
        return self._bench.run(lambda tx: work(page_of(self._bench, tx)))


def carry(bench: JournalBench) -> None:
    asyncio.run(carry_over(BenchRecorder(bench)))


def leaves(bench: JournalBench) -> list[dict[str, Any]]:
    return [json.loads(leaf) for _, leaf in bench.run(lambda tx: bench.journal.entries(tx, 0, 1_000, 10**9))]


def record(bench: JournalBench, seq: int) -> None:
    def work(tx: Transaction) -> None:
        event = LockRecorded(
            lock_id=LOCK, log_id=LOCK_LOG, seq=seq, record=b"r", kind="opened", up_s=1, boot=1, command_id=None
        )
        index = bench.journal.append(tx, event, time=TIME, salt=SALT)
        locks.note_lock_record(tx, LOCK, LOCK_LOG, seq, index)

    bench.run(work)


def received_seq(bench: JournalBench) -> int:
    return bench.run(lambda tx: locks.received_seq(tx, LOCK, LOCK_LOG))


def test_a_journal_that_nothing_speaks_against_goes_on_and_nothing_is_written(bench: JournalBench) -> None:
    bench.beat(3)
    bench.note()
    before = bench.run(lambda tx: tx.execute("SELECT total_changes()"))
    renew(bench)
    assert bench.journal.log_id == LOG_ID
    assert bench.run(lambda tx: tx.execute("SELECT total_changes()")) == before


def test_the_first_entry_of_a_fresh_log_names_the_old_one_its_size_and_its_root(bench: JournalBench) -> None:
    bench.beat(5)
    root = bench.run(bench.journal.checkpoint).root
    bench.run(lambda tx: renewal.note_doubt(tx, "journal.rolled_back"))
    renew(bench)
    (first,) = leaves(bench)
    assert first["type"] == "carelock.log.begun"
    assert first["priority"] is True
    assert first["data"] == {
        "reason": "journal.rolled_back",
        "former_log_id": LOG_ID.hex(),
        "former_size": 5,
        "former_root": root.hex(),
    }
    assert first["id"] == f"{bench.journal.log_id.hex()}/0"
    assert bench.journal.log_id != LOG_ID
    assert bench.run(renewal.load_doubt) == ""


def test_what_was_not_received_is_carried_over_in_order_with_its_time_and_salt(bench: JournalBench) -> None:
    bench.beat(2)
    bench.take_receipt(receipt(bench.note()))
    bench.append(*(heartbeat(number) for number in range(10, 10 + CARRIED_AT_ONCE + 5)))
    old = leaves(bench)[2:]
    bench.run(lambda tx: renewal.note_doubt(tx, "journal.forked"))
    renew(bench)
    bench.append(heartbeat(999))  # it goes on meanwhile
    carry(bench)
    new = leaves(bench)
    assert [leaf["data"].get("state_seq") for leaf in new] == [None, 999, *range(10, 10 + CARRIED_AT_ONCE + 5)]
    for before, after in zip(old, new[2:], strict=True):
        assert after.pop("carriedfrom") == before.pop("id")
        assert after.pop("id").startswith(bench.journal.log_id.hex())
        assert after == before
    assert bench.run(lambda tx: renewal.read_former(tx, 10)) == ()


def test_a_kill_while_carrying_carries_nothing_twice_and_loses_nothing(bench: JournalBench) -> None:
    bench.append(*(heartbeat(number) for number in range(2 * CARRIED_AT_ONCE)))
    bench.run(lambda tx: renewal.note_doubt(tx, "journal.forked"))
    renew(bench)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(carry_over(BenchRecorder(bench, run_count_max=1)))
    assert bench.marks.size == 1 + CARRIED_AT_ONCE
    carry(bench)
    assert [leaf["data"]["state_seq"] for leaf in leaves(bench)[1:]] == list(range(2 * CARRIED_AT_ONCE))


def test_a_lock_is_told_received_only_for_what_the_new_log_has_a_receipt_for(bench: JournalBench) -> None:
    record(bench, 1)
    bench.send_all()
    bench.take_receipt(receipt(bench.note()))
    record(bench, 2)
    assert received_seq(bench) == 1
    bench.run(lambda tx: renewal.note_doubt(tx, "journal.rolled_back"))
    renew(bench)
    assert received_seq(bench) == 1, "what was received stays received"
    carry(bench)
    assert received_seq(bench) == 1, "carried, but not received"
    bench.send_all()
    bench.take_receipt(receipt(bench.note()))
    assert received_seq(bench) == 2


def test_the_fresh_log_is_whole_and_a_log_of_its_own(bench: JournalBench) -> None:
    bench.beat(3)
    bench.run(lambda tx: renewal.note_doubt(tx, "journal.rolled_back"))
    renew(bench)
    carry(bench)
    bench.note()
    expected = root_of([leaf_hash(leaf) for _, leaf in bench.run(lambda tx: bench.journal.entries(tx, 0, 9, 10**9))])
    assert bench.run(bench.journal.checkpoint).root == expected
    bench.database.close()
    result = verify_log(read_log(bench.path), keys=Keys(gateway=public(GATEWAY)))
    assert (result.problems, result.size, result.checkpoint_count) == ((), 4, 1)


# --- what a start can see by itself


def test_a_store_cut_below_its_own_signed_checkpoint_is_known_at_the_start(bench: JournalBench) -> None:
    bench.beat(4)
    earlier = bench.run(lambda tx: tx.execute("SELECT frontier FROM gateway"))[0][0]
    bench.beat(2)
    bench.note()
    bench.run(lambda tx: tx.execute("UPDATE gateway SET log_size = 4, sent = 4, frontier = ?", (earlier,)))
    bench.run(lambda tx: tx.execute("DELETE FROM entries WHERE idx >= 4"))
    assert bench.run(lambda tx: bench.journal.doubt(tx, own_key=public(GATEWAY))) == "journal.rolled_back"
    renew(bench)
    assert leaves(bench)[0]["data"]["reason"] == "journal.rolled_back"


def test_a_store_with_another_tree_than_it_has_signed_is_known_at_the_start(bench: JournalBench) -> None:
    bench.beat(4)
    bench.note()
    other = JournalBench.make(bench.path.with_name("other.db"))
    other.append(*(heartbeat(number) for number in range(90, 94)))
    frontier = other.run(lambda tx: tx.execute("SELECT frontier FROM gateway"))[0][0]
    other.database.close()
    bench.run(lambda tx: tx.execute("UPDATE gateway SET frontier = ?", (frontier,)))
    assert bench.run(lambda tx: bench.journal.doubt(tx, own_key=public(GATEWAY))) == "journal.forked"


def test_attack_a_checkpoint_that_we_have_not_signed_makes_nobody_doubt(bench: JournalBench) -> None:
    bench.beat(4)
    bench.note()
    bench.run(lambda tx: tx.execute("UPDATE checkpoints SET note = x'00', log_size = 99"))
    assert bench.run(lambda tx: bench.journal.doubt(tx, own_key=public(GATEWAY))) == ""


def test_an_entry_that_has_rotted_is_not_carried_and_holds_nobody_up(bench: JournalBench) -> None:
    bench.append(heartbeat(1), heartbeat(2), heartbeat(3))
    bench.run(lambda tx: tx.execute("UPDATE entries SET leaf = x'ff00' WHERE idx = 1"))
    bench.run(lambda tx: renewal.note_doubt(tx, "journal.damaged"))
    renew(bench)
    carry(bench)
    assert [leaf["data"].get("state_seq") for leaf in leaves(bench)] == [None, 1, 3]
