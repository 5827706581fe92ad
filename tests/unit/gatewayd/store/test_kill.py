"""The writer is killed at random moments; what it had acknowledged is there, and the log is whole."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gatewayd.journal.verification import Keys, verify_log
from gatewayd.store.creation import create_file
from gatewayd.store.log import read_log
from tests.support.journal_bench import GATEWAY, LOG_ID, JournalBench, public

ROOT = Path(__file__).parents[4]
WRITER = """
import asyncio, pathlib, sys
from gatewayd.store.log import load_journal
from gatewayd.store.store import Store
from tests.support.journal_bench import GATEWAY_ID, SALT, TIME, heartbeat

async def write(store, journal):
    while True:
        index = await store.run(lambda tx: journal.append(tx, heartbeat(), time=TIME, salt=SALT))
        print(index, flush=True)

async def story():
    store = Store.open(pathlib.Path(sys.argv[1]))
    journal = await store.run(lambda tx: load_journal(tx, gateway_id=GATEWAY_ID))
    await asyncio.gather(*(write(store, journal) for _ in range(5)))

asyncio.run(story())
"""


def kill_once(path: Path, *, after_s: float) -> list[int]:
    """Let a writer write, kill it, and return the indexes of the entries that it was told were durable."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    first = writer.stdout.readline()
    time.sleep(after_s)
    writer.kill()
    rest, _ = writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    return [int(line) for line in (first + rest[: rest.rfind("\n") + 1]).split()]


def kill_often(path: Path, *, count: int, seed: int) -> None:
    create_file(path, log_id=LOG_ID)
    chance = random.Random(seed)
    acknowledged: set[int] = set()
    for _ in range(count):
        indexes = kill_once(path, after_s=chance.uniform(0, 0.2))
        assert acknowledged.isdisjoint(indexes), "an index was given twice"
        acknowledged.update(indexes)
        bench = JournalBench.open(path)
        assert bench.marks.size > max(acknowledged)
        bench.database.close()
    verification = verify_log(read_log(path), keys=Keys(gateway=public(GATEWAY)))
    assert verification.problems == ()
    assert acknowledged <= set(range(verification.size))


@pytest.mark.slow
def test_a_writer_killed_at_random_moments_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    kill_often(tmp_path / "store.db", count=3, seed=1)


@pytest.mark.soak
def test_a_writer_killed_all_night_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    kill_often(tmp_path / "store.db", count=200, seed=2)
