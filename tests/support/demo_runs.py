"""Runs of the demo in a process of its own, on this tree or on a copy of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

TREE: Final = Path(__file__).parents[2]
PACKAGES: Final = ("firmware_protocol", "gatewayd", "simulator")
RUN_S_MAX: Final = 240
"""Longest run, in seconds: what is broken may cost the story all its patience."""


@dataclass(frozen=True, kw_only=True)
class DemoRun:
    """What a run printed and how it ended."""

    code: int
    document: dict[str, Any]
    """Of `--json`; empty where there was none."""
    story: str
    """What people see meanwhile."""

    def broken(self) -> dict[str, str]:
        """Return the promises that the story found broken, and how."""
        promises = self.document.get("promises", {})
        return {name: each["detail"] for name, each in promises.items() if not each["held"]}


def run_demo(*options: str, tree: Path = TREE) -> DemoRun:
    """Run the demo of the packages in `tree`."""
    command = [sys.executable, "-m", "simulator", "demo", "--json", *options]
    done = subprocess.run(
        command, cwd=tree, env=environment(tree), capture_output=True, text=True, timeout=RUN_S_MAX, check=False
    )
    document = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    return DemoRun(code=done.returncode, document=document, story=done.stderr)


def environment(tree: Path) -> dict[str, str]:
    """Return variables with which Python finds `tree` first, and measures no coverage of a copy."""
    kept = {name: value for name, value in os.environ.items() if tree == TREE or not name.startswith("COVERAGE_")}
    return {**kept, "PYTHONPATH": str(tree)}


def copy_tree(to: Path) -> Path:
    """Copy the packages. Compiled modules come along: they are told apart by the time of their source."""
    for package in PACKAGES:
        shutil.copytree(TREE / package, to / package)
    return to


def apply_patch(patch: Path, tree: Path, *, check: bool = False) -> None:
    """Apply a patch in `tree`; with `check` only find out whether it fits.

    Raises:
        ValueError: it does not fit; what it changes has changed, and it must follow.
    """
    # Outside of any repository, so that git takes the paths as they are.
    environ = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    command: Sequence[str] = ("git", "apply", "--whitespace=nowarn", *(["--check"] if check else []), str(patch))
    done = subprocess.run(command, cwd=tree, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"{patch.name} has to follow the code that it breaks:\n{done.stderr}")
