"""LinkSession, both roles: attribute values in, events out; messages in, attribute values out.

docs/protocol.md §7 to §9. No clock, no radio, no chance: the caller brings the milliseconds, the
ephemeral key and the nonce, and carries the values. After any `RemoteProtocolError` the session is
over and the caller drops the link; there is no way back into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import PROTOCOL_VERSION, SESSION_CTR_STEP_MAX
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
    PeerClosing,
    RecordReceived,
    SessionState,
    StatusWanted,
)
from firmware_protocol.messages import FROM_GATEWAY, FROM_LOCK, Confirm
from firmware_protocol.noise import KK, HandshakeState

if TYPE_CHECKING:
    from firmware_protocol.messages import Message
    from firmware_protocol.noise import KeyPair

__all__ = [
    "CORR_PING",
    "VERSIONS",
    "Confirmed",
    "Event",
    "GatewaySession",
    "LinkAuthenticated",
    "LinkSession",
    "LockSession",
    "PeerClosing",
    "RecordReceived",
    "SessionState",
    "StatusWanted",
]

VERSIONS: Final = (PROTOCOL_VERSION, PROTOCOL_VERSION)
"""Lowest and highest that this code speaks."""


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
        hello = GatewayHello(magic=MAGIC, version_min=VERSIONS[0], version_max=VERSIONS[1], capabilities=0, nonce=nonce)
        self._hello = encode_plain(hello)
        self._queue(FragmentKind.PLAIN, self._hello)

    def confirm(self, *, utc_lo_s: int | None, utc_hi_s: int | None) -> None:
        """Make the session live, and give the lock the time where it is trusted."""
        if self.state is not SessionState.UNCONFIRMED:
            raise LocalProtocolError(f"nothing to confirm in {self.state.name}")
        self._seal(Confirm(session_ctr=self._session_ctr, utc_lo_s=utc_lo_s, utc_hi_s=utc_hi_s), 0)
        self.state = SessionState.READY

    def _take_hello(self, hello: LockHello, data: bytes) -> None:
        self._version = common_version(
            own=VERSIONS, other=(hello.version_min, hello.version_max), floor=self._version_floor
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
        handshake = self._require_handshake()
        status = LockStatus.from_bytes(handshake.read_message(data))
        if status.session_ctr >= self._session_ctr:
            # Only a second holder of our key, or our own past, can have taken the lock further.
            raise RemoteProtocolError(Code.CLONE_SUSPECT, "the lock has confirmed a later session")
        self._send_cipher, self._receive_cipher = handshake.split()
        self.state = SessionState.UNCONFIRMED
        return (LinkAuthenticated(status=status, version=self._version),)


class LockSession(LinkSession[GatewayHello]):
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
        common_version(own=VERSIONS, other=(hello.version_min, hello.version_max), floor=self._version_floor)
        own_hello = encode_plain(
            LockHello(
                version_min=VERSIONS[0],
                version_max=VERSIONS[1],
                capabilities=0,
                boot_nonce=self._boot_nonce,
                firmware=self._firmware,
            )
        )
        self._queue(FragmentKind.PLAIN, own_hello)
        self._handshake = HandshakeState(
            KK,
            initiator=False,
            prologue=link_prologue(data, own_hello),
            s=self._keys,
            e=self._ephemeral,
            rs=self._gateway_key,
            psk=None,
        )

    def _receive_handshake(self, data: bytes) -> tuple[Event, ...]:
        handshake = self._require_handshake()
        if self._is_asked:
            raise RemoteProtocolError(Code.MALFORMED, "a second handshake message before the first is answered")
        handshake.read_message(data)
        self._is_asked = True
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
