"""What runs in a process of its own for each mutant; it must load nothing of ours before the mutant is in its place."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ARGUMENTS = ("-x", "-q", "--no-cov", "-p", "no:randomly", "-p", "no:cacheprovider")


def run_tests(folder: str, selection: list[str]) -> None:
    """Run the tests of the tree in `folder`, and exit with pytest's status."""
    # A cached module is known by its second and its size: a mutant made in the same second would not be read.
    sys.dont_write_bytecode = True
    os.chdir(folder)
    with Path(os.devnull).open("w") as nowhere:
        for number in (1, 2):
            os.dup2(nowhere.fileno(), number)
    sys.exit(pytest.main([*ARGUMENTS, *selection]))
