"""A dbus-daemon of a test's own."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_CONFIG: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
<limit name="max_connections_per_user">{connections}</limit></busconfig>"""


class PrivateBus:
    """A system bus on which anybody may do anything."""

    def __init__(self, folder: Path, *, connection_count_max: int = 256) -> None:
        self._path = folder / "bus"
        self._config = folder / "bus.conf"
        self._config.write_text(_CONFIG.format(path=self._path, connections=connection_count_max))
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it listens: $DBUS_SYSTEM_BUS_ADDRESS of whoever should use it."""
        return f"unix:path={self._path}"

    @staticmethod
    def is_installed() -> bool:
        """Whether there is a dbus-daemon to start."""
        return shutil.which("dbus-daemon") is not None

    async def start(self) -> None:
        """Start it, also again."""
        self._path.unlink(missing_ok=True)
        command = ["dbus-daemon", "--nofork", "--nopidfile", "--print-address", f"--config-file={self._config}"]
        self._daemon = await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE)
        assert self._daemon.stdout is not None
        # It says so once it listens; the socket is there a moment before.
        await asyncio.to_thread(self._daemon.stdout.readline)

    def kill(self) -> None:
        """End it without a word."""
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            daemon.kill()
            daemon.communicate()
