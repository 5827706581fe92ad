"""What may replace what the gateway holds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.chains import verify_grant
from firmware_protocol.codes import Code
from firmware_protocol.constants import AUTHORITY_STATE_SEQ_STEP_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.orders import Door
from firmware_protocol.tokens import RoleKeys
from firmware_protocol.vocabulary import Role
from gatewayd.access.trust import held_state, judge_keeping, newer_keyset, newer_state, open_held, own_authority
from gatewayd.timekeeping import TimeInterval
from tests.support.homes import NOW_S, PROVIDER, TestHome

if TYPE_CHECKING:
    from firmware_protocol.chains import VerifiedGrant
    from simulator.office import Holder

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
    keyset = replace(HOME.keyset, version=3)
    taken = newer_state(raw, held=held, keyset=keyset, gateway_id=HOME.home.gateway_id)
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


def test_burnt_counter_a_state_of_a_keyset_that_is_not_here_yet_is_refused() -> None:
    assert take_state(1, held_seq=5, version=3) == 1
    with pytest.raises(RemoteProtocolError) as refused:
        take_state(1, held_seq=5, version=4)
    assert refused.value.code is Code.SUPERSEDED


def test_a_new_key_of_the_status_role_lifts_no_denial_and_proves_no_freshness() -> None:
    raw = HOME.office.state(HOME.home, now_s=NOW_S, seq=7)
    status = HOME.keyset.roles[Role.STATUS]
    stranger = RoleKeys(1, (bytes(HOME.office.signing_key("new status").verify_key),))
    renewed = replace(HOME.keyset, version=2, roles={**HOME.keyset.roles, Role.STATUS: stranger})
    both = replace(HOME.keyset, version=2, roles={**HOME.keyset.roles, Role.STATUS: status})
    held, is_current = held_state(raw, keysets=(renewed, HOME.keyset), gateway_id=HOME.home.gateway_id)
    assert held is not None
    assert (held.seq, is_current) == (7, False)
    assert held_state(raw, keysets=(both, HOME.keyset), gateway_id=HOME.home.gateway_id)[1]
    for keysets in ((renewed,), ()):
        with pytest.raises(RemoteProtocolError):
            held_state(raw, keysets=keysets, gateway_id=HOME.home.gateway_id)


def test_a_home_is_not_forgotten_when_the_key_that_signed_its_door_is_replaced() -> None:
    stranger = RoleKeys(1, (bytes(HOME.office.signing_key("new status").verify_key),))
    renewed = replace(HOME.keyset, version=2, roles={**HOME.keyset.roles, Role.STATUS: stranger})
    door = HOME.office.door(HOME.home)
    opened = open_held(Door, door, keysets=(renewed, HOME.keyset), role=Role.STATUS)
    assert opened.lock_id == HOME.home.lock_id
    with pytest.raises(RemoteProtocolError):
        open_held(Door, door, keysets=(renewed,), role=Role.STATUS)
    with pytest.raises(RemoteProtocolError):
        open_held(Door, door, keysets=(), role=Role.STATUS)


# What is worth keeping for later.


NOW = TimeInterval(lo_ms=NOW_S * 1_000, hi_ms=NOW_S * 1_000)


def keeping(proof: VerifiedGrant, *, time: TimeInterval = NOW, lock_id: bytes = HOME.home.lock_id) -> Code | None:
    return judge_keeping(proof, gateway_id=HOME.home.gateway_id, lock_ids=(bytes(8), lock_id), time=time)


def proof_of(holder: Holder) -> VerifiedGrant:
    return verify_grant(holder.grant, holder.authority, known=HOME.known)


def test_a_grant_for_one_of_our_locks_is_kept_before_it_begins_and_until_it_ends() -> None:
    tomorrow = proof_of(HOME.carer(nbf_s=NOW_S + 3_600, exp_s=NOW_S + 7_200))
    assert keeping(tomorrow) is None
    assert keeping(tomorrow, time=TimeInterval(lo_ms=0, hi_ms=(NOW_S + 7_199) * 1_000)) is None
    over = TimeInterval(lo_ms=(NOW_S + 7_200) * 1_000)
    assert keeping(tomorrow, time=over) is Code.EXPIRED
    flat = proof_of(HOME.office.installer(HOME.home, "ivar", now_s=NOW_S))
    assert keeping(flat) is None


def test_a_grant_for_unknown_locks_is_not_kept() -> None:
    assert keeping(proof_of(HOME.carer()), lock_id=ELSEWHERE.lock_id) is Code.WRONG_AUDIENCE
    grant = HOME.office.grant(ELSEWHERE, PROVIDER, "anna", now_s=NOW_S)
    assert keeping(proof_of(HOME.office.carer(HOME.home, PROVIDER, "anna", now_s=NOW_S, grant=grant))) is (
        Code.WRONG_AUDIENCE
    )
    elsewhere = HOME.office.carer(ELSEWHERE, PROVIDER, "anna", now_s=NOW_S)
    assert keeping(proof_of(elsewhere)) is Code.WRONG_AUDIENCE


def test_an_operators_grant_is_shown_and_never_kept() -> None:
    assert keeping(proof_of(HOME.office.operator("olga", now_s=NOW_S))) is Code.WRONG_AUDIENCE


def test_a_providers_grant_dated_2099_or_longer_than_any_may_be_is_not_kept() -> None:
    year_2099_s = 4_070_908_800
    assert keeping(proof_of(HOME.carer(now_s=year_2099_s))) is Code.NOT_YET_VALID
    assert keeping(proof_of(HOME.carer(nbf_s=NOW_S, exp_s=2**53 - 1))) is Code.TTL_TOO_LONG
    cold = TimeInterval(lo_ms=NOW_S * 1_000)
    assert keeping(proof_of(HOME.carer(now_s=year_2099_s)), time=cold) is None


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
