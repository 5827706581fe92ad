"""One signed object: sign it; verify it first and read it second (docs/protocol.md §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar

from firmware_protocol import cose
from firmware_protocol.constants import OBJECT_SIZE_MAX
from firmware_protocol.errors import LocalProtocolError
from firmware_protocol.schema import WireMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nacl.signing import SigningKey


class SignedMap(WireMap):
    """Base of every signed object."""

    __slots__ = ()
    SIZE_MAX = OBJECT_SIZE_MAX
    DOMAIN: ClassVar[str]
    """The last part of its `external_aad`: an object presented as another never verifies."""


S = TypeVar("S", bound=SignedMap)


def sign(token: SignedMap, key: SigningKey) -> bytes:
    """Return the signed object: COSE_Sign1 over the payload, under the object's own domain.

    Raises:
        LocalProtocolError: nobody could read it: a field is out of bounds, or it is too large.
    """
    return _within_size(token, cose.sign1(token.to_bytes(), key=key, domain=token.DOMAIN))


def sign_many(token: SignedMap, keys: Sequence[SigningKey]) -> bytes:
    """Return the object signed by several keys (COSE_Sign), for roles with a threshold.

    Raises:
        LocalProtocolError: as `sign`, or no key, or more than 8.
    """
    return _within_size(token, cose.sign_many(token.to_bytes(), keys=keys, domain=token.DOMAIN))


def open_signed(kind: type[S], data: bytes, verify_key: bytes) -> S:
    """Return the object in `data`, which `verify_key` must have signed.

    Raises:
        RemoteProtocolError: too large, not an envelope, another domain or signer, or not this object.
    """
    envelope = cose.parse(data, size_max=kind.SIZE_MAX)
    return kind.from_bytes(envelope.verify(verify_key, domain=kind.DOMAIN))


def _within_size(token: SignedMap, data: bytes) -> bytes:
    if len(data) > token.SIZE_MAX:
        raise LocalProtocolError(f"a signed {token.DOMAIN} of {len(data)} bytes, {token.SIZE_MAX} allowed")
    return data
