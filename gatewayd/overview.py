"""How the whole house does, for `gatewayd status` (implements `control.messages.StatusSource`)."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

from gatewayd import __version__
from gatewayd.control.messages import (
    AuthorityStatus,
    BrokerStatus,
    ClockStatus,
    LockStatus,
    OutboxStatus,
    RadioStatus,
    StatusDocument,
)
from gatewayd.journal.leaves import LEAF_SIZE_MAX, read_leaf

if TYPE_CHECKING:
    from gatewayd.house import House
    from gatewayd.link.supervisor import LinkSupervisor
    from gatewayd.timekeeping import Instant


class Overview:
    """Looks at every part and changes none."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._started = house.base.seams.clock.now()

    async def status(self) -> StatusDocument:
        """See `StatusSource.status`.

        Raises:
            StoreError: the store does not answer.
        """
        house, now = self._house, self._house.base.seams.clock.now()
        time = house.base.timekeeper.interval(now)
        return StatusDocument(
            gateway_id=house.base.plan.identity.gateway_id.hex(),
            version=__version__,
            boot=house.base.start.boot,
            up_ms=now.boottime_ms - self._started.boottime_ms,
            tier=house.statements.tier().name.lower(),
            clock=ClockStatus(trusted=time.trusted, lo_ms=time.lo_ms, hi_ms=time.hi_ms),
            locks=tuple(self._lock(lock_id, link, now) for lock_id, link in house.links.items()),
            radio=self._radio(),
            broker=self._broker(),
            outbox=await self._outbox(time.lo_ms),
            authority=self._authority(time.lo_s),
        )

    def _lock(self, lock_id: bytes, link: LinkSupervisor, now: Instant) -> LockStatus:
        bolt, door, age_ms = self._house.watch.bolt(lock_id)
        return LockStatus(
            lock_id=lock_id.hex(),
            ready=link.ready,
            link=link.status.state.name.lower(),
            link_age_ms=now.boottime_ms - link.status.since.boottime_ms,
            last_fault=link.status.last_fault,
            rssi_dbm=link.status.rssi_dbm,
            bolt=bolt.name.lower(),
            door=door.name.lower(),
            battery_mv=self._house.watch.battery_mv(lock_id),
            observed_age_ms=age_ms,
            connect_hour_count=link.status.connect_hour_count,
            connect_left_count=link.status.connect_left_count,
        )

    def _radio(self) -> RadioStatus:
        status = self._house.adapter.status
        return RadioStatus(
            failed=status.failed,
            unproven_ms=status.unproven_ms,
            taken_counts=dict(status.taken_counts),
            helped_counts=dict(status.helped_counts),
        )

    def _broker(self) -> BrokerStatus:
        uplink = self._house.uplink.status
        age_s = None if uplink.since_s is None else asyncio.get_running_loop().time() - uplink.since_s
        return BrokerStatus(
            connected=uplink.connected,
            age_ms=None if age_s is None else int(age_s * 1_000),
            last_fault=uplink.code,
        )

    async def _outbox(self, now_ms: int) -> OutboxStatus:
        ledger = self._house.ledger
        marks = await ledger.marks()
        oldest = await ledger.entries(marks.received, 1, LEAF_SIZE_MAX)
        age_ms = None
        if oldest:
            written = datetime.fromisoformat(read_leaf(oldest[0][1]).time_lo)
            age_ms = max(0, now_ms - int(written.timestamp() * 1_000))
        return OutboxStatus(depth=marks.size - marks.received, oldest_age_ms=age_ms)

    def _authority(self, now_s: int) -> AuthorityStatus:
        trust = self._house.base.trust
        return AuthorityStatus(
            keyset_version=None if trust.keyset is None else trust.keyset.version,
            state_seq=None if trust.state is None else trust.state.seq,
            state_age_s=None if trust.state is None else max(0, now_s - trust.state.iat_s),
            authority_count=trust.authority_count,
            grant_count=trust.grant_count,
        )
