"""The demo as people run it: every promise holds on each broker, and nothing that it started stays behind."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulator.demo_promises import Promise
from simulator.demo_world import find_mosquitto
from tests.support.demo_runs import RUN_S_MAX, TREE, environment, run_demo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STORY_MS_MAX = 60_000

needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(RUN_S_MAX)]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("--broker", "embedded"), id="embedded broker, which speaks 3.1.1 and forgets"),
        pytest.param(("--broker", "mosquitto"), id="mosquitto, MQTT 5", marks=needs_mosquitto),
        pytest.param(
            ("--broker", "mosquitto", "--protocol", "3.1.1"), id="mosquitto, MQTT 3.1.1", marks=needs_mosquitto
        ),
    ],
)
def test_every_promise_holds(options: Sequence[str]) -> None:
    run = run_demo(*options)
    assert run.broken() == {}, run.story
    assert run.code == 0, run.story
    assert run.document["held"] is True
    assert run.document["promises"].keys() == {promise.value for promise in Promise}
    assert {scene["step"] for scene in run.document["scenes"]} == {1, 2, 3, 4, 5, 6}
    assert run.document["story_ms"] <= STORY_MS_MAX


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_nothing_stays_behind_when_it_is_interrupted(signal_number: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "home"
    with demo("--broker", "embedded", "--keep-dir", str(folder)) as process:
        assert process.stdout is not None
        while b" 2 " not in (line := process.stdout.readline()):
            assert line, "it ended before its second scene"
        assert processes_of(folder)
        process.send_signal(signal_number)
        process.communicate(timeout=RUN_S_MAX)
    assert process.returncode not in {0, 1}
    assert processes_of(folder) == []


def test_it_stays_for_those_who_want_to_look_around(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    with demo("--broker", "embedded", "--stay", "--keep-dir", str(folder)) as process:
        assert process.stdout is not None
        while b"gatewayd status" not in (line := process.stdout.readline()):
            assert line, "it ended before it stayed"
        looked = subprocess.run(
            shlex.split(line.decode()), cwd=TREE, env=environment(TREE), capture_output=True, text=True, check=False
        )
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=RUN_S_MAX)
    assert (looked.returncode, process.returncode) == (0, 0), looked.stderr
    assert "fresh" in looked.stdout
    assert processes_of(folder) == []


def test_a_broker_that_cannot_speak_the_version_is_a_usage_error() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "simulator", "demo", "--broker", "embedded", "--protocol", "5"],
        cwd=TREE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "3.1.1 only" in refused.stderr


@contextlib.contextmanager
def demo(*options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "simulator", "demo", *options]
    with subprocess.Popen(command, cwd=TREE, env=environment(TREE), stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of the processes, but for the demo itself, that name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if str(folder) in line and " demo " not in line:
                    found.append(line)
    return found
