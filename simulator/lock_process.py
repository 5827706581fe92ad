"""A simulated lock as a process of its own on the virtual radio: SIGKILL is to it what a power cut is to a lock."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from firmware_protocol.noise import DH_SIZE, KeyPair
from simulator.air import Air
from simulator.door_file import keep_door
from simulator.flash import Flash
from simulator.flash_media import FileMedium
from simulator.lock import SimulatedLock
from simulator.lock_control import serve_control
from simulator.lock_keys import LockKeys
from simulator.mechanics import MOTOR_MS, Mechanics
from simulator.peripheral import ATT_MTU_MAX, Peripheral
from simulator.quirks import Quirks, QuirkyLock
from simulator.seams import LoopScheduler, SystemEntropy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

EXIT_STOPPED: Final = 0
EXIT_AIR_LOST: Final = 70
KERNEL: Final = "vhci"
"""Transport of a lock that makes an air of its own, with an adapter of this machine's kernel on it."""


async def _run(arguments: argparse.Namespace) -> int:
    """Be a lock until SIGTERM, or until the controller is gone."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stopped.set)
    lock = _lock(arguments)
    quirks = Quirks(**{field.name: getattr(arguments, field.name) for field in fields(Quirks)})
    async with contextlib.AsyncExitStack() as stack:
        peripheral = Peripheral(
            hci=await stack.enter_async_context(_controller(arguments.transport)),
            handler=QuirkyLock(lock, quirks, LoopScheduler(), reboot=lock.power_cycle),
            address=arguments.address,
            att_mtu_max=arguments.att_mtu,
            capture=None
            if arguments.capture is None
            else stack.enter_context(arguments.capture.open("wb", buffering=0)),
        )
        await stack.enter_async_context(peripheral)
        lock.attach_beacon(peripheral)
        if arguments.held:
            peripheral.hold()
        await stack.enter_async_context(await serve_control(lock, arguments.control, radio=peripheral))
        ready = {"ready": True, "name": lock.keys.name, "lock_id": lock.keys.lock_id.hex()}
        sys.stdout.write(json.dumps(ready | {"address": peripheral.address}) + "\n")
        sys.stdout.flush()
        stop = asyncio.create_task(stopped.wait())
        lost = asyncio.create_task(peripheral.wait_lost())
        await asyncio.wait({stop, lost}, return_when=asyncio.FIRST_COMPLETED)
        lost.cancel()
        stop.cancel()
    return EXIT_STOPPED if stopped.is_set() else EXIT_AIR_LOST


def _lock(arguments: argparse.Namespace) -> SimulatedLock:
    scheduler, entropy = LoopScheduler(), SystemEntropy()
    mechanics = Mechanics(scheduler, motor_ms=arguments.motor_ms)
    keep_door(mechanics, arguments.door or arguments.flash.with_name(arguments.flash.name + ".door"))
    if arguments.battery_mv is not None:
        mechanics.drain_battery(arguments.battery_mv)
    if arguments.jam:
        mechanics.jam()
    if arguments.slip:
        mechanics.slip()
    keys = LockKeys.load(arguments.home)
    if arguments.forget_keys:
        keys = replace(keys, link=KeyPair.from_private(entropy.token(DH_SIZE)))
    return SimulatedLock(keys, Flash(FileMedium(arguments.flash)), mechanics, scheduler, entropy)


@contextlib.asynccontextmanager
async def _controller(transport: str) -> AsyncIterator[str]:
    """Return the transport of the lock's own controller."""
    if transport.partition(":")[0] != KERNEL:
        yield transport
        return
    async with Air([0]) as air:
        await air.plug_into_kernel(transport)
        yield f"tcp-client:127.0.0.1:{air.ports[0]}"


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM. One line on stdout when ready: `{"ready": true, "name": …, "lock_id": …, "address": …}`."""
    parser = argparse.ArgumentParser(prog="simulator lock", description="A simulated lock on the virtual radio.")
    parser.add_argument(
        "--transport",
        required=True,
        metavar="HCI",
        help="its controller, e.g. tcp-client:127.0.0.1:40001; or vhci: an air with an adapter of this kernel's on it",
    )
    parser.add_argument("--address", metavar="ADDRESS", help="random static address; a fresh one when absent")
    parser.add_argument("--home", required=True, type=Path, metavar="FILE", help="keys and ids, as JSON")
    parser.add_argument("--flash", required=True, type=Path, metavar="FILE", help="durable memory, made when absent")
    parser.add_argument("--door", type=Path, metavar="FILE", help="the physical truth (default: FLASH.door)")
    parser.add_argument("--control", required=True, type=Path, metavar="SOCKET", help="Unix socket of the test world")
    parser.add_argument("--capture", type=Path, metavar="FILE", help="write its HCI traffic, as btsnoop for Wireshark")
    parser.add_argument("--att-mtu", type=int, default=ATT_MTU_MAX, metavar="N", help="largest ATT MTU it agrees to")
    mechanics = parser.add_argument_group("what its mechanics are like")
    mechanics.add_argument("--motor-ms", type=int, default=MOTOR_MS, metavar="N", help="what a stroke takes")
    mechanics.add_argument("--battery-mv", type=int, metavar="N", help="below 4200 the motor does not turn")
    mechanics.add_argument("--jam", action="store_true", help="the bolt's way is blocked")
    mechanics.add_argument("--slip", action="store_true", help="the motor turns, and the bolt stays where it is")
    radio = parser.add_argument_group("how it misbehaves (counts are of values on the gateway's link; 0: never)")
    radio.add_argument("--forget-keys", action="store_true", help="another link key than the one that was paired")
    radio.add_argument("--held", action="store_true", help='not heard: a phone has it, until {"do": "release"}')
    for name, what in _QUIRKS.items():
        radio.add_argument(f"--{name}", type=int, default=0, metavar="N", help=what)
    return asyncio.run(_run(parser.parse_args(argv)))


_QUIRKS: Final = {
    "latency-ms": "every value to the gateway is late by N ms",
    "drop-after": "the link drops after N values from the gateway, before an answer",
    "mute-after": "it falls silent and deaf after N values, and the link stays",
    "reboot-after": "it reboots after N values",
    "garble-every": "each N-th value to the gateway has a bit flipped",
    "cut-every": "each N-th value to the gateway lacks a byte",
    "double-every": "each N-th value to the gateway comes twice",
}
