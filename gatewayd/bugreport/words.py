"""Only words that the program itself knows leave the house.

A list of what must not be told is never whole: a name, a number on a note, a key in a form that nobody thought of. So
it is the other way round: of a text that others may have written into, a word stays if it stands in this program's own
source, in an error message of the system or in a line of systemd's; what is left of the rest is a mark.
"""

from __future__ import annotations

import builtins
import errno
import os
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from gatewayd.logs import SECRET_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.resources.abc import Traversable

LEFT_OUT: Final = "…"
PACKAGES: Final = ("gatewayd", "firmware_protocol")
SERVICE_WORDS: Final = (
    "activated activating active auto code control core coredump deactivated deactivating dead dumped entered exit "
    "exited failed Failed FAILURE failure KILL killed Main main process restart Result result Scheduled job service "
    "signal Started Starting state start status Stopped Stopping Stop Succeeded Deactivated successfully timeout Timed "
    "out watchdog Watchdog ABRT SEGV TERM CONFIG SOFTWARE Traceback most recent call last File line in"
)
"""What systemd and Python say of a service that ends."""
PERSONAL_KEYS: Final = frozenset({"address", "host", "kid", "label", "name", "person", "pin", "provider", "subject"})
"""Fields whose values are left out whatever they are."""
NUMBER_LENGTH_MAX: Final = 3
NUMBER_MAX: Final = 999
"""A longer number may be somebody's; only a field that says what it counts keeps one."""
COUNTED: Final = re.compile("(?:_ms|_s|_count|_seq|_mv|size|index|seq|rows|boot|lineno|uid|gid)$")
TEXT_SIZE_MAX: Final = 500
ITEM_COUNT_MAX: Final = 64
DEPTH_MAX: Final = 8

_WORD: Final = re.compile("[A-Za-z_]{1,40}[0-9]{0,3}")
_NUMBERS: Final = re.compile(r"\d+(?:[ .,:/+-]+\d+)+|(?:[0-9A-Fa-f]{2}[:-]){2,}[0-9A-Fa-f]{2}")
"""Addresses, times, and numbers that somebody can be called on: no part of one stays."""
_QUOTED: Final = re.compile('".*"', re.DOTALL)
"""What somebody wrote is shown in quotes, and may have quotes in it."""
_GLUE: Final = re.compile("[-@+%]+")
_TOKEN: Final = re.compile(r"\w+(?:[-@+%]+\w+)*|[^\x20-\x7e]")
"""What is written in one is one: of a name or a password no half stays."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|\+00:00)")


class Words:
    """What may stand in a report."""

    def __init__(self, known: Iterable[str], ids: Iterable[str] = ()) -> None:
        """`ids` are those that `gatewayd status` shows to the same people."""
        self._known = frozenset(known)
        self._ids = frozenset(ids)

    @classmethod
    def of_program(cls, ids: Iterable[str] = ()) -> Words:
        """Return the words of this program, as it is installed."""
        return cls(_program_words(), ids)

    def text(self, text: str) -> str:
        """Return a text with a mark in place of every word that is not ours; bounded."""
        cut = _NUMBERS.sub(LEFT_OUT, _QUOTED.sub(f'"{LEFT_OUT}"', text[: 2 * TEXT_SIZE_MAX]))
        kept = re.sub(f"{LEFT_OUT}+", LEFT_OUT, _TOKEN.sub(self._token, cut))
        return kept if len(kept) <= TEXT_SIZE_MAX else f"{kept[:TEXT_SIZE_MAX]}{LEFT_OUT}"

    def value(self, value: Any, key: str = "", depth: int = DEPTH_MAX) -> Any:  # noqa: ANN401 - whatever JSON can hold
        """Return a value of JSON with the same done to it; `key` is the field that it stands in."""
        if not self._may_say(key) or not depth:
            return LEFT_OUT
        match value:
            case bool() | None:
                return value
            case int() | float():
                return value if abs(value) <= NUMBER_MAX or COUNTED.search(key) else LEFT_OUT
            case str():
                return value if key == "timestamp" and _TIME.fullmatch(value) else self.text(value)
            case list():
                return [self.value(each, key, depth - 1) for each in value[-ITEM_COUNT_MAX:]]
            case _:
                ours = [(name, each) for name, each in value.items() if name in self._known]
                return {name: self.value(each, name, depth - 1) for name, each in ours[:ITEM_COUNT_MAX]}

    def _may_say(self, key: str) -> bool:
        return key not in PERSONAL_KEYS and not any(word in key.lower() for word in SECRET_WORDS)

    def _token(self, found: re.Match[str]) -> str:
        token = found[0]
        if self._is_ours(token) or all(map(self._is_ours, _GLUE.split(token))):
            return token
        return LEFT_OUT

    def _is_ours(self, word: str) -> bool:
        if word in self._known or word in self._ids:
            return True
        return word.isascii() and word.isdecimal() and len(word) <= NUMBER_LENGTH_MAX


@cache
def _program_words() -> frozenset[str]:
    texts = (os.strerror(number) for number in errno.errorcode)
    found = (word for text in (*texts, *_sources()) for word in re.findall(r"\w+", text) if _WORD.fullmatch(word))
    return frozenset((*SERVICE_WORDS.split(), *dir(builtins), *found))


def _sources() -> Iterator[str]:
    for package in PACKAGES:
        yield from _below(resources.files(package))


def _below(folder: Traversable) -> Iterator[str]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _below(each)
        elif each.name.endswith(".py"):
            yield each.read_text(encoding="utf-8")
