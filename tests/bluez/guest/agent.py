"""The hands of the test in the guest: runs commands, and plugs virtual adapters into the guest's kernel.

The only Python process of the counterparts in there, started without `site` and importing next to nothing: under
emulation each import is felt. It speaks JSON lines with the host: `{"id": 1, "run": ["uname"], "input": ""}`;
`{"id": 2, "plug": 40001}`, a controller behind that HCI port of the host's, or null for one that never answers;
`{"id": 3, "pull": 0}`; `{"id": 4, "ask": "/run/x.sock", "line": "…"}`, a line for a Unix socket, answered by one.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from typing import Any, Final

HOST: Final = "10.0.2.2"
"""The host, as QEMU's user network shows it."""
VENDOR_PACKET: Final = 0xFF
OPEN_BREDR: Final = bytes([VENDOR_PACKET, 0])
READ_SIZE: Final = 65_536
HEADERS: Final = {0x02: (5, 3, 2), 0x03: (4, 3, 1), 0x04: (3, 2, 1), 0x05: (5, 3, 2)}
"""Type of a packet from a controller to: size of its header, type included; offset and size of the length in it."""


class Adapter:
    """One adapter of the kernel's: /dev/vhci on one side, a controller behind a TCP port on the other."""

    def __init__(self, port: int | None) -> None:
        self._kernel = os.open("/dev/vhci", os.O_RDWR)
        os.write(self._kernel, OPEN_BREDR)
        self.index = int.from_bytes(os.read(self._kernel, READ_SIZE)[2:4], "little")
        self._controller = None if port is None else connect(port)
        self._pulled, self._pull = os.pipe()
        self._pump = threading.Thread(target=self._carry, daemon=True)
        self._pump.start()

    def pull(self) -> None:
        """Take it out of the kernel, as a hand does with a USB stick."""
        os.close(self._pull)
        self._pump.join()

    def _carry(self) -> None:
        """Carry packets both ways until it is pulled. A controller that goes leaves an adapter that does not answer."""
        buffer = b""
        poll = select.poll()
        poll.register(self._kernel, select.POLLIN)
        poll.register(self._pulled, select.POLLIN)
        if self._controller is not None:
            poll.register(self._controller, select.POLLIN)
        while True:
            ready = {source for source, _ in poll.poll()}
            if self._pulled in ready:
                break
            if self._kernel in ready:
                packet = os.read(self._kernel, READ_SIZE)
                if self._controller is not None:
                    with contextlib.suppress(OSError):
                        self._controller.sendall(packet)
            if self._controller is not None and self._controller.fileno() in ready:
                received = self._received()
                if not received:
                    poll.unregister(self._controller)
                    self._controller = None
                buffer = self._deliver(buffer + received)
        os.close(self._kernel)
        os.close(self._pulled)
        if self._controller is not None:
            self._controller.close()

    def _received(self) -> bytes:
        try:
            return self._controller.recv(READ_SIZE) if self._controller is not None else b""
        except OSError:
            return b""

    def _deliver(self, buffer: bytes) -> bytes:
        """Hand every whole packet to the kernel, which takes one a write, and return the rest."""
        while buffer:
            header_size, length_at, length_size = HEADERS[buffer[0]]
            if len(buffer) < header_size:
                break
            size = header_size + int.from_bytes(buffer[length_at : length_at + length_size], "little")
            if len(buffer) < size:
                break
            with contextlib.suppress(OSError):  # the kernel refuses packets for an adapter that is being opened
                os.write(self._kernel, buffer[:size])
            buffer = buffer[size:]
        return buffer


class Agent:
    """Answers the host, each question in a thread of its own."""

    def __init__(self, port: int) -> None:
        self._host = connect(port)
        self._sending = threading.Lock()
        self._adapters: dict[int, Adapter] = {}

    def serve(self) -> None:
        """Answer until the host hangs up."""
        with self._host.makefile("rb") as questions:
            for line in questions:
                threading.Thread(target=self._answer, args=(json.loads(line),), daemon=True).start()

    def _answer(self, question: dict[str, Any]) -> None:
        try:
            answer = self._do(question)
        except (OSError, KeyError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        with self._sending:
            self._host.sendall(json.dumps({"id": question["id"], **answer}).encode() + b"\n")

    def _do(self, question: dict[str, Any]) -> dict[str, Any]:
        if "run" in question:
            done = subprocess.run(question["run"], input=question["input"].encode(), capture_output=True, check=False)
            return {
                "code": done.returncode,
                "output": done.stdout.decode(errors="replace"),
                "errors": done.stderr.decode(errors="replace"),
            }
        if "ask" in question:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(question["ask"])
                connection.sendall(question["line"].encode() + b"\n")
                with connection.makefile("rb") as answers:
                    return {"line": answers.readline().decode()}
        if "plug" in question:
            adapter = Adapter(question["plug"])
            self._adapters[adapter.index] = adapter
            return {"index": adapter.index}
        self._adapters.pop(question["pull"]).pull()
        return {}


def connect(port: int) -> socket.socket:
    """Connect to a port of the host's loopback."""
    connection = socket.create_connection((HOST, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


if __name__ == "__main__":
    Agent(int(sys.argv[1])).serve()
