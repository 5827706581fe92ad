"""What may replace what the gateway holds."""

from __future__ import annotations

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.constants import AUTHORITY_STATE_SEQ_STEP_MAX
from firmware_protocol.errors import RemoteProtocolError
from gatewayd.access.trust import newer_keyset, newer_state, own_authority
from tests.support.homes import NOW_S, PROVIDER, TestHome

HOME = TestHome.make()
ELSEWHERE = HOME.office.home("home-2")


def test_any_higher_keyset_by_the_pinned_roots_is_taken_and_an_older_one_is_not() -> None:
    roots = HOME.office.root_public_keys
    ninth = HOME.office.keyset(now_s=NOW_S, version=9)
    held = newer_keyset(ninth, held=HOME.keyset, roots=roots)
    assert held is not None
    assert held.version == 9
    assert newer_keyset(ninth, held=held, roots=roots) is None
    assert newer_keyset(HOME.office.keyset(now_s=NOW_S, version=8), held=held, roots=roots) is None


def test_a_keyset_by_one_root_signed_twice_is_refused() -> None:
    forged = HOME.office.keyset(now_s=NOW_S, version=2, signers=[HOME.office.roots[0], HOME.office.roots[0]])
    with pytest.raises(RemoteProtocolError) as refused:
        newer_keyset(forged, held=HOME.keyset, roots=HOME.office.root_public_keys)
    assert refused.value.code is Code.BAD_SIGNATURE


def take_state(seq: int, *, held_seq: int | None = None, version: int = 1, held_version: int = 1) -> int | None:
    held = None if held_seq is None else HOME.state(seq=held_seq, keyset_version=held_version)
    raw = HOME.office.state(HOME.home, now_s=NOW_S, seq=seq, keyset_version=version)
    taken = newer_state(raw, held=held, keyset=HOME.keyset, gateway_id=HOME.home.gateway_id)
    return None if taken is None else taken.seq


def test_states_are_ordered_by_keyset_version_and_then_number() -> None:
    assert take_state(5) == 5
    assert take_state(6, held_seq=5) == 6
    assert take_state(5, held_seq=5) is None
    assert take_state(4, held_seq=5) is None
    assert take_state(1, held_seq=5, version=2) == 1
    assert take_state(9, held_seq=5, held_version=2) is None


def test_burnt_counter_a_leap_of_the_number_is_refused() -> None:
    assert take_state(5 + AUTHORITY_STATE_SEQ_STEP_MAX, held_seq=5) == 5 + AUTHORITY_STATE_SEQ_STEP_MAX
    with pytest.raises(RemoteProtocolError) as refused:
        take_state(6 + AUTHORITY_STATE_SEQ_STEP_MAX, held_seq=5)
    assert refused.value.code is Code.SUPERSEDED


def test_state_of_another_gateway_is_refused_before_its_number_is_looked_at() -> None:
    raw = HOME.office.state(ELSEWHERE, now_s=NOW_S, seq=1)
    with pytest.raises(RemoteProtocolError) as refused:
        newer_state(raw, held=HOME.state(seq=9), keyset=HOME.keyset, gateway_id=HOME.home.gateway_id)
    assert refused.value.code is Code.WRONG_AUDIENCE


def test_an_authority_for_another_gateway_is_refused() -> None:
    own = HOME.office.authority(HOME.home, PROVIDER, now_s=NOW_S)
    assert own_authority(own, keyset=HOME.keyset, gateway_id=HOME.home.gateway_id).provider == PROVIDER
    with pytest.raises(RemoteProtocolError) as refused:
        own_authority(own, keyset=HOME.keyset, gateway_id=ELSEWHERE.gateway_id)
    assert refused.value.code is Code.WRONG_AUDIENCE
