"""Stores of every earlier schema, as they were written then: each is brought up to date with all that it held."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import pytest

from gatewayd.journal.verification import Keys, verify_log
from gatewayd.store import alarms, buckets, commands, locks, meta
from gatewayd.store.database import SCHEMA_VERSION, Database
from gatewayd.store.log import read_log
from gatewayd.store.schema import migrate
from gatewayd.store.store import Store
from tests.support.journal_bench import CENTRAL, GATEWAY, JournalBench, heartbeat, public
from tests.support.store_rows import KID, LOCK

if TYPE_CHECKING:
    from gatewayd.store.store import Transaction

FIXTURES = Path(__file__).parents[3] / "fixtures" / "stores"


def schema_of(path: Path) -> list[str]:
    connection = apsw.Connection(str(path))
    rows = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").fetchall()
    connection.close()
    return [" ".join(str(sql).split()) for (sql,) in rows]


def open_and_close(path: Path) -> None:
    async def story() -> None:
        await Store.open(path).close()

    asyncio.run(story())


@pytest.fixture
def old(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "store.db"
    connection = apsw.Connection(str(path))
    for _ in connection.execute((FIXTURES / f"version-{request.param}.sql").read_text()):
        pass
    connection.close()
    return path


def test_every_version_that_was_ever_written_has_a_fixture() -> None:
    assert sorted(file.stem for file in FIXTURES.iterdir()) == [f"version-{n}" for n in range(1, SCHEMA_VERSION)]


@pytest.mark.parametrize("old", range(1, SCHEMA_VERSION), indirect=True)
def test_a_store_of_an_earlier_version_is_brought_up_to_date_and_keeps_everything(old: Path) -> None:
    open_and_close(old)
    bench = JournalBench.open(old)
    assert bench.run(lambda tx: tx.execute("PRAGMA user_version")) == [(SCHEMA_VERSION,)]
    assert (bench.marks.size, bench.marks.received) == (8, 5)
    assert bench.run(lambda tx: meta.begin_run(tx, "machine-boot")).boot == 2
    assert [intent.command_id for intent in bench.run(commands.open_intents)] == [b"c" * 16]
    assert bench.run(lambda tx: commands.find_seen(tx, KID, b"c" * 16)) is not None
    assert bench.run(lambda tx: locks.reserve_session_ctr(tx, LOCK)) == locks.SESSION_BLOCK_COUNT + 1
    assert bench.run(lambda tx: locks.next_command_seq(tx, LOCK)) == 2
    assert bench.run(lambda tx: buckets.load_buckets(tx, ["global"])) == {"global": 12_345}
    assert bench.run(alarms.load_alarms)[0].until_ms == 99
    bench.append(heartbeat(9))
    bench.database.close()
    result = verify_log(read_log(old), keys=Keys(gateway=public(GATEWAY), receipt=[public(CENTRAL)]))
    assert (result.problems, result.size, result.receipt_count) == ((), 9, 1)


@pytest.mark.parametrize("old", range(1, SCHEMA_VERSION), indirect=True)
def test_a_store_that_grew_up_has_the_schema_of_a_new_one(old: Path, tmp_path: Path) -> None:
    database = Database(old)
    migrate(database)
    database.close()
    new = JournalBench.make(tmp_path / "new.db")
    new.database.close()
    assert schema_of(old) == schema_of(new.path)


def test_a_store_of_the_next_version_that_only_added_is_opened_and_what_it_added_stays(tmp_path: Path) -> None:
    bench = JournalBench.make(tmp_path / "store.db")

    def upgrade(tx: Transaction) -> None:
        tx.execute("CREATE TABLE future (x); INSERT INTO future VALUES (1)")
        tx.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")

    bench.run(upgrade)
    bench.database.close()
    open_and_close(bench.path)
    again = JournalBench.open(bench.path)
    again.append(heartbeat())
    assert again.run(lambda tx: tx.execute("SELECT x FROM future")) == [(1,)]
    assert again.run(lambda tx: tx.execute("PRAGMA user_version")) == [(SCHEMA_VERSION + 1,)]
    again.database.close()
