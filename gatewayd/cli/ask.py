"""How a command asks a person; every question has a flag that answers it."""

from __future__ import annotations

import sys

from gatewayd.cli.say import tell
from gatewayd.errors import GatewayError

ANSWER_SIZE_MAX = 4_096
"""Longest answer that is read, in characters."""


class NobodyAnswersError(GatewayError):
    """There is nobody to ask; `detail` names the flag."""


def ask(question: str, *, flag: str) -> str:
    """Ask on stderr and return the line that is typed or piped, without what surrounds it.

    Raises:
        NobodyAnswersError: stdin is closed, at its end, or no text.
    """
    tell(question)
    return answer(flag=flag)


def answer(*, flag: str) -> str:
    """Return the line that is typed or piped; see `ask`."""
    try:
        line = "" if sys.stdin is None else sys.stdin.readline(ANSWER_SIZE_MAX)
    except (OSError, ValueError):
        line = ""
    if not line:
        raise NobodyAnswersError("ask.nobody_answers", f"nobody answers: give {flag}")
    return line.strip()
