"""A stop is obeyed, also when something else fails in the same moment."""

from __future__ import annotations

import asyncio
import gc

import pytest

from gatewayd.stopping import run_apart
from tests.support.virtual_loop import run_virtual


class LinkLostError(Exception):
    pass


async def fail_after(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise LinkLostError


async def group_that_fails() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fail_after(1))
        tasks.create_task(asyncio.sleep(60))


async def live_for_ever(failures: list[str]) -> None:
    while True:
        try:
            await run_apart(group_that_fails())
        except* LinkLostError:
            failures.append("lost")


def test_a_stop_in_the_turn_in_which_a_part_fails_is_not_lost() -> None:
    async def story() -> None:
        failures: list[str] = []
        living = asyncio.create_task(live_for_ever(failures))
        asyncio.get_running_loop().call_later(1, living.cancel)
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(30):
                await living

    run_virtual(story())


def test_a_failure_alone_is_survived_again_and_again() -> None:
    async def story() -> None:
        failures: list[str] = []
        living = asyncio.create_task(live_for_ever(failures))
        await asyncio.sleep(10.5)
        assert len(failures) == 10
        living.cancel()
        with pytest.raises(asyncio.CancelledError):
            await living

    run_virtual(story())


def test_what_the_work_returns_or_raises_comes_out() -> None:
    async def seven() -> int:
        return 7

    async def story() -> None:
        assert await run_apart(seven()) == 7
        with pytest.raises(LinkLostError):
            await run_apart(fail_after(0))

    run_virtual(story())


def test_the_work_has_ended_when_a_stop_comes_out() -> None:
    ended: list[bool] = []

    async def slow_to_leave() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)
            ended.append(True)

    async def story() -> None:
        task = asyncio.create_task(run_apart(slow_to_leave()))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [True]

    run_virtual(story())


def test_what_fails_in_the_moment_of_a_stop_is_no_unheard_error() -> None:
    unheard: list[str] = []

    async def fail_when_cancelled() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise LinkLostError

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context["message"]))
        living = asyncio.create_task(run_apart(fail_when_cancelled()))
        await asyncio.sleep(1)
        living.cancel()
        with pytest.raises(asyncio.CancelledError):
            await living
        del living
        gc.collect()

    run_virtual(story())
    assert unheard == []
