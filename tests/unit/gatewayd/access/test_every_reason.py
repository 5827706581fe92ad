"""The table of every reason: one row each, with what is just permitted and what is just refused.

A row says which check gives the reason and shows both sides of its boundary with nothing else changed. The
last tests hold the table against `codes.py` and against the guards, so that no reason is without its row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from firmware_protocol.chains import make_bundle, parse_bundle, verify_bundle
from firmware_protocol.codes import Code
from firmware_protocol.constants import BUNDLE_SIZE_MAX
from firmware_protocol.cose import kid_of
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.signed import open_signed, sign
from firmware_protocol.tokens import Authority
from firmware_protocol.vocabulary import Action, OfflineClass, Rights, Role, Tier
from gatewayd.access.checks import Check
from gatewayd.access.decide import GUARDS, decide, judge_each
from gatewayd.access.explaining import VERIFICATION, Reasons, judge_aloud, verify_aloud
from gatewayd.access.lockout import DELAY_MS_MIN, Lockout
from gatewayd.access.seen import Seen
from gatewayd.access.uses import Uses
from gatewayd.access.verdicts import Denied, Permitted, Repeated
from gatewayd.settings import LimitSettings
from gatewayd.timekeeping import TimeInterval
from simulator.office import Office, unlock_at_door
from tests.support.homes import BOOTTIME_MS, NOW_S, PROVIDER, TestHome

if TYPE_CHECKING:
    from firmware_protocol.chains import VerifiedBundle
    from gatewayd.access.decide import Facts

HOME: Final = TestHome.make()
ELSEWHERE: Final = HOME.office.home("home-2")
ANNA: Final = HOME.at_door(HOME.carer())
OLGA: Final = HOME.office.operator("olga", now_s=NOW_S)
NOW_MS: Final = NOW_S * 1_000
DAY_S: Final = 24 * 3_600
MONTH_S: Final = 30 * DAY_S
REF: Final = bytes(16)
Side = tuple["VerifiedBundle", "Facts"]


@dataclass(frozen=True)
class Row:
    """One reason at its boundary."""

    check: Check
    code: Code
    name: str
    permitted: Side
    refused: Side


def at(lo_s: int, hi_s: int | None = None) -> TimeInterval:
    return TimeInterval(lo_ms=lo_s * 1_000, hi_ms=(lo_s if hi_s is None else hi_s) * 1_000)


def untrusted(lo_s: int) -> TimeInterval:
    return TimeInterval(lo_ms=lo_s * 1_000)


def facts(**changes: Any) -> Facts:
    return HOME.facts(**changes)


def heard(**changes: Any) -> Facts:
    return HOME.facts(freshness=HOME.freshness(**changes))


def anna(**grant: Any) -> VerifiedBundle:
    return HOME.at_door(HOME.carer(**grant))


def under(authority_changes: dict[str, Any], **grant: Any) -> VerifiedBundle:
    """Return Anna's command under an authority that differs from the usual one."""
    holder = HOME.carer(**grant)
    home = authority_changes.pop("home", HOME.home)
    authority = HOME.office.authority(home, PROVIDER, **({"now_s": NOW_S} | authority_changes))
    return HOME.at_door(type(holder)(key=holder.key, grant=holder.grant, authority=authority))


def authorised(**changes: Any) -> VerifiedBundle:
    """Return Anna's command under an authority of which one part is another."""
    holder, key = HOME.carer(), HOME.office.role_keys[Role.AUTHORITY]
    authority = open_signed(Authority, holder.authority or b"", bytes(key.verify_key))
    changed = sign(replace(authority, **changes), key)
    return HOME.at_door(type(holder)(key=holder.key, grant=holder.grant, authority=changed))


def mqtt(**options: Any) -> VerifiedBundle:
    return HOME.over_mqtt(HOME.carer(), **options)


def responder(**grant: Any) -> VerifiedBundle:
    return anna(**({"offline_class": OfflineClass.RESPONDER} | grant))


def rescue(holder: Any = OLGA, **options: Any) -> VerifiedBundle:
    return HOME.over_mqtt(holder, **({"alarm_ref": REF} | options))


def elsewhere_granted() -> VerifiedBundle:
    grant = HOME.office.grant(ELSEWHERE, PROVIDER, "anna", now_s=NOW_S)
    return HOME.at_door(HOME.office.carer(HOME.home, PROVIDER, "anna", now_s=NOW_S, grant=grant))


