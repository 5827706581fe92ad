"""Kills the daemon of a home, at each system call of a kind or at random, and checks what is true afterwards."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from simulator.demo_processes import POLL_S
from simulator.mqtt_client import MqttError
from tests.support.errands import settle
from tests.support.home_audit import check_errand
from tests.support.strace_trap import StraceTrap, threads_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from tests.support.errands import Errand, Sender
    from tests.support.real_home import RealHome

START_S: Final = 1.5
"""About what a start takes until the lock is connected, in seconds: kills at random fall into it too."""
UNLOCK_S: Final = 0.8
"""About what an unlock takes, with what comes before and after."""
KILLED_IN_START: Final = 0.25
"""Share of the random kills that come while the daemon starts."""


class Threads(Enum):
    """Which threads' system calls are counted; strace counts those of each thread on its own."""

    LOOP = "loop"
    """The event loop: everything that goes to the lock and to the broker."""
    WORKERS = "workers"
    """All others: the store's writer, which syncs the file and wakes the loop through a socket."""

    def of(self, pid: int) -> tuple[int, ...]:
        """Return their ids."""
        first, *others = threads_of(pid)
        return (first,) if self is Threads.LOOP else tuple(others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Which system call, of which threads."""

    syscall: str
    threads: Threads


async def kill_at_each(home: RealHome, sender: Sender, aim: Aim, errands: list[Errand]) -> int:
    """Unlock again and again, with a kill at the first such call, the second …, until none comes before the end.

    Returns how often the daemon was killed; adds every command that was sent to `errands`.
    """
    killed_count = 0
    while await _is_killed_at(home, sender, aim, killed_count + 1, errands):
        killed_count += 1
    return killed_count


async def _is_killed_at(home: RealHome, sender: Sender, aim: Aim, number: int, errands: list[Errand]) -> bool:
    gateway = home.world.gateway
    await sender.prepare()
    await home.wait_quiet()
    async with StraceTrap(aim.threads.of(gateway.pid), syscall=aim.syscall, number=number):
        unlocking = asyncio.create_task(sender.unlock())
        ended = asyncio.create_task(gateway.ended())
        await asyncio.wait({unlocking, ended}, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    is_killed = await home.world.status() is None
    if is_killed:
        assert await gateway.ended() == -signal.SIGKILL
        await home.lock_again()
        await home.start_gateway()
    errand = await unlocking
    if errand is not None:
        if is_killed or not errand.is_over:
            await settle(home, sender, errand)
        await check_errand(home, errand)
        errands.append(errand)
    await home.lock_again()
    # A run without a kill is one that came to its end: else calls would be left out.
    assert is_killed or (errand is not None and errand.final is Code.DONE), errand
    return is_killed


async def kill_at_random(
    home: RealHome, senders: Sequence[Sender], random: Random, count: int, errands: list[Errand]
) -> None:
    """Kill the daemon `count` times while commands are sent, one after the other, by each sender in turn."""
    async with asyncio.TaskGroup() as tasks:
        killing = tasks.create_task(_kill_often(home, random, count))
        locking = tasks.create_task(_keep_locked(home))
        while not killing.done():
            await _one_of_a_loop(home, senders[len(errands) % len(senders)], errands)
        locking.cancel()


async def _kill_often(home: RealHome, random: Random, count: int) -> None:
    gateway = home.world.gateway
    for _ in range(count):
        if random.random() < KILLED_IN_START:
            await asyncio.sleep(random.uniform(0, START_S))
        else:
            await home.wait_connected()
            await asyncio.sleep(random.uniform(0, UNLOCK_S))
        await gateway.kill()
        await gateway.start()


async def _one_of_a_loop(home: RealHome, sender: Sender, errands: list[Errand]) -> None:
    await home.wait_connected()
    await home.lock_again()  # where it is withdrawn already, a command is done without a movement
    try:
        await sender.prepare()
        errand = await sender.unlock()
    except MqttError:
        return
    if errand is not None:
        errands.append(errand)
        await settle(home, sender, errand)
        await check_errand(home, errand)


async def _keep_locked(home: RealHome) -> None:
    """Throw the bolt whenever it is withdrawn, so that a second movement by one command would show."""
    while True:
        await home.lock_again()
        await asyncio.sleep(POLL_S)
