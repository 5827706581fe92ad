"""The guest that all tests of this folder share, and what they took, printed at the end."""

from __future__ import annotations

import contextlib
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import pytest_asyncio

from tests.support.guest import Guest
from tests.support.guest_image import what_is_missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

PHASES: Final = pytest.StashKey[list[str]]()


class Phases:
    """What took how long, in the order in which it happened."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._began_s = time.monotonic()
        self.cpu_s: Callable[[], float] = lambda: 0.0
        """The emulator's processor time: about what a phase takes on a machine that does nothing else."""

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what is inside."""
        began_s, cpu_s = time.monotonic(), self.cpu_s()
        try:
            yield
        finally:
            self.note(f"{time.monotonic() - began_s:7.1f} s ({self.cpu_s() - cpu_s:5.1f} s of processor)  {name}")

    def close(self) -> None:
        """Say what it came to."""
        total_s = time.monotonic() - self._began_s
        self.note(f"{total_s:7.1f} s ({self.cpu_s():5.1f} s of processor)  altogether")

    def note(self, line: str) -> None:
        """Print this, too."""
        self._lines.append(line)


@pytest.fixture(scope="session")
def phases(request: pytest.FixtureRequest) -> Phases:
    return Phases(request.config.stash.setdefault(PHASES, []))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guest(tmp_path_factory: pytest.TempPathFactory, phases: Phases) -> AsyncIterator[Guest]:
    reason = what_is_missing()
    if reason is not None:
        pytest.skip(f"no guest to test the real Bluetooth stack in: {reason}")
    guest = Guest(tmp_path_factory.mktemp("guest"))
    phases.cpu_s = guest.cpu_s
    with phases("power on to a system bus"):
        await guest.__aenter__()
    try:
        kernel = (await guest.run("uname", "-r")).output.strip()
        bluez = (await guest.run("/usr/libexec/bluetooth/bluetoothd", "--version")).output.strip()
        systemd = (await guest.run("systemctl", "--version")).output.split()[1]
        phases.note(f"kernel {kernel}, BlueZ {bluez}, bleak {version('bleak')}, systemd {systemd}")
        yield guest
    finally:
        phases.close()
        await guest.__aexit__()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(PHASES, [])
    if lines:
        terminalreporter.section("the real Bluetooth stack, in an emulated machine")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run these last and unshuffled: no other test is beside the emulator, and the service stops once."""
    folder = Path(__file__).parent
    here = [item for item in items if item.path.parent == folder]
    others = [item for item in items if item.path.parent != folder]
    items[:] = [*others, *sorted(here, key=lambda item: (item.path, item.location[1] or 0))]
