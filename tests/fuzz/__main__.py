"""Look for bytes that break the contract: `python -m tests.fuzz [TARGET …] [--seconds N | --runs N]`.

Each target runs in a process of its own, since the fuzzer ends with it. New inputs that reach new code join the corpus
(`--keep`); a finding is written below `tests/fuzz/found/` and the exit status is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coverage import Coverage

from tests.fuzz.readers import TARGETS
from tests.fuzz.seeds import seeds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fuzz.readers import Target

HERE: Final = Path(__file__).resolve().parent
CORPUS: Final = HERE / "corpus"
FOUND: Final = HERE / "found"
SECONDS: Final = 60
_DONE: Final = re.compile(r"Done (\d+) runs in (\d+) second")
_COVERAGE: Final = re.compile(r"#\d+\s+DONE\s+cov: (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one target came to."""

    run_count: int
    covered: int
    """Edges of the package that were reached."""
    finding: str
    """The last lines of what was found; empty where nothing was."""


def corpus_of(name: str) -> tuple[bytes, ...]:
    """Return the committed inputs of a target."""
    return tuple(path.read_bytes() for path in sorted((CORPUS / name).iterdir()))


def hunt(name: str, options: Sequence[str], *folders: Path) -> Verdict:
    """Run one target in a process of its own, with the fuzzer's own options; new inputs go to the first folder."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    ran = subprocess.run(
        (sys.executable, "-m", "tests.fuzz.hunt", name, *options, *map(str, folders)),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd=HERE.parents[1],
        env=environment,
    )
    said = ran.stderr + ran.stdout
    done, covered = _DONE.search(said), _COVERAGE.search(said)
    return Verdict(
        run_count=int(done[1]) if done else 0,
        covered=int(covered[1]) if covered else 0,
        finding="" if ran.returncode == 0 and done else "\n".join(said.splitlines()[-30:]),
    )


def options_for(target: Target, *, found: Path, runs: int | None = None, seconds: int = SECONDS) -> tuple[str, ...]:
    """Return the fuzzer's options: a bound, the longest input, where a finding goes, a seed that can be repeated."""
    bound = f"-max_total_time={seconds}" if runs is None else f"-runs={runs}"
    return (bound, f"-max_len={target.size_max}", f"-artifact_prefix={found}/{target.name}-", "-seed=1", "-timeout=10")


def write_seeds(target: Target) -> None:
    """Put the first inputs of a target into its corpus."""
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    for data in seeds(target.name):
        (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)  # the fuzzer's own names


def keep_least(target: Target) -> int:
    """Rewrite a corpus so that each input reaches code that no shorter one does; return how many are left."""
    reached: set[tuple[str, tuple[int, int]]] = set()
    paths = sorted((CORPUS / target.name).iterdir(), key=lambda path: (path.stat().st_size, path.name))
    for path in paths:
        arcs = _arcs(target, path.read_bytes())
        if arcs <= reached:
            path.unlink()
        reached |= arcs
    return len(list((CORPUS / target.name).iterdir()))


def _arcs(target: Target, data: bytes) -> set[tuple[str, tuple[int, int]]]:
    """Return the jumps inside the package that reading `data` takes."""
    package = HERE.parents[1] / "firmware_protocol" / "*"
    coverage = Coverage(data_file=None, branch=True, include=[str(package)], config_file=False)
    with coverage.collect():
        target.try_bytes(data)
    found = coverage.get_data()
    return {(name, arc) for name in found.measured_files() for arc in found.arcs(name) or ()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET", help="one of: " + ", ".join(TARGETS)
    )
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"for each target (default {SECONDS})")
    parser.add_argument("--runs", type=int, help="this many inputs for each target, however long it takes")
    parser.add_argument("--keep", action="store_true", help="start from the vectors, and keep what reached new code")
    given = parser.parse_args(arguments)
    FOUND.mkdir(exist_ok=True)
    found_count = 0
    for target in [TARGETS[name] for name in given.targets or TARGETS]:
        if given.keep:
            write_seeds(target)
        with tempfile.TemporaryDirectory() as scratch:
            folder = (
                CORPUS / target.name if given.keep else Path(shutil.copytree(CORPUS / target.name, f"{scratch}/in"))
            )
            verdict = hunt(
                target.name, options_for(target, found=FOUND, runs=given.runs, seconds=given.seconds), folder
            )
        kept = f", {keep_least(target)} inputs kept" if given.keep and not verdict.finding else ""
        line = f"{target.name}: {verdict.run_count} runs, {verdict.covered} edges{kept}"
        sys.stdout.write(line + (f": FOUND\n{verdict.finding}\n" if verdict.finding else ", nothing found\n"))
        sys.stdout.flush()
        found_count += bool(verdict.finding)
    return 1 if found_count else 0


if __name__ == "__main__":
    sys.exit(main())
