"""Events of a gateway that does not know what time it is: in order all the same, and never dated as if it knew."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.memory_world import NOW_S, MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path

HOUR_S = 3_600


def test_what_happened_before_time_was_trusted_has_no_upper_end_and_stands_between_the_starts_that_it_lay_between(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 77)
        await world.provision()
        world.disconnect_central()
        world.clock.step_utc(-NOW_S * 1_000)  # no battery behind the clock: it is 1970 again
        for _ in range(2):
            await world.start_gateway()
            await asyncio.sleep(HOUR_S)
            await world.kill_gateway()
        world.connect_central()
        await world.start_gateway()
        await world.settled()
        await world.stop_gateway()
        events = world.events()
        boots = [event["data"]["boot"] for event in events if event["type"] == "carelock.gateway.started"]
        assert boots == [1, 2, 3]
        starts = [place for place, event in enumerate(events) if event["type"] == "carelock.gateway.started"]
        blind = events[: starts[2]]
        assert {"carelock.link.raised", "carelock.gateway.started"} <= {event["type"] for event in blind}
        assert not [event for event in blind if "timehi" in event]
        assert [int(event["id"].partition("/")[2]) for event in events] == list(range(len(events)))
        assert min(event["timelo"] for event in events) > "2026"  # never 1970: no earlier than the program itself

    run_virtual(story())
