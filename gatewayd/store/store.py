"""The store as the loop sees it: works go in, durable results come out; one hop to the writer a batch."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Self, TypeVar

from gatewayd.store.creation import create_file
from gatewayd.store.database import Database, Dropped, Transaction
from gatewayd.store.faults import StoreCode, StoreError
from gatewayd.store.log import check_whole
from gatewayd.store.schema import migrate

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from pathlib import Path

    from gatewayd.store.database import Outcome, Work

__all__ = ["Store", "StoreCode", "StoreError", "Transaction"]

T = TypeVar("T")

BATCH_COUNT_MAX: Final = 128
"""Most works in one transaction: the first of them waits for the last."""


@dataclass(frozen=True, slots=True)
class _Queued:
    work: Work
    done: asyncio.Future[Outcome]


class Store:
    """One file, open for as long as this object lives. `run` from one event loop; the writer is one thread."""

    def __init__(self, database: Database, *, executor: Executor | None = None) -> None:
        self._database = database
        self._owns_executor = executor is None
        self._executor = executor or ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._queue: list[_Queued] = []
        self._writing = False
        self._idle: asyncio.Future[None] | None = None
        """Awaited by a closing that has to wait for the last transaction."""
        self._closing: asyncio.Future[None] | None = None

    @classmethod
    def open(cls, path: Path, *, executor: Executor | None = None, vfs: str | None = None) -> Self:
        """Open an existing store, take its lock and bring its schema up to date. Blocks: for the start only.

        `executor` None means a writer thread of its own; one that runs works at once makes virtual time
        deterministic. `vfs` names an apsw VFS.

        Raises:
            StoreError: ABSENT, LOCKED, DAMAGED, NEWER_SCHEMA, READ_ONLY, FULL, IO. The file is left as it is.
        """
        database = Database(path, vfs=vfs)
        try:
            migrate(database)
            database.run(partial(check_whole, path=path))
        except StoreError:
            database.close()
            raise
        return cls(database, executor=executor)

    @classmethod
    def create(cls, path: Path, *, log_id: bytes, executor: Executor | None = None) -> Self:
        """Make a new store and open it; see `creation.create_file`.

        Raises:
            StoreError: as `create_file` and `open` do.
        """
        create_file(path, log_id=log_id)
        return cls.open(path, executor=executor)

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._database.path

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
            StoreError: nothing of it was kept; with the code IO that is not known.
        """
        if self._closing is not None:
            raise StoreError(StoreCode.CLOSED, f"{self.path}: closed")
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

    async def close(self) -> None:
        """Finish what has been asked for, then close the file. Closing twice is fine.

        Raises:
            StoreError: the file could not be closed in order; nothing committed is lost.
        """
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        loop = asyncio.get_running_loop()
        if self._writing:
            self._idle = loop.create_future()
            await self._idle
        try:
            await loop.run_in_executor(self._executor, self._database.close)
        finally:
            if self._owns_executor:
                self._executor.shutdown()

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        wanted = [each for each in self._queue if not each.done.cancelled()]
        batch, self._queue = wanted[:BATCH_COUNT_MAX], wanted[BATCH_COUNT_MAX:]
        if not batch:
            self._rest()
            return
        works = [each.work for each in batch]
        writing = loop.run_in_executor(self._executor, self._database.run_batch, works)
        writing.add_done_callback(partial(self._settle, loop, batch))

    def _settle(
        self, loop: asyncio.AbstractEventLoop, batch: list[_Queued], writing: asyncio.Future[list[Outcome]]
    ) -> None:
        for queued, outcome in zip(batch, _outcomes(writing, len(batch)), strict=True):
            if not queued.done.done():
                queued.done.set_result(outcome)
        self._write(loop)

    def _rest(self) -> None:
        self._writing = False
        if self._idle is not None:
            self._idle.set_result(None)


def _outcomes(writing: asyncio.Future[list[Outcome]], count: int) -> list[Outcome]:
    error = writing.exception()
    if error is None:
        return writing.result()
    return [Dropped(error)] * count
