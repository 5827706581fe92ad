"""The store as the loop sees it: works go in, durable results come out; one hop to the writer a batch."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Self, TypeVar

from gatewayd.store.ballast import Ballast
from gatewayd.store.creation import create_file
from gatewayd.store.database import Database, Dropped, Opening, Transaction, is_mounted_read_only
from gatewayd.store.faults import StoreCode, StoreError
from gatewayd.store.log import check_whole
from gatewayd.store.schema import migrate
from gatewayd.store.writer import Health, Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future
    from pathlib import Path

    from gatewayd.store.database import Outcome, Work

__all__ = ["Health", "Store", "StoreCode", "StoreError", "Transaction"]

T = TypeVar("T")

BATCH_COUNT_MAX: Final = 128
"""Most works in one transaction: the first of them waits for the last."""
STALL_S: Final = 10.0
"""So long the disk may take for one transaction, in seconds, before nobody waits for it any longer. A card may be busy
for half a second with one write (SD Physical Layer 4.6.2.2), and at a door somebody waits for an answer (ADR 45)."""


@dataclass(frozen=True, slots=True)
class _Queued:
    work: Work
    done: asyncio.Future[Outcome]


class Store:
    """One file, open for as long as this object lives. `run` from one event loop; the writer is one thread."""

    def __init__(self, writer: Writer, *, executor: Executor | None = None) -> None:
        self._writer = writer
        self.health = writer.health
        """How the disk does, by the last transaction that wrote or tried to."""
        self.health_changed = asyncio.Event()
        """Set at each change; whoever watches clears it."""
        self._owns_executor = executor is None
        self._executor = executor or ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._queue: list[_Queued] = []
        self._batch: list[_Queued] = []
        """What the writer has at the moment."""
        self._writing = False
        self._patience: asyncio.TimerHandle | None = None
        """Ends the waiting for the batch that the writer has."""
        self._idle: asyncio.Future[None] | None = None
        """Awaited by a closing that has to wait for the last transaction."""
        self._closing: asyncio.Future[StoreError | None] | None = None

    @classmethod
    def open(
        cls, path: Path, *, executor: Executor | None = None, vfs: str | None = None, ballast_size: int = 0
    ) -> Self:
        """Open an existing store, take its lock and bring its schema up to date. Blocks: for the start only.

        On a file system that is mounted read-only it is opened to be read: `health` says so, and what would
        write fails with READ_ONLY. `executor` None means a writer thread of its own; one that runs works at
        once makes virtual time deterministic. `vfs` names an apsw VFS. `ballast_size`: bytes kept back for the
        day on which the disk is full; 0 keeps none.

        Raises:
            StoreError: ABSENT, LOCKED, FOREIGN, DAMAGED, NEWER_SCHEMA, READ_ONLY (by owner or mode), FULL, IO. The
                file is left as it is.
        """
        opening = Opening.READING if is_mounted_read_only(path) else Opening.DAEMON
        database = Database(path, opening=opening, vfs=vfs)
        try:
            if database.is_writable:
                migrate(database)
            database.run(partial(check_whole, path=path))
        except StoreError:
            with suppress(StoreError):  # what is wrong with the file counts, and not that its log cannot be folded
                database.close()
            raise
        ballast = Ballast(path, ballast_size) if ballast_size and database.is_writable else None
        return cls(Writer(database, ballast), executor=executor)

    @classmethod
    def create(cls, path: Path, *, log_id: bytes, executor: Executor | None = None, ballast_size: int = 0) -> Self:
        """Make a new store and open it; see `creation.create_file`.

        Raises:
            StoreError: as `create_file` and `open` do.
        """
        create_file(path, log_id=log_id)
        return cls.open(path, executor=executor, ballast_size=ballast_size)

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._writer.database.path

    @property
    def size(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        path = self.path
        files = (path, path.with_name(f"{path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction and return its result: durable when this returns.

        Works that come while a transaction is being written share the next one. One that raises is rolled
        back alone and its exception comes out here. It must not wait, and must touch nothing but `tx`: it
        runs on the writer's thread. Cancelled before it has begun it never runs; after that it may be kept.

        Raises:
            StoreError: nothing of it was kept; with IO and STALLED that is not known; with FULL and READ_ONLY reading
                works; with STALLED nothing does until the disk has answered.
        """
        if self._closing is not None:
            raise StoreError(StoreCode.CLOSED, f"{self.path}: closed")
        if self.health is Health.STALLED:
            raise self._stalled()
        loop = asyncio.get_running_loop()
        queued = _Queued(work, loop.create_future())
        self._queue.append(queued)
        if not self._writing:
            self._writing = True
            loop.call_soon(self._write, loop)  # not at once: all that this turn of the loop asks for goes along
        outcome = await queued.done
        if isinstance(outcome, Dropped):
            raise outcome.error
        value: T = outcome.value
        return value

    async def close(self) -> StoreError | None:
        """Finish what has been asked for, then close the file. Closing twice is fine.

        Returns why the write-ahead log could not be folded into the file, if so: nothing committed is lost, the next
        opening does it. Nobody's end may fail of it.
        """
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        return await asyncio.shield(self._closing)

    async def _close(self) -> StoreError | None:
        loop = asyncio.get_running_loop()
        if self._writing:
            self._idle = loop.create_future()
            await self._idle
        try:
            await loop.run_in_executor(self._executor, self._writer.close)
        except StoreError as error:
            return error
        else:
            return None
        finally:
            if self._owns_executor:
                self._executor.shutdown()

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._begin(loop)
        except Exception as error:  # noqa: BLE001 - for want of memory, say
            self._give_up(error)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        wanted = [each for each in self._queue if not each.done.cancelled()]
        batch, self._queue = wanted[:BATCH_COUNT_MAX], wanted[BATCH_COUNT_MAX:]
        if not batch:
            self._rest()
            return
        self._batch = batch
        works = [each.work for each in batch]
        writing = self._executor.submit(self._writer.run_batch, works)
        self._patience = loop.call_later(STALL_S, self._stall)
        writing.add_done_callback(partial(self._hand_back, loop, batch))

    def _hand_back(self, loop: asyncio.AbstractEventLoop, batch: list[_Queued], writing: Future[list[Outcome]]) -> None:
        """Run on the writer's thread: a future of the loop's own in between would be two more of its turns."""
        loop.call_soon_threadsafe(self._settle, loop, batch, writing)

    def _settle(self, loop: asyncio.AbstractEventLoop, batch: list[_Queued], writing: Future[list[Outcome]]) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        try:
            for queued, outcome in zip(batch, _outcomes(writing, len(batch)), strict=True):
                if not queued.done.done():
                    queued.done.set_result(outcome)
            if self._writer.health is not self.health:
                self.health = self._writer.health
                self.health_changed.set()
            self._begin(loop)
        except Exception as error:  # noqa: BLE001 - for want of memory, say
            self._give_up(error)

    def _stall(self) -> None:
        """Wait no longer: what the writer has may yet be kept, what stands behind it never runs."""
        self._patience = None
        self.health = Health.STALLED
        self.health_changed.set()
        self._drop_all(self._stalled())

    def _stalled(self) -> StoreError:
        return StoreError(StoreCode.STALLED, f"{self.path}: the disk does not answer")

    def _give_up(self, error: Exception) -> None:
        self._drop_all(StoreError(StoreCode.IO, f"{self.path}: {type(error).__name__}"))
        self.health = self._writer.health
        self._rest()

    def _drop_all(self, error: StoreError) -> None:
        """Tell everybody who waits: a work that nobody ever answers would stand still with the whole house."""
        waiting, self._batch, self._queue = [*self._batch, *self._queue], [], []
        for queued in waiting:
            if not queued.done.done():
                queued.done.set_result(Dropped(error))

    def _rest(self) -> None:
        self._writing = False
        if self._idle is not None:
            self._idle.set_result(None)


def _outcomes(writing: Future[list[Outcome]], count: int) -> list[Outcome]:
    error = writing.exception()
    if error is None:
        return writing.result()
    return [Dropped(error)] * count
