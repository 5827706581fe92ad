"""A simulated lock as a process of its own on the virtual radio: SIGKILL is to it what a power cut is to a lock."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from simulator.door_file import keep_door
from simulator.flash import Flash
from simulator.flash_media import FileMedium
from simulator.lock import SimulatedLock
from simulator.lock_control import serve_control
from simulator.lock_keys import LockKeys
from simulator.mechanics import MOTOR_MS, Mechanics
from simulator.peripheral import ATT_MTU_MAX, Peripheral
from simulator.seams import LoopScheduler, SystemEntropy

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_STOPPED: Final = 0
EXIT_AIR_LOST: Final = 70


async def _run(arguments: argparse.Namespace) -> int:
    """Be a lock until SIGTERM, or until the controller is gone."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stopped.set)
    scheduler = LoopScheduler()
    mechanics = Mechanics(scheduler, motor_ms=arguments.motor_ms)
    keep_door(mechanics, arguments.door or arguments.flash.with_name(arguments.flash.name + ".door"))
    keys = LockKeys.load(arguments.home)
    lock = SimulatedLock(keys, Flash(FileMedium(arguments.flash)), mechanics, scheduler, SystemEntropy())
    control = await serve_control(lock, arguments.control)
    peripheral = Peripheral(
        hci=arguments.transport, handler=lock, address=arguments.address, att_mtu_max=arguments.att_mtu
    )
    async with control, peripheral:
        lock.attach_beacon(peripheral)
        ready = {"ready": True, "name": keys.name, "lock_id": keys.lock_id.hex(), "address": peripheral.address}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        stop = asyncio.create_task(stopped.wait())
        lost = asyncio.create_task(peripheral.wait_lost())
        await asyncio.wait({stop, lost}, return_when=asyncio.FIRST_COMPLETED)
        lost.cancel()
        stop.cancel()
    return EXIT_STOPPED if stopped.is_set() else EXIT_AIR_LOST


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM. One line on stdout when ready: `{"ready": true, "name": …, "lock_id": …, "address": …}`."""
    parser = argparse.ArgumentParser(prog="simulator lock", description="A simulated lock on the virtual radio.")
    parser.add_argument("--transport", required=True, metavar="HCI", help="e.g. tcp-client:127.0.0.1:40001")
    parser.add_argument("--address", metavar="ADDRESS", help="random static address; a fresh one when absent")
    parser.add_argument("--home", required=True, type=Path, metavar="FILE", help="keys and ids, as JSON")
    parser.add_argument("--flash", required=True, type=Path, metavar="FILE", help="durable memory, made when absent")
    parser.add_argument("--door", type=Path, metavar="FILE", help="the physical truth (default: FLASH.door)")
    parser.add_argument("--control", required=True, type=Path, metavar="SOCKET", help="Unix socket of the test world")
    parser.add_argument("--motor-ms", type=int, default=MOTOR_MS, metavar="N", help="what a stroke takes")
    parser.add_argument("--att-mtu", type=int, default=ATT_MTU_MAX, metavar="N", help="largest ATT MTU it agrees to")
    return asyncio.run(_run(parser.parse_args(argv)))