def spent(key: str, burst: int, interval_ms: int, over_ms: int = 0) -> dict[str, int]:
    """Return a bucket from which one more may just be taken, or `over_ms` more than that."""
    return {key: NOW_MS + (burst - 1) * interval_ms + over_ms}


def rated(key: str, burst: int, interval_ms: int, bundle: VerifiedBundle = ANNA, **changes: Any) -> tuple[Side, Side]:
    below = facts(bucket_states=spent(key, burst, interval_ms), **changes)
    above = facts(bucket_states=spent(key, burst, interval_ms, over_ms=1), **changes)
    return (bundle, below), (bundle, above)


KEYSET_END_S: Final = HOME.keyset.exp_s


def late(**grant: Any) -> VerifiedBundle:
    """Return a command of a shift in which the Keyset ends."""
    now_s = KEYSET_END_S - 100
    return under({"now_s": now_s}, now_s=now_s, **grant)


LATE_SHIFT: Final = late()
LIMITS: Final = LimitSettings()
SIGNER: Final = ANNA.signer_kid.hex()
LOCK: Final = HOME.home.lock_id.hex()
MINUTE_MS: Final = LIMITS.interval_ms
FULL_SIGNER: Final = LIMITS.lock_burst // 2
MOTOR: Final = LIMITS.motor_burst - LIMITS.motor_reserve
NARROW: Final = at(NOW_S, NOW_S + 120)
WIDE: Final = at(NOW_S, NOW_S + 121)
OPEN: Final = facts(alarm_open=True)
A_WINDOW: Final = ((NOW_S, NOW_S + 900),)

