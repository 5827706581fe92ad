"""Processes of the demo: each with a log file, ended by its own id, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

READY_S_MAX: Final = 20.0
"""Longest start of a process, in seconds; a busy machine takes long to import."""
STOP_S_MAX: Final = 5.0
"""Longest wait for a process to end after SIGTERM; then it is killed."""
TAIL_LINE_COUNT: Final = 25
POLL_S: Final = 0.05


class ProcessError(Exception):
    """A process did not start, or ended before its time."""


class Child:
    """One process. Its output goes to `log_file`; a line of JSON on its stdout says that it is ready."""

    def __init__(
        self, name: str, command: Sequence[str], *, log_file: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log_file = log_file
        self._command = command
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._ready: asyncio.Future[dict[str, Any]] | None = None
        self._copying: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The id of the process that was started last.

        Raises:
            ProcessError: it was never started.
        """
        return self._started().pid

    async def ended(self) -> int:
        """Wait until it has ended, for whatever reason, and return its exit code; a signal's number is negative.

        Raises:
            ProcessError: it was never started.
        """
        return await self._started().wait()

    async def start(self) -> None:
        """Start it; in a session of its own, so that a Ctrl-C on the terminal reaches the demo alone."""
        self._ready = asyncio.get_running_loop().create_future()
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **(self._environ or {})},
                start_new_session=True,
            )
        self._copying = asyncio.create_task(self._copy(self._process))

    async def ready(self) -> dict[str, Any]:
        """Return what it said of itself when it was ready.

        Raises:
            ProcessError: it ended, or never was.
        """
        if self._ready is None:
            raise ProcessError(f"{self.name} was not started")
        try:
            async with asyncio.timeout(READY_S_MAX):
                return await asyncio.shield(self._ready)
        except TimeoutError:
            raise ProcessError(f"{self.name} was not ready after {READY_S_MAX:.0f} s") from None

    async def stop(self) -> None:
        """End it with SIGTERM, or with SIGKILL where it does not listen. Does nothing when it is gone."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL)

    def tail(self) -> str:
        """Return the last lines that it wrote."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-TAIL_LINE_COUNT:])
        return ""

    def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise ProcessError(f"{self.name} was not started")
        return self._process

    async def _end(self, signal_number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            # Gone in this very moment is fine too.
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal_number)
            try:
                async with asyncio.timeout(STOP_S_MAX):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._copying is not None:
            await self._copying

    async def _copy(self, process: asyncio.subprocess.Process) -> None:
        """Copy its stdout to the log and watch for the line that says that it is ready."""
        stdout = cast("asyncio.StreamReader", process.stdout)
        with self.log_file.open("ab") as log:
            while line := await stdout.readline():
                log.write(line)
                log.flush()
                self._watch(line)
        self._fail()

    def _watch(self, line: bytes) -> None:
        with contextlib.suppress(ValueError):
            document = json.loads(line)
            if isinstance(document, dict) and self._ready is not None and not self._ready.done():
                self._ready.set_result(document)

    def _fail(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(ProcessError(f"{self.name} ended before it was ready"))
            self._ready.exception()  # seen here: nobody may be waiting


async def run_to_end(command: Sequence[str], *, log_file: Path) -> tuple[int, bytes]:
    """Run a command and return its exit code and what it wrote to stdout; stderr goes to the log."""
    with log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        try:
            async with asyncio.timeout(READY_S_MAX):
                output, _ = await process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
    return process.returncode or 0, output


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast("int", probe.getsockname()[1])


async def wait_listening(port: int, *, timeout_s: float = READY_S_MAX) -> None:
    """Wait until somebody listens on this loopback port.

    Raises:
        ProcessError: nobody did in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(POLL_S)
                else:
                    writer.close()
                    return
    except TimeoutError:
        raise ProcessError(f"nobody listens on port {port}") from None
