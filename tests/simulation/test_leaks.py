"""A gateway that lives on leaves nothing behind: no task, no open file, no object of its own (P7)."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import structlog

from firmware_protocol.codes import Code
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS: Final = ("gatewayd", "firmware_protocol")
WARM_COUNT: Final = 25
"""Rounds after which every cache has what it keeps."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def held() -> Counter[str]:
    """Count what is held now: tasks, open files, and objects of our classes by their names."""
    gc.collect()
    kinds = [type(each) for each in gc.get_objects()]
    ours = [kind for kind in kinds if str(kind.__module__).startswith(OURS)]  # some classes have none to speak of
    found = Counter(f"{kind.__module__}.{kind.__qualname__}" for kind in ours)
    found["tasks"] = kinds.count(asyncio.Task)  # also those that are done, and that somebody keeps
    found["files"] = len(list(Path("/proc/self/fd").iterdir()))
    return found


async def a_day(world: MemoryWorld, number: int) -> None:
    """Let happen what happens in a home: a visit, an alarm, strangers, a link and a broker that come and go."""
    assert (await world.visit(world.carer("anna"))).final is Code.DONE
    world.relock()
    alarm_ref = await world.raise_alarm()
    receipts = await world.unlock_from_centre(alarm_ref=alarm_ref)
    assert receipts[-1].code is Code.DONE
    world.relock()
    await world.close_alarm(alarm_ref)
    world.send(world.topics.command, b"\x83nothing")
    world.send(world.topics.request("drift"), b"nothing")
    if number % 5 == 0:
        world.broker.drop("gateway")
    if number % 7 == 0:
        world.radio.drop_link()
    await asyncio.sleep(1_800)
    await world.settled()
    world.answers.clear()
    world.trace.clear()


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "day_count", [50, pytest.param(2_000, marks=[pytest.mark.soak, pytest.mark.timeout(0)], id="soak")]
)
def test_days_of_visits_alarms_and_faults_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, day_count: int
) -> None:
    for bounded in ("firmware_protocol.chains.PROOF_COUNT_MAX", "gatewayd.trust_keeper.RECENT_COUNT_MAX"):
        monkeypatch.setattr(bounded, WARM_COUNT // 2)  # what they remember is full after the first days

    async def story() -> None:
        world = MemoryWorld(tmp_path, 600)
        async with world.gateway():
            await world.settled()
            for number in range(WARM_COUNT):
                await a_day(world, number)
            before = held()
            for number in range(WARM_COUNT, WARM_COUNT + day_count):
                await a_day(world, number)
            more = {name: count for name, count in (held() - before).items() if count > day_count // 10}
            assert more == {}, "it grows with what happens"

    run_virtual(story())
