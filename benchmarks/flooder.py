"""A stranger who floods a broker: `python -m benchmarks.flooder PORT TOPIC RATE FILE`, until it is ended.

MQTT 3.1.1 by hand at QoS 0, RATE messages a second of the bytes of FILE; it prints one line when it begins.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.drain_peers import frame, text

BATCH_S: Final = 0.01
CONNECT: Final = frame(0x10, text(b"MQTT") + b"\x04\x02\x00\x00" + text(b"stranger"))


def main() -> None:
    """Flood."""
    port, topic, rate, file = int(sys.argv[1]), sys.argv[2].encode(), float(sys.argv[3]), Path(sys.argv[4])
    message = frame(0x30, text(topic) + file.read_bytes())
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(CONNECT)
        line.recv(4)
        print("flooding", flush=True)
        began_s, sent = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - began_s) * rate) - sent
            line.sendall(message * due)
            sent += due
            time.sleep(BATCH_S)


if __name__ == "__main__":
    main()
