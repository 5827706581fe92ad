"""Typed requests to one lock over one session: one request in flight, every wait bounded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, TypeVar

from firmware_protocol.codes import Code, CodeClass
from firmware_protocol.constants import CAPABILITY_VERIFY
from firmware_protocol.courier import pieces
from firmware_protocol.errands import CourierAck
from firmware_protocol.messages import (
    COMMAND_HASH_SIZE,
    LOG_BATCH_COUNT_MAX,
    CommandAccepted,
    CommandQuery,
    CommandResult,
    ErrorRecord,
    EventNotification,
    LockCommand,
    LogAck,
    LogBatch,
    LogHeadRecord,
    LogRead,
    Message,
    Pong,
    RelayClose,
    RelayData,
    RelayOpen,
    State,
    StateEvent,
    StateGet,
)
from firmware_protocol.session import LinkAuthenticated, PeerClosing, RecordReceived, SessionState
from gatewayd.link.carrier import Carrier
from gatewayd.link.faults import LinkLost, NotSent, OutcomeUnknown, RequestRefused
from gatewayd.link.uptime import LeastUptime, UptimeReading, up_ms_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.session import Event, GatewaySession
    from firmware_protocol.vocabulary import Parcel
    from gatewayd.link.ports import BoltMove
    from gatewayd.link.radio import LockLink
    from gatewayd.timekeeping import Clock, Instant, TimeInterval

ANSWER_MS_MAX: Final = 5_000
"""Longest wait for an answer, in milliseconds. A lock answers in some connection intervals; what takes longer is
no link for a door."""
MOTOR_MS_MAX: Final = 15_000
"""Longest wait from CMD_ACCEPTED to CMD_RESULT, in milliseconds: a slow motor on a weak battery and a retry."""
FINAL_CODES: Final = frozenset(
    {
        Code.DONE,
        Code.FAILED,
        Code.MAY_HAVE_EXECUTED,
        Code.MOTOR_BLOCKED,
        Code.MOTOR_TIMEOUT,
        Code.LOW_VOLTAGE,
        Code.POSITION_UNKNOWN,
        Code.NOT_CALIBRATED,
        Code.TOO_LATE,
    }
)
"""What a lock may say came of a command. Never LINK_DOWN: that is this gateway's word for `not sent`."""
_CORR_MAX: Final = 0xFFFE

M = TypeVar("M", bound=Message)
Unasked = StateEvent | EventNotification | RelayOpen | RelayData | RelayClose


