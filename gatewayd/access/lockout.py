"""The lock-out: who was refused too often at a lock waits, each time longer, never beyond five minutes. Pure.

Only what nobody else could have sent counts: validly signed, fresh, seen for the first time, and refused for
rights, window or uses. The emergency class is never locked out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FREE_COUNT: Final = 4
"""Refusals without a wait: a carer at the wrong hour tries again, and once more to be sure."""
DELAY_MS_MIN: Final = 10_000
"""The first wait; each further refusal doubles it."""
DELAY_MS_MAX: Final = 300_000
"""The longest wait: somebody may stand in front of a frail person's door."""
FORGIVEN_MS: Final = 3_600_000
"""After so long without a refusal all are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lockout:
    """What is remembered of one signer at one lock. Times are milliseconds of the trusted lower bound of UTC."""

    refusal_count: int = 0
    last_ms: int = 0
    """The last refusal that counted."""
    until_ms: int = 0
    """Nothing is permitted before."""


NEVER_REFUSED: Final = Lockout()


def wait_ms(lockout: Lockout, now_ms: int) -> int:
    """Return how long the signer must still wait; 0: not at all."""
    return max(0, min(lockout.until_ms - now_ms, DELAY_MS_MAX))


def after_refusal(lockout: Lockout, now_ms: int) -> Lockout:
    """Count one more refusal."""
    count = 1 if now_ms - lockout.last_ms >= FORGIVEN_MS else lockout.refusal_count + 1
    return Lockout(refusal_count=count, last_ms=now_ms, until_ms=now_ms + _delay_ms(count))


def _delay_ms(refusal_count: int) -> int:
    beyond = refusal_count - FREE_COUNT
    if beyond <= 0:
        return 0
    # Bounded before the shift: the count of a patient attacker must not become a number of a thousand digits.
    return min(DELAY_MS_MIN << min(beyond - 1, 16), DELAY_MS_MAX)
