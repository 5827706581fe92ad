"""One store on a real file, used row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import pytest

from gatewayd.store.commands import SeenCommand
from gatewayd.store.database import Database
from gatewayd.store.faults import StoreError
from gatewayd.store.locks import LockHome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatewayd.store.database import Transaction

T = TypeVar("T")

LOCK: Final = b"lock-one"
OTHER_LOCK: Final = b"lock-two"
KID: Final = b"signer-1"
OTHER_KID: Final = b"signer-2"
HOME: Final = LockHome(lock_id=LOCK, pairing_order=b"order", door=b"door", owner_epoch=3)
SEEN: Final = SeenCommand(
    kid=KID,
    command_id=b"c" * 16,
    command_sha256=b"h" * 32,
    lock_id=LOCK,
    grant_cti=b"g" * 16,
    action=1,
    reserved_utc_s=1_000_000_000,
    command_seq=1,
    receipt=b"decided",
    code=0x30,
    journal_index=3,
)


@dataclass
class Rows:
    """An open store; each call is one durable transaction."""

    path: Path
    database: Database

    @classmethod
    def open(cls, path: Path) -> Rows:
        """Open a store that is there."""
        return cls(path, Database(path))

    def run(self, work: Callable[[Transaction], T]) -> T:
        """Run one transaction."""
        return self.database.run(work)

    def restart(self) -> None:
        """Forget what a restart forgets."""
        self.database.close()
        self.database = Database(self.path)

    def written(self, work: Callable[[Transaction], object]) -> bool:
        """Run a work and tell whether anything of it went to the disk."""
        wal = self.path.with_name(f"{self.path.name}-wal")
        before = wal.stat().st_size if wal.exists() else 0
        self.run(work)
        return wal.stat().st_size != before

    def refusal(self, work: Callable[[Transaction], object]) -> str:
        """Run a work that the store must refuse, and return the code."""
        with pytest.raises(StoreError) as refused:
            self.run(work)
        return refused.value.code
