"""The installer's hour, on CLOCK_BOOTTIME of the boot in which the lock was paired."""

from __future__ import annotations

import pytest

from gatewayd.access.installers import INSTALLER_MS, Installers, Pairing

LOCK, CTI, PAIRED_MS = b"lock-one", bytes(16), 5_000


@pytest.mark.parametrize(
    ("boottime_ms", "machine_boot", "is_open"),
    [
        pytest.param(PAIRED_MS, "boot", True, id="at once"),
        pytest.param(PAIRED_MS + INSTALLER_MS - 1, "boot", True, id="the last millisecond"),
        pytest.param(PAIRED_MS + INSTALLER_MS, "boot", False, id="an hour later"),
        pytest.param(PAIRED_MS - 1, "boot", False, id="before the pairing"),
        pytest.param(PAIRED_MS, "the next boot", False, id="another boot of the machine"),
    ],
)
def test_an_installer_has_an_hour(boottime_ms: int, machine_boot: str, is_open: bool) -> None:  # noqa: FBT001 - a table column
    pairing = Pairing(installer_cti=CTI, machine_boot="boot", boottime_ms=PAIRED_MS)
    installers = Installers(pairings={LOCK: pairing}, machine_boot=machine_boot)
    assert dict(installers.open_at(boottime_ms)) == ({LOCK: CTI} if is_open else {})
