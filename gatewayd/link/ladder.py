"""The recovery ladder: what to do to a radio over which no lock proves itself, and when. Pure.

Time without proof climbs it. Proof is an authenticated answer of any lock; that something is `connected`, or
advertises, is none. One lock that is silent among others that answer costs the others nothing: only what concerns
that lock alone is done.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from gatewayd.link.radio import RadioCode, Rung

FORGET_AFTER_COUNT: Final = 2
"""Failures of a lock in a row after which the host forgets it: the first may be chance."""
RUNG_GAP_MS: Final = 45_000
"""Time without a link before the first rung that concerns the whole adapter, and between two of them, in
milliseconds: two of the longest back-offs, so that what a rung did can show. A link that falls silent is given up
after 45 s, so an adapter that hangs is switched off and on after 90."""
UNAVAILABLE_GAP_MS: Final = 15_000
"""The same where the host itself says that there is no radio: what is off needs no more proof."""
ROUND_PAUSE_MS_FIRST: Final = 10 * 60_000
"""Pause after a round in which nothing helped, in milliseconds; it doubles with every further one."""
ROUND_PAUSE_MS_MAX: Final = 3_600_000
"""Longest pause: a lock that was taken down must not have its gateway's adapter reset all day."""
NO_RADIO: Final = frozenset({RadioCode.UNAVAILABLE, RadioCode.POWERED_OFF, RadioCode.HOST_HANGS})
ADAPTER_RUNGS: Final = (Rung.POWER_CYCLE, Rung.RESET, Rung.RESTART)


def round_pause_ms(round_count: int) -> int:
    """Return the pause after so many rounds, from 1, without proof in between."""
    return min(ROUND_PAUSE_MS_FIRST << min(round_count - 1, 16), ROUND_PAUSE_MS_MAX)


@dataclass(slots=True)
class LockRungs:
    """The rung that concerns one lock alone."""

    round_count: int = 0
    again_ms: int = 0

    def due(self, now_ms: int, *, failure_count: int, code: str) -> Rung | None:
        """Return FORGET where it is time for it."""
        if failure_count < FORGET_AFTER_COUNT and code != RadioCode.GATT_FAILED:
            return None
        if code in NO_RADIO or now_ms < self.again_ms:
            return None
        return Rung.FORGET

    def note_taken(self, now_ms: int) -> None:
        """It was taken, and helps at once or not at all."""
        self.round_count += 1
        self.again_ms = now_ms + round_pause_ms(self.round_count)

    def note_proof(self) -> None:
        """The lock can be kept: a later failure is another one."""
        self.round_count = self.again_ms = 0


@dataclass(slots=True)
class Ladder:
    """One adapter's. Takes monotonic milliseconds; start it with the moment in which the adapter came into use."""

    proven_ms: int
    """When a lock last proved itself over this adapter."""
    failed: bool = False
    """Whether every rung has been taken since, and nothing answers."""
    taken_counts: Counter[Rung] = field(default_factory=Counter)
    helped_counts: Counter[Rung] = field(default_factory=Counter)
    _first: Rung = Rung.POWER_CYCLE
    """What helped last is tried first: the same adapter mostly fails in the same way."""
    _left: list[Rung] = field(default_factory=list)
    _climbing: bool = False
    _round_count: int = 0
    _next_ms: int = 0
    _last: Rung | None = None
    _switched_count: int = 0
    _switch_ms: int = 0

    def next_rung(self, now_ms: int, code: str) -> Rung | None:
        """Return the rung to take now, after a fault with this code; None while it is not time for one.

        Where the last one had its time and did not help, `failed` is set, and the next round begins after a pause.
        """
        if code == RadioCode.POWERED_OFF:
            # Whoever switched it off, nobody can come in: no time is lost on finding out what helps.
            return Rung.POWER_CYCLE if now_ms >= self._switch_ms else None
        if now_ms < max(self.proven_ms + _gap_ms(code), self._next_ms):
            return None
        if self._climbing and not self._left:
            self._climbing, self.failed = False, True
            self._next_ms = now_ms + round_pause_ms(self._round_count)
            return None
        if not self._climbing:
            self._climbing = True
            self._round_count += 1
            # What hangs cannot be asked to switch anything.
            first = Rung.RESTART if code == RadioCode.HOST_HANGS else self._first
            self._left = [first, *(rung for rung in ADAPTER_RUNGS if rung is not first)]
        return self._left[0]

    def note_taken(self, now_ms: int, rung: Rung, code: str, *, done: bool) -> None:
        """Count `rung`; one that could not be taken makes room for the next at once."""
        if code == RadioCode.POWERED_OFF:
            self._switch_ms = now_ms + min(UNAVAILABLE_GAP_MS << min(self._switched_count, 16), ROUND_PAUSE_MS_MAX)
            self._switched_count += 1
        elif rung in self._left:
            self._left.remove(rung)
        if not done:
            return
        self.taken_counts[rung] += 1
        self._last = rung
        if rung in ADAPTER_RUNGS and code != RadioCode.POWERED_OFF:
            self._next_ms = now_ms + _gap_ms(code)

    def note_proof(self, now_ms: int) -> Rung | None:
        """A lock has proved itself. Return the rung that helped, if one was taken since the last proof."""
        helped, self._last = self._last, None
        if helped is not None:
            self.helped_counts[helped] += 1
            if helped in ADAPTER_RUNGS:
                self._first = helped
        self.proven_ms, self.failed = now_ms, False
        self._left, self._climbing = [], False
        self._round_count = self._next_ms = self._switched_count = self._switch_ms = 0
        return helped


def _gap_ms(code: str) -> int:
    return UNAVAILABLE_GAP_MS if code in NO_RADIO else RUNG_GAP_MS
