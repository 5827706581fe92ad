"""An asyncio loop on virtual time: when nothing is ready, time jumps to the next timer.

An hour of waiting costs what its events cost, and one seed is one trace. Nothing ready and no timer
pending means that the program waits for something that can never happen: that is an error here.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

START_S: Final = 1_000
"""`loop.time()` at the start: not 0, so that a deadline computed from nothing shows."""
STILL_TURN_COUNT_MAX: Final = 100_000
"""Most turns of the loop at one moment; a program that needs more is spinning."""
_HALF_TICK_S: Final = 1e-7
"""`time()` lies this much above the microsecond, so that truncating to milliseconds never loses one."""

T = TypeVar("T")


class StuckError(Exception):
    """The program can't go on: it waits for nothing, or time stands still while it spins."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector loop whose clock is a number. Threads have no place here."""

    def __init__(self) -> None:
        self._now_us = START_S * 1_000_000
        self._still_count = 0
        super().__init__(_JumpingSelector(self))
        # asyncio fires what is due within one resolution; the real clock's nanosecond is lost in a float after a year.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return virtual seconds."""
        return self._now_us / 1_000_000 + _HALF_TICK_S

    def turn(self, timeout: float | None) -> None:
        """Let time jump to where the next timer is due, `timeout` seconds ahead.

        Raises:
            StuckError: there is no timer, or too many turns were made at this moment.
        """
        if timeout is None:
            raise StuckError("nothing is ready and no timer is pending")
        if timeout > 0:
            self._now_us += max(1, round(timeout * 1_000_000))
            self._still_count = 0
            return
        self._still_count += 1
        if self._still_count > STILL_TURN_COUNT_MAX:
            raise StuckError(f"{STILL_TURN_COUNT_MAX} turns at one moment")


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: what waiting would have brought is the loop's own next timer."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Poll the files, which a purely virtual program does not use, and jump."""
        ready = super().select(0)
        if not ready:
            self._loop.turn(timeout)
        return ready


def run_virtual(main: Coroutine[object, object, T]) -> T:
    """Run `main` in a loop of its own on virtual time and return what it returns.

    Raises:
        StuckError: see `VirtualLoop.turn`; tasks that were still there are cancelled.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
