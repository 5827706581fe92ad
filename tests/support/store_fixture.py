"""`python -m tests.support.store_fixture` prints a store as today's schema writes it, for `tests/fixtures/stores/`.

To be run before a new step is added to the schema: the store of the version before it is what the step has to read.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from pathlib import Path

from gatewayd.store import alarms, buckets, commands, locks, meta
from gatewayd.store.database import APPLICATION_ID, SCHEMA_VERSION
from tests.support.journal_bench import JournalBench, heartbeat, receipt
from tests.support.store_rows import HOME, LOCK, SEEN


def dump(path: Path) -> str:
    """Write a store and return it as SQL."""
    bench = JournalBench.make(path)
    bench.run(lambda tx: meta.begin_run(tx, "machine-boot"))
    bench.run(lambda tx: locks.save_lock_home(tx, HOME))
    bench.beat(5)
    bench.take_receipt(receipt(bench.note()))
    bench.append(*(heartbeat(number) for number in range(5, 8)))
    bench.run(lambda tx: locks.next_command_seq(tx, LOCK))
    bench.run(lambda tx: commands.reserve(tx, SEEN))
    bench.run(lambda tx: locks.reserve_session_ctr(tx, LOCK))
    bench.run(lambda tx: buckets.save_buckets(tx, {"global": 12_345}))
    bench.run(lambda tx: alarms.open_alarm(tx, LOCK, b"ref", 99))
    bench.database.close()
    connection = sqlite3.connect(path)
    lines = [
        f"-- A store as schema {SCHEMA_VERSION} wrote it: eight entries, five of them received, one open command.",
        f"PRAGMA application_id = {APPLICATION_ID};",
        f"PRAGMA user_version = {SCHEMA_VERSION};",
        *connection.iterdump(),
    ]
    connection.close()
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(f"{dump(Path(folder) / 'store.db')}\n")
