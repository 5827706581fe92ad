"""Every reason of the decision on both sides of its boundary."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.vocabulary import Action, OfflineClass, Rights, Tier
from gatewayd.access.checks import Check
from gatewayd.access.decide import Facts, decide, is_call_for_help, judge_each
from gatewayd.access.limits import buckets_for
from gatewayd.access.lockout import FREE_COUNT, Lockout
from gatewayd.access.seen import Seen
from gatewayd.access.uses import SINGLE, Use, Uses
from gatewayd.access.verdicts import Denied, Permitted, Repeated
from gatewayd.settings import LimitSettings
from gatewayd.timekeeping import TRUSTED_WIDTH_MS_MAX, TimeInterval
from tests.support.homes import BOOTTIME_MS, NOW_S, PROVIDER, TestHome

if TYPE_CHECKING:
    from firmware_protocol.chains import VerifiedBundle

HOME = TestHome.make()
DAY_S = 24 * 3_600


def code_of(bundle: object, facts: Facts) -> Code:
    verdict = decide(bundle, facts)  # type: ignore[arg-type]  # tests pass what TestHome made
    return verdict.code if isinstance(verdict, Denied) else Code.PERMITTED


def at(lo_s: int, hi_s: int | None = None) -> TimeInterval:
    return TimeInterval(lo_ms=lo_s * 1_000, hi_ms=(lo_s if hi_s is None else hi_s) * 1_000)


def untrusted(lo_s: int) -> TimeInterval:
    return TimeInterval(lo_ms=lo_s * 1_000)


def test_a_carer_on_shift_at_the_door_is_permitted() -> None:
    assert isinstance(decide(HOME.at_door(HOME.carer()), HOME.facts()), Permitted)


def test_an_operator_with_the_open_alarm_is_permitted() -> None:
    bundle = HOME.over_mqtt(HOME.office.operator("olga", now_s=NOW_S), alarm_ref=bytes(16))
    assert code_of(bundle, HOME.facts(alarm_open=True)) is Code.PERMITTED


# Audience.


def test_a_command_for_another_gateway_is_refused() -> None:
    other = HOME.office.home("home-2")
    assert code_of(HOME.at_door(HOME.carer()), HOME.facts(gateway_id=other.gateway_id)) is Code.WRONG_AUDIENCE


def test_a_command_for_a_lock_that_is_not_ours_is_refused() -> None:
    assert code_of(HOME.at_door(HOME.carer()), HOME.facts(lock_ids=frozenset({bytes(8)}))) is Code.WRONG_AUDIENCE


def test_a_command_brought_through_another_lock_than_it_names_is_refused() -> None:
    bundle = HOME.at_door(HOME.carer())
    assert code_of(bundle, HOME.facts(came_through=bytes(8))) is Code.WRONG_AUDIENCE
    assert code_of(bundle, HOME.facts(came_through=HOME.home.lock_id)) is Code.PERMITTED


def test_a_grant_for_another_lock_is_refused() -> None:
    elsewhere = HOME.office.home("home-2")
    grant = HOME.office.grant(elsewhere, PROVIDER, "anna", now_s=NOW_S)
    holder = HOME.office.carer(HOME.home, PROVIDER, "anna", now_s=NOW_S, grant=grant)
    assert code_of(HOME.at_door(holder), HOME.facts()) is Code.WRONG_AUDIENCE


def test_an_authority_for_another_home_is_refused() -> None:
    elsewhere = HOME.office.home("home-2")
    grant = HOME.office.grant(HOME.home, PROVIDER, "anna", now_s=NOW_S)
    holder = HOME.office.carer(elsewhere, PROVIDER, "anna", now_s=NOW_S, grant=grant)
    assert code_of(HOME.at_door(holder), HOME.facts()) is Code.WRONG_AUDIENCE


# Already seen.


def test_the_same_bytes_again_get_the_recorded_receipt_and_move_nothing() -> None:
    bundle = HOME.at_door(HOME.carer())
    seen = Seen(command_sha256=bundle.command_sha256, receipt=b"recorded")
    assert decide(bundle, HOME.facts(seen=seen)) == Repeated(receipt=b"recorded")


def test_a_replay_is_answered_even_when_its_challenge_is_burnt_and_its_grant_has_ended() -> None:
    bundle = HOME.at_door(HOME.carer())
    seen = Seen(command_sha256=bundle.command_sha256, receipt=b"recorded")
    facts = HOME.facts(seen=seen, time=at(NOW_S + DAY_S), freshness=HOME.freshness(challenge_learned_ms=None))
    assert decide(bundle, facts) == Repeated(receipt=b"recorded")


def test_other_bytes_under_a_used_id_are_refused() -> None:
    seen = Seen(command_sha256=bytes(32), receipt=b"recorded")
    assert code_of(HOME.at_door(HOME.carer()), HOME.facts(seen=seen)) is Code.ID_REUSED


# Freshness.


@pytest.mark.parametrize(
    ("learned_ms", "code"),
    [
        pytest.param(BOOTTIME_MS - 29_999, Code.PERMITTED, id="one millisecond before it dies"),
        pytest.param(BOOTTIME_MS - 30_000, Code.CHALLENGE_UNKNOWN, id="30 s old"),
        pytest.param(None, Code.CHALLENGE_UNKNOWN, id="never heard of, or burnt"),
    ],
)
def test_a_challenge_lives_30_seconds(learned_ms: int | None, code: Code) -> None:
    facts = HOME.facts(freshness=HOME.freshness(challenge_learned_ms=learned_ms))
    assert code_of(HOME.at_door(HOME.carer()), facts) is code


@pytest.mark.parametrize(
    ("issued_s", "ttl_s", "code"),
    [
        pytest.param(100, 60, Code.PERMITTED, id="longest life"),
        pytest.param(100, 61, Code.TTL_TOO_LONG, id="a second longer"),
        pytest.param(71, 30, Code.PERMITTED, id="expires next second"),
        pytest.param(70, 30, Code.EXPIRED, id="expires now"),
        pytest.param(101, 30, Code.PERMITTED, id="a rounded second ahead"),
        pytest.param(102, 30, Code.NOT_YET_VALID, id="two seconds ahead"),
        pytest.param(110, -5, Code.TTL_TOO_LONG, id="ends before it begins"),
    ],
)
def test_an_epoch_command_lives_between_its_seconds(issued_s: int, ttl_s: int, code: Code) -> None:
    assert code_of(HOME.over_mqtt(HOME.carer(), issued_s=issued_s, ttl_s=ttl_s), HOME.facts()) is code


def test_locking_may_be_asked_for_five_minutes_ahead() -> None:
    assert code_of(HOME.over_mqtt(HOME.carer(), ttl_s=300, action=Action.LOCK), HOME.facts()) is Code.PERMITTED
    assert code_of(HOME.over_mqtt(HOME.carer(), ttl_s=301, action=Action.LOCK), HOME.facts()) is Code.TTL_TOO_LONG


def test_a_command_of_an_earlier_start_is_refused() -> None:
    assert code_of(HOME.over_mqtt(HOME.carer(), epoch=bytes(16)), HOME.facts()) is Code.WRONG_EPOCH


@pytest.mark.parametrize(
    ("last_issued_s", "code"),
    [
        pytest.param(101, Code.SUPERSEDED, id="a later one was executed"),
        pytest.param(100, Code.PERMITTED, id="the same second"),
    ],
)
def test_a_command_issued_before_the_last_executed_one_is_superseded(last_issued_s: int, code: Code) -> None:
    facts = HOME.facts(freshness=HOME.freshness(last_issued_s=last_issued_s))
    assert code_of(HOME.over_mqtt(HOME.carer()), facts) is code


# Validity.


def test_a_grant_ends_with_its_second() -> None:
    bundle = HOME.at_door(HOME.carer(exp_s=NOW_S + 10, windows=((NOW_S - 60, NOW_S + 100),)))
    assert code_of(bundle, HOME.facts(time=at(NOW_S + 9))) is Code.PERMITTED
    assert code_of(bundle, HOME.facts(time=at(NOW_S + 10))) is Code.EXPIRED


def test_a_grant_ends_when_the_latest_possible_time_has_reached_its_end() -> None:
    bundle = HOME.at_door(HOME.carer(exp_s=NOW_S + 10, windows=((NOW_S - 60, NOW_S + 100),)))
    assert code_of(bundle, HOME.facts(time=at(NOW_S, NOW_S + 10))) is Code.EXPIRED


def test_a_grant_begins_when_the_earliest_possible_time_has_reached_its_beginning() -> None:
    bundle = HOME.at_door(HOME.carer(nbf_s=NOW_S, windows=((NOW_S - 60, NOW_S + 100),)))
    assert code_of(bundle, HOME.facts(time=at(NOW_S, NOW_S + 5))) is Code.PERMITTED
    assert code_of(bundle, HOME.facts(time=at(NOW_S - 1, NOW_S + 5))) is Code.NOT_YET_VALID


def test_a_grant_issued_in_the_future_is_refused() -> None:
    bundle = HOME.at_door(HOME.carer(now_s=NOW_S + 10, nbf_s=NOW_S + 10))
    assert code_of(bundle, HOME.facts()) is Code.NOT_YET_VALID


@pytest.mark.parametrize(
    ("life_s", "code"),
    [
        pytest.param(DAY_S, Code.PERMITTED, id="24 hours"),
        pytest.param(DAY_S + 1, Code.TTL_TOO_LONG, id="a second longer"),
    ],
)
def test_a_shift_grant_lives_at_most_a_day(life_s: int, code: Code) -> None:
    bundle = HOME.at_door(HOME.carer(nbf_s=NOW_S - 60, exp_s=NOW_S - 60 + life_s))
    assert code_of(bundle, HOME.facts()) is code


def test_a_grant_of_a_wider_class_than_its_authority_is_refused() -> None:
    grant = HOME.office.grant(HOME.home, PROVIDER, "anna", now_s=NOW_S, offline_class=OfflineClass.RESPONDER)
    authority = HOME.office.authority(HOME.home, PROVIDER, now_s=NOW_S, offline_class_max=OfflineClass.SHIFT)
    holder = HOME.office.carer(HOME.home, PROVIDER, "anna", now_s=NOW_S, grant=grant)
    narrowed = type(holder)(key=holder.key, grant=holder.grant, authority=authority)
    assert code_of(HOME.at_door(narrowed), HOME.facts()) is Code.RIGHTS


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize("offline_class", list(OfflineClass))
def test_a_tier_admits_its_classes(tier: Tier, offline_class: OfflineClass) -> None:
    admitted = {
        Tier.FRESH: {OfflineClass.ONLINE, OfflineClass.SHIFT, OfflineClass.RESPONDER},
        Tier.STALE: {OfflineClass.SHIFT, OfflineClass.RESPONDER},
        Tier.COLD: {OfflineClass.RESPONDER},
        Tier.SUSPECT: {OfflineClass.RESPONDER},
    }[tier]
    bundle = HOME.at_door(HOME.carer(offline_class=offline_class))
    expected = Code.PERMITTED if offline_class in admitted else Code.TIER
    assert code_of(bundle, HOME.facts(tier=tier)) is expected


@pytest.mark.parametrize("tier", list(Tier))
def test_one_operator_alone_at_night_opens_in_every_tier_while_the_alarm_is_open(tier: Tier) -> None:
    bundle = HOME.over_mqtt(HOME.office.operator("olga", now_s=NOW_S), alarm_ref=bytes(16))
    time = at(NOW_S) if tier in {Tier.FRESH, Tier.STALE} else untrusted(NOW_S - 5 * DAY_S)
    assert code_of(bundle, HOME.facts(tier=tier, time=time, alarm_open=True)) is Code.PERMITTED


def test_without_trusted_time_only_the_end_of_a_responders_grant_is_judged() -> None:
    bundle = HOME.at_door(HOME.carer(offline_class=OfflineClass.RESPONDER, exp_s=NOW_S + 10))
    early = HOME.facts(tier=Tier.COLD, time=untrusted(NOW_S - 90 * DAY_S))
    assert code_of(bundle, early) is Code.PERMITTED
    assert code_of(bundle, HOME.facts(tier=Tier.COLD, time=untrusted(NOW_S + 9))) is Code.PERMITTED
    assert code_of(bundle, HOME.facts(tier=Tier.COLD, time=untrusted(NOW_S + 10))) is Code.EXPIRED


def test_an_interval_wider_than_two_minutes_is_not_trusted() -> None:
    narrow = TimeInterval(lo_ms=0, hi_ms=TRUSTED_WIDTH_MS_MAX)
    wide = TimeInterval(lo_ms=0, hi_ms=TRUSTED_WIDTH_MS_MAX + 1)
    assert narrow.trusted
    assert not wide.trusted


def test_an_operators_shift_is_at_most_13_hours() -> None:
    for life_s, code in ((13 * 3_600, Code.PERMITTED), (13 * 3_600 + 1, Code.TTL_TOO_LONG)):
        holder = HOME.office.operator("olga", now_s=NOW_S, life_s=life_s)
        bundle = HOME.over_mqtt(holder, alarm_ref=bytes(16))
        assert code_of(bundle, HOME.facts(alarm_open=True)) is code


def test_past_its_end_a_keyset_serves_only_alarm_role_and_class_2() -> None:
    ended = at(HOME.keyset.exp_s)
    window = ((HOME.keyset.exp_s - 60, HOME.keyset.exp_s + 60),)
    options = {"now_s": HOME.keyset.exp_s, "windows": window}
    authority = HOME.office.authority(HOME.home, PROVIDER, now_s=HOME.keyset.exp_s)
    for offline_class, code in ((OfflineClass.SHIFT, Code.EXPIRED), (OfflineClass.RESPONDER, Code.PERMITTED)):
        holder = HOME.carer(offline_class=offline_class, **options)
        renewed = type(holder)(key=holder.key, grant=holder.grant, authority=authority)
        assert code_of(HOME.at_door(renewed), HOME.facts(time=ended)) is code


# Revocation.


def test_a_revoked_device_key_is_refused() -> None:
    holder = HOME.carer()
    state = HOME.state(revoked_kids=(kid_of(bytes(holder.key.verify_key)),))
    assert code_of(HOME.at_door(holder), HOME.facts(state=state)) is Code.REVOKED
    assert code_of(HOME.at_door(holder), HOME.facts(state=HOME.state())) is Code.PERMITTED


def test_a_revoked_grant_is_refused() -> None:
    bundle = HOME.at_door(HOME.carer())
    state = HOME.state(revoked_ctis=(bundle.proof.grant.cti,))
    assert code_of(bundle, HOME.facts(state=state)) is Code.REVOKED


def test_grants_of_a_provider_before_a_second_are_refused() -> None:
    bundle = HOME.at_door(HOME.carer())
    issued_s = bundle.proof.grant.iat_s
    kept = HOME.state(provider_iat_min_s=((PROVIDER, issued_s),))
    void = HOME.state(provider_iat_min_s=((PROVIDER, issued_s + 1),))
    assert code_of(bundle, HOME.facts(state=kept)) is Code.PERMITTED
    assert code_of(bundle, HOME.facts(state=void)) is Code.REVOKED


def test_a_grant_that_asks_for_a_newer_state_waits_for_it() -> None:
    bundle = HOME.at_door(HOME.carer(state_seq_min=2))
    assert code_of(bundle, HOME.facts(state=None)) is Code.TIER
    assert code_of(bundle, HOME.facts(state=HOME.state(seq=1))) is Code.TIER
    assert code_of(bundle, HOME.facts(state=HOME.state(seq=2))) is Code.PERMITTED


# Rights, windows, uses.


def test_a_right_that_the_grant_lacks_is_refused() -> None:
    bundle = HOME.at_door(HOME.carer(rights=Rights.LOCK))
    assert code_of(bundle, HOME.facts()) is Code.RIGHTS


def test_a_right_wider_than_its_parent_is_refused() -> None:
    holder = HOME.carer(rights=Rights.UNLOCK | Rights.LOCK)
    authority = HOME.office.authority(HOME.home, PROVIDER, now_s=NOW_S, rights=Rights.LOCK)
    narrowed = type(holder)(key=holder.key, grant=holder.grant, authority=authority)
    assert code_of(HOME.at_door(narrowed), HOME.facts()) is Code.RIGHTS


def test_a_responders_grant_only_unlocks() -> None:
    holder = HOME.carer(offline_class=OfflineClass.RESPONDER)
    assert code_of(HOME.over_mqtt(holder), HOME.facts()) is Code.PERMITTED
    assert code_of(HOME.over_mqtt(holder, action=Action.LOCK), HOME.facts()) is Code.RIGHTS


@pytest.mark.parametrize(
    ("time", "code"),
    [
        pytest.param(at(NOW_S), Code.PERMITTED, id="first second"),
        pytest.param(at(NOW_S - 1, NOW_S), Code.OUTSIDE_WINDOW, id="perhaps a second early"),
        pytest.param(at(NOW_S + 899), Code.PERMITTED, id="last second"),
        pytest.param(at(NOW_S + 899, NOW_S + 900), Code.OUTSIDE_WINDOW, id="perhaps over"),
    ],
)
def test_a_visit_lies_wholly_in_its_window(time: TimeInterval, code: Code) -> None:
    bundle = HOME.at_door(HOME.carer(windows=((NOW_S, NOW_S + 900),)))
    assert code_of(bundle, HOME.facts(time=time)) is code


def test_a_missing_window_is_a_denial_and_never_for_ever() -> None:
    assert code_of(HOME.at_door(HOME.carer(windows=())), HOME.facts()) is Code.OUTSIDE_WINDOW


def test_without_trusted_time_a_window_that_is_over_stays_over() -> None:
    bundle = HOME.at_door(HOME.carer(offline_class=OfflineClass.RESPONDER, windows=((NOW_S, NOW_S + 900),)))
    assert code_of(bundle, HOME.facts(tier=Tier.COLD, time=untrusted(NOW_S + 899))) is Code.PERMITTED
    assert code_of(bundle, HOME.facts(tier=Tier.COLD, time=untrusted(NOW_S + 900))) is Code.OUTSIDE_WINDOW


def test_uses_run_out() -> None:
    bundle = HOME.at_door(HOME.carer(use_count_max=2))
    assert code_of(bundle, HOME.facts(uses=Uses(count=1))) is Code.PERMITTED
    assert code_of(bundle, HOME.facts(uses=Uses(count=2))) is Code.USES_SPENT


def test_a_use_is_counted_with_the_permission_and_only_where_uses_are_limited() -> None:
    limited = decide(HOME.at_door(HOME.carer(use_count_max=2)), HOME.facts(uses=Uses(count=1)))
    assert isinstance(limited, Permitted)
    assert limited.use == Use(after=Uses(count=2), name=SINGLE)
    unlimited = decide(HOME.at_door(HOME.carer()), HOME.facts())
    assert isinstance(unlimited, Permitted)
    assert unlimited.use is None


def test_an_operator_without_an_alarm_needs_a_second_one() -> None:
    bundle = HOME.over_mqtt(HOME.office.operator("olga", now_s=NOW_S))
    assert code_of(bundle, HOME.facts()) is Code.SECOND_OPERATOR_NEEDED


def test_an_operator_naming_an_alarm_that_is_not_open_is_refused() -> None:
    bundle = HOME.over_mqtt(HOME.office.operator("olga", now_s=NOW_S), alarm_ref=bytes(16))
    assert code_of(bundle, HOME.facts(alarm_open=False)) is Code.ALARM_NOT_OPEN


# Two operators.


def pair(first: str = "olga", second: str = "otto", **options: Any) -> VerifiedBundle:
    office = HOME.office
    return HOME.together(office.operator(first, now_s=NOW_S), office.operator(second, now_s=NOW_S, **options))


@pytest.mark.parametrize("tier", list(Tier))
def test_two_operators_open_in_every_tier_where_no_alarm_is_open(tier: Tier) -> None:
    time = at(NOW_S) if tier in {Tier.FRESH, Tier.STALE} else untrusted(NOW_S - 5 * DAY_S)
    assert code_of(pair(), HOME.facts(tier=tier, time=time)) is Code.PERMITTED


def test_attack_one_person_with_two_keys_is_one_operator() -> None:
    office, key = HOME.office, HOME.office.signing_key("a second key of olga's")
    own = office.operator("olga", now_s=NOW_S)
    bundle = HOME.together(own, office.operator("olga", now_s=NOW_S, key=key))
    assert code_of(bundle, HOME.facts()) is Code.SECOND_OPERATOR_NEEDED
    assert code_of(bundle, HOME.facts(alarm_open=True)) is Code.PERMITTED


def test_the_second_operators_grant_must_hold_too() -> None:
    assert code_of(pair(life_s=60), HOME.facts()) is Code.EXPIRED
    assert code_of(pair(life_s=62), HOME.facts()) is Code.PERMITTED
    assert code_of(pair(life_s=13 * 3_600 + 1), HOME.facts()) is Code.TTL_TOO_LONG
    assert code_of(pair(rights=Rights.LOCK), HOME.facts()) is Code.RIGHTS


def test_a_revoked_second_operator_is_none() -> None:
    bundle = pair()
    assert bundle.second is not None
    revoked = HOME.state(revoked_kids=(kid_of(bundle.second.holder_key),))
    assert code_of(bundle, HOME.facts(state=revoked)) is Code.REVOKED


# Duress.


def test_a_command_under_duress_is_judged_as_the_unlock_that_it_looks_like() -> None:
    forced = HOME.at_door(HOME.carer(), action=Action.UNLOCK_UNDER_DURESS)
    verdict = decide(forced, HOME.facts())
    assert verdict == decide(HOME.at_door(HOME.carer()), HOME.facts())
    assert is_call_for_help(forced, HOME.freshness(), verdict)
    assert not is_call_for_help(HOME.at_door(HOME.carer()), HOME.freshness(), verdict)
    lacking = HOME.at_door(HOME.carer(rights=Rights.LOCK), action=Action.UNLOCK_UNDER_DURESS)
    assert code_of(lacking, HOME.facts()) is Code.RIGHTS


def test_a_refusal_under_duress_calls_for_help_all_the_same() -> None:
    forced = HOME.at_door(HOME.carer(windows=()), action=Action.UNLOCK_UNDER_DURESS)
    assert is_call_for_help(forced, HOME.freshness(), decide(forced, HOME.facts()))


def test_under_duress_an_epoch_command_lives_no_longer_than_an_unlock() -> None:
    for ttl_s, code in ((60, Code.PERMITTED), (61, Code.TTL_TOO_LONG)):
        bundle = HOME.over_mqtt(HOME.carer(), ttl_s=ttl_s, action=Action.UNLOCK_UNDER_DURESS)
        assert code_of(bundle, HOME.facts()) is code


def test_a_call_for_help_over_mqtt_is_heard_too_and_an_old_one_is_not() -> None:
    fresh = HOME.over_mqtt(HOME.carer(), action=Action.UNLOCK_UNDER_DURESS)
    old = HOME.over_mqtt(HOME.carer(), action=Action.UNLOCK_UNDER_DURESS, issued_s=10)
    for bundle, heard in ((fresh, True), (old, False)):
        assert is_call_for_help(bundle, HOME.freshness(), decide(bundle, HOME.facts())) is heard


@pytest.mark.parametrize("code", [Code.WRONG_AUDIENCE, Code.ID_REUSED])
def test_attack_bytes_that_anybody_can_send_again_raise_no_call_for_help(code: Code) -> None:
    forced = HOME.at_door(HOME.carer(), action=Action.UNLOCK_UNDER_DURESS)
    assert not is_call_for_help(forced, HOME.freshness(), Denied(code=code))
    assert not is_call_for_help(forced, HOME.freshness(), Repeated(receipt=b""))
    stale = HOME.freshness(challenge_learned_ms=None)
    assert not is_call_for_help(forced, stale, Denied(code=Code.CHALLENGE_UNKNOWN))


# The installer.


def test_the_installer_whom_the_pairing_order_names_may_try_the_lock_without_trusted_time() -> None:
    installer = HOME.office.installer(HOME.home, "ivar", now_s=NOW_S)
    bundle, cold = HOME.at_door(installer), HOME.facts(tier=Tier.COLD, time=untrusted(NOW_S - DAY_S))
    named = HOME.office.installer_cti(HOME.home, 1)
    assert code_of(bundle, cold) is Code.TIER
    assert code_of(bundle, replace(cold, installer_cti=bytes(16))) is Code.TIER
    assert code_of(bundle, replace(cold, installer_cti=named)) is Code.PERMITTED
    assert code_of(bundle, replace(cold, installer_cti=named, tier=Tier.SUSPECT)) is Code.TIER
    over = replace(cold, installer_cti=named, time=untrusted(bundle.proof.exp_s))
    assert code_of(bundle, over) is Code.EXPIRED


def test_the_installers_grant_is_an_ordinary_one_once_time_is_trusted() -> None:
    bundle = HOME.at_door(HOME.office.installer(HOME.home, "ivar", now_s=NOW_S))
    assert code_of(bundle, HOME.facts()) is Code.PERMITTED
    assert code_of(bundle, HOME.facts(tier=Tier.STALE)) is Code.PERMITTED


# Limits.


def spend(bundle: object, facts: Facts, count: int) -> Facts:
    for _ in range(count):
        verdict = decide(bundle, facts)  # type: ignore[arg-type]  # tests pass what TestHome made
        assert isinstance(verdict, Permitted | Denied)
        if isinstance(verdict, Permitted):
            facts = replace(facts, bucket_states=dict(facts.bucket_states) | dict(verdict.buckets))
        elif verdict.lockout is not None:
            facts = replace(facts, lockout=verdict.lockout)
    return facts


def test_one_signer_gets_half_of_a_locks_bucket() -> None:
    limits = LimitSettings(lock_burst=6)
    bundle = HOME.at_door(HOME.carer())
    facts = spend(bundle, HOME.facts(limits=limits), 3)
    denied = decide(bundle, facts)
    assert isinstance(denied, Denied)
    assert denied.code is Code.RATE_LIMITED
    assert denied.retry_after_s == 2 * limits.interval_ms // 1_000


def test_a_bucket_refills_with_proven_time_only() -> None:
    limits = LimitSettings(lock_burst=6)
    bundle = HOME.at_door(HOME.carer())
    spent = spend(bundle, HOME.facts(limits=limits), 3)
    interval_s = 2 * limits.interval_ms // 1_000

    def later(lo_s: int) -> Facts:
        return HOME.facts(limits=limits, bucket_states=spent.bucket_states, time=at(lo_s))

    assert code_of(bundle, later(NOW_S + interval_s - 1)) is Code.RATE_LIMITED
    assert code_of(bundle, later(NOW_S + interval_s)) is Code.PERMITTED


def test_a_clock_that_went_back_refills_nothing() -> None:
    limits = LimitSettings(lock_burst=6)
    bundle = HOME.at_door(HOME.carer())
    spent = spend(bundle, HOME.facts(limits=limits), 3)
    facts = HOME.facts(limits=limits, bucket_states=spent.bucket_states, time=at(NOW_S - 30))
    assert code_of(bundle, facts) is Code.RATE_LIMITED


def test_carers_cannot_use_up_the_emergency_budget() -> None:
    limits = LimitSettings(lock_burst=2)
    spent = spend(HOME.at_door(HOME.carer()), HOME.facts(limits=limits), 2)
    bundle = HOME.over_mqtt(HOME.office.operator("olga", now_s=NOW_S), alarm_ref=bytes(16))
    facts = HOME.facts(limits=limits, bucket_states=spent.bucket_states, alarm_open=True)
    assert code_of(bundle, facts) is Code.PERMITTED


def test_an_operator_has_a_budget_too() -> None:
    bundle = HOME.over_mqtt(HOME.office.operator("olga", now_s=NOW_S), alarm_ref=bytes(16))
    facts = HOME.facts(limits=LimitSettings(emergency_burst=2), alarm_open=True)
    assert code_of(bundle, spend(bundle, facts, 1)) is Code.PERMITTED
    assert code_of(bundle, spend(bundle, facts, 2)) is Code.RATE_LIMITED


def test_a_responder_draws_from_nobody_elses_budget_and_nobody_from_theirs() -> None:
    limits = LimitSettings(lock_burst=2, provider_burst=2, global_burst=2)
    spent = spend(HOME.at_door(HOME.carer()), HOME.facts(limits=limits), 1)
    responder = HOME.at_door(HOME.carer(offline_class=OfflineClass.RESPONDER))
    facts = HOME.facts(limits=limits, bucket_states=dict(spent.bucket_states) | {"global": NOW_S * 1_000 + 10**9})
    assert code_of(responder, facts) is Code.PERMITTED


def test_a_motor_that_rescuers_have_worn_hot_waits_for_carers_and_never_for_rescuers() -> None:
    limits = LimitSettings(motor_burst=4, motor_reserve=2, emergency_burst=100)
    rescue = HOME.over_mqtt(HOME.office.operator("olga", now_s=NOW_S), alarm_ref=bytes(16))
    visit, facts = HOME.at_door(HOME.carer()), HOME.facts(limits=limits, alarm_open=True)
    assert code_of(visit, spend(rescue, facts, 1)) is Code.PERMITTED
    assert code_of(visit, spend(rescue, facts, 2)) is Code.RATE_LIMITED
    hot = spend(rescue, facts, 50)
    assert code_of(rescue, hot) is Code.PERMITTED
    assert code_of(visit, replace(hot, time=at(NOW_S + 2 * 60))) is Code.RATE_LIMITED
    assert code_of(visit, replace(hot, time=at(NOW_S + 3 * 60))) is Code.PERMITTED


def test_visits_leave_the_motor_its_reserve() -> None:
    limits = LimitSettings(lock_burst=100, motor_burst=4, motor_reserve=2)
    visit = HOME.at_door(HOME.carer())
    assert code_of(visit, spend(visit, HOME.facts(limits=limits), 1)) is Code.PERMITTED
    assert code_of(visit, spend(visit, HOME.facts(limits=limits), 2)) is Code.RATE_LIMITED


def test_a_bucket_written_under_a_clock_that_was_years_ahead_shuts_no_door_for_years() -> None:
    limits = LimitSettings(lock_burst=6)
    visit, ahead_ms = HOME.at_door(HOME.carer()), (NOW_S + 70 * 365 * DAY_S) * 1_000
    states = {bucket.key: ahead_ms for bucket in buckets_for(visit, limits)}
    denied = decide(visit, HOME.facts(limits=limits, bucket_states=states))
    assert isinstance(denied, Denied)
    assert denied.code is Code.RATE_LIMITED
    assert denied.retry_after_s is not None
    assert denied.retry_after_s <= 2 * limits.interval_ms // 1_000


@pytest.mark.parametrize(
    ("grant", "code"),
    [
        pytest.param({"rights": Rights.LOCK}, Code.RIGHTS, id="rights"),
        pytest.param({"windows": ()}, Code.OUTSIDE_WINDOW, id="window"),
        pytest.param({"use_count_max": 0}, Code.USES_SPENT, id="uses"),
    ],
)
def test_refusals_that_only_the_signer_can_cause_lock_out_with_a_growing_delay(
    grant: dict[str, Any], code: Code
) -> None:
    wrong = HOME.at_door(HOME.carer(**grant))
    free = spend(wrong, HOME.facts(), FREE_COUNT)
    assert code_of(wrong, free) is code
    denied = decide(wrong, spend(wrong, HOME.facts(), FREE_COUNT + 1))
    assert denied == Denied(code=Code.LOCKED_OUT, retry_after_s=10)


def test_a_lock_out_ends_with_its_millisecond() -> None:
    facts = HOME.facts(lockout=Lockout(refusal_count=9, last_ms=0, until_ms=NOW_S * 1_000))
    bundle = HOME.at_door(HOME.carer())
    assert code_of(bundle, facts) is Code.PERMITTED
    assert code_of(bundle, replace(facts, time=TimeInterval(lo_ms=NOW_S * 1_000 - 1, hi_ms=NOW_S * 1_000))) is (
        Code.LOCKED_OUT
    )


def test_no_lock_out_ever_touches_the_emergency_class() -> None:
    locked_out = Lockout(refusal_count=99, last_ms=NOW_S * 1_000, until_ms=NOW_S * 1_000 + 300_000)
    operator = HOME.over_mqtt(HOME.office.operator("olga", now_s=NOW_S), alarm_ref=bytes(16))
    responder = HOME.at_door(HOME.carer(offline_class=OfflineClass.RESPONDER))
    for bundle in (operator, responder):
        assert code_of(bundle, HOME.facts(alarm_open=True, lockout=locked_out)) is Code.PERMITTED
    refused = decide(HOME.at_door(HOME.carer(offline_class=OfflineClass.RESPONDER, windows=())), HOME.facts())
    assert refused == Denied(code=Code.OUTSIDE_WINDOW)


def test_forced_lock_out_by_replay_is_impossible_because_a_stale_command_counts_nothing() -> None:
    stale = HOME.facts(freshness=HOME.freshness(challenge_learned_ms=None))
    verdict = decide(HOME.at_door(HOME.carer(rights=Rights.LOCK)), stale)
    assert verdict == Denied(code=Code.CHALLENGE_UNKNOWN)


def test_a_refusal_over_the_rate_counts_towards_no_lock_out() -> None:
    limits = LimitSettings(lock_burst=2)
    bundle = HOME.at_door(HOME.carer())
    spent = spend(bundle, HOME.facts(limits=limits), 1)
    verdict = decide(bundle, spent)
    assert isinstance(verdict, Denied)
    assert verdict.lockout is None


# The order.


def test_the_verdict_is_that_of_the_first_check_that_gives_one_and_explain_hears_the_later_ones_too() -> None:
    bundle = HOME.at_door(HOME.carer(rights=Rights.LOCK, windows=()))
    facts = HOME.facts(freshness=HOME.freshness(challenge_learned_ms=None))
    found = {result.check: result.verdict for result in judge_each(bundle, facts) if result.verdict is not None}
    assert list(found) == [Check.FRESHNESS, Check.RIGHTS, Check.WINDOW, Check.RATE]
    assert decide(bundle, facts) == found[Check.FRESHNESS]


def test_every_check_behind_the_verification_is_asked_once() -> None:
    asked = [result.check for result in judge_each(HOME.at_door(HOME.carer()), HOME.facts())]
    assert asked == [check for check in Check if check not in {Check.SIZE, Check.FORM, Check.CHAIN}]
