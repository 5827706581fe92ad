"""The store from the loop's side: durable results, shared transactions, faults that stay with their work."""

from __future__ import annotations

import asyncio
import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from gatewayd.store.creation import create_file
from gatewayd.store.database import Database
from gatewayd.store.log import check_whole
from gatewayd.store.store import BATCH_COUNT_MAX, Store, StoreCode, StoreError, Transaction
from tests.support.faulty_disk import FaultyDisk
from tests.support.inline_executor import InlineExecutor
from tests.support.journal_bench import GATEWAY, LOG_ID, JournalBench, heartbeat, public
from tests.support.virtual_loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    store = Store.create(path, log_id=LOG_ID)
    yield store
    await store.close()


def put(name: str, until_ms: int = 1) -> Callable[[Transaction], str]:
    def work(tx: Transaction) -> str:
        tx.execute("INSERT INTO alarms VALUES (?, x'', ?)", (name.encode(), until_ms))
        return name

    return work


def names(tx: Transaction) -> list[str]:
    return [lock_id.decode() for (lock_id,) in tx.execute("SELECT lock_id FROM alarms ORDER BY lock_id")]


def fail(tx: Transaction) -> None:
    tx.execute("INSERT INTO alarms VALUES (x'66', x'', 0)")
    raise ZeroDivisionError


async def test_run_returns_what_the_work_returns(store: Store) -> None:
    assert await store.run(put("a")) == "a"
    assert await store.run(names) == ["a"]


async def test_what_run_has_returned_survives_a_kill_at_that_moment(store: Store, path: Path, tmp_path: Path) -> None:
    for number in range(5):
        await store.run(put(str(number)))
        left = tmp_path / f"left-{number}"
        left.mkdir()
        for file in (path, path.with_name("store.db-wal")):
            shutil.copy(file, left)
        found = Database(left / "store.db")
        assert found.run(names) == [str(each) for each in range(number + 1)]
        found.close()


async def test_works_of_one_turn_share_one_transaction_and_one_fsync(path: Path) -> None:
    disk = FaultyDisk("shared-transaction")
    create_file(path, log_id=LOG_ID)
    store = Store.open(path, vfs=disk.name)
    await store.run(put("first"))
    before = disk.sync_count
    assert await asyncio.gather(*(store.run(put(f"{n:03}")) for n in range(50))) == [f"{n:03}" for n in range(50)]
    assert disk.sync_count - before == 1
    await store.close()


async def test_works_that_come_during_a_transaction_share_the_next_one(path: Path) -> None:
    disk = FaultyDisk("next-transaction")
    create_file(path, log_id=LOG_ID)
    store = Store.open(path, vfs=disk.name)
    held, entered = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        entered.set()
        held.wait(10)
        tx.execute("INSERT INTO alarms VALUES (x'00', x'', 0)")

    first = asyncio.create_task(store.run(hold))
    await asyncio.to_thread(entered.wait, 10)
    rest = [asyncio.create_task(store.run(put(f"{n:03}"))) for n in range(20)]
    await asyncio.sleep(0)
    before = disk.sync_count
    held.set()
    await asyncio.gather(first, *rest)
    assert disk.sync_count - before <= 3  # the log's header once, then one for each of the two transactions
    await store.close()


async def test_works_run_in_the_order_in_which_they_were_asked_for(store: Store) -> None:
    seen: list[int] = []

    def note(number: int) -> Callable[[Transaction], None]:
        return lambda _: seen.append(number)

    await asyncio.gather(*(store.run(note(number)) for number in range(3 * BATCH_COUNT_MAX)))
    assert seen == list(range(3 * BATCH_COUNT_MAX))


async def test_a_work_that_raises_is_rolled_back_alone(store: Store) -> None:
    results = await asyncio.gather(store.run(put("a")), store.run(fail), store.run(put("b")), return_exceptions=True)
    assert (results[0], results[2]) == ("a", "b")
    assert isinstance(results[1], ZeroDivisionError)
    assert await store.run(names) == ["a", "b"]