ROWS: Final = (
    Row(
        Check.SEEN,
        Code.ID_REUSED,
        "other bytes under a used id",
        (ANNA, facts(seen=None)),
        (ANNA, facts(seen=Seen(command_sha256=bytes(32), receipt=b"r"))),
    ),
    # Audience.
    Row(
        Check.AUDIENCE, Code.WRONG_AUDIENCE, "gateway", (ANNA, facts()), (ANNA, facts(gateway_id=ELSEWHERE.gateway_id))
    ),
    Row(
        Check.AUDIENCE,
        Code.WRONG_AUDIENCE,
        "one of its locks",
        (ANNA, facts(lock_ids=frozenset({HOME.home.lock_id, ELSEWHERE.lock_id}))),
        (ANNA, facts(lock_ids=frozenset({ELSEWHERE.lock_id}))),
    ),
    Row(
        Check.AUDIENCE,
        Code.WRONG_AUDIENCE,
        "the lock that brought it",
        (ANNA, facts(came_through=HOME.home.lock_id)),
        (ANNA, facts(came_through=ELSEWHERE.lock_id)),
    ),
    Row(Check.AUDIENCE, Code.WRONG_AUDIENCE, "the grant's locks", (ANNA, facts()), (elsewhere_granted(), facts())),
    Row(
        Check.AUDIENCE,
        Code.WRONG_AUDIENCE,
        "the authority's home",
        (under({}), facts()),
        (under({"home": ELSEWHERE}), facts()),
    ),
    Row(
        Check.AUDIENCE,
        Code.WRONG_AUDIENCE,
        "the authority's gateway",
        (authorised(gateway_id=HOME.home.gateway_id), facts()),
        (authorised(gateway_id=ELSEWHERE.gateway_id), facts()),
    ),
    Row(
        Check.AUDIENCE,
        Code.WRONG_AUDIENCE,
        "the authority's locks",
        (authorised(lock_ids=(ELSEWHERE.lock_id, HOME.home.lock_id)), facts()),
        (authorised(lock_ids=(ELSEWHERE.lock_id,)), facts()),
    ),
    # Freshness.
    Row(
        Check.FRESHNESS,
        Code.CHALLENGE_UNKNOWN,
        "30 s",
        (ANNA, heard(challenge_learned_ms=BOOTTIME_MS - 29_999)),
        (ANNA, heard(challenge_learned_ms=BOOTTIME_MS - 30_000)),
    ),
    Row(
        Check.FRESHNESS,
        Code.CHALLENGE_UNKNOWN,
        "known at all",
        (ANNA, heard(challenge_learned_ms=BOOTTIME_MS)),
        (ANNA, heard(challenge_learned_ms=None)),
    ),
    Row(Check.FRESHNESS, Code.WRONG_EPOCH, "this start", (mqtt(), facts()), (mqtt(epoch=bytes(16)), facts())),
    Row(
        Check.FRESHNESS,
        Code.EXPIRED,
        "the command's second",
        (mqtt(issued_s=71, ttl_s=30), facts()),
        (mqtt(issued_s=70, ttl_s=30), facts()),
    ),
    Row(Check.FRESHNESS, Code.TTL_TOO_LONG, "an unlock", (mqtt(ttl_s=60), facts()), (mqtt(ttl_s=61), facts())),
    Row(
        Check.FRESHNESS,
        Code.TTL_TOO_LONG,
        "an unlock under duress",
        (mqtt(ttl_s=60, action=Action.UNLOCK_UNDER_DURESS), facts()),
        (mqtt(ttl_s=61, action=Action.UNLOCK_UNDER_DURESS), facts()),
    ),
    Row(
        Check.FRESHNESS,
        Code.TTL_TOO_LONG,
        "locking",
        (mqtt(ttl_s=300, action=Action.LOCK), facts()),
        (mqtt(ttl_s=301, action=Action.LOCK), facts()),
    ),
    Row(
        Check.FRESHNESS,
        Code.TTL_TOO_LONG,
        "an end before its beginning",
        (mqtt(issued_s=101, ttl_s=0), facts()),
        (mqtt(issued_s=101, ttl_s=-1), heard(boottime_ms=BOOTTIME_MS - 1_000)),
    ),
    Row(
        Check.FRESHNESS,
        Code.NOT_YET_VALID,
        "issued a rounded second ahead",
        (mqtt(issued_s=101), facts()),
        (mqtt(issued_s=102), facts()),
    ),
    Row(
        Check.FRESHNESS,
        Code.SUPERSEDED,
        "a later one was executed",
        (mqtt(), heard(last_issued_s=100)),
        (mqtt(), heard(last_issued_s=101)),
    ),
    # Life and class.
    Row(
        Check.LIFE,
        Code.TTL_TOO_LONG,
        "a shift grant's day",
        (anna(nbf_s=NOW_S, exp_s=NOW_S + DAY_S), facts()),
        (anna(nbf_s=NOW_S, exp_s=NOW_S + DAY_S + 1), facts()),
    ),
    Row(
        Check.LIFE,
        Code.TTL_TOO_LONG,
        "a responder's month",
        (responder(nbf_s=NOW_S, exp_s=NOW_S + MONTH_S), facts()),
        (responder(nbf_s=NOW_S, exp_s=NOW_S + MONTH_S + 1), facts()),
    ),
    Row(
        Check.LIFE,
        Code.TTL_TOO_LONG,
        "the authority's own bound",
        (under({"offline_class_max": OfflineClass.SHIFT}, nbf_s=NOW_S, exp_s=NOW_S + DAY_S), facts()),
        (under({"offline_class_max": OfflineClass.SHIFT}, nbf_s=NOW_S, exp_s=NOW_S + DAY_S + 1), facts()),
    ),
    Row(
        Check.LIFE,
        Code.TTL_TOO_LONG,
        "an operator's 13 hours",
        (rescue(HOME.office.operator("olga", now_s=NOW_S, life_s=13 * 3_600)), OPEN),
        (rescue(HOME.office.operator("olga", now_s=NOW_S, life_s=13 * 3_600 + 1)), OPEN),
    ),
    Row(
        Check.LIFE,
        Code.RIGHTS,
        "a class that the authority may give",
        (under({"offline_class_max": OfflineClass.RESPONDER}, offline_class=OfflineClass.RESPONDER), facts()),
        (under({"offline_class_max": OfflineClass.SHIFT}, offline_class=OfflineClass.RESPONDER), facts()),
    ),
    # Tier.
    Row(
        Check.TIER,
        Code.TIER,
        "class 0 while the state is fresh",
        (anna(offline_class=OfflineClass.ONLINE), facts(tier=Tier.FRESH)),
        (anna(offline_class=OfflineClass.ONLINE), facts(tier=Tier.STALE)),
    ),
    Row(
        Check.TIER,
        Code.TIER,
        "class 1 while time is trusted",
        (ANNA, facts(tier=Tier.STALE)),
        (ANNA, facts(tier=Tier.COLD, time=untrusted(NOW_S))),
    ),
    Row(
        Check.TIER,
        Code.TIER,
        "issued within a day of its end, where no news comes",
        (anna(now_s=NOW_S - DAY_S + 60, nbf_s=NOW_S - 60, exp_s=NOW_S + 60), facts(tier=Tier.STALE)),
        (anna(now_s=NOW_S - DAY_S + 60, nbf_s=NOW_S - 60, exp_s=NOW_S + 61), facts(tier=Tier.STALE)),
    ),
    Row(
        Check.TIER,
        Code.TIER,
        "issued long before, where news comes",
        (anna(now_s=NOW_S - MONTH_S, nbf_s=NOW_S - 60), facts(tier=Tier.FRESH)),
        (anna(now_s=NOW_S - MONTH_S, nbf_s=NOW_S - 60), facts(tier=Tier.STALE)),
    ),
    Row(
        Check.TIER,
        Code.TIER,
        "class 2 under a suspicion",
        (responder(), facts(tier=Tier.SUSPECT)),
        (ANNA, facts(tier=Tier.SUSPECT)),
    ),
    Row(
        Check.TIER,
        Code.TIER,
        "the installer whom the order names",
        (ANNA, facts(tier=Tier.COLD, time=untrusted(NOW_S), installer_cti=ANNA.proof.grant.cti)),
        (ANNA, facts(tier=Tier.COLD, time=untrusted(NOW_S), installer_cti=bytes(16))),
    ),
    Row(
        Check.TIER,
        Code.TIER,
        "the installer, but not under a suspicion",
        (ANNA, facts(tier=Tier.COLD, time=untrusted(NOW_S), installer_cti=ANNA.proof.grant.cti)),
        (ANNA, facts(tier=Tier.SUSPECT, installer_cti=ANNA.proof.grant.cti)),
    ),
    # Time.
    Row(
        Check.TIME,
        Code.NOT_YET_VALID,
        "the grant's beginning, by the earliest time",
        (anna(nbf_s=NOW_S), facts(time=NARROW)),
        (anna(nbf_s=NOW_S + 1, windows=((NOW_S - 60, NOW_S + 900),)), facts(time=NARROW)),
    ),
    Row(
        Check.TIME,
        Code.NOT_YET_VALID,
        "issued by the latest time",
        (anna(now_s=NOW_S + 120, nbf_s=NOW_S, windows=((NOW_S, NOW_S + 900),)), facts(time=NARROW)),
        (anna(now_s=NOW_S + 121, nbf_s=NOW_S + 121, windows=((NOW_S, NOW_S + 900),)), facts(time=NARROW)),
    ),
    Row(
        Check.TIME,
        Code.NOT_YET_VALID,
        "an authority issued by the latest time",
        (under({"now_s": NOW_S + 60}), facts()),
        (under({"now_s": NOW_S + 61}), facts()),
    ),
    Row(
        Check.TIME,
        Code.EXPIRED,
        "the grant's end, by the latest time",
        (anna(exp_s=NOW_S + 121, windows=((NOW_S - 60, NOW_S + 900),)), facts(time=NARROW)),
        (anna(exp_s=NOW_S + 120, windows=((NOW_S - 60, NOW_S + 900),)), facts(time=NARROW)),
    ),
    Row(
        Check.TIME,
        Code.EXPIRED,
        "the end where time is not trusted, by the earliest",
        (responder(exp_s=NOW_S + 1), facts(tier=Tier.COLD, time=untrusted(NOW_S))),
        (responder(exp_s=NOW_S), facts(tier=Tier.COLD, time=untrusted(NOW_S))),
    ),
    Row(
        Check.TIME,
        Code.EXPIRED,
        "an operator's end",
        (rescue(HOME.office.operator("olga", now_s=NOW_S, life_s=61)), OPEN),
        (rescue(HOME.office.operator("olga", now_s=NOW_S, life_s=60)), OPEN),
    ),
    Row(
        Check.TIME,
        Code.EXPIRED,
        "the end where the interval is too wide to be trusted, by the earliest",
        (responder(exp_s=NOW_S + 1), facts(tier=Tier.COLD, time=WIDE)),
        (responder(exp_s=NOW_S), facts(tier=Tier.COLD, time=WIDE)),
    ),
    Row(
        Check.TIME,
        Code.NOT_YET_VALID,
        "a beginning is judged only where time is trusted",
        (responder(nbf_s=NOW_S + 1, windows=((NOW_S - 60, NOW_S + 900),)), facts(tier=Tier.COLD, time=WIDE)),
        (responder(nbf_s=NOW_S + 1, windows=((NOW_S - 60, NOW_S + 900),)), facts(time=NARROW)),
    ),
    # The Keyset's age.
    Row(
        Check.KEYSET,
        Code.EXPIRED,
        "its last second",
        (LATE_SHIFT, facts(time=at(KEYSET_END_S - 1))),
        (LATE_SHIFT, facts(time=at(KEYSET_END_S))),
    ),
    Row(
        Check.KEYSET,
        Code.EXPIRED,
        "its last second by the latest time",
        (LATE_SHIFT, facts(time=at(KEYSET_END_S - 2, KEYSET_END_S - 1))),
        (LATE_SHIFT, facts(time=at(KEYSET_END_S - 2, KEYSET_END_S))),
    ),
    Row(
        Check.KEYSET,
        Code.EXPIRED,
        "its last second where time is not trusted, by the earliest",
        (LATE_SHIFT, facts(tier=Tier.COLD, time=untrusted(KEYSET_END_S - 1), installer_cti=LATE_SHIFT.proof.grant.cti)),
        (LATE_SHIFT, facts(tier=Tier.COLD, time=untrusted(KEYSET_END_S), installer_cti=LATE_SHIFT.proof.grant.cti)),
    ),
    Row(
        Check.KEYSET,
        Code.EXPIRED,
        "its last second where the interval is too wide, by the earliest",
        (
            LATE_SHIFT,
            facts(
                tier=Tier.COLD,
                time=at(KEYSET_END_S - 1, KEYSET_END_S + 200),
                installer_cti=LATE_SHIFT.proof.grant.cti,
            ),
        ),
        (
            LATE_SHIFT,
            facts(tier=Tier.COLD, time=at(KEYSET_END_S, KEYSET_END_S + 200), installer_cti=LATE_SHIFT.proof.grant.cti),
        ),
    ),
    Row(
        Check.KEYSET,
        Code.EXPIRED,
        "past its end class 2 is served on",
        (late(offline_class=OfflineClass.RESPONDER), facts(time=at(KEYSET_END_S))),
        (LATE_SHIFT, facts(time=at(KEYSET_END_S))),
    ),
    # Revocation.
    Row(
        Check.REVOCATION,
        Code.REVOKED,
        "by key",
        (ANNA, facts(state=HOME.state(revoked_kids=(bytes(8),)))),
        (ANNA, facts(state=HOME.state(revoked_kids=(ANNA.signer_kid,)))),
    ),
    Row(
        Check.REVOCATION,
        Code.REVOKED,
        "by the provider's key",
        (ANNA, facts(state=HOME.state(revoked_kids=(kid_of(bytes(HOME.office.roots[0].verify_key)),)))),
        (ANNA, facts(state=HOME.state(revoked_kids=(ANNA.proof.issuer_kid,)))),
    ),
    Row(
        Check.REVOCATION,
        Code.REVOKED,
        "by grant",
        (ANNA, facts(state=HOME.state(revoked_ctis=(bytes(16),)))),
        (ANNA, facts(state=HOME.state(revoked_ctis=(ANNA.proof.grant.cti,)))),
    ),
    Row(
        Check.REVOCATION,
        Code.REVOKED,
        "by authority",
        (ANNA, facts(state=HOME.state())),
        (ANNA, facts(state=HOME.state(revoked_ctis=(ANNA.proof.ctis[1],)))),
    ),
    Row(
        Check.REVOCATION,
        Code.REVOKED,
        "by provider and second",
        (ANNA, facts(state=HOME.state(provider_iat_min_s=((PROVIDER, ANNA.proof.grant.iat_s),)))),
        (ANNA, facts(state=HOME.state(provider_iat_min_s=((PROVIDER, ANNA.proof.grant.iat_s + 1),)))),
    ),
    Row(
        Check.REVOCATION,
        Code.TIER,
        "a newer state is asked for",
        (anna(state_seq_min=2), facts(state=HOME.state(seq=2))),
        (anna(state_seq_min=2), facts(state=HOME.state(seq=1))),
    ),
    Row(
        Check.REVOCATION,
        Code.TIER,
        "any state is asked for",
        (anna(state_seq_min=0), facts(state=None)),
        (anna(state_seq_min=1), facts(state=None)),
    ),
    # Lock-out.
    Row(
        Check.LOCKOUT,
        Code.LOCKED_OUT,
        "the wait's last millisecond",
        (ANNA, facts(lockout=Lockout(refusal_count=5, last_ms=NOW_MS - DELAY_MS_MIN, until_ms=NOW_MS))),
        (ANNA, facts(lockout=Lockout(refusal_count=5, last_ms=NOW_MS - DELAY_MS_MIN, until_ms=NOW_MS + 1))),
    ),
    # Rights, alarm, window, uses.
    Row(
        Check.RIGHTS,
        Code.RIGHTS,
        "the grant's right",
        (anna(rights=Rights.UNLOCK), facts()),
        (anna(rights=Rights.LOCK | Rights.SERVICE), facts()),
    ),
    Row(
        Check.RIGHTS,
        Code.RIGHTS,
        "the authority's right",
        (under({"rights": Rights.UNLOCK}), facts()),
        (under({"rights": Rights.LOCK}), facts()),
    ),
    Row(
        Check.RIGHTS,
        Code.RIGHTS,
        "a responder unlocks only",
        (HOME.over_mqtt(HOME.carer(offline_class=OfflineClass.SHIFT), action=Action.LOCK), facts()),
        (HOME.over_mqtt(HOME.carer(offline_class=OfflineClass.RESPONDER), action=Action.LOCK), facts()),
    ),
    Row(
        Check.RIGHTS,
        Code.RIGHTS,
        "an operator's right",
        (rescue(HOME.office.operator("olga", now_s=NOW_S, rights=Rights.UNLOCK)), OPEN),
        (rescue(HOME.office.operator("olga", now_s=NOW_S, rights=Rights.LOCK)), OPEN),
    ),
    Row(
        Check.EMERGENCY,
        Code.SECOND_OPERATOR_NEEDED,
        "one operator without an alarm",
        (rescue(), OPEN),
        (rescue(alarm_ref=None), facts()),
    ),
    Row(
        Check.EMERGENCY,
        Code.SECOND_OPERATOR_NEEDED,
        "two keys of one person",
        (HOME.together(OLGA, HOME.office.operator("otto", now_s=NOW_S)), facts()),
        (
            HOME.together(
                OLGA, HOME.office.operator("olga", now_s=NOW_S, key=HOME.office.signing_key("device-olga-2"))
            ),
            facts(),
        ),
    ),
    Row(Check.EMERGENCY, Code.ALARM_NOT_OPEN, "the alarm that is named", (rescue(), OPEN), (rescue(), facts())),
    Row(
        Check.WINDOW,
        Code.OUTSIDE_WINDOW,
        "the visit's first second",
        (anna(windows=A_WINDOW), facts(time=at(NOW_S))),
        (anna(windows=A_WINDOW), facts(time=at(NOW_S - 1))),
    ),
    Row(
        Check.WINDOW,
        Code.OUTSIDE_WINDOW,
        "the visit's last second",
        (anna(windows=A_WINDOW), facts(time=at(NOW_S + 899))),
        (anna(windows=A_WINDOW), facts(time=at(NOW_S + 900))),
    ),
    Row(
        Check.WINDOW,
        Code.OUTSIDE_WINDOW,
        "the whole of what is known of the time",
        (anna(windows=A_WINDOW), facts(time=at(NOW_S, NOW_S + 119))),
        (anna(windows=A_WINDOW), facts(time=at(NOW_S - 1, NOW_S + 118))),
    ),
    Row(
        Check.WINDOW,
        Code.OUTSIDE_WINDOW,
        "one visit, not the gap between two",
        (anna(windows=((NOW_S - 60, NOW_S + 10),)), facts(time=at(NOW_S - 5, NOW_S + 5))),
        (anna(windows=((NOW_S - 60, NOW_S), (NOW_S + 1, NOW_S + 60))), facts(time=at(NOW_S - 5, NOW_S + 5))),
    ),
    Row(
        Check.WINDOW,
        Code.OUTSIDE_WINDOW,
        "a window at all",
        (anna(windows=((NOW_S, NOW_S + 1),)), facts()),
        (anna(windows=()), facts()),
    ),
    Row(
        Check.WINDOW,
        Code.OUTSIDE_WINDOW,
        "a visit that is over stays over without trusted time",
        (responder(windows=A_WINDOW), facts(tier=Tier.COLD, time=untrusted(NOW_S + 899))),
        (responder(windows=A_WINDOW), facts(tier=Tier.COLD, time=untrusted(NOW_S + 900))),
    ),
    Row(
        Check.WINDOW,
        Code.OUTSIDE_WINDOW,
        "a visit that is over where the interval is too wide, by the earliest",
        (responder(windows=((NOW_S - 60, NOW_S + 1),)), facts(tier=Tier.COLD, time=WIDE)),
        (responder(windows=((NOW_S - 60, NOW_S),)), facts(tier=Tier.COLD, time=WIDE)),
    ),
    Row(
        Check.USES,
        Code.USES_SPENT,
        "the last use",
        (anna(use_count_max=2), facts(uses=Uses(count=1))),
        (anna(use_count_max=2), facts(uses=Uses(count=2))),
    ),
    Row(
        Check.USES,
        Code.USES_SPENT,
        "a responder's episode",
        (responder(use_count_max=1), facts(uses=Uses(count=1, episode_ms=NOW_MS - 899_999, movement_count=1))),
        (responder(use_count_max=1), facts(uses=Uses(count=1, episode_ms=NOW_MS - 900_000, movement_count=1))),
    ),
    Row(
        Check.USES,
        Code.USES_SPENT,
        "one an hour",
        (responder(use_count_max=1), facts(uses=Uses(count=1, episode_ms=NOW_MS - 3_600_000, movement_count=1))),
        (responder(use_count_max=1), facts(uses=Uses(count=1, episode_ms=NOW_MS - 3_599_999, movement_count=1))),
    ),
    # Rate.
    Row(
        Check.RATE,
        Code.RATE_LIMITED,
        "the signer's half",
        *rated(f"signer:{SIGNER}:{LOCK}", FULL_SIGNER, 2 * MINUTE_MS),
    ),
    Row(Check.RATE, Code.RATE_LIMITED, "the lock", *rated(f"lock:{LOCK}", LIMITS.lock_burst, MINUTE_MS)),
    Row(
        Check.RATE,
        Code.RATE_LIMITED,
        "the provider",
        *rated(f"provider:{PROVIDER}", LIMITS.provider_burst, MINUTE_MS),
    ),
    Row(Check.RATE, Code.RATE_LIMITED, "all of the gateway", *rated("global", LIMITS.global_burst, MINUTE_MS)),
    Row(Check.RATE, Code.RATE_LIMITED, "the motor but for its reserve", *rated(f"motor:{LOCK}", MOTOR, MINUTE_MS)),
    Row(
        Check.RATE,
        Code.RATE_LIMITED,
        "an operator's own",
        *rated(
            f"emergency:{rescue().signer_kid.hex()}:{LOCK}",
            LIMITS.emergency_burst,
            MINUTE_MS,
            rescue(),
            alarm_open=True,
        ),
    ),
    Row(
        Check.RATE,
        Code.RATE_LIMITED,
        "a responder's own",
        *rated(f"emergency:{SIGNER}:{LOCK}", LIMITS.emergency_burst, MINUTE_MS, responder()),
    ),
)

