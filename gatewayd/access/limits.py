"""How often: token buckets by the generic cell rate algorithm, and the lock-out. Pure.

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

LOCKOUT_REFUSAL_COUNT: Final = 5
"""Refusals for rights, window or uses before a signer has to wait."""
LOCKOUT_INTERVAL_MS: Final = 60_000
"""One refusal is forgiven a minute, so that a lock-out never lasts more than 5 minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """`burst` at once, then one each `interval_ms`."""

    key: str
    burst: int
    interval_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhausted:
    """One of the buckets is empty."""

    key: str
    retry_after_ms: int


def buckets_for(bundle: VerifiedBundle, limits: LimitSettings) -> tuple[Bucket, ...]:
    """Return the buckets that a permitted command draws from."""
    signer, lock = bundle.signer_kid.hex(), bundle.command.lock_id.hex()
    interval_ms = limits.interval_ms
    if bundle.proof.is_operator:
        return (
            Bucket(key=f"emergency-operator:{signer}:{lock}", burst=limits.emergency_burst, interval_ms=interval_ms),
        )
    return (
        # One signer gets at most half of a lock's bucket: one stolen phone cannot shut the others out.
        Bucket(key=f"signer:{signer}:{lock}", burst=max(1, limits.lock_burst // 2), interval_ms=2 * interval_ms),
        Bucket(key=f"lock:{lock}", burst=limits.lock_burst, interval_ms=interval_ms),
        Bucket(key=f"provider:{bundle.proof.provider}", burst=limits.provider_burst, interval_ms=interval_ms),
        Bucket(key="global", burst=limits.global_burst, interval_ms=interval_ms),
    )


def lockout_bucket(bundle: VerifiedBundle) -> Bucket:
    """Return the bucket of refusals of this signer at this lock."""
    key = f"lockout:{bundle.signer_kid.hex()}:{bundle.command.lock_id.hex()}"
    return Bucket(key=key, burst=LOCKOUT_REFUSAL_COUNT, interval_ms=LOCKOUT_INTERVAL_MS)


def take(buckets: Sequence[Bucket], states: Mapping[str, int], now_ms: int) -> dict[str, int] | Exhausted:
    """Draw one token from every bucket, or from none: the new states, or which one is empty."""
    taken: dict[str, int] = {}
    for bucket in buckets:
        arrival_ms = max(states.get(bucket.key, 0), now_ms)
        limit_ms = now_ms + (bucket.burst - 1) * bucket.interval_ms
        if arrival_ms > limit_ms:
            return Exhausted(key=bucket.key, retry_after_ms=arrival_ms - limit_ms)
        taken[bucket.key] = arrival_ms + bucket.interval_ms
    return taken
