"""Erases at the central log what entries say of a person, and shows that everything else still holds.

By the central log's own order alone: a gateway says how many entries it has erased, and never which ones the log is to
forget, or whoever steals a card could have the evidence of it erased.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_protocol.checkpoint import Checkpoint, parse_note
from firmware_protocol.merkle import Frontier, leaf_hash
from simulator.central_erased import TOLD
from simulator.central_locks import RECORDED
from simulator.central_store import CentralStore
from simulator.journal_leaf import read_leaf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from simulator.central_store import HeldLog
    from simulator.journal_leaf import Leaf


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is said of one person in one log."""

    indexes: frozenset[int]
    records: frozenset[tuple[bytes, bytes, int]]
    """Lock id, log id and number of lock records that bear the person's key."""


def about(leaves: Iterable[Leaf], subject: str) -> About:
    """Return what names a person by the pseudonym, tells of their commands, or bears their key in a lock's record."""
    commands, keys = set[object](), set[object]()
    indexes, records = set[int](), set[tuple[bytes, bytes, int]]()
    for leaf in leaves:
        data = leaf.data
        for name, signer in (("subject", "signer"), ("second_subject", "second_signer")):
            if data.get(name) == subject:
                commands.add(data.get("command_id"))
                keys.add(data.get(signer))
        is_named = subject in {data.get("subject"), data.get("second_subject")}
        is_command = data.get("command_id") is not None and data["command_id"] in commands
        is_record = leaf.type == RECORDED and data.get("actor") is not None and data["actor"] in keys
        if is_named or is_command or is_record:
            indexes.add(leaf.index)
        if leaf.lock_id is not None and leaf.type == RECORDED and is_record:
            records.add((leaf.lock_id, bytes.fromhex(data["log_id"]), data["seq"]))
    return About(indexes=frozenset(indexes), records=frozenset(records))


def erase(store: CentralStore, subject: str, *, utc_s: int) -> int:
    """Erase the words of all entries about a person, in every log; return how many that were. Hashes stand."""
    count = 0
    with store.transaction():
        for held in store.logs():
            found = about(_readable(store, held), subject)
            count += store.erase(held, sorted(found.indexes), sorted(found.records), utc_s=utc_s)
    store.cut_log()
    return count


def problems(store: CentralStore) -> list[str]:
    """Return what is wrong with the logs that are held: hashes, trees, receipts, and entries that are empty."""
    return [problem for held in store.logs() for problem in _problems_of(store, held)]


def _problems_of(store: CentralStore, held: HeldLog) -> Iterator[str]:
    name, tree, empty_count, told_count = held.log_id.hex(), Frontier.empty(), 0, 0
    stated = {Checkpoint.parse(parse_note(note).text) for note in (*store.notes(held), held.note) if note is not None}
    roots = {checkpoint.size: checkpoint.root for checkpoint in stated}
    for leaf, hashed in store.hashed_leaves(held):
        empty_count += not leaf
        if TOLD.encode() in leaf and (told := read_leaf(leaf)).type == TOLD:
            told_count += told.data["entry_count"]
        if leaf and leaf_hash(leaf) != hashed:
            yield f"{name}: entry {tree.size} is not what was received"
        tree = tree.append(hashed)
        if roots.get(tree.size, tree.root()) != tree.root():
            yield f"{name}: the receipt over {tree.size} entries is over others"
    if tree != held.frontier:
        yield f"{name}: {tree.size} entries do not make the tree of {held.frontier.size}"
    came_count = store.hole_count(held)
    if empty_count != store.erased_count(held) + came_count:
        yield f"{name}: {empty_count} entries are empty, {store.erased_count(held) + came_count} were erased"
    if came_count > told_count:
        yield f"{name}: {came_count} entries came as hashes, the gateway accounts for {told_count}"


def _readable(store: CentralStore, held: HeldLog) -> Iterator[Leaf]:
    return (read_leaf(leaf) for leaf in store.leaves(held.gateway_id, held.log_id) if leaf)


def main(argv: Sequence[str]) -> int:
    """Erase, then check everything that is left. One line of JSON on stdout; exits 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="simulator erase", description="Erases a person's data at the central log.")
    parser.add_argument("--store", required=True, type=Path, metavar="FILE", help="the central log's; it may run")
    parser.add_argument("--subject", required=True, help="the pseudonym")
    arguments = parser.parse_args(argv)
    with CentralStore(arguments.store) as store:
        count = erase(store, arguments.subject, utc_s=int(time.time()))
        found = problems(store)
    sys.stdout.write(json.dumps({"erased": count, "problems": found}) + "\n")
    return 1 if found else 0
