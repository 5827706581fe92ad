"""Foreign text made safe to show: what strangers wrote must not steer a terminal or forge a line of a log."""

from __future__ import annotations

from typing import Final

SHOWN_SIZE_MAX: Final = 200
"""Most characters of one foreign text that are shown."""


def printable(text: str) -> str:
    """Return `text` with every character escaped that is not plainly visible: controls, escapes, bidi, surrogates."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode("ascii") for one in text
    )


def shown(value: object) -> str:
    """Return a short printable form of a foreign value, text in quotes."""
    text = printable(f'"{value}"' if isinstance(value, str) else str(value))
    return text if len(text) <= SHOWN_SIZE_MAX else f"{text[:SHOWN_SIZE_MAX]}…"