class RecordSink(Protocol):
    """Who takes what the lock says unasked, and what it says of its clock."""

    def on_record(self, message: Unasked, instant: Instant) -> None:
        """Take a record. Returns at once. The instant of a RelayOpen is when the lock said it, as far as that is known.

        Raises:
            RemoteProtocolError: the lock broke the protocol; the link is dropped.
        """

    async def on_uptime(self, up_ms: int, instant: Instant) -> None:
        """Take the uptime out of an answer that was at most `ANSWER_MS_MAX` on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    message: Message
    instant: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """The one in flight."""

    corr: int
    sent_ms: int
    answers: asyncio.Queue[_Answer | None] = field(default_factory=asyncio.Queue)
    """None once the link is lost."""


class LockClient:
    """One link to one lock, from HELLO to the end. `run` carries the values; requests are made beside it."""

    def __init__(self, *, session: GatewaySession, link: LockLink, clock: Clock, sink: RecordSink) -> None:
        self._carrier = Carrier(
            session=session, link=link, clock=clock, on_event=self._take_event, on_change=self._note_change
        )
        self._clock = clock
        self._sink = sink
        self._turn = asyncio.Lock()
        self._request: _Request | None = None
        self._corr = 0
        self._uptime: UptimeReading | None = None
        self._least_uptime = LeastUptime()
        self._authenticated: tuple[LinkAuthenticated, Instant] | None = None
        self._progressed = asyncio.Event()

    async def run(self) -> None:
        """Carry values until the link is over."""
        await self._carrier.run()

    async def until_lost(self) -> NoReturn:
        """Wait for the end.

        Raises:
            LinkLost: always.
        """
        await self._carrier.until_lost()

    async def farewell(self, code: Code) -> None:
        """Say why this end hangs up; for when `run` has ended."""
        await self._carrier.farewell(code)

    # The handshake.

    async def greeted(self) -> None:
        """Wait for the lock's HELLO.

        Raises:
            LinkLost: the link is over.
        """
        await self._until(lambda: self._carrier.session_state is not SessionState.HELLO)

    async def authenticated(self) -> tuple[LinkAuthenticated, Instant]:
        """Wait until the lock has proved itself; `confirm` is due then.

        Raises:
            LinkLost: the link is over; CLONE_SUSPECT where the lock is ahead of us.
        """
        await self._until(lambda: self._authenticated is not None)
        assert self._authenticated is not None  # noqa: S101 - for mypy: what was waited for
        return self._authenticated

    def resume(self, session_ctr: int) -> None:
        """Number the session after what the lock has proven, where no number could be reserved before."""
        self._carrier.resume(session_ctr)

    def confirm(self, interval: TimeInterval) -> None:
        """Make the session live, and give the lock the time where it is trusted."""
        self._carrier.confirm(interval)

    @property
    def renewal_due(self) -> bool:
        """Whether the session is old or nearly used up."""
        return self._carrier.renewal_due

    async def retire(self, reason: LinkLost, *, unless: Callable[[], bool] = lambda: False) -> None:
        """End the link with nothing in flight, `unless` it may not end any more when its turn has come.

        A movement that waits for its turn takes the next link.

        Raises:
            LinkLost: `reason`, or what ended it before.
        """
        async with self._turn:
            if not unless():
                raise self._carrier.end(reason)

    # Requests. Each raises LinkLost when the link is over and RequestRefused when the lock says no.

    async def state(self) -> tuple[State, Instant]:
        """Ask how the door stands; the instant is when the answer arrived."""
        async with self._turn:
            return await self._answer(self._send(StateGet()), State)

    async def execute(self, move: BoltMove, *, deadline_ms: int) -> CommandResult:
        """Move the bolt, starting before `deadline_ms` on CLOCK_BOOTTIME, and return how it went.

        Raises:
            NotSent: no time was left, or the lock had none; nothing was sent.
            LinkLost: nothing was sent.
            OutcomeUnknown: it was sent and no answer tells what came of it.
            RequestRefused: the lock answered with an error; see its `may_have_executed`.
        """
        await self._take_turn(deadline_ms)
        try:
            reading = await self._fresh_uptime()
            now_ms = self._clock.now().boottime_ms
            if now_ms >= deadline_ms:
                raise NotSent(Code.LINK_DOWN.dotted, "no time was left")
            before_up_ms = reading.before_up_ms(now_ms=now_ms, left_ms=deadline_ms - now_ms)
            request = self._send(_lock_command(move, before_up_ms))
            return await self._result(request, move.command_seq, accepted_ms_max=deadline_ms - now_ms)
        finally:
            self._turn.release()

    async def query(self, command_seq: int) -> CommandResult:
        """Ask what came of a command; PERMITTED while its motor still runs."""
        async with self._turn:
            result, _ = await self._answer(self._send(CommandQuery(command_seq=command_seq)), CommandResult)
            if result.command_seq != command_seq or result.code not in FINAL_CODES | {Code.PERMITTED}:
                raise self._broken("an answer to another query")
            return result

    async def read_log(self, from_seq: int) -> LogBatch:
        """Read the lock's log from this record on, at most `LOG_BATCH_COUNT_MAX` records."""
        async with self._turn:
            request = self._send(LogRead(from_seq=from_seq, count_max=LOG_BATCH_COUNT_MAX))
            return (await self._answer(request, LogBatch))[0]

    async def log_head(self) -> bytes:
        """Have the lock sign how far its log reaches; returns a signed LogHead, not verified here."""
        async with self._turn:
            answer, _ = await self._answer(self._send(LogHeadRecord()), LogHeadRecord)
            if answer.head is None:
                raise self._broken("a head without a head")
            return answer.head

    async def hand_over(self, kind: Parcel, data: bytes) -> Code:
        """Bring the lock a signed object; return what became of it there."""
        return (await self.ask(CourierAck, *pieces(kind, data))).code

    async def ask(self, kind: type[M], *messages: Message) -> M:
        """Send a request, in one record or several, and return its answer of this kind."""
        async with self._turn:
            return (await self._answer(self._send(*messages), kind))[0]

    @property
    def verifies(self) -> bool:
        """Whether the lock decides alone while it has no gateway."""
        return self._authenticated is not None and bool(self._authenticated[0].capabilities & CAPABILITY_VERIFY)

    def ack_log(self, *, copied_seq: int, received_seq: int) -> None:
        """Say how far the log is held here and signed for by the central log. The lock does not answer.

        Raises:
            LinkLost: the link is over.
        """
        self.post(LogAck(copied_seq=copied_seq, received_seq=received_seq))

    def post(self, message: Message) -> None:
        """Send a record that has no answer.

        Raises:
            LinkLost: the link is over.
        """
        self._carrier.send(message, 0)

    # How a request runs; the caller holds the turn.

    async def _take_turn(self, deadline_ms: int) -> None:
        left_ms = max(0, deadline_ms - self._clock.now().boottime_ms)
        try:
            async with asyncio.timeout(left_ms / 1_000):
                await self._turn.acquire()
        except TimeoutError:
            raise NotSent(Code.LINK_DOWN.dotted, "the line was busy for too long") from None

    async def _fresh_uptime(self) -> UptimeReading:
        reading = self._uptime
        if reading is not None and reading.fresh(self._clock.now().boottime_ms):
            return reading
        try:
            state, instant = await self._answer(self._send(StateGet()), State)
        except RequestRefused as refused:
            raise NotSent(refused.code, "the lock did not tell its uptime") from refused
        return UptimeReading(up_ms=state.up_ms, received_ms=instant.boottime_ms)

    async def _result(self, request: _Request, command_seq: int, *, accepted_ms_max: int) -> CommandResult:
        try:
            answer = await self._next(request, timeout_ms=accepted_ms_max + ANSWER_MS_MAX)
            if isinstance(answer.message, CommandAccepted) and answer.message.command_seq == command_seq:
                answer = await self._next(request, timeout_ms=MOTOR_MS_MAX)
            match answer.message:
                case CommandResult(command_seq=seq, code=code) as result if seq == command_seq and code in FINAL_CODES:
                    return result
                case _:
                    raise self._broken("no result of this command")
        except LinkLost as lost:
            raise OutcomeUnknown(lost.code, lost.detail) from lost

    def _send(self, *messages: Message) -> _Request:
        self._corr = self._corr % _CORR_MAX + 1
        for message in messages:
            self._carrier.send(message, self._corr)
        self._request = _Request(corr=self._corr, sent_ms=self._clock.now().boottime_ms)
        return self._request

    async def _answer(self, request: _Request, kind: type[M]) -> tuple[M, Instant]:
        answer = await self._next(request, timeout_ms=ANSWER_MS_MAX)
        if not isinstance(answer.message, kind):
            raise self._broken(f"a {type(answer.message).__name__} as an answer")
        return answer.message, answer.instant

    async def _next(self, request: _Request, *, timeout_ms: int) -> _Answer:
        answer: _Answer | None = None
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                answer = await request.answers.get()
        except TimeoutError:
            # The session may still answer pings: a lock that ignores requests is no better than one that is gone.
            raise self._carrier.end(LinkLost(Code.LINK_DOWN.dotted, f"no answer in {timeout_ms} ms")) from None
        finally:
            if answer is None or not isinstance(answer.message, CommandAccepted):
                self._request = None
        if answer is None:
            await self.until_lost()
        if isinstance(answer.message, ErrorRecord):
            raise RequestRefused(answer.message.code, may_have_executed=answer.message.may_have_executed)
        await self._tell_uptime(request, answer)
        return answer

    async def _tell_uptime(self, request: _Request, answer: _Answer) -> None:
        up_ms = up_ms_of(answer.message)
        if up_ms is not None and answer.instant.boottime_ms - request.sent_ms <= ANSWER_MS_MAX:
            await self._sink.on_uptime(up_ms, answer.instant)

    def _broken(self, detail: str) -> LinkLost:
        return self._carrier.end(LinkLost(Code.MALFORMED.dotted, detail))

    # What the carrier brings.

    def _take_event(self, event: Event, instant: Instant) -> None:
        match event:
            case LinkAuthenticated():
                self._authenticated = (event, instant)
                self._hear_uptime(event.status.up_ms, instant)
            case RecordReceived(corr=corr, message=message):
                self._take_record(corr, message, instant)
            case PeerClosing(code=code, authenticated=authenticated):
                # In a live session a plain goodbye is somebody else's word, and worth nothing.
                if authenticated or self._carrier.session_state is not SessionState.READY:
                    raise LinkLost(code.dotted, "the lock hangs up")
            case _:
                pass

    def _take_record(self, corr: int, message: Message, instant: Instant) -> None:
        up_ms = up_ms_of(message)
        if up_ms is not None:
            self._hear_uptime(up_ms, instant)
        match message:
            case RelayOpen():
                age_ms = self._least_uptime.age_ms(message.up_ms, instant.boottime_ms)
                self._sink.on_record(message, replace(instant, boottime_ms=instant.boottime_ms - age_ms))
            case StateEvent() | EventNotification() | RelayData() | RelayClose():
                self._sink.on_record(message, instant)
            case ErrorRecord(code=code) if code.code_class is CodeClass.FATAL:
                raise LinkLost(code.dotted, "the lock gives up")
            case Pong():
                pass
            case _ if self._request is not None and self._request.corr == corr:
                self._request.answers.put_nowait(_Answer(message=message, instant=instant))
            case _:
                pass  # an answer to a request that was given up

    def _hear_uptime(self, up_ms: int, instant: Instant) -> None:
        self._uptime = UptimeReading(up_ms=up_ms, received_ms=instant.boottime_ms)
        self._least_uptime.hear(self._uptime)

    def _note_change(self) -> None:
        self._progressed.set()
        if self._carrier.lost is not None and self._request is not None:
            self._request.answers.put_nowait(None)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while True:
            if self._carrier.lost is not None:
                await self.until_lost()
            if reached():
                return
            self._progressed.clear()
            await self._progressed.wait()


def _lock_command(move: BoltMove, before_up_ms: int) -> LockCommand:
    return LockCommand(
        command_seq=move.command_seq,
        action=move.action,
        command_hash=move.command_sha256[:COMMAND_HASH_SIZE],
        command_id=move.command_id,
        actor_kid=move.actor_kid,
        before_up_ms=before_up_ms,
    )
