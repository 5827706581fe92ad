"""A journal taken out of its store: values that whoever stores, sends or checks it shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from firmware_protocol.merkle import Frontier
    from gatewayd.journal.journal import SignedCheckpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafCopy:
    """One entry as it is stored."""

    index: int
    leaf: bytes
    """Empty where its words were erased."""
    hashed: bytes | None = None
    """The leaf hash that is stored beside it; None where only the bytes were exported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCopy:
    """A journal taken out of its store."""

    log_id: bytes
    size: int
    """How many entries it says it has ever had."""
    root: bytes | None
    """The root that it states over them, where it states one."""
    before: Frontier
    """The tree over the entries that were pruned."""
    leaves: Iterable[LeafCopy]
    """The rest, in order; may be read once only."""
    checkpoints: Sequence[SignedCheckpoint]
    """Those that are remembered, with their receipts, by size."""
    received: int = 0
    """Entries below it are said to be covered by a receipt."""
