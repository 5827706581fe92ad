"""Where one link stands: states, events, and the table that joins them. Pure.

`supervisor.py` does what a state stands for and reports the one event that ended it. Every pair of
state and event is in exactly one of TRANSITIONS, IGNORED and IMPOSSIBLE.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto, unique
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@unique
class LinkState(StrEnum):
    """What the supervisor is doing about its lock; the value is what status shows."""

    IDLE = "idle"
    """Not started, or stopped."""
    SCANNING = "scanning"
    """Listening for the lock's advertisement."""
    QUEUEING = "queueing"
    """Heard; waiting for one of the adapter's connections."""
    CONNECTING = "connecting"
    """Bringing up the GATT link and finding the characteristics."""
    DISCOVERING = "discovering"
    """The link is up; the HELLOs go back and forth in plain."""
    HANDSHAKING = "handshaking"
    """Noise, CONFIRM, and the first authenticated answer."""
    READY = "ready"
    """Authenticated answers arrive."""
    DROPPING = "dropping"
    """Taking the link down, whatever is left of it."""
    BACKING_OFF = "backing_off"
    """Leaving the lock and the air in peace."""


@unique
class LinkEvent(Enum):
    """What has happened to the link."""

    STARTED = auto()
    HEARD = auto()
    """The lock advertises."""
    ADMITTED = auto()
    """It is this lock's turn at the adapter."""
    CONNECTED = auto()
    GREETED = auto()
    """The lock's HELLO is there."""
    PROVEN = auto()
    """An authenticated answer came after CONFIRM."""
    FAULTED = auto()
    """Radio, lock, disk or patience failed."""
    RENEWAL_DUE = auto()
    """The session is old or nearly used up."""
    RELIEVED = auto()
    """Other locks wait for the connection, and this one is seen to."""
    DROPPED = auto()
    """Nothing is left of the link."""
    WAITED = auto()
    """The back-off is over."""
    HURRIED = auto()
    """Somebody permitted waits at the door."""
    STOPPED = auto()


S, E = LinkState, LinkEvent
HELD_STATES: Final = frozenset({S.CONNECTING, S.DISCOVERING, S.HANDSHAKING, S.READY, S.DROPPING})
"""Those in which the link may be up, whoever looks."""

TRANSITIONS: Final[Mapping[tuple[LinkState, LinkEvent], LinkState]] = MappingProxyType(
    {
        (S.IDLE, E.STARTED): S.SCANNING,
        (S.SCANNING, E.HEARD): S.QUEUEING,
        (S.SCANNING, E.FAULTED): S.BACKING_OFF,  # nothing to drop
        (S.QUEUEING, E.ADMITTED): S.CONNECTING,
        (S.CONNECTING, E.CONNECTED): S.DISCOVERING,
        (S.CONNECTING, E.FAULTED): S.DROPPING,  # never BACKING_OFF: the link may still be coming up
        (S.DISCOVERING, E.GREETED): S.HANDSHAKING,
        (S.DISCOVERING, E.FAULTED): S.DROPPING,
        (S.HANDSHAKING, E.PROVEN): S.READY,
        (S.HANDSHAKING, E.FAULTED): S.DROPPING,
        (S.READY, E.FAULTED): S.DROPPING,
        (S.READY, E.RENEWAL_DUE): S.DROPPING,  # a session is one link: sequence numbers start when it comes up
        (S.READY, E.RELIEVED): S.DROPPING,
        (S.DROPPING, E.DROPPED): S.BACKING_OFF,
        (S.BACKING_OFF, E.WAITED): S.SCANNING,
        (S.BACKING_OFF, E.HEARD): S.QUEUEING,  # it is back: waiting longer helps nobody
        (S.BACKING_OFF, E.HURRIED): S.SCANNING,
        **{(state, E.STOPPED): S.IDLE for state in S if state is not S.IDLE},
    }
)

IGNORED: Final = frozenset(
    {
        # Already on the way, or already there.
        *((state, E.HURRIED) for state in S if state is not S.BACKING_OFF),
        # Stopping twice is stopping.
        (S.IDLE, E.STOPPED),
    }
)

IMPOSSIBLE: Final = frozenset(
    {
        # Started once; an ended supervisor is replaced, not revived.
        *((state, E.STARTED) for state in S if state is not S.IDLE),
        # Only these two listen.
        *((state, E.HEARD) for state in S if state not in {S.SCANNING, S.BACKING_OFF}),
        # Each step has one state that waits for it.
        *((state, E.ADMITTED) for state in S if state is not S.QUEUEING),
        *((state, E.CONNECTED) for state in S if state is not S.CONNECTING),
        *((state, E.GREETED) for state in S if state is not S.DISCOVERING),
        *((state, E.PROVEN) for state in S if state is not S.HANDSHAKING),
        *((state, E.RENEWAL_DUE) for state in S if state is not S.READY),
        *((state, E.RELIEVED) for state in S if state is not S.READY),
        *((state, E.DROPPED) for state in S if state is not S.DROPPING),
        *((state, E.WAITED) for state in S if state is not S.BACKING_OFF),
        # Nothing is tried that could fail: dropping swallows its faults, waiting has none.
        (S.IDLE, E.FAULTED),
        (S.QUEUEING, E.FAULTED),
        (S.DROPPING, E.FAULTED),
        (S.BACKING_OFF, E.FAULTED),
    }
)


class ImpossibleEventError(Exception):
    """A bug of the supervisor: this event can't happen in this state."""


def next_state(state: LinkState, event: LinkEvent) -> LinkState:
    """Return the state after `event`.

    Raises:
        ImpossibleEventError: the pair is in IMPOSSIBLE.
    """
    if (state, event) in IGNORED:
        return state
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ImpossibleEventError(f"{event.name} in {state.name}") from None


BACKOFF_MS_FIRST: Final = 500
"""Bound of the first wait, in milliseconds: a drop by chance is repaired before anyone notices."""
BACKOFF_MS_MAX: Final = 20_000
"""Bound of every later wait, in milliseconds: twice the 10 s after which a lock decides alone is still a visit."""


def backoff_ms_max(failure_count: int) -> int:
    """Return the bound of the wait after so many failures in a row; the wait is drawn from all below it."""
    return min(BACKOFF_MS_FIRST << min(failure_count, 16), BACKOFF_MS_MAX)
