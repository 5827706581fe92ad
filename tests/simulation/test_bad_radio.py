"""A link that never gives up: weeks in each run, a year in a soak."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from gatewayd.link.budget import CONNECTS_PER_DAY_MAX
from tests.support.bad_radio import BadRadio, Record, broken_promises
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Iterator

FRESH_S_P99 = 30
SILENT_S_P99 = 75


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Say only what is wrong: a year has a million lines."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def live(seed: int, days: float) -> BadRadio:
    """Live through that many days, and hold what was seen to what was promised."""

    async def story() -> BadRadio:
        world = BadRadio(seed)
        await world.live(days)
        return world

    world = run_virtual(story())
    record = world.record
    print(summary(days, record))  # noqa: T201 - the figures of the run
    assert broken_promises(world) == []
    assert record.percentile(record.fresh_s, 0.99) <= FRESH_S_P99
    assert record.percentile(record.silent_s, 0.99) <= SILENT_S_P99
    assert max(record.connects.values()) <= CONNECTS_PER_DAY_MAX
    assert world.home.diary.alerts == []
    return world


def summary(days: float, record: Record) -> str:
    """Return one line of figures."""
    fresh, silent = record.fresh_s, record.silent_s
    return (
        f"{days:g} days, {record.incidents.total()} incidents {dict(sorted(record.incidents.items()))}; "
        f"ready again after p50 {record.percentile(fresh, 0.5):.1f} p99 {record.percentile(fresh, 0.99):.1f} "
        f"max {max(fresh):.1f} s of {len(fresh)}; after silence p50 {record.percentile(silent, 0.5):.1f} "
        f"p99 {record.percentile(silent, 0.99):.1f} max {max(silent, default=0):.1f} s of {len(silent)}; "
        f"{len(record.told)} commands; connects a day: mean {record.connects.total() / days:.1f}, "
        f"most {max(record.connects.values())}"
    )


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [1, 2])
def test_a_week_of_a_bad_radio_keeps_every_promise(seed: int) -> None:
    world = live(seed, 7)
    assert len(world.record.incidents) > 8


@pytest.mark.no_cover
@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("quarter", [1, 2, 3, 4])
def test_a_year_of_a_bad_radio_keeps_every_promise(quarter: int) -> None:
    live(1_000 + quarter, 91.25)
