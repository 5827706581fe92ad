"""Five real minutes in which nothing happens: the daemon's process writes nothing, and sleeps."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.support.real_home import RealHome

IDLE_S: Final = 300
CALM_S: Final = 60
PER_PING_MAX: Final = 30
"""Switches of all threads for a ping through bleak and the simulated radio, and its answer."""
PER_BEAT_MAX: Final = 8
"""Of loop and writer for one sign of life to the watchdog."""
OTHER_PER_S_MAX: Final = 0.05


def switches(pid: int) -> int:
    """Return the voluntary context switches of all threads."""
    statuses = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in statuses)


def written(pid: int) -> int:
    """Return the bytes that the process has had written to a disk."""
    return int(Path(f"/proc/{pid}/io").read_text().partition("\nwrite_bytes:")[2].split()[0])


def touched(folder: Path) -> dict[Path, int]:
    """Return when each file of the store was last written to."""
    files = {file: file.stat().st_mtime_ns for file in folder.rglob("gatewayd.sqlite*")}
    assert files
    return files


@pytest.mark.soak
async def test_in_five_idle_minutes_the_daemon_writes_nothing_and_sleeps(tmp_path: Path) -> None:
    async with RealHome(tmp_path) as home, home.alarm_centre():
        await home.start_gateway()
        await home.wait_clock()
        await home.wait_quiet()
        await asyncio.sleep(CALM_S)
        pid = home.world.gateway.pid
        store = touched(tmp_path)
        before = (written(pid), switches(pid))
        await asyncio.sleep(IDLE_S)
        after = (written(pid), switches(pid))
        print(f"idle for {IDLE_S} s: {after[0] - before[0]} bytes, {after[1] - before[1]} switches")  # noqa: T201 - a figure to keep
        assert touched(tmp_path) == store
        assert after[0] - before[0] == 0
        allowed = IDLE_S / 5 * (PER_PING_MAX + PER_BEAT_MAX) + IDLE_S * OTHER_PER_S_MAX
        assert after[1] - before[1] <= allowed
