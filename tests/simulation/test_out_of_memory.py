"""Memory runs out, at any call: whatever was begun is ended honestly, at the latest by the next start (P6)."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest

from firmware_protocol.codes import Code
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

CALL_COUNT: Final = 2_000
"""About as many calls of the daemon's own functions as a visit is; the call that fails is drawn from them."""


class Hunger:
    """Lets the n-th call of a function of gatewayd fail for want of memory, once; of any function, or of this one."""

    def __init__(self, number: int, name: str = "") -> None:
        self.left = number
        self._name = name
        self.where = ""

    def __call__(self, frame: FrameType, event: str, _given: object) -> None:
        caller = frame.f_back
        if event != "call" or "/gatewayd/" not in frame.f_code.co_filename:
            return
        if caller is None or "/gatewayd/" not in caller.f_code.co_filename:
            return  # what the loop calls is entered with the little that entering takes; it fails at what it calls
        if self._name not in {"", frame.f_code.co_qualname}:
            return
        self.left -= 1
        if self.left == 0:
            self.where = frame.f_code.co_qualname
            raise MemoryError

    @contextmanager
    def strikes(self) -> Iterator[None]:
        """Count calls; what raises in a profile function comes out of the call, and ends the counting."""
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)


async def live_through(world: MemoryWorld, hunger: Hunger) -> None:
    await world.provision()
    await world.start_gateway()
    await world.settled()
    with hunger.strikes():
        await world.visit(world.carer())
        await asyncio.sleep(5)
    living = world._running  # noqa: SLF001 - the process
    assert living is not None
    if living.done():  # the process has ended of it
        living.exception()
        world._running = None  # noqa: SLF001 - as it is after an exit
    await world.kill_gateway()
    await world.start_gateway()
    await asyncio.sleep(10)
    await world.settled()


@pytest.mark.parametrize("part", range(8))
def test_whichever_call_finds_no_memory_the_bolt_moves_once_and_every_permitted_command_has_its_outcome(
    tmp_path: Path, part: int
) -> None:
    random = Random(part)
    for round_number in range(3):
        hunger = Hunger(random.randrange(1, CALL_COUNT))

        run_virtual(is_survived(tmp_path, 500 + 10 * part + round_number, hunger))


@pytest.mark.parametrize(
    "name",
    [
        "Store._begin",
        "Database.run_batch",
        "Journal.append",
        "Reservations.decide",
        "Recorder.run",
        "Door._conclude",
        "Moves._move",
        "Carrier._write_value",
        "Outbox._turn",
        "Ledger.take_mail",
    ],
)
def test_where_it_hurts_most_too(tmp_path: Path, name: str) -> None:
    for number in (1, 2):
        hunger = Hunger(number, name)
        run_virtual(is_survived(tmp_path, 590 + number, hunger))
        assert hunger.where in {name, ""}
        assert hunger.where or number > 1, "it is called no more: name another"


async def is_survived(folder: Path, seed: int, hunger: Hunger) -> None:
    """Live through it, and require what must hold after the next start."""
    world = MemoryWorld(folder, seed)
    await live_through(world, hunger)
    told = Counter(command.hex() for command in world.command_movements)
    assert all(count == 1 for count in told.values()), hunger.where
    events = world.events()
    outcomes = Counter(commands_of(events, "carelock.command.outcome"))
    permitted = [
        event["data"]["command_id"]
        for event in events
        if event["type"] == "carelock.command.decided" and event["data"]["code"] == Code.PERMITTED.dotted
    ]
    assert outcomes == Counter(permitted), f"{hunger.where}: outcomes and permitted commands differ"
    assert set(told) <= set(permitted), hunger.where
    assert world.central_store.alarms() == (), hunger.where
    assert (await world.visit(world.carer("bo"))).final is Code.DONE, hunger.where
    await world.kill_gateway()


def commands_of(events: list[dict[str, Any]], kind: str) -> list[str]:
    return [event["data"]["command_id"] for event in events if event["type"] == kind]
