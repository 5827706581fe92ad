"""COSE_Sign1 and COSE_Sign with Ed25519 and domain separation (docs/protocol.md §3, RFC 9052 §4).

The protected header is `{1: -8, 4: kid}` and nothing else, the unprotected one is empty, and
`external_aad` is the domain, which carries type and version: an object presented as another never
verifies. Signatures are checked over the received bytes, and an object is named by their SHA-256.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from firmware_protocol import cbor
from firmware_protocol.codes import Code
from firmware_protocol.constants import DOMAIN_PREFIX, ID_SIZE, KID_SIZE
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nacl.signing import SigningKey

SIGNATURE_SIZE: Final = 64
SIGNATURE_COUNT_MAX: Final = 8
"""Most signatures on one object: each costs the verifier a curve operation."""

_PROTECTED_START: Final = bytes.fromhex("a201270448")
"""`{1: -8, 4: h'…'}`: alg EdDSA and an 8-byte kid (RFC 9052 §3.1) have one encoding, and the kid ends it."""
_SIGN1_START: Final = b"\xd2\x84"
"""Tag 18, array of four."""
_SIGN1_HEAD: Final = _SIGN1_START + bytes((0x40 + len(_PROTECTED_START) + KID_SIZE,)) + _PROTECTED_START
"""How each COSE_Sign1 begins, up to its kid: the protected header is a byte string of 13."""
_SIGN1_KID: Final = len(_SIGN1_HEAD)
"""Where its kid begins."""
_SIGN1_PAYLOAD: Final = _SIGN1_KID + KID_SIZE + 1
"""Where its payload begins, behind the one byte of the empty unprotected header."""
_SIGNATURE_HEAD: Final = bytes((0x58, SIGNATURE_SIZE))
_SIGN1_SIGNATURE: Final = -SIGNATURE_SIZE - len(_SIGNATURE_HEAD)
"""Where its signature begins, from the end."""
_UNPROTECTED_EMPTY: Final = b"\xa0"
_PAYLOAD_HEAD_SIZES: Final[Mapping[bytes, int]] = {b"\x58": 2, b"\x59": 3}
"""By its first byte: the head of a payload of 24 bytes and more, of 256 and more. A shorter one has a head of 1."""
_BODY_PROTECTED_EMPTY: Final = b""
"""RFC 9052 §3: an empty protected header is the zero-length byte string."""


@lru_cache(maxsize=256)  # the same few public keys, at every command
def kid_of(verify_key: bytes) -> bytes:
    """Return the key id of an Ed25519 public key: the first 8 bytes of its SHA-256."""
    return hashlib.sha256(verify_key).digest()[:KID_SIZE]


def id_of(verify_key: bytes) -> bytes:
    """Return the id of the gateway or lock that holds this Ed25519 public key."""
    return hashlib.sha256(verify_key).digest()[:ID_SIZE]


def sign1(payload: bytes, *, key: SigningKey, domain: str) -> bytes:
    """Return a COSE_Sign1 over `payload`; `domain` is the last part of it, "grant" for one."""
    protected = _protected(bytes(key.verify_key))
    message = sig_structure1(protected, _external_aad(domain), payload)
    return _encode_sign1(protected, payload, key.sign(message).signature)


def sign_many(payload: bytes, *, keys: Sequence[SigningKey], domain: str) -> bytes:
    """Return a COSE_Sign over `payload` by each of `keys`, in their order.

    Raises:
        LocalProtocolError: no key, or more than 8.
    """
    if not 1 <= len(keys) <= SIGNATURE_COUNT_MAX:
        raise LocalProtocolError(f"{len(keys)} signatures, 1 to {SIGNATURE_COUNT_MAX} allowed")
    signatures: list[cbor.Value] = []
    for key in keys:
        protected = _protected(bytes(key.verify_key))
        message = sig_structure(_BODY_PROTECTED_EMPTY, protected, _external_aad(domain), payload)
        signatures.append([protected, {}, key.sign(message).signature])
    return cbor.encode(cbor.Tag(cbor.TAG_SIGN, [_BODY_PROTECTED_EMPTY, {}, payload, signatures]))


def sig_structure1(protected: bytes, external_aad: bytes, payload: bytes) -> bytes:
    """Return the bytes that a COSE_Sign1 signature covers (RFC 9052 §4.4)."""
    encode = cbor.encode_bytes
    return b"\x84\x6aSignature1" + encode(protected) + encode(external_aad) + encode(payload)


def sig_structure(body_protected: bytes, sign_protected: bytes, external_aad: bytes, payload: bytes) -> bytes:
    """Return the bytes that one signature of a COSE_Sign covers (RFC 9052 §4.4)."""
    parts = (body_protected, sign_protected, external_aad, payload)
    return b"\x85\x69Signature" + b"".join(map(cbor.encode_bytes, parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureEntry:
    """One signature, not yet verified."""

    kid: bytes
    """8 bytes: a hint which key to try, never a proof of which key signed."""
    signature: bytes
    """64 bytes."""

    @property
    def protected(self) -> bytes:
        """The protected header as received, a part of what was signed: around a kid it has one encoding."""
        return _PROTECTED_START + self.kid


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The structure of a signed object; nothing in it is trusted until a `verify` has returned."""

    raw: bytes
    """The received bytes."""
    payload: bytes
    signatures: tuple[SignatureEntry, ...]
    """1 to 8, in the order received; exactly one unless `is_multi`."""
    is_multi: bool
    """Whether it is a COSE_Sign rather than a COSE_Sign1."""

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the received bytes: the object's name. Anyone may vary a signature, so never that."""
        return hashlib.sha256(self.raw).digest()

    def verify(self, verify_key: bytes, *, domain: str) -> bytes:
        """Return the payload of a COSE_Sign1 that the Ed25519 public key `verify_key` signed for `domain`.

        Raises:
            RemoteProtocolError: BAD_SIGNATURE: not signed by this key for this domain.
            LocalProtocolError: `verify_key` is not 32 bytes long.
        """
        if self.is_multi:
            raise _bad_signature(f"{domain}: COSE_Sign where COSE_Sign1 is expected")
        (entry,) = self.signatures
        if entry.kid != kid_of(verify_key):
            raise _bad_signature(f"{domain}: names another key")
        self._verify_entry(entry, verify_key, domain)
        return self.payload

    def verify_many(self, keys: Mapping[bytes, bytes], *, domain: str) -> frozenset[bytes]:
        """Return the distinct public keys among `keys` (kid to key) that signed for `domain`.

        A signature of a kid that `keys` does not have is ignored, and a key that signed twice counts
        once; whether the keys returned are enough is for the caller to say. A COSE_Sign1 is one signature.

        Raises:
            RemoteProtocolError: BAD_SIGNATURE: a signature of one of `keys` is not valid.
            LocalProtocolError: one of `keys` is not 32 bytes long.
        """
        known = [(entry, keys[entry.kid]) for entry in self.signatures if entry.kid in keys]
        for entry, verify_key in known:
            self._verify_entry(entry, verify_key, domain)
        return frozenset(verify_key for _, verify_key in known)

    def _verify_entry(self, entry: SignatureEntry, verify_key: bytes, domain: str) -> None:
        aad = _external_aad(domain)
        if self.is_multi:
            message = sig_structure(_BODY_PROTECTED_EMPTY, entry.protected, aad, self.payload)
        else:
            message = sig_structure1(entry.protected, aad, self.payload)
        try:
            # The two-argument form: `crypto_sign_open` on signature + message would move bytes between the two.
            _verify_key(verify_key).verify(message, entry.signature)
        except BadSignatureError as error:
            raise _bad_signature(f"{domain}: signature does not verify") from error


