"""Kills a running process as one of its threads is about to make its n-th system call of a kind, by strace."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

ATTACH_S_MAX: Final = 10


def require_strace() -> None:
    """Skip the test where strace is missing, or where this machine does not let it attach to a process."""
    reason = _why_not()
    if reason is not None:
        pytest.skip(reason)


@functools.cache
def _why_not() -> str | None:
    program = shutil.which("strace")
    if program is None:
        return "strace is not installed"
    victim = subprocess.Popen(["sleep", "60"])
    command = [program, "-e", "trace=none", "-e", "inject=fsync:signal=KILL:when=1", "-p", str(victim.pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        said = tracer.stderr.readline().strip()
    finally:
        tracer.terminate()
        tracer.communicate()
        victim.kill()
        victim.wait()
    return None if said.endswith("attached") else f"strace may not attach here: {said}"


def threads_of(pid: int) -> tuple[int, ...]:
    """Return the ids of a process' threads, its first one first."""
    others = {int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()} - {pid}
    return (pid, *sorted(others))


class StraceTrap:
    """`async with StraceTrap(threads, syscall=…, number=…)`: set when entered, taken away when left.

    strace counts the calls of each thread on its own, and the signal comes before the call is made.
    """

    def __init__(self, threads: Sequence[int], *, syscall: str, number: int) -> None:
        self._threads = threads
        self._command = (
            *("strace", "-o", os.devnull),
            *("-e", f"trace={syscall}", "-e", f"inject={syscall}:signal=KILL:when={number}"),
            *(word for thread in threads for word in ("-p", str(thread))),
        )
        self._tracer: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Attach to the threads; from now on their calls count.

        Raises:
            AssertionError: strace does not attach.
        """
        tracer = await asyncio.create_subprocess_exec(*self._command, stderr=asyncio.subprocess.PIPE)
        self._tracer = tracer
        assert tracer.stderr is not None
        said = ""
        async with asyncio.timeout(ATTACH_S_MAX):
            while said.count("attached\n") < len(self._threads):
                line = await tracer.stderr.readline()
                assert line, f"strace did not attach: {said}"
                said += line.decode()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of the threads, if they are still there."""
        if self._tracer is not None:
            # Not by asyncio, which would take the exit status of one that has just ended away from its own watcher.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._tracer.pid, signal.SIGTERM)
            await self._tracer.communicate()
