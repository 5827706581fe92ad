"""The RFC 6962 tree over SHA-256: roots, compact frontier, inclusion and consistency proofs.

Everything here works on leaf *hashes* (32 bytes, see `leaf_hash`): a pruned or erased entry stays
provable by its hash. The verifiers follow RFC 9162 §2.1.3.2 and §2.1.4.2, which state for the same tree
what RFC 6962 leaves to the reader.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, ClassVar, Final, Self

from firmware_protocol.codes import Code
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.vocabulary import HASH_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

TREE_SIZE_MAX: Final = 2**63 - 1
"""Largest number of leaves; what a checkpoint can state (C2SP tlog-checkpoint, our bound)."""
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""Root of the tree without leaves, RFC 6962 §2.1."""

_PROOF_COUNT_MAX: Final = 2 * TREE_SIZE_MAX.bit_length()
"""No proof has more hashes; a longer one is refused before any hashing."""
_SIZE_SIZE: Final = 8


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of one entry; the prefix keeps an inner node from passing as an entry."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """A tree without its leaves: enough to append and to state the root, in O(log size) memory."""

    EMPTY: ClassVar[Frontier]

    size: int
    """Count of leaves."""
    hashes: tuple[bytes, ...]
    """Roots of the perfect subtrees, left (largest) to right, one per set bit of `size`."""

    def __post_init__(self) -> None:
        """Refuse a frontier that is none.

        Raises:
            LocalProtocolError: size out of range, or not one hash per set bit.
        """
        if not 0 <= self.size <= TREE_SIZE_MAX or len(self.hashes) != self.size.bit_count():
            raise LocalProtocolError("a frontier has one hash per set bit of its size")

    @classmethod
    def empty(cls) -> Frontier:
        """Return the frontier of the tree without leaves."""
        return cls.EMPTY

    def append(self, leaf: bytes) -> Frontier:
        """Return the frontier with one more leaf hash at the end."""
        kept, joined, size = list(self.hashes), leaf, self.size
        while size & 1:
            joined = node_hash(kept.pop(), joined)
            size >>= 1
        return Frontier(size=self.size + 1, hashes=(*kept, joined))

    def root(self) -> bytes:
        """Return the root of the tree."""
        if not self.hashes:
            return EMPTY_ROOT
        return reduce(lambda right, left: node_hash(left, right), reversed(self.hashes))

    def to_bytes(self) -> bytes:
        """Return u64 big-endian size, then the hashes left to right."""
        return self.size.to_bytes(_SIZE_SIZE, "big") + b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            RemoteProtocolError: MALFORMED, when the length does not fit the size.
        """
        size = int.from_bytes(data[:_SIZE_SIZE], "big")
        if size > TREE_SIZE_MAX or len(data) != _SIZE_SIZE + size.bit_count() * HASH_SIZE:
            raise RemoteProtocolError(Code.MALFORMED, "frontier whose length does not fit its size")
        starts = range(_SIZE_SIZE, len(data), HASH_SIZE)
        return cls(size=size, hashes=tuple(data[start : start + HASH_SIZE] for start in starts))


Frontier.EMPTY = Frontier(size=0, hashes=())


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over all leaf hashes, in O(count)."""
    if not leaf_hashes:
        return EMPTY_ROOT
    level = list(leaf_hashes)
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the audit path of one leaf, from its sibling up (RFC 6962 §2.1.1).

    Raises:
        LocalProtocolError: there is no such leaf.
    """
    if not 0 <= index < len(leaf_hashes):
        raise LocalProtocolError(f"no leaf {index} in a tree of {len(leaf_hashes)}")
    proof, level = [], list(leaf_hashes)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        level, index = _level_above(level), index >> 1
    return tuple(proof)


def consistency_proof(leaf_hashes: Sequence[bytes], size1: int) -> tuple[bytes, ...]:
    """Return the proof that the tree over `leaf_hashes` begins with its own first `size1` leaves (RFC 6962 §2.1.2).

    It is empty for `size1` 0 (nothing to prove) and for the whole size.

    Raises:
        LocalProtocolError: `size1` is negative or beyond the tree.
    """
    if not 0 <= size1 <= len(leaf_hashes):
        raise LocalProtocolError(f"no tree of {size1} in a tree of {len(leaf_hashes)}")
    if size1 in {0, len(leaf_hashes)}:
        return ()
    return _subproof(leaf_hashes, size1, known=True)


def verify_inclusion(*, index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether `proof` shows that `leaf` (a leaf hash) is number `index` of the tree of `size` with `root`.

    Any input is answered, in at most 126 hashes.
    """
    if not 0 <= index < size <= TREE_SIZE_MAX or not _are_hashes([leaf, root], proof):
        return False
    node, last, joined = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            joined = node_hash(sibling, joined)
            node, last = _past_lonely_levels(node, last)
        else:
            joined = node_hash(joined, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and joined == root


def verify_consistency(*, size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether `proof` shows that the tree of `size2` with `root2` begins with the one of `size1` with `root1`.

    The empty tree, of which RFC 9162 says nothing, is the beginning of every tree: then the proof is
    empty and `root1` the empty tree's. Any input is answered, in at most 252 hashes.
    """
    if not 0 <= size1 <= size2 <= TREE_SIZE_MAX or not _are_hashes([root1, root2], proof):
        return False
    if size1 == 0 and root1 != EMPTY_ROOT:
        return False
    if size1 == size2:
        return not proof and root1 == root2
    if size1 == 0:
        return not proof
    return bool(proof) and _roots_meet(size1, size2, root1, root2, proof)


def _roots_meet(size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> bool:
    """Climb from the last node that both trees share, for 0 < size1 < size2 (RFC 9162 §2.1.4.2)."""
    is_perfect = size1.bit_count() == 1
    path = [root1, *proof] if is_perfect else list(proof)  # a perfect old tree is itself the shared node
    node, last = size1 - 1, size2 - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    joined1 = joined2 = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            joined1, joined2 = node_hash(sibling, joined1), node_hash(sibling, joined2)
            node, last = _past_lonely_levels(node, last)
        else:
            joined2 = node_hash(joined2, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and (joined1, joined2) == (root1, root2)


def _past_lonely_levels(node: int, last: int) -> tuple[int, int]:
    """Skip the levels at which the rightmost node has no sibling and rises unhashed."""
    while node and not node & 1:
        node, last = node >> 1, last >> 1
    return node, last


def _level_above(level: Sequence[bytes]) -> list[bytes]:
    above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return [*above, level[-1]] if len(level) % 2 else above


def _subproof(leaf_hashes: Sequence[bytes], size1: int, *, known: bool) -> tuple[bytes, ...]:
    """RFC 6962's SUBPROOF; `known` while the reader's own root is the one of this subtree's beginning."""
    count = len(leaf_hashes)
    if size1 == count:
        return () if known else (root_of(leaf_hashes),)
    split = 1 << (count - 1).bit_length() - 1
    left, right = leaf_hashes[:split], leaf_hashes[split:]
    if size1 <= split:
        return (*_subproof(left, size1, known=known), root_of(right))
    return (*_subproof(right, size1 - split, known=False), root_of(left))


def _are_hashes(hashes: Sequence[bytes], proof: Sequence[bytes]) -> bool:
    return len(proof) <= _PROOF_COUNT_MAX and all(len(each) == HASH_SIZE for each in (*hashes, *proof))
