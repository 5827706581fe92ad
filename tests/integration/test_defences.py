"""Ten defences of the day are taken out, and their tests find it; `make defences` takes out all of them."""

from __future__ import annotations

import difflib
import os
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.defence_runs import RUN_S_MAX, run_defences
from tests.support.faults import TREE, Defence, all_defences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHOSEN_COUNT: Final = 10
SEED: Final = os.environ.get("DEFENCES_SEED") or datetime.now(UTC).date().isoformat()
"""The day: each defence has its turn, and a run of the same day chooses the same."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(RUN_S_MAX * 2)]


def test_ten_defences_of_the_day_are_missed_by_their_tests() -> None:
    short = [defence for defence in all_defences() if not defence.long]
    chosen = Random(SEED).sample(short, min(CHOSEN_COUNT, len(short)))
    missed = [verdict.line for verdict in run_defences(chosen) if verdict.problem is not None]
    assert missed == [], f"DEFENCES_SEED={SEED} chooses them again"


def test_a_patch_that_breaks_nothing_a_test_that_fails_elsewhere_and_one_that_is_not_there_are_named(
    tmp_path: Path,
) -> None:
    harmless = _patch(tmp_path, "X1-harmless", lambda source: source.replace('"""', '"""Again: ', 1))
    broken = _patch(tmp_path, "X1-broken", lambda source: f"{source}\nraise SystemError\n")
    test = "tests/unit/gatewayd/store/test_meta.py"
    wanted = [
        _defence(harmless, f"{test}::test_every_start_is_counted_from_one"),
        _defence(harmless, f"{test}::test_no_such_test"),
        _defence(broken, test),
    ]
    problems = [str(verdict.problem).partition("\n")[0] for verdict in run_defences(wanted)]
    assert [problem.partition(";")[0] for problem in problems] == [
        "the test passes without its defence",
        "the test does not run",
        "the test does not run",
    ]


def _patch(folder: Path, name: str, change: Callable[[str], str]) -> Path:
    module = "gatewayd/errors.py"
    source = (TREE / module).read_text()
    changed = change(source).splitlines(keepends=True)
    diff = difflib.unified_diff(source.splitlines(keepends=True), changed, f"a/{module}", f"b/{module}")
    patch = folder / f"{name}.patch"
    patch.write_text(f"What is taken out.\n\n{''.join(diff)}")
    return patch


def _defence(patch: Path, test: str) -> Defence:
    return Defence(row="X1", patch=patch, test=test, fails_with="assert nothing of this", long=False)
