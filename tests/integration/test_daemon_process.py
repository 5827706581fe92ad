"""The daemon as a process of its own, from a configuration file, without a radio and without a broker."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from gatewayd import exits
from tests.support.gateway_folder import GatewayFolder
from tests.support.strace_trap import require_strace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_S_MAX: Final = 30
STOP_S_MAX: Final = 20


class Daemon:
    """A running `gatewayd run`, with this test as its service manager."""

    def __init__(self, folder: GatewayFolder) -> None:
        self.folder = folder
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = folder.folder / "notify"
        self.notifications.bind(str(address))
        self.notifications.settimeout(START_S_MAX)
        self.log = folder.folder / "log"
        environ = os.environ | {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "30000000"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command(folder, "run"), env=environ, stdout=log, stderr=log)

    def heard(self) -> str:
        """The next notification."""
        return self.notifications.recv(4_096).decode()

    def stop(self) -> int:
        """End it as a service manager would, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S_MAX)


def command(folder: GatewayFolder, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "gatewayd", *arguments, "--config", str(folder.config)]


def run(folder: GatewayFolder, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, *arguments), capture_output=True, text=True, check=False, timeout=60)


@contextlib.contextmanager
def broken_calls(pid: int, calls: str, error: str) -> Iterator[None]:
    """Let every one of these system calls of a process fail for the length of a block."""
    options = ("-f", "-o", os.devnull, "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}", "-p", str(pid))
    tracer = subprocess.Popen(["strace", *options], stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        assert "attached" in said, said
        yield
    finally:
        tracer.terminate()
        tracer.communicate()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    folder = GatewayFolder(tmp_path)
    folder.drop_in("10.toml", "[mqtt]\nport = 1\n")  # nobody listens there
    provisioned = run(folder, "provision", str(folder.write_papers()))
    assert provisioned.returncode == 0, provisioned.stderr
    daemon = Daemon(folder)
    yield daemon
    if daemon.process.poll() is None:
        daemon.process.kill()
        daemon.process.wait()
    daemon.notifications.close()


def test_without_broker_and_radio_it_runs_tells_how_it_does_and_stops_in_order(daemon: Daemon) -> None:
    assert daemon.heard() == "READY=1"
    told = run(daemon.folder, "status", "--json")
    assert told.returncode == 0, told.stderr
    document = json.loads(told.stdout)
    assert document["gateway_id"] == daemon.folder.home.gateway_id.hex()
    assert document["broker"]["connected"] is False
    assert [lock["ready"] for lock in document["locks"]] == [False]
    assert run(daemon.folder, "log", "verify").returncode == 0
    reported = run(daemon.folder, "bugreport", "--json", "--output", str(daemon.folder.folder))
    assert reported.returncode == 0, reported.stderr
    report = json.loads(reported.stdout)
    had = {part["name"] for part in report["parts"] if part["absent"] is None}
    assert had >= {"versions.json", "settings.txt", "status.json", "metrics.prom", "store.json", "files.json"}
    assert "stop the daemon first" in run(daemon.folder, "provision", str(daemon.folder.write_papers())).stderr
    assert daemon.stop() == 0
    log = daemon.log.read_text()
    assert "Traceback" not in log
    events = [json.loads(line) for line in log.splitlines()]
    assert all(event["event"] for event in events)
    assert [event["report"] for event in events if event["event"] == "bugreport.made"] == [report["id"]]


def test_after_a_kill_it_starts_again_on_the_socket_it_left_behind(daemon: Daemon) -> None:
    assert daemon.heard() == "READY=1"
    daemon.process.kill()
    daemon.process.wait()
    (daemon.folder.folder / "notify").unlink()
    daemon.notifications.close()
    again = Daemon(daemon.folder)
    try:
        assert again.heard() == "READY=1"
        assert json.loads(run(daemon.folder, "status", "--json").stdout)["boot"] == 2
    finally:
        again.stop()
        again.notifications.close()


def test_on_a_damaged_store_it_starts_with_what_can_be_read_and_keeps_the_damaged_file(daemon: Daemon) -> None:
    assert daemon.heard() == "READY=1"
    assert daemon.stop() == 0
    store = daemon.folder.store
    rotten = store.read_bytes()[:-1]  # cut in the middle of its last page
    store.write_bytes(rotten)
    (daemon.folder.folder / "notify").unlink()
    daemon.notifications.close()
    again = Daemon(daemon.folder)
    try:
        assert again.heard() == "READY=1"
        document = json.loads(run(daemon.folder, "status", "--json").stdout)
        assert [lock["lock_id"] for lock in document["locks"]] == [daemon.folder.home.lock_id.hex()]
        told = run(daemon.folder, "log", "tail", "--json")
        assert "carelock.log.begun" in told.stdout
    finally:
        again.stop()
        again.notifications.close()
    assert store.with_name(f"{store.name}.damaged-1").read_bytes() == rotten


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coverage would want to write too, and complain in its own words."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("error", ["ENOSPC", "EROFS", "EIO"])
def test_on_a_disk_that_takes_nothing_any_more_it_stops_as_asked_and_says_in_one_line_what_is_wrong(
    daemon: Daemon, error: str
) -> None:
    require_strace()
    assert daemon.heard().startswith("READY=1")
    calls = "pwrite64,fsync,fdatasync,ftruncate"
    with broken_calls(daemon.process.pid, calls, error):
        assert daemon.stop() == exits.OK
    lines = daemon.log.read_text().splitlines()
    assert not [line for line in lines if "Traceback" in line]
    assert len([line for line in lines if "store." in line]) == 1
    assert "daemon.stopped" in lines[-1]
