"""The status document for people: at most 80 columns, every state with its age."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gatewayd.plain_text import printable

if TYPE_CHECKING:
    from gatewayd.control.messages import (
        AuthorityStatus,
        BrokerStatus,
        ClockStatus,
        LockStatus,
        OutboxStatus,
        RadioStatus,
        StatusDocument,
    )

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def status_text(document: StatusDocument) -> str:
    """Return the lines that `gatewayd status` shows."""
    rows = [
        ("gateway", f"{document.gateway_id}, version {document.version}"),
        ("running", f"for {duration(document.up_ms)}, start {document.boot}"),
        ("tier", document.tier),
        ("clock", _clock(document.clock)),
        ("rights", _authority(document.authority)),
        *(("" if place else "radio", text) for place, text in enumerate(_radio(document.radio))),
        ("broker", _broker(document.broker)),
        ("outbox", _outbox(document.outbox)),
        *(
            (f"lock {lock.lock_id}" if not place else "", text)
            for lock in document.locks
            for place, text in _lock(lock)
        ),
    ]
    return "\n".join(printable(f"{name:<22}{text}") for name, text in rows)


def duration(span_ms: int) -> str:
    """Return a time span in its largest unit, rounded down: `3 h`."""
    seconds = span_ms // 1_000
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), _UNITS[-1])
    return f"{seconds // size} {unit}"


def _clock(clock: ClockStatus) -> str:
    shown = _utc(clock.lo_ms)
    if clock.hi_ms is None:
        return f"not trusted: not before {shown}"
    return (
        f"{'trusted' if clock.trusted else 'not trusted'}: {shown}, at most {duration(clock.hi_ms - clock.lo_ms)} later"
    )


def _utc(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms // 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"


def _authority(authority: AuthorityStatus) -> str:
    if authority.keyset_version is None:
        return "none: nothing has been provisioned"
    known = "no state yet"
    if authority.state_seq is not None:
        age = "" if authority.state_age_s is None else f" ({duration(authority.state_age_s * 1_000)} old)"
        known = f"state {authority.state_seq}{age}"
    return (
        f"keyset {authority.keyset_version}, {known}, {_count(authority.authority_count, 'provider')}, "
        f"{_count(authority.grant_count, 'grant')}"
    )


def _radio(radio: RadioStatus) -> list[str]:
    state = "a lock answers" if not radio.unproven_ms else f"no lock has answered for {duration(radio.unproven_ms)}"
    lines = [f"{state}, and nothing helps" if radio.failed else state]
    if radio.taken_counts:
        counts = (f"{rung.partition('_')[0]} {count}" for rung, count in sorted(radio.taken_counts.items()))
        lines.append(f"tried since the start: {', '.join(counts)}")
    return lines


def _broker(broker: BrokerStatus) -> str:
    state = "connected" if broker.connected else "not connected"
    since = "" if broker.age_ms is None else f" for {duration(broker.age_ms)}"
    fault = f", last fault {broker.last_fault}" if broker.last_fault and not broker.connected else ""
    return f"{state}{since}{fault}"


def _outbox(outbox: OutboxStatus) -> str:
    if outbox.depth == 0:
        return "empty: the central log has signed for everything"
    oldest = "" if outbox.oldest_age_ms is None else f", the oldest {duration(outbox.oldest_age_ms)} old"
    return f"{outbox.depth} not signed for{oldest}"


def _lock(lock: LockStatus) -> list[tuple[int, str]]:
    link = f"{'ready' if lock.ready else lock.link} for {duration(lock.link_age_ms)}"
    if not lock.ready and lock.last_fault:
        link += f", last fault {lock.last_fault}"
    if lock.rssi_dbm is not None:
        link += f", {lock.rssi_dbm} dBm"
    seen = "never seen"
    if lock.observed_age_ms is not None:
        battery = "" if lock.battery_mv is None else f", battery {lock.battery_mv / 1_000:.2f} V"
        seen = f"bolt {lock.bolt}, door {lock.door}{battery}, {duration(lock.observed_age_ms)} ago"
    rows = [(0, link), (1, seen)]
    if lock.connect_hour_count > 1:
        rows.append(
            (2, f"{lock.connect_hour_count} connections in the last hour, {lock.connect_left_count} more allowed now")
        )
    return rows


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
