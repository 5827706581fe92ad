"""Was this asked for now? Challenges at the door, an epoch over MQTT; both on CLOCK_BOOTTIME."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.commands import ChallengeFreshness, EpochFreshness
from firmware_protocol.constants import CHALLENGE_AGE_MS_MAX, OTHER_TTL_S_MAX, UNLOCK_TTL_S_MAX, WITHIN_MS_MAX
from firmware_protocol.vocabulary import Action

if TYPE_CHECKING:
    from gatewayd.channel import Entropy
    from gatewayd.timekeeping import Clock

EPOCH_SIZE: Final = 16
CHALLENGE_COUNT_MAX: Final = 4
"""Outstanding challenges of one lock; the oldest goes, a newcomer is never refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """16 random bytes drawn at each start of the process and never stored: a restart voids what waits."""

    value: bytes
    drawn_boottime_ms: int

    def now_s(self, boottime_ms: int) -> int:
        """Return whole seconds since the draw."""
        return max(0, boottime_ms - self.drawn_boottime_ms) // 1_000


class Epochs:
    """The epoch in force; a new one voids whatever was signed under the one before."""

    def __init__(self, *, clock: Clock, entropy: Entropy) -> None:
        self._clock = clock
        self._entropy = entropy
        self.current = self._draw()

    def renew(self) -> Epoch:
        """Draw a new one."""
        self.current = self._draw()
        return self.current

    def _draw(self) -> Epoch:
        return Epoch(value=self._entropy.token(EPOCH_SIZE), drawn_boottime_ms=self._clock.now().boottime_ms)


class Challenges:
    """The challenges that the locks have given to phones, as the locks reported them."""

    def __init__(self) -> None:
        self._learned: dict[bytes, OrderedDict[bytes, int]] = {}

    def learn(self, lock_id: bytes, challenge: bytes, boottime_ms: int) -> None:
        """Remember a challenge of this lock."""
        of_lock = self._learned.setdefault(lock_id, OrderedDict())
        of_lock[challenge] = boottime_ms
        while len(of_lock) > CHALLENGE_COUNT_MAX:
            of_lock.popitem(last=False)

    def learned_boottime_ms(self, lock_id: bytes, challenge: bytes) -> int | None:
        """Return when it was learned, or None where it is unknown, burnt or pushed out."""
        return self._learned.get(lock_id, OrderedDict()).get(challenge)

    def forget(self) -> None:
        """Forget all: what has been seen of them is not known any more."""
        self._learned.clear()

    def burn(self, lock_id: bytes, challenge: bytes) -> None:
        """Forget it: the first validly signed command over it was seen."""
        self._learned.get(lock_id, OrderedDict()).pop(challenge, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshnessFacts:
    """What freshness is judged by, read before the challenge is burnt."""

    boottime_ms: int
    epoch: Epoch
    challenge_learned_ms: int | None
    """When the command's challenge was learned through the lock that it came through."""
    last_issued_s: int | None
    """`issued_s` of this signer's last executed command on this lock in this epoch."""


def judge_freshness(
    action: Action, freshness: ChallengeFreshness | EpochFreshness, facts: FreshnessFacts
) -> Code | None:
    """Return why the command is not one of now, or None."""
    if isinstance(freshness, ChallengeFreshness):
        return _judge_challenge(facts)
    return _judge_epoch(action, freshness, facts)


def within_ms(freshness: ChallengeFreshness | EpochFreshness, facts: FreshnessFacts) -> int:
    """Return how many milliseconds a fresh command still has, at most 10 000 (law 3)."""
    if isinstance(freshness, EpochFreshness):
        deadline_ms = facts.epoch.drawn_boottime_ms + freshness.exp_s * 1_000
    elif facts.challenge_learned_ms is None:
        return 0
    else:
        deadline_ms = facts.challenge_learned_ms + CHALLENGE_AGE_MS_MAX
    return max(0, min(deadline_ms - facts.boottime_ms, WITHIN_MS_MAX))


def _judge_challenge(facts: FreshnessFacts) -> Code | None:
    if facts.challenge_learned_ms is None:
        return Code.CHALLENGE_UNKNOWN
    if facts.boottime_ms - facts.challenge_learned_ms >= CHALLENGE_AGE_MS_MAX:
        return Code.CHALLENGE_UNKNOWN
    return None


def _judge_epoch(action: Action, freshness: EpochFreshness, facts: FreshnessFacts) -> Code | None:
    ttl_s_max = UNLOCK_TTL_S_MAX if action.movement is Action.UNLOCK else OTHER_TTL_S_MAX
    now_s = facts.epoch.now_s(facts.boottime_ms)
    if freshness.epoch != facts.epoch.value:
        return Code.WRONG_EPOCH
    if now_s >= freshness.exp_s:
        return Code.EXPIRED
    if freshness.exp_s - freshness.issued_s > ttl_s_max or freshness.exp_s < freshness.issued_s:
        return Code.TTL_TOO_LONG
    if freshness.issued_s > now_s + 1:
        # The signer reckons from our own answer, so it can be ahead by a rounded second, not by more.
        return Code.NOT_YET_VALID
    if facts.last_issued_s is not None and freshness.issued_s < facts.last_issued_s:
        return Code.SUPERSEDED
    return None
