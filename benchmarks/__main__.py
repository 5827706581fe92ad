"""`python -m benchmarks`: every bench, one table of floor, figure, ratio and bar.

A bench is a module `benchmarks/bench_<name>.py` with `run() -> list[Row]`. It measures its floor in the same run as its
figure, so that a slow or busy machine cancels out. Exit status: 0; 1 with --check if a bar is missed, and always if a
bench could not be measured; 2 for a usage error.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from benchmarks.rows import BenchError, Row, table
from gatewayd import logs

if TYPE_CHECKING:
    from collections.abc import Sequence


class Bench(Protocol):
    """What a bench module offers."""

    def run(self) -> list[Row]:
        """Measure. Takes seconds, not minutes."""
        ...


def bench_names() -> list[str]:
    """The benches of this folder, in order."""
    return sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Figures beside their floors.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"benches to run: {', '.join(bench_names())}")
    parser.add_argument("--check", action="store_true", help="exit 1 if a bar is missed")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write JSON to FILE, or to stdout in place of the table"
    )
    options = parser.parse_args(argv)
    if unknown := sorted(set(options.names) - set(bench_names())):
        parser.error(f"no such bench: {', '.join(unknown)}")
    return options


def measure(names: Sequence[str]) -> tuple[list[Row], list[str]]:
    """Run benches one after another; what could not be measured comes back as a line of text."""
    rows: list[Row] = []
    failures: list[str] = []
    for name in names:
        print(f"measuring {name} …", file=sys.stderr)
        bench = cast("Bench", importlib.import_module(f"benchmarks.bench_{name}"))
        try:
            rows += bench.run()
        except BenchError as error:
            failures.append(f"{name}: {error}")
    return rows, failures


def document(rows: Sequence[Row], failures: Sequence[str]) -> str:
    """Everything that was measured, for machines."""
    content = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "rows": [row.as_json() for row in rows],
        "not_measured": list(failures),
    }
    return json.dumps(content, indent=2) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, judge."""
    options = arguments(argv)
    with Path(os.devnull).open("w") as nowhere:
        # What the daemon says costs what it costs in a home, and is not shown.
        logs.set_up(level="info", style="json", journal=False, stream=nowhere)
        rows, failures = measure(options.names or bench_names())
    if options.json != "-":
        print(table(rows))
    if options.json == "-":
        print(document(rows, failures), end="")
    elif options.json:
        Path(options.json).write_text(document(rows, failures))
    for failure in failures:
        print(f"not measured: {failure}", file=sys.stderr)
    missed = [row.name for row in rows if not row.held]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if failures or (missed and options.check) else 0


if __name__ == "__main__":
    sys.exit(main())
