"""Checks a copy of the journal against itself and against keys. Pure; says exactly what is wrong, and where.

What it rests on: entries hash to the leaf hashes that the tree holds; the tree states the roots that this
gateway has signed; and within the entries every lock's own log is an unbroken chain up to the head that the
lock has signed. Whoever altered an entry would have to forge one of these signatures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from firmware_protocol import cose
from firmware_protocol.checkpoint import origin_of, verify_checkpoint, verify_cosignature
from firmware_protocol.errors import ProtocolError
from firmware_protocol.merkle import leaf_hash
from gatewayd.journal.events import LogErased
from gatewayd.journal.leaves import LeafError, read_leaf
from gatewayd.journal.lock_chains import LockChains
from gatewayd.journal.receipts import receipt_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayd.journal.copies import LeafCopy, LogCopy
    from gatewayd.journal.journal import SignedCheckpoint

PROBLEM_COUNT_MAX: Final = 200
"""More are only counted: a file of noise must not fill the screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Ed25519 public keys to check signatures with; what there is no key for is not checked."""

    gateway: bytes | None = None
    receipt: Sequence[bytes] = ()
    locks: Mapping[bytes, bytes] = field(default_factory=dict)
    """By lock id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was checked, and what is wrong."""

    problems: tuple[str, ...]
    """In the order found, each beginning with its place: "entry 17: …"."""
    problem_count: int
    entry_count: int
    size: int
    root: bytes
    checkpoint_count: int
    """Checkpoints whose root was computed again."""
    receipt_count: int
    """Receipts whose signature was checked."""
    lock_record_count: int
    erased_count: int = 0
    """Entries whose words were erased: their hashes stand in the tree, and what they said is not checked."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem_count == 0


def verify_log(copy: LogCopy, *, keys: Keys) -> Verification:
    """Check a copy of a journal, in one pass over its entries."""
    return _Checker(copy, keys).run()


