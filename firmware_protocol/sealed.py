"""What only one reader can open, whoever carries it: requests to a gateway, objects, answers (docs/protocol.md §21).

A libsodium sealed box, `ephemeral key ‖ box`: it hides what is inside and from whom it came, and proves nothing; what
is inside is signed. Ephemeral keys are drawn by the caller, so that nothing here is random. Whatever does not open is
one and the same DENIED: which of the keys was wrong is nobody's business.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, ClassVar, Final

import nacl.exceptions
from nacl import bindings

from firmware_protocol.codes import Code
from firmware_protocol.constants import SEALED_PAYLOAD_SIZE_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.schema import Octets, WireMap, octets, wire, wire_field
from firmware_protocol.vocabulary import KEY_SIZE

if TYPE_CHECKING:
    from firmware_protocol.noise import KeyPair

OVERHEAD_SIZE: Final = KEY_SIZE + 16
"""What sealing adds: the ephemeral key and a tag, in bytes."""
BODY_SIZE_MAX: Final = SEALED_PAYLOAD_SIZE_MAX + 40
"""Longest plaintext: the payload, the answer key, and the map around them."""
_NONCE_SIZE: Final = 24
_FIRST_BYTE: Final = b"\xa1"


@wire
class Sealed(WireMap):
    """What the carrier sees."""

    SIZE_MAX: ClassVar[int] = BODY_SIZE_MAX + OVERHEAD_SIZE + 16

    box: bytes = wire_field(0, Octets(OVERHEAD_SIZE + 1, BODY_SIZE_MAX + OVERHEAD_SIZE))


@wire
class SealedBody(WireMap):
    """What the reader finds inside."""

    SIZE_MAX: ClassVar[int] = BODY_SIZE_MAX + 16

    payload: bytes = wire_field(0, Octets(1, SEALED_PAYLOAD_SIZE_MAX))
    """What would have been sent in the clear."""
    answer_key: bytes = octets(1, KEY_SIZE, default=b"")
    """X25519 public key that the answers are sealed to, drawn for it, so that it names nobody; empty: in the clear."""


def is_sealed(data: bytes) -> bool:
    """Tell whether `data` says that it is sealed: no signed object, bundle, note or JSON begins so."""
    return data[:1] == _FIRST_BYTE


def seal(body: SealedBody, *, to: bytes, ephemeral: KeyPair) -> bytes:
    """Return `body` for the holder of the X25519 key `to` alone. An ephemeral key serves once.

    Raises:
        RemoteProtocolError: DENIED, `to` is a point of low order: everybody could open it.
    """
    try:
        box = bindings.crypto_box(body.to_bytes(), _nonce(ephemeral.public, to), to, ephemeral.private)
    except nacl.exceptions.CryptoError as error:
        raise RemoteProtocolError(Code.DENIED, "X25519 key of low order") from error
    return Sealed(box=ephemeral.public + box).to_bytes()


def unseal(data: bytes, keys: KeyPair) -> SealedBody:
    """Return what is inside of `data`: bytes that prove nothing yet.

    Raises:
        RemoteProtocolError: TOO_LARGE or MALFORMED, before any key is used; DENIED, it does not open, or its answer
            key is a point of low order; MALFORMED, what is inside.
    """
    box = Sealed.from_bytes(data).box
    ephemeral, closed = box[:KEY_SIZE], box[KEY_SIZE:]
    try:
        plaintext = bindings.crypto_box_open(closed, _nonce(ephemeral, keys.public), ephemeral, keys.private)
        body = SealedBody.from_bytes(plaintext)
        if body.answer_key:  # before anything acts on what could not be answered
            bindings.crypto_box_beforenm(body.answer_key, keys.private)
    except nacl.exceptions.CryptoError as error:
        raise RemoteProtocolError(Code.DENIED, "a sealed message that does not open") from error
    return body


def _nonce(ephemeral: bytes, to: bytes) -> bytes:
    """Return the nonce of a sealed box: it follows from the keys, of which one serves once."""
    return hashlib.blake2b(ephemeral + to, digest_size=_NONCE_SIZE).digest()
