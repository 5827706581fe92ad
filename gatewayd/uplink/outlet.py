"""The way out through whatever session there is at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gatewayd.uplink.seam import PublishOutcome

if TYPE_CHECKING:
    import asyncio

    from gatewayd.uplink.seam import BrokerSession, Outgoing

log = structlog.get_logger(__name__)


class Outlet:
    """Sends answers. A command may outlive the session that it came over; its answer takes the next one."""

    def __init__(self) -> None:
        self._session: BrokerSession | None = None

    def attach(self, session: BrokerSession) -> None:
        """Send over this session from now on."""
        self._session = session

    def detach(self) -> None:
        """There is no session now."""
        self._session = None

    def send(self, message: Outgoing) -> None:
        """Publish in its turn, without waiting. With no session it is lost: the sender asks again."""
        if self._session is None:
            log.debug("outlet.dropped", topic=message.topic)
            return
        self._session.publish(message).add_done_callback(_note_outcome)


def _note_outcome(answered: asyncio.Future[PublishOutcome]) -> None:
    if answered.cancelled() or answered.exception() is not None:
        return  # the end of the session has a line of its own
    if answered.result() is not PublishOutcome.DELIVERED:
        log.info("outlet.unheard", outcome=answered.result().value)
