"""A commit that takes seconds, as when a card tidies itself up, holds nobody up but those who wait for it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

from gatewayd.store import alarms
from gatewayd.store.creation import create_file
from gatewayd.store.store import Store
from tests.support.faulty_disk import FaultyDisk
from tests.support.journal_bench import LOG_ID

if TYPE_CHECKING:
    from pathlib import Path

TURN_COUNT: Final = 1_000


async def test_while_a_commit_is_slow_the_loop_turns_and_what_comes_shares_the_next_one(tmp_path: Path) -> None:
    disk, path = FaultyDisk("slow-commit"), tmp_path / "store.db"
    create_file(path, log_id=LOG_ID)
    store = Store.open(path, vfs=disk.name)
    await store.run(lambda tx: alarms.open_alarm(tx, bytes(8), b"first", 1))
    syncing, tidied = threading.Event(), threading.Event()
    disk.hold_next_sync(syncing, tidied)
    slow = asyncio.create_task(store.run(lambda tx: alarms.open_alarm(tx, bytes(8), b"slow", 1)))
    await asyncio.to_thread(syncing.wait, 60)
    rest = [asyncio.create_task(store.run(lambda tx: alarms.open_alarm(tx, bytes(8), b"rest", 1))) for _ in range(9)]
    for _ in range(TURN_COUNT):  # each is a turn of the loop; a loop that waits for the disk makes none
        await asyncio.sleep(0)
    assert not slow.done()
    assert not any(task.done() for task in rest)
    before = disk.sync_count
    tidied.set()
    await asyncio.gather(slow, *rest)
    assert disk.sync_count - before == 2, "the slow one, and one for all that came meanwhile"
    await store.close()
