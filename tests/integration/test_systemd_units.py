"""The units as systemd itself reads them: no door hangs on a typo in a unit file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from xml.etree import ElementTree as ET

import pytest

from gatewayd.link.bluez import BLUEZ, RESET_UNIT, RESTART_UNIT

UNITS: Final = Path(__file__).resolve().parents[2] / "systemd"
SERVICE: Final = UNITS / "gatewayd.service"
HELPERS: Final = ("gatewayd-reset-adapter@.service", "gatewayd-restart-bluetooth.service")
EXPOSURE_MAX: Final = 1.1
HELPER_EXPOSURE_MAX: Final = 1.5
EXECUTABLES: Final = ("opt/gatewayd/bin/gatewayd", "bin/kill", "bin/systemctl", "usr/lib/gatewayd/reset-adapter")


def needs(command: str) -> pytest.MarkDecorator:
    """Skip where a part of systemd is not installed."""
    return pytest.mark.skipif(shutil.which(command) is None, reason=f"{command} (Debian package: systemd) is missing")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run to the end and keep what it said."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def settings() -> dict[str, list[str]]:
    """The unit's settings with all their values, in order."""
    found: dict[str, list[str]] = {}
    for line in SERVICE.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def staged_root(tmp_path: Path) -> Path:
    """A root folder in which the unit is installed and what it starts exists."""
    units = tmp_path / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for source in (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system")):
        for pattern in ("*.target", "*.slice", "*.socket", "*.mount"):
            for unit in source.glob(pattern):
                if unit.is_file() and not unit.is_symlink():
                    shutil.copy(unit, units)
    for unit in (SERVICE, *(UNITS / helper for helper in HELPERS)):
        shutil.copy(unit, units)
    for executable in EXECUTABLES:
        path = tmp_path / executable
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return tmp_path


@needs("systemd-analyze")
@pytest.mark.parametrize(
    "unit", ["gatewayd.service", "gatewayd-reset-adapter@hci0.service", "gatewayd-restart-bluetooth.service"]
)
def test_verify_finds_nothing_to_say_about_a_unit(staged_root: Path, unit: str) -> None:
    done = run("systemd-analyze", "verify", "--man=no", f"--root={staged_root}", unit)
    assert (done.returncode, done.stderr) == (0, "")


@needs("systemd-analyze")
def test_verify_notices_an_executable_that_is_not_there(staged_root: Path) -> None:
    (staged_root / EXECUTABLES[0]).unlink()
    done = run("systemd-analyze", "verify", "--man=no", f"--root={staged_root}", "gatewayd.service")
    assert done.returncode != 0
    assert "/opt/gatewayd/bin/gatewayd" in done.stderr


@needs("systemd-analyze")
@pytest.mark.parametrize(
    ("unit", "exposure_max"),
    [(SERVICE.name, EXPOSURE_MAX), *((helper, HELPER_EXPOSURE_MAX) for helper in HELPERS)],
)
def test_exposure_stays_below_its_bar(unit: str, exposure_max: float) -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", UNITS / unit)
    assert done.returncode == 0, done.stderr
    closing = done.stdout.strip().splitlines()[-1]
    exposure = float(closing.partition(".service: ")[2].split()[0])
    assert exposure <= exposure_max


@needs("systemd-analyze")
def test_only_the_known_openings_remain() -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--json=short", SERVICE)
    open_still = {check["name"] for check in json.loads(done.stdout) if not check["set"] and check["exposure"]}
    assert open_still <= {
        "RootDirectory=/RootImage=",  # it runs from the host's /opt and /usr
        "RestrictAddressFamilies=~AF_UNIX",  # the system bus, the commands' socket, the service manager
        "RestrictAddressFamilies=~AF_(INET|INET6)",  # the broker
        "PrivateNetwork=",  # the broker
        "IPAddressDeny=",  # where the broker is, is the home's configuration, not ours
        "DeviceAllow=",  # ProtectClock= lets the real-time clock be read
    }


@needs("systemd-sysusers")
def test_sysusers_would_make_the_user_that_the_service_runs_as(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    done = run("systemd-sysusers", "--dry-run", f"--root={tmp_path}", UNITS / "gatewayd.sysusers.conf")
    assert done.returncode == 0, done.stderr
    assert settings()["User"] == ["gatewayd"]
    assert "Creating user 'gatewayd'" in done.stdout + done.stderr


@needs("systemd-tmpfiles")
def test_tmpfiles_makes_a_credentials_folder_for_root_only(tmp_path: Path) -> None:
    done = run("systemd-tmpfiles", "--create", f"--root={tmp_path}", UNITS / "gatewayd.tmpfiles.conf")
    if done.returncode != 0 and "Operation not permitted" in done.stderr:
        pytest.skip("only root may give folders to root")
    assert (done.returncode, done.stderr) == (0, "")
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (tmp_path / "etc/gatewayd").iterdir()}
    assert modes == {"conf.d": 0o755, "trust.d": 0o755, "credentials": 0o700}


def test_a_door_is_never_left_dead_but_for_a_configuration_that_cannot_work() -> None:
    found = settings()
    assert found["Restart"] == ["always"]
    assert found["StartLimitIntervalSec"] == ["0"]
    assert found["RestartPreventExitStatus"] == ["78"]
    assert (found["Type"], found["WatchdogSec"]) == (["notify"], ["30"])


def test_start_waits_for_neither_the_internet_nor_the_right_time() -> None:
    found = settings()
    waited_for = " ".join(value for name in ("After", "Requires", "Wants", "BindsTo") for value in found.get(name, []))
    assert "network-online.target" not in waited_for
    assert "time-sync.target" not in waited_for
    assert "Requires" not in found


def test_the_service_can_open_no_port() -> None:
    found = settings()
    assert found["SocketBindDeny"] == ["any"]
    assert "SocketBindAllow" not in found


def test_a_daemon_that_is_aborted_leaves_no_core_with_its_keys() -> None:
    assert settings()["LimitCORE"] == ["0"]


def test_no_secret_stands_in_the_unit() -> None:
    found = settings()
    assert "SetCredential" not in found
    assert "Environment" not in found
    brought = {value.partition(":")[0]: value.partition(":")[2] for value in found["LoadCredential"]}
    assert brought.pop("machine-boot") == "/proc/sys/kernel/random/boot_id"
    assert all(path.startswith("/etc/gatewayd/credentials/") for path in brought.values())


@dataclass(frozen=True, kw_only=True)
class Sysfs:
    """A `/sys` with one adapter on USB, hci0, and one on a serial line, hci1."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> Self:
        device = root / "devices/usb1/1-1"
        (device / "1-1:1.0/bluetooth/hci0").mkdir(parents=True)
        (device / "idVendor").write_text("0a12\n")
        for authorized in (device / "authorized", device / "1-1:1.0/authorized"):
            authorized.write_text("1\n")
        (root / "devices/serial0-0/bluetooth/hci1/rfkill7").mkdir(parents=True)
        (root / "devices/serial0-0/bluetooth/hci1/rfkill7/soft").write_text("0\n")
        adapters = root / "class/bluetooth"
        adapters.mkdir(parents=True)
        for index, above in (("hci0", device / "1-1:1.0"), ("hci1", root / "devices/serial0-0")):
            (above / f"bluetooth/{index}/device").symlink_to(above)
            (adapters / index).symlink_to(above / f"bluetooth/{index}")
        return cls(root=root)

    def reset(self, index: str) -> subprocess.CompletedProcess[str]:
        command = (UNITS / "reset-adapter", index, self.root)
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, env=os.environ | {"RESET_PAUSE_S": "0"}
        )


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs.make(tmp_path)


def test_an_adapter_on_usb_is_reset_by_the_switch_of_its_device_and_not_of_its_interface(sysfs: Sysfs) -> None:
    done = sysfs.reset("hci0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("devices/usb1/1-1/authorized")
    assert (sysfs.root / "devices/usb1/1-1/authorized").read_text() == "1"
    assert (sysfs.root / "devices/usb1/1-1/1-1:1.0/authorized").read_text() == "1\n"


def test_an_adapter_on_a_serial_line_is_reset_by_its_radio_switch(sysfs: Sysfs) -> None:
    done = sysfs.reset("hci1")
    assert done.returncode == 0, done.stderr
    assert (sysfs.root / "devices/serial0-0/bluetooth/hci1/rfkill7/soft").read_text() == "0"
    assert "rfkill7/soft" in done.stdout


@pytest.mark.parametrize("index", ["hci0/../../devices", "hci", "hci1000", "usb1", "../hci0", ""])
def test_what_is_not_the_index_of_an_adapter_reaches_no_file(sysfs: Sysfs, index: str) -> None:
    done = sysfs.reset(index)
    assert (done.returncode, done.stdout) == (64, "")


def test_an_adapter_that_is_not_there_is_one_clear_line(sysfs: Sysfs) -> None:
    done = sysfs.reset("hci9")
    assert (done.returncode, done.stderr) == (69, "reset-adapter: hci9 is not there, or has no switch\n")


def test_the_gateway_may_start_only_what_the_ladder_starts() -> None:
    rule = (UNITS / "gatewayd.rules").read_text()
    assert RESTART_UNIT in rule
    assert RESET_UNIT.partition("@")[0] in rule
    assert {RESTART_UNIT, RESET_UNIT.format("")} == set(HELPERS)


def test_the_bus_lets_the_service_s_user_talk_to_blue_z() -> None:
    tree = ET.parse(UNITS / "gatewayd.dbus.conf")
    (policy,) = tree.getroot()
    assert policy.attrib == {"user": settings()["User"][0]}
    assert [rule.attrib for rule in policy] == [{"send_destination": BLUEZ}]
