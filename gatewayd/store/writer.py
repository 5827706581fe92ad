"""What runs on the writer's thread: batches of works, the ballast when the disk is full, and how the disk does."""

from __future__ import annotations

from enum import StrEnum, unique
from typing import TYPE_CHECKING, Final

from gatewayd.store.database import Dropped
from gatewayd.store.faults import StoreCode, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayd.store.ballast import Ballast
    from gatewayd.store.database import Database, Outcome, Work


@unique
class Health(StrEnum):
    """How the disk does, by the last batch that wrote or tried to."""

    WRITABLE = "writable"
    LOW = "low"
    """It is full; what is written now goes into the room that the ballast held. Somebody must make room."""
    FULL = "full"
    """Nothing can be kept. What is there can be read."""
    READ_ONLY = "read_only"
    """Nothing can be kept; a file system is mounted so after an error. What is there can be read."""
    FAILING = "failing"
    """It reports errors; each transaction is tried again on a new connection."""
    STALLED = "stalled"
    """It has not answered for seconds, and has said of nothing since that it failed."""
    DAMAGED = "damaged"
    """What was read is not what was written."""


_BY_CODE: Final[Mapping[str, Health]] = {
    StoreCode.FULL: Health.FULL,
    StoreCode.READ_ONLY: Health.READ_ONLY,
    StoreCode.IO: Health.FAILING,
    StoreCode.DAMAGED: Health.DAMAGED,
}


class Writer:
    """The database, its ballast and its health; used by one thread at a time."""

    def __init__(self, database: Database, ballast: Ballast | None = None) -> None:
        self.database = database
        self._ballast = ballast
        self.health = Health.WRITABLE
        if not database.is_writable:
            self.health = Health.READ_ONLY
        elif ballast is not None and not ballast.lay():
            self.health = Health.LOW

    def run_batch(self, works: Sequence[Work]) -> list[Outcome]:
        """See `Database.run_batch`; a full disk is given the ballast's room, and the works run once more."""
        outcomes = self.database.run_batch(works)
        if self._is_full(outcomes) and self._ballast is not None and self._ballast.spend():
            self.health = Health.LOW
            if _fault(outcomes) is not None:
                outcomes = self.database.run_batch(works)
        if _fault(outcomes) in {StoreCode.FULL, StoreCode.READ_ONLY} and len(works) > 1:
            # Those that only read, and those that still find room, are not to fail with the one that does not.
            outcomes = [outcome for work in works for outcome in self.database.run_batch([work])]
        self._note(outcomes)
        return outcomes

    def close(self) -> None:
        """See `Database.close`."""
        self.database.close()

    def _is_full(self, outcomes: Sequence[Outcome]) -> bool:
        return StoreCode.FULL in {_fault(outcomes), self.database.fold_fault}

    def _note(self, outcomes: Sequence[Outcome]) -> None:
        fault = self.database.fold_fault or _fault(outcomes)
        if fault is not None:
            self.health = _BY_CODE.get(fault, self.health)
        elif self.database.has_written:  # a reading proves nothing of the room that there is
            is_laid = self._ballast is None or self._ballast.lay()
            self.health = Health.WRITABLE if is_laid else Health.LOW


def _fault(outcomes: Sequence[Outcome]) -> str | None:
    """Return the code of the disk's fault that dropped a work, if one did."""
    for outcome in outcomes:
        match outcome:
            case Dropped(error=StoreError(code=code)) if code in _BY_CODE:
                return code
            case _:
                continue
    return None
