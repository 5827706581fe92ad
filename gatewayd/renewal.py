"""A fresh log after any doubt: its first entry names the old one, and nothing that was not received is left behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import structlog

from gatewayd.journal.events import LockRecorded, LogBegun
from gatewayd.journal.leaves import LeafError, read_leaf
from gatewayd.store import locks, renewal
from gatewayd.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.journal.journal import Journal
    from gatewayd.recorder import Page
    from gatewayd.store.renewal import FormerEntry

T = TypeVar("T")

LOG_ID_SIZE: Final = 16
CARRIED_AT_ONCE: Final = 100
"""Entries in one transaction: nobody else's commit waits for more."""

_log = structlog.get_logger()


class Pages(Protocol):
    """What a `Recorder` does."""

    async def run(self, work: Callable[[Page], T]) -> T:
        """Run a transaction; what it returns is durable."""


def renew_where_doubted(page: Page, *, own_key: bytes) -> Journal:
    """Return the journal to go on with: the one that is there, or a fresh one where that cannot be borne out.

    `own_key`: this gateway's Ed25519 public key; what it has signed is evidence against the store. The page's
    transaction must be one that the disk takes.
    """
    journal = page.journal
    reason = renewal.load_doubt(page.tx) or journal.doubt(page.tx, own_key=own_key)
    if not reason:
        return journal
    fresh = replace(journal, log_id=page.entropy.token(LOG_ID_SIZE))
    former = renewal.begin_anew(page.tx, fresh.log_id)
    _log.error("journal.renewed", reason=reason, former=former.log_id.hex(), size=former.size)
    replace(page, journal=fresh).append(
        LogBegun(
            reason=reason,
            former_log_id=former.log_id if former.size else None,
            former_size=former.size or None,
            former_root=former.root if former.size else None,
            priority=True,
        )
    )
    return fresh


async def carry_over(recorder: Pages) -> None:
    """Append what the former log still owed to the central log; ends when nothing is left."""
    try:
        while await recorder.run(_carry_some):
            pass
    except StoreError as error:  # the next start goes on: what was not carried is still there
        _log.error("store.unavailable", code=error.code)


def _carry_some(page: Page) -> bool:
    former = renewal.read_former(page.tx, CARRIED_AT_ONCE)
    for entry in former:
        _carry(page, entry)
        renewal.forget_former(page.tx, entry.index)
    return bool(former)


def _carry(page: Page, entry: FormerEntry) -> None:
    try:
        index = page.journal.append_carried(page.tx, entry.leaf)
        leaf = read_leaf(entry.leaf)
    except LeafError as error:
        _log.error("journal.entry_lost", index=entry.index, detail=error.detail)
        return
    if leaf.type == LockRecorded.TYPE and leaf.lock_id is not None:
        log_id = bytes.fromhex(leaf.data["log_id"])
        locks.note_lock_record(page.tx, leaf.lock_id, log_id, leaf.data["seq"], index)
