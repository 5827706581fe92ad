"""Single values: the boot number and the time as it was last known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayd.store.database import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeAnchor:
    """A lock's uptime at a moment when UTC was known; it outlives a power cut of the gateway, not of the lock."""

    lock_boot: int
    lock_up_ms: int
    lo_ms: int
    """UTC then was in `[lo_ms, hi_ms]`."""
    hi_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTime:
    """What a restart may know of time."""

    floor_ms: int
    """UTC has reached it, in milliseconds."""
    anchors: Mapping[bytes, TimeAnchor]
    """By lock id."""


def load_boot(tx: Transaction) -> int:
    """Return how often the daemon has started on this store."""
    ((boot,),) = tx.execute("SELECT boot FROM gateway")
    return int(boot)


def next_boot(tx: Transaction) -> int:
    """Count one more start and return its number, from 1."""
    tx.execute("UPDATE gateway SET boot = boot + 1")
    return load_boot(tx)


def load_time(tx: Transaction) -> StoredTime | None:
    """Return the time as it was last saved, or None before that."""
    ((floor_ms, anchors),) = tx.execute("SELECT time_floor_ms, time_anchors FROM gateway")
    if floor_ms is None:
        return None
    return StoredTime(
        floor_ms=floor_ms,
        anchors={
            bytes.fromhex(lock): TimeAnchor(lock_boot=boot, lock_up_ms=up_ms, lo_ms=lo_ms, hi_ms=hi_ms)
            for lock, (boot, up_ms, lo_ms, hi_ms) in json.loads(anchors).items()
        },
    )


def save_time(tx: Transaction, time: StoredTime) -> None:
    """Keep the time; an earlier floor than the one held is not taken, because time never goes back."""
    anchors = {
        lock_id.hex(): (anchor.lock_boot, anchor.lock_up_ms, anchor.lo_ms, anchor.hi_ms)
        for lock_id, anchor in time.anchors.items()
    }
    tx.execute(
        "UPDATE gateway SET time_floor_ms = max(coalesce(time_floor_ms, ?1), ?1), time_anchors = ?2",
        (time.floor_ms, json.dumps(anchors, separators=(",", ":"))),
    )
