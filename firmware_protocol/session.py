"""LinkSession, both roles: attribute values in, events out; messages in, attribute values out.

docs/protocol.md §7 to §9. No clock, no radio, no chance: the caller brings the milliseconds, the
ephemeral key and the nonce, and carries the values. After any `RemoteProtocolError` the session is
over and the caller drops the link; there is no way back into it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum, auto, unique
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import (
    HANDSHAKE_MS_MAX,
    PING_IDLE_MS,
    PROTOCOL_VERSION,
    SESSION_AGE_MS_MAX,
    SESSION_CTR_STEP_MAX,
    SESSION_RECORD_COUNT_MAX,
    SESSION_SILENCE_MS_MAX,
)
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.fragments import Fragmenter, FragmentKind, Reassembler
from firmware_protocol.hello import (
    FROM_GATEWAY_PLAIN,
    FROM_LOCK_PLAIN,
    MAGIC,
    GatewayHello,
    LockHello,
    LockStatus,
    PlainClose,
    common_version,
    decode_plain,
    encode_plain,
    link_prologue,
)
from firmware_protocol.messages import (
    FROM_GATEWAY,
    FROM_LOCK,
    Bye,
    Confirm,
    Message,
    Ping,
    Pong,
    decode_record,
    encode_record,
)
from firmware_protocol.noise import KK, CipherState, HandshakeState, KeyPair

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_protocol.hello import PlainMessage

CORR_PING: Final = 0xFFFF
"""The session's own pings carry it; callers draw theirs from 1 to 65 534."""
VERSIONS: Final = (PROTOCOL_VERSION, PROTOCOL_VERSION)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusWanted:
    """Lock: a gateway that holds the right key is there; `LockSession.answer` is due."""


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


Event = LinkAuthenticated | StatusWanted | Confirmed | RecordReceived | PeerClosing


class LinkSession(ABC):
    """What both roles share: fragments, records, pings, the end of patience."""

    _accepted: Mapping[int, type[Message]]
    _accepted_plain: Mapping[int, type[PlainMessage]]

    def __init__(self, *, value_size_max: int, now_ms: int) -> None:
        self.state = SessionState.HELLO
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
        """
        message = self._reassembler.receive_value(value, now_ms)
        if message is None:
            return ()
        match message.kind:
            case FragmentKind.RECORD:
                return self._receive_record(message.data, now_ms)
            case FragmentKind.HANDSHAKE:
                return self._receive_handshake(message.data)
            case FragmentKind.PLAIN:
                return self._receive_plain(message.data)

    def send(self, message: Message, *, corr: int = 0) -> None:
        """Seal a record for `take_values`.

        Raises:
            LocalProtocolError: the session is not live, or its records are used up (`renewal_due`).
        """
        if self.state is not SessionState.READY:
            raise LocalProtocolError(f"no record may be sent in {self.state.name}")
        self._seal(message, corr)

    def close(self, code: Code) -> None:
        """Queue a goodbye: authenticated where there are keys, a plain hint otherwise."""
        if self.state is SessionState.READY:
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
            RemoteProtocolError: LINK_DOWN, the other side is silent or slow beyond patience.
        """
        self._reassembler.check(now_ms)
        if self.state is not SessionState.READY:
            if now_ms - self._started_ms >= HANDSHAKE_MS_MAX:
                raise RemoteProtocolError(Code.LINK_DOWN, "the handshake took too long")
            return
        if now_ms - self._heard_ms >= SESSION_SILENCE_MS_MAX:
            raise RemoteProtocolError(Code.LINK_DOWN, "no authenticated record for 45 s")
        if now_ms >= self._ping_due_ms():
            self._pinged_ms = now_ms
            self._seal(Ping(), CORR_PING)

    def next_deadline_ms(self) -> int:
        """Return the monotonic millisecond at which `tick` has something to do."""
        if self.state is not SessionState.READY:
            deadline = self._started_ms + HANDSHAKE_MS_MAX
        else:
            deadline = min(self._ping_due_ms(), self._heard_ms + SESSION_SILENCE_MS_MAX)
        partial = self._reassembler.deadline_ms
        return deadline if partial is None else min(deadline, partial)

    def renewal_due(self, now_ms: int) -> bool:
        """Tell whether a new handshake is due: by age, or with a tenth of the records left."""
        used = max(self._sent_count, self._received_count)
        return now_ms - self._started_ms >= SESSION_AGE_MS_MAX or used >= SESSION_RECORD_COUNT_MAX * 9 // 10

    def _ping_due_ms(self) -> int:
        return max(self._heard_ms, self._pinged_ms) + PING_IDLE_MS

    def _queue(self, kind: FragmentKind, data: bytes) -> None:
        self._outgoing.extend(self._fragmenter.fragment(kind, data))

    def _seal(self, message: Message, corr: int) -> None:
        if self._send_cipher is None or self._sent_count >= SESSION_RECORD_COUNT_MAX:
            raise LocalProtocolError("no keys, or no records left in this session")
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
                self._seal(Pong(up_ms=self._uptime_ms(now_ms)), corr)
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
        self._take_hello(message, data)
        self.state = SessionState.HANDSHAKE
        return ()

    def _require_handshake(self) -> None:
        if self.state is not SessionState.HANDSHAKE:
            raise RemoteProtocolError(Code.MALFORMED, f"a handshake message in {self.state.name}")

    def _uptime_ms(self, now_ms: int) -> int:  # noqa: ARG002 - the lock's answer needs it
        return 0

    @abstractmethod
    def _take_hello(self, message: PlainMessage, data: bytes) -> None: ...

    @abstractmethod
    def _receive_handshake(self, data: bytes) -> tuple[Event, ...]: ...


