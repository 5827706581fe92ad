from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from simulator.demo_processes import Child, ProcessError, free_port, run_to_end, wait_listening

if TYPE_CHECKING:
    from pathlib import Path

READY = "print('{\"port\": 7}', flush=True)"
FOR_EVER = "import time; time.sleep(60)"


def child(tmp_path: Path, *lines: str) -> Child:
    return Child("child", (sys.executable, "-c", "\n".join(lines)), log_file=tmp_path / "child.log")


async def test_a_process_is_ready_when_it_says_so(tmp_path: Path) -> None:
    process = child(tmp_path, "print('starting')", READY, FOR_EVER)
    await process.start()
    assert await process.ready() == {"port": 7}
    running_before = process.is_running
    await process.stop()
    assert (running_before, process.is_running) == (True, False)
    assert process.tail() == 'starting\n{"port": 7}'


async def test_a_process_that_ends_before_it_is_ready_is_a_fault(tmp_path: Path) -> None:
    process = child(tmp_path, "import sys", "sys.exit('no radio')")
    await process.start()
    with pytest.raises(ProcessError, match="ended before it was ready"):
        await process.ready()
    await process.stop()
    assert "no radio" in process.tail()


async def test_a_process_that_does_not_listen_to_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.demo_processes.STOP_S_MAX", 0.1)
    deaf = child(tmp_path, "import signal", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", READY, FOR_EVER)
    await deaf.start()
    await deaf.ready()
    await deaf.stop()
    assert not deaf.is_running


async def test_a_killed_process_can_be_started_again(tmp_path: Path) -> None:
    process = child(tmp_path, READY, FOR_EVER)
    for _ in range(2):
        await process.start()
        await process.ready()
        await process.kill()
        assert not process.is_running
    assert process.tail().count("port") == 2


async def test_whoever_waits_for_the_end_learns_how_it_came(tmp_path: Path) -> None:
    process = child(tmp_path, READY, FOR_EVER)
    await process.start()
    await process.ready()
    os.kill(process.pid, signal.SIGKILL)
    assert await process.ended() == -signal.SIGKILL
    await process.stop()


async def test_what_was_never_started_has_no_id_and_no_end(tmp_path: Path) -> None:
    process = child(tmp_path, FOR_EVER)
    with pytest.raises(ProcessError, match="not started"):
        _ = process.pid
    with pytest.raises(ProcessError, match="not started"):
        await process.ended()


async def test_what_was_never_started_is_stopped_already(tmp_path: Path) -> None:
    process = child(tmp_path, FOR_EVER)
    await process.stop()
    with pytest.raises(ProcessError):
        await process.ready()
    assert process.tail() == ""


async def test_a_child_gets_no_signal_of_the_terminal(tmp_path: Path) -> None:
    process = child(tmp_path, "import json, os", "print(json.dumps({'session': os.getsid(0)}), flush=True)", FOR_EVER)
    await process.start()
    assert (await process.ready())["session"] != os.getsid(0)
    await process.stop()


async def test_a_command_is_run_to_its_end(tmp_path: Path) -> None:
    script = "import sys; print('out'); sys.stderr.write('err'); sys.exit(3)"
    assert await run_to_end((sys.executable, "-c", script), log_file=tmp_path / "log") == (3, b"out\n")
    assert (tmp_path / "log").read_text() == "err"


async def test_waiting_for_a_port_ends_when_somebody_listens() -> None:
    port = free_port()
    with pytest.raises(ProcessError):
        await wait_listening(port, timeout_s=0.1)
    async with await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port):
        await wait_listening(port, timeout_s=5)
