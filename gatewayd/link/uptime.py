"""The lock's clock as the gateway may use it: only so that delay shortens a deadline. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.constants import UP_MS_ANSWER_AGE_MS_MAX
from firmware_protocol.messages import CommandAccepted, CommandResult, Pong, RelayOpen, State
from gatewayd.timekeeping import DRIFT_PPM

if TYPE_CHECKING:
    from firmware_protocol.messages import Message

LEAST_WINDOW_MS: Final = 120_000
"""The best word of so long stands for the next so long too, in milliseconds. A state is asked for every minute, and its
answer is at most `lock_client.ANSWER_MS_MAX` late: so there is always one that nobody has held back for longer."""
_PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class UptimeReading:
    """An authenticated lock's word about its uptime."""

    up_ms: int
    received_ms: int
    """CLOCK_BOOTTIME when the word arrived; it was said no later than that."""

    def fresh(self, now_ms: int) -> bool:
        """Whether a deadline may still be computed from it."""
        return now_ms - self.received_ms <= UP_MS_ANSWER_AGE_MS_MAX

    def before_up_ms(self, *, now_ms: int, left_ms: int) -> int:
        """Return the uptime at which the lock must refuse to start, if it has `left_ms` from now.

        The word was said at or before `received_ms`, so the lock's uptime now is at least what is
        computed here: a word held back in the air, like a command held back, only shortens the time.
        Both clocks may be off by `DRIFT_PPM`, which is taken off too.
        """
        return self.at_least_ms(now_ms) + left_ms

    def at_least_ms(self, now_ms: int) -> int:
        """Return the least that the lock's uptime can be now."""
        elapsed_ms = max(0, now_ms - self.received_ms)
        drift_ms = -(-elapsed_ms * 2 * DRIFT_PPM // _PPM)
        return self.up_ms + elapsed_ms - drift_ms


class LeastUptime:
    """What a lock's uptime has reached at least, by the best of all that it said lately.

    Attack: somebody in the air holds everything back that the lock says, a phone's command among it, and lets it go
    when the carer has left. The newest word is then as old as the command: only an earlier one tells the age of both.
    """

    def __init__(self) -> None:
        self._best: UptimeReading | None = None
        self._former: UptimeReading | None = None
        """The best of the window before."""
        self._since_ms = 0

    def hear(self, reading: UptimeReading) -> None:
        """Take a word."""
        if self._best is None or reading.received_ms - self._since_ms >= LEAST_WINDOW_MS:
            self._former, self._best, self._since_ms = self._best, reading, reading.received_ms
        elif reading.up_ms >= self._best.at_least_ms(reading.received_ms):
            self._best = reading

    def age_ms(self, up_ms: int, now_ms: int) -> int:
        """Return how long ago, at least, the lock's uptime was `up_ms`."""
        readings = (reading for reading in (self._best, self._former) if reading is not None)
        return max((0, *(reading.at_least_ms(now_ms) - up_ms for reading in readings)))


def up_ms_of(message: Message) -> int | None:
    """Return the uptime that a lock tells with this message, or None."""
    match message:
        case (
            State(up_ms=up_ms)
            | Pong(up_ms=up_ms)
            | CommandAccepted(up_ms=up_ms)
            | CommandResult(up_ms=up_ms)
            | RelayOpen(up_ms=up_ms)
        ):
            return up_ms
        case _:
            return None
