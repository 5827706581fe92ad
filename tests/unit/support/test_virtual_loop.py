from __future__ import annotations

import asyncio
import sys

import pytest

from tests.support.manual_clock import BOOTTIME_AHEAD_MS, ManualClock
from tests.support.seeded_entropy import SeededEntropy
from tests.support.virtual_loop import START_S, StuckError, run_virtual


def now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1_000)


def test_time_starts_at_a_fixed_value_and_jumps_to_the_next_timer() -> None:
    async def main() -> list[int]:
        times = [now_ms()]
        for delay_s in (0.001, 0.005, 1, 86_400 * 365):
            await asyncio.sleep(delay_s)
            times.append(now_ms() - times[0])
        return times

    assert run_virtual(main()) == [START_S * 1_000, 1, 6, 1_006, 31_536_001_006]


def test_truncating_to_milliseconds_never_loses_one() -> None:
    async def main() -> None:
        for count in range(1, 2_000):
            await asyncio.sleep(0.001)
            assert now_ms() == START_S * 1_000 + count

    run_virtual(main())


def test_timers_fire_in_order_and_a_run_repeats_itself() -> None:
    async def main() -> list[str]:
        diary: list[str] = []

        async def write(word: str, delay_s: float) -> None:
            await asyncio.sleep(delay_s)
            diary.append(f"{now_ms()} {word}")

        await asyncio.gather(write("late", 0.3), write("early", 0.1), write("between", 0.2))
        return diary

    assert run_virtual(main()) == run_virtual(main()) == ["1000100 early", "1000200 between", "1000300 late"]


def test_waiting_for_nothing_is_an_error() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(StuckError, match="nothing is ready"):
        run_virtual(main())


def test_spinning_at_one_moment_is_an_error() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(StuckError, match="one moment"):
        run_virtual(main())


def test_what_main_raises_comes_out_and_tasks_are_cancelled() -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(10**6)
        finally:
            ended.append("cancelled" if isinstance(sys.exception(), asyncio.CancelledError) else "ended")

    async def main() -> None:
        task = asyncio.create_task(background())
        await asyncio.sleep(1)
        assert not task.done()
        raise KeyError("the test's own")

    with pytest.raises(KeyError, match="own"):
        run_virtual(main())
    assert ended == ["cancelled"]


def test_the_clock_follows_the_loop_and_its_other_readings_can_jump() -> None:
    async def main() -> None:
        clock = ManualClock()
        before = clock.now()
        assert before.boottime_ms == before.monotonic_ms + BOOTTIME_AHEAD_MS
        await asyncio.sleep(2)
        clock.sleep_machine(60_000)
        clock.step_utc(-5_000)
        after = clock.now()
        assert after.monotonic_ms - before.monotonic_ms == 2_000
        assert after.boottime_ms - before.boottime_ms == 62_000
        assert after.utc_ms - before.utc_ms == 57_000

    run_virtual(main())


def test_entropy_repeats_itself_for_a_seed_and_not_for_another() -> None:
    assert SeededEntropy(1).token(32) == SeededEntropy(1).token(32) != SeededEntropy(2).token(32)
    same = SeededEntropy(1)
    assert same.token(16) != same.token(16)
