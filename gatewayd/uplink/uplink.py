"""Keeps a session with the broker for ever: connect, subscribe, say online, route, drain; and again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from gatewayd.stopping import run_apart, until_one_ends
from gatewayd.uplink.documents import GatewayState
from gatewayd.uplink.seam import BrokerCode, BrokerError, Outgoing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random
    from typing import NoReturn

    from firmware_protocol.topics import Topics
    from gatewayd.uplink.board import Board
    from gatewayd.uplink.downlink import Downlink
    from gatewayd.uplink.outbox import Outbox
    from gatewayd.uplink.outlet import Outlet
    from gatewayd.uplink.ports import Alerts
    from gatewayd.uplink.seam import Broker, BrokerSession

BACKOFF_S_MIN: Final = 1.0
BACKOFF_S_MAX: Final = 30.0
"""Longest wait before another attempt, in seconds: an ambulance may be on its way."""
STEADY_S: Final = 60.0
"""A session that lasted so long ends a streak of failures; a shorter one may be two gateways with one id."""
UNSTEADY_COUNT: Final = 5
"""So many attempts without a steady session are no coincidence any more."""
FAREWELL_S_MAX: Final = 2.0
"""Longest wait for the broker to take our `offline` when we stop."""

_ALERTING: Final = frozenset(
    {BrokerCode.NOT_PERMITTED, BrokerCode.TAKEN_OVER, BrokerCode.TLS, BrokerCode.OVERSIZE, BrokerCode.FAULT}
)
"""What does not pass by itself, or should never happen."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkStatus:
    """How the uplink does."""

    connected: bool
    code: str | None = None
    """Why the last session or attempt ended; None before the first end."""
    detail: str = ""
    attempt_count: int = 0
    """Attempts since the last steady session."""
    since_s: float | None = None
    """The loop's time when it became so; None: since the start."""


class Uplink:
    """The supervisor of the one session."""

    def __init__(  # noqa: PLR0913 - the parts that share the one session
        self,
        *,
        broker: Broker,
        topics: Topics,
        boot: int,
        downlink: Downlink,
        outbox: Outbox,
        outlet: Outlet,
        board: Board,
        alerts: Alerts,
        random: Random,
        courtesies: Sequence[str] = (),
    ) -> None:
        """`courtesies`: filters that are asked for and done without where the broker refuses them."""
        self._courtesies = courtesies
        self._broker = broker
        self._topics = topics
        self._boot = boot
        self._downlink = downlink
        self._outbox = outbox
        self._outlet = outlet
        self._board = board
        self._alerts = alerts
        self._random = random
        self._status = UplinkStatus(connected=False)
        self._alerted: set[BrokerCode] = set()
        """What has been alerted of since the last steady session."""

    @property
    def status(self) -> UplinkStatus:
        """How it stands now."""
        return self._status

    async def run(self) -> None:
        """Run until cancelled; then say `offline` and disconnect properly.

        Raises:
            ExceptionGroup: a bug in one of the parts. Faults of network, broker and disk never come out.
        """
        async with asyncio.TaskGroup() as tasks:
            parts = (self._downlink.work(), self._keep_a_session())
            await until_one_ends([tasks.create_task(part) for part in parts])

    async def _keep_a_session(self) -> NoReturn:
        while True:
            began_s = asyncio.get_running_loop().time()
            error = await self._session_until_error()
            lasted_s = asyncio.get_running_loop().time() - began_s
            await self._note(error, steady=lasted_s >= STEADY_S)
            await asyncio.sleep(self._backoff_s())

    async def _session_until_error(self) -> BrokerError:
        error = BrokerError(BrokerCode.LOST)
        try:
            await run_apart(self._one_session())
        except* BrokerError as group:
            error = _first(group)
        return error

    async def _one_session(self) -> None:
        session = await self._broker.connect(self._state("offline"))
        try:
            await session.subscribe(self._topics.subscriptions)
            await session.publish(self._state("online"))
            self._outlet.attach(session)
            self._status = UplinkStatus(
                connected=True,
                attempt_count=self._status.attempt_count,
                since_s=asyncio.get_running_loop().time(),
            )
            log.info("uplink.connected")
            await self._ask_courtesies(session)
            async with asyncio.TaskGroup() as tasks:
                parts = (self._downlink.run(session), self._board.run(session), self._outbox.run(session))
                await until_one_ends([tasks.create_task(part) for part in parts])
        finally:
            self._outlet.detach()
            await self._farewell(session)

    async def _ask_courtesies(self, session: BrokerSession) -> None:
        if not self._courtesies:
            return
        try:
            await session.subscribe(self._courtesies)
        except BrokerError as error:
            if error.broker_code is not BrokerCode.NOT_PERMITTED:
                raise
            log.info("uplink.courtesy_refused", detail=error.detail)

    async def _farewell(self, session: BrokerSession) -> None:
        # Where the session has ended already both return at once, and the broker publishes the will.
        try:
            async with asyncio.timeout(FAREWELL_S_MAX):
                await session.publish(self._state("offline"))
        except (BrokerError, TimeoutError):
            log.debug("uplink.left_without_farewell")
        await session.close()

    def _state(self, state: str) -> Outgoing:
        document = GatewayState(state="online" if state == "online" else "offline", boot=self._boot)
        return Outgoing(topic=self._topics.state, payload=document.to_payload(), retain=True)

    async def _note(self, error: BrokerError, *, steady: bool) -> None:
        before = self._status
        attempt_count = 1 if steady else before.attempt_count + 1
        self._status = UplinkStatus(
            connected=False,
            code=error.code,
            detail=error.detail,
            attempt_count=attempt_count,
            since_s=asyncio.get_running_loop().time() if before.connected else before.since_s,
        )
        news = before.connected or before.code != error.code
        level = log.warning if news else log.debug
        level("uplink.lost", code=error.code, detail=error.detail, attempt_count=attempt_count)
        if steady:
            self._alerted.clear()
        if error.broker_code in _ALERTING:
            await self._alert_once(error.broker_code, error.detail)
        elif before.connected and attempt_count >= UNSTEADY_COUNT:
            await self._alert_once(BrokerCode.UNSTEADY, f"{attempt_count} in a row; the last one: {error}")

    async def _alert_once(self, code: BrokerCode, detail: str) -> None:
        if code not in self._alerted:
            self._alerted.add(code)
            await self._alerts.alert(code, detail)

    def _backoff_s(self) -> float:
        """Return a wait with full jitter: after a regional outage, a fleet must not come back at once."""
        exponent = min(self._status.attempt_count, 8)
        return self._random.uniform(0, min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2**exponent))


def _first(group: BaseExceptionGroup[BrokerError]) -> BrokerError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, BrokerError):
        raise TypeError("a group of broker errors holds nothing else")
    return error
