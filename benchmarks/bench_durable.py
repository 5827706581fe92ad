"""From an event to its entry on the disk, beside a bare SQLite commit of the same bytes in the same folder.

Both hop to a writer thread and back; both use the store's own pragmas. What is left between them is ours: the leaf, the
tree, the transaction around them and the queue to the writer.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import apsw

from benchmarks.rows import Row, median, percentile
from gatewayd.journal.events import CommandOutcome, TimeStamp
from gatewayd.journal.journal import Journal
from gatewayd.journal.leaves import to_leaf
from gatewayd.store import entries
from gatewayd.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EVENT_COUNT: Final = 400
"""Events one after another, each waiting for the one before: the worst case of a quiet home."""
GATEWAY_ID: Final = bytes(8)
LOG_ID: Final = bytes(16)
SALT: Final = bytes(16)
STAMP: Final = TimeStamp(lo_ms=1_700_000_000_000, hi_ms=1_700_000_001_000)
EVENT: Final = CommandOutcome(
    command_id="00" * 16, command_sha256="00" * 32, code="outcome.done", bolt="unlocked", lock_id=bytes(8)
)
LEAF: Final = to_leaf(EVENT, gateway_id=GATEWAY_ID, log_id=LOG_ID, index=0, salt=SALT, time=STAMP)
RATIO_MAX: Final = 2.0


async def each_ms(work: Callable[[], Awaitable[object]]) -> list[float]:
    """Milliseconds of each of many runs in a row."""
    spent_ms = []
    for _ in range(EVENT_COUNT):
        started_s = time.perf_counter()
        await work()
        spent_ms.append((time.perf_counter() - started_s) * 1_000)
    return spent_ms


async def bare_commits(folder: Path) -> list[float]:
    """One row and one commit each, on a thread of its own."""
    connection = apsw.Connection(str(folder / "floor.db"))
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("CREATE TABLE entries (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT")
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=1) as writer:

        def commit() -> None:
            connection.execute("INSERT INTO entries (leaf) VALUES (?)", (LEAF,))

        spent_ms = await each_ms(lambda: loop.run_in_executor(writer, commit))
        await loop.run_in_executor(writer, connection.close)
    return spent_ms


async def journal_entries(folder: Path) -> list[float]:
    """One event and one durable entry each, as the daemon records them."""
    store = Store.create(folder / "figure.db", log_id=LOG_ID)
    journal = Journal(gateway_id=GATEWAY_ID, log_id=LOG_ID, store=entries)
    try:
        return await each_ms(lambda: store.run(lambda tx: journal.append(tx, EVENT, time=STAMP, salt=SALT)))
    finally:
        await store.close()


def run() -> list[Row]:
    """Floor, figure, and once more in the other order, so that neither has the warmer disk."""
    floors: list[float] = []
    figures: list[float] = []
    for order in (
        ((bare_commits, floors), (journal_entries, figures)),
        ((journal_entries, figures), (bare_commits, floors)),
    ):
        for measured, into in order:
            with tempfile.TemporaryDirectory(prefix="gatewayd-bench-") as folder:
                into.extend(asyncio.run(measured(Path(folder))))
    return [
        Row(
            name="event to durable, median",
            unit="ms",
            floor=median(floors),
            figure=median(figures),
            ratio_max=RATIO_MAX,
        ),
        Row(name="event to durable, p99", unit="ms", floor=percentile(floors, 99), figure=percentile(figures, 99)),
    ]
