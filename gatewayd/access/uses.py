"""How often a grant has been used, and whether once more is permitted. Pure.

A grant of class 2 is on the phone of somebody who is called when it matters. There a use is an episode of
15 minutes, however often the door is opened in it, and one an hour is always left: who stands before the door of a
person on the floor is not sent away by arithmetic. What the lock proves not to have moved is given back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import OfflineClass

if TYPE_CHECKING:
    from firmware_protocol.tokens import Grant

EPISODE_MS: Final = 15 * 60 * 1_000
ALWAYS_LEFT_MS: Final = 60 * 60 * 1_000
"""So long after the last episode began the next one is permitted, whatever has been used."""
SINGLE: Final = 0
"""Names a use that is no episode's: one movement of a grant of class 0 or 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """What is remembered of one grant. Times are milliseconds of the trusted lower bound of UTC."""

    count: int = 0
    episode_ms: int | None = None
    """When the newest episode began; class 2 only."""
    movement_count: int = 0
    """Movements of that episode, but for those proven not to have happened."""


NEVER_USED: Final = Uses()


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One permitted use."""

    after: Uses
    """To be remembered of the grant."""
    name: int
    """Which use the command belongs to: the start of its episode, or `SINGLE`."""


def judge_uses(grant: Grant, uses: Uses, now_ms: int) -> Code | None:
    """Return USES_SPENT, or None where once more is permitted."""
    if grant.use_count_max is None or uses.count < grant.use_count_max:
        return None
    if grant.offline_class is not OfflineClass.RESPONDER or uses.episode_ms is None:
        return Code.USES_SPENT
    is_permitted = _is_in_episode(uses, now_ms) or now_ms - uses.episode_ms >= ALWAYS_LEFT_MS
    return None if is_permitted else Code.USES_SPENT


def use(grant: Grant, uses: Uses, now_ms: int) -> Use | None:
    """Return what one more movement makes of the uses; None where they are not limited."""
    if grant.use_count_max is None:
        return None
    if grant.offline_class is not OfflineClass.RESPONDER:
        return Use(after=replace(uses, count=uses.count + 1), name=SINGLE)
    if uses.episode_ms is not None and _is_in_episode(uses, now_ms):
        return Use(after=replace(uses, movement_count=uses.movement_count + 1), name=uses.episode_ms)
    return Use(after=Uses(count=uses.count + 1, episode_ms=now_ms, movement_count=1), name=now_ms)


def give_back(uses: Uses, name: int) -> Uses:
    """Return the uses after a movement of the use `name` was proven not to have happened."""
    if name == SINGLE:
        return replace(uses, count=max(0, uses.count - 1))
    if uses.episode_ms != name:
        return uses  # another episode has begun since
    if uses.movement_count > 1:
        return replace(uses, movement_count=uses.movement_count - 1)
    return Uses(count=max(0, uses.count - 1))


def _is_in_episode(uses: Uses, now_ms: int) -> bool:
    return uses.episode_ms is not None and 0 <= now_ms - uses.episode_ms < EPISODE_MS
