"""What the journal says of people: who was here, and which entries are about somebody. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gatewayd.journal.events import CommandDecided, CommandOutcome, LockRecorded
from gatewayd.journal.leaves import LeafError, read_leaf

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayd.journal.copies import LeafCopy
    from gatewayd.journal.leaves import Leaf


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One command of one person, and how it went."""

    index: int
    """The entry that says so."""
    time_lo: str
    """RFC 3339; it was not earlier."""
    time_hi: str | None
    """It was not later; None where time was not trusted."""
    lock_id: str
    subject: str
    """A pseudonym."""
    role: str
    provider: str | None
    channel: str
    action: str
    code: str
    outcome: str | None = None
    """The newest known; None where nothing moved, or nothing is known."""


@dataclass(slots=True)
class About:
    """What a journal holds of one person, or of everybody."""

    visits: list[Visit] = field(default_factory=list)
    """In order."""
    indexes: set[int] = field(default_factory=set)
    """Entries that name the person, or tell what the person did."""


def look_for(leaves: Iterable[LeafCopy], subject: str | None) -> About:
    """Return what is there about a person, named by the pseudonym; None: about everybody. One pass.

    Entries are about somebody by name, by a command of theirs, or by their key in a lock's record.
    """
    found, by_command, signers = About(), dict[str, int](), set[str]()
    for copy in leaves:
        try:
            leaf = read_leaf(copy.leaf)
        except LeafError:
            continue  # erased, or not to be read: verify says so
        data = leaf.data
        if leaf.type == CommandDecided.TYPE and subject in {None, data["subject"], data.get("second_subject")}:
            by_command[data["command_id"]] = len(found.visits)
            signers.add(data["signer"] if subject in {None, data["subject"]} else data["second_signer"])
            found.visits.append(_visit(copy.index, leaf))
        elif leaf.type == CommandOutcome.TYPE and data["command_id"] in by_command:
            place = by_command[data["command_id"]]
            found.visits[place] = replace(found.visits[place], outcome=data["code"])
        elif not _is_about(leaf, data, subject, by_command, signers):
            continue
        found.indexes.add(copy.index)
    return found


def _is_about(
    leaf: Leaf, data: dict[str, Any], subject: str | None, commands: dict[str, int], signers: set[str]
) -> bool:
    if leaf.type == LockRecorded.TYPE and data.get("actor") in signers:
        return True
    return data.get("command_id") in commands or (subject is not None and data.get("subject") == subject)


def _visit(index: int, leaf: Leaf) -> Visit:
    data = leaf.data
    return Visit(
        index=index,
        time_lo=leaf.time_lo,
        time_hi=leaf.time_hi,
        lock_id="" if leaf.lock_id is None else leaf.lock_id.hex(),
        subject=data["subject"],
        role=data["role"],
        provider=data.get("provider"),
        channel=data["channel"],
        action=data["action"],
        code=data["code"],
    )
