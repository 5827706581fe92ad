"""Follows the locks' own logs through the entries that copied them. Pure."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from firmware_protocol import cose
from firmware_protocol.errors import ProtocolError, RemoteProtocolError
from firmware_protocol.lock_log import LogRecord, chain, genesis
from firmware_protocol.statements import LogHead
from gatewayd.journal.events import LockHeadSigned, LockRecorded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewayd.journal.leaves import Leaf


@dataclass(slots=True)
class _Chain:
    """How far one log of one lock has been followed."""

    seq: int
    head: bytes | None
    """The chain's hash up to `seq`; None where the beginning was pruned and no entry names it."""


class LockChains:
    """Each log of each lock must come record after record, and meet the heads that the lock has signed."""

    def __init__(self, complain: Callable[[str], None], keys: Mapping[bytes, bytes]) -> None:
        self._complain = complain
        self._keys = keys
        self._chains: dict[tuple[bytes | None, str], _Chain] = {}
        self.record_count = 0

    def take(self, index: int, leaf: Leaf) -> None:
        """Take the entry `index`; one that is not about a lock's log changes nothing."""
        place = f"entry {index}"
        if leaf.type == LockRecorded.TYPE:
            self.record_count += 1
            self._take_record(place, leaf.lock_id, leaf.data)
        elif leaf.type == LockHeadSigned.TYPE:
            self._take_head(place, leaf.lock_id, base64.b64decode(leaf.data["head"]))

    def pass_over(self) -> None:
        """Pass an entry whose words were erased: it may have held a record of any lock, so each is followed anew."""
        self._chains.clear()

    def _take_record(self, place: str, lock_id: bytes | None, data: dict[str, Any]) -> None:
        raw, log_id, seq = base64.b64decode(data["record"]), data["log_id"], data["seq"]
        if problem := _copied_wrong(raw, data):
            self._complain(f"{place}: {problem}")
            return
        previous = None if data.get("previous") is None else bytes.fromhex(data["previous"])
        held = self._chains.get((lock_id, log_id))
        start = genesis(bytes.fromhex(log_id)) if seq == 1 else previous
        if held is None:
            held = _Chain(seq - 1, start)
        if seq != held.seq + 1:
            self._complain(f"{place}: the lock's record {seq} after {held.seq}")
        elif previous is not None and held.head not in {None, previous}:
            self._complain(f"{place}: the lock's record {seq} continues another history than record {held.seq}")
        base = previous if seq != held.seq + 1 or held.head is None else held.head
        self._chains[lock_id, log_id] = _Chain(seq, None if base is None else chain(base, raw))

    def _take_head(self, place: str, lock_id: bytes | None, data: bytes) -> None:
        try:
            head = self._read_head(lock_id, data)
        except ProtocolError as error:
            self._complain(f"{place}: no head signed by the lock ({error})")
            return
        if head.lock_id != lock_id:
            self._complain(f"{place}: the head of another lock, {head.lock_id.hex()}")
            return
        held = self._chains.get((lock_id, head.log_id.hex()))
        if held is None or held.seq != head.to_seq:
            return
        if held.head not in {None, head.head}:
            self._complain(f"{place}: the lock signed another history up to record {head.to_seq} than was copied")
        held.head = head.head  # from here on the chain rests on the lock's word, also where its beginning was pruned

    def _read_head(self, lock_id: bytes | None, data: bytes) -> LogHead:
        envelope = cose.parse(data, size_max=LogHead.SIZE_MAX)
        key = self._keys.get(lock_id or b"")
        payload = envelope.payload if key is None else envelope.verify(key, domain=LogHead.DOMAIN)
        return LogHead.from_bytes(payload)


def _copied_wrong(raw: bytes, data: dict[str, Any]) -> str | None:
    """Compare what the entry says of a record with the record itself."""
    try:
        record = LogRecord.from_bytes(raw)
    except RemoteProtocolError as error:
        return f"no record of a lock ({error})"
    told = (data["seq"], data["kind"].upper(), data["boot"], data["up_s"])
    who = (data.get("actor"), data.get("command_id"), data.get("result"))
    if told != (record.seq, record.type.name, record.boot, record.up_s) or who != (
        _hex(record.actor),
        _hex(record.cmd_id),
        record.result,
    ):
        return "says something else than the lock's record in it"
    return None


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()
