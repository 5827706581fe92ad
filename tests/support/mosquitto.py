"""A real mosquitto on loopback, with a configuration of its own, that can be killed and started again."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
from typing import TYPE_CHECKING, Final, Self

import pytest

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

START_S_MAX: Final = 10


def find_mosquitto() -> str:
    """Return the program, or skip the test."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    return program


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """`async with Mosquitto(folder, "more configuration") as broker`."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.port = free_port()
        self._program = find_mosquitto()
        self._config = folder / "mosquitto.conf"
        # As root it would drop its privileges, and then not read what the test has written.
        base = f"listener {self.port} 127.0.0.1\nuser root\n"
        access = "" if "acl_file" in more or "require_certificate" in more else "allow_anonymous true\n"
        self._config.write_text(base + access + more)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.stop(signal.SIGTERM)

    async def start(self) -> None:
        """Run it until it listens."""
        self._process = await asyncio.create_subprocess_exec(
            self._program, "-c", self._config, stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(START_S_MAX):
            while not await self._listens():
                await asyncio.sleep(0.02)

    async def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it; without persistence all that it held is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            await process.wait()

    async def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, "mosquitto did not start"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True
