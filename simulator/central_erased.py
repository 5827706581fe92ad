"""Entries that come as hashes, because their words were erased: how a central log that lost its disk gets a whole tree.

A hash is taken only where this log has had the words: the gateway shows a receipt, by a key that the Keyset named for
receipts, over a tree that holds the entry. Whether the entries make that very tree shows when all are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.checkpoint import origin_of, verify_checkpoint, verify_cosignature
from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.erased import ERASED_TYPE, ErasedEntry
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.merkle import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulator.journal_leaf import Leaf

TOLD: Final = "carelock.log.erased"
"""The entry in which a gateway says how many it has erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That the words of an entry were received once."""

    receipt: bytes
    size: int
    """Of the tree that it covers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry as it came."""

    leaf: bytes
    """Empty where only its hash came."""
    hashed: bytes
    proof: Proof | None = None
    """Why the hash is enough; None beside words."""
    accounted_size: int = 0
    """Within so many entries the gateway says that it erased this one."""


def entry_of(leaf: Leaf, *, public: bytes, receipt_keys: Iterable[bytes]) -> Entry:
    """Return what the tree is to have for `leaf`. `public`: the gateway's Ed25519 key.

    Raises:
        RemoteProtocolError: a hash in the place of words that no receipt of ours covers, or not signed by the gateway.
    """
    if leaf.type != ERASED_TYPE:
        return Entry(leaf=leaf.raw, hashed=leaf_hash(leaf.raw))
    origin = origin_of(leaf.gateway_id.hex(), leaf.log_id.hex())
    note, receipt = _text(leaf, "note"), _text(leaf, "receipt")
    erased = ErasedEntry.verify(note, origin=origin, public=public)
    covered = verify_checkpoint(receipt, name=origin, public=public)
    if erased.index != leaf.index or leaf.index >= covered.size:
        raise RemoteProtocolError(Code.MALFORMED, f"a hash for entry {leaf.index} that its receipt does not cover")
    _require_ours(receipt, receipt_keys)
    return Entry(
        leaf=b"",
        hashed=erased.leaf_hash,
        proof=Proof(receipt=receipt, size=covered.size),
        accounted_size=erased.accounted_size,
    )


def _require_ours(receipt: bytes, receipt_keys: Iterable[bytes]) -> None:
    for public in receipt_keys:
        try:
            verify_cosignature(receipt, name=f"carelock/receipt/{kid_of(public).hex()}", public=public)
        except RemoteProtocolError:
            continue
        return
    raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "a hash with a receipt that this log never gave")


def _text(leaf: Leaf, name: str) -> bytes:
    value = leaf.data.get(name)
    if not isinstance(value, str):
        raise RemoteProtocolError(Code.MALFORMED, f"no {name}")
    return value.encode("utf-8", "surrogatepass")
