"""The numbers of the decision as they were decided: changing one is a decision, not an accident."""

from __future__ import annotations

from firmware_protocol import chains
from gatewayd.access import freshness, installers, limits, lockout, uses


def test_the_numbers_are_what_was_decided() -> None:
    assert (chains.ROOT_THRESHOLD, chains.OPERATOR_COUNT, chains.BUNDLE_OBJECT_COUNT_MAX) == (2, 2, 3)
    assert chains.PROOF_COUNT_MAX == 256
    assert freshness.CHALLENGE_COUNT_MAX == 4
    assert installers.INSTALLER_MS == 3_600_000
    assert (limits.REFUSAL_BURST, limits.REFUSAL_INTERVAL_MS) == (30, 20_000)
    assert (lockout.FREE_COUNT, lockout.DELAY_MS_MIN, lockout.DELAY_MS_MAX) == (4, 10_000, 300_000)
    assert lockout.FORGIVEN_MS == 3_600_000
    assert (uses.EPISODE_MS, uses.ALWAYS_LEFT_MS, uses.SINGLE) == (900_000, 3_600_000, 0)


def test_who_was_never_refused_has_nothing_to_wait_for_whatever_the_clock_says() -> None:
    assert lockout.Lockout(refusal_count=0, last_ms=0, until_ms=0) == lockout.NEVER_REFUSED
    assert lockout.after_refusal(lockout.NEVER_REFUSED, 0).refusal_count == 1