ELSEWHERE_DECIDED: Final = {
    Code.DUPLICATE: "how explain calls a Repeated verdict: below",
    Code.PERMITTED: "the other side of every row",
    Code.LINK_DOWN: "the door cannot act: tests/unit/gatewayd/link",
    Code.STORE_UNAVAILABLE: "the door cannot reserve: tests/simulation/test_house.py",
    Code.DENIED: "what the unauthenticated hear: tests/simulation/test_faults.py",
}
"""Codes of a command's answer that no guard gives, and where they are shown."""


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.check}: {row.code.dotted}: {row.name}" for row in ROWS])
def test_a_reason_refuses_on_one_side_of_its_boundary_and_permits_on_the_other(row: Row) -> None:
    assert isinstance(decide(*row.permitted), Permitted)
    verdict = decide(*row.refused)
    assert isinstance(verdict, Denied)
    assert verdict.code is row.code
    first = next(result for result in judge_each(*row.refused) if result.verdict is not None)
    assert (first.check, first.verdict) == (row.check, verdict)


def test_the_same_bytes_again_are_answered_and_move_nothing() -> None:
    recorded = Seen(command_sha256=ANNA.command_sha256, receipt=b"recorded")
    assert decide(ANNA, facts(seen=recorded)) == Repeated(receipt=b"recorded")
    assert isinstance(decide(ANNA, facts(seen=None)), Permitted)


