"""What an auditor is told of a log that somebody has altered."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from nacl.signing import SigningKey

from firmware_protocol.checkpoint import Checkpoint, sign_checkpoint
from firmware_protocol.cose import id_of
from firmware_protocol.lock_log import LogRecord, RecordType, chain, genesis
from firmware_protocol.merkle import Frontier, leaf_hash
from firmware_protocol.signed import sign
from firmware_protocol.statements import LogHead
from gatewayd.journal.copies import LeafCopy, LogCopy
from gatewayd.journal.events import LockHeadSigned, LockRecorded
from gatewayd.journal.verification import PROBLEM_COUNT_MAX, Keys, Verification, verify_log
from gatewayd.store.log import read_log
from tests.support.journal_bench import CENTRAL, GATEWAY, STRANGER, JournalBench, heartbeat, public, receipt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gatewayd.journal.events import Event

KEYS = Keys(gateway=public(GATEWAY), receipt=[public(CENTRAL)])
LOCK = SigningKey(b"l" * 32)
LOCK_ID = id_of(public(LOCK))
LOCK_LOG_ID = b"lock-log-id-0001"


@pytest.fixture
def bench(tmp_path: Path) -> JournalBench:
    """Return a journal of 10 entries: checkpoints at 3, 7 and 10, a receipt at 7."""
    bench = JournalBench.make(tmp_path / "store.db")
    for count in (3, 4, 3):
        bench.beat(count)
        note = bench.note()
        if count == 4:
            bench.take_receipt(receipt(note))
    return bench


def copied(bench: JournalBench) -> LogCopy:
    bench.database.close()
    copy = read_log(bench.path)
    return replace(copy, leaves=tuple(copy.leaves))


def problems(copy: LogCopy, keys: Keys = KEYS) -> tuple[str, ...]:
    return verify_log(copy, keys=keys).problems


def with_leaves(copy: LogCopy, leaves: Sequence[LeafCopy]) -> LogCopy:
    return replace(copy, leaves=leaves)


def leaves_of(copy: LogCopy) -> list[LeafCopy]:
    return list(copy.leaves)


def test_a_whole_log_is_whole_and_says_what_was_checked(bench: JournalBench) -> None:
    root = bench.run(bench.journal.checkpoint).root
    assert verify_log(copied(bench), keys=KEYS) == Verification(
        problems=(),
        problem_count=0,
        entry_count=10,
        size=10,
        root=root,
        checkpoint_count=3,
        receipt_count=1,
        lock_record_count=0,
    )


def test_an_empty_log_is_whole(tmp_path: Path) -> None:
    assert verify_log(copied(JournalBench.make(tmp_path / "store.db")), keys=KEYS).is_whole


def test_a_pruned_log_is_whole_and_its_checkpoints_still_hold(bench: JournalBench) -> None:
    bench.run(lambda tx: bench.journal.prune(tx, 5))
    verification = verify_log(copied(bench), keys=KEYS)
    assert verification.is_whole
    assert (verification.entry_count, verification.checkpoint_count) == (5, 2)


def test_without_keys_the_tree_is_checked_all_the_same(bench: JournalBench) -> None:
    copy = copied(bench)
    assert verify_log(copy, keys=Keys()).is_whole
    assert verify_log(copy, keys=Keys()).receipt_count == 0


def test_attack_an_altered_entry_is_named_once(bench: JournalBench) -> None:
    copy = copied(bench)
    leaves = leaves_of(copy)
    leaves[4] = replace(leaves[4], leaf=leaves[4].leaf.replace(b"fresh", b"stale"))
    assert problems(with_leaves(copy, leaves)) == (
        "entry 4: its bytes do not have the hash that the tree holds for it",
    )


def test_attack_an_entry_altered_with_its_hash_contradicts_the_next_checkpoint(bench: JournalBench) -> None:
    copy = copied(bench)
    leaves = leaves_of(copy)
    altered = leaves[4].leaf.replace(b"fresh", b"stale")
    leaves[4] = replace(leaves[4], leaf=altered, hashed=leaf_hash(altered))
    assert problems(with_leaves(copy, leaves)) == (
        "checkpoint 7: signed over other entries; something in entries 3 to 6 was changed",
        "tree of 10: the root that the log states is not that of its entries",
    )


@pytest.mark.parametrize(
    ("removed", "problem"),
    [(slice(4, 5), "entry 4: missing"), (slice(4, 6), "entries 4 to 5: missing"), (slice(0, 1), "entry 0: missing")],
    ids=["one", "two", "the first"],
)
def test_attack_an_entry_taken_out_is_named(bench: JournalBench, removed: slice, problem: str) -> None:
    copy = copied(bench)
    leaves = leaves_of(copy)
    del leaves[removed]
    assert problems(with_leaves(copy, leaves)) == (problem,)


def test_attack_entries_cut_off_at_the_end_are_named(bench: JournalBench) -> None:
    copy = copied(bench)
    assert problems(with_leaves(copy, leaves_of(copy)[:8])) == ("entries 8 to 9: missing at the end",)


def test_attack_a_log_cut_off_together_with_its_size_contradicts_its_checkpoints(bench: JournalBench) -> None:
    copy = copied(bench)
    leaves = leaves_of(copy)[:8]
    frontier = Frontier.empty()
    for leaf in leaves:
        frontier = frontier.append(leaf_hash(leaf.leaf))
    cut = replace(copy, leaves=leaves, size=8, root=frontier.root())
    assert problems(cut) == ("checkpoint 10: larger than the log, which has 8",)


def test_attack_an_entry_added_behind_the_end_is_named(bench: JournalBench) -> None:
    copy = copied(bench)
    bench = JournalBench.open(bench.path)
    bench.beat(1)
    longer = leaves_of(copied(bench))
    assert problems(with_leaves(copy, longer)) == ("entries 10 to 10: beyond the end that the log states",)


def test_attack_an_entry_that_comes_twice_is_named(bench: JournalBench) -> None:
    copy = copied(bench)
    leaves = leaves_of(copy)
    assert problems(with_leaves(copy, [*leaves[:5], leaves[4], *leaves[5:]])) == ("entry 4: there twice",)


def test_attack_two_entries_that_changed_places_are_named(bench: JournalBench) -> None:
    copy = copied(bench)
    leaves = leaves_of(copy)
    leaves[4], leaves[5] = (
        LeafCopy(index=4, leaf=leaves[5].leaf, hashed=leaves[5].hashed),
        LeafCopy(index=5, leaf=leaves[4].leaf, hashed=leaves[4].hashed),
    )
    found = problems(with_leaves(copy, leaves))
    assert found[:2] == ("entry 4: calls itself entry 5", "entry 5: calls itself entry 4")
    assert found[2].startswith("checkpoint 7: signed over other entries")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"/gateways/", b"/gatewayz/", "source of another form"),
        (b'"specversion":"1.0"', b'"specversion":"9.9"', "not a CloudEvent 1.0"),
        (b"{", b"[", "not JSON"),
        (b"carelock.gateway.heartbeat", b"carelock.gateway.invented!", "an event type that does not exist"),
    ],
    ids=["source", "version", "syntax", "type"],
)
def test_attack_an_entry_of_another_form_is_named_with_the_reason(
    bench: JournalBench, old: bytes, new: bytes, problem: str
) -> None:
    copy = copied(bench)
    leaves = leaves_of(copy)
    leaves[2] = LeafCopy(index=2, leaf=leaves[2].leaf.replace(old, new, 1))
    assert problems(with_leaves(copy, leaves))[0] == f"entry 2: {problem}"


def test_attack_an_entry_of_another_log_or_gateway_is_named(bench: JournalBench) -> None:
    copy = copied(bench)
    leaves = leaves_of(copy)
    envelope = json.loads(leaves[2].leaf)
    moved = envelope | {"id": f"{'00' * 16}/2", "source": "/gateways/0000000000000000"}
    leaves[2] = LeafCopy(index=2, leaf=json.dumps(moved).encode())
    assert problems(with_leaves(copy, leaves))[:2] == (
        f"entry 2: of another log, {'00' * 16}",
        "entry 2: of another gateway, 0000000000000000",
    )


def test_attack_a_log_of_another_gateway_is_not_this_ones(bench: JournalBench) -> None:
    found = problems(copied(bench), Keys(gateway=public(STRANGER)))
    assert sum("of another gateway" in problem for problem in found) == 10
    assert sum("not signed by this gateway's key" in problem for problem in found) == 3


def test_attack_a_checkpoint_signed_by_a_stranger_is_named(bench: JournalBench) -> None:
    copy = copied(bench)
    held = copy.checkpoints[1]
    checkpoint = Checkpoint(origin=bench.journal.origin, size=held.size, root=held.root)
    forged = replace(held, note=sign_checkpoint(checkpoint, key=STRANGER, name=bench.journal.origin))
    (problem,) = problems(replace(copy, checkpoints=(copy.checkpoints[0], forged, copy.checkpoints[2])))
    assert problem.startswith("checkpoint 7: not signed by this gateway's key")


def test_attack_a_signature_of_another_checkpoint_is_named(bench: JournalBench) -> None:
    copy = copied(bench)
    moved = replace(copy.checkpoints[1], note=copy.checkpoints[0].note)
    assert problems(replace(copy, checkpoints=(moved,))) == (
        "checkpoint 7: its signature covers size 3, or another root",
    )


def test_attack_a_receipt_by_a_stranger_is_named(bench: JournalBench) -> None:
    copy = copied(bench)
    forged = replace(copy.checkpoints[1], receipt=receipt(copy.checkpoints[1].note, key=STRANGER))
    assert problems(replace(copy, checkpoints=(forged,))) == ("receipt 7: not signed by a key of the central log",)


def test_attack_a_receipt_for_another_size_is_named(bench: JournalBench) -> None:
    copy = copied(bench)
    moved = replace(copy.checkpoints[1], receipt=receipt(copy.checkpoints[0].note))
    assert problems(replace(copy, checkpoints=(moved,))) == ("receipt 7: over another checkpoint, of size 3",)


def test_attack_a_file_of_noise_does_not_fill_the_screen(bench: JournalBench) -> None:
    copy = copied(bench)
    noise = [LeafCopy(index=index, leaf=b"noise") for index in range(PROBLEM_COUNT_MAX + 50)]
    verification = verify_log(with_leaves(copy, noise), keys=KEYS)
    assert len(verification.problems) == PROBLEM_COUNT_MAX
    assert verification.problem_count > PROBLEM_COUNT_MAX
    assert not verification.is_whole


# --- lock chains


def lock_records(count: int, *, first: int = 1) -> list[bytes]:
    return [
        LogRecord(
            seq=seq, boot=1, up_s=seq, wall_s=None, type=RecordType.KNOB_LOCKED, actor=None, cmd_id=None, result=None
        ).to_bytes()
        for seq in range(first, first + count)
    ]


def recorded(raw: bytes, changes: Mapping[str, object] = MappingProxyType({})) -> LockRecorded:
    record = LogRecord.from_bytes(raw)
    told = {
        "lock_id": LOCK_ID,
        "log_id": LOCK_LOG_ID,
        "seq": record.seq,
        "record": raw,
        "kind": record.type.name.lower(),
        "up_s": record.up_s,
        "boot": record.boot,
    }
    return LockRecorded(**(told | dict(changes)))


def head(records: Sequence[bytes], *, to_seq: int | None = None, key: SigningKey = LOCK) -> LockHeadSigned:
    value = genesis(LOCK_LOG_ID)
    for raw in records:
        value = chain(value, raw)
    signed = LogHead(
        lock_id=id_of(public(key)), log_id=LOCK_LOG_ID, from_seq=1, to_seq=to_seq or len(records), head=value
    )
    return LockHeadSigned(lock_id=LOCK_ID, head=sign(signed, key))


LOCK_KEYS = replace(KEYS, locks={LOCK_ID: public(LOCK)})


def lock_problems(tmp_path: Path, *events: Event, keys: Keys = LOCK_KEYS) -> tuple[str, ...]:
    bench = JournalBench.make(tmp_path / "locks.db")
    bench.append(heartbeat(), *events)
    return problems(copied(bench), keys)


def test_a_locks_log_from_its_beginning_meets_the_head_that_the_lock_signed(tmp_path: Path) -> None:
    records = lock_records(5)
    bench = JournalBench.make(tmp_path / "locks.db")
    bench.append(*(recorded(raw) for raw in records), head(records))
    verification = verify_log(copied(bench), keys=LOCK_KEYS)
    assert verification.is_whole
    assert verification.lock_record_count == 5


def test_attack_a_record_that_the_gateway_withheld_is_named(tmp_path: Path) -> None:
    records = lock_records(5)
    kept = [recorded(raw) for raw in records if raw is not records[2]]
    assert lock_problems(tmp_path, *kept) == ("entry 3: the lock's record 4 after 2",)


def test_attack_a_record_that_the_gateway_altered_contradicts_the_signed_head(tmp_path: Path) -> None:
    records = lock_records(3)
    altered = LogRecord.from_bytes(records[1])
    altered = replace(altered, type=RecordType.AUTO_LOCKED)
    told = [recorded(records[0]), recorded(altered.to_bytes()), recorded(records[2]), head(records)]
    assert lock_problems(tmp_path, *told) == (
        "entry 4: the lock signed another history up to record 3 than was copied",
    )


def test_attack_an_altered_record_contradicts_the_hash_that_the_next_one_names(tmp_path: Path) -> None:
    records = lock_records(2)
    altered = replace(LogRecord.from_bytes(records[0]), up_s=99).to_bytes()
    previous = chain(genesis(LOCK_LOG_ID), records[0])
    found = lock_problems(tmp_path, recorded(altered), recorded(records[1], {"previous": previous}))
    assert found == ("entry 2: the lock's record 2 continues another history than record 1",)


@pytest.mark.parametrize(
    "changes",
    [{"seq": 7}, {"kind": "unlocked"}, {"boot": 2}, {"up_s": 9}, {"actor": bytes(8)}, {"result": 1}],
    ids=lambda changes: next(iter(changes)),
)
def test_attack_an_entry_that_tells_a_record_otherwise_is_named(tmp_path: Path, changes: dict[str, object]) -> None:
    told = recorded(lock_records(1)[0], changes)
    assert lock_problems(tmp_path, told) == ("entry 1: says something else than the lock's record in it",)


def test_bytes_that_are_no_record_of_a_lock_are_named(tmp_path: Path) -> None:
    told = LockRecorded(lock_id=LOCK_ID, log_id=LOCK_LOG_ID, seq=1, record=b"noise", kind="BOOT", up_s=0, boot=0)
    (problem,) = lock_problems(tmp_path, told)
    assert problem.startswith("entry 1: no record of a lock")


def test_a_log_whose_beginning_was_pruned_rests_on_the_locks_word(tmp_path: Path) -> None:
    records = lock_records(6)
    told = [recorded(raw) for raw in records[2:4]]
    told_on = [recorded(raw) for raw in records[4:]]
    assert lock_problems(tmp_path, *told, head(records[:4]), *told_on, head(records)) == ()


def test_attack_after_the_locks_word_an_altered_record_is_known_again(tmp_path: Path) -> None:
    records = lock_records(5)
    altered = replace(LogRecord.from_bytes(records[4]), up_s=99).to_bytes()
    told = [recorded(records[3]), head(records[:4]), recorded(altered), head(records)]
    assert lock_problems(tmp_path, *told) == (
        "entry 4: the lock signed another history up to record 5 than was copied",
    )


def test_a_head_beyond_or_before_what_was_copied_proves_nothing(tmp_path: Path) -> None:
    records = lock_records(4)
    told = [recorded(raw) for raw in records[:3]]
    assert lock_problems(tmp_path, head(records), *told, head(records[:2]), head(records)) == ()


def test_attack_a_head_signed_by_another_key_is_named(tmp_path: Path) -> None:
    (problem,) = lock_problems(tmp_path, head(lock_records(1), key=STRANGER))
    assert problem.startswith("entry 1: no head signed by the lock")


def test_attack_the_head_of_another_lock_is_named_also_without_its_key(tmp_path: Path) -> None:
    (problem,) = lock_problems(tmp_path, head(lock_records(1), key=STRANGER), keys=KEYS)
    assert problem == f"entry 1: the head of another lock, {id_of(public(STRANGER)).hex()}"


def test_a_lock_that_was_reset_begins_a_new_chain(tmp_path: Path) -> None:
    first, second = lock_records(2), lock_records(1)
    events = [*(recorded(raw) for raw in first), recorded(second[0], {"log_id": b"another-log-id-2"})]
    assert lock_problems(tmp_path, *events) == ()
