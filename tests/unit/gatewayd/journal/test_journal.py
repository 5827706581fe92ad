"""The journal on its real store: marks, checkpoints, receipts, pruning; over rollbacks and restarts."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from firmware_protocol.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from firmware_protocol.erased import ErasedEntry
from firmware_protocol.merkle import EMPTY_ROOT, Frontier, leaf_hash, root_of
from gatewayd.journal.journal import READ_COUNT_MAX, JournalError, Marks, SignedAt
from gatewayd.journal.leaves import read_leaf
from gatewayd.journal.receipts import ReceiptAccepted, ReceiptRefusal, ReceiptRefused, ResendFrom, RolledBack
from gatewayd.store.entries import CHECKPOINT_COUNT_MAX, SENT_COUNT_LOST_MAX
from tests.support.journal_bench import (
    CENTRAL,
    GATEWAY,
    LOG_ID,
    RECEIPT_S,
    SALT,
    SIGNED_AT,
    STRANGER,
    TIME,
    JournalBench,
    conflict,
    heartbeat,
    public,
    receipt,
)

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.store.database import Transaction


@pytest.fixture
def bench(tmp_path: Path) -> JournalBench:
    return JournalBench.make(tmp_path / "store.db")


def leaves(bench: JournalBench, from_index: int = 0, count: int = READ_COUNT_MAX) -> list[bytes]:
    return [leaf for _, leaf in bench.run(lambda tx: bench.journal.entries(tx, from_index, count, 10**9))]


def test_a_new_journal_is_the_empty_tree(bench: JournalBench) -> None:
    checkpoint = bench.run(bench.journal.checkpoint)
    assert checkpoint == Checkpoint(origin=bench.journal.origin, size=0, root=EMPTY_ROOT)
    assert bench.marks == Marks(size=0, sent=0, received=0, oldest=0)


def test_entries_get_indexes_without_a_hole_and_say_them(bench: JournalBench) -> None:
    assert bench.append(heartbeat(1), heartbeat(2)) == [0, 1]
    assert bench.append(heartbeat(3)) == [2]
    assert [read_leaf(leaf).index for leaf in leaves(bench)] == [0, 1, 2]


def test_the_root_is_that_of_the_published_bytes(bench: JournalBench) -> None:
    bench.beat(11)
    assert bench.run(bench.journal.checkpoint).root == root_of([leaf_hash(leaf) for leaf in leaves(bench)])


def test_a_transaction_that_fails_leaves_no_entry_and_no_hole(bench: JournalBench) -> None:
    def fail(tx: Transaction) -> None:
        bench.journal.append(tx, heartbeat(1), time=TIME, salt=SALT)
        raise ZeroDivisionError

    bench.append(heartbeat(0))
    before = bench.run(bench.journal.checkpoint)
    with pytest.raises(ZeroDivisionError):
        bench.run(fail)
    assert bench.run(bench.journal.checkpoint) == before
    assert bench.append(heartbeat(2)) == [1]


def test_a_restart_goes_on_where_it_stopped(bench: JournalBench) -> None:
    bench.beat(5)
    before = bench.run(bench.journal.checkpoint)
    again = bench.restart()
    assert again.run(again.journal.checkpoint) == before
    assert again.append(heartbeat()) == [5]


def test_depth_counts_what_the_central_log_has_not_signed_for(bench: JournalBench) -> None:
    bench.beat(3)
    assert bench.run(bench.journal.depth) == 3
    bench.take_receipt(receipt(bench.note()))
    assert bench.run(bench.journal.depth) == 0


@pytest.mark.parametrize(
    ("count", "size_max", "expected"),
    [(2, 10**9, 2), (9, 10**9, 4), (0, 10**9, 0), (9, 1, 1), (9, 0, 1)],
    ids=["count", "the end", "none asked for", "one too large", "no room at all"],
)
def test_reading_is_bounded_and_always_gets_on(bench: JournalBench, count: int, size_max: int, expected: int) -> None:
    bench.beat(4)
    assert len(bench.run(lambda tx: bench.journal.entries(tx, 0, count, size_max))) == expected


def test_reading_stops_before_the_entry_that_would_go_beyond_the_size(bench: JournalBench) -> None:
    bench.beat(3)
    size = sum(len(leaf) for leaf in leaves(bench, 0, 2))
    assert len(bench.run(lambda tx: bench.journal.entries(tx, 0, 9, size))) == 2
    assert len(bench.run(lambda tx: bench.journal.entries(tx, 0, 9, size - 1))) == 1


# --- the sent mark


def test_the_sent_mark_only_rises(bench: JournalBench) -> None:
    bench.append(*(heartbeat(n) for n in range(5)))
    for to, sent in ((3, 3), (2, 3), (5, 5)):
        bench.run(partial(bench.journal.mark_sent, to=to))
        assert bench.marks.sent == sent


def test_more_than_there_is_cannot_have_been_sent(bench: JournalBench) -> None:
    bench.append(heartbeat())
    with pytest.raises(JournalError) as refused:
        bench.run(lambda tx: bench.journal.mark_sent(tx, 2))
    assert refused.value.code == "journal.beyond_end"


@pytest.mark.parametrize(
    ("sent", "after_restart"),
    [(SENT_COUNT_LOST_MAX - 1, 0), (SENT_COUNT_LOST_MAX, SENT_COUNT_LOST_MAX)],
    ids=["a restart forgets a little", "but not more"],
)
def test_the_sent_mark_is_a_hint_that_may_fall_back_at_a_restart(
    bench: JournalBench, sent: int, after_restart: int
) -> None:
    bench.append(*(heartbeat(n) for n in range(SENT_COUNT_LOST_MAX + 1)))
    bench.run(lambda tx: bench.journal.mark_sent(tx, sent))
    assert bench.marks.sent == sent
    assert bench.restart().marks.sent == after_restart


def test_what_is_received_has_been_sent_also_after_a_restart(bench: JournalBench) -> None:
    bench.beat(7)
    bench.take_receipt(receipt(bench.note()))
    assert bench.restart().marks == Marks(size=7, sent=7, received=7, oldest=0)


def test_rewinding_lowers_the_sent_mark_for_good(bench: JournalBench) -> None:
    bench.beat(SENT_COUNT_LOST_MAX + 10)
    assert bench.run(lambda tx: bench.journal.rewind_sent(tx, 4)) == 4
    assert bench.marks.sent == 4
    assert bench.restart().marks.sent == 4


def test_rewinding_forward_changes_nothing(bench: JournalBench) -> None:
    bench.append(*(heartbeat(n) for n in range(5)))
    bench.run(lambda tx: bench.journal.mark_sent(tx, 2))
    assert bench.run(lambda tx: bench.journal.rewind_sent(tx, 4)) == 2
    assert bench.marks.sent == 2


def test_rewinding_below_what_was_pruned_stops_at_the_oldest_entry(bench: JournalBench) -> None:
    bench.beat(10)
    bench.take_receipt(receipt(bench.note()))
    bench.run(lambda tx: bench.journal.prune(tx, 3))
    assert bench.run(lambda tx: bench.journal.rewind_sent(tx, 0)) == 7


# --- checkpoints


def test_a_signed_checkpoint_states_the_tree(bench: JournalBench) -> None:
    bench.beat(6)
    signed = verify_checkpoint(bench.note(), name=bench.journal.origin, public=public(GATEWAY))
    assert signed == bench.run(bench.journal.checkpoint)


def test_a_checkpoint_offered_again_is_the_same_bytes_and_as_old_as_at_first(bench: JournalBench) -> None:
    # The first receipt over it may have been made right after the first offer: a later time would prove too much.
    bench.beat(2)
    first = bench.note()
    assert bench.note(SignedAt(boot=4, boottime_ms=90_000)) == first
    assert bench.run(lambda tx: bench.journal.checkpoint_signed_at(tx, 2)) == SIGNED_AT
    assert bench.restart().run(lambda tx: bench.journal.checkpoint_signed_at(tx, 2)) == SIGNED_AT


def test_of_a_size_that_was_never_signed_nothing_is_remembered(bench: JournalBench) -> None:
    bench.beat(2)
    assert bench.run(lambda tx: bench.journal.checkpoint_signed_at(tx, 2)) is None


def test_attack_a_store_that_was_altered_under_us_signs_no_second_tree_of_one_size(bench: JournalBench) -> None:
    bench.beat(2)
    bench.note()
    bench.run(lambda tx: tx.execute("UPDATE checkpoints SET root = zeroblob(32)"))
    with pytest.raises(JournalError) as refused:
        bench.note()
    assert refused.value.code == "journal.forked"


def test_only_the_newest_checkpoints_are_remembered(bench: JournalBench) -> None:
    notes = []
    for _ in range(CHECKPOINT_COUNT_MAX + 1):
        bench.beat(1)
        notes.append(bench.note())
    oldest, second = bench.take_receipt(receipt(notes[0])), bench.take_receipt(receipt(notes[1]))
    assert oldest == ReceiptRefused(code=ReceiptRefusal.FORGOTTEN, checkpoint=_parsed(notes[0]))
    assert isinstance(second, ReceiptAccepted)


def _parsed(note: bytes) -> Checkpoint:
    return Checkpoint.parse(note.partition(b"\n\n")[0] + b"\n")


@pytest.mark.parametrize("size", [0, 3, 8])
def test_the_tree_of_an_earlier_size_is_computed_from_the_entries(bench: JournalBench, size: int) -> None:
    bench.beat(8)
    hashes = [leaf_hash(leaf) for leaf in leaves(bench)]
    tree = bench.run(lambda tx: bench.journal.tree_towards(tx, size=size, known=Frontier.empty()))
    assert (tree.size, tree.root()) == (size, root_of(hashes[:size]))


def test_a_tree_grows_from_one_that_is_known_and_past_what_was_pruned(bench: JournalBench) -> None:
    received(bench, 8)
    hashes = [leaf_hash(leaf) for leaf in leaves(bench)]
    known = bench.run(lambda tx: bench.journal.tree_towards(tx, size=6, known=Frontier.empty()))
    bench.run(lambda tx: bench.journal.prune(tx, 3))
    for start in (known, Frontier.empty()):
        tree = bench.run(partial(bench.journal.tree_towards, size=7, known=start))
        assert tree.root() == root_of(hashes[:7])


# --- receipts


def test_a_receipt_raises_the_received_mark_durably(bench: JournalBench) -> None:
    bench.beat(3)
    verdict = bench.take_receipt(receipt(bench.note()))
    assert isinstance(verdict, ReceiptAccepted)
    assert verdict.time_s == RECEIPT_S
    assert bench.restart().marks.received == 3


def test_attack_a_replayed_receipt_moves_nothing_back(bench: JournalBench) -> None:
    bench.beat(3)
    old = receipt(bench.note())
    bench.beat(3)
    bench.take_receipt(receipt(bench.note()))
    assert isinstance(bench.take_receipt(old), ReceiptAccepted)
    assert bench.marks.received == 6


def test_a_receipt_that_comes_out_of_order_counts_for_what_it_covers(bench: JournalBench) -> None:
    bench.beat(3)
    first = receipt(bench.note())
    bench.beat(3)
    bench.note()
    bench.take_receipt(first)
    assert bench.marks.received == 3


def test_attack_a_forged_receipt_frees_nothing(bench: JournalBench) -> None:
    bench.beat(3)
    verdict = bench.take_receipt(receipt(bench.note(), key=STRANGER))
    assert isinstance(verdict, ReceiptRefused)
    assert bench.marks.received == 0
    assert bench.run(lambda tx: bench.journal.prune(tx, 0)) == 0


def test_attack_a_receipt_for_what_was_not_sent_frees_nothing(bench: JournalBench) -> None:
    bench.append(heartbeat(), heartbeat())
    bench.run(lambda tx: bench.journal.mark_sent(tx, 1))
    verdict = bench.take_receipt(receipt(bench.note()))
    assert isinstance(verdict, ReceiptRefused)
    assert verdict.code is ReceiptRefusal.AHEAD
    assert bench.marks.received == 0


def test_a_restored_card_is_known_by_the_receipt_for_what_it_has_lost(bench: JournalBench, tmp_path: Path) -> None:
    bench.beat(2)
    bench.note()
    bench.database.close()
    copy = tmp_path / "card.img"
    copy.write_bytes(bench.path.read_bytes())
    bench = JournalBench.open(bench.path)
    bench.beat(3)
    later = receipt(bench.note())
    restored = JournalBench.open(copy)
    verdict = restored.take_receipt(later)
    assert isinstance(verdict, RolledBack)
    assert verdict.checkpoint.size == 5
    assert restored.marks.received == 0


def test_two_cards_with_one_key_are_known_by_their_roots(bench: JournalBench, tmp_path: Path) -> None:
    bench.beat(2)
    bench.database.close()
    clone = tmp_path / "clone.img"
    clone.write_bytes(bench.path.read_bytes())
    one, other = JournalBench.open(bench.path), JournalBench.open(clone)
    one.beat(1)
    other.append(heartbeat(999))
    other.send_all()
    one.note()
    assert isinstance(one.take_receipt(receipt(other.note())), RolledBack)


def test_attack_a_stranger_cannot_make_us_believe_that_we_were_rolled_back(bench: JournalBench) -> None:
    # Else whoever owns the broker could put a whole fleet under suspicion and so shut its doors.
    bench.beat(2)
    ahead = Checkpoint(origin=bench.journal.origin, size=50, root=bytes(32))
    forged = sign_checkpoint(ahead, key=STRANGER, name=bench.journal.origin)
    assert bench.take_receipt(receipt(forged)) == ReceiptRefused(code=ReceiptRefusal.NOT_OURS)


def test_a_conflict_is_judged_against_the_journal_and_writes_nothing(bench: JournalBench) -> None:
    bench.beat(5)
    note = bench.note()
    assert bench.take_conflict(conflict(size=2)) == ResendFrom(size=2, proven=False)
    assert bench.take_conflict(conflict(size=2, checkpoint=note)) == ResendFrom(size=2, proven=True)
    assert bench.marks == Marks(size=5, sent=5, received=0, oldest=0)


# --- pruning


def received(bench: JournalBench, count: int, unreceived_count: int = 0) -> None:
    bench.beat(count)
    bench.take_receipt(receipt(bench.note()))
    bench.beat(unreceived_count)


@pytest.mark.parametrize(
    ("keep_count", "oldest"),
    [(0, 8), (1, 8), (2, 8), (3, 7), (10, 0), (11, 0)],
    ids=["only what is received", "the same", "exactly those", "one more", "all", "more than there are"],
)
def test_only_received_entries_are_pruned_and_never_the_newest(
    bench: JournalBench, keep_count: int, oldest: int
) -> None:
    received(bench, 8, unreceived_count=2)
    assert bench.run(lambda tx: bench.journal.prune(tx, keep_count)) == oldest
    assert bench.marks.oldest == oldest


def test_pruning_is_bounded_so_that_a_commit_never_waits_long(bench: JournalBench) -> None:
    received(bench, READ_COUNT_MAX + 5)
    pruned = [bench.run(lambda tx: bench.journal.prune(tx, 0)) for _ in range(3)]
    assert pruned == [READ_COUNT_MAX, 5, 0]


def test_a_pruned_journal_goes_on_with_the_same_tree(bench: JournalBench) -> None:
    received(bench, 9)
    before = bench.run(bench.journal.checkpoint)
    bench.run(lambda tx: bench.journal.prune(tx, 2))
    assert bench.run(bench.journal.checkpoint) == before
    assert bench.append(heartbeat()) == [9]
    assert [index for index, _ in bench.run(lambda tx: bench.journal.entries(tx, 7, 9, 10**9))] == [7, 8, 9]


def test_a_journal_that_is_pruned_empty_restarts(bench: JournalBench) -> None:
    received(bench, 4)
    bench.run(lambda tx: bench.journal.prune(tx, 0))
    again = bench.restart()
    assert again.append(heartbeat()) == [4]


def test_a_pruned_entry_is_not_taken_for_one_that_never_was(bench: JournalBench) -> None:
    received(bench, 4)
    bench.run(lambda tx: bench.journal.prune(tx, 1))
    with pytest.raises(JournalError) as refused:
        bench.run(lambda tx: bench.journal.entries(tx, 2, 1, 10**9))
    assert refused.value.code == "journal.pruned"


def test_attack_entries_missing_below_the_mark_are_not_pruned_away_silently(bench: JournalBench) -> None:
    received(bench, 4)
    bench.run(lambda tx: tx.execute("DELETE FROM entries WHERE idx = 1"))
    with pytest.raises(Exception, match=r"store\.damaged"):
        bench.run(lambda tx: bench.journal.prune(tx, 0))


def test_nothing_is_written_when_nothing_happens(bench: JournalBench) -> None:
    received(bench, 3)
    receipt_again = receipt(bench.note())
    before = _disk(bench.path)
    bench.note(SignedAt(boot=9, boottime_ms=9))
    bench.take_receipt(receipt_again)
    bench.run(lambda tx: bench.journal.mark_sent(tx, 3))
    bench.run(lambda tx: bench.journal.rewind_sent(tx, 3))
    bench.run(lambda tx: bench.journal.prune(tx, 3))
    bench.run(bench.journal.checkpoint)
    assert _disk(bench.path) == before


def _disk(path: Path) -> list[tuple[Any, ...]]:
    files = sorted(path.parent.glob(f"{path.name}*"))
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def erase(bench: JournalBench, *indexes: int) -> None:
    bench.run(lambda tx: [tx.execute("UPDATE entries SET leaf = x'' WHERE idx = ?", (each,)) for each in indexes])


def test_an_entry_whose_words_were_erased_goes_out_as_its_hash_under_the_newest_receipt(bench: JournalBench) -> None:
    bench.beat(3)
    hashed = leaf_hash(leaves(bench)[1])
    bench.run(lambda tx: bench.journal.mark_sent(tx, 3))
    received = receipt(bench.run(lambda tx: bench.journal.signed_checkpoint(tx, GATEWAY, signed_at=SIGNED_AT)))
    bench.run(
        lambda tx: bench.journal.take_receipt(
            tx, received, own_key=public(GATEWAY), receipt_keys=[public(key) for key in (STRANGER, CENTRAL)]
        )
    )
    erase(bench, 1)
    bench.beat(1)
    sent = bench.run(lambda tx: bench.journal.entries(tx, 0, 9, 10**6, key=GATEWAY))
    assert [index for index, _ in sent] == [0, 1, 2, 3]
    event = json.loads(sent[1][1])
    assert (event["id"], event["data"]["receipt"].encode()) == (f"{LOG_ID.hex()}/1", received)
    told = ErasedEntry.verify(event["data"]["note"].encode(), origin=bench.journal.origin, public=public(GATEWAY))
    assert (told.index, told.leaf_hash, told.accounted_size) == (1, hashed, 4)


def test_attack_an_entry_that_was_emptied_before_anybody_signed_for_it_goes_out_as_nothing(bench: JournalBench) -> None:
    bench.beat(3)
    erase(bench, 1)
    with pytest.raises(JournalError) as caught:
        bench.run(lambda tx: bench.journal.entries(tx, 0, 9, 10**6, key=GATEWAY))
    assert caught.value.code == "journal.erased"


def test_the_receipt_that_says_how_far_we_are_received_outlives_all_newer_checkpoints(bench: JournalBench) -> None:
    bench.beat(1)
    note = bench.run(lambda tx: bench.journal.signed_checkpoint(tx, GATEWAY, signed_at=SIGNED_AT))
    bench.run(lambda tx: bench.journal.mark_sent(tx, 1))
    bench.run(
        lambda tx: bench.journal.take_receipt(
            tx, receipt(note), own_key=public(GATEWAY), receipt_keys=[public(CENTRAL)]
        )
    )
    for _ in range(CHECKPOINT_COUNT_MAX + 1):
        bench.beat(1)
        bench.run(lambda tx: bench.journal.signed_checkpoint(tx, GATEWAY, signed_at=SIGNED_AT))
    held = bench.run(lambda tx: bench.journal.store.find_checkpoint(tx, 1))
    assert held is not None
    assert held.receipt == receipt(note)
