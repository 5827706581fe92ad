"""What both ends of a link share: states, events, fragments, records, pings, the end of patience.

docs/protocol.md §7 to §9. No clock, no radio, no chance: the caller brings the milliseconds, the
ephemeral key and the nonce, and carries the values. After any `RemoteProtocolError` the session is
over and the caller drops the link; there is no way back into it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum, auto, unique
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

from firmware_protocol.codes import Code
from firmware_protocol.constants import (
    HANDSHAKE_MS_MAX,
    PING_IDLE_MS,
    SESSION_AGE_MS_MAX,
    SESSION_RECORD_COUNT_MAX,
    SESSION_SILENCE_MS_MAX,
)
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.fragments import Fragmenter, FragmentKind, Reassembler
from firmware_protocol.hello import (
    LockStatus,
    PlainClose,
    decode_plain,
    encode_plain,
)
from firmware_protocol.messages import (
    Bye,
    Confirm,
    Message,
    Ping,
    Pong,
    decode_record,
    encode_record,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_protocol.hello import PlainMessage
    from firmware_protocol.noise import CipherState, HandshakeState

CORR_PING: Final = 0xFFFF
"""The session's own pings carry it; callers draw theirs from 1 to 65 534."""


@unique
class SessionState(Enum):
    """How far the two sides have come."""

    HELLO = auto()
    HANDSHAKE = auto()
    UNCONFIRMED = auto()
    """Keys agreed; the lock is inert until CONFIRM."""
    READY = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkAuthenticated:
    """Gateway: the other end is the lock that holds this key; `GatewaySession.confirm` is due."""

    status: LockStatus
    version: int
    capabilities: int = 0
    """The lock's, a set of bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusWanted:
    """Lock: a gateway that holds the right key is there; `LockSession.answer` is due."""

    is_former: bool = False
    """It is the owner before this one, in whose session nothing is obeyed any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """Lock: the session is live. Make `confirm.session_ctr` durable before anything else is obeyed."""

    confirm: Confirm


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReceived:
    """An authenticated record of a live session, in order."""

    corr: int
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerClosing:
    """The other side says that it hangs up. Believe it only where `authenticated`."""

    code: Code
    authenticated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingOpened:
    """Either end of a pairing: the handshake is over, records may follow."""

    peer_key: bytes
    """The other end's X25519 key. The gateway has compared it with its order; a lock will, at the commit."""
    version: int


Event = LinkAuthenticated | StatusWanted | Confirmed | RecordReceived | PeerClosing | PairingOpened
HelloT = TypeVar("HelloT", bound="PlainMessage")


