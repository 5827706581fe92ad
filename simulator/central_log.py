"""The central log: takes journals in, checks that nothing is missing, and signs for what it holds.

Entries count for nothing until a checkpoint that their gateway signed covers them: the broker that carries them
is not trusted. Before that they wait in memory, and whatever is lost with it is asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from firmware_protocol.checkpoint import Checkpoint, cosign, origin_of, parse_note, verify_checkpoint
from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.signed import sign
from firmware_protocol.statements import CHECKPOINT_SIZE_MAX, Conflict
from simulator.central_erased import TOLD, entry_of
from simulator.central_locks import LockBooks
from simulator.central_store import AlarmRow, HeldLog
from simulator.journal_leaf import Leaf, read_leaf
from simulator.sealed_entries import open_entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nacl.public import PrivateKey
    from nacl.signing import SigningKey

    from firmware_protocol.merkle import Frontier
    from simulator.central_erased import Entry
    from simulator.central_store import CentralStore

PENDING_COUNT_MAX: Final = 10_000
"""Entries of one log that may wait for a checkpoint; what comes beyond is asked for again later."""
CONFLICT_INTERVAL_MS: Final = 1_000
"""The same question is not asked more often: the answer to the first may be on its way."""


GRACE_S: Final = 600
"""How much later than promised a checkpoint may come, beside a quarter of the interval, in which a gateway looks."""
LIFE_SIGNS: Final = frozenset({"carelock.gateway.started", "carelock.gateway.heartbeat"})
"""What says within how long there will be more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Whose signatures count, from Door objects that the status role signed."""

    gateway_keys: Mapping[bytes, bytes]
    """Gateway id to its Ed25519 key."""
    lock_log_keys: Mapping[bytes, bytes]
    """Lock id to the Ed25519 key that signs its LogHeads."""
    decommissions: frozenset[tuple[bytes, int]] = frozenset()
    """Lock id and owner epoch of every DecommissionOrder: each explains one new log of its lock."""
    receipt_keys: tuple[bytes, ...] = ()
    """Ed25519 keys of the receipt role, beside the one that this log signs with: of receipts that it has given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """One reading of the central log's clocks."""

    utc_s: int
    monotonic_ms: int


@dataclass(slots=True, kw_only=True)
class _Journal:
    """One log: what is verified, and what waits for a checkpoint."""

    held: HeldLog
    pending: list[Entry] = field(default_factory=list)
    frontiers: list[Frontier] = field(default_factory=list)
    """After each pending entry."""
    asked_size: int | None = None
    asked_ms: int = 0

    @property
    def size(self) -> int:
        """How many entries are there, from index 0 without a gap."""
        return self.held.frontier.size + len(self.pending)

    def append(self, entry: Entry) -> None:
        before = self.frontiers[-1] if self.frontiers else self.held.frontier
        self.pending.append(entry)
        self.frontiers.append(before.append(entry.hashed))

    def forget_pending(self) -> None:
        self.pending.clear()
        self.frontiers.clear()


