"""How often: token buckets by the generic cell rate algorithm. Pure.

A bucket's state is one number, its theoretical arrival time in milliseconds of the trusted lower
bound of UTC. That clock survives a restart and never goes back, so neither a power cut nor a clock
that was set back refills anything. The emergency class has buckets of its own (law 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from firmware_protocol.chains import VerifiedBundle
    from gatewayd.settings import LimitSettings

GLOBAL: Final = "global"
REFUSAL_BURST: Final = 30
REFUSAL_INTERVAL_MS: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """`burst` at once, then one each `interval_ms`."""

    key: str
    burst: int
    interval_ms: int
    refuses: bool = True
    """False: it is drawn from, but says no to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhausted:
    """One of the buckets is empty."""

    key: str
    retry_after_ms: int


def buckets_for(bundle: VerifiedBundle, limits: LimitSettings) -> tuple[Bucket, ...]:
    """Return the buckets that a permitted command draws from."""
    signer, lock = bundle.signer_kid.hex(), bundle.command.lock_id.hex()
    interval_ms = limits.interval_ms
    motor = f"motor:{lock}"
    if bundle.is_emergency:
        # The motor remembers these strokes, so that visits wait until it has cooled down; a rescue never does.
        return (
            Bucket(key=f"emergency:{signer}:{lock}", burst=limits.emergency_burst, interval_ms=interval_ms),
            Bucket(key=motor, burst=limits.motor_burst, interval_ms=interval_ms, refuses=False),
        )
    return (
        # One signer gets at most half of a lock's bucket: one stolen phone cannot shut the others out.
        Bucket(key=f"signer:{signer}:{lock}", burst=max(1, limits.lock_burst // 2), interval_ms=2 * interval_ms),
        Bucket(key=f"lock:{lock}", burst=limits.lock_burst, interval_ms=interval_ms),
        Bucket(key=f"provider:{bundle.proof.provider}", burst=limits.provider_burst, interval_ms=interval_ms),
        Bucket(key=GLOBAL, burst=limits.global_burst, interval_ms=interval_ms),
        Bucket(key=motor, burst=limits.motor_burst - limits.motor_reserve, interval_ms=interval_ms),
    )


def refusals_bucket(bundle: VerifiedBundle) -> Bucket:
    """Return the bucket of a signer's refusals that are recorded one by one: whose key is stolen fills no disk."""
    key = f"refused:{bundle.signer_kid.hex()}"
    return Bucket(key=key, burst=REFUSAL_BURST, interval_ms=REFUSAL_INTERVAL_MS)


def take(buckets: Sequence[Bucket], states: Mapping[str, int], now_ms: int) -> dict[str, int] | Exhausted:
    """Draw one token from every bucket, or from none: the new states, or which one is empty."""
    taken: dict[str, int] = {}
    for bucket in buckets:
        # No bucket is ever emptier than empty. What lies further ahead was written before the clock's floor was
        # lowered, or by an emergency's strokes, and must not shut a door for years.
        empty_ms = now_ms + bucket.burst * bucket.interval_ms
        arrival_ms = min(max(states.get(bucket.key, 0), now_ms), empty_ms)
        limit_ms = empty_ms - bucket.interval_ms
        if arrival_ms > limit_ms and bucket.refuses:
            return Exhausted(key=bucket.key, retry_after_ms=arrival_ms - limit_ms)
        taken[bucket.key] = min(arrival_ms + bucket.interval_ms, empty_ms)
    return taken
