"""Who was here, what is kept of somebody, and erasing it with every proof intact."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from gatewayd.journal.events import CommandDecided, CommandOutcome, LockRecorded, LogErased
from gatewayd.journal.people import look_for
from gatewayd.journal.verification import Keys, verify_log
from gatewayd.store.erasure import Erased, erase_entries
from gatewayd.store.log import read_log
from tests.support.journal_bench import CENTRAL, GATEWAY, LOCK_ID, SALT, TIME, JournalBench, heartbeat, public, receipt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gatewayd.journal.copies import LeafCopy

KEYS = Keys(gateway=public(GATEWAY), receipt=[public(CENTRAL)])


def decided(subject: str, number: int, *, signer: str = "aa" * 8, second: str | None = None) -> CommandDecided:
    return CommandDecided(
        lock_id=LOCK_ID,
        command_id=bytes([number]) * 16,
        command_sha256=bytes(32),
        channel="relay",
        action="unlock",
        code="outcome.permitted",
        signer=signer,
        subject=subject,
        role="carer",
        provider="north-care",
        tier="fresh",
        second_subject=second,
        second_signer=None if second is None else "bb" * 8,
    )


def outcome(number: int) -> CommandOutcome:
    return CommandOutcome(
        lock_id=LOCK_ID, command_id=bytes([number]) * 16, command_sha256=bytes(32), code="outcome.done", bolt="unlocked"
    )


def recorded(seq: int, *, actor: str | None) -> LockRecorded:
    return LockRecorded(
        lock_id=LOCK_ID, log_id="cc" * 16, seq=seq, record=b"r", kind="move", up_s=1, boot=1, actor=actor
    )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[JournalBench]:
    """Entries 0 to 7: Anna opens (1, 2, 3), Bo opens (4, 5), a heartbeat before and two after."""
    bench = JournalBench.make(tmp_path / "store.db")
    bench.append(heartbeat(1), decided("anna", 1), outcome(1), recorded(1, actor="aa" * 8))
    bench.append(decided("bo", 2, signer="dd" * 8), outcome(2), heartbeat(2), heartbeat(3))
    yield bench
    bench.database.close()


def received(bench: JournalBench) -> None:
    bench.send_all()
    bench.take_receipt(receipt(bench.note()))


def copies(bench: JournalBench) -> Iterable[LeafCopy]:
    """Leave the store to whoever reads it from outside."""
    path = bench.path.with_name("copy.db")
    bench.database.close()
    shutil.copy(bench.path, path)
    return list(read_log(path).leaves)


def test_the_report_tells_who_was_here_when_and_how_it_went(bench: JournalBench) -> None:
    visits = look_for(copies(bench), None).visits
    assert [(visit.subject, visit.code, visit.outcome) for visit in visits] == [
        ("anna", "outcome.permitted", "outcome.done"),
        ("bo", "outcome.permitted", "outcome.done"),
    ]
    assert (visits[0].index, visits[0].lock_id, visits[0].provider) == (1, LOCK_ID.hex(), "north-care")
    assert (visits[0].time_lo, visits[0].time_hi) == ("2026-05-28T20:26:40.000Z", "2026-05-28T20:27:40.000Z")


@pytest.mark.parametrize(("subject", "indexes"), [("anna", {1, 2, 3}), ("bo", {4, 5}), ("cia", set())])
def test_what_is_about_somebody_is_found_by_name_command_and_key(
    bench: JournalBench, subject: str, indexes: set[int]
) -> None:
    assert look_for(copies(bench), subject).indexes == indexes


def test_a_second_operator_is_found_too(bench: JournalBench) -> None:
    bench.append(decided("olga", 9, second="pia"))
    assert look_for(copies(bench), "pia").indexes == {8}


def erase(bench: JournalBench, indexes: set[int]) -> Erased:
    erased = bench.run(lambda tx: erase_entries(tx, indexes))
    bench.database.compact()
    bench.run(
        lambda tx: (
            bench.journal.append(tx, LogErased(entry_count=erased.count), time=TIME, salt=SALT)
            if erased.count
            else None
        )
    )
    return erased


def test_what_is_erased_is_gone_from_the_disk_and_every_proof_still_holds(bench: JournalBench) -> None:
    received(bench)
    assert erase(bench, {1, 2, 3}) == Erased(count=3, waiting_count=0)
    root = bench.run(bench.journal.checkpoint).root
    bench.database.close()
    assert b"anna" not in bench.path.read_bytes()
    assert b'"bo"' in bench.path.read_bytes()
    result = verify_log(read_log(bench.path), keys=KEYS)
    assert (result.problems, result.erased_count, result.receipt_count, result.root) == ((), 3, 1, root)


def test_what_is_erased_while_the_store_is_open_is_gone_from_file_and_log_alike(bench: JournalBench) -> None:
    for number in range(3, 250):  # over many pages, some of them folded into the file by now
        bench.append(decided("anna", number), decided("bo", number, signer="dd" * 8))
    received(bench)
    count = bench.run(bench.journal.marks).size
    indexes = {1, 2, 3} | set(range(8, count, 2))
    assert bench.run(lambda tx: erase_entries(tx, indexes)).count == len(indexes)
    on_disk = [file.read_bytes() for file in bench.path.parent.glob(f"{bench.path.name}*")]
    assert not [content for content in on_disk if b"anna" in content]
    assert any(b'"bo"' in content for content in on_disk)


def test_what_the_central_log_has_not_signed_for_is_not_erased(bench: JournalBench) -> None:
    assert erase(bench, {1, 2}) == Erased(count=0, waiting_count=2)
    received(bench)
    assert erase(bench, {1, 2}) == Erased(count=2, waiting_count=0)


def test_erasing_again_erases_nothing(bench: JournalBench) -> None:
    received(bench)
    erase(bench, {1})
    assert erase(bench, {1}) == Erased(count=0, waiting_count=0)


def test_attack_entries_emptied_by_somebody_else_are_told(bench: JournalBench) -> None:
    received(bench)
    erase(bench, {1, 3})
    bench.run(lambda tx: tx.execute("UPDATE entries SET leaf = x'' WHERE idx = 4"))
    bench.database.close()
    problems = verify_log(read_log(bench.path), keys=KEYS).problems
    assert problems == ("log: 3 entries are erased, 2 are accounted for; somebody else has emptied the rest",)
