"""The dated table of one class of faults: written by `make defences`, held to the files by a test."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.faults import Fault, FaultClass

NEVER: Final = "not yet"
_DATED: Final = re.compile(r"^\| .*`(?P<patch>[\w.-]+)\.patch`.* \| (?P<date>\d{4}-\d\d-\d\d) \|$", re.MULTILINE)


def dates_of(page: str) -> dict[str, str]:
    """Return the day on which each patch was last seen to be found, by its name."""
    return {found["patch"]: found["date"] for found in _DATED.finditer(page)}


def render(of: FaultClass, dates: Mapping[str, str]) -> str:
    """Return the page."""
    lines = [
        f"# {of.letter}: {of.title}",
        "",
        "Written by `make defences` from `tests/faults/`. Each patch takes a defence out of a copy of the tree;",
        "the test must then fail at the assertion named. The last column is the day on which it was last seen to.",
        "",
        "| row | what happens | what must be true |",
        "|---|---|---|",
        *(f"| {fault.row} | {_cell(fault.fault)} | {_cell(fault.expected)} |" for fault in of.faults),
        "",
        "| row | test | without its defence | the assertion that fails | seen |",
        "|---|---|---|---|---|",
        *(line for fault in of.faults for line in _defences(fault, dates)),
    ]
    return "\n".join(lines) + "\n"


def _defences(fault: Fault, dates: Mapping[str, str]) -> Iterator[str]:
    if fault.same_as is not None:
        yield f"| {fault.row} | see {fault.same_as} | | | |"
    if fault.open is not None:
        yield f"| {fault.row} | open: {_cell(fault.open)} | | | |"
    for each in fault.defences:
        file, _, name = each.test.removeprefix("tests/").partition("::")
        what = f"{_cell(each.title)} (`{each.patch.name}`)"
        seen = dates.get(each.patch.stem, NEVER)
        yield f"| {each.row} | `{file}` `{name}` | {what} | `{_cell(each.fails_with)}` | {seen} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
