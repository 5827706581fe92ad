"""Proofs that third parties check: an entry stands in a tree, and a tree begins with an earlier one (RFC 6962). Pure.

The form is the JSON of transparency-dev's merkle library (`leafIdx`, `treeSize`, …), hashes in base64; whoever has a
verifier of such proofs needs nothing of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from firmware_protocol.merkle import EMPTY_ROOT, node_hash
from gatewayd.journal.journal import JournalError
from gatewayd.journal.json_values import text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_protocol.merkle import Frontier


class ProvableTree:
    """The tree of a journal whose beginning may have been pruned: of that part only the frontier is known.

    A subtree that was pruned as a whole is one of the frontier's; so every entry that is left can be proved.
    """

    def __init__(self, before: Frontier, leaf_hashes: Sequence[bytes]) -> None:
        """`leaf_hashes` are those of the entries from `before.size` on, in order."""
        self._oldest = before.size
        self._leaf_hashes = leaf_hashes
        self._pruned = dict(zip(_perfect_parts(before.size), before.hashes, strict=True))

    @property
    def size(self) -> int:
        """Count of entries, pruned ones included."""
        return self._oldest + len(self._leaf_hashes)

    def root(self, size: int) -> bytes:
        """Return the root of the tree over the first `size` entries.

        Raises:
            JournalError: journal.beyond_end, or journal.pruned where what it takes is no longer here.
        """
        self._require(size)
        return self._hash_of(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int) -> dict[str, Any]:
        """Return the proof that entry `index` stands in the tree of `size`; raises as `root` does."""
        self._require(size)
        if not 0 <= index < size:
            raise JournalError("journal.beyond_end", f"entry {index}: a tree of {size} does not have it")
        if index < self._oldest:
            raise JournalError("journal.pruned", f"entry {index}: pruned, the oldest here is {self._oldest}")
        return {
            "leafIdx": index,
            "treeSize": size,
            "root": text_of(self.root(size)),
            "leafHash": text_of(self._hash_of(index, index + 1)),
            "proof": [text_of(each) for each in self._path(index, 0, size)],
        }

    def consistency(self, size1: int, size2: int) -> dict[str, Any]:
        """Return the proof that the tree of `size2` begins with the tree of `size1`; raises as `root` does."""
        self._require(size2)
        if not 0 <= size1 <= size2:
            raise JournalError("journal.beyond_end", f"a tree of {size1} is no beginning of one of {size2}")
        proof = [] if size1 in {0, size2} else self._subproof(size1, 0, size2, known=True)
        return {
            "size1": size1,
            "size2": size2,
            "root1": text_of(self.root(size1)),
            "root2": text_of(self.root(size2)),
            "proof": [text_of(each) for each in proof],
        }

    def _require(self, size: int) -> None:
        if not 0 <= size <= self.size:
            raise JournalError("journal.beyond_end", f"a tree of {size}: there are {self.size} entries")

    def _hash_of(self, start: int, end: int) -> bytes:
        """RFC 6962's MTH of the entries from `start` to before `end`."""
        pruned = self._pruned.get((start, end))
        if pruned is not None:
            return pruned
        if end - start == 1:
            if start < self._oldest:
                raise JournalError("journal.pruned", f"entry {start}: pruned, the oldest here is {self._oldest}")
            return self._leaf_hashes[start - self._oldest]
        middle = start + _split(end - start)
        return node_hash(self._hash_of(start, middle), self._hash_of(middle, end))

    def _path(self, index: int, start: int, end: int) -> list[bytes]:
        """RFC 6962's PATH, from the entry's sibling up."""
        if end - start == 1:
            return []
        middle = start + _split(end - start)
        if index < middle:
            return [*self._path(index, start, middle), self._hash_of(middle, end)]
        return [*self._path(index, middle, end), self._hash_of(start, middle)]

    def _subproof(self, size1: int, start: int, end: int, *, known: bool) -> list[bytes]:
        """RFC 6962's SUBPROOF; `known` while the reader's own root is that of the part's beginning."""
        if size1 == end:
            return [] if known else [self._hash_of(start, end)]
        middle = start + _split(end - start)
        if size1 <= middle:
            return [*self._subproof(size1, start, middle, known=known), self._hash_of(middle, end)]
        return [*self._subproof(size1, middle, end, known=False), self._hash_of(start, middle)]


def _split(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _perfect_parts(size: int) -> list[tuple[int, int]]:
    """Return the perfect subtrees of a tree, left to right, each as (first, end)."""
    parts, start = [], 0
    for bit in reversed(range(size.bit_length())):
        if size >> bit & 1:
            parts.append((start, start + (1 << bit)))
            start += 1 << bit
    return parts
