"""A command line that is wrong, in one line: a box would be cut to pieces on a phone, and by `grep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cyclopts import MissingArgumentError, UnknownCommandError, UnusedCliTokensError

from gatewayd.plain_text import printable

if TYPE_CHECKING:
    from cyclopts import CycloptsError

_SHOWN_SIZE: Final = 80
"""So much of a word that somebody typed is said back, in characters."""


def usage_line(error: CycloptsError) -> str:
    """Return what is wrong with the command line, and where to read what is right."""
    command = " ".join(("gatewayd", *(error.command_chain or ())))
    said = _said(error)
    return printable(f"gatewayd: {said}{' See' if said.endswith('?') else '; see'} {command} --help")


def _said(error: CycloptsError) -> str:
    error.verbose = False  # nothing of where in the code it came up
    match error:
        case UnusedCliTokensError(unused_tokens=[first, *_]):
            return f'"{first[:_SHOWN_SIZE]}" is one word too many'
        case MissingArgumentError(argument=argument, keyword=None) if argument is not None and not argument.tokens:
            return f"{argument.name} is missing"
        case UnknownCommandError():
            return _shortened(str(error).partition(" Available commands:")[0])  # which there are is what --help is for
        case _:
            return _shortened(str(error))


def _shortened(text: str) -> str:
    return " ".join(word[:_SHOWN_SIZE] for word in text.removesuffix(".").split())
