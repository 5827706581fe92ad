from __future__ import annotations

import itertools

import pytest

from gatewayd.link.machine import (
    BACKOFF_MS_FIRST,
    BACKOFF_MS_MAX,
    IGNORED,
    IMPOSSIBLE,
    TRANSITIONS,
    ImpossibleEventError,
    LinkEvent,
    LinkState,
    backoff_ms_max,
    next_state,
)

PAIRS = set(itertools.product(LinkState, LinkEvent))


def test_every_pair_of_state_and_event_is_classified_exactly_once() -> None:
    parts: list[set[tuple[LinkState, LinkEvent]]] = [set(TRANSITIONS), set(IGNORED), set(IMPOSSIBLE)]
    assert parts[0] | parts[1] | parts[2] == PAIRS
    assert sum(len(part) for part in parts) == len(PAIRS)


@pytest.mark.parametrize("pair", sorted(IMPOSSIBLE, key=str))
def test_an_impossible_event_is_a_bug_and_says_which(pair: tuple[LinkState, LinkEvent]) -> None:
    state, event = pair
    with pytest.raises(ImpossibleEventError, match=f"{event.name} in {state.name}"):
        next_state(state, event)


@pytest.mark.parametrize("pair", sorted(IGNORED, key=str))
def test_an_ignored_event_changes_nothing(pair: tuple[LinkState, LinkEvent]) -> None:
    assert next_state(*pair) is pair[0]


def test_ready_is_reached_only_by_proof() -> None:
    assert {pair for pair, state in TRANSITIONS.items() if state is LinkState.READY} == {
        (LinkState.HANDSHAKING, LinkEvent.PROVEN)
    }


def test_whatever_may_have_left_a_link_behind_goes_through_dropping() -> None:
    with_link = {LinkState.CONNECTING, LinkState.DISCOVERING, LinkState.HANDSHAKING, LinkState.READY}
    for state in with_link:
        assert next_state(state, LinkEvent.FAULTED) is LinkState.DROPPING
    ways = {state for (state, _), after in TRANSITIONS.items() if after is LinkState.BACKING_OFF}
    assert ways == {LinkState.SCANNING, LinkState.DROPPING}


def test_every_state_can_be_reached_and_left() -> None:
    reached = {LinkState.IDLE} | set(TRANSITIONS.values())
    assert reached == set(LinkState)
    assert {state for state, _ in TRANSITIONS} == set(LinkState)


@pytest.mark.parametrize(
    ("failure_count", "bound_ms"),
    [(0, BACKOFF_MS_FIRST), (1, 1_000), (5, 16_000), (6, BACKOFF_MS_MAX), (7, BACKOFF_MS_MAX), (10**9, BACKOFF_MS_MAX)],
)
def test_the_back_off_doubles_up_to_its_cap(failure_count: int, bound_ms: int) -> None:
    assert backoff_ms_max(failure_count) == bound_ms
