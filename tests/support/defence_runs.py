"""Takes a defence out in a copy of the tree and runs its test there: it must fail, and at the named assertion."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from tests.support.demo_runs import apply_patch, environment
from tests.support.faults import TREE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.faults import Defence

RUN_S_MAX: Final = 300
"""Longest run of one test, in seconds."""
AT_ONCE_COUNT: Final = 2
SKIPPED: Final = (".git", ".venv", ".vm", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".coverage*")
"""What a copy goes without. Compiled modules come along: they are told apart by the time of their source."""
PYTEST: Final = (
    *(sys.executable, "-m", "pytest", "--no-cov", "--quiet", "-p", "no:cacheprovider", "-p", "no:randomly"),
    "--hypothesis-seed=0",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a test without its defence."""

    defence: Defence
    problem: str | None
    """None: the named assertion failed, as it must."""

    @property
    def line(self) -> str:
        """One line for people, with what pytest said where it is needed."""
        found = "found " if self.problem is None else "MISSED"
        line = f"{self.defence.row:4} {found} {self.defence.patch.stem}: {self.defence.title}"
        return line if self.problem is None else f"{line}\n{self.problem}"


def run_defences(defences: Sequence[Defence]) -> Iterator[Verdict]:
    """Yield a verdict for each, in order; two tests run at once."""
    with snapshot() as tree, ThreadPoolExecutor(max_workers=AT_ONCE_COUNT) as pool:
        yield from pool.map(partial(_run, tree), defences)


@contextmanager
def snapshot() -> Iterator[Path]:
    """A copy of the tree as it stands now, so that nobody's editing meanwhile gets in."""
    with tempfile.TemporaryDirectory(prefix="carelock-defences-") as folder:
        tree = Path(folder) / "snapshot"
        shutil.copytree(TREE, tree, ignore=shutil.ignore_patterns(*SKIPPED))
        yield tree


def _run(snapshot_of_tree: Path, defence: Defence) -> Verdict:
    with tempfile.TemporaryDirectory(dir=snapshot_of_tree.parent) as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(snapshot_of_tree, tree)
        try:
            apply_patch(defence.patch, tree)
        except ValueError as error:
            return Verdict(defence=defence, problem=str(error))
        return Verdict(defence=defence, problem=_problem_of(defence, tree))


def _problem_of(defence: Defence, tree: Path) -> str | None:
    report = tree.parent / "report.xml"
    command = [*PYTEST, f"--junitxml={report}", defence.test]
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment(tree), capture_output=True, text=True, timeout=RUN_S_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the test did not end within {RUN_S_MAX} s"
    if done.returncode == 0:
        return f"the test passes without its defence\n{done.stdout[-1_500:]}"
    failures = [failure.text or "" for failure in ET.parse(report).iter("failure")] if report.exists() else []
    if any(fails_at(text, defence.fails_with) for text in failures):
        return None
    what = "fails elsewhere" if failures else "does not run"
    return f"the test {what}; looked for: {defence.fails_with}\n{done.stdout[-4_000:]}{done.stderr[-2_000:]}"


def fails_at(report: str, fails_with: str) -> bool:
    """Tell whether pytest's report of a failure has it where the failing line, or what is wrong with it, stands."""
    return any(fails_with in line for line in report.splitlines() if line.startswith((">", "E ")))
