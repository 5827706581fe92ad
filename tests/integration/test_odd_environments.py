"""The daemon where nothing is prepared for it: no home, no locale, another time zone, nowhere for scratch files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from gatewayd import exits
from tests.support.gateway_folder import GatewayFolder

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S_MAX: Final = 60
BARE: Final = {
    "LC_ALL": "C",
    "PYTHONCOERCECLOCALE": "0",  # or Python mends it by itself
    "PYTHONUTF8": "0",
    "TZ": "XXX-14",
    "TMPDIR": "/nonexistent",
}
KEPT: Final = ("PATH", "PYTHONPATH")
READ_ONLY_SCRATCH: Final = """
mount --make-rprivate / && mount --bind /tmp /tmp && mount --bind "$0" "$0" && mount -o remount,bind,ro /tmp || exit 99
! touch /tmp/carelock-can-write 2>/dev/null && exec "$@"
"""
"""For `sh -c` in a mount namespace: /tmp read-only but for the folder of the test, then the command."""


class OddPlace:
    """Runs `gatewayd` with next to no variables and, where this user may, with /tmp read-only."""

    def __init__(self, folder: Path) -> None:
        self.gateway = GatewayFolder(folder)
        self.gateway.drop_in("10.toml", "[mqtt]\nport = 1\n")  # nobody listens there
        self.environ = BARE | {name: os.environ[name] for name in KEPT if name in os.environ}
        self.within: tuple[str, ...] = ()
        closed = ("unshare", "--mount", "sh", "-c", READ_ONLY_SCRATCH, str(folder))
        if (
            os.geteuid() == 0
            and shutil.which("unshare")
            and subprocess.run([*closed, "true"], check=False).returncode == 0
        ):
            self.within = closed

    def command(self, *arguments: str) -> list[str]:
        """Return the words of one command."""
        return [*self.within, sys.executable, "-m", "gatewayd", *arguments, "--config", str(self.gateway.config)]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end; bytes, because nothing says in which character set it speaks."""
        done = subprocess.run(
            self.command(*arguments), env=self.environ, capture_output=True, check=False, timeout=WAIT_S_MAX
        )
        assert b"Traceback" not in done.stderr, done.stderr
        return done


@pytest.fixture
def place(tmp_path: Path) -> OddPlace:
    return OddPlace(tmp_path)


def test_without_home_locale_and_scratch_folder_in_a_far_time_zone_it_does_all_that_it_does_elsewhere(
    place: OddPlace, tmp_path: Path
) -> None:
    assert place.run("provision", str(place.gateway.write_papers())).returncode == exits.OK
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, (tmp_path / "log").open("wb") as log:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(WAIT_S_MAX)
        environ = place.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        began = datetime.now(UTC)
        daemon = subprocess.Popen(place.command("run"), env=environ, stdout=log, stderr=log)
        try:
            assert manager.recv(4_096) == b"READY=1"
            told = place.run("status", "--json")
            assert json.loads(told.stdout)["gateway_id"] == place.gateway.home.gateway_id.hex()
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(WAIT_S_MAX) == exits.OK
        finally:
            daemon.kill()
            daemon.wait()
    lines = [json.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    moments = [datetime.fromisoformat(line["timestamp"]) for line in lines]
    assert all(abs(moment - began) < timedelta(hours=1) for moment in moments), moments
    assert place.run("log", "verify").returncode == exits.OK
    # Emptying entries writes the file anew: that must find room beside the store, not in a scratch folder.
    assert place.run("log", "erase", "--subject", "nobody").returncode == exits.OK


def test_what_a_terminal_cannot_show_is_escaped_and_no_fault(place: OddPlace) -> None:
    helped = place.run("pair", "--help")
    assert helped.returncode == exits.OK
    assert b"Usage: gatewayd pair" in helped.stdout
    place.gateway.config = place.gateway.folder / "d\N{LATIN SMALL LETTER O WITH DIAERESIS}rr.toml"
    assert place.run("check-config").returncode == exits.CONFIG