def parse(data: bytes, *, size_max: int) -> Envelope:
    """Return the structure of a signed object of at most `size_max` bytes, with nothing verified.

    Raises:
        RemoteProtocolError: TOO_LARGE, or MALFORMED: not an envelope of the one allowed shape.
    """
    if len(data) > size_max:
        raise RemoteProtocolError(Code.TOO_LARGE, f"a signed object of {len(data)} bytes, {size_max} allowed")
    is_multi = not data.startswith(_SIGN1_START)
    payload, signatures = _split_sign(data, size_max) if is_multi else _split_sign1(data)
    return Envelope(raw=data, payload=payload, signatures=signatures, is_multi=is_multi)


def _encode_sign1(protected: bytes, payload: bytes, signature: bytes) -> bytes:
    parts = (_SIGN1_START, cbor.encode_bytes(protected), _UNPROTECTED_EMPTY)
    return b"".join((*parts, cbor.encode_bytes(payload), cbor.encode_bytes(signature)))


def _split_sign1(data: bytes) -> tuple[bytes, tuple[SignatureEntry, ...]]:
    """Cut the object where its parts must lie; what stands between them can be one thing only."""
    encoded = data[_SIGN1_PAYLOAD:_SIGN1_SIGNATURE]
    payload = encoded[_PAYLOAD_HEAD_SIZES.get(encoded[:1], 1) :]
    if (
        data[:_SIGN1_KID] != _SIGN1_HEAD
        or data[_SIGN1_PAYLOAD - 1 : _SIGN1_PAYLOAD] != _UNPROTECTED_EMPTY
        or cbor.encode_bytes(payload) != encoded
        or data[_SIGN1_SIGNATURE:-SIGNATURE_SIZE] != _SIGNATURE_HEAD
    ):
        raise _malformed("not a COSE_Sign1 of the allowed shape")
    entry = SignatureEntry(kid=data[_SIGN1_KID : _SIGN1_PAYLOAD - 1], signature=data[-SIGNATURE_SIZE:])
    return payload, (entry,)