class GatewaySession(LinkSession):
    """The gateway's end: it speaks first, and it says which session this is."""

    _accepted = FROM_LOCK
    _accepted_plain = FROM_LOCK_PLAIN

    def __init__(  # noqa: PLR0913 - each is one fact of the session
        self,
        *,
        keys: KeyPair,
        lock_key: bytes,
        ephemeral: KeyPair,
        nonce: bytes,
        session_ctr: int,
        version_floor: int,
        value_size_max: int,
        now_ms: int,
    ) -> None:
        """Queue the HELLO. `session_ctr` must already be reserved durably."""
        super().__init__(value_size_max=value_size_max, now_ms=now_ms)
        self._keys = keys
        self._lock_key = lock_key
        self._ephemeral = ephemeral
        self._session_ctr = session_ctr
        self._version_floor = version_floor
        self._version = 0
        self._handshake: HandshakeState | None = None
        hello = GatewayHello(magic=MAGIC, version_min=VERSIONS[0], version_max=VERSIONS[1], capabilities=0, nonce=nonce)
        self._hello = encode_plain(hello)
        self._queue(FragmentKind.PLAIN, self._hello)

    def confirm(self, *, utc_lo_s: int | None, utc_hi_s: int | None) -> None:
        """Make the session live, and give the lock the time where it is trusted."""
        if self.state is not SessionState.UNCONFIRMED:
            raise LocalProtocolError(f"nothing to confirm in {self.state.name}")
        self._seal(Confirm(session_ctr=self._session_ctr, utc_lo_s=utc_lo_s, utc_hi_s=utc_hi_s), 0)
        self.state = SessionState.READY

    def _take_hello(self, message: PlainMessage, data: bytes) -> None:
        if not isinstance(message, LockHello):
            raise RemoteProtocolError(Code.MALFORMED, "not a lock's hello")
        self._version = common_version(
            own=VERSIONS, other=(message.version_min, message.version_max), floor=self._version_floor
        )
        self._handshake = HandshakeState(
            KK,
            initiator=True,
            prologue=link_prologue(self._hello, data),
            s=self._keys,
            e=self._ephemeral,
            rs=self._lock_key,
            psk=None,
        )
        # Message 1 can be replayed by anyone who heard it: it carries nothing.
        self._queue(FragmentKind.HANDSHAKE, self._handshake.write_message(b""))

    def _receive_handshake(self, data: bytes) -> tuple[Event, ...]:
        self._require_handshake()
        if self._handshake is None:
            raise LocalProtocolError("a handshake without a hello")
        status = LockStatus.from_bytes(self._handshake.read_message(data))
        if status.session_ctr >= self._session_ctr:
            # Only a second holder of our key, or our own past, can have taken the lock further.
            raise RemoteProtocolError(Code.CLONE_SUSPECT, "the lock has confirmed a later session")
        self._send_cipher, self._receive_cipher = self._handshake.split()
        self.state = SessionState.UNCONFIRMED
        return (LinkAuthenticated(status=status, version=self._version),)


