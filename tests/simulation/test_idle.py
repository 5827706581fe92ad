"""Nothing happens for an hour: nothing is written, and hardly anything wakes."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVarTuple

from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

Ts = TypeVarTuple("Ts")

HOUR_S: Final = 3_600
GATEWAY: Final = f"{Path(__file__).parents[2] / 'gatewayd'}/"


class TimedLoop(VirtualLoop):
    """Knows which timers of the gateway have fired, by the place that set them."""

    def __init__(self) -> None:
        super().__init__()
        self._timers: list[tuple[str, asyncio.TimerHandle]] = []

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See `asyncio.loop.call_at`."""
        timer = super().call_at(when, callback, *args, context=context)
        frame = sys._getframe()  # noqa: SLF001 - who asked is the question
        while frame.f_back is not None and not frame.f_code.co_filename.startswith(GATEWAY):
            frame = frame.f_back
        if frame.f_code.co_filename.startswith(GATEWAY):
            self._timers.append((frame.f_code.co_filename.removeprefix(GATEWAY), timer))
        return timer

    def fired(self, from_s: float) -> Counter[str]:
        """Return how many timers have gone off since, by the file that set them."""
        now_s = self.time()
        return Counter(
            place for place, timer in self._timers if from_s < timer.when() <= now_s and not timer.cancelled()
        )


def test_an_idle_hour_writes_nothing_and_wakes_for_the_link_only(tmp_path: Path) -> None:
    async def story() -> tuple[tuple[int, int], Counter[str]]:
        world = MemoryWorld(tmp_path, 71)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TimedLoop)
        async with world.gateway():
            await world.settled()
            await asyncio.sleep(HOUR_S / 4)  # what came with the start has been said and received
            before = (world.disk.written_size, world.disk.sync_count)
            since_s = loop.time()
            await asyncio.sleep(HOUR_S)
            after = (world.disk.written_size, world.disk.sync_count)
            return (after[0] - before[0], after[1] - before[1]), loop.fired(since_s)

    with asyncio.Runner(loop_factory=TimedLoop) as runner:
        written, fired = runner.run(story())
    assert written == (0, 0)
    others = sum(count for place, count in fired.items() if not place.startswith("link/"))
    assert others <= 0.05 * HOUR_S, fired
