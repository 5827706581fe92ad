"""Commissioning, both roles: attribute values in, events out (docs/protocol.md §18).

The secret on the lock's label joins two strangers (`Noise_XXpsk3`): only who stands at the door can read it.
It makes nobody the owner. That is the signed PairingOrder's to say, in the first record; see `ownership`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, Self, TypeVar

from firmware_protocol import cbor
from firmware_protocol.codes import Code
from firmware_protocol.constants import (
    CAPABILITY_PAIRING,
    ID_SIZE,
    PAIRING_MS_MAX,
    PAIRING_PROLOGUE_LABEL,
    PAIRING_SECRET_SIZE,
)
from firmware_protocol.directions import PAIRING_FROM_GATEWAY, PAIRING_FROM_LOCK
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.fragments import FragmentKind, Reassembler
from firmware_protocol.hello import (
    FROM_GATEWAY_PLAIN,
    FROM_LOCK_PLAIN,
    MAGIC,
    GatewayHello,
    LockHello,
    PlainMessage,
    common_version,
    decode_plain,
    encode_plain,
    link_prologue,
)
from firmware_protocol.link_session import Event, LinkSession, PairingOpened, SessionState
from firmware_protocol.noise import XXPSK3, HandshakeState, KeyPair
from firmware_protocol.schema import Octets, Row, malformed
from firmware_protocol.session import VERSIONS, lock_hello

if TYPE_CHECKING:
    from collections.abc import Sequence

LABEL_PREFIX: Final = "CARELOCK:1:"
FINGERPRINT_SIZE: Final = 16
_LABEL_SIZE_MAX: Final = 64
_HelloT = TypeVar("_HelloT", bound=PlainMessage)


def link_key_fingerprint(public: bytes) -> bytes:
    """Return how labels and orders name a lock's X25519 key."""
    return hashlib.sha256(public).digest()[:FINGERPRINT_SIZE]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockLabel:
    """What the QR code on a lock says."""

    lock_id: bytes
    """8 bytes."""
    secret: bytes = field(repr=False)
    """32 bytes: who knows them has stood at the lock."""
    link_key_fingerprint: bytes
    """First 16 bytes of SHA-256(the lock's X25519 key)."""

    def to_text(self) -> str:
        """Return the text of the QR code: capitals and digits, as its alphanumeric mode has them."""
        data = cbor.encode((self.lock_id, self.secret, self.link_key_fingerprint))
        return LABEL_PREFIX + base64.b32encode(data).decode().rstrip("=")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the text of a QR code, strictly.

        Raises:
            RemoteProtocolError: it is none, or was not read whole.
        """
        if not text.startswith(LABEL_PREFIX):
            raise malformed("label", f"does not begin with {LABEL_PREFIX}")
        bare = text.removeprefix(LABEL_PREFIX)
        try:
            data = base64.b32decode(bare + "=" * (-len(bare) % 8))
        except (binascii.Error, ValueError):
            raise malformed("label", "not base32") from None
        label: Self = _LABEL.decode(cbor.decode(data, size_max=_LABEL_SIZE_MAX), "label")
        if label.to_text() != text:
            raise malformed("label", "another spelling of a label")
        return label


def _label(lock_id: bytes, secret: bytes, fingerprint: bytes) -> LockLabel:
    return LockLabel(lock_id=lock_id, secret=secret, link_key_fingerprint=fingerprint)


_LABEL: Final = Row(
    _label,
    (
        Octets(ID_SIZE, ID_SIZE),
        Octets(PAIRING_SECRET_SIZE, PAIRING_SECRET_SIZE),
        Octets(FINGERPRINT_SIZE, FINGERPRINT_SIZE),
    ),
)


class _Pairing(LinkSession[_HelloT]):
    """What both ends of a pairing share: no CONFIRM, and less patience than a session has."""

    _initiates: ClassVar[bool]

    def _tick(self, now_ms: int) -> None:
        if now_ms - self._started_ms >= PAIRING_MS_MAX:
            raise RemoteProtocolError(Code.LINK_DOWN, "the pairing took too long")
        super()._tick(now_ms)

    def next_deadline_ms(self) -> int:
        """See `LinkSession.next_deadline_ms`."""
        return min(super().next_deadline_ms(), self._started_ms + PAIRING_MS_MAX)

    def _open(self, version: int) -> tuple[Event, ...]:
        handshake = self._require_handshake()
        first, second = handshake.split()
        self._send_cipher, self._receive_cipher = (first, second) if self._initiates else (second, first)
        self.state = SessionState.READY
        peer_key = handshake.remote_static
        return () if peer_key is None else (PairingOpened(peer_key=peer_key, version=version),)


class GatewayPairing(_Pairing[LockHello]):
    """The gateway's end. It gives its own key only to the lock that its order names."""

    _accepted = PAIRING_FROM_LOCK
    _accepted_plain = FROM_LOCK_PLAIN
    _initiates = True

    def __init__(
        self,
        *,
        keys: KeyPair,
        label: LockLabel,
        ephemeral: KeyPair,
        nonce: bytes,
        version_floor: int,
        value_size_max: int,
        now_ms: int,
    ) -> None:
        """Queue the HELLO. `keys` are those that the order names."""
        super().__init__(value_size_max=value_size_max, now_ms=now_ms)
        self._keys = keys
        self._label = label
        self._ephemeral = ephemeral
        self._version_floor = version_floor
        self._version = 0
        hello = GatewayHello(
            magic=MAGIC,
            version_min=VERSIONS[0],
            version_max=VERSIONS[1],
            capabilities=CAPABILITY_PAIRING,
            nonce=nonce,
        )
        self._hello = encode_plain(hello)
        self._queue(FragmentKind.PLAIN, self._hello)

    def _take_hello(self, hello: LockHello, data: bytes) -> None:
        self._version = common_version(
            own=VERSIONS, other=(hello.version_min, hello.version_max), floor=self._version_floor
        )
        if not hello.capabilities & CAPABILITY_PAIRING:
            raise RemoteProtocolError(Code.NOT_INSTALLING, "this lock has an owner")
        self._handshake = _handshake(
            self._hello, data, keys=self._keys, ephemeral=self._ephemeral, label=self._label, initiator=True
        )
        self._queue(FragmentKind.HANDSHAKE, self._handshake.write_message(b""))

    def _receive_handshake(self, data: bytes) -> tuple[Event, ...]:
        handshake = self._require_handshake()
        _refuse_payload(handshake.read_message(data))
        lock_key = handshake.remote_static
        if lock_key is None or link_key_fingerprint(lock_key) != self._label.link_key_fingerprint:
            raise RemoteProtocolError(Code.WRONG_AUDIENCE, "this lock is not the one of the label")
        self._queue(FragmentKind.HANDSHAKE, handshake.write_message(b""))
        return self._open(self._version)


