"""The retained topics: the newest value of each, written again after every connect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from gatewayd.uplink.seam import Outgoing, PublishOutcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.uplink.seam import BrokerSession


log = structlog.get_logger(__name__)


class Board:
    """What anybody may read of this gateway at any time. A broker that lost it gets it again."""

    def __init__(self) -> None:
        self._payloads: dict[str, Callable[[], bytes]] = {}
        self._changed: dict[str, None] = {}
        """Topics to write, oldest change first."""
        self._news = asyncio.Event()

    def put(self, topic: str, payload: bytes) -> None:
        """Show `payload` under `topic`; an empty one takes the topic away. Values in between may be skipped."""
        self.put_living(topic, lambda: payload)

    def put_living(self, topic: str, payload: Callable[[], bytes]) -> None:
        """Show what `payload` returns whenever it is written: it has an age, and a broker may be away for days."""
        self._payloads[topic] = payload
        self._changed[topic] = None
        self._news.set()

    def renew(self) -> None:
        """Write everything again."""
        self._changed = dict.fromkeys(self._payloads)
        self._news.set()

    async def run(self, session: BrokerSession) -> None:
        """Write everything, then each change, until the session ends.

        Raises:
            BrokerError: the session has ended.
        """
        self._changed = dict.fromkeys(self._payloads)
        while True:
            while self._changed:
                await self._write(session, next(iter(self._changed)))
            self._news.clear()
            await self._news.wait()

    async def _write(self, session: BrokerSession, topic: str) -> None:
        living = self._payloads[topic]
        payload = living()
        del self._changed[topic]
        outcome = await session.publish(Outgoing(topic=topic, payload=payload, retain=True))
        if outcome is PublishOutcome.REFUSED:
            log.warning("board.refused", topic=topic)
        if not payload and self._payloads[topic] is living:
            del self._payloads[topic]
            self._changed.pop(topic, None)
