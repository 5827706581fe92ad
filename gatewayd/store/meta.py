"""Single values: the boot number and the time as it was last known."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start of the daemon on this store."""

    boot: int
    """Its number, from 1."""
    unclean: bool
    """The run before it did not end by its own will."""
    machine_rebooted: bool
    """CLOCK_BOOTTIME has begun anew since the start before it; true of the first start."""
    recorded: bool = True
    """False: the disk takes nothing, and the next start will have the same number."""


def begin_run(tx: Transaction, machine_boot: str) -> Start:
    """Count one more start; `machine_boot` is the machine's own id of its boot."""
    start = _start(tx, machine_boot)
    tx.execute("UPDATE gateway SET boot = ?, machine_boot = ?, running = 1", (start.boot, machine_boot))
    return start


def foresee_run(tx: Transaction, machine_boot: str) -> Start:
    """Return what `begin_run` would, where the disk takes nothing: what such a run signs is not remembered either."""
    return replace(_start(tx, machine_boot), recorded=False)


def _start(tx: Transaction, machine_boot: str) -> Start:
    ((boot, earlier, running),) = tx.execute("SELECT boot, machine_boot, running FROM gateway")
    return Start(boot=boot + 1, unclean=bool(running), machine_rebooted=earlier != machine_boot)


def end_run(tx: Transaction) -> None:
    """Note that this run ends by its own will."""
    tx.execute("UPDATE gateway SET running = 0")


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


def lower_floor(tx: Transaction, floor_ms: int) -> None:
    """Let time begin anew at `floor_ms`, by order of the root authority.

    Whatever was counted on the clock that was wrong would else lie in the future and shut the door until then.
    """
    tx.execute("UPDATE gateway SET time_floor_ms = ?, time_anchors = '{}'", (floor_ms,))
    tx.execute("DELETE FROM buckets")
    tx.execute("DELETE FROM lockouts")
    tx.execute("UPDATE grant_uses SET episode_ms = NULL, movement_count = 0")


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
