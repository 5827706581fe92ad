"""A damaged store: what can be read of it goes on, nothing is used twice, and the damaged file is kept."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

import apsw
import pytest

from gatewayd.store import alarms, commands, locks, meta, renewal, trust
from gatewayd.store.faults import StoreError
from gatewayd.store.log import check_whole
from gatewayd.store.salvage import REASON, finish, salvage
from tests.support.journal_bench import LOG_ID, JournalBench, heartbeat, receipt
from tests.support.store_rows import HOME, KID, LOCK, SEEN

if TYPE_CHECKING:
    from pathlib import Path

FRESH_ID: Final = b"F" * 16
PAGE_SIZE: Final = 4_096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with something of everything, closed in order."""
    bench = JournalBench.make(tmp_path / "store.db")
    bench.run(lambda tx: locks.save_lock_home(tx, HOME))
    bench.run(lambda tx: meta.begin_run(tx, "machine"))
    bench.run(lambda tx: trust.save_keyset(tx, b"keyset", 3))
    bench.run(lambda tx: locks.reserve_session_ctr(tx, LOCK))
    bench.run(lambda tx: commands.reserve(tx, SEEN))
    bench.beat(3)
    bench.take_receipt(receipt(bench.note()))
    bench.append(*(heartbeat(number) for number in range(10, 15)))
    bench.database.close()
    return bench.path


def damage(path: Path, table: str) -> None:
    """Overwrite the root page of a table."""
    connection = apsw.Connection(str(path))
    ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,))
    connection.close()
    with path.open("r+b") as file:
        file.seek((int(str(page)) - 1) * PAGE_SIZE)
        file.write(Random(1).randbytes(PAGE_SIZE))


def reopened(path: Path) -> JournalBench:
    bench = JournalBench.open(path)
    bench.run(lambda tx: check_whole(tx, path))
    return bench


@pytest.mark.parametrize("table", ["gateway", "locks", "lock_homes", "signed_objects", "alarms"])
def test_a_rotten_page_of_what_a_start_reads_is_known_at_the_start(path: Path, table: str) -> None:
    damage(path, table)
    with pytest.raises((StoreError, AssertionError)) as refused:
        reopened(path)
    assert "store.damaged" in str(refused.value)


def test_what_can_be_read_goes_on_and_the_damaged_file_is_kept_as_it_is(path: Path) -> None:
    damage(path, "alarms")
    rotten = path.read_bytes()
    salvaged = salvage(path, log_id=FRESH_ID)
    assert salvaged.aside.read_bytes() == rotten
    bench = reopened(path)
    assert [home.lock_id for home in bench.run(locks.load_lock_homes)] == [LOCK]
    assert bench.run(trust.load_keyset) == b"keyset"
    assert bench.run(lambda tx: commands.find_seen(tx, KID, SEEN.command_id)) == SEEN
    assert [intent.command_id for intent in bench.run(commands.open_intents)] == [SEEN.command_id]
    assert bench.run(alarms.load_alarms) == ()
    assert bench.run(lambda tx: meta.begin_run(tx, "machine")).boot == 2
    bench.database.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["store.db", "store.db.damaged-1"]


def test_no_session_counter_that_may_have_been_used_is_given_again(path: Path) -> None:
    salvage(path, log_id=FRESH_ID)
    bench = reopened(path)
    assert bench.run(lambda tx: locks.reserve_session_ctr(tx, LOCK)) > 2 * locks.SESSION_BLOCK_COUNT
    bench.database.close()


def test_the_journal_is_doubted_and_what_was_not_received_waits_to_be_carried_over(path: Path) -> None:
    salvage(path, log_id=FRESH_ID)
    bench = reopened(path)
    assert bench.run(renewal.load_doubt) == REASON
    assert [entry.index for entry in bench.run(lambda tx: renewal.read_former(tx, 99))] == [3, 4, 5, 6, 7]
    former = bench.run(lambda tx: renewal.begin_anew(tx, b"n" * 16))
    assert (former.log_id, former.size) == (LOG_ID, 8)
    bench.database.close()


def test_what_a_salvaged_store_says_of_revocations_is_doubted_until_a_later_state_is_saved(path: Path) -> None:
    bench = JournalBench.open(path)
    bench.run(lambda tx: trust.save_authority_state(tx, b"state", 3, 7))
    assert not bench.run(trust.is_repaired)
    bench.database.close()
    salvage(path, log_id=FRESH_ID)
    bench = reopened(path)
    assert bench.run(trust.is_repaired)
    bench.run(lambda tx: renewal.begin_anew(tx, b"n" * 16))
    for seq, doubted in ((7, True), (8, False)):
        bench.run(lambda tx, seq=seq: trust.save_authority_state(tx, b"state", 3, seq))  # type: ignore[misc]  # bound now
        bench.database.close()
        bench = reopened(path)
        assert bench.run(trust.is_repaired) is doubted
    bench.database.close()


def test_a_store_whose_one_row_is_lost_still_brings_its_homes_and_entries(path: Path) -> None:
    damage(path, "gateway")
    salvage(path, log_id=FRESH_ID)
    bench = reopened(path)
    assert [home.lock_id for home in bench.run(locks.load_lock_homes)] == [LOCK]
    assert len(bench.run(lambda tx: renewal.read_former(tx, 99))) == 8
    assert bench.run(lambda tx: renewal.begin_anew(tx, b"n" * 16)).size == 0
    bench.database.close()


@pytest.mark.parametrize("content", [b"", bytes(8_192), b"text" * 3_000, None], ids=["empty", "zeros", "text", "gone"])
def test_of_a_store_that_is_none_any_more_nothing_goes_on_and_it_is_said(path: Path, content: bytes | None) -> None:
    if content is None:
        path.rename(path.with_name("store.db-wal"))
    else:
        path.write_bytes(content)
    assert salvage(path, log_id=FRESH_ID).row_count == 0
    bench = reopened(path)
    assert bench.run(locks.load_lock_homes) == ()
    assert bench.run(renewal.load_doubt) == REASON
    bench.database.close()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_bytes_rot_a_store_opens_or_is_salvaged(path: Path, seed: int) -> None:
    chance, content = Random(seed), bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 10, 1_000))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    try:
        bench = reopened(path)
    except StoreError:
        salvage(path, log_id=FRESH_ID)
        bench = reopened(path)
    bench.database.close()


def test_a_power_cut_between_the_renamings_is_finished_and_nothing_is_made_anew(path: Path) -> None:
    whole = path.read_bytes()
    path.rename(path.with_name("store.db.salvaged"))
    assert finish(path)
    assert path.read_bytes() == whole
    assert not finish(path)


def test_a_second_damage_puts_a_second_file_aside(path: Path) -> None:
    first = salvage(path, log_id=FRESH_ID).aside
    second = salvage(path, log_id=FRESH_ID).aside
    assert (first.name, second.name) == ("store.db.damaged-1", "store.db.damaged-2")