class CentralLog:
    """Takes messages and returns what to publish on the gateway's `log/receipt`, if anything."""

    def __init__(
        self,
        *,
        store: CentralStore,
        directory: Directory,
        receipt_key: SigningKey,
        unsealing_key: PrivateKey | None = None,
    ) -> None:
        self._unsealing_key = unsealing_key
        self._store = store
        self._directory = directory
        self._key = receipt_key
        self._receipt_keys = {bytes(receipt_key.verify_key), *directory.receipt_keys}
        self._name = f"carelock/receipt/{kid_of(bytes(receipt_key.verify_key)).hex()}"
        self._locks = LockBooks(store, directory.lock_log_keys, directory.decommissions)
        self._journals: dict[tuple[bytes, bytes], _Journal] = {}

    def greetings(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return, for each log that is held, its gateway and how far it is held: said after each connect."""
        return tuple((held.gateway_id, self._conflict(_Journal(held=held))) for held in self._store.logs())

    def take_entry(self, gateway_id: bytes, payload: bytes, now: Now) -> bytes | None:
        """Take an entry in; the answer, if any, is a Conflict that says which one is missing."""
        with self._store.transaction():
            try:
                leaf = read_leaf(open_entry(payload, self._unsealing_key))
            except RemoteProtocolError as error:
                self._alarm(gateway_id, "entry.unreadable", "journal", error.detail)
                return None
            public = self._directory.gateway_keys.get(gateway_id)
            if leaf.gateway_id != gateway_id or public is None:
                self._alarm(gateway_id, "entry.misplaced", "journal", "an entry of another gateway")
                return None
            try:
                entry = entry_of(leaf, public=public, receipt_keys=self._receipt_keys)
            except RemoteProtocolError as error:
                self._alarm(gateway_id, "entry.withheld", leaf.log_id.hex(), f"entry {leaf.index}: {error.detail}")
                return None
            return self._place(leaf, entry, now)

    def take_checkpoint(self, gateway_id: bytes, note: bytes, now: Now) -> bytes | None:
        """Check a checkpoint; the answer is a receipt, a Conflict, or nothing."""
        with self._store.transaction():
            try:
                checkpoint, log_id = self._verified(gateway_id, note)
            except RemoteProtocolError as error:
                self._alarm(gateway_id, "checkpoint.unverified", "journal", error.detail)
                return None
            return self._judge(self._journal(gateway_id, log_id), checkpoint, note, now)

    def check_silence(self, now: Now) -> None:
        """Raise an alarm for every gateway that has not been heard of for longer than it promised."""
        with self._store.transaction():
            for gateway_id, heard_s, within_s in self._store.heard():
                silent_s = now.utc_s - heard_s
                if silent_s > within_s + within_s // 4 + GRACE_S:
                    detail = f"no checkpoint for {silent_s} s; one was promised every {within_s} s"
                    self._alarm(gateway_id, "gateway.silent", f"since {heard_s}", detail)

    def _verified(self, gateway_id: bytes, note: bytes) -> tuple[Checkpoint, bytes]:
        # The origin picks the log; the signature over it, by this gateway's key and under this name, decides.
        origin = Checkpoint.parse(parse_note(note).text).origin
        log_id = _log_id_of(origin, gateway_id)
        public = self._directory.gateway_keys.get(gateway_id)
        if log_id is None or public is None:
            raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "a checkpoint of another gateway")
        return verify_checkpoint(note, name=origin, public=public), log_id

    def _place(self, leaf: Leaf, entry: Entry, now: Now) -> bytes | None:
        journal = self._journal(leaf.gateway_id, leaf.log_id)
        if leaf.index > journal.size:
            self._store.count("entries.jumped")
            return self._ask(journal, now)
        if leaf.index < journal.size:
            self._compare(journal, leaf, entry)
        elif len(journal.pending) < PENDING_COUNT_MAX:
            journal.append(entry)
        return None

    def _compare(self, journal: _Journal, leaf: Leaf, entry: Entry) -> None:
        verified = journal.held.frontier.size
        if leaf.index < verified:
            known = self._store.leaf_hash(leaf.gateway_id, leaf.log_id, leaf.index)
        else:
            known = journal.pending[leaf.index - verified].hashed
        if known == entry.hashed:  # also of one whose words were erased here: they do not come back
            self._store.count("entries.repeated")
        else:
            self._alarm(leaf.gateway_id, "entry.contradicted", leaf.log_id.hex(), f"two entries {leaf.index}")

    def _judge(self, journal: _Journal, checkpoint: Checkpoint, note: bytes, now: Now) -> bytes | None:
        verified, subject = journal.held.frontier, journal.held.log_id.hex()
        gateway_id = journal.held.gateway_id
        if checkpoint.size > journal.size:
            self._store.count("checkpoints.ahead")
            return self._ask(journal, now)
        if checkpoint.size < verified.size:
            detail = f"size {checkpoint.size} after {verified.size}: truncated, or a card put back"
            self._alarm(gateway_id, "log.shrunk", subject, detail)
            return self._conflict(journal)
        new_count = checkpoint.size - verified.size
        frontier = journal.frontiers[new_count - 1] if new_count else verified
        forked_size = self._forked_size(journal, new_count)
        if checkpoint.root != frontier.root() or forked_size is not None:
            code = "log.inconsistent" if new_count and forked_size is None else "log.forked"
            size = checkpoint.size if forked_size is None else forked_size
            self._alarm(gateway_id, code, subject, f"another root at size {size}")
            # Somebody may have slipped entries in on the way: what no checkpoint covers is asked for again.
            journal.forget_pending()
            return self._conflict(journal)
        return self._accept(journal, note, frontier, new_count, now)

    def _forked_size(self, journal: _Journal, new_count: int) -> int | None:
        """Return at which size the next entries make another tree than a receipt of ours that the gateway has shown.

        Attack: a second history, told under the receipts of the first.
        """
        held = journal.held
        end = held.frontier.size + new_count
        shown = [entry.proof.receipt for entry in journal.pending[:new_count] if entry.proof is not None]
        for note in {*shown, *self._store.notes(held, from_size=held.frontier.size + 1, to_size=end)}:
            stated = Checkpoint.parse(parse_note(note).text)
            if stated.size <= end and stated.root != journal.frontiers[stated.size - held.frontier.size - 1].root():
                return stated.size
        return None

    def _accept(self, journal: _Journal, note: bytes, frontier: Frontier, new_count: int, now: Now) -> bytes | None:
        try:
            receipt = cosign(note, key=self._key, name=self._name, time_s=now.utc_s)
        except RemoteProtocolError as error:
            self._alarm(journal.held.gateway_id, "checkpoint.unverified", "journal", error.detail)
            return None
        self._note_replacement(journal)
        entries = journal.pending[:new_count]
        journal.held = replace(journal.held, frontier=frontier, note=note)
        del journal.pending[:new_count], journal.frontiers[:new_count]
        self._store.extend(journal.held, entries)
        within_s = self._read(journal.held, entries)
        if entries:  # a checkpoint of before, which anybody may replay, is no sign of life
            self._store.note_heard(journal.held.gateway_id, now.utc_s, within_s)
        self._store.add_receipt(journal.held, receipt)
        return receipt

    def _read(self, held: HeldLog, entries: Sequence[Entry]) -> int | None:
        """Read what entries say that have just been stored; return within how many seconds more was promised."""
        within_s = None
        for entry in entries:
            if not entry.leaf:
                self._locks.pass_over(held)
                continue
            leaf = read_leaf(entry.leaf)
            self._locks.take(leaf)
            promised = leaf.data.get("supervision_s") if leaf.type in LIFE_SIGNS else None
            within_s = promised if isinstance(promised, int) else within_s
            told = leaf.data.get("entry_count") if leaf.type == TOLD else None
            if isinstance(told, int):
                self._store.note_told_erased(held, told)
        owing = self._store.unaccounted_count(held)
        if entries and owing > 0:
            detail = f"{owing} entries came as hashes, and no entry says that they were erased"
            self._alarm(held.gateway_id, "entry.withheld", held.log_id.hex(), detail)
        return within_s

    def _note_replacement(self, journal: _Journal) -> None:
        others = [held for held in self._store.logs(journal.held.gateway_id) if held.log_id != journal.held.log_id]
        if journal.held.note is None and others:
            detail = f"after {others[-1].log_id.hex()} of size {others[-1].frontier.size}"
            self._alarm(journal.held.gateway_id, "log.replaced", journal.held.log_id.hex(), detail)

    def _ask(self, journal: _Journal, now: Now) -> bytes | None:
        """Ask for what is missing, unless the same was asked just now."""
        is_repeated = journal.asked_size == journal.size
        if is_repeated and now.monotonic_ms - journal.asked_ms < CONFLICT_INTERVAL_MS:
            return None
        journal.asked_size, journal.asked_ms = journal.size, now.monotonic_ms
        return self._conflict(journal)

    def _conflict(self, journal: _Journal) -> bytes:
        note = journal.held.note
        self._store.count("conflicts.sent")
        conflict = Conflict(
            gateway_id=journal.held.gateway_id,
            log_id=journal.held.log_id,
            size=journal.size,
            checkpoint=note if note is not None and len(note) <= CHECKPOINT_SIZE_MAX else None,
        )
        return sign(conflict, self._key)

    def _journal(self, gateway_id: bytes, log_id: bytes) -> _Journal:
        key = (gateway_id, log_id)
        if key not in self._journals:
            self._journals[key] = _Journal(held=self._store.log(gateway_id, log_id))
        return self._journals[key]

    def _alarm(self, gateway_id: bytes, code: str, subject: str, detail: str) -> None:
        self._store.raise_alarm(AlarmRow(gateway_id=gateway_id, code=code, subject=subject, detail=detail))


def _log_id_of(origin: str, gateway_id: bytes) -> bytes | None:
    log_id_text = origin.rpartition("/")[2]
    try:
        log_id = bytes.fromhex(log_id_text)
    except ValueError:
        return None
    return log_id if origin == origin_of(gateway_id.hex(), log_id.hex()) else None
