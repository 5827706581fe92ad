"""`gatewayd log tail` and `gatewayd log show`: entries for people. Who it was is masked unless asked for."""

from __future__ import annotations

import asyncio
import json as json_format
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from firmware_protocol.merkle import leaf_hash
from gatewayd import exits
from gatewayd.cli.log_source import guarded, open_log
from gatewayd.cli.log_text import entry_line, entry_members
from gatewayd.cli.say import DEFAULT_CONFIG, give, give_json, tell
from gatewayd.config.loader import load_folders
from gatewayd.control.client import ControlClient
from gatewayd.journal.journal import JournalError

if TYPE_CHECKING:
    from gatewayd.journal.copies import LeafCopy, LogCopy

FOLLOW_S: Final = 1
COUNT_MAX: Final = 100_000
Source = Annotated[Path | None, Parameter(name="--from")]
Lines = Annotated[int, Parameter(name=("--lines", "-n"), validator=Number(gte=0, lte=COUNT_MAX))]


def tail(
    *,
    lines: Lines = 20,
    follow: bool = False,
    ids: bool = False,
    json: bool = False,
    config: Path = DEFAULT_CONFIG,
    source: Source = None,
) -> int:
    """Show the newest entries, one a line: time, number, what happened.

    Args:
        lines: How many, 0 to 100000.
        follow: Go on with what the running daemon records, until Ctrl-C.
        ids: Show pseudonyms, keys and grants in full.
        json: Print each entry as JSON, one a line.
        config: The configuration file, which says where the journal is.
        source: A store, the folder that holds one, or an exported file, in place of this gateway's.
    """
    if follow and source is not None:
        tell("gatewayd: only the running daemon's journal grows: --follow and --from do not go together")
        return exits.USAGE

    def show(copy: LeafCopy) -> None:
        members = entry_members(copy.leaf, in_full=ids)
        if json:
            give(json_format.dumps({"index": copy.index, "event": members}, ensure_ascii=False))
        else:
            give(entry_line(copy.index, members))

    def work() -> int:
        with open_log(config, source) as opened:
            end = opened.copy.size
            for each in deque(opened.copy.leaves, maxlen=lines):
                show(each)
        if follow:
            asyncio.run(_follow(load_folders(config).control_path, end))
        return exits.OK

    async def _follow(path: Path, end: int) -> None:
        with ControlClient(path) as client:
            while True:
                size = client.log_size()
                for each in client.leaves(end, size):
                    show(each)
                end = max(end, size)
                await asyncio.sleep(FOLLOW_S)

    return guarded(work)


def show(
    index: int, *, ids: bool = False, json: bool = False, config: Path = DEFAULT_CONFIG, source: Source = None
) -> int:
    """Show one entry, its hash, and who has signed for it.

    Args:
        index: Its number, from 0.
        ids: Show pseudonyms, keys and grants in full.
        json: Print it for machines.
        config: The configuration file, which says where the journal is.
        source: A store, the folder that holds one, or an exported file, in place of this gateway's.
    """

    def work() -> int:
        with open_log(config, source) as opened:
            copy = opened.copy
            entry = next((each for each in copy.leaves if each.index == index), None)
        if entry is None:
            raise JournalError(*_why_absent(copy, index))
        members = entry_members(entry.leaf, in_full=ids)
        signed = min((each.size for each in copy.checkpoints if each.size > index), default=None)
        hashed = (entry.hashed or leaf_hash(entry.leaf)).hex()
        if json:
            received = index < copy.received
            give_json(
                {"index": index, "leaf_hash": hashed, "checkpoint": signed, "received": received, "event": members}
            )
            return exits.OK
        give(json_format.dumps(members, ensure_ascii=False, indent=2))
        give(f"entry {index}, leaf hash {hashed}")
        give("not under a checkpoint yet" if signed is None else f"under the gateway's checkpoint of size {signed}")
        give("signed for by the central log" if index < copy.received else "the central log has not signed for it yet")
        return exits.OK

    return guarded(work)


def _why_absent(copy: LogCopy, index: int) -> tuple[str, str]:
    if 0 <= index < copy.before.size:
        return "journal.pruned", f"entry {index}: pruned, the oldest here is {copy.before.size}"
    return "journal.beyond_end", f"entry {index}: there are {copy.size} entries, from 0"