class LinkSession(ABC, Generic[HelloT]):
    """What both roles share: fragments, records, pings, the end of patience."""

    _accepted: Mapping[int, type[Message]]
    _accepted_plain: Mapping[int, type[PlainMessage]]
    """The other side's hello, `HelloT`, and PlainClose."""

    def __init__(self, *, value_size_max: int, now_ms: int) -> None:
        self.state = SessionState.HELLO
        self._is_over = False
        self._handshake: HandshakeState | None = None
        self._fragmenter = Fragmenter(value_size_max)
        self._reassembler = Reassembler()
        self._outgoing: list[bytes] = []
        self._send_cipher: CipherState | None = None
        self._receive_cipher: CipherState | None = None
        self._started_ms = now_ms
        self._heard_ms = now_ms
        self._pinged_ms = now_ms
        self._sent_count = 0
        self._received_count = 0

    def receive_value(self, value: bytes, now_ms: int) -> tuple[Event, ...]:
        """Take one attribute value and return what it completes, if anything.

        Raises:
            RemoteProtocolError: drop the link.
            LocalProtocolError: it should have been dropped before.
        """
        self._refuse_if_over()
        try:
            return self._receive(value, now_ms)
        except RemoteProtocolError:
            # An attacker has one try: what fails to authenticate must not be followed by a second guess.
            self._is_over = True
            raise

    def _receive(self, value: bytes, now_ms: int) -> tuple[Event, ...]:
        message = self._reassembler.receive_value(value, now_ms)
        if message is None:
            return ()
        if message.kind is FragmentKind.RECORD:
            return self._receive_record(message.data, now_ms)
        if message.kind is FragmentKind.HANDSHAKE:
            return self._receive_handshake(message.data)
        return self._receive_plain(message.data)

    def send(self, message: Message, *, corr: int = 0) -> None:
        """Seal a record for `take_values`.

        Raises:
            LocalProtocolError: the session is not live, or its records are used up (`renewal_due`).
        """
        self._refuse_if_over()
        if self.state is not SessionState.READY:
            raise LocalProtocolError(f"no record may be sent in {self.state.name}")
        if self.records_left <= 0:
            raise LocalProtocolError("no records are left in this session")
        self._seal(message, corr)

    def close(self, code: Code) -> None:
        """Queue a goodbye: authenticated in a live session, a plain hint otherwise."""
        if self.state is SessionState.READY and self.records_left > 0:
            self._seal(Bye(code=code), 0)
        else:
            self._queue(FragmentKind.PLAIN, encode_plain(PlainClose(code=code)))

    def take_values(self) -> tuple[bytes, ...]:
        """Return the attribute values to write or notify, in order, and forget them."""
        values, self._outgoing = tuple(self._outgoing), []
        return values

    def tick(self, now_ms: int) -> None:
        """Let time pass: ping where the line is idle; call at `next_deadline_ms` or later.

        Raises:
            RemoteProtocolError: LINK_DOWN, the other side is silent or slow beyond patience; MALFORMED, it left a
                message unfinished. Drop the link.
            LocalProtocolError: it should have been dropped before.
        """
        self._refuse_if_over()
        try:
            self._tick(now_ms)
        except RemoteProtocolError:
            self._is_over = True
            raise

    def _tick(self, now_ms: int) -> None:
        self._reassembler.check(now_ms)
        if self.state is not SessionState.READY:
            if now_ms - self._started_ms >= HANDSHAKE_MS_MAX:
                raise RemoteProtocolError(Code.LINK_DOWN, "the handshake took too long")
            return
        if now_ms - self._heard_ms >= SESSION_SILENCE_MS_MAX:
            raise RemoteProtocolError(Code.LINK_DOWN, "no authenticated record for 45 s")
        if now_ms >= self._ping_due_ms():
            self._pinged_ms = now_ms
            self._seal_reply(Ping(), CORR_PING)

    def next_deadline_ms(self) -> int:
        """Return the monotonic millisecond at which `tick` has something to do."""
        if self.state is not SessionState.READY:
            deadline = self._started_ms + HANDSHAKE_MS_MAX
        else:
            deadline = min(self._ping_due_ms(), self._heard_ms + SESSION_SILENCE_MS_MAX)
        partial = self._reassembler.deadline_ms
        # A message may still be completed in the very millisecond of its deadline: patience ends after it.
        return deadline if partial is None else min(deadline, partial + 1)

    @property
    def records_left(self) -> int:
        """How many records this end may still send."""
        return SESSION_RECORD_COUNT_MAX - self._sent_count

    def renewal_due(self, now_ms: int) -> bool:
        """Tell whether a new handshake is due: by age, or with a tenth of the records left."""
        used = max(self._sent_count, self._received_count)
        return now_ms - self._started_ms >= SESSION_AGE_MS_MAX or used >= SESSION_RECORD_COUNT_MAX * 9 // 10

    def _ping_due_ms(self) -> int:
        return max(self._heard_ms, self._pinged_ms) + PING_IDLE_MS

    def _queue(self, kind: FragmentKind, data: bytes) -> None:
        self._outgoing.extend(self._fragmenter.fragment(kind, data))

    def _refuse_if_over(self) -> None:
        if self._is_over:
            raise LocalProtocolError("this session has failed before: the link must be dropped")

    def _seal_reply(self, message: Message, corr: int) -> None:
        """Seal what the other side, or the time, asks for: that nothing is left to say it with is no bug here."""
        if self.records_left <= 0:
            raise RemoteProtocolError(Code.LINK_DOWN, "the records of this session are used up")
        self._seal(message, corr)

    def _seal(self, message: Message, corr: int) -> None:
        if self._send_cipher is None:
            raise LocalProtocolError("a record before there are keys")
        self._sent_count += 1
        self._queue(FragmentKind.RECORD, self._send_cipher.encrypt(b"", encode_record(message, corr)))

    def _receive_record(self, data: bytes, now_ms: int) -> tuple[Event, ...]:
        if self._receive_cipher is None:
            raise RemoteProtocolError(Code.NOT_CONFIRMED, "a record before the handshake")
        if self._received_count >= SESSION_RECORD_COUNT_MAX:
            raise RemoteProtocolError(Code.NOT_CONFIRMED, "more records than a session may have")
        plaintext = self._receive_cipher.decrypt(b"", data)
        self._received_count += 1
        corr, message = decode_record(plaintext, self._accepted)
        self._heard_ms = now_ms
        return self._take_record(corr, message, now_ms)

    def _take_record(self, corr: int, message: Message, now_ms: int) -> tuple[Event, ...]:
        if self.state is not SessionState.READY or isinstance(message, Confirm):
            raise RemoteProtocolError(Code.NOT_CONFIRMED, "a record out of turn")
        match message:
            case Ping():
                self._seal_reply(Pong(up_ms=self._uptime_ms(now_ms)), corr)
                return ()
            case Bye(code=code):
                return (PeerClosing(code=code, authenticated=True),)
            case _:
                return (RecordReceived(corr=corr, message=message),)

    def _receive_plain(self, data: bytes) -> tuple[Event, ...]:
        message = decode_plain(data, self._accepted_plain)
        if isinstance(message, PlainClose):
            return (PeerClosing(code=message.code, authenticated=False),)
        if self.state is not SessionState.HELLO:
            raise RemoteProtocolError(Code.MALFORMED, "a second hello")
        self._take_hello(cast("HelloT", message), data)  # the only other kind in `_accepted_plain`
        self.state = SessionState.HANDSHAKE
        return ()

    def _require_handshake(self) -> HandshakeState:
        if self.state is not SessionState.HANDSHAKE or self._handshake is None:
            raise RemoteProtocolError(Code.MALFORMED, f"a handshake message in {self.state.name}")
        return self._handshake

    def _uptime_ms(self, now_ms: int) -> int:  # noqa: ARG002 - the lock's answer needs it
        return 0

    @abstractmethod
    def _take_hello(self, hello: HelloT, data: bytes) -> None: ...

    @abstractmethod
    def _receive_handshake(self, data: bytes) -> tuple[Event, ...]: ...
