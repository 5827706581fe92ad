"""The envelopes of docs/protocol.md §3, written from the document, over the package `cryptography`."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.oracle import cbor


class RefusedError(Exception):
    """An object that is not what it should be; its text is the code of §15."""


def public_of(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def kid(public: bytes) -> bytes:
    return hashlib.sha256(public).digest()[:8]


def sign1(payload: dict[int, Any], seed: bytes, domain: str) -> bytes:
    protected = cbor.encode({1: -8, 4: kid(public_of(seed))})
    body = cbor.encode(payload)
    covered = cbor.encode(["Signature1", protected, f"carelock/1/{domain}".encode(), body])
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(covered)
    return cbor.encode(cbor.Tagged(18, [protected, {}, body, signature]))


def open1(data: bytes, public: bytes, domain: str, *, size_max: int = 1024) -> Any:
    """Return the payload's bytes of an object by this one signer."""
    return payload_of(data, [public], domain, threshold=1, size_max=size_max, several=False)


def payload_of(data: bytes, keys: list[bytes], domain: str, *, threshold: int, size_max: int, several: bool) -> bytes:
    """Return the payload that at least `threshold` of `keys` signed."""
    if len(data) > size_max:
        raise RefusedError("TOO_LARGE")
    body_protected, payload, entries = _parts(data)
    known = {kid(key): key for key in keys}
    if several is not (body_protected is not None):
        raise RefusedError("BAD_SIGNATURE")
    signed = set()
    for protected, signature in entries:
        key = known.get(protected[5:])
        if key is None:
            continue
        context = ["Signature1"] if body_protected is None else ["Signature", body_protected]
        covered = cbor.encode([*context, protected, f"carelock/1/{domain}".encode(), payload])
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, covered)
        except InvalidSignature:
            raise RefusedError("BAD_SIGNATURE") from None
        signed.add(key)
    if len(signed) < threshold:
        raise RefusedError("BAD_SIGNATURE")
    return payload


def _parts(data: bytes) -> tuple[bytes | None, bytes, list[tuple[bytes, bytes]]]:
    try:
        value = cbor.decode(data)
    except (cbor.NotCborError, UnicodeDecodeError):
        raise RefusedError("MALFORMED") from None
    match value:
        case cbor.Tagged(18, [bytes() as protected, {**other}, bytes() as payload, bytes() as signature]) if not other:
            return None, payload, [_entry(protected, signature)]
        case cbor.Tagged(98, [b"", {**other}, bytes() as payload, list() as listed]) if (
            not other and 1 <= len(listed) <= 8
        ):
            return b"", payload, [_listed(each) for each in listed]
    raise RefusedError("MALFORMED")


def _listed(value: Any) -> tuple[bytes, bytes]:
    match value:
        case [bytes() as protected, {**other}, bytes() as signature] if not other:
            return _entry(protected, signature)
    raise RefusedError("MALFORMED")


def _entry(protected: bytes, signature: bytes) -> tuple[bytes, bytes]:
    if len(protected) != 13 or protected[:5] != bytes.fromhex("a201270448") or len(signature) != 64:
        raise RefusedError("MALFORMED")
    return protected, signature
