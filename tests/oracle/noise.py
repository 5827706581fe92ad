"""Noise by the package `noiseprotocol`, with the keys that a test gives."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it knows more curves than it should ask cryptography for
    from noise.connection import Keypair, NoiseConnection  # type: ignore[import-untyped]  # ships no types

if TYPE_CHECKING:
    from typing import Any


def public_of(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def handshake(
    pattern: str,
    *,
    initiator: bool,
    prologue: bytes,
    e: bytes,
    s: bytes | None = None,
    rs: bytes | None = None,
    psk: bytes | None = None,
) -> Any:
    """Begin `Noise_<pattern>_25519_ChaChaPoly_SHA256` with private keys `s` and `e` and the other's public `rs`."""
    noise = NoiseConnection.from_name(f"Noise_{pattern}_25519_ChaChaPoly_SHA256".encode())
    noise.set_as_initiator() if initiator else noise.set_as_responder()
    noise.set_prologue(prologue)
    noise.set_keypair_from_private_bytes(Keypair.EPHEMERAL, e)
    if s is not None:
        noise.set_keypair_from_private_bytes(Keypair.STATIC, s)
    if rs is not None:
        noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, rs)
    if psk is not None:
        noise.set_psks(psk)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an ephemeral key is given is what makes the bytes comparable
        noise.start_handshake()
    return noise
