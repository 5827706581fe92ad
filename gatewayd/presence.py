"""What anybody may read of this gateway at the broker: who it is, and how it does."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import TYPE_CHECKING, Final

from gatewayd import __version__
from gatewayd.store.store import StoreError
from gatewayd.uplink.documents import GatewayInfoDocument, Health

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.topics import Topics
    from gatewayd.statements import Statements
    from gatewayd.timekeeper import TimeKeeper
    from gatewayd.trust_keeper import TrustKeeper
    from gatewayd.uplink.downlink import Downlink
    from gatewayd.uplink.ledger import Ledger

HEALTH_INTERVAL_S: Final = 300
"""How often health is renewed; stated in it, so that a reader knows when silence means something."""


class Presence:
    """Keeps the retained documents `info` and `health` up to date."""

    def __init__(  # noqa: PLR0913 - each is one source of what is shown
        self,
        *,
        topics: Topics,
        boot: int,
        log_id: bytes,
        statements: Statements,
        timekeeper: TimeKeeper,
        trust: TrustKeeper,
        ledger: Ledger,
        downlink: Downlink,
        radio: Callable[[], tuple[bool, int]],
        show: Callable[[str, bytes], None],
        changed: asyncio.Event,
    ) -> None:
        """`changed` is set by whoever changed something of it.

        `radio` tells whether the radio has failed, and the most connections that a lock had in the last hour.
        """
        self._topics = topics
        self._boot = boot
        self._log_id = log_id
        self._statements = statements
        self._timekeeper = timekeeper
        self._trust = trust
        self._ledger = ledger
        self._downlink = downlink
        self._radio = radio
        self._show = show
        self._changed = changed

    async def run(self) -> None:
        """Renew both for ever."""
        while True:
            self._changed.clear()
            await self.refresh()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEALTH_INTERVAL_S):
                    await self._changed.wait()

    async def refresh(self) -> None:
        """Show both as they are now."""
        info = GatewayInfoDocument(
            version=__version__,
            boot=self._boot,
            log_id=self._log_id.hex(),
            info=base64.b64encode(self._statements.info()).decode(),
        )
        self._show(self._topics.info, info.to_payload())
        self._show(self._topics.health, (await self._health()).to_payload())

    async def _health(self) -> Health:
        try:
            marks = await self._ledger.marks()
            depth, writable = marks.size - marks.received, True
        except StoreError:
            depth, writable = 0, False
        radio_failed, connect_hour_count_max = self._radio()
        return Health(
            tier=self._statements.tier().name.lower(),
            state_seq=0 if self._trust.state is None else self._trust.state.seq,
            keyset_version=0 if self._trust.keyset is None else self._trust.keyset.version,
            time_trusted=self._timekeeper.interval().trusted,
            store_writable=writable,
            outbox_depth=depth,
            dropped_count=self._downlink.dropped.total(),
            radio_failed=radio_failed,
            connect_hour_count_max=connect_hour_count_max,
            interval_s=HEALTH_INTERVAL_S,
        )
