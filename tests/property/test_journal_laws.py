"""Whatever is done to a journal, and wherever power is cut: it is one tree, and nothing acknowledged is lost."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from firmware_protocol.merkle import leaf_hash, root_of
from gatewayd.journal.receipts import ReceiptAccepted, ReceiptRefused
from gatewayd.journal.verification import Keys, verify_log
from gatewayd.store.database import Dropped
from gatewayd.store.log import check_whole, read_log
from tests.support.journal_bench import (
    CENTRAL,
    GATEWAY,
    SALT,
    STRANGER,
    TIME,
    JournalBench,
    conflict,
    heartbeat,
    public,
    receipt,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.store.database import Transaction

KEYS = Keys(gateway=public(GATEWAY), receipt=[public(CENTRAL)])


class JournalWalk(RuleBasedStateMachine):
    """A journal beside a list of what it should hold."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.bench = JournalBench.make(self.folder / "store.db")
        self.leaves: list[bytes] = []
        self.notes: list[tuple[int, bytes]] = []
        self.received = 0

    def teardown(self) -> None:
        self.bench.database.close()
        verification = verify_log(read_log(self.bench.path), keys=KEYS)
        shutil.rmtree(self.folder)
        assert verification.problems == ()
        assert verification.size == len(self.leaves)

    @rule(count=st.integers(1, 9))
    def append(self, count: int) -> None:
        self.bench.append(*(heartbeat(len(self.leaves) + n) for n in range(count)))
        read = self.bench.run(lambda tx: self.bench.journal.entries(tx, len(self.leaves), count, 10**9))
        self.leaves.extend(leaf for _, leaf in read)
        assert len(read) == count

    @rule(count=st.integers(1, 5))
    def append_and_fail(self, count: int) -> None:
        def fail(tx: Transaction) -> None:
            for _ in range(count):
                self.bench.journal.append(tx, heartbeat(), time=TIME, salt=SALT)
            raise ZeroDivisionError

        (dropped,) = self.bench.database.run_batch([fail])
        assert isinstance(dropped, Dropped)

    @rule()
    def send_and_sign(self) -> None:
        self.bench.send_all()
        self.notes.append((len(self.leaves), self.bench.note()))

    @rule(pick=st.randoms(use_true_random=False))
    def receive(self, pick: random.Random) -> None:
        if not self.notes:
            return
        size, note = pick.choice(self.notes)
        sent = self.bench.marks.sent
        verdict = self.bench.take_receipt(receipt(note))
        assert isinstance(verdict, ReceiptAccepted if size <= sent else ReceiptRefused)
        if size <= sent:
            self.received = max(self.received, size)

    @rule(pick=st.randoms(use_true_random=False))
    def receive_forged(self, pick: random.Random) -> None:
        if self.notes:
            verdict = self.bench.take_receipt(receipt(pick.choice(self.notes)[1], key=STRANGER))
            assert isinstance(verdict, ReceiptRefused)

    @rule(size=st.integers(0, 60))
    def hear_a_conflict(self, size: int) -> None:
        self.bench.take_conflict(conflict(size=size))

    @rule(to=st.integers(0, 60))
    def rewind(self, to: int) -> None:
        self.bench.run(lambda tx: self.bench.journal.rewind_sent(tx, to))

    @rule(keep_count=st.integers(0, 20))
    def prune(self, keep_count: int) -> None:
        self.bench.run(lambda tx: self.bench.journal.prune(tx, keep_count))

    @rule()
    def restart(self) -> None:
        self.bench = self.bench.restart()

    @rule()
    def lose_power(self) -> None:
        """Go on from what is on disk at this moment; the old connection never gets to close."""
        left = Path(tempfile.mkdtemp(dir=self.folder))
        for file in self.bench.path.parent.glob("store.db*"):
            shutil.copy(file, left)
        self.bench.database.close()
        self.bench = JournalBench.open(left / "store.db")

    @invariant()
    def marks_are_in_order(self) -> None:
        marks = self.bench.marks
        assert marks.size == len(self.leaves)
        assert marks.received == self.received
        assert 0 <= marks.oldest <= marks.received <= marks.size
        assert marks.oldest <= marks.sent <= marks.size

    @invariant()
    def the_tree_is_that_of_all_that_was_ever_appended(self) -> None:
        checkpoint = self.bench.run(self.bench.journal.checkpoint)
        assert checkpoint.root == root_of([leaf_hash(leaf) for leaf in self.leaves])

    @invariant()
    def what_is_left_is_what_was_appended(self) -> None:
        oldest = self.bench.marks.oldest
        left = self.bench.run(lambda tx: self.bench.journal.entries(tx, oldest, 1_000, 10**9))
        assert [leaf for _, leaf in left] == self.leaves[oldest:]


JournalWalk.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestJournalWalk = JournalWalk.TestCase


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    cut=st.floats(0, 1),
    tail=st.sampled_from(["gone", "zeros", "noise"]),
    seed=st.integers(0, 2**32),
)
def test_wherever_the_log_is_torn_a_whole_number_of_transactions_is_left(
    counts: list[int], cut: float, tail: str, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = JournalBench.make(Path(folder) / "store.db")
        wal = bench.path.with_name("store.db-wal")
        durable = [(0, 0)]
        for count in counts:
            bench.append(*(heartbeat(n) for n in range(count)))
            durable.append((wal.stat().st_size, durable[-1][1] + count))
        written = wal.read_bytes()
        end = int(cut * len(written))
        torn = {
            "gone": b"",
            "zeros": bytes(len(written) - end),
            "noise": random.Random(seed).randbytes(len(written) - end),
        }[tail]
        left = Path(folder) / "left"
        left.mkdir()
        shutil.copy(bench.path, left)
        (left / wal.name).write_bytes(written[:end] + torn)
        bench.database.close()

        again = JournalBench.open(left / "store.db")
        again.run(lambda tx: check_whole(tx, again.path))
        assert again.marks.size == max(size for offset, size in durable if offset <= end)
        again.append(heartbeat())
        again.database.close()
        assert verify_log(read_log(again.path), keys=KEYS).problems == ()


@settings(max_examples=60, deadline=None)
@given(works=st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=12))
def test_a_shared_transaction_is_the_works_one_after_another_without_those_that_failed(
    works: list[tuple[int, bool]],
) -> None:
    def work(count: int, *, fails: bool, bench: JournalBench) -> Callable[[Transaction], int]:
        def run(tx: Transaction) -> int:
            for _ in range(count):
                bench.journal.append(tx, heartbeat(count), time=TIME, salt=SALT)
            return 1 // (not fails)

        return run

    with tempfile.TemporaryDirectory() as folder:
        together = JournalBench.make(Path(folder) / "together.db")
        alone = JournalBench.make(Path(folder) / "alone.db")
        together.database.run_batch([work(count, fails=fails, bench=together) for count, fails in works])
        for count, fails in works:
            if not fails:
                alone.append(*[heartbeat(count)] * count)
        assert together.run(together.journal.checkpoint) == alone.run(alone.journal.checkpoint)
        together.database.close()
        alone.database.close()
