"""LinkSession, both roles: attribute values in, events out; messages in, attribute values out.

docs/protocol.md §7 to §9. No clock, no radio, no chance: the caller brings the milliseconds, the
ephemeral key and the nonce, and carries the values. After any `RemoteProtocolError` the session is
over and the caller drops the link; there is no way back into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import PROTOCOL_VERSION, SESSION_CTR_STEP_MAX
from firmware_protocol.directions import FROM_GATEWAY, FROM_LOCK
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.fragments import FragmentKind
from firmware_protocol.hello import (
    FROM_GATEWAY_PLAIN,
    FROM_LOCK_PLAIN,
    MAGIC,
    GatewayHello,
    LockHello,
    LockStatus,
    common_version,
    encode_plain,
    link_prologue,
)
from firmware_protocol.link_session import (
    CORR_PING,
    Confirmed,
    Event,
    LinkAuthenticated,
    LinkSession,
    PairingOpened,
    PeerClosing,
    RecordReceived,
    SessionState,
    StatusWanted,
)
from firmware_protocol.messages import Confirm
from firmware_protocol.noise import KK, HandshakeState

if TYPE_CHECKING:
    from firmware_protocol.messages import Message
    from firmware_protocol.noise import KeyPair

__all__ = [
    "CORR_PING",
    "VERSIONS",
    "Confirmed",
    "Event",
    "FormerOwner",
    "GatewaySession",
    "LinkAuthenticated",
    "LinkSession",
    "LockSession",
    "PairingOpened",
    "PeerClosing",
    "RecordReceived",
    "SessionState",
    "StatusWanted",
]

VERSIONS: Final = (PROTOCOL_VERSION, PROTOCOL_VERSION)
"""Lowest and highest that this code speaks."""


def lock_hello(*, capabilities: int, boot_nonce: bytes, firmware: str) -> bytes:
    """Return the hello of a lock that speaks `VERSIONS`, as a plain message."""
    return encode_plain(
        LockHello(
            version_min=VERSIONS[0],
            version_max=VERSIONS[1],
            capabilities=capabilities,
            boot_nonce=boot_nonce,
            firmware=firmware,
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerOwner:
    """The gateway before this one, as long as its log may have to be handed over."""

    gateway_key: bytes
    """X25519 public key."""
    session_ctr: int
    """The highest session that the lock has confirmed to it."""


class GatewaySession(LinkSession[LockHello]):
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
        session_ctr: int | None,
        version_floor: int,
        value_size_max: int,
        now_ms: int,
        next_owner_epoch: int = 0,
    ) -> None:
        """Queue the HELLO. `session_ctr` must already be reserved durably; None where `resume` will give it.

        `next_owner_epoch` is that of an order which this session is to hand over, and 0 for any other session. A lock
        that is ahead of our counters is expected then: it is what such an order cures.
        """
        super().__init__(value_size_max=value_size_max, now_ms=now_ms)
        self._keys = keys
        self._lock_key = lock_key
        self._ephemeral = ephemeral
        self._session_ctr = session_ctr
        self._version_floor = version_floor
        self._next_owner_epoch = next_owner_epoch
        self._version = 0
        self._capabilities = 0
        hello = GatewayHello(magic=MAGIC, version_min=VERSIONS[0], version_max=VERSIONS[1], capabilities=0, nonce=nonce)
        self._hello = encode_plain(hello)
        self._queue(FragmentKind.PLAIN, self._hello)

    def resume(self, session_ctr: int) -> None:
        """Number this session after what the lock has proven, from a block that was reserved durably before.

        Raises:
            LocalProtocolError: it has a number, or the lock has proven nothing yet.
        """
        if self.state is not SessionState.UNCONFIRMED or self._session_ctr is not None:
            raise LocalProtocolError("this session has its number")
        self._session_ctr = session_ctr

    def confirm(self, *, utc_lo_s: int | None, utc_hi_s: int | None) -> None:
        """Make the session live, and give the lock the time where it is trusted: UTC seconds, both or neither.

        Raises:
            LocalProtocolError: not after LinkAuthenticated, or the session has no number yet.
        """
        if self.state is not SessionState.UNCONFIRMED or self._session_ctr is None:
            raise LocalProtocolError(f"nothing to confirm in {self.state.name}")
        self._seal(Confirm(session_ctr=self._session_ctr, utc_lo_s=utc_lo_s, utc_hi_s=utc_hi_s), 0)
        self.state = SessionState.READY

    def _take_hello(self, hello: LockHello, data: bytes) -> None:
        self._version = common_version(
            own=VERSIONS, other=(hello.version_min, hello.version_max), floor=self._version_floor
        )
        self._capabilities = hello.capabilities
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
        handshake = self._require_handshake()
        status = LockStatus.from_bytes(handshake.read_message(data))
        if self._session_ctr is not None and status.session_ctr >= self._session_ctr:
            # Only a second holder of our key, or our own past, can have taken the lock further.
            if self._next_owner_epoch <= status.owner_epoch:
                raise RemoteProtocolError(Code.CLONE_SUSPECT, "the lock has confirmed a later session")
            self._session_ctr = status.session_ctr + 1
        self._send_cipher, self._receive_cipher = handshake.split()
        self.state = SessionState.UNCONFIRMED
        return (LinkAuthenticated(status=status, version=self._version, capabilities=self._capabilities),)


class LockSession(LinkSession[GatewayHello]):
    """The lock's end: it answers, and obeys nothing before CONFIRM."""

    _accepted = FROM_GATEWAY
    _accepted_plain = FROM_GATEWAY_PLAIN

    def __init__(  # noqa: PLR0913 - each is one fact of the session
        self,
        *,
        keys: KeyPair,
        gateway_key: bytes | None,
        ephemeral: KeyPair,
        boot_nonce: bytes,
        firmware: str,
        session_ctr: int,
        version_floor: int,
        value_size_max: int,
        now_ms: int,
        capabilities: int = 0,
        former: FormerOwner | None = None,
    ) -> None:
        """Wait for a HELLO. `now_ms` is the lock's uptime; `session_ctr` the highest it has confirmed.

        `gateway_key` is None for a lock that belongs to nobody.
        """
        super().__init__(value_size_max=value_size_max, now_ms=now_ms)
        self._keys = keys
        self._gateway_key = gateway_key
        self._former = former
        self._capabilities = capabilities
        self.version = 0
        """The version agreed upon; 0 before the HELLO."""
        self._prologue = b""
        self._ephemeral = ephemeral
        self._boot_nonce = boot_nonce
        self._firmware = firmware
        self._session_ctr = session_ctr
        self._version_floor = version_floor
        self._is_asked = False

    def answer(self, status: LockStatus) -> None:
        """Send handshake message 2 with where the lock stands.

        Raises:
            LocalProtocolError: not after StatusWanted, or answered before.
        """
        if self.state is not SessionState.HANDSHAKE or self._handshake is None or not self._is_asked:
            raise LocalProtocolError(f"nothing to answer in {self.state.name}")
        self._queue(FragmentKind.HANDSHAKE, self._handshake.write_message(status.to_bytes()))
        self._receive_cipher, self._send_cipher = self._handshake.split()
        self.state = SessionState.UNCONFIRMED

    def _take_hello(self, hello: GatewayHello, data: bytes) -> None:
        self.version = common_version(
            own=VERSIONS, other=(hello.version_min, hello.version_max), floor=self._version_floor
        )
        own_hello = lock_hello(capabilities=self._capabilities, boot_nonce=self._boot_nonce, firmware=self._firmware)
        self._queue(FragmentKind.PLAIN, own_hello)
        self._prologue = link_prologue(data, own_hello)

    def _receive_handshake(self, data: bytes) -> tuple[Event, ...]:
        if self.state is not SessionState.HANDSHAKE:
            raise RemoteProtocolError(Code.MALFORMED, f"a handshake message in {self.state.name}")
        if self._is_asked:
            raise RemoteProtocolError(Code.MALFORMED, "a second handshake message before the first is answered")
        is_former = self._read_first(data)
        self._is_asked = True
        return (StatusWanted(is_former=is_former),)

    def _read_first(self, data: bytes) -> bool:
        """Find out whose message 1 this is: the owner's (False) or the former owner's (True). One try for each key."""
        if self._gateway_key is not None:
            try:
                self._handshake = self._read_as(self._gateway_key, data)
            except RemoteProtocolError:
                if self._former is None:
                    raise
            else:
                return False
        if self._former is None:
            raise RemoteProtocolError(Code.DENIED, "this lock belongs to nobody")
        self._handshake = self._read_as(self._former.gateway_key, data)
        self._session_ctr = self._former.session_ctr
        return True

    def _read_as(self, gateway_key: bytes, data: bytes) -> HandshakeState:
        handshake = HandshakeState(
            KK,
            initiator=False,
            prologue=self._prologue,
            s=self._keys,
            e=self._ephemeral,
            rs=gateway_key,
            psk=None,
        )
        handshake.read_message(data)
        return handshake

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
