"""What a home installs: pinned, hashed, from wherever the installer chooses."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[3]
LOCKS: Final = ("run", "simulator", "dev", "fuzz")
PIN: Final = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>[^ ;\\]+)")


def text(lock: str) -> str:
    """One lock file."""
    return (ROOT / "requirements" / f"{lock}.txt").read_text()


def pins(lock: str) -> dict[str, str]:
    """Name and version of all that it installs."""
    found = (PIN.match(line) for line in text(lock).splitlines())
    return {pin["name"]: pin["version"] for pin in found if pin}


def names(requirements: list[str]) -> set[str]:
    """The packages that pyproject.toml asks for."""
    return {re.split(r"[<>=!~\[ ]", requirement)[0] for requirement in requirements}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_registry(lock: str) -> None:
    assert "://" not in text(lock)
    assert "--index" not in text(lock)
    assert "--find-links" not in text(lock)


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_in_a_lock_is_pinned_to_hashes(lock: str) -> None:
    blocks = re.split(r"\n(?=\S)", text(lock))
    requirements = [block for block in blocks if not block.startswith("#")]
    assert requirements
    assert all(PIN.match(block) and "--hash=sha256:" in block for block in requirements)


def test_the_locks_agree_where_they_overlap() -> None:
    assert pins("run").items() <= pins("simulator").items() <= pins("dev").items()
    assert pins("run").items() <= pins("fuzz").items()


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert names(project["dependencies"]) <= pins("run").keys()
    assert names(extras["simulator"]) <= pins("simulator").keys()
    assert names(extras["dev"]) <= pins("dev").keys()
    assert names(extras["fuzz"]) <= pins("fuzz").keys()


def test_no_home_gets_the_simulator_or_the_tools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert not names(extras["simulator"] + extras["dev"]) & pins("run").keys()
