"""Project Wycheproof's JSON: Ed25519, X25519, ChaCha20-Poly1305, HKDF and HMAC with SHA-256.

What runs is what the protocol runs on: libsodium through PyNaCl, as `cose.py` and `noise.py` call it, and the HKDF
of `noise.py`. Noise's HKDF has no `info`; where a vector has one, RFC 5869's expansion is done here over the same HMAC.
"""

from __future__ import annotations

import hmac
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import nacl.exceptions
from nacl import bindings
from nacl.signing import VerifyKey

from firmware_protocol.noise import SHA256
from firmware_protocol.vectors.tally import Tally, VectorFileError

if TYPE_CHECKING:
    from collections.abc import Callable

_NONCE_SIZE: Final = 12
_SHA256_NAME: Final = "sha256"
_HKDF_SIZE_MAX: Final = 255 * SHA256.size


def judge(document: dict[str, Any]) -> Tally:
    """Run every test of the document.

    Raises:
        VectorFileError: an algorithm that the protocol does not use.
    """
    algorithm = document["algorithm"]
    if algorithm not in _RUNNERS:
        raise VectorFileError(f"Wycheproof vectors of {algorithm}: the protocol does not use it")
    tally, acceptable = Tally(), Counter[tuple[str, bool]]()
    for group in document["testGroups"]:
        for test in group["tests"]:
            is_accepted, is_right = _RUNNERS[algorithm](group, test)
            name = f"tcId {test['tcId']} ({test['result']}): {test['comment']}"
            if test["result"] == "acceptable":
                acceptable[" ".join(test["flags"]), is_accepted] += 1
                tally.judge(name, is_right=not is_accepted or is_right)
            else:
                tally.judge(name, is_right=is_right and is_accepted == (test["result"] == "valid"))
    for (flags, is_accepted), count in sorted(acceptable.items()):
        tally.notes.append(f"acceptable, and {'accepted' if is_accepted else 'refused'}: {count} ({flags})")
    return tally


Verdict = tuple[bool, bool]
"""Whether it was accepted, and whether what came out is what the test says (true where nothing came out)."""


def _ed25519(group: dict[str, Any], test: dict[str, Any]) -> Verdict:
    key = VerifyKey(bytes.fromhex(group["publicKey"]["pk"]))
    message = bytes.fromhex(test["msg"])
    try:
        return True, key.verify(message, bytes.fromhex(test["sig"])) == message
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.ValueError):
        return False, True


def _x25519(_: dict[str, Any], test: dict[str, Any]) -> Verdict:
    try:
        shared = bindings.crypto_scalarmult(bytes.fromhex(test["private"]), bytes.fromhex(test["public"]))
    except nacl.exceptions.RuntimeError:
        return False, True
    return True, shared == bytes.fromhex(test["shared"])


def _chacha20_poly1305(_: dict[str, Any], test: dict[str, Any]) -> Verdict:
    key, nonce, aad, message = (bytes.fromhex(test[name]) for name in ("key", "iv", "aad", "msg"))
    sealed = bytes.fromhex(test["ct"] + test["tag"])
    if len(nonce) != _NONCE_SIZE:
        return False, True  # never reaches libsodium: `CipherState` makes the nonce from its counter
    try:
        opened = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(sealed, aad, nonce, key)
    except nacl.exceptions.CryptoError:
        return False, True
    again = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(message, aad, nonce, key)
    return True, opened == message and again == sealed


def _hkdf(_: dict[str, Any], test: dict[str, Any]) -> Verdict:
    if test["size"] > _HKDF_SIZE_MAX:
        return False, True  # RFC 5869 §2.3; `noise.py` asks for three blocks at most
    salt, material, info = (bytes.fromhex(test[name]) for name in ("salt", "ikm", "info"))
    count = -(-test["size"] // SHA256.size)
    blocks = _expanded(salt, material, info, count) if info else SHA256.hkdf(salt, material, count=count)
    return True, b"".join(blocks)[: test["size"]] == bytes.fromhex(test["okm"])


def _expanded(salt: bytes, material: bytes, info: bytes, count: int) -> list[bytes]:
    secret = hmac.digest(salt, material, _SHA256_NAME)
    blocks = [b""]
    for number in range(1, count + 1):
        blocks.append(hmac.digest(secret, blocks[-1] + info + bytes([number]), _SHA256_NAME))
    return blocks[1:]


def _hmac(group: dict[str, Any], test: dict[str, Any]) -> Verdict:
    made = hmac.digest(bytes.fromhex(test["key"]), bytes.fromhex(test["msg"]), _SHA256_NAME)
    return made[: group["tagSize"] // 8] == bytes.fromhex(test["tag"]), True


_RUNNERS: Final[dict[str, Callable[[dict[str, Any], dict[str, Any]], Verdict]]] = {
    "EDDSA": _ed25519,
    "XDH": _x25519,
    "CHACHA20-POLY1305": _chacha20_poly1305,
    "HKDF-SHA-256": _hkdf,
    "HMACSHA256": _hmac,
}
