"""A virtual machine with a stock kernel, systemd and BlueZ, on this machine's own programs; see tests/bluez."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from simulator.demo_processes import ProcessError
from tests.support.guest_image import build_initramfs, find_kernel

if TYPE_CHECKING:
    from collections.abc import Mapping

BOOT_S_MAX: Final = 120.0
"""Longest time to the agent's first word, in seconds: emulated, on a machine that does much else."""
RUN_S_MAX: Final = 120.0
"""Longest time of a command in the guest unless it says otherwise, in seconds."""
LINE_SIZE_MAX: Final = 16 * 1_024 * 1_024
MEMORY_MB: Final = 1_024
KERNEL_ARGUMENTS: Final = (
    "console=ttyS0 quiet panic=-1 net.ifnames=0 systemd.unit=guest.target systemd.show_status=0 "
    # An emulated processor leaks nothing and keeps time: neither needs to be made sure of.
    "cryptomgr.notests mitigations=off tsc=reliable "
    # The emulator keeps what it has translated by its address: code that is never elsewhere is translated once.
    "norandmaps"
)


class GuestError(ProcessError):
    """The guest did not do what it was told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a command in the guest ended."""

    code: int
    output: str
    errors: str


class Guest:
    """`async with Guest(folder) as guest`: booted, with nothing running in it but a bus, a journal and the agent."""

    def __init__(self, folder: Path, *, files: Mapping[str, bytes] | None = None) -> None:
        """Keep everything in `folder`; `files` are paths in the guest's root, without the first slash."""
        self._folder = folder
        self._files = files or {}
        self._qemu: asyncio.subprocess.Process | None = None
        self._server: asyncio.Server | None = None
        self._agent: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._questions = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def __aenter__(self) -> Self:
        """Boot.

        Raises:
            GuestError: the agent does not say a word.
        """
        self._server = await asyncio.start_server(self._on_agent, "127.0.0.1", 0, limit=LINE_SIZE_MAX)
        kernel = find_kernel()
        initramfs = self._folder / "initramfs"
        port = self._server.sockets[0].getsockname()[1]
        await asyncio.to_thread(build_initramfs, initramfs, kernel, files=self._files, agent_port=port)
        with self.console_file.open("wb") as console:
            self._qemu = await asyncio.create_subprocess_exec(
                *_qemu_command(kernel.image, initramfs, self.journal_file),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        waits = [asyncio.create_task(self._connected.wait()), asyncio.create_task(self._qemu.wait())]
        await asyncio.wait(waits, timeout=BOOT_S_MAX, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not self._connected.is_set():
            await self.__aexit__()
            raise GuestError(f"the guest did not boot; its console:\n{self.console()}")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Pull the plug."""
        if self._qemu is not None and self._qemu.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._qemu.kill()
            await self._qemu.wait()
        if self._agent is not None:
            self._agent.close()
        if self._server is not None:
            self._server.close()

    @property
    def journal_file(self) -> Path:
        """What the gateway's service wrote to the guest's journal."""
        return self._folder / "journal.log"

    @property
    def console_file(self) -> Path:
        """What the guest wrote to its serial line."""
        return self._folder / "console.log"

    def cpu_s(self) -> float:
        """Return the processor time that the emulator has used, in seconds: on a quiet machine about what passes."""
        if self._qemu is None:
            return 0.0
        fields = Path(f"/proc/{self._qemu.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def console(self) -> str:
        """Return the last lines on the guest's console."""
        return "\n".join(self.console_file.read_text(errors="replace").splitlines()[-40:])

    async def run(self, *command: str, data: str = "", is_checked: bool = True, timeout_s: float = RUN_S_MAX) -> Done:
        """Run a command as root to its end, with `data` on its stdin.

        Raises:
            GuestError: it failed although `is_checked`, or took too long.
        """
        answer = await self._ask({"run": command, "input": data}, timeout_s=timeout_s)
        done = Done(code=answer["code"], output=answer["output"], errors=answer["errors"])
        if is_checked and done.code != 0:
            raise GuestError(f"{' '.join(command)}: exit {done.code}\n{done.output}{done.errors}")
        return done

    async def write(self, path: str, content: str, *, mode: int = 0o644) -> None:
        """Write a file."""
        await self.run("install", "-D", "-m", f"{mode:o}", "/dev/stdin", path, data=content)

    async def ask(self, socket: str, line: str) -> str:
        """Write a line to a Unix socket and return the line that comes back.

        Raises:
            GuestError: nobody answers there.
        """
        answer: str = (await self._ask({"ask": socket, "line": line}, timeout_s=RUN_S_MAX))["line"]
        return answer

    async def plug(self, port: int | None) -> int:
        """Plug in an adapter whose controller is behind that HCI port of this machine, and return its N of hciN.

        None: an adapter whose controller never answers, so that it never becomes one of BlueZ's.
        """
        index: int = (await self._ask({"plug": port}, timeout_s=RUN_S_MAX))["index"]
        return index

    async def pull(self, index: int) -> None:
        """Pull the adapter hciN out."""
        await self._ask({"pull": index}, timeout_s=RUN_S_MAX)

    async def _ask(self, question: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        if self._agent is None:
            raise GuestError("the guest is not there")
        number = next(self._questions)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        self._agent.write(json.dumps({"id": number, **question}).encode() + b"\n")
        try:
            async with asyncio.timeout(timeout_s):
                answer: dict[str, Any] = await future
        except TimeoutError:
            raise GuestError(f"{question}: no answer in {timeout_s:.0f} s; its console:\n{self.console()}") from None
        finally:
            del self._answers[number]
        if "error" in answer:
            raise GuestError(f"{question}: {answer['error']}")
        return answer

    async def _on_agent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._agent = writer
        self._connected.set()
        while line := await reader.readline():
            answer = json.loads(line)
            future = self._answers.get(answer["id"])
            if future is not None and not future.done():
                future.set_result(answer)
        for future in self._answers.values():
            if not future.done():
                future.set_exception(GuestError(f"the guest is gone; its console:\n{self.console()}"))


def _qemu_command(image: Path, initramfs: Path, journal: Path) -> tuple[str, ...]:
    return (
        # Whom the guest talks to on this machine goes first: the lock has to answer in time by its own clock.
        *("nice", "-n", "5", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(MEMORY_MB)),
        *("-kernel", str(image), "-initrd", str(initramfs), "-append", KERNEL_ARGUMENTS, "-serial", "stdio"),
        *("-virtfs", "local,path=/,security_model=none,readonly=on,multidevs=remap,mount_tag=host"),
        *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="),
        *("-device", "virtio-serial-pci", "-chardev", f"file,id=journal,path={journal}"),
        *("-device", "virtserialport,chardev=journal,name=journal"),
    )
