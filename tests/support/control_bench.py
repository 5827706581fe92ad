"""A control socket in front of known answers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from gatewayd.control.messages import (
    AuthorityStatus,
    BrokerStatus,
    ClockStatus,
    LockStatus,
    OutboxStatus,
    RadioStatus,
    StatusDocument,
)

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.journal.copies import LeafCopy
    from gatewayd.journal.journal import SignedCheckpoint
    from gatewayd.store.inspection import LogHeader, StoredTrust

STATUS: Final = StatusDocument(
    gateway_id="0011223344556677",
    version="0.1.0",
    boot=3,
    up_ms=7_200_000,
    tier="fresh",
    clock=ClockStatus(trusted=True, lo_ms=1_800_000_000_000, hi_ms=1_800_000_002_000),
    locks=(
        LockStatus(
            lock_id="8899aabbccddeeff",
            ready=True,
            link="ready",
            link_age_ms=61_000,
            last_fault="radio.disconnected",
            rssi_dbm=-61,
            bolt="locked",
            door="closed",
            battery_mv=5_900,
            observed_age_ms=2_500,
            connect_hour_count=1,
            connect_left_count=30,
        ),
    ),
    radio=RadioStatus(failed=False, unproven_ms=0, taken_counts={}, helped_counts={}),
    broker=BrokerStatus(connected=True, age_ms=3_600_000, last_fault=None),
    outbox=OutboxStatus(depth=0, oldest_age_ms=None),
    authority=AuthorityStatus(keyset_version=1, state_seq=12, state_age_s=300, authority_count=1, grant_count=2),
)


class FixedStatus:
    """Says the same again, or fails."""

    def __init__(self, document: StatusDocument = STATUS) -> None:
        self.document = document
        self.error: Exception | None = None
        self.count = 0
        """How often somebody has asked."""

    async def status(self) -> StatusDocument:
        """See `StatusSource.status`."""
        self.count += 1
        if self.error is not None:
            raise self.error
        return self.document


class NoLog:
    """A journal that nobody asks for."""

    async def header(self) -> LogHeader:
        """See `LogSource.header`."""
        raise AssertionError

    async def leaves(self, from_index: int, count: int, size_max: int) -> tuple[LeafCopy, ...]:
        """See `LogSource.leaves`."""
        raise AssertionError(from_index, count, size_max)

    async def checkpoints(self, above_size: int, count: int) -> tuple[SignedCheckpoint, ...]:
        """See `LogSource.checkpoints`."""
        raise AssertionError(above_size, count)

    async def trust(self) -> StoredTrust:
        """See `LogSource.trust`."""
        raise AssertionError


async def exchange(path: Path, sent: bytes) -> list[dict[str, Any]]:
    """Send bytes and return every answer until the server has nothing more to say."""
    reader, writer = await asyncio.open_unix_connection(path, limit=2**21)
    writer.write(sent)
    writer.write_eof()
    answers = [json.loads(line) for line in (await reader.read()).splitlines()]
    writer.close()
    return answers