VERIFIED: Final = (
    (Check.SIZE, Code.TOO_LARGE, bytes(BUNDLE_SIZE_MAX + 1)),
    (Check.FORM, Code.MALFORMED, make_bundle(b"nonsense")),
    (Check.FORM, Code.MALFORMED, bytes(BUNDLE_SIZE_MAX)),
)


def whole(holder: Any = None) -> bytes:
    challenge, command_id = HOME.office.token("challenge"), HOME.office.token("command")
    return unlock_at_door(holder or HOME.carer(), HOME.home, challenge=challenge, command_id=command_id, now_s=NOW_S)


def flipped() -> bytes:
    command, *chain = parse_bundle(whole())
    return make_bundle(command[:-1] + bytes((command[-1] ^ 1,)), *chain)


def stranger() -> bytes:
    return whole(Office(b"strangers").carer(HOME.home, PROVIDER, "anna", now_s=NOW_S))


@pytest.mark.parametrize(
    ("check", "code", "bundle"),
    [
        *VERIFIED,
        (Check.CHAIN, Code.BAD_SIGNATURE, flipped()),
        (Check.CHAIN, Code.UNKNOWN_SIGNER, stranger()),
        (Check.CHAIN, Code.MISSING_GRANT, make_bundle(parse_bundle(whole())[0])),
    ],
)
def test_what_proves_nothing_is_refused_before_any_guard_is_asked(check: Check, code: Code, bundle: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        verify_bundle(bundle, known=HOME.known)
    assert refused.value.code is code
    reasons = verify_aloud(bundle, lambda: HOME.known)
    assert isinstance(reasons, Reasons)
    assert not reasons.authenticated
    assert reasons.verdict == Denied(code=code)
    assert [result.check for result in reasons.results] == list(VERIFICATION[: VERIFICATION.index(check) + 1])
    assert [result.verdict for result in reasons.results[:-1]] == [None] * (len(reasons.results) - 1)
    assert reasons.results[-1].verdict == reasons.verdict


def test_a_whole_bundle_is_verified_and_every_check_is_shown() -> None:
    verified = verify_aloud(whole(), lambda: HOME.known)
    assert not isinstance(verified, Reasons)
    reasons = judge_aloud(verified, lambda _: HOME.facts())
    assert reasons.authenticated
    assert isinstance(reasons.verdict, Permitted)
    assert [result.check for result in reasons.results] == list(Check)
    assert reasons.detail is None


def test_facts_are_read_for_the_bundle_that_is_explained() -> None:
    asked_for: list[VerifiedBundle] = []

    def read(bundle: VerifiedBundle) -> Facts:
        asked_for.append(bundle)
        return HOME.facts()

    judge_aloud(ANNA, read)
    assert asked_for == [ANNA]


def test_what_exactly_is_wrong_is_told_to_the_technician() -> None:
    reasons = verify_aloud(stranger(), lambda: HOME.known)
    assert isinstance(reasons, Reasons)
    assert reasons.detail


def test_every_guard_has_its_rows() -> None:
    assert {row.check for row in ROWS} == {check for check, _ in GUARDS} | {Check.RATE}


def test_every_code_of_a_command_has_its_row() -> None:
    of_commands = {code for code in Code if code.dotted.startswith("command.")}
    shown = {row.code for row in ROWS} | set(ELSEWHERE_DECIDED)
    unauthenticated = {Code.BAD_SIGNATURE, Code.UNKNOWN_SIGNER, Code.MISSING_GRANT}
    assert of_commands - shown == unauthenticated
    assert {row.code for row in ROWS} <= of_commands
