"""A pytest plugin that holds branch coverage to its bars, before the closing summary is printed.

It reads what pytest-cov collected, so it does nothing in a run without `--cov`. A bar holds both for the branches
alone and for lines and branches together: a package with few branches cannot hide untested lines behind them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The least coverage that a part of the tree must reach."""

    name: str
    folders: tuple[str, ...]
    percent_min: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What a run measured for one bar; `None` where nothing of it was imported."""

    bar: Bar
    percent_of_branches: float | None
    percent_of_all: float | None

    @property
    def held(self) -> bool:
        """Whether both figures reach the bar."""
        figures = (self.percent_of_branches, self.percent_of_all)
        return all(figure is not None and figure >= self.bar.percent_min for figure in figures)

    @property
    def line(self) -> str:
        """One line for people."""
        if self.percent_of_branches is None or self.percent_of_all is None:
            return f"{self.bar.name}: nothing was measured (bar {self.bar.percent_min:.0f} %)"
        return (
            f"{self.bar.name}: {self.percent_of_branches:.1f} % of branches, {self.percent_of_all:.1f} % with lines"
            f" (bar {self.bar.percent_min:.0f} %){'' if self.held else ': MISSED'}"
        )


BARS: Final = (
    Bar(name="firmware_protocol", folders=("firmware_protocol",), percent_min=99),
    Bar(name="gatewayd/access", folders=("gatewayd/access",), percent_min=95),
    Bar(name="the whole", folders=("firmware_protocol", "gatewayd", "simulator"), percent_min=85),
)


def measure(data_file: Path, bar: Bar, *, root: Path = ROOT) -> Reached:
    """Read the combined coverage data and return what it says about one bar.

    In a process of its own: what thousands of tests leave to the garbage collector may speak up, with a traceback,
    while coverage parses a source, and the parser of Python 3.11.7 counts its depth for both at once and breaks off.
    """
    include = ",".join(str(root / folder / "*") for folder in bar.folders)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        command = ("json", f"--data-file={data_file}", f"--rcfile={root / 'pyproject.toml'}", f"--include={include}")
        done = subprocess.run(
            (sys.executable, "-m", "coverage", *command, "-o", str(report)),
            capture_output=True,
            text=True,
            check=False,
            env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        )
        if "No data to report" in done.stdout + done.stderr:
            return Reached(bar=bar, percent_of_branches=None, percent_of_all=None)
        if done.returncode != 0:
            raise RuntimeError(f"coverage could not report: {done.stdout}{done.stderr}")
        totals = json.loads(report.read_text())["totals"]
    return Reached(
        bar=bar, percent_of_branches=totals["percent_branches_covered"], percent_of_all=totals["percent_covered"]
    )


class CoverageBars:
    """The plugin: measures after the last test, prints with the terminal summary, fails the run on a miss."""

    def __init__(self, data_file: Path) -> None:
        self._data_file = data_file
        self._reached: list[Reached] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Outside pytest-cov's wrapper, so that the data of all processes is combined by now."""
        result = yield
        if not session.config.option.collectonly:
            self._reached = [measure(self._data_file, bar) for bar in BARS]
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        """Fail a run that is otherwise green."""
        if session.exitstatus == pytest.ExitCode.OK and not all(reached.held for reached in self._reached):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        yield

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print one line a bar."""
        if self._reached:
            terminalreporter.section("coverage")
        for reached in self._reached:
            terminalreporter.write_line(reached.line, green=reached.held, red=not reached.held)


def pytest_configure(config: pytest.Config) -> None:
    """Join a run that collects coverage."""
    if config.getoption("cov_source", default=None):
        config.pluginmanager.register(CoverageBars(Path(config.rootpath) / ".coverage"), "carelock-coverage-bars")