class LockPairing(_Pairing[GatewayHello]):
    """The lock's end; made only while the lock can be paired."""

    _accepted = PAIRING_FROM_GATEWAY
    _accepted_plain = FROM_GATEWAY_PLAIN
    _initiates = False

    def __init__(  # noqa: PLR0913 - each is one fact of the pairing
        self,
        *,
        keys: KeyPair,
        label: LockLabel,
        ephemeral: KeyPair,
        boot_nonce: bytes,
        firmware: str,
        capabilities: int,
        version_floor: int,
        value_size_max: int,
        now_ms: int,
    ) -> None:
        """Wait for a HELLO. `label` is the lock's own, `now_ms` its uptime."""
        super().__init__(value_size_max=value_size_max, now_ms=now_ms)
        self._keys = keys
        self._label = label
        self._ephemeral = ephemeral
        self._boot_nonce = boot_nonce
        self._firmware = firmware
        self._capabilities = capabilities | CAPABILITY_PAIRING
        self._version_floor = version_floor
        self._version = 0
        self._has_answered = False

    def _take_hello(self, hello: GatewayHello, data: bytes) -> None:
        self._version = common_version(
            own=VERSIONS, other=(hello.version_min, hello.version_max), floor=self._version_floor
        )
        own_hello = lock_hello(capabilities=self._capabilities, boot_nonce=self._boot_nonce, firmware=self._firmware)
        self._queue(FragmentKind.PLAIN, own_hello)
        self._handshake = _handshake(
            data, own_hello, keys=self._keys, ephemeral=self._ephemeral, label=self._label, initiator=False
        )

    def _receive_handshake(self, data: bytes) -> tuple[Event, ...]:
        handshake = self._require_handshake()
        _refuse_payload(handshake.read_message(data))
        if handshake.finished:
            return self._open(self._version)
        self._queue(FragmentKind.HANDSHAKE, handshake.write_message(b""))
        return ()

    def _uptime_ms(self, now_ms: int) -> int:
        return now_ms


class Doorstep:
    """A lock's first look at a new link: whether its gateway comes to pair."""

    def __init__(self) -> None:
        self._reassembler = Reassembler()
        self._values: list[bytes] = []

    @property
    def values(self) -> Sequence[bytes]:
        """What came so far: it belongs to the session that is made then."""
        return tuple(self._values)

    def wants_pairing(self, value: bytes, now_ms: int) -> bool | None:
        """Take a value; return None until the first message is whole.

        Raises:
            RemoteProtocolError: it is no HELLO; drop the link.
        """
        self._values.append(value)
        message = self._reassembler.receive_value(value, now_ms)
        if message is None:
            return None
        if message.kind is not FragmentKind.PLAIN:
            return False
        hello = decode_plain(message.data, FROM_GATEWAY_PLAIN)
        return isinstance(hello, GatewayHello) and bool(hello.capabilities & CAPABILITY_PAIRING)


def _handshake(
    gateway_hello: bytes, lock_hello: bytes, *, keys: KeyPair, ephemeral: KeyPair, label: LockLabel, initiator: bool
) -> HandshakeState:
    return HandshakeState(
        XXPSK3,
        initiator=initiator,
        prologue=link_prologue(gateway_hello, lock_hello, label=PAIRING_PROLOGUE_LABEL),
        s=keys,
        e=ephemeral,
        rs=None,
        psk=label.secret,
    )


def _refuse_payload(payload: bytes) -> None:
    if payload:
        raise RemoteProtocolError(Code.MALFORMED, "a payload in a handshake that has none")