class LockSession(LinkSession):
    """The lock's end: it answers, and obeys nothing before CONFIRM."""

    _accepted = FROM_GATEWAY
    _accepted_plain = FROM_GATEWAY_PLAIN

    def __init__(  # noqa: PLR0913 - each is one fact of the session
        self,
        *,
        keys: KeyPair,
        gateway_key: bytes,
        ephemeral: KeyPair,
        boot_nonce: bytes,
        firmware: str,
        session_ctr: int,
        version_floor: int,
        value_size_max: int,
        now_ms: int,
    ) -> None:
        """Wait for a HELLO. `now_ms` is the lock's uptime; `session_ctr` the highest it has confirmed."""
        super().__init__(value_size_max=value_size_max, now_ms=now_ms)
        self._keys = keys
        self._gateway_key = gateway_key
        self._ephemeral = ephemeral
        self._boot_nonce = boot_nonce
        self._firmware = firmware
        self._session_ctr = session_ctr
        self._version_floor = version_floor
        self._handshake: HandshakeState | None = None

    def answer(self, status: LockStatus) -> None:
        """Send handshake message 2 with where the lock stands."""
        if self.state is not SessionState.HANDSHAKE or self._handshake is None:
            raise LocalProtocolError(f"nothing to answer in {self.state.name}")
        self._queue(FragmentKind.HANDSHAKE, self._handshake.write_message(status.to_bytes()))
        self._receive_cipher, self._send_cipher = self._handshake.split()
        self.state = SessionState.UNCONFIRMED

    def _take_hello(self, message: PlainMessage, data: bytes) -> None:
        if not isinstance(message, GatewayHello):
            raise RemoteProtocolError(Code.MALFORMED, "not a gateway's hello")
        common_version(own=VERSIONS, other=(message.version_min, message.version_max), floor=self._version_floor)
        hello = encode_plain(
            LockHello(
                version_min=VERSIONS[0],
                version_max=VERSIONS[1],
                capabilities=0,
                boot_nonce=self._boot_nonce,
                firmware=self._firmware,
            )
        )
        self._queue(FragmentKind.PLAIN, hello)
        self._handshake = HandshakeState(
            KK,
            initiator=False,
            prologue=link_prologue(data, hello),
            s=self._keys,
            e=self._ephemeral,
            rs=self._gateway_key,
            psk=None,
        )

    def _receive_handshake(self, data: bytes) -> tuple[Event, ...]:
        self._require_handshake()
        if self._handshake is None:
            raise LocalProtocolError("a handshake without a hello")
        self._handshake.read_message(data)
        return (StatusWanted(),)

    def _take_record(self, corr: int, message: Message, now_ms: int) -> tuple[Event, ...]:
        if self.state is SessionState.UNCONFIRMED and isinstance(message, Confirm):
            step = message.session_ctr - self._session_ctr
            if not 0 < step <= SESSION_CTR_STEP_MAX:
                raise RemoteProtocolError(Code.CLONE_SUSPECT, "a session counter that was used, or leaps")
            self.state = SessionState.READY
            return (Confirmed(confirm=message),)
        return super()._take_record(corr, message, now_ms)

    def _uptime_ms(self, now_ms: int) -> int:
        return now_ms
