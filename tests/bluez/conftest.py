"""The guests of this folder, which run at the same time, and what they took, printed at the end."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import pytest_asyncio

from tests.support.guest import Guest
from tests.support.guest_demo import GuestDemo, play_in_guest
from tests.support.guest_image import what_is_missing
from tests.support.guest_phases import Phases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PHASES: Final = pytest.StashKey[list[Phases]]()
TOOK_S: Final = pytest.StashKey[float]()
DEMO: Final = "test_demo_story.py"


@pytest.fixture(scope="session")
def kept_phases(request: pytest.FixtureRequest) -> Iterator[list[Phases]]:
    """The phases of each guest, for the summary."""
    reason = what_is_missing()
    if reason is not None:
        pytest.skip(f"no guest to test the real Bluetooth stack in: {reason}")
    began_s = time.monotonic()
    yield request.config.stash.setdefault(PHASES, [])
    request.config.stash[TOOK_S] = time.monotonic() - began_s


@asynccontextmanager
async def booted(folder: Path, title: str, kept_phases: list[Phases]) -> AsyncIterator[tuple[Guest, Phases]]:
    """Boot a guest for the length of a block."""
    guest = Guest(folder)
    phases = Phases(title, guest)
    kept_phases.append(phases)
    with phases("power on to a system bus"):
        await guest.__aenter__()
    try:
        yield guest, phases
    finally:
        phases.close()
        await guest.__aexit__()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def demo(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, kept_phases: list[Phases]
) -> AsyncIterator[asyncio.Task[GuestDemo] | None]:
    """The demo's run beside the other tests; None where nobody asks for it. An emulator keeps about one core busy."""

    async def run() -> GuestDemo:
        async with booted(tmp_path_factory.mktemp("demo-guest"), "the demo's guest", kept_phases) as (guest, phases):
            return await play_in_guest(guest, tmp_path_factory.mktemp("demo"), phases)

    if all(item.path.name != DEMO for item in request.session.items):
        yield None
        return
    running = asyncio.create_task(run())
    yield running
    running.cancel()
    await asyncio.wait({running})


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guest_and_phases(
    demo: asyncio.Task[GuestDemo] | None,
    tmp_path_factory: pytest.TempPathFactory,
    kept_phases: list[Phases],
) -> AsyncIterator[tuple[Guest, Phases]]:
    async with booted(tmp_path_factory.mktemp("guest"), "the guest of the other tests", kept_phases) as (guest, phases):
        kernel = (await guest.run("uname", "-r")).output.strip()
        bluez = (await guest.run("/usr/libexec/bluetooth/bluetoothd", "--version")).output.strip()
        systemd = (await guest.run("systemctl", "--version")).output.split()[1]
        phases.note(f"kernel {kernel}, BlueZ {bluez}, bleak {version('bleak')}, systemd {systemd}")
        yield guest, phases


@pytest.fixture(scope="session")
def guest(guest_and_phases: tuple[Guest, Phases]) -> Guest:
    return guest_and_phases[0]


@pytest.fixture(scope="session")
def phases(guest_and_phases: tuple[Guest, Phases]) -> Phases:
    return guest_and_phases[1]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    kept_phases = config.stash.get(PHASES, [])
    if not kept_phases:
        return
    terminalreporter.section("the real Bluetooth stack, in two emulated machines")
    for phases in kept_phases:
        for line in phases.lines:
            terminalreporter.write_line(line)
    terminalreporter.write_line(f"{config.stash.get(TOOK_S, 0):7.1f} s  both, which run at the same time")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run these last and unshuffled: no other test is beside the emulators, and the service stops once.

    The demo's test comes last of all, for it only collects what has run beside the others.
    """
    folder = Path(__file__).parent
    here = [item for item in items if item.path.parent == folder]
    others = [item for item in items if item.path.parent != folder]
    here.sort(key=lambda item: (item.path.name == DEMO, item.path, item.location[1] or 0))
    items[:] = [*others, *here]
