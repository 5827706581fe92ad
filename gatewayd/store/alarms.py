"""Accepted alarms: while one is open, one operator may open the door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gatewayd.store.database import Transaction

ALARM_COUNT_MAX: Final = 64
"""Most alarms kept open; the one that ends first goes first."""

_VOID: Final = "alarms/void"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAlarm:
    """An alarm that was accepted and not closed."""

    lock_id: bytes
    alarm_ref: bytes
    until_ms: int
    """It ends at this reading of CLOCK_BOOTTIME."""


def open_alarm(tx: Transaction, lock_id: bytes, alarm_ref: bytes, until_ms: int) -> None:
    """Keep an alarm open until CLOCK_BOOTTIME reaches `until_ms`."""
    tx.execute("INSERT OR REPLACE INTO alarms VALUES (?, ?, ?)", (lock_id, alarm_ref, until_ms))
    tx.execute(
        "DELETE FROM alarms WHERE (lock_id, alarm_ref) IN "
        "(SELECT lock_id, alarm_ref FROM alarms ORDER BY until_ms DESC LIMIT -1 OFFSET ?)",
        (ALARM_COUNT_MAX,),
    )


def close_alarm(tx: Transaction, lock_id: bytes, alarm_ref: bytes) -> None:
    """Close an alarm; one that is not open is closed already."""
    tx.execute("DELETE FROM alarms WHERE lock_id = ? AND alarm_ref = ?", (lock_id, alarm_ref))


def is_open(tx: Transaction, lock_id: bytes, alarm_ref: bytes | None, boottime_ms: int) -> bool:
    """Tell whether this alarm is open for this lock at this reading of CLOCK_BOOTTIME; no alarm at all is not."""
    return alarm_ref is not None and bool(
        tx.execute(
            "SELECT 1 FROM alarms WHERE lock_id = ? AND alarm_ref = ? AND ? < until_ms "
            "AND NOT EXISTS (SELECT 1 FROM volatile WHERE name = ?)",
            (lock_id, alarm_ref, boottime_ms, _VOID),
        )
    )


def load_alarms(tx: Transaction) -> tuple[OpenAlarm, ...]:
    """Return every alarm that is kept, also those that have ended since."""
    rows = tx.execute("SELECT lock_id, alarm_ref, until_ms FROM alarms ORDER BY until_ms")
    return tuple(OpenAlarm(lock_id=row[0], alarm_ref=row[1], until_ms=row[2]) for row in rows)


def prune_alarms(tx: Transaction, boottime_ms: int) -> None:
    """Forget the alarms that have ended by this reading of CLOCK_BOOTTIME."""
    tx.execute("DELETE FROM alarms WHERE until_ms <= ?", (boottime_ms,))


def forget_alarms(tx: Transaction) -> None:
    """Forget every alarm: to be called after a boot of the machine, because CLOCK_BOOTTIME has begun anew.

    An alarm of the earlier boot would otherwise stay open for as long as that boot had lasted.
    """
    tx.execute("DELETE FROM alarms")


def void_alarms(tx: Transaction) -> None:
    """Do the same where the disk takes nothing: for as long as this run lasts no alarm counts as open."""
    tx.execute("INSERT OR REPLACE INTO volatile (name, value) VALUES (?, 1)", (_VOID,))
