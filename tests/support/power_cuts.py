"""Cuts the power of the real store, thousands of times, and checks that what comes back is a state that was.

A generation opens the store on what the last cut left, does some works on a recording disk, and is then cut at many
of its disk operations, each time with another fate for what was not synced. After each cut the store must open,
hold exactly the works that were acknowledged, or one more, whole, and give no number a second time.
"""

from __future__ import annotations

import hashlib
import marshal
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, TypeAlias
from unittest.mock import patch

from gatewayd.store import alarms, commands, database, locks
from gatewayd.store.creation import create_file
from gatewayd.store.database import Database, Dropped
from gatewayd.store.faults import StoreError
from gatewayd.store.log import check_whole
from tests.support.journal_bench import CENTRAL, LOG_ID, SALT, TIME, JournalBench, heartbeat, receipt
from tests.support.power_disk import Card, PowerDisk, put_back
from tests.support.store_rows import HOME, LOCK, SEEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gatewayd.store.database import Outcome, Transaction, Work
    from tests.support.power_disk import Files

    Steps: TypeAlias = "tuple[Callable[[], object], ...]"

FAST: Final = Path("/dev/shm")
"""Memory: what is tested is what was asked of the disk, not the disk."""
WORK_COUNT_MAX: Final = 25
CUTS_OF_A_GENERATION: Final = 60
INDEXES_CHECKED_EVERY: Final = 8
"""Rows are all read at each cut."""
FAILING_SHARE: Final = 0.25
"""Generations in which one sync fails, and what it should have written is lost."""
FOLDED_AT: Final = 24
"""Pages of log: so that foldings, and cuts in them, come often."""
MARSHAL_VERSION: Final = 2
"""The last one without references, which depend on more than the values."""
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What the store had said by a moment."""

    change_count: int
    """Changes of the disk before it was said."""
    state: str
    """Digest of everything durable."""
    session_ctr_max: int
    unsure: str | None = None
    """What it would be, had the transaction before been kept that failed: until the next one that is possible too."""


@dataclass(slots=True)
class Generation:
    """A run on one card until its power went."""

    files: Files
    """What it began with."""
    disk: PowerDisk
    said: list[Acknowledged] = field(default_factory=list)


def cut_often(seed: int, cut_count: int) -> int:
    """Cut the power so many times, at least, and return how often it was.

    Raises:
        AssertionError: something was lost, doubled or damaged; the message has the cut.
    """
    chance = Random(seed)
    with _folder() as folder, patch.object(database, "WAL_PAGE_COUNT", FOLDED_AT):
        files, session_ctr_max, done = _begin(folder / "run"), 0, 0
        while done < cut_count:
            generation = _live(folder / "run", files, chance, session_ctr_max)
            cuts = sorted(chance.choices(range(len(generation.disk.changes) + 1), k=CUTS_OF_A_GENERATION))
            for position, left in _cards(generation, cuts, chance):
                session_ctr_max = _check(folder / "check", left, generation, position, f"seed {seed}, cut {done}")
                files, done = left, done + 1
    return done


def state_of(tx: Transaction) -> str:
    """Return a digest of every durable row."""
    digest = hashlib.sha256()
    for (name,) in tx.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"):
        digest.update(marshal.dumps((name, tx.execute(f"SELECT * FROM {name}")), MARSHAL_VERSION))
    return digest.hexdigest()


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=FAST if FAST.is_dir() else None, prefix="carelock-cuts-") as name:
        for each in ("run", "check"):
            (Path(name) / each).mkdir()
        yield Path(name)


def _begin(folder: Path) -> Files:
    create_file(folder / "store.db", log_id=LOG_ID)
    bench = JournalBench.open(folder / "store.db")
    bench.run(lambda tx: locks.save_lock_home(tx, HOME))
    bench.database.close()
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def _live(folder: Path, files: Files, chance: Random, session_ctr_max: int) -> Generation:
    put_back(files, folder)
    failing_sync = chance.randint(3, 60) if chance.random() < FAILING_SHARE else None
    disk = PowerDisk(f"power-{next(_numbers)}", failing_sync=failing_sync)
    generation = Generation(files, disk)
    bench = JournalBench.open(folder / "store.db", vfs=disk.name)
    said = _Listener(bench.database, generation, session_ctr_max)
    worker = _Worker(replace(bench, database=said), said, chance)
    for _ in range(chance.randint(1, WORK_COUNT_MAX)):
        worker.work()
    with suppress(StoreError):
        bench.database.close()
    return generation


class _Listener(Database):
    """The same connection; notes after each transaction what the store said."""

    def __init__(self, database: Database, generation: Generation, session_ctr_max: int) -> None:
        self._held = database
        self._generation = generation
        self.session_ctr_max = session_ctr_max
        generation.said.append(Acknowledged(0, database.run(state_of), session_ctr_max))

    def note_session(self, counter: int) -> None:
        """Note that a session counter has been given out."""
        self.session_ctr_max = counter
        self._generation.said[-1] = replace(self._generation.said[-1], session_ctr_max=counter)

    def run_batch(self, works: Sequence[Work]) -> list[Outcome]:
        """See `Database.run_batch`."""
        states: list[str] = []
        *outcomes, _ = self._held.run_batch([*works, lambda tx: states.append(state_of(tx))])
        failed = all(isinstance(each, Dropped) and isinstance(each.error, StoreError) for each in outcomes)
        state = self._held.run(state_of) if failed else states[0]
        unsure = states[0] if failed and states else None
        changes = len(self._generation.disk.changes)
        self._generation.said.append(Acknowledged(changes, state, self.session_ctr_max, unsure))
        return outcomes


class _Worker:
    """Does what the daemon does to its store."""

    def __init__(self, bench: JournalBench, said: _Listener, chance: Random) -> None:
        self._bench = bench
        self._said = said
        self._chance = chance

    def work(self) -> None:
        """Do one thing at random."""
        kinds = (self._decide, self._decide, self._append, self._batch, self._session, self._receive)
        for step in self._chance.choice(kinds)():
            with suppress(StoreError):  # it was not acknowledged
                step()

    def _decide(self) -> Steps:
        def work(tx: Transaction) -> None:
            seq = locks.next_command_seq(tx, LOCK)
            index = self._bench.journal.append(tx, heartbeat(seq), time=TIME, salt=SALT)
            command_id = self._chance.randbytes(16)
            commands.reserve(tx, replace(SEEN, command_id=command_id, command_seq=seq, journal_index=index))
            if self._chance.random() < 0.5:
                commands.record_receipt(tx, SEEN.kid, command_id, b"outcome", 1, closed=True)

        return (lambda: self._bench.run(work),)

    def _append(self) -> Steps:
        return (lambda: self._bench.append(heartbeat(self._chance.randrange(1_000))),)

    def _batch(self) -> Steps:
        def alarm(tx: Transaction) -> None:
            alarms.open_alarm(tx, LOCK, self._chance.randbytes(self._chance.choice((*[16] * 9, 9_000))), 1)

        works = [lambda tx: self._bench.journal.append(tx, heartbeat(), time=TIME, salt=SALT), _fail, alarm]
        return (lambda: self._bench.database.run_batch(works),)

    def _session(self) -> Steps:
        return (self._next_session,)

    def _next_session(self) -> None:
        counter = self._bench.run(lambda tx: locks.reserve_session_ctr(tx, LOCK))
        assert counter > self._said.session_ctr_max, f"session counter {counter} again"
        self._said.note_session(counter)

    def _receive(self) -> Steps:
        return (
            self._bench.send_all,
            self._bench.note,
            lambda: self._bench.take_receipt(receipt(self._bench.note(), key=CENTRAL)),
            lambda: self._bench.run(lambda tx: self._bench.journal.prune(tx, 5)),
            lambda: self._bench.run(_close_intents),
            lambda: self._bench.run(lambda tx: commands.prune_seen(tx, SEEN.reserved_utc_s + 1)),
        )


def _close_intents(tx: Transaction) -> None:
    for intent in commands.open_intents(tx):
        commands.record_receipt(tx, intent.kid, intent.command_id, b"settled", 1, closed=True)


def _fail(tx: Transaction) -> None:
    alarms.open_alarm(tx, LOCK, b"never", 1)
    raise ZeroDivisionError


def _cards(generation: Generation, cuts: list[int], chance: Random) -> Iterator[tuple[int, Files]]:
    card, at = Card(generation.files), 0
    for position in cuts:
        for name, change in generation.disk.changes[at:position]:
            card.take(name, change)
        at = position
        yield position, card.after_cut(chance)


def _check(folder: Path, files: Files, generation: Generation, position: int, name: str) -> int:
    said = [each for each in generation.said if each.change_count <= position]
    under_way = generation.said[len(said) : len(said) + 1]
    possible = {each.state for each in (said[-1], *under_way)} | {each.unsure for each in under_way}
    put_back(files, folder)
    try:
        bench = JournalBench.open(folder / "store.db")
    except StoreError as error:
        raise AssertionError(f"{name}: {error}") from error
    try:
        bench.run(lambda tx: check_whole(tx, bench.path))
        if position % INDEXES_CHECKED_EVERY == 0:
            assert bench.run(lambda tx: tx.execute("PRAGMA integrity_check")) == [("ok",)], name
        state = bench.run(state_of)
        assert state in possible, f"{name}: after {position} disk operations, {len(said) - 1} works were said"
    except StoreError as error:
        raise AssertionError(f"{name}: {error}") from error
    finally:
        bench.database.close()
    return said[-1].session_ctr_max
