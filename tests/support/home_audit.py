"""What must be true of a home at the end, whatever was killed meanwhile: the lock's truth against the central log."""

from __future__ import annotations

import base64
from collections import Counter
from typing import TYPE_CHECKING, Final

from firmware_protocol.checkpoint import Checkpoint, parse_note
from firmware_protocol.codes import Code
from firmware_protocol.lock_log import LogRecord, RecordType, chain, genesis
from firmware_protocol.merkle import leaf_hash, root_of
from simulator.demo_audit import DECIDED, OUTCOME, RECORDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.demo_audit import Holdings
    from simulator.journal_leaf import Leaf
    from tests.support.errands import Errand
    from tests.support.real_home import RealHome

REFUSED_BY_RESTART: Final = frozenset({Code.WRONG_EPOCH, Code.CHALLENGE_UNKNOWN})
"""What a command is told that the gateway had not decided before it died: its freshness died with the process."""


async def check_errand(home: RealHome, errand: Errand) -> None:
    """Check what one command did against what its sender was told, once that is settled."""
    moved = await home.motor_count(errand.command_id)
    told = f"{errand.final}, {moved} movements"
    assert moved <= 1, told
    if errand.final is Code.DONE:
        assert moved == 1, told
    elif errand.final in REFUSED_BY_RESTART | {Code.LINK_DOWN}:
        assert moved == 0, told


async def audit(home: RealHome, errands: Sequence[Errand]) -> Holdings:
    """Wait until everything has arrived, and check that it is all there, once, in order, and nothing else."""
    await home.wait_quiet()
    holdings = home.holdings()
    _check_tree(holdings)
    _check_decisions(holdings, errands)
    await _check_lock_log(home, holdings)
    await _check_movements(home, holdings)
    assert holdings.alarms == ()
    return holdings


def _check_tree(holdings: Holdings) -> None:
    assert [leaf.index for leaf in holdings.leaves] == list(range(len(holdings.leaves)))
    assert holdings.log.note is not None
    stated = Checkpoint.parse(parse_note(holdings.log.note).text)
    root = root_of([leaf_hash(leaf.raw) for leaf in holdings.leaves])
    assert (stated.size, stated.root) == (len(holdings.leaves), root)


def _check_decisions(holdings: Holdings, errands: Sequence[Errand]) -> None:
    decided, ended = [], []
    for errand in errands:
        assert errand.final is not None
        is_refused = errand.final in REFUSED_BY_RESTART
        decided.append((errand.command_id.hex(), (errand.final if is_refused else Code.PERMITTED).dotted))
        if not is_refused:
            ended.append((errand.command_id.hex(), errand.final.dotted))
    assert [_command_and_code(leaf) for leaf in holdings.of(DECIDED)] == decided
    assert [_command_and_code(leaf) for leaf in holdings.of(OUTCOME)] == ended


def _command_and_code(leaf: Leaf) -> tuple[str, str]:
    return leaf.data["command_id"], leaf.data["code"]


async def _check_lock_log(home: RealHome, holdings: Holdings) -> None:
    log, records = (await home.world.truth())["log"], await home.world.lock_log()
    copied = [base64.b64decode(leaf.data["record"]) for leaf in holdings.of(RECORDED)]
    assert copied[log["first_seq"] - 1 :] == list(records)
    head = genesis(bytes.fromhex(log["log_id"]))
    for record in copied:
        head = chain(head, record)
    assert (head.hex(), len(copied)) == (log["head"], log["last_seq"])
    assert holdings.signed_seq == log["last_seq"]


async def _check_movements(home: RealHome, holdings: Holdings) -> None:
    """Check that each movement has one intent in the lock's log, after the decision that permits it."""
    decided = [(leaf.index, *_command_and_code(leaf)) for leaf in holdings.of(DECIDED)]
    permitted = {command_id: index for index, command_id, code in decided if code == Code.PERMITTED.dotted}
    intents: dict[str, int] = {}
    for leaf in holdings.of(RECORDED):
        record = LogRecord.from_bytes(base64.b64decode(leaf.data["record"]))
        if record.type is RecordType.COMMAND_INTENT and record.cmd_id is not None:
            assert record.cmd_id.hex() not in intents
            intents[record.cmd_id.hex()] = leaf.index
    moved = Counter(each["command_id"] for each in (await home.world.truth())["movements"] if each["cause"] == "motor")
    for command_id, count in moved.items():
        assert count == 1
        assert permitted.get(command_id, len(holdings.leaves)) < intents[command_id]
