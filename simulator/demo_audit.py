"""The last look: what the central log holds, against what the lock knows and what was sent."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.checkpoint import Checkpoint, parse_note
from firmware_protocol.codes import Code
from firmware_protocol.lock_log import LogRecord, RecordType, chain, genesis
from firmware_protocol.merkle import leaf_hash, root_of
from simulator.demo_promises import Promise
from simulator.journal_leaf import read_leaf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.central_store import AlarmRow, CentralStore, HeldLog, LockRecordRow
    from simulator.demo_stage import Stage
    from simulator.journal_leaf import Leaf

DECIDED: Final = "carelock.command.decided"
OUTCOME: Final = "carelock.command.outcome"
DENIED: Final = "carelock.command.denied"
RECORDED: Final = "carelock.lock.recorded"
_OUTAGE_KINDS: Final = (RecordType.DOOR_OPENED, RecordType.DOOR_CLOSED)
"""Only the outage has them: nobody opened the door leaf at any other time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """Everything that the central log holds of this gateway."""

    log: HeldLog
    leaves: tuple[Leaf, ...]
    last_record: LockRecordRow | None
    signed_seq: int
    """Up to which record the lock itself has signed its chain."""
    alarms: tuple[AlarmRow, ...]
    receipt_count: int

    def of(self, kind: str) -> list[Leaf]:
        """Return the leaves of one type, in order."""
        return [leaf for leaf in self.leaves if leaf.type == kind]


async def audit(stage: Stage) -> None:
    """Check everything that only the end can show."""
    records = await stage.world.lock_log()
    holdings = stage.world.look_at_central(lambda store: holdings_of(store, stage.people.home.lock_id))
    if holdings is None:
        stage.check(Promise.EVENTS, held=False, detail="the central log holds nothing")
        return
    _check_tree(stage, holdings)
    _check_commands(stage, holdings)
    _check_reasons(stage, holdings)
    _check_records(stage, holdings, records)
    _check_lock_chain(stage, holdings, records)
    await _check_order_of_acts(stage, holdings)
    alarms = [f"{alarm.code} ({alarm.detail})" for alarm in holdings.alarms]
    stage.check(Promise.NO_ALARM, held=not alarms, detail="; ".join(alarms))
    _summarize(stage, holdings)
    size, count = holdings.log.frontier.size, len(records)
    stage.teller.scene(6, f"{size} events verified against tree and signature, {count} lock records against its chain")


def holdings_of(store: CentralStore, lock_id: bytes) -> Holdings | None:
    """Return what a central log holds of its newest journal, and of this lock; None where it holds no journal."""
    logs = store.logs()
    if not logs:
        return None
    log = logs[-1]
    last = store.last_lock_record(lock_id)
    return Holdings(
        log=log,
        leaves=tuple(read_leaf(leaf) for leaf in store.leaves(log.gateway_id, log.log_id)),
        last_record=last,
        signed_seq=0 if last is None else store.signed_lock_seq(lock_id, last.log_id),
        alarms=store.alarms(),
        receipt_count=len(store.receipts()),
    )


def _check_tree(stage: Stage, holdings: Holdings) -> None:
    note = holdings.log.note
    stated = None if note is None else Checkpoint.parse(parse_note(note).text)
    root = root_of([leaf_hash(leaf.raw) for leaf in holdings.leaves])
    held = stated is not None and (stated.size, stated.root) == (len(holdings.leaves), root)
    stage.check(
        Promise.TREE, held=held and holdings.receipt_count > 0, detail="entries and signed checkpoint do not agree"
    )
    indices = [leaf.index for leaf in holdings.leaves]
    stage.check(Promise.EVENTS, held=indices == list(range(len(indices))), detail="the entries are not 0, 1, 2 …")


def _check_commands(stage: Stage, holdings: Holdings) -> None:
    decided = [(leaf.data["command_id"], leaf.data["code"]) for leaf in holdings.of(DECIDED)]
    expected = [(sent.command_id.hex(), sent.decision.dotted) for sent in stage.book.sent]
    stage.check(Promise.EVENTS, held=decided == expected, detail=_difference("decisions", decided, expected, stage))
    outcomes = [leaf.data["command_id"] for leaf in holdings.of(OUTCOME)]
    permitted = [sent.command_id.hex() for sent in stage.book.sent if sent.decision is Code.PERMITTED]
    stage.check(
        Promise.EVENTS,
        held=sorted(outcomes) == sorted(permitted),
        detail=_difference("outcomes", outcomes, permitted, stage),
    )


