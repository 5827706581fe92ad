"""A phone talks to whoever decides, through a lock that carries but cannot read (docs/protocol.md §11).

Noise_NK: the phone knows the decider's X25519 key from its Door object and stays anonymous itself;
who it is, the signatures in the bundle say. The challenge is in the prologue, so that an answer
belongs to one visit at the door.
"""

from __future__ import annotations

from enum import IntEnum, unique
from typing import ClassVar, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import BUNDLE_SIZE_MAX, LARGE_OBJECT_SIZE_MAX, RELAY_PROLOGUE_LABEL
from firmware_protocol.errands import Courier
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.messages import RELAY_DATA_SIZE_MAX
from firmware_protocol.noise import NK, CipherState, HandshakeState, KeyPair
from firmware_protocol.schema import Choice, Octets, WireMap, wire, wire_field

ANSWER_SIZE_MAX: Final = LARGE_OBJECT_SIZE_MAX + 16
"""Longest answer, in bytes: an INFO over MQTT. What a phone is told at the door fits into a message of the link."""


@unique
class AnswerKind(IntEnum):
    """What an answer to a phone is."""

    RECEIPT = 0
    """A signed CommandReceipt."""
    INFO = 1
    """A signed GatewayInfo: the door has another gateway now, or the freshness was wrong."""
    DENIED = 2
    """Nothing is said to whoever proved nothing."""
    COURIER = 3
    """A Courier: a piece of what the phone asked for."""
    COURIER_ACK = 4
    """A CourierAck for what the phone has brought."""
    REPORT = 5
    """What a signed Request asked for; over MQTT only."""


@wire
class RelayAnswer(WireMap):
    """What the decider says to the phone."""

    SIZE_MAX: ClassVar[int] = ANSWER_SIZE_MAX

    kind: AnswerKind = wire_field(0, Choice(AnswerKind))
    body: bytes = wire_field(1, Octets(1, LARGE_OBJECT_SIZE_MAX), default=b"")


class RelayPhone:
    """The phone's end of one channel."""

    def __init__(self, *, decider_key: bytes, challenge: bytes, ephemeral: KeyPair) -> None:
        """Begin; the challenge is the one that the lock gave to this phone."""
        self._handshake = _handshake(challenge, initiator=True, e=ephemeral, rs=decider_key)
        self._send: CipherState | None = None
        self._receive: CipherState | None = None

    def open(self, bundle: bytes) -> bytes:
        """Return message 1, with the bundle inside.

        Raises:
            LocalProtocolError: the bundle is longer than 1 900 bytes.
        """
        if len(bundle) > BUNDLE_SIZE_MAX:
            raise LocalProtocolError("the bundle is too long")
        return self._handshake.write_message(bundle)

    def read(self, data: bytes) -> RelayAnswer:
        """Return the next answer.

        Raises:
            RemoteProtocolError: not from the decider, or malformed.
        """
        if self._receive is None:
            plaintext = self._handshake.read_message(data)
            self._send, self._receive = self._handshake.split()
        else:
            plaintext = self._receive.decrypt(b"", data)
        return RelayAnswer.from_bytes(plaintext)

    def courier(self, piece: Courier) -> bytes:
        """Return a transport message that carries a piece of an object, or asks for some.

        Raises:
            LocalProtocolError: the decider has not answered yet.
        """
        if self._send is None:
            raise LocalProtocolError("no courier goes before the first answer")
        return self._send.encrypt(b"", piece.to_bytes())


class RelayDecider:
    """The decider's end of one channel."""

    def __init__(self, *, keys: KeyPair, challenge: bytes, ephemeral: KeyPair) -> None:
        """Begin; the challenge is the one that RELAY_OPEN told."""
        self._handshake = _handshake(challenge, initiator=False, e=ephemeral, s=keys)
        self._send: CipherState | None = None
        self._receive: CipherState | None = None

    def read_bundle(self, data: bytes) -> bytes:
        """Return the bundle in message 1: bytes that prove nothing yet.

        Raises:
            RemoteProtocolError: DENIED or TOO_LARGE.
        """
        if len(data) > RELAY_DATA_SIZE_MAX:
            raise RemoteProtocolError(Code.TOO_LARGE, "a relay message beyond its cap")
        return self._handshake.read_message(data)

    def answer(self, answer: RelayAnswer) -> bytes:
        """Return message 2 with the first answer, then transport messages with further ones."""
        plaintext = answer.to_bytes()
        if self._send is not None:
            return self._send.encrypt(b"", plaintext)
        message = self._handshake.write_message(plaintext)
        self._receive, self._send = self._handshake.split()
        return message

    def read_courier(self, data: bytes) -> Courier:
        """Return the Courier in a transport message of the phone's.

        Raises:
            RemoteProtocolError: DENIED, not the next one of this phone, or before the first answer; malformed.
        """
        if self._receive is None:
            raise RemoteProtocolError(Code.DENIED, "a courier before the first answer")
        return Courier.from_bytes(self._receive.decrypt(b"", data))


def _handshake(
    challenge: bytes, *, initiator: bool, e: KeyPair, s: KeyPair | None = None, rs: bytes | None = None
) -> HandshakeState:
    prologue = RELAY_PROLOGUE_LABEL + challenge
    return HandshakeState(NK, initiator=initiator, prologue=prologue, s=s, e=e, rs=rs, psk=None)
