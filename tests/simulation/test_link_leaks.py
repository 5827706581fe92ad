"""A link that comes and goes for years leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from gatewayd.link.radio import RadioCode, RadioError
from tests.support.scripted_home import ScriptedHome
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "reconnect_count", [1_000, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(0)], id="soak")]
)
def test_reconnects_leave_no_task_no_connection_and_no_object_behind(
    monkeypatch: pytest.MonkeyPatch, reconnect_count: int
) -> None:
    async def story() -> None:
        home = ScriptedHome()
        monkeypatch.setattr("gatewayd.link.budget.CONNECT_REFILL_MS", 1)  # what is looked for costs no battery
        monkeypatch.setattr("gatewayd.link.patience.backoff_ms_max", lambda _count: 300)
        counts: list[tuple[int, int]] = []
        async with home.running() as link:
            for count in range(reconnect_count):
                match count % 3:
                    case 0:
                        home.radio.drop_link()
                    case 1:
                        home.lock.hang_up()
                    case _:
                        home.radio.connect_errors.append(RadioError(RadioCode.CONNECT_FAILED))
                        home.radio.drop_link()
                await home.until(lambda: not link.ready)
                await home.until_ready()
                for growing in (home.diary.doors, home.diary.clocks, home.diary.changes, home.lock.heard):
                    growing.clear()
                home.lock.confirms.clear()
                if count in {reconnect_count // 10, reconnect_count - 1}:
                    await asyncio.sleep(1)
                    gc.collect()
                    counts.append((len(asyncio.all_tasks()), len(gc.get_objects())))
            assert counts[0][0] == counts[1][0]
            assert counts[1][1] - counts[0][1] < reconnect_count / 10
            assert (home.adapter.slots.held_count, home.radio.link_count) == (1, 1)

    run_virtual(story())
