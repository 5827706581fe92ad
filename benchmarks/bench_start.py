"""Start and memory of the daemon beside its floor, the bare import of the packages that it cannot do without.

The daemon starts from a configuration file as in a home, with a provisioned store, no reachable broker and whatever
radio the machine has: what is measured is its own cost, not the network's.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.home import ROOT, gatewayd, write_home
from benchmarks.memory import resident_kib
from benchmarks.rows import BenchError, Row, median

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN_COUNT: Final = 9
"""Odd, so that the median is a run. The first pair, which warms the caches, is thrown away."""
READY_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 15.0
SETTLE_S: Final = 1.0
"""From READY to the reading of VmRSS: what the first turns of the loop import or build counts too."""
RATIO_READY_MAX: Final = 1.5
RATIO_RSS_MAX: Final = 1.2
RSS_MIB_MAX: Final = 64.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One measured start."""

    ready_ms: float
    rss_mib: float


def environment() -> dict[str, str]:
    """The variables of every measured process: bytecode is kept, as it is where a package has been installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def floor() -> Start:
    """Import the fixed list in a new process, timed as the daemon is: from fork to the message that it is done."""
    command = [sys.executable, "-m", "benchmarks.floor_imports"]
    started_s = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as imports:
        said = imports.stdout.readline() if imports.stdout else ""
        ready_ms = (time.perf_counter() - started_s) * 1_000
    if imports.returncode != 0:
        raise BenchError("the floor's imports failed")
    return Start(ready_ms=ready_ms, rss_mib=json.loads(said)["rss_kib"] / 1_024)


def wait_ready(notifications: socket.socket, daemon: subprocess.Popen[bytes]) -> None:
    """Return when the daemon says READY=1 on its notification socket.

    Raises:
        BenchError: it ended or stayed silent.
    """
    deadline_s = time.perf_counter() + READY_TIMEOUT_S
    while time.perf_counter() < deadline_s:
        notifications.settimeout(0.1)
        try:
            if b"READY=1" in notifications.recv(4_096).splitlines():
                return
        except TimeoutError:
            if daemon.poll() is not None:
                raise BenchError(f"the daemon ended with status {daemon.returncode} before it was ready") from None
    raise BenchError(f"the daemon was not ready within {READY_TIMEOUT_S:g} s")


@contextlib.contextmanager
def running_daemon(home: Path, notify_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon of its own, stopped at the end as a service manager would."""
    command = gatewayd("run", "--config", home / "config.toml")
    with (home / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(
            command, cwd=ROOT, env=environment() | {"NOTIFY_SOCKET": str(notify_path)}, stdout=log, stderr=log
        )
        try:
            yield daemon
        finally:
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def start(home: Path) -> Start:
    """Start the daemon once, from fork to READY=1."""
    notify_path = home / "notify.sock"
    notify_path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(str(notify_path))
        started_s = time.perf_counter()
        with running_daemon(home, notify_path) as daemon:
            try:
                wait_ready(notifications, daemon)
            except BenchError as error:
                log = (home / "daemon.log").read_text(errors="replace").strip().splitlines()[-3:]
                raise BenchError(f"{error}: {' | '.join(log)}") from None
            ready_ms = (time.perf_counter() - started_s) * 1_000
            time.sleep(SETTLE_S)
            return Start(ready_ms=ready_ms, rss_mib=resident_kib(daemon.pid) / 1_024)


def run() -> list[Row]:
    """Floor and daemon in turns, so that a change of the machine's mood hits both."""
    floors: list[Start] = []
    starts: list[Start] = []
    with tempfile.TemporaryDirectory(prefix="gatewayd-bench-") as folder:
        home = write_home(Path(folder))
        for _ in range(RUN_COUNT + 1):
            floors.append(floor())
            starts.append(start(home))
    return [
        Row(
            name="start to READY",
            unit="ms",
            floor=median([one.ready_ms for one in floors[1:]]),
            figure=median([one.ready_ms for one in starts[1:]]),
            ratio_max=RATIO_READY_MAX,
        ),
        Row(
            name="VmRSS after READY",
            unit="MiB",
            floor=median([one.rss_mib for one in floors[1:]]),
            figure=median([one.rss_mib for one in starts[1:]]),
            ratio_max=RATIO_RSS_MAX,
            figure_max=RSS_MIB_MAX,
        ),
    ]
