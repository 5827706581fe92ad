"""Files that are none, disks that fail, processes that die: what the store says, and what it keeps."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import pytest

from gatewayd.store import alarms
from gatewayd.store.creation import create_file
from gatewayd.store.database import SCHEMA_VERSION, Database, Dropped, Kept, Opening, Transaction, fault_of
from gatewayd.store.faults import StoreCode, StoreError
from gatewayd.store.schema import migrate
from gatewayd.store.store import Store
from tests.support.faulty_disk import FaultyDisk
from tests.support.journal_bench import LOG_ID

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[4]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    create_file(path, log_id=LOG_ID)
    return path


def refusal(path: Path) -> StoreError:
    with pytest.raises(StoreError) as refused:
        Store.open(path)
    return refused.value


def put(number: int) -> Callable[[Transaction], None]:
    return lambda tx: alarms.open_alarm(tx, bytes([number]) * 8, b"", 1)


def numbers(tx: Transaction) -> list[int]:
    return sorted(alarm.lock_id[0] for alarm in alarms.load_alarms(tx))


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir() if file.is_file()}


# --- what it opens


def test_settings_are_those_that_lose_nothing(path: Path) -> None:
    database = Database(path)
    names = ("synchronous", "journal_mode", "locking_mode", "trusted_schema")
    settings = database.run(lambda tx: {name: tx.execute(f"PRAGMA {name}")[0][0] for name in names})
    assert settings == {"synchronous": 3, "journal_mode": "wal", "locking_mode": "exclusive", "trusted_schema": 0}
    database.close()


# --- files that are no store


def test_an_absent_file_is_said_to_be_absent_and_never_made(tmp_path: Path) -> None:
    error = refusal(tmp_path / "store.db")
    assert error.code == StoreCode.ABSENT
    assert list(tmp_path.iterdir()) == []


def test_an_absent_file_whose_log_is_there_was_deleted(path: Path) -> None:
    path.rename(path.with_name("store.db-wal"))
    error = refusal(path)
    assert error.code == StoreCode.DAMAGED
    assert "write-ahead log is still there" in error.detail


def test_a_folder_is_not_a_store(tmp_path: Path) -> None:
    (tmp_path / "store.db").mkdir()
    error = refusal(tmp_path / "store.db")
    assert (error.code, error.detail) == (StoreCode.FOREIGN, f"{tmp_path}/store.db: not a file")


def test_a_path_below_a_file_is_no_place_for_a_store(path: Path) -> None:
    assert refusal(path / "store.db").code == StoreCode.IO


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"SQLite format 3\x00", b"not a database, but longer than its header would be " * 200, bytes(8_192)],
    ids=["empty", "one byte", "a header's beginning", "text", "zeros"],
)
def test_a_file_of_anything_else_is_damaged_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "store.db").write_bytes(content)
    assert refusal(tmp_path / "store.db").code == StoreCode.DAMAGED
    assert digests(tmp_path) == {"store.db": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize("size", [100, 4_096, 8_192, -4_096, -1], ids=lambda size: f"to {size}")
def test_a_store_that_was_cut_is_damaged_and_left_as_it_is(path: Path, size: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:size])
    assert refusal(path).code == StoreCode.DAMAGED
    assert path.read_bytes() == whole[:size]


def test_somebody_elses_database_is_left_as_it_is(tmp_path: Path) -> None:
    other = apsw.Connection(str(tmp_path / "store.db"))
    other.execute("CREATE TABLE photos (name)")
    other.close()
    before = digests(tmp_path)
    error = refusal(tmp_path / "store.db")
    assert (error.code, "no store of this gateway" in error.detail) == (StoreCode.FOREIGN, True)
    assert digests(tmp_path) == before


def test_a_newer_schema_is_refused_and_its_data_kept(path: Path) -> None:
    newer = apsw.Connection(str(path))
    newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}; CREATE TABLE future (x)")
    newer.execute("UPDATE gateway SET readable_from = ?", (SCHEMA_VERSION + 1,))
    newer.close()
    before = digests(path.parent)
    error = refusal(path)
    assert error.code == StoreCode.NEWER_SCHEMA
    assert f"schema {SCHEMA_VERSION + 1}, this one knows {SCHEMA_VERSION}" in error.detail
    assert digests(path.parent) == before


def test_a_schema_step_that_was_interrupted_is_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    database = Database(path, opening=Opening.NEW)
    migrate(database)
    database.run(lambda tx: tx.execute("INSERT INTO alarms VALUES (x'01', x'', 1)"))
    migrate(database)
    assert database.run(numbers) == [1]
    database.close()


def test_a_page_that_rots_is_found_when_it_is_read(path: Path) -> None:
    database = Database(path)
    for n in range(40):
        database.run(partial(alarms.open_alarm, lock_id=bytes(8), alarm_ref=bytes(4_000 + n), until_ms=n))
    database.close()
    content = bytearray(path.read_bytes())
    content[8_192:] = bytes(len(content) - 8_192)
    path.write_bytes(content)
    with pytest.raises(StoreError) as refused:
        Database(path).run(lambda tx: tx.execute("PRAGMA quick_check; SELECT * FROM alarms; SELECT * FROM entries"))
    assert refused.value.code == StoreCode.DAMAGED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_of_another_owner_is_read_only_or_out_of_reach() -> None:
    script = (
        "import os, pathlib, sys; from gatewayd.store.store import Store, StoreError\n"
        "from gatewayd.store.database import Database\n"
        "os.setuid(65534)\n"
        "try: Store.open(pathlib.Path(sys.argv[1]))\n"
        "except StoreError as error: print(error.code)\n"
    )
    # A folder of its own: those of pytest are closed to others again whenever another run of it begins.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        create_file(path, log_id=LOG_ID)
        path.parent.chmod(0o755)
        path.chmod(0o644)
        assert _python(script, str(path)).strip() == StoreCode.READ_ONLY
        path.chmod(0o600)
        assert _python(script, str(path)).strip() == StoreCode.IO


# --- two processes


def _python(script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_second_process_is_refused_and_the_first_goes_on(path: Path) -> None:
    script = (
        "import pathlib, sys; from gatewayd.store.store import Store, StoreError\n"
        "from gatewayd.store.log import read_log\n"
        "for open in (Store.open, read_log):\n"
        "    try: open(pathlib.Path(sys.argv[1]))\n"
        "    except StoreError as error: print(error.code)\n"
    )
    database = Database(path)
    database.run(put(1))
    assert _python(script, str(path)).split() == [StoreCode.LOCKED, StoreCode.LOCKED]
    database.run(put(2))
    database.close()
    assert Database(path).run(numbers) == [1, 2]


def test_a_second_opening_in_the_same_process_is_refused_and_takes_no_lock_away(path: Path) -> None:
    # Closing any descriptor of a file drops this process's POSIX locks on it: then a second process could get in.
    database = Database(path)
    assert refusal(path).code == StoreCode.LOCKED
    script = (
        "import pathlib, sys; from gatewayd.store.store import Store, StoreError\n"
        "try: Store.open(pathlib.Path(sys.argv[1]))\n"
        "except StoreError as error: print(error.code)\n"
    )
    assert _python(script, str(path)).strip() == StoreCode.LOCKED
    database.close()


def test_the_lock_is_held_from_the_opening_on_before_anything_is_written(path: Path) -> None:
    database = Database(path)
    other = apsw.Connection(str(path))
    with pytest.raises(apsw.BusyError):
        other.execute("SELECT * FROM gateway")
    database.close()
    assert other.execute("SELECT boot FROM gateway").fetchall() == [(0,)]
    other.close()


def test_a_kill_in_the_middle_of_a_transaction_loses_nothing_committed(path: Path) -> None:
    script = (
        "import asyncio, os, pathlib, signal, sys\n"
        "from gatewayd.store.store import Store\n"
        "insert = 'INSERT INTO alarms VALUES (?, ?, 1)'\n"
        "def put(n): return lambda tx: tx.execute(insert, (bytes([n]) * 8, bytes(3000)))\n"
        "def die(tx):\n"
        "    for n in range(100, 200): put(n)(tx)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "async def story():\n"
        "    store = Store.open(pathlib.Path(sys.argv[1]))\n"
        "    for n in range(20):\n"
        "        await store.run(put(n))\n"
        "        print(n, flush=True)\n"
        "    await asyncio.gather(store.run(put(99)), store.run(die))\n"
        "asyncio.run(story())\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    acknowledged = [int(line) for line in died.stdout.split()]
    assert acknowledged == list(range(20))
    database = Database(path)
    assert database.run(numbers) == acknowledged
    database.close()


# --- disks that fail


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> FaultyDisk:
    return FaultyDisk(request.node.name)


def test_a_full_disk_keeps_nothing_of_the_transaction_and_can_still_be_read(path: Path, disk: FaultyDisk) -> None:
    database = Database(path, vfs=disk.name)
    database.run(put(1))
    disk.fill()
    outcomes = database.run_batch([put(2), put(3)])
    assert [str(each.error).split(":")[0] for each in outcomes if isinstance(each, Dropped)] == [StoreCode.FULL] * 2
    assert database.run(numbers) == [1]
    disk.mend()
    database.run(put(4))
    assert database.run(numbers) == [1, 4]
    database.close()


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (apsw.SQLITE_FULL, StoreCode.FULL),
        (apsw.SQLITE_IOERR_SHMSIZE, StoreCode.FULL),
        (apsw.SQLITE_IOERR_READ, StoreCode.IO),
        (apsw.SQLITE_READONLY_DBMOVED, StoreCode.READ_ONLY),
    ],
)
def test_a_reader_for_whose_index_there_is_no_room_hears_of_a_full_disk_and_not_of_a_broken_one(
    path: Path, result: int, code: StoreCode
) -> None:
    error = apsw.exception_for(result)
    assert isinstance(error, apsw.Error)
    assert fault_of(error, path).code is code


def test_a_disk_that_became_read_only_says_so_and_can_still_be_read(path: Path, disk: FaultyDisk) -> None:
    database = Database(path, vfs=disk.name)
    database.run(put(1))
    disk.mount_read_only()
    with pytest.raises(StoreError) as refused:
        database.run(put(2))
    assert refused.value.code == StoreCode.READ_ONLY
    assert database.run(numbers) == [1]
    disk.mend()
    database.close()


def test_an_fsync_that_fails_once_acknowledges_nothing_and_loses_nothing_acknowledged(
    path: Path, disk: FaultyDisk, tmp_path: Path
) -> None:
    database = Database(path, vfs=disk.name)
    database.run(put(1))
    disk.fail_next_sync()
    with pytest.raises(StoreError) as refused:
        database.run(put(2))
    assert refused.value.code == StoreCode.IO
    database.run(put(3))
    assert {1, 3} <= set(database.run(numbers))
    left = tmp_path / "left"
    left.mkdir()
    for file in path.parent.glob("store.db*"):
        shutil.copy(file, left)
    assert {1, 3} <= set(Database(left / "store.db").run(numbers))
    database.close()


def test_a_disk_that_fails_again_and_again_is_tried_again_and_again(path: Path, disk: FaultyDisk) -> None:
    database = Database(path, vfs=disk.name)
    for _ in range(3):
        disk.fail_next_sync()
        with pytest.raises(StoreError):
            database.run(put(1))
    database.run(put(2))
    assert 2 in database.run(numbers)
    database.close()


def test_a_store_that_vanished_after_a_fault_is_not_made_anew(path: Path, disk: FaultyDisk) -> None:
    database = Database(path, vfs=disk.name)
    disk.fail_next_sync()
    with pytest.raises(StoreError):
        database.run(put(1))
    for file in path.parent.glob("store.db*"):
        file.unlink()
    with pytest.raises(StoreError) as refused:
        database.run(put(2))
    assert refused.value.code == StoreCode.IO
    assert list(path.parent.glob("store.db")) == []


def test_a_transaction_too_large_for_the_disk_leaves_nothing_of_itself(path: Path, disk: FaultyDisk) -> None:
    # It outgrows the page cache, so that the fault comes in the middle of a statement.
    def grow(tx: Transaction) -> None:
        for number in range(100):
            alarms.open_alarm(tx, bytes(8), bytes(100_000 + number), 1)

    database = Database(path, vfs=disk.name)
    database.run(put(1))
    disk.fill()
    outcomes = database.run_batch([put(2), grow, put(3)])
    assert [str(each.error).split(":")[0] for each in outcomes if isinstance(each, Dropped)] == [StoreCode.FULL] * 3
    disk.mend()
    assert database.run(numbers) == [1]
    database.close()


@pytest.mark.parametrize("fault", [FaultyDisk.fail_next_sync, FaultyDisk.fill], ids=["fsync", "full"])
def test_a_close_that_fails_says_so_and_keeps_what_was_committed(
    path: Path, disk: FaultyDisk, fault: Callable[[FaultyDisk], None]
) -> None:
    database = Database(path, vfs=disk.name)
    database.run(put(1))
    fault(disk)
    with pytest.raises(StoreError):
        database.close()
    disk.mend()
    again = Database(path)
    assert again.run(numbers) == [1]
    again.close()


def test_a_stream_that_the_schema_does_not_allow_says_so(path: Path) -> None:
    database = Database(path)
    with pytest.raises(StoreError) as refused:
        list(database.stream("SELECT nothing FROM nowhere"))
    assert refused.value.code == StoreCode.MISUSE
    database.close()


def test_a_rollback_inside_a_work_that_raises_keeps_its_own_reason(path: Path) -> None:
    def lose(tx: Transaction) -> None:
        tx.execute("ROLLBACK")
        tx.execute("INSERT INTO nowhere VALUES (1)")

    database = Database(path)
    with pytest.raises(StoreError) as refused:
        database.run(lose)
    assert refused.value.code == StoreCode.MISUSE
    database.close()


def test_a_stop_in_the_middle_of_a_transaction_leaves_it_open_for_nobody(path: Path) -> None:
    def stop(tx: Transaction) -> None:
        put(1)(tx)
        raise KeyboardInterrupt

    database = Database(path)
    with pytest.raises(KeyboardInterrupt):
        database.run(stop)
    assert database.run(numbers) == []
    database.close()


def test_a_work_that_hides_a_fault_from_us_acknowledges_nothing(path: Path) -> None:
    # SQLite may roll a whole transaction back in mid-statement; going on would commit its second half alone.
    def hide(tx: Transaction) -> None:
        alarms.open_alarm(tx, b"\x02" * 8, b"", 1)
        tx.execute("ROLLBACK")

    database = Database(path)
    outcomes = database.run_batch([put(1), hide, put(3)])
    assert all(isinstance(each, Dropped) for each in outcomes)
    assert database.run(numbers) == []
    database.close()


def test_volatile_rows_belong_to_the_transaction_and_end_with_the_run(path: Path) -> None:
    def remember(tx: Transaction) -> None:
        tx.execute("INSERT INTO volatile VALUES ('a', 1)")

    def fail(tx: Transaction) -> None:
        tx.execute("INSERT INTO volatile VALUES ('b', 1)")
        raise ZeroDivisionError

    database = Database(path)
    kept, dropped = database.run_batch([remember, fail])
    assert isinstance(kept, Kept)
    assert isinstance(dropped, Dropped)
    assert database.run(lambda tx: tx.execute("SELECT name FROM volatile")) == [("a",)]
    database.close()
    assert Database(path).run(lambda tx: tx.execute("SELECT name FROM volatile")) == []


def test_the_log_beside_the_file_stays_bounded(path: Path) -> None:
    database = Database(path)
    wal = path.with_name("store.db-wal")
    for number in range(300):
        database.run(partial(alarms.open_alarm, lock_id=bytes(8), alarm_ref=bytes(16_000), until_ms=number))
    assert wal.stat().st_size < 8 * 1024 * 1024
    database.close()
