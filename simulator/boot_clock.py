"""Time as the firmware has it: from its start, and over with its power."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.seams import Scheduler, Timer


class BootClock:
    """The clock of one boot. `turn` runs a piece of firmware; `call_later` does so later."""

    def __init__(self, scheduler: Scheduler, turn: Callable[[Callable[[], None]], None]) -> None:
        self._scheduler = scheduler
        self._started_ms = scheduler.now_ms()
        self.turn = turn

    def up_ms(self) -> int:
        """Return the uptime, in milliseconds."""
        return self._scheduler.now_ms() - self._started_ms

    def call_later(self, delay_ms: int, work: Callable[[], None]) -> Timer:
        """Do `work` as a turn of the firmware, unless the power goes before."""
        return self._scheduler.call_later(delay_ms, lambda: self.turn(work))
