"""The fragments of docs/protocol.md §7, written from the document."""

from __future__ import annotations

RECORD, HANDSHAKE, PLAIN = range(3)
MESSAGE_MAX = 2048
VALUE_MAX = 512
REASSEMBLY_MS = 2000


class BrokenLinkError(Exception):
    """What ends the link (§7.4)."""


class Sender:
    def __init__(self, value_size: int) -> None:
        self.value_size = min(value_size, VALUE_MAX)
        self.seq = 0

    def cut(self, kind: int, message: bytes) -> list[bytes]:
        body = len(message).to_bytes(2, "big") + message
        room = self.value_size - 1
        chunks = [body[start : start + room] for start in range(0, len(body), room)]
        values = []
        for index, chunk in enumerate(chunks):
            flags = (0x20 if index == 0 else 0) | (0x10 if index == len(chunks) - 1 else 0)
            values.append(bytes([kind << 6 | flags | self.seq]) + chunk)
            self.seq = (self.seq + 1) % 16
        return values


class Receiver:
    def __init__(self) -> None:
        self.seq = 0
        self.kind: int | None = None
        self.size = 0
        self.data = b""
        self.began_ms = 0

    def take(self, value: bytes, now_ms: int = 0) -> tuple[int, bytes] | None:
        if not value or len(value) > VALUE_MAX:
            raise BrokenLinkError("a value of a size that there is not")
        kind, first, last, seq = value[0] >> 6, value[0] & 0x20, value[0] & 0x10, value[0] & 0x0F
        if kind == 3 or seq != self.seq:
            raise BrokenLinkError("kind 3, or out of sequence")
        self.seq = (self.seq + 1) % 16
        if self.kind is not None and now_ms - self.began_ms > REASSEMBLY_MS:
            raise BrokenLinkError("too late")
        if first:
            if self.kind is not None or len(value) < 3:
                raise BrokenLinkError("FIRST in a message, or without a length")
            self.kind, self.size, self.data, self.began_ms = kind, int.from_bytes(value[1:3], "big"), b"", now_ms
            if not 1 <= self.size <= MESSAGE_MAX:
                raise BrokenLinkError("a length that there is not")
            chunk = value[3:]
        else:
            if self.kind != kind:
                raise BrokenLinkError("no FIRST, or another kind")
            chunk = value[1:]
        self.data += chunk
        if not chunk or len(self.data) > self.size or bool(last) is not (len(self.data) == self.size):
            raise BrokenLinkError("nothing, too much, or LAST at the wrong place")
        if not last:
            return None
        self.kind = None
        return kind, self.data
