"""What a store can fail of."""

from __future__ import annotations

from enum import StrEnum, unique

from gatewayd.errors import GatewayError


@unique
class StoreCode(StrEnum):
    """Every way in which the store fails, with its stable dotted name."""

    LOCKED = "store.locked"
    """Another process has it open."""
    FULL = "store.full"
    """The disk has no room; nothing of the transaction was kept."""
    READ_ONLY = "store.read_only"
    """The file or its file system cannot be written."""
    DAMAGED = "store.damaged"
    """It is not what was written; the daemon puts it aside, and goes on with what can still be read of it."""
    FOREIGN = "store.foreign"
    """A folder, or somebody else's database: nothing of this gateway's to repair."""
    NEWER_SCHEMA = "store.newer_schema"
    """A newer gatewayd wrote it; this one would not understand it."""
    IO = "store.io"
    """The disk failed; whether the transaction was kept is not known."""
    STALLED = "store.stalled"
    """The disk has not answered in time; what it was given before may still be kept, what comes now is not."""
    ABSENT = "store.absent"
    """There is no file."""
    EXISTS = "store.exists"
    """There is one already where a new one should be made."""
    CLOSED = "store.closed"
    """It has been closed: the daemon is stopping."""
    OUTDATED = "store.outdated"
    """What should be saved is older than what is held: evidence never goes back."""
    MISUSE = "store.misuse"
    """A bug in this daemon: a statement that the schema does not allow."""


class StoreError(GatewayError):
    """The store could not do it; `code` is one of `StoreCode`."""

    def __init__(self, code: StoreCode, detail: str) -> None:
        super().__init__(code, detail)
