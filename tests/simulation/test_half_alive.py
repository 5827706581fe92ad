"""A part that dies, or ends without a word, never leaves a gateway half alive (P4): it mends itself or starts anew."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pytest

from firmware_protocol.codes import Code
from gatewayd.stopping import PartEndedError
from gatewayd.upkeep import Upkeep
from gatewayd.uplink.board import Board
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path

LIFE_S: Final = 300
MENDED: Final = ("Carrier.", "until_one_ends", "Roster._watch", "LockClient.", "RelayChannels._tell")
"""What is restarted with its link, or only watches others. Everything else ends the process, and systemd starts it."""


def parts_of_the_gateway() -> list[asyncio.Task[Any]]:
    """The tasks that the gateway lives by, in a fixed order."""
    found = []
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        if code is not None and "/gatewayd/" in code.co_filename:
            found.append((code.co_qualname, task))
    return [task for _, task in sorted(found, key=lambda each: each[0])]


def name_of(task: asyncio.Task[Any]) -> str:
    return str(task.get_coro().cr_code.co_qualname)  # type: ignore[union-attr]  # as found above


async def end_one(world: MemoryWorld, number: int) -> str | None:
    """Let one part of a settled gateway end, tell what must not be, and return its name; None where there is none."""
    await world.provision()
    await world.start_gateway()
    await world.settled()
    parts = parts_of_the_gateway()
    if number >= len(parts):
        await world.kill_gateway()
        return None
    name = name_of(parts[number])
    parts[number].cancel()
    await asyncio.sleep(1)
    living = world._running  # noqa: SLF001 - the process
    assert living is not None
    if living.done():
        assert isinstance(living.exception(), BaseExceptionGroup), name
        assert living.exception().subgroup(PartEndedError) is not None, name  # type: ignore[union-attr]  # just seen
        await asyncio.sleep(1)
        world._running = None  # noqa: SLF001 - as it is after an exit
        await world.kill_gateway()
        await world.start_gateway()
    else:
        assert name.startswith(MENDED), f"{name} has ended, and nobody heard of it"
    await is_whole(world, name)
    await world.kill_gateway()
    return name


async def is_whole(world: MemoryWorld, name: str) -> None:
    """Require everything that a gateway is for."""
    await asyncio.sleep(LIFE_S)
    assert (await world.visit(world.carer())).final is Code.DONE, name
    world.relock()
    alarm_ref = await world.raise_alarm()
    receipts = await world.unlock_from_centre(alarm_ref=alarm_ref)
    assert receipts[-1].code is Code.DONE, name
    await world.settled()


@pytest.mark.no_cover
def test_whichever_part_ends_by_mistake_nobody_lives_on_without_it(tmp_path: Path) -> None:
    ended: list[str] = []

    async def story(number: int) -> str | None:
        return await end_one(MemoryWorld(tmp_path, 400 + number), number)

    while True:
        name = run_virtual(story(len(ended)))
        if name is None:
            break
        ended.append(name)
    assert {"Uplink._one_session", "Downlink.run", "Outbox.run", "LinkSupervisor.run", "Presence.run"} <= set(ended)
    assert len(ended) > 20


@pytest.mark.parametrize("part", [Board, Upkeep], ids=lambda part: part.__name__)
def test_an_exception_that_nobody_foresaw_ends_the_run_and_the_lock_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: type[Any]
) -> None:
    whole = part.run

    async def breaks(self: object, *given: object) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                await whole(self, *given)
        raise ZeroDivisionError

    async def story() -> None:
        world = MemoryWorld(tmp_path, 450)
        await world.provision()
        monkeypatch.setattr(part, "run", breaks)
        await world.start_gateway()
        await world.settled(within_s=50)
        living = world._running  # noqa: SLF001 - the process
        assert living is not None
        with pytest.raises(BaseExceptionGroup) as caught:
            await living
        assert caught.value.subgroup(ZeroDivisionError) is not None
        world._running = None  # noqa: SLF001 - as it is after an exit
        monkeypatch.undo()
        await world.kill_gateway()
        await world.start_gateway()
        await is_whole(world, part.__name__)
        await world.kill_gateway()

    run_virtual(story())
