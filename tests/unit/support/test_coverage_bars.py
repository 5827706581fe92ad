"""The bars themselves: a bar that passes an untested package would be worse than none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import coverage
import pytest

from tests.support.coverage_bars import BARS, Bar, Reached, measure

if TYPE_CHECKING:
    from pathlib import Path

BAR = Bar(name="access", folders=("access",), percent_min=95)


@pytest.mark.parametrize(
    ("branches", "everything", "held"),
    [
        pytest.param(95.0, 95.0, True, id="both on the bar"),
        pytest.param(94.9, 99.0, False, id="branches below it"),
        pytest.param(99.0, 94.9, False, id="lines below it"),
    ],
)
def test_lines_cannot_hide_untested_branches_nor_branches_lines(
    branches: float,
    everything: float,
    held: bool,  # noqa: FBT001 - a table's column
) -> None:
    reached = Reached(bar=BAR, percent_of_branches=branches, percent_of_all=everything)
    assert reached.held is held
    assert reached.line.endswith("MISSED") is not held


def test_a_package_that_nothing_imported_misses_its_bar() -> None:
    reached = Reached(bar=BAR, percent_of_branches=None, percent_of_all=None)
    assert not reached.held
    assert "nothing was measured" in reached.line


def test_a_branch_that_was_never_taken_is_counted(tmp_path: Path) -> None:
    source = tmp_path / "access" / "decide.py"
    source.parent.mkdir()
    source.write_text("def decide(fresh):\n    if fresh:\n        return 1\n    return 0\n")
    (tmp_path / "pyproject.toml").write_text("[tool.coverage.run]\nbranch = true\n")
    data = coverage.CoverageData(basename=str(tmp_path / ".coverage"))
    data.add_arcs({str(source): [(-1, 1), (1, -1), (-1, 2), (2, 3), (3, -1)]})
    data.write()
    reached = measure(tmp_path / ".coverage", BAR, root=tmp_path)
    assert reached.percent_of_branches == 50
    assert not reached.held


def test_the_promised_bars_are_the_ones_that_are_held() -> None:
    assert {bar.name: bar.percent_min for bar in BARS} == {
        "firmware_protocol": 99,
        "gatewayd/access": 95,
        "the whole": 85,
    }
