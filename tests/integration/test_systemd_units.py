"""The units as systemd itself reads them: no door hangs on a typo in a unit file."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

UNITS: Final = Path(__file__).resolve().parents[2] / "systemd"
SERVICE: Final = UNITS / "gatewayd.service"
EXPOSURE_MAX: Final = 1.2
EXECUTABLES: Final = ("opt/gatewayd/bin/gatewayd", "bin/kill")


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
    shutil.copy(SERVICE, units)
    for executable in EXECUTABLES:
        path = tmp_path / executable
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return tmp_path


@needs("systemd-analyze")
def test_verify_finds_nothing_to_say_about_the_service(staged_root: Path) -> None:
    done = run("systemd-analyze", "verify", "--man=no", f"--root={staged_root}", "gatewayd.service")
    assert (done.returncode, done.stderr) == (0, "")


@needs("systemd-analyze")
def test_verify_notices_an_executable_that_is_not_there(staged_root: Path) -> None:
    (staged_root / EXECUTABLES[0]).unlink()
    done = run("systemd-analyze", "verify", "--man=no", f"--root={staged_root}", "gatewayd.service")
    assert done.returncode != 0
    assert "/opt/gatewayd/bin/gatewayd" in done.stderr


@needs("systemd-analyze")
def test_exposure_stays_below_its_bar() -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", SERVICE)
    assert done.returncode == 0, done.stderr
    closing = done.stdout.strip().splitlines()[-1]
    exposure = float(closing.partition("gatewayd.service: ")[2].split()[0])
    assert exposure <= EXPOSURE_MAX


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
        "ProcSubset=",  # the machine's boot id stands in /proc/sys
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


def test_no_secret_stands_in_the_unit() -> None:
    found = settings()
    assert "SetCredential" not in found
    assert "Environment" not in found
    assert all(":/etc/gatewayd/credentials/" in value for value in found["LoadCredential"])
