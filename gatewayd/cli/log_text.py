"""An entry of the journal as people read it: masked, in one line, whatever its bytes are."""

from __future__ import annotations

import json
from typing import Any, Final

from gatewayd.plain_text import printable

PERSONAL: Final = frozenset({"subject", "signer", "grant", "actor"})
"""Fields that lead to one person."""
SHOWN_COUNT: Final = 4
"""Characters of a masked id that stay: enough to see that two entries are about the same."""
LENGTHY: Final = frozenset({"record", "head", "previous", "command_sha256"})
"""Evidence for machines, which has no place in a line."""


def entry_members(leaf: bytes, *, in_full: bool) -> dict[str, Any]:
    """Return the entry's members, ids masked unless `in_full`; of bytes that are no entry, their text."""
    try:
        members = json.loads(leaf)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        return {"unreadable": leaf[:64].hex()}
    data = members.get("data")
    if in_full or not isinstance(data, dict):
        return members
    return members | {"data": {name: _masked(name, value) for name, value in data.items()}}


def entry_line(index: int, members: dict[str, Any]) -> str:
    """Return one line: time, number, type, lock, fields that say something."""
    data = members.get("data")
    fields = data.items() if isinstance(data, dict) else members.items()
    lock = str(members.get("source", "")).partition("/locks/")[2]
    parts = [
        str(members.get("time", "")).ljust(24),
        str(index).rjust(7),
        str(members.get("type", "unreadable")).removeprefix("carelock.").ljust(20),
        *([f"lock={lock}"] if lock else []),
        *(f"{name}={_short(value)}" for name, value in fields if name not in LENGTHY and value not in (None, False)),
    ]
    return printable(" ".join(parts).rstrip())


def _masked(name: str, value: object) -> object:
    if name not in PERSONAL or not isinstance(value, str):
        return value
    return f"{value[:SHOWN_COUNT]}…"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False) if " " in text else text
