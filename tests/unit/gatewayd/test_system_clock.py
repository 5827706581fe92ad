"""Which clocks are read, and which boot of the machine it is, wherever the service may look."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gatewayd.system_clock import BOOT_CREDENTIAL, BOOT_ID, SystemClock, machine_boot

if TYPE_CHECKING:
    from pathlib import Path

SLEPT_S = 40_000_000
"""More than a year: no clock of this machine differs from another by as much."""
SHOW = "from gatewayd.system_clock import SystemClock as C; n = C().now(); print(n.boottime_ms - n.monotonic_ms)"


def test_a_machine_that_slept_has_its_sleep_in_the_clock_of_deadlines_and_not_in_the_other() -> None:
    # In a time namespace whose CLOCK_BOOTTIME is ahead: what a suspended machine finds when it wakes.
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root makes a time namespace, with unshare")
    command = ["unshare", "--time", "--boottime", str(SLEPT_S), "--fork", sys.executable, "-c", SHOW]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0 and done.stderr.startswith("unshare:"):
        pytest.skip(f"this kernel gives no time namespace: {done.stderr.strip()}")
    before = SystemClock().now()
    assert int(done.stdout) >= SLEPT_S * 1_000 + (before.boottime_ms - before.monotonic_ms) - 1_000


def test_deadlines_go_by_the_clock_that_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = {"CLOCK_MONOTONIC": 5_000_000, "CLOCK_BOOTTIME": 7_000_000}
    for name in readings:
        monkeypatch.setattr(f"gatewayd.system_clock.time.{name}", name)
    monkeypatch.setattr("gatewayd.system_clock.time.clock_gettime_ns", readings.__getitem__)
    now = SystemClock().now()
    assert (now.monotonic_ms, now.boottime_ms) == (5, 7)


def test_the_boot_id_that_systemd_brings_is_taken_first(tmp_path: Path) -> None:
    (tmp_path / BOOT_CREDENTIAL).write_text("0f0f\n")
    assert machine_boot({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "0f0f"


def test_without_one_the_kernel_is_asked(tmp_path: Path) -> None:
    assert machine_boot({}) == machine_boot({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == BOOT_ID.read_text().strip()
