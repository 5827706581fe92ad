"""Brings a file to the newest schema, step by step, each step in one transaction."""

from __future__ import annotations

from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Final

from firmware_protocol.merkle import Frontier
from gatewayd.store.database import APPLICATION_ID

if TYPE_CHECKING:
    from gatewayd.store.database import Database, Transaction

STEPS: Final = ("0001_initial.sql", "0002_access.sql", "0003_trust.sql", "0010_renewal.sql", "0011_repaired.sql")
"""In order; the file's `user_version` counts how many it has behind it."""


def migrate(database: Database) -> None:
    """Bring a store to the newest schema; writes nothing where it is there already.

    Raises:
        StoreError: by the step that failed; the steps before it are kept.
    """
    ((version,),) = database.run(lambda tx: tx.execute("PRAGMA user_version"))
    for number, name in enumerate(STEPS[version:], start=version + 1):
        database.run(partial(_take, number=number, step=_read(name)))


def build(database: Database, *, log_id: bytes) -> None:
    """Make a store of an empty file. `log_id` (16 random bytes) names its journal for good."""
    database.run(lambda tx: tx.execute(f"PRAGMA application_id = {APPLICATION_ID}"))
    migrate(database)
    empty = Frontier.empty().to_bytes()
    row = "INSERT INTO gateway (one, log_id, frontier, oldest_frontier) VALUES (1, ?, ?, ?)"
    database.run(lambda tx: tx.execute(row, (log_id, empty, empty)))


def _take(tx: Transaction, *, number: int, step: str) -> None:
    tx.execute(step)
    tx.execute(f"PRAGMA user_version = {number}")


def _read(name: str) -> str:
    return resources.files("gatewayd.store.migrations").joinpath(name).read_text()