class _Problems:
    """What is wrong, in the order found; bounded."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.count = 0

    def add(self, text: str) -> None:
        """Note one problem."""
        self.count += 1
        if self.count <= PROBLEM_COUNT_MAX:
            self.texts.append(text)


class _Checker:
    """One pass: entries feed the tree, the tree meets the checkpoints, lock records feed the chains."""

    def __init__(self, copy: LogCopy, keys: Keys) -> None:
        self._copy = copy
        self._keys = keys
        self._problems = _Problems()
        self._chains = LockChains(self._problems.add, keys.locks)
        self._frontier = copy.before
        self._by_size = {each.size: each for each in copy.checkpoints}
        self._gateway_id: bytes | None = None if keys.gateway is None else cose.id_of(keys.gateway)
        self._good_size = copy.before.size
        self._roots_agree = True
        self._accounted_count = 0
        self._counts = {"entries": 0, "erased": 0, "checkpoints": 0, "receipts": 0}

    def run(self) -> Verification:
        """Check everything."""
        for leaf in self._copy.leaves:
            if not self._take(leaf):
                break
        self._check_end()
        self._check_notes()
        return Verification(
            problems=tuple(self._problems.texts),
            problem_count=self._problems.count,
            entry_count=self._counts["entries"],
            size=self._frontier.size,
            root=self._frontier.root(),
            checkpoint_count=self._counts["checkpoints"],
            receipt_count=self._counts["receipts"],
            lock_record_count=self._chains.record_count,
            erased_count=self._counts["erased"],
        )

    def _take(self, copy: LeafCopy) -> bool:
        expected = self._frontier.size
        if copy.index != expected:
            gap = f"entry {expected}" if copy.index == expected + 1 else f"entries {expected} to {copy.index - 1}"
            self._problems.add(f"{gap}: missing" if copy.index > expected else f"entry {copy.index}: there twice")
            return False  # the tree cannot be computed past a hole
        hashed = leaf_hash(copy.leaf)
        is_erased = copy.leaf == b"" and copy.hashed is not None
        if copy.hashed not in {None, hashed} and not is_erased:
            self._problems.add(f"entry {expected}: its bytes do not have the hash that the tree holds for it")
        self._counts["entries"] += 1
        if is_erased:
            self._counts["erased"] += 1
            self._chains.pass_over()
        else:
            self._check_leaf(copy)
        # The stored hash goes on: an altered entry is named once, not again at every later checkpoint.
        self._frontier = self._frontier.append(copy.hashed or hashed)
        self._check_root(self._frontier.size)
        return True

    def _check_leaf(self, copy: LeafCopy) -> None:
        try:
            leaf = read_leaf(copy.leaf)
        except LeafError as error:
            self._problems.add(f"entry {copy.index}: {error.detail}")
            return
        if leaf.index != copy.index:
            self._problems.add(f"entry {copy.index}: calls itself entry {leaf.index}")
        if leaf.log_id != self._copy.log_id:
            self._problems.add(f"entry {copy.index}: of another log, {leaf.log_id.hex()}")
        self._gateway_id = self._gateway_id or leaf.gateway_id
        if leaf.gateway_id != self._gateway_id:
            self._problems.add(f"entry {copy.index}: of another gateway, {leaf.gateway_id.hex()}")
        if leaf.type == LogErased.TYPE:
            self._accounted_count += leaf.data["entry_count"]
        self._chains.take(copy.index, leaf)

    def _check_root(self, size: int) -> None:
        checkpoint = self._by_size.get(size)
        if checkpoint is None:
            return
        self._counts["checkpoints"] += 1
        if checkpoint.root == self._frontier.root():
            self._good_size = size
        elif self._roots_agree:
            self._roots_agree = False  # said once: every later root differs with it
            span = f"entries {self._good_size} to {size - 1}"
            self._problems.add(f"checkpoint {size}: signed over other entries; something in {span} was changed")

    def _check_end(self) -> None:
        erased_count = self._counts["erased"]
        if erased_count > self._accounted_count:
            unaccounted = f"{erased_count} entries are erased, {self._accounted_count} are accounted for"
            self._problems.add(f"log: {unaccounted}; somebody else has emptied the rest")
        size, copy = self._frontier.size, self._copy
        if size < copy.size and not self._problems.count:
            self._problems.add(f"entries {size} to {copy.size - 1}: missing at the end")
        if size > copy.size:
            self._problems.add(f"entries {copy.size} to {size - 1}: beyond the end that the log states")
        if size == copy.size and copy.root not in {None, self._frontier.root()}:
            self._problems.add(f"tree of {size}: the root that the log states is not that of its entries")

    def _check_notes(self) -> None:
        for checkpoint in self._copy.checkpoints:
            if checkpoint.size > self._copy.size:
                self._problems.add(f"checkpoint {checkpoint.size}: larger than the log, which has {self._copy.size}")
            self._check_note(checkpoint)
            self._check_receipt(checkpoint)

    def _check_note(self, checkpoint: SignedCheckpoint) -> None:
        if self._keys.gateway is None:
            return
        origin = origin_of(cose.id_of(self._keys.gateway).hex(), self._copy.log_id.hex())
        try:
            signed = verify_checkpoint(checkpoint.note, name=origin, public=self._keys.gateway)
        except ProtocolError as error:
            self._problems.add(f"checkpoint {checkpoint.size}: not signed by this gateway's key ({error})")
            return
        if (signed.size, signed.root) != (checkpoint.size, checkpoint.root):
            self._problems.add(
                f"checkpoint {checkpoint.size}: its signature covers size {signed.size}, or another root"
            )

    def _check_receipt(self, checkpoint: SignedCheckpoint) -> None:
        if checkpoint.receipt is None or not self._keys.receipt:
            return
        self._counts["receipts"] += 1
        for public in self._keys.receipt:
            try:
                seen = verify_cosignature(checkpoint.receipt, name=receipt_name(public), public=public).checkpoint
            except ProtocolError:
                continue
            if (seen.size, seen.root) != (checkpoint.size, checkpoint.root):
                self._problems.add(f"receipt {checkpoint.size}: over another checkpoint, of size {seen.size}")
            return
        self._problems.add(f"receipt {checkpoint.size}: not signed by a key of the central log")