def _split_sign(data: bytes, size_max: int) -> tuple[bytes, tuple[SignatureEntry, ...]]:
    match cbor.decode(data, size_max=size_max):
        case cbor.Tag(tag=cbor.TAG_SIGN, value=(b"", {**unprotected}, bytes() as payload, tuple() as listed)) if (
            not unprotected and 1 <= len(listed) <= SIGNATURE_COUNT_MAX
        ):
            return payload, tuple(_entry(item) for item in listed)
    raise _malformed("neither a COSE_Sign1 nor a COSE_Sign of the allowed shape")


def _entry(value: cbor.Value) -> SignatureEntry:
    match value:
        case (bytes() as protected, {**unprotected}, bytes() as signature) if (
            not unprotected and len(signature) == SIGNATURE_SIZE
        ):
            return SignatureEntry(kid=_kid(protected), signature=signature)
    raise _malformed("not a signature of the allowed shape")


def _kid(protected: bytes) -> bytes:
    if len(protected) != len(_PROTECTED_START) + KID_SIZE or not protected.startswith(_PROTECTED_START):
        raise _malformed("protected header is not {1: -8, 4: kid}")
    return protected[len(_PROTECTED_START) :]


def _protected(verify_key: bytes) -> bytes:
    return _PROTECTED_START + kid_of(verify_key)


@lru_cache(maxsize=64)  # one a kind of object
def _external_aad(domain: str) -> bytes:
    return (DOMAIN_PREFIX + domain).encode()


@lru_cache(maxsize=64)  # immutable, and public
def _verify_key(verify_key: bytes) -> VerifyKey:
    try:
        return VerifyKey(verify_key)
    except ValueError as error:
        raise LocalProtocolError("an Ed25519 public key is 32 bytes long") from error


def _malformed(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError(Code.MALFORMED, detail)


def _bad_signature(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError(Code.BAD_SIGNATURE, detail)
