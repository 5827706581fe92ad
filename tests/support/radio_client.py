"""A gateway's radio as a process of its own, made to be killed: `python -m tests.support.radio_client TRANSPORT`.

It prints `connected` when it holds the link, and then holds it.
"""

from __future__ import annotations

import asyncio
import sys

from firmware_protocol.constants import SERVICE_UUID
from gatewayd.link.bleak_radio import BleakRadio


async def _hold_a_link(hci: str) -> None:
    radio = BleakRadio.from_settings("simulator.bleak_backend:backend", {"hci": hci}, None)
    link = await radio.connect(await radio.find(SERVICE_UUID, None, timeout_ms=5_000), timeout_ms=5_000)
    sys.stdout.write("connected\n")
    sys.stdout.flush()
    while True:
        await link.next_value()


if __name__ == "__main__":
    asyncio.run(_hold_a_link(sys.argv[1]))
