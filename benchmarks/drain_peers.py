"""The other ends of the drain bench, a process each: `python -m benchmarks.drain_peers MODE PORT FOLDER COUNT`.

MQTT 5 by hand on a blocking socket, because a library would be measured with it. `publish` sends COUNT messages of the
bytes of FOLDER/entry, `count` counts them. `sign` counts a gateway's entries and signs its checkpoints for what has
come, which is the least that a central log does. Those that listen print one line when they are subscribed, and at the
end how many seconds it took from the first message on.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nacl.signing import SigningKey

from firmware_protocol.checkpoint import Checkpoint, cosign, parse_note
from firmware_protocol.cose import kid_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WINDOW_COUNT: Final = 20
"""What mosquitto lets one publisher have unanswered."""
RUN_S_MAX: Final = 120
PUBLISH: Final = 0x3
PUBACK: Final = 0x4
TOPIC: Final = b"carelock/v1/floor/log/entries"


def frame(head: int, body: bytes) -> bytes:
    """Return a packet."""
    size, length = len(body), bytearray()
    while True:
        size, low = divmod(size, 128)
        length.append(low | (0x80 if size else 0))
        if not size:
            return bytes([head]) + bytes(length) + body


def text(value: bytes) -> bytes:
    """Return a length-prefixed string."""
    return len(value).to_bytes(2, "big") + value


def publish_frame(topic: bytes, packet_id: int, payload: bytes) -> bytes:
    """Return a PUBLISH at QoS 1."""
    return frame(0x32, text(topic) + packet_id.to_bytes(2, "big") + b"\x00" + payload)


class Line:
    """One session."""

    def __init__(self, port: int, folder: Path, name: str) -> None:
        context = ssl.create_default_context(cafile=folder / "ca.pem")
        context.load_cert_chain(folder / "ca-peer.pem", folder / "ca-peer.key")
        plain = socket.create_connection(("127.0.0.1", port), timeout=RUN_S_MAX)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self._unread = b""
        self.send(frame(0x10, text(b"MQTT") + b"\x05\x02\x00\x78\x00" + text(name.encode())))
        self.packets()

    def send(self, data: bytes) -> None:
        """Send everything."""
        self._socket.sendall(data)

    def packets(self) -> list[tuple[int, bytes]]:
        """Wait for bytes and return the whole packets in them, as kind and body; there may be none yet."""
        self._unread += self._socket.recv(65_536)
        found, start, data = [], 0, self._unread
        while (end := _end_of(data, start)) is not None:
            at = start + 1
            while data[at] & 0x80:
                at += 1
            found.append((data[start] >> 4, data[at + 1 : end]))
            start = end
        self._unread = data[start:]
        return found

    def messages(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield topic and payload of what comes, and acknowledge it."""
        while True:
            answers, messages = [], []
            for kind, body in self.packets():
                if kind == PUBLISH:
                    end = 2 + int.from_bytes(body[:2], "big")
                    answers.append(b"\x40\x02" + body[end : end + 2])
                    messages.append((body[2:end], body[end + 3 + body[end + 2] :]))
            self.send(b"".join(answers))
            yield from messages


def _end_of(data: bytes, start: int) -> int | None:
    size, shift, at = 0, 0, start + 1
    while at < len(data):
        size |= (data[at] & 0x7F) << shift
        if not data[at] & 0x80:
            return at + 1 + size if at + 1 + size <= len(data) else None
        at, shift = at + 1, shift + 7
    return None


def publish(port: int, folder: Path, count: int) -> None:
    """Send with a full window, until everything is acknowledged."""
    line, payload = Line(port, folder, "publisher"), (folder / "entry").read_bytes()
    sent = acknowledged = 0
    while acknowledged < count:
        room = min(count - sent, WINDOW_COUNT - (sent - acknowledged))
        line.send(b"".join(publish_frame(TOPIC, 1 + (sent + number) % 60_000, payload) for number in range(room)))
        sent += room
        acknowledged += sum(kind == PUBACK for kind, _ in line.packets())


def listen(port: int, folder: Path, take: Callable[[Line, bytes, bytes], bool]) -> None:
    """Subscribe, say so, and hand over messages until `take` has seen the last one; then print the seconds."""
    line = Line(port, folder, "subscriber")
    line.send(frame(0x82, b"\x00\x01\x00" + text(b"carelock/v1/+/log/+") + b"\x01"))
    line.packets()
    print(json.dumps({"ready": True}), flush=True)
    began_s = 0.0
    for topic, payload in line.messages():
        began_s = began_s or time.perf_counter()
        if take(line, topic, payload):
            break
    print(json.dumps({"seconds": time.perf_counter() - began_s}), flush=True)


def counter(count: int) -> Callable[[Line, bytes, bytes], bool]:
    """Return what counts."""
    left = count

    def take(_line: Line, _topic: bytes, _payload: bytes) -> bool:
        nonlocal left
        left -= 1
        return left == 0

    return take


def signer(count: int, key: SigningKey) -> Callable[[Line, bytes, bytes], bool]:
    """Return what counts and signs, until a checkpoint covers `count` entries."""
    name = f"carelock/receipt/{kid_of(bytes(key.verify_key)).hex()}"
    entries = 0

    def take(line: Line, topic: bytes, payload: bytes) -> bool:
        nonlocal entries
        if topic.endswith(b"/entries"):
            entries += 1
        if not topic.endswith(b"/checkpoint"):
            return False
        size = Checkpoint.parse(parse_note(payload).text).size
        if size > entries:
            raise SystemExit(f"a checkpoint of {size} after {entries} entries")
        receipt = cosign(payload, key=key, name=name, time_s=int(time.time()))
        line.send(publish_frame(topic.replace(b"/checkpoint", b"/receipt"), 1, receipt))
        return size >= count

    return take


def main() -> None:
    """Run one of the modes."""
    mode, port, folder, count = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    if mode == "publish":
        publish(port, folder, count)
    elif mode == "count":
        listen(port, folder, counter(count))
    else:
        listen(port, folder, signer(count, SigningKey((folder / "receipt.key").read_bytes())))


if __name__ == "__main__":
    main()