def _difference(what: str, found: Sequence[object], expected: Sequence[object], stage: Stage) -> str:
    labels = {sent.command_id.hex(): sent.label for sent in stage.book.sent}
    missing = Counter(map(str, expected)) - Counter(map(str, found))
    surplus = Counter(map(str, found)) - Counter(map(str, expected))
    text = f"{what}: missing {sorted(missing.elements())}, surplus {sorted(surplus.elements())}"
    for command_id, label in labels.items():
        text = text.replace(command_id, label)
    return text if missing or surplus else f"{what} in another order"


def _check_reasons(stage: Stage, holdings: Holdings) -> None:
    decided = {leaf.data["code"] for leaf in holdings.of(DECIDED)}
    denied = {leaf.data["code"] for leaf in holdings.of(DENIED)}
    wanted = {sent.decision.dotted for sent in stage.book.sent}
    missing = (wanted - decided) | ({Code.UNKNOWN_SIGNER.dotted, Code.BAD_SIGNATURE.dotted} - denied)
    stage.check(Promise.REASONS, held=not missing, detail=f"not in the log: {', '.join(sorted(missing))}")


def _check_records(stage: Stage, holdings: Holdings, records: Sequence[bytes]) -> None:
    copied = [base64.b64decode(leaf.data["record"]) for leaf in holdings.of(RECORDED)]
    known = list(records[: len(copied)])
    held = copied == known and len(records) == len(copied)
    stage.check(Promise.EVENTS, held=held, detail=f"{len(copied)} lock records arrived, the lock has {len(records)}")
    marks = {(leaf.data["kind"], leaf.data["replayed"]) for leaf in holdings.of(RECORDED)}
    wanted = {(kind.name.lower(), True) for kind in _OUTAGE_KINDS}
    stage.check(
        Promise.REPLAYED, held=wanted <= marks, detail=f"not marked: {sorted(kind for kind, _ in wanted - marks)}"
    )


def _check_lock_chain(stage: Stage, holdings: Holdings, records: Sequence[bytes]) -> None:
    last = holdings.last_record
    if last is None:
        stage.check(Promise.LOCK_CHAIN, held=False, detail="the central log has followed no lock")
        return
    head = genesis(last.log_id)
    for record in records[: last.seq]:
        head = chain(head, record)
    detail = f"followed to record {last.seq} of {len(records)}, signed by the lock up to {holdings.signed_seq}"
    held = last.head == head and last.seq == len(records) and holdings.signed_seq == last.seq
    stage.check(Promise.LOCK_CHAIN, held=held, detail=detail)


async def _check_order_of_acts(stage: Stage, holdings: Holdings) -> None:
    """Every movement of the motor has a permitting decision that stands in the journal before the lock's record."""
    permitted = {leaf.data["command_id"]: leaf.index for leaf in holdings.of(DECIDED) if _permits(leaf)}
    recorded: dict[str, int] = {}
    intents: Counter[str] = Counter()
    for leaf in holdings.of(RECORDED):
        record = LogRecord.from_bytes(base64.b64decode(leaf.data["record"]))
        if record.type is RecordType.COMMAND_INTENT and record.cmd_id is not None:
            recorded.setdefault(record.cmd_id.hex(), leaf.index)
            intents[record.cmd_id.hex()] += 1
    movements = [each["command_id"] for each in (await stage.world.truth())["movements"] if each["cause"] == "motor"]
    labels = {sent.command_id.hex(): sent.label for sent in stage.book.sent}
    for command_id in movements:
        first = permitted.get(command_id)
        held = first is not None and first < recorded.get(command_id, -1)
        label = labels.get(command_id, command_id)
        stage.check(Promise.RESERVE_FIRST, held=held, detail=f"{label}: no decision was durable before the bolt moved")
    repeated = [labels.get(command_id, command_id) for command_id, count in intents.items() if count > 1]
    repeated += [labels.get(each, each) for each, count in Counter(movements).items() if count > 1]
    stage.check(Promise.NO_RESEND, held=not repeated, detail=f"moved or sent twice: {', '.join(repeated)}")


def _permits(leaf: Leaf) -> bool:
    return bool(leaf.data["code"] == Code.PERMITTED.dotted)


def _summarize(stage: Stage, holdings: Holdings) -> None:
    summary = stage.summary
    summary.events = dict(sorted(Counter(leaf.type.removeprefix("carelock.") for leaf in holdings.leaves).items()))
    decided = [leaf.data["code"] for leaf in holdings.of(DECIDED) if not _permits(leaf)]
    denied = [leaf.data["code"] for leaf in holdings.of(DENIED)]
    summary.refusals = dict(sorted(Counter(decided).items()))
    summary.refusals |= {f"{code} (stranger)": count for code, count in sorted(Counter(denied).items())}
    summary.receipts = {
        "signed by the central log": holdings.receipt_count,
        "entries covered by the newest": holdings.log.frontier.size,
    }
