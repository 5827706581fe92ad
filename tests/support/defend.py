"""`make defences`: takes defences out, one after the other, and dates those whose test finds it."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from tests.support.defence_runs import run_defences
from tests.support.faults import Defence, FaultClass, all_defences, load_classes
from tests.support.faults_page import dates_of, render


def main(arguments: list[str]) -> int:
    """Run the defences of the rows that are named, or of all, and return the exit code."""
    parser = argparse.ArgumentParser(prog="make defences", description=__doc__)
    parser.add_argument("rows", nargs="*", help="rows (S1), or classes (S); all where none is named")
    parser.add_argument("--pages", action="store_true", help="only write docs/faults/ anew")
    options = parser.parse_args(arguments)
    found: set[str] = set()
    missed_count = 0
    if not options.pages:
        for verdict in run_defences(_wanted(options.rows)):
            print(verdict.line, flush=True)  # noqa: T201 - what the command is for
            if verdict.problem is None:
                found.add(verdict.defence.patch.stem)
            else:
                missed_count += 1
        print(f"{len(found)} found, {missed_count} missed")  # noqa: T201 - its end
    today = datetime.now(UTC).date().isoformat()
    for each in load_classes():
        write_page(each, dict.fromkeys(found, today))
    return int(missed_count > 0)


def write_page(of: FaultClass, dates: dict[str, str]) -> None:
    """Write a class's table with these days beside those that it has."""
    held = dates_of(of.page.read_text()) if of.page.exists() else {}
    of.page.parent.mkdir(exist_ok=True)
    of.page.write_text(render(of, {**held, **dates}))


def _wanted(rows: list[str]) -> list[Defence]:
    defences = all_defences()
    known = {defence.row for defence in defences} | {defence.row[0] for defence in defences}
    if unknown := sorted(set(rows) - known):
        sys.exit(f"no defence of: {', '.join(unknown)}")
    return [defence for defence in defences if not rows or {defence.row, defence.row[0]} & set(rows)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