async def test_a_work_that_raises_and_has_the_transaction_to_itself_leaves_nothing_behind(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        await store.run(fail)
    assert await store.run(names) == []


async def test_a_work_that_breaks_the_schema_is_our_own_bug_and_alone(store: Store) -> None:
    results = await asyncio.gather(
        store.run(put("a")), store.run(put("a")), store.run(lambda tx: tx.execute("SELEC")), return_exceptions=True
    )
    assert [getattr(each, "code", each) for each in results] == ["a", StoreCode.MISUSE, StoreCode.MISUSE]


async def test_a_work_that_raises_stop_iteration_does_not_hang_its_caller(store: Store) -> None:
    with pytest.raises(RuntimeError):
        await store.run(lambda _: next(iter(())))


async def test_a_work_that_was_cancelled_before_it_began_never_runs(store: Store) -> None:
    ran: list[str] = []
    task = asyncio.create_task(store.run(lambda _: ran.append("cancelled")))
    other = asyncio.create_task(store.run(lambda _: ran.append("kept")))
    await asyncio.sleep(0)
    task.cancel()
    await other
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ran == ["kept"]


async def test_a_work_that_is_cancelled_later_disturbs_no_other(store: Store) -> None:
    held, entered = threading.Event(), threading.Event()

    def hold(_: Transaction) -> None:
        entered.set()
        held.wait(10)

    task = asyncio.create_task(store.run(hold))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    other = asyncio.create_task(store.run(put("a")))
    held.set()
    assert await other == "a"
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_closing_finishes_what_was_asked_for(path: Path) -> None:
    store = Store.create(path, log_id=LOG_ID)
    tasks = [asyncio.create_task(store.run(put(f"{n:03}"))) for n in range(BATCH_COUNT_MAX + 1)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*tasks) == [f"{n:03}" for n in range(BATCH_COUNT_MAX + 1)]
    assert Database(path).run(names) == [f"{n:03}" for n in range(BATCH_COUNT_MAX + 1)]


async def test_closing_folds_the_log_into_the_file(store: Store, path: Path) -> None:
    await store.run(put("a"))
    await store.close()
    assert [file.name for file in path.parent.iterdir()] == ["store.db"]


async def test_closing_twice_is_fine_and_running_afterwards_is_refused(store: Store) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreError) as refused:
        await store.run(names)
    assert refused.value.code == StoreCode.CLOSED


async def test_two_that_close_at_once_both_wait_for_the_end(store: Store) -> None:
    task = asyncio.create_task(store.run(put("a")))
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    assert task.done()


async def test_size_counts_the_log_too(store: Store, path: Path) -> None:
    await store.run(put("a"))
    assert store.path == path
    assert store.size == sum(file.stat().st_size for file in path.parent.iterdir())


def test_on_virtual_time_with_an_inline_executor_no_thread_is_needed(path: Path) -> None:
    async def story() -> list[str]:
        store = Store.create(path, log_id=LOG_ID, executor=InlineExecutor())
        await asyncio.gather(*(store.run(put(f"{n}")) for n in range(5)))
        await asyncio.sleep(3_600)
        found = await store.run(names)
        await store.close()
        return found

    before = threading.active_count()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(story()) == ["0", "1", "2", "3", "4"]
    assert threading.active_count() == before


async def test_the_writers_thread_ends_with_the_store(path: Path) -> None:
    before = threading.active_count()
    store = Store.create(path, log_id=LOG_ID)
    await store.run(put("a"))
    assert threading.active_count() == before + 1
    await store.close()
    assert threading.active_count() == before


async def test_nothing_reaches_the_disk_while_nothing_is_asked_and_nothing_changes(path: Path) -> None:
    disk = FaultyDisk("idle")
    create_file(path, log_id=LOG_ID)
    store = Store.open(path, vfs=disk.name)
    await store.run(put("a"))
    before = (disk.write_count, disk.sync_count)
    for _ in range(10):
        await store.run(names)
    assert (disk.write_count, disk.sync_count) == before
    await store.close()


async def test_a_writer_that_was_stopped_hangs_nobody(store: Store) -> None:
    def stop(_: Transaction) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        await store.run(stop)
    assert await store.run(put("a")) == "a"


def opening_reads(path: Path, *, entry_count: int) -> int:
    """Return how often the disk is read from to open a store of so many entries."""
    bench = JournalBench.make(path)
    for start in range(0, entry_count, 500):
        bench.append(*(heartbeat(number) for number in range(start, start + 500)))
    bench.note()
    bench.database.close()
    disk = FaultyDisk(f"opening-{entry_count}")
    database = Database(path, vfs=disk.name)
    database.run(lambda tx: check_whole(tx, path))
    database.run(lambda tx: bench.journal.doubt(tx, own_key=public(GATEWAY)))
    database.close()
    return disk.read_count


def test_a_start_reads_as_much_of_a_long_journal_as_of_a_short_one(tmp_path: Path) -> None:
    short = opening_reads(tmp_path / "short.db", entry_count=500)
    long = opening_reads(tmp_path / "long.db", entry_count=10_000)
    assert long - short <= 4, "a level or two of the tree that SQLite looks the last entry up in"
