"""Carries attribute values between one session and one radio link, and notices the end of either."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.session import GatewaySession
from gatewayd.link.faults import CloneSuspected, LinkLost, SessionWornOut
from gatewayd.link.radio import RadioCode, RadioError
from gatewayd.stopping import PartEndedError, until_one_ends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from firmware_protocol.messages import Message
    from firmware_protocol.pairing import GatewayPairing
    from firmware_protocol.session import Event, SessionState
    from gatewayd.link.radio import LockLink
    from gatewayd.timekeeping import Clock, Instant, TimeInterval

WRITE_MS_MAX: Final = 5_000
"""Longest time for one value to leave, in milliseconds; the radio's own limit is shorter, this one is for its bugs."""
FAREWELL_MS_MAX: Final = 1_000
"""Longest time for a goodbye, in milliseconds: a courtesy."""

_log = structlog.get_logger()


class Carrier:
    """One session over one link. Messages are queued at once and leave in order from one task."""

    def __init__(
        self,
        *,
        session: GatewaySession | GatewayPairing,
        link: LockLink,
        clock: Clock,
        on_event: Callable[[Event, Instant], None],
        on_change: Callable[[], None],
    ) -> None:
        """Carry nothing yet.

        `on_event` may raise RemoteProtocolError or LinkLost to end the link; `on_change` is called after
        each value and once at the end.
        """
        self.lost: LinkLost | None = None
        """Why the link is over; None while it lasts."""
        self._session = session
        self._link = link
        self._clock = clock
        self._on_event = on_event
        self._on_change = on_change
        self._outgoing = asyncio.Event()
        self._received = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def session_state(self) -> SessionState:
        """How far the two sides have come."""
        return self._session.state

    @property
    def renewal_due(self) -> bool:
        """Whether the session is old or nearly used up."""
        return self._session.renewal_due(self._clock.now().monotonic_ms)

    async def run(self) -> None:
        """Carry values until the link is over; `lost` tells why."""
        self._outgoing.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                parts = (self._read(), self._write(), self._keep_time(), self.until_lost())
                await until_one_ends([tasks.create_task(part) for part in parts])
        except* LinkLost:
            pass  # `end` has it
        except* PartEndedError as ended:
            _log.error("link.part_ended", parts=[str(each) for each in ended.exceptions])
        finally:
            self.end(LinkLost(Code.LINK_DOWN.dotted, "the gateway let go of the link"))

    async def until_lost(self) -> NoReturn:
        """Wait for the end.

        Raises:
            LinkLost: always.
        """
        await self._ended.wait()
        raise self.end(LinkLost(Code.LINK_DOWN.dotted, "it has ended"))

    def end(self, lost: LinkLost) -> LinkLost:
        """End the link for this reason, unless it is over already; return why it is over."""
        if self.lost is None:
            self.lost = lost
            self._ended.set()
            self._on_change()
        return type(self.lost)(self.lost.code, self.lost.detail)

    def resume(self, session_ctr: int) -> None:
        """See `GatewaySession.resume`."""
        assert isinstance(self._session, GatewaySession)  # noqa: S101 - for mypy: nor a number
        self._session.resume(session_ctr)

    def confirm(self, interval: TimeInterval) -> None:
        """Make the session live, and give the lock the time where it is trusted."""
        assert isinstance(self._session, GatewaySession)  # noqa: S101 - for mypy: a pairing has no CONFIRM
        trusted = interval.trusted
        self._session.confirm(utc_lo_s=interval.lo_s if trusted else None, utc_hi_s=interval.hi_s if trusted else None)
        self._outgoing.set()

    def send(self, message: Message, corr: int) -> None:
        """Queue a record.

        Raises:
            LinkLost: the link is over, and nothing was queued.
        """
        if self.lost is not None:
            raise self.end(self.lost)
        if self._session.records_left <= 0:
            raise self.end(SessionWornOut(Code.LINK_DOWN.dotted, "the records of this session are used up"))
        self._session.send(message, corr=corr)
        self._outgoing.set()

    async def farewell(self, code: Code) -> None:
        """Say why this end hangs up, if the link still carries; for when `run` has ended. Never raises for faults."""
        self._session.take_values()  # what has not left by now never leaves: a late movement least of all
        self._session.close(code)
        try:
            async with asyncio.timeout(FAREWELL_MS_MAX / 1_000):
                for value in self._session.take_values():
                    await self._link.write_value(value)
        except (TimeoutError, RadioError):
            _log.debug("link.farewell_failed", code=code.dotted)

    @contextlib.contextmanager
    def _ending_the_link(self) -> Iterator[None]:
        """End the link in the very moment of a fault: nobody may find a session that has failed still in use.

        Raises:
            LinkLost: instead of the fault.
        """
        try:
            yield
        except (RemoteProtocolError, RadioError, LinkLost) as fault:
            raise self.end(_as_lost(fault)) from fault

    async def _read(self) -> NoReturn:
        with self._ending_the_link():
            while True:
                value = await self._link.next_value()
                instant = self._clock.now()
                for event in self._session.receive_value(value, instant.monotonic_ms):
                    self._on_event(event, instant)
                self._outgoing.set()  # whatever the session answers by itself
                self._received.set()
                self._on_change()

    async def _write(self) -> NoReturn:
        with self._ending_the_link():
            while True:
                await self._outgoing.wait()
                self._outgoing.clear()
                for value in self._session.take_values():
                    await self._write_value(value)

    async def _write_value(self, value: bytes) -> None:
        try:
            async with asyncio.timeout(WRITE_MS_MAX / 1_000):
                await self._link.write_value(value)
        except TimeoutError:
            raise LinkLost(RadioCode.GATT_FAILED, f"a write took more than {WRITE_MS_MAX} ms") from None

    async def _keep_time(self) -> NoReturn:
        with self._ending_the_link():
            while True:
                self._session.tick(self._clock.now().monotonic_ms)
                self._outgoing.set()  # a ping
                await self._wait_until(self._session.next_deadline_ms())

    async def _wait_until(self, deadline_ms: int) -> None:
        """Return at the deadline, or as soon as a value has brought it nearer."""
        while (left_ms := deadline_ms - self._clock.now().monotonic_ms) > 0:
            self._received.clear()
            try:
                async with asyncio.timeout(left_ms / 1_000):
                    await self._received.wait()
            except TimeoutError:
                return
            deadline_ms = min(deadline_ms, self._session.next_deadline_ms())


def _as_lost(fault: RemoteProtocolError | RadioError | LinkLost) -> LinkLost:
    match fault:
        case RemoteProtocolError(code=Code.CLONE_SUSPECT, detail=detail):
            # Only the session finds this, in what the lock has proved. A goodbye that says so proves nothing.
            return CloneSuspected(Code.CLONE_SUSPECT.dotted, detail)
        case RemoteProtocolError(code=code, detail=detail):
            return LinkLost(code.dotted, detail)
        case RadioError(code=code, detail=detail):
            return LinkLost(code, detail)
        case LinkLost():
            return fault
