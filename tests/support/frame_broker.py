"""A broker made of frames: each test says byte for byte what it answers. For the faults that a real one won't do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

CONNECT: Final = 0x10
PUBLISH: Final = 0x30
SUBSCRIBE: Final = 0x82
PINGREQ: Final = 0xC0
DISCONNECT: Final = 0xE0
HEARD_S_MAX: Final = 30


@dataclass(frozen=True)
class Frame:
    """One packet as it was received."""

    head: int
    body: bytes

    @property
    def packet_id(self) -> bytes:
        """The packet id of a SUBSCRIBE or of a PUBLISH at QoS 1."""
        if self.head == SUBSCRIBE:
            return self.body[:2]
        topic_size = int.from_bytes(self.body[:2], "big")
        return self.body[2 + topic_size : 4 + topic_size]


def length(number: int) -> bytes:
    """Return MQTT's remaining length."""
    encoded = bytearray()
    while True:
        number, low = divmod(number, 128)
        encoded.append(low | (0x80 if number else 0))
        if not number:
            return bytes(encoded)


def frame(head: int, body: bytes = b"") -> bytes:
    """Return a packet."""
    return bytes([head]) + length(len(body)) + body


def text(value: bytes) -> bytes:
    """Return a length-prefixed string."""
    return len(value).to_bytes(2, "big") + value


class Peer:
    """One client's connection, seen from the broker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_v5: bool) -> None:
        self._reader = reader
        self._writer = writer
        self._is_v5 = is_v5

    async def receive(self) -> Frame:
        """Return the next packet."""
        async with asyncio.timeout(HEARD_S_MAX):
            head = (await self._reader.readexactly(1))[0]
            size, shift = 0, 0
            while True:
                byte = (await self._reader.readexactly(1))[0]
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return Frame(head, await self._reader.readexactly(size))

    async def at_end(self) -> bytes:
        """Wait until the client has gone and return what it still sent."""
        async with asyncio.timeout(HEARD_S_MAX):
            return await self._reader.read()

    def send(self, data: bytes) -> None:
        """Send bytes, whatever they are."""
        self._writer.write(data)

    def accept(self, properties: bytes = b"", *, session_present: bool = False) -> None:
        """Send CONNACK."""
        tail = length(len(properties)) + properties if self._is_v5 else b""
        self.send(frame(0x20, bytes([session_present, 0]) + tail))

    def publish(self, topic: bytes, payload: bytes, *, head: int = PUBLISH, properties: bytes = b"") -> None:
        """Send PUBLISH at QoS 0, or whatever `head` says."""
        packet_id = b"\x00\x01" if head & 0x06 else b""
        tail = length(len(properties)) + properties if self._is_v5 else b""
        self.send(frame(head, text(topic) + packet_id + tail + payload))

    def acknowledge(self, packet_id: bytes, reason: int = 0) -> None:
        """Send PUBACK."""
        self.send(frame(0x40, packet_id + (bytes([reason]) if self._is_v5 and reason else b"")))

    def grant(self, packet_id: bytes, codes: bytes) -> None:
        """Send SUBACK."""
        self.send(frame(0x90, packet_id + (b"\x00" if self._is_v5 else b"") + codes))

    def reset(self) -> None:
        """End the connection without a word."""
        self._writer.transport.abort()


class FrameBroker:
    """`async with FrameBroker() as broker`; each connection comes out of `next_peer`."""

    def __init__(self, protocol: str = "5", *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._is_v5 = protocol == "5"
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._all: list[Peer] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        # Before the server closes: who was accepted just now becomes a peer within a few turns, and behind it never.
        for _ in range(20):
            await asyncio.sleep(0)
        self._server.close()
        for peer in self._all:
            peer.reset()
        await asyncio.sleep(0)

    async def next_peer(self) -> Peer:
        """Return the next connection."""
        async with asyncio.timeout(HEARD_S_MAX):
            return await self._peers.get()

    @property
    def connection_count(self) -> int:
        """How often somebody has connected."""
        return len(self._all)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, is_v5=self._is_v5)
        self._all.append(peer)
        await self._peers.put(peer)
