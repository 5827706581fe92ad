"""Which boot of the machine it is, wherever the service may look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd.system_clock import BOOT_CREDENTIAL, BOOT_ID, machine_boot

if TYPE_CHECKING:
    from pathlib import Path


def test_the_boot_id_that_systemd_brings_is_taken_first(tmp_path: Path) -> None:
    (tmp_path / BOOT_CREDENTIAL).write_text("0f0f\n")
    assert machine_boot({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "0f0f"


def test_without_one_the_kernel_is_asked(tmp_path: Path) -> None:
    assert machine_boot({}) == machine_boot({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == BOOT_ID.read_text().strip()
