"""How this gateway does in a few facts, for a signed BugReport (docs/protocol.md §4.18). No door's state."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from firmware_protocol.statements import FACT_COUNT_MAX, FACT_SIZE_MAX
from gatewayd import __version__
from gatewayd.store.counts import count
from gatewayd.store.database import sqlite_version
from gatewayd.store.faults import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gatewayd.foundation import Foundation
    from gatewayd.link.ports import RadioStatus
    from gatewayd.link.supervisor import LinkSupervisor
    from gatewayd.store.counts import StoreCounts
    from gatewayd.uplink.uplink import UplinkStatus

Fact = tuple[str, str]

FACTS_SIZE_MAX: Final = 800
"""Bytes that the facts may take of an object of 1,024: the rest is envelope, signature and the other fields."""
FACT_OVERHEAD: Final = 5
"""The heads of a fact's array and of its two texts, in bytes, at most."""


async def facts_of(
    base: Foundation,
    *,
    tier: str,
    radio: RadioStatus,
    uplink: UplinkStatus,
    links: Mapping[bytes, LinkSupervisor],
    dropped: Mapping[str, int],
) -> tuple[Fact, ...]:
    """Return the facts, the most telling first, as many as an object takes."""
    facts = [
        *(("version", __version__), ("tier", tier), ("boot", str(base.start.boot))),
        ("time-trusted", _yes(base.timekeeper.interval().trusted)),
        *_of_radio(radio),
        *(() if uplink.code is None else (("broker-fault", uplink.code),)),
        *await _of_store(base),
        ("grants", str(base.trust.grant_count)),
        *(fact for number, (lock_id, link) in enumerate(links.items(), 1) for fact in _of_lock(number, lock_id, link)),
        *(("python", platform.python_version()), ("sqlite", sqlite_version()), ("kernel", platform.release())),
        *((f"dropped-{reason}", str(times)) for reason, times in sorted(dropped.items())),
    ]
    return fitting(facts)


def fitting(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """Return the facts that fit, from the first on, each value cut to its bound; the last says how many did not."""
    room, kept = FACTS_SIZE_MAX, list[Fact]()
    for name, value in facts:
        shown = "".join(sign for sign in value if sign.isascii() and sign.isprintable())[:FACT_SIZE_MAX] or "-"
        room -= FACT_OVERHEAD + len(name) + len(shown)
        if room < 0 or len(kept) == FACT_COUNT_MAX - 1:
            return (*kept, ("left-out", str(len(facts) - len(kept))))
        kept.append((name, shown))
    return tuple(kept)


def _of_radio(radio: RadioStatus) -> Iterator[Fact]:
    yield "radio-failed", _yes(radio.failed)
    yield "radio-unproven-s", str(radio.unproven_ms // 1_000)
    if radio.taken_counts:
        yield "radio-rungs", str(sum(radio.taken_counts.values()))


async def _of_store(base: Foundation) -> Sequence[Fact]:
    try:
        store: StoreCounts = await base.seams.store.run(count)
    except StoreError as error:
        return (("store-fault", error.code),)
    numbers = {
        "schema": store.schema_version,
        "entries": store.size,
        "received": store.received,
        "oldest": store.oldest,
        "store-faults": store.faults,
    }
    return tuple((name, str(number)) for name, number in numbers.items())


def _of_lock(number: int, lock_id: bytes, link: LinkSupervisor) -> Iterator[Fact]:
    status, name = link.status, f"lock-{number}"
    yield name, lock_id.hex()
    yield f"{name}-link", "ready" if link.ready else status.state.name.lower()
    if status.last_fault is not None:
        yield f"{name}-fault", status.last_fault
    if status.rssi_dbm is not None:
        yield f"{name}-rssi", str(status.rssi_dbm)
    yield f"{name}-connects-hour", str(status.connect_hour_count)


def _yes(value: bool) -> str:  # noqa: FBT001 - said as a word
    return "yes" if value else "no"
