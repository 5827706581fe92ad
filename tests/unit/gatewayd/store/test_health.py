"""Disks that are full, read-only or failing: what is still kept, what is said, and what can still be read."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from gatewayd.store import alarms, database, locks, meta
from gatewayd.store.ballast import Ballast
from gatewayd.store.creation import create_file
from gatewayd.store.store import Health, Store, StoreCode, StoreError, Transaction
from tests.support.faulty_disk import FaultyDisk
from tests.support.inline_executor import InlineExecutor
from tests.support.journal_bench import LOG_ID
from tests.support.store_rows import HOME, LOCK, Rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

BALLAST_SIZE = 64 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    create_file(path, log_id=LOG_ID)
    return path


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> FaultyDisk:
    return FaultyDisk(request.node.name)


@pytest.fixture
async def store(path: Path, disk: FaultyDisk) -> AsyncIterator[Store]:
    store = Store.open(path, vfs=disk.name, executor=InlineExecutor(), ballast_size=BALLAST_SIZE)
    yield store
    disk.mend()
    await store.close()


def put(number: int, size: int = 0) -> Callable[[Transaction], None]:
    return lambda tx: alarms.open_alarm(tx, bytes([number]) * 8, bytes(size), 1 + number)


def numbers(tx: Transaction) -> list[int]:
    return sorted(alarm.lock_id[0] for alarm in alarms.load_alarms(tx))


def health(store: Store) -> Health:
    return store.health


async def code_of(store: Store, work: Callable[[Transaction], object]) -> str | None:
    """Run a work and return why it was not kept."""
    try:
        await store.run(work)
    except StoreError as error:
        return error.code
    return None


async def refusal(store: Store, work: Callable[[Transaction], object]) -> str:
    with pytest.raises(StoreError) as refused:
        await store.run(work)
    return refused.value.code


# --- full


async def test_a_full_disk_is_given_the_ballast_and_keeps_what_was_asked_for(
    store: Store, disk: FaultyDisk, path: Path
) -> None:
    ballast = Ballast(path).path
    assert ballast.stat().st_blocks * 512 >= BALLAST_SIZE
    disk.fill(while_there=ballast)
    await store.run(put(1))
    assert health(store) is not Health.FULL
    assert await store.run(numbers) == [1]


async def test_while_the_disk_stays_full_the_ballast_is_not_laid_again(
    store: Store, disk: FaultyDisk, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ballast, "_has_room", lambda _: False)
    disk.fill(while_there=Ballast(path).path)
    await store.run(put(1))
    assert (health(store), store.health_changed.is_set()) == (Health.LOW, True)
    assert not Ballast(path).path.exists()
    monkeypatch.undo()
    await store.run(put(2))
    assert health(store) is Health.WRITABLE
    assert Ballast(path).path.exists()


async def test_a_disk_that_is_full_without_ballast_keeps_nothing_says_so_and_can_be_read(
    store: Store, disk: FaultyDisk
) -> None:
    await store.run(put(1))
    disk.fill()
    assert await refusal(store, put(2)) == StoreCode.FULL
    assert health(store) is Health.FULL
    assert await store.run(numbers) == [1]
    assert health(store) is Health.FULL, "a reading proves nothing of the room"
    disk.mend()
    await store.run(put(3))
    assert health(store) is Health.WRITABLE


async def test_on_a_full_disk_those_that_only_read_do_not_fail_with_those_that_write(
    store: Store, disk: FaultyDisk
) -> None:
    await store.run(put(1))
    disk.fill()
    results = await asyncio.gather(store.run(numbers), store.run(put(2)), store.run(numbers), return_exceptions=True)
    assert (results[0], results[2]) == ([1], [1])
    assert isinstance(results[1], StoreError)
    assert store.health is Health.FULL


def test_without_room_for_it_no_ballast_is_laid_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "store.db", size=1 << 60)
    assert not ballast.lay()
    assert list(tmp_path.iterdir()) == []
    assert not ballast.spend()


# --- failing and read-only


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(FaultyDisk.mount_read_only, Health.READ_ONLY), (FaultyDisk.fail_next_sync, Health.FAILING)],
    ids=["read-only", "failing"],
)
async def test_the_health_of_a_disk_is_that_of_the_last_transaction_that_tried_to_write(
    store: Store, disk: FaultyDisk, fault: Callable[[FaultyDisk], None], expected: Health
) -> None:
    fault(disk)
    await refusal(store, put(1))
    assert (health(store), store.health_changed.is_set()) == (expected, True)
    disk.mend()
    await store.run(put(2))
    assert health(store) is Health.WRITABLE


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB of its own, that can be mounted read-only and filled."""
    folder = tmp_path / "card"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "none", str(folder)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("only root in a machine of its own may mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


async def test_a_card_mounted_read_only_after_a_stop_in_order_is_read(mount: Path) -> None:
    folder = mount / "a folder? 100%"
    folder.mkdir()
    path = folder / "store.db"
    create_file(path, log_id=LOG_ID)
    before = Rows.open(path)
    before.run(put(7))
    before.database.close()
    assert not path.with_name("store.db-wal").exists()
    await asyncio.to_thread(remount, mount, "ro")
    store = Store.open(path, ballast_size=BALLAST_SIZE)
    assert health(store) is Health.READ_ONLY
    assert await store.run(numbers) == [7]
    assert await refusal(store, put(8)) == StoreCode.READ_ONLY
    beside = Rows(path, database.Database(path, opening=database.Opening.INSPECTION))  # as `gatewayd log` does
    assert beside.run(numbers) == [7]
    beside.database.close()
    assert await store.close() is None
    await asyncio.to_thread(remount, mount, "rw")
    again = Rows.open(path)
    assert again.run(numbers) == [7]
    again.database.close()


async def test_a_card_mounted_read_only_after_a_power_cut_is_read_to_the_last_commit(mount: Path) -> None:
    path = mount / "store.db"
    create_file(path, log_id=LOG_ID)
    child = os.fork()
    if child == 0:  # killed with its log not folded
        rows = Rows.open(path)
        rows.run(lambda tx: locks.save_lock_home(tx, HOME))
        rows.run(lambda tx: locks.reserve_session_ctr(tx, LOCK))
        rows.run(put(7))
        os._exit(0)
    os.waitpid(child, 0)  # noqa: ASYNC222 - over at once
    assert path.with_name("store.db-wal").stat().st_size > 0
    await asyncio.to_thread(remount, mount, "ro")
    store = Store.open(path, ballast_size=BALLAST_SIZE)
    assert health(store) is Health.READ_ONLY
    assert await store.run(numbers) == [7]
    assert await refusal(store, put(8)) == StoreCode.READ_ONLY
    start = await store.run(lambda tx: meta.foresee_run(tx, "machine"))
    assert (start.boot, start.recorded) == (1, False)
    assert await store.run(lambda tx: locks.resume_session_ctr(tx, LOCK, 20)) == 21
    assert await store.run(lambda tx: locks.reserve_session_ctr(tx, LOCK)) == 22
    await store.close()
    await asyncio.to_thread(remount, mount, "rw")
    again = Rows.open(path)
    assert again.run(numbers) == [7]
    again.database.close()


async def test_a_card_that_fills_up_keeps_all_it_acknowledged_and_works_again_with_room(mount: Path) -> None:
    store = Store.create(mount / "store.db", log_id=LOG_ID, ballast_size=256 * 1024)
    (mount / "syslog").write_bytes(bytes(1_200 * 1024))
    kept, healths = [], {store.health}
    for number in range(200):
        code = await code_of(store, put(number, 30_000))
        assert code in {None, StoreCode.FULL}
        kept += [number] * (code is None)
        healths.add(store.health)
    assert healths >= {Health.WRITABLE, Health.LOW, Health.FULL}
    assert 0 < len(kept) < 200
    (mount / "syslog").unlink()
    await store.run(put(250))
    assert health(store) is Health.WRITABLE
    found = await store.run(numbers)
    assert set(kept[-alarms.ALARM_COUNT_MAX + 1 :]) | {250} <= {*found}
    await store.close()


# --- a log that cannot be folded


async def test_a_log_that_cannot_be_folded_is_told_grows_to_its_bound_and_shrinks_again(
    store: Store, disk: FaultyDisk, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WAL_PAGE_COUNT", 20)
    monkeypatch.setattr(database, "WAL_PAGE_COUNT_MAX", 60)
    disk.fill(file="store.db")  # the file itself cannot grow; its log can
    kept = 0
    for number in range(200):
        code = await code_of(store, put(number, 9_000))
        if code is not None:
            assert code == StoreCode.READ_ONLY
            break
        kept = number
    assert 20 <= path.with_name("store.db-wal").stat().st_size // 4_096 <= 60 + 10
    assert health(store) in {Health.FULL, Health.READ_ONLY}
    assert kept in await store.run(numbers)
    disk.mend()
    for number in range(210, 240):
        await store.run(put(number))
    assert health(store) is Health.WRITABLE
    assert kept in await store.run(numbers)


# --- what counts while nothing can be written


@pytest.mark.parametrize(
    ("lock_ctr", "expected"),
    [(63, None), (64, 65), (127, 128), (128, None)],
    ids=["before the block", "its first", "its last", "behind it"],
)
def test_a_session_counter_is_resumed_inside_the_durable_block_only(
    rows: Rows, lock_ctr: int, expected: int | None
) -> None:
    rows.run(lambda tx: locks.save_lock_home(tx, HOME))
    for _ in range(65):
        rows.run(lambda tx: locks.reserve_session_ctr(tx, LOCK))
    rows.restart()
    assert not rows.written(lambda tx: locks.resume_session_ctr(tx, LOCK, lock_ctr))
    assert rows.run(lambda tx: locks.resume_session_ctr(tx, LOCK, lock_ctr)) == expected


def test_attack_an_alarm_of_an_earlier_boot_opens_nothing_on_a_disk_that_cannot_forget_it(rows: Rows) -> None:
    rows.run(lambda tx: alarms.open_alarm(tx, LOCK, b"ref", 1_000_000))
    assert rows.run(lambda tx: alarms.is_open(tx, LOCK, b"ref", 5))
    assert not rows.written(alarms.void_alarms)
    assert not rows.run(lambda tx: alarms.is_open(tx, LOCK, b"ref", 5))


@pytest.mark.parametrize("fault", [FaultyDisk.fill, FaultyDisk.mount_read_only], ids=["full", "read-only"])
async def test_on_a_disk_that_takes_nothing_closing_says_what_was_left_undone_and_loses_nothing(
    path: Path, disk: FaultyDisk, fault: Callable[[FaultyDisk], None]
) -> None:
    store = Store.open(path, vfs=disk.name, executor=InlineExecutor())
    await store.run(put(7))
    fault(disk)
    first, second = await store.close(), await store.close()
    assert first is not None
    assert first is second
    disk.mend()
    again = Rows.open(path)
    assert again.run(numbers) == [7]
    again.database.close()


def test_a_damaged_store_on_a_disk_that_takes_nothing_is_called_damaged(path: Path, disk: FaultyDisk) -> None:
    rows = Rows.open(path)
    rows.run(lambda tx: tx.execute("UPDATE gateway SET log_size = 5"))
    rows.database.close()
    disk.mount_read_only()
    with pytest.raises(StoreError) as refused:
        Store.open(path, vfs=disk.name, executor=InlineExecutor())
    assert refused.value.code == StoreCode.DAMAGED
