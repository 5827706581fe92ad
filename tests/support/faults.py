"""The table of faults: what may happen, what must be true, which test shows it, and the patch that proves the test.

`tests/faults.toml` names the classes; each has a file of its own in `tests/faults/`, so that several hands can
work at once. A defence is a patch that takes out what the test guards: with it, the named assertion must fail.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TREE: Final = Path(__file__).parents[2]
INDEX: Final = TREE / "tests" / "faults.toml"
FOLDER: Final = TREE / "tests" / "faults"
PATCHES: Final = FOLDER / "patches"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defence:
    """One way to take out what a row rests on, and how its test finds it."""

    row: str
    patch: Path
    test: str
    """A pytest node id; one without parameters stands for all of them."""
    fails_with: str
    """Stands in the assertion that fails: in its line of the test, or in what pytest says of it."""
    long: bool
    """Takes more than a few seconds: left out of the seeded choice of `make test`."""

    @property
    def title(self) -> str:
        """The patch's first line: what is taken out."""
        return self.patch.read_text().partition("\n")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row."""

    row: str
    fault: str
    expected: str
    same_as: str | None
    """The row of another class that this one is."""
    open: str | None
    """Why nothing defends it."""
    defences: tuple[Defence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultClass:
    """The rows that begin with one letter."""

    letter: str
    title: str
    name: str
    """Of its file in `tests/faults/`, and of its page in `docs/faults/`."""
    count: int
    """Rows that there are."""
    complete: bool
    """No row of it may be open."""
    faults: tuple[Fault, ...]

    @property
    def file(self) -> Path:
        """Where its rows are."""
        return FOLDER / f"{self.name}.toml"

    @property
    def page(self) -> Path:
        """Where its dated table is."""
        return TREE / "docs" / "faults" / f"{self.name}.md"


def load_classes() -> tuple[FaultClass, ...]:
    """Return every class with its rows.

    Raises:
        TypeError, KeyError: a field that does not exist, or lacks.
    """
    index = tomllib.loads(INDEX.read_text())
    return tuple(_class(letter, **fields) for letter, fields in index.items())


def all_defences() -> tuple[Defence, ...]:
    """Return every defence, class after class."""
    return tuple(defence for each in load_classes() for fault in each.faults for defence in fault.defences)


def _class(letter: str, *, title: str, file: str, count: int, complete: bool = False) -> FaultClass:
    rows = tomllib.loads((FOLDER / f"{file}.toml").read_text())
    faults = tuple(_fault(row, **fields) for row, fields in rows.items())
    return FaultClass(letter=letter, title=title, name=file, count=count, complete=complete, faults=faults)


def _fault(
    row: str,
    *,
    fault: str,
    expected: str,
    same_as: str | None = None,
    open: str | None = None,  # noqa: A002 - the word of the file
    defences: list[dict[str, Any]] | None = None,
) -> Fault:
    return Fault(
        row=row,
        fault=fault,
        expected=expected,
        same_as=same_as,
        open=open,
        defences=tuple(_defence(row, **fields) for fields in defences or ()),
    )


def _defence(row: str, *, patch: str, test: str, fails_with: str, long: bool = False) -> Defence:
    return Defence(row=row, patch=PATCHES / f"{patch}.patch", test=test, fails_with=fails_with, long=long)
