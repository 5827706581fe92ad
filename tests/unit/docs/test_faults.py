"""The table of faults is whole: every row is listed, every patch applies, every page says what the files say."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.support.defence_runs import fails_at
from tests.support.demo_runs import apply_patch
from tests.support.faults import PATCHES, TREE, Defence, FaultClass, all_defences, load_classes
from tests.support.faults_page import NEVER, dates_of, render

CLASSES: Final = load_classes()
DEFENCES: Final = all_defences()
FAILS_WITH_LENGTH_MIN: Final = 10
"""Shorter ones would be found in any failure."""


def name_of(each: FaultClass | Defence) -> str:
    return each.name if isinstance(each, FaultClass) else each.patch.stem


@pytest.mark.parametrize("faults", CLASSES, ids=name_of)
def test_every_row_of_a_class_is_listed_once_and_in_order(faults: FaultClass) -> None:
    assert [fault.row for fault in faults.faults] == [f"{faults.letter}{number + 1}" for number in range(faults.count)]


@pytest.mark.parametrize("faults", CLASSES, ids=name_of)
def test_a_row_is_defended_or_says_why_not(faults: FaultClass) -> None:
    rows = {fault.row for each in CLASSES for fault in each.faults}
    for fault in faults.faults:
        said = [bool(fault.defences), fault.same_as is not None, fault.open is not None]
        assert said.count(True) == 1, f"{fault.row}: defences, same_as, open: one of them"
        assert fault.same_as is None or fault.same_as in rows
        assert not (faults.complete and fault.open), f"{fault.row} is open in a class that is complete"


@pytest.mark.parametrize("defence", DEFENCES, ids=name_of)
def test_a_defence_names_a_test_that_is_there_and_an_assertion(defence: Defence) -> None:
    file, _, name = defence.test.partition("::")
    function = re.split(r"::|\[", name)[-1] if "::" in name else name.partition("[")[0]
    assert re.search(
        rf"^\s*(async )?def {re.escape(function)}\(|^{re.escape(function)} = ", (TREE / file).read_text(), re.MULTILINE
    )
    assert len(defence.fails_with) >= FAILS_WITH_LENGTH_MIN


@pytest.mark.parametrize("defence", DEFENCES, ids=name_of)
def test_a_patch_applies_and_says_what_it_takes_out(defence: Defence) -> None:
    apply_patch(defence.patch, TREE, check=True)
    assert re.match(rf"{defence.row}-[a-z0-9-]+$", defence.patch.stem)
    assert re.match(r"[A-Z].{15,100}\.$", defence.title)


def test_every_patch_belongs_to_one_defence() -> None:
    assert sorted(defence.patch for defence in DEFENCES) == sorted(PATCHES.iterdir())


@pytest.mark.parametrize("faults", CLASSES, ids=name_of)
def test_the_page_of_a_class_is_up_to_date_and_dates_every_defence(faults: FaultClass) -> None:
    page = faults.page.read_text()
    assert page == render(faults, dates_of(page)), (
        f"run: make defences ROWS={faults.letter} (ROWS=--pages for words only)"
    )
    assert f"| {NEVER} |" not in page, f"run: make defences ROWS={faults.letter}"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (">       assert lost == []", True),
        ("E       assert lost == []", True),
        ("        assert lost == []", False),
        ("tests/x.py:3: assert lost == []", False),
    ],
    ids=["the failing line", "what is wrong", "a line before it", "elsewhere"],
)
def test_only_the_assertion_that_failed_counts(line: str, found: bool) -> None:  # noqa: FBT001 - a parameter of the table
    assert fails_at(f"def test_x():\n{line}\n", "assert lost == []") is found
