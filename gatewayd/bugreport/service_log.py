"""The newest lines that the service wrote to systemd's journal, as far as their words are ours."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from gatewayd.bugreport.contents import AbsentError
from gatewayd.bugreport.machine import ROOT_HINT, UNIT, run_tool

if TYPE_CHECKING:
    from gatewayd.bugreport.words import Words

LINE_COUNT_MAX: Final = 1_000
"""Newest lines: a crash, and the hours before it."""
LINE_SIZE_MAX: Final = 8_192
"""Longest line that is read, in characters: a traceback fits."""


def service_log(words: Words) -> str:
    """Return one JSON object a line, oldest first.

    Raises:
        AbsentError: there is no journal, or not for this user.
    """
    command = ["journalctl", "--unit", UNIT, "--lines", str(LINE_COUNT_MAX), "--no-pager", "--quiet"]
    raw = run_tool([*command, "--output", "json", "--output-fields", "MESSAGE"])
    lines = [
        json.dumps(line, separators=(",", ":"))
        for each in raw.splitlines()[-LINE_COUNT_MAX:]
        if (line := _line(each, words))
    ]
    if not lines:
        raise AbsentError(f"journalctl shows no line of this service{ROOT_HINT if os.geteuid() else ''}")
    return "\n".join(lines)


def _line(raw: bytes, words: Words) -> dict[str, Any] | None:
    entry = _object(raw.decode(errors="replace"))
    message = None if entry is None else entry.get("MESSAGE")
    if entry is None or not isinstance(message, str):  # bytes that are no text come as a list of numbers
        return None
    time = _time(entry.get("__REALTIME_TIMESTAMP"))
    fields = _object(message) if len(message) <= LINE_SIZE_MAX else None
    if fields is None:
        return {"time": time, "text": words.text(message)}
    return {"time": time, **words.value(fields)}


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _time(micros: object) -> str:
    try:
        return datetime.fromtimestamp(int(str(micros)) // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""
