"""On which line of a TOML document does each key stand? No parser for Python tells, so this one does that only.

The document has been read by tomllib before: it is well formed, and nothing here decides what it means.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayd.config.problems import KeyPath

_TOKEN: Final = re.compile(
    r'''
      (?P<string> """(?:\\.|[^\\])*?"{3,5} | \'\'\'.*?'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*' )
    | (?P<newline> \n )
    | (?P<mark> [\[\]{},=] )
    | (?P<bare> [^\s\[\]{},=#"']+ )
    | (?P<blank> \#[^\n]* | [^\S\n]+ )
    ''',
    re.DOTALL | re.VERBOSE,
)


def lines_of_keys(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of each key and table header in a well-formed document.

    A table that is only implied (`a` in `[a.b]`) has the line that implies it; keys inside arrays are left out.
    """
    return _Scan(text.replace("\r\n", "\n")).found


class _Scan:
    """One pass over the tokens, with a stack of the inline tables and arrays that are open."""

    def __init__(self, text: str) -> None:
        self.found: dict[KeyPath, int] = {}
        self._table: KeyPath = ()
        self._open: list[KeyPath | None] = []  # an inline table by its path, an array by None
        self._key: str | None = ""  # what is read of a key; None: inside a value
        self._key_line = 1
        self._path: KeyPath = ()
        for kind, piece, line in _tokens(text):
            self._take(kind, piece, line)

    def _take(self, kind: str, piece: str, line: int) -> None:
        if kind == "newline":
            if not self._open:
                self._end_of_line()
        elif self._key is not None:
            self._take_in_key(piece, line)
        elif kind == "mark":
            self._take_in_value(piece)

    def _take_in_key(self, piece: str, line: int) -> None:
        if piece == "=":
            self._path = self._note(self._key or "", self._inner(), self._key_line)
            self._key = None
        elif piece == "}":
            self._close()
        elif piece != ",":
            self._key_line = line if not self._key else self._key_line
            self._key = (self._key or "") + piece

    def _take_in_value(self, piece: str) -> None:
        if piece == "{":
            self._open.append(self._path)
            self._key = ""
        elif piece == "[":
            self._open.append(None)
        elif piece in "]}":
            self._close()
        elif piece == "," and self._open and self._open[-1] is not None:
            self._key = ""

    def _close(self) -> None:
        self._open.pop()
        self._key = None

    def _end_of_line(self) -> None:
        if self._key and self._key.startswith("["):
            self._table = self._note(self._key.strip("[]"), (), self._key_line)
        self._key = ""

    def _inner(self) -> KeyPath | None:
        if None in self._open:
            return None
        return self._open[-1] if self._open else self._table

    def _note(self, key: str, prefix: KeyPath | None, line: int) -> KeyPath:
        if prefix is None:
            return ()
        path = (*prefix, *_parts(key))
        for length in range(len(prefix) + 1, len(path) + 1):
            self.found.setdefault(path[:length], line)
        return path


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    line = 1
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "blank" and match.lastgroup is not None:
            yield match.lastgroup, match[0], line
        line += match[0].count("\n")


def _parts(key: str) -> KeyPath:
    """Return the parts of a dotted key; tomllib reads the quotes and escapes in it."""
    parts: list[str] = []
    value: object = tomllib.loads(f"{key} = 0")
    while isinstance(value, dict):
        name, value = next(iter(value.items()))
        parts.append(name)
    return tuple(parts)
