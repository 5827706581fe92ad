"""`make mutate`: changes what decides who may open, one small thing at a time, and sees whether a test notices.

mutmut changes function bodies, `rows.py` what mutmut leaves alone. Every mutant that lives must be explained in
`survivors.toml`. The result goes to `result.md`. Exit status: 0; 1 where fewer than 90 % are killed or one that lives
is not explained.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from mutmut.mutation.diff_apply import get_diff_for_mutant

from tests.mutation.forked import run_tests
from tests.mutation.rows import mutants

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.mutation.rows import Mutant

MUTMUT: Final = (sys.executable, "-m", "mutmut")
HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
ROWS_FOUND: Final = ROOT / "build" / "mutation-rows.jsonl"
"""One line a mutant of `rows.py`, written when its fate is known: what was found outlives an interruption."""
FORKED: Final = multiprocessing.get_context("forkserver")
"""What takes long to load is loaded once: see `main`."""
PRELOADED: Final = ["tests.mutation.forked", "nacl.signing", "cbor2", "apsw", "structlog"]
"""Not hypothesis: pytest warns of a plugin that it cannot rewrite any more, and a warning is an error here."""
KILLED_PERCENT_MIN: Final = 90
MUTMUT_S_MAX: Final = 1_800
MUTANT_S_MAX: Final = 300
TESTS: Final = {
    "firmware_protocol/chains.py": ("tests/unit/firmware_protocol/test_chains.py", "tests/unit/gatewayd/access"),
    "gatewayd/reservation.py": ("tests/unit/gatewayd/test_reservation.py",),
}
ACCESS_TESTS: Final = ("tests/unit/gatewayd/access", "tests/unit/gatewayd/test_reservation.py")
COPIED: Final = ("firmware_protocol", "gatewayd", "simulator", "tests", "pyproject.toml")
_LINE: Final = re.compile(r"^\s+(\S+): (\w[\w ]*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one mutant."""

    name: str
    killed: bool
    diff: str = ""


def files() -> list[str]:
    """Return the modules that are changed, from the root."""
    access = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "gatewayd/access").glob("*.py"))
    return [*TESTS, *access]


def run_mutmut(worker_count: int) -> None:
    """Let mutmut change function bodies; what it finds stays in `mutants`."""
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    words = (*MUTMUT, "run", "--max-children", str(worker_count))
    subprocess.run(words, cwd=ROOT, check=True, timeout=MUTMUT_S_MAX)


def found_by_mutmut() -> list[Outcome]:
    """Return what it found last."""
    words = (*MUTMUT, "results", "--all", "true")
    told = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    found = {name: status for name, status in _LINE.findall(told.stdout) if status != "not checked"}
    return [_by_mutmut(name, killed=status in {"killed", "timeout"}) for name, status in found.items()]


def _by_mutmut(name: str, *, killed: bool) -> Outcome:
    return Outcome(name=name, killed=killed, diff="" if killed else _diff(name))


def _diff(name: str) -> str:
    diff = get_diff_for_mutant(name, path=_file(name))
    lines = [line for line in diff.splitlines() if line[:1] in {"+", "-"} and line[:3] not in {"+++", "---"}]
    return "\n".join(" ".join((line[0] + line[1:].strip()).split()) for line in lines)


def _file(name: str) -> str:
    return f"{name.rpartition('.x')[0].replace('.', '/')}.py"


def run_rows(worker_count: int) -> None:
    """Change tables, numbers, decorated functions, and what is called at import; what is found is in `ROWS_FOUND`."""
    FORKED.set_forkserver_preload(PRELOADED)
    ROWS_FOUND.parent.mkdir(exist_ok=True)
    made = [(file, mutant) for file in files() for mutant in mutants((ROOT / file).read_text(), file)]
    folders: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="gatewayd-mutants-") as parent, ROWS_FOUND.open("w") as found:
        for number in range(worker_count):
            folders.put(_copy(Path(parent) / str(number)))
        whole = folders.get()
        if not all(_passes(whole, selection) for selection in {*TESTS.values(), ACCESS_TESTS}):
            raise RuntimeError("the tests fail before anything is changed: everything would pass for killed")
        folders.put(whole)
        with ThreadPoolExecutor(worker_count) as workers:
            for outcome in workers.map(lambda each: _try(folders, *each), made):
                found.write(f"{json.dumps([outcome.name, outcome.killed])}\n")
                found.flush()


