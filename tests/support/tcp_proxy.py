"""A network between a client and a server on loopback: it forwards, until a test says what happens to it."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: closing sends RST."""


class Line:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.up_size = 0
        """Bytes that came from the client."""
        self.down_size = 0

    def reset(self) -> None:
        """Send RST to both ends."""
        for writer in (self.client, self.server):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class TcpProxy:
    """`async with TcpProxy(server_port) as proxy`, and connect to `proxy.port`."""

    def __init__(self, server_port: int, *, host: str = "127.0.0.1") -> None:
        self._server_port = server_port
        self._host = host
        self.lines: list[Line] = []
        """Every connection so far."""
        self.delay_s = 0.0
        """How long each piece takes on its way, one way."""
        self.piece_size = 65_536
        """Most bytes of a piece."""
        self.reset_after: int | None = None
        """Reset a connection in mid-packet, once so many bytes came from its client; used up by the first."""
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        """Every end of a connection, also of one that never became a line: none may outlive the test."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, self._host, 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        # Before the server closes: who was accepted just now gets a task within a few turns, and behind it never would.
        for _ in range(20):
            await asyncio.sleep(0)
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*tuple(self._tasks), return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    def swallow(self) -> None:
        """Let nothing through any more, while every connection looks alive; new ones are taken and answer nothing."""
        self._open.clear()

    def forward(self) -> None:
        """Let everything through again that comes over new connections; the old ones are gone, as behind a new NAT."""
        for line in self.lines:
            line.reset()
        self._open.set()

    def reset_all(self) -> None:
        """Reset every connection."""
        for line in self.lines:
            line.reset()

    def half_close_all(self) -> None:
        """Send FIN to every client; what they send still goes through."""
        for line in self.lines:
            if not line.client.is_closing():
                line.client.write_eof()

    async def _take(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self._writers.append(client)
        taking = asyncio.current_task()
        if taking is not None:
            self._tasks.add(taking)
            taking.add_done_callback(self._tasks.discard)
        try:
            server_reader, server = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            client.transport.abort()
            return
        self._writers.append(server)
        line = Line(client, server)
        self.lines.append(line)
        for work in (self._pump_up(client_reader, line), self._pump_down(server_reader, line)):
            task = asyncio.get_running_loop().create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump_up(self, reader: asyncio.StreamReader, line: Line) -> None:
        while data := await _read(reader, self.piece_size):
            line.up_size += len(data)
            if self.reset_after is not None and line.up_size >= self.reset_after:
                self.reset_after = None
                line.server.write(data[: len(data) // 2])
                await asyncio.sleep(0)
                line.reset()
                return
            await self._pass(data, line.server)
        line.server.close()

    async def _pump_down(self, reader: asyncio.StreamReader, line: Line) -> None:
        while data := await _read(reader, self.piece_size):
            line.down_size += len(data)
            await self._pass(data, line.client)
        line.client.close()

    async def _pass(self, data: bytes, to: asyncio.StreamWriter) -> None:
        await self._open.wait()
        if self.delay_s:
            # A pipe: what follows does not wait for what is on its way.
            asyncio.get_running_loop().call_later(self.delay_s, _write, to, data)
        else:
            _write(to, data)


def _write(to: asyncio.StreamWriter, data: bytes) -> None:
    if not to.is_closing():
        to.write(data)


async def _read(reader: asyncio.StreamReader, size: int) -> bytes:
    try:
        return await reader.read(size)
    except OSError:
        return b""
