"""The registry of challenges, and how long a fresh command still has."""

from __future__ import annotations

from firmware_protocol.codes import Code
from firmware_protocol.commands import ChallengeFreshness, EpochFreshness
from firmware_protocol.vocabulary import Action
from gatewayd.access.freshness import (
    CHALLENGE_COUNT_MAX,
    Challenges,
    Epoch,
    Epochs,
    FreshnessFacts,
    judge_freshness,
    within_ms,
)
from gatewayd.timekeeping import Instant
from tests.support.seeded_entropy import SeededEntropy

LOCK, OTHER = bytes(8), bytes([1] * 8)
EPOCH = Epoch(value=bytes(16), drawn_boottime_ms=5_000)


def challenge(number: int) -> bytes:
    return bytes([number]) * 16


def facts(boottime_ms: int, learned_ms: int | None = None) -> FreshnessFacts:
    return FreshnessFacts(boottime_ms=boottime_ms, epoch=EPOCH, challenge_learned_ms=learned_ms, last_issued_s=None)


def test_a_challenge_counts_only_for_the_lock_that_gave_it() -> None:
    challenges = Challenges()
    challenges.learn(LOCK, challenge(1), 7)
    assert challenges.learned_boottime_ms(LOCK, challenge(1)) == 7
    assert challenges.learned_boottime_ms(OTHER, challenge(1)) is None


def test_a_burnt_challenge_is_unknown() -> None:
    challenges = Challenges()
    challenges.learn(LOCK, challenge(1), 7)
    challenges.burn(LOCK, challenge(1))
    challenges.burn(OTHER, challenge(1))
    assert challenges.learned_boottime_ms(LOCK, challenge(1)) is None


def test_a_squatter_pushes_out_the_oldest_challenge_and_a_newcomer_is_never_refused() -> None:
    challenges = Challenges()
    for number in range(CHALLENGE_COUNT_MAX + 1):
        challenges.learn(LOCK, challenge(number), number)
    assert challenges.learned_boottime_ms(LOCK, challenge(0)) is None
    assert challenges.learned_boottime_ms(LOCK, challenge(CHALLENGE_COUNT_MAX)) == CHALLENGE_COUNT_MAX


def test_an_epoch_counts_whole_seconds_from_its_draw() -> None:
    assert [EPOCH.now_s(ms) for ms in (0, 5_000, 5_999, 6_000)] == [0, 0, 0, 1]


def test_a_command_has_what_is_left_of_its_life_and_at_most_ten_seconds() -> None:
    epoch = EpochFreshness(epoch=EPOCH.value, issued_s=0, exp_s=30)
    assert within_ms(epoch, facts(boottime_ms=5_000)) == 10_000
    assert within_ms(epoch, facts(boottime_ms=34_999)) == 1
    assert within_ms(epoch, facts(boottime_ms=35_000)) == 0
    assert within_ms(epoch, facts(boottime_ms=99_000)) == 0
    door = ChallengeFreshness(challenge=challenge(1))
    assert within_ms(door, facts(boottime_ms=40_000, learned_ms=30_000)) == 10_000
    assert within_ms(door, facts(boottime_ms=59_999, learned_ms=30_000)) == 1
    assert within_ms(door, facts(boottime_ms=40_000, learned_ms=None)) == 0


def test_four_challenges_may_be_outstanding_and_the_fifth_pushes_out_the_first() -> None:
    challenges = Challenges()
    names = [bytes([number]) * 16 for number in range(5)]
    for number, name in enumerate(names[:4]):
        challenges.learn(LOCK, name, number)
    assert [challenges.learned_boottime_ms(LOCK, name) for name in names] == [0, 1, 2, 3, None]
    challenges.learn(LOCK, names[4], 4)
    assert [challenges.learned_boottime_ms(LOCK, name) for name in names] == [None, 1, 2, 3, 4]


class OneClock:
    def __init__(self) -> None:
        self.boottime_ms = 5_000

    def now(self) -> Instant:
        return Instant(monotonic_ms=0, boottime_ms=self.boottime_ms, utc_ms=0)


def test_attack_a_new_epoch_voids_what_was_signed_under_the_one_before() -> None:
    clock = OneClock()
    epochs = Epochs(clock=clock, entropy=SeededEntropy(1))
    before = epochs.current
    clock.boottime_ms += 7_000
    after = epochs.renew()
    assert after is epochs.current
    assert (after.drawn_boottime_ms, len(after.value)) == (12_000, 16)
    asked = EpochFreshness(epoch=before.value, issued_s=7, exp_s=30)
    facts_now = FreshnessFacts(boottime_ms=12_000, epoch=after, challenge_learned_ms=None, last_issued_s=None)
    assert judge_freshness(Action.UNLOCK, asked, facts_now) is Code.WRONG_EPOCH


def test_forgotten_challenges_are_unknown_of_every_lock() -> None:
    challenges = Challenges()
    for lock in (LOCK, OTHER):
        challenges.learn(lock, challenge(1), 7)
    challenges.forget()
    assert challenges.learned_boottime_ms(LOCK, challenge(1)) is None
    assert challenges.learned_boottime_ms(OTHER, challenge(1)) is None