def found_by_rows() -> list[Outcome]:
    """Return what was found last."""
    lines = map(json.loads, ROWS_FOUND.read_text().splitlines())
    return [Outcome(name=name, killed=killed) for name, killed in lines]


def _copy(folder: Path) -> Path:
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return folder


def _try(folders: SimpleQueue[Path], file: str, mutant: Mutant) -> Outcome:
    folder = folders.get()
    try:
        (folder / file).write_text(mutant.source)
        killed = not _passes(folder, TESTS.get(file, ACCESS_TESTS))
        return Outcome(name=mutant.name, killed=killed)
    finally:
        shutil.copyfile(ROOT / file, folder / file)
        folders.put(folder)


def _passes(folder: Path, selection: Sequence[str]) -> bool:
    process = FORKED.Process(target=run_tests, args=(str(folder), list(selection)))
    process.start()
    process.join(MUTANT_S_MAX)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode == 0


def reasons() -> list[tuple[re.Pattern[str], str]]:
    """Return why mutants may live: a pattern of their name or of their changed lines, and the reason."""
    rows = tomllib.loads((HERE / "survivors.toml").read_text())["survivor"]
    return [(re.compile(row["pattern"]), row["reason"]) for row in rows]


def report(outcomes: Sequence[Outcome]) -> tuple[str, bool]:
    """Return the result as a page, and whether it is good enough."""
    lived = [each for each in outcomes if not each.killed]
    killed_percent = 100 * (len(outcomes) - len(lived)) / len(outcomes)
    explained: Counter[str] = Counter()
    open_: list[Outcome] = []
    for each in lived:
        told = f"{each.name}\n{each.diff}"
        reason = next((text for pattern, text in reasons() if pattern.search(told)), None)
        if reason is None:
            open_.append(each)
        else:
            explained[reason] += 1
    good = killed_percent >= KILLED_PERCENT_MIN and not open_
    return "\n".join(_page(outcomes, killed_percent, explained, open_)) + "\n", good


def _page(
    outcomes: Sequence[Outcome], killed_percent: float, explained: Counter[str], open_: Iterable[Outcome]
) -> Iterable[str]:
    yield "# What a mutation run found"
    yield ""
    yield f"{datetime.now(tz=UTC).date()}, by `make mutate`: {killed_percent:.1f} % of {len(outcomes)} mutants killed."
    yield ""
    yield "| module | mutants | killed |"
    yield "|---|---|---|"
    made, killed = Counter(map(_module, outcomes)), Counter(_module(each) for each in outcomes if each.killed)
    for module in sorted(made):
        yield f"| `{module}` | {made[module]} | {killed[module]} |"
    yield ""
    yield "## Lived, and why (`survivors.toml`)"
    yield ""
    yield from (f"- {count}: {reason}" for reason, count in explained.most_common())
    for each in open_:
        yield f"- **not explained**: `{each.name}` {each.diff}"


def _module(outcome: Outcome) -> str:
    if ".py:" in outcome.name:
        return f"{outcome.name.partition(':')[0]}, tables and decorated"
    return f"{_file(outcome.name)}, bodies"


def main() -> int:
    """Run, write the result, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    halves = ("mutmut", "rows", "report")
    parser.add_argument("--only", choices=halves, help="run one half, or none; the rest is as it was found last")
    parser.add_argument("--workers", type=int, default=2, help="processes at once")
    options = parser.parse_args()
    only = options.only
    if only in {None, "mutmut"}:
        run_mutmut(options.workers)
    if only in {None, "rows"}:
        run_rows(options.workers)
    page, good = report([*found_by_mutmut(), *found_by_rows()])
    sys.stdout.write(page)
    (HERE / "result.md").write_text(page)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
