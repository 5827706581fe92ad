"""The decision: a verified command, what is known and the time in; a verdict out. Pure, default deny.

The order is fixed (docs/security.md): cheap before dear, identity before freshness, and nothing that
a stranger can replay is counted against anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.chains import OPERATOR_COUNT
from firmware_protocol.codes import Code
from firmware_protocol.tokens import Grant, Keyset
from firmware_protocol.vocabulary import RIGHT_FOR, OfflineClass, Rights, Tier, blinded_lock
from gatewayd.access.checks import Check, CheckResult
from gatewayd.access.freshness import FreshnessFacts, judge_freshness
from gatewayd.access.limits import Exhausted, buckets_for, take
from gatewayd.access.lockout import Lockout, after_refusal, wait_ms
from gatewayd.access.revocation import judge_revocation
from gatewayd.access.seen import Seen, judge_seen
from gatewayd.access.tiers import judge_tier
from gatewayd.access.uses import Uses, judge_uses, use
from gatewayd.access.validity import judge_life, judge_times
from gatewayd.access.verdicts import Denied, Permitted, Repeated, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from firmware_protocol.chains import VerifiedBundle, VerifiedGrant
    from firmware_protocol.statements import AuthorityState
    from gatewayd.settings import LimitSettings
    from gatewayd.timekeeping import TimeInterval


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that a decision is made from besides the command itself."""

    gateway_id: bytes
    lock_ids: frozenset[bytes]
    came_through: bytes | None
    """The lock whose relay brought it; None over MQTT."""
    keyset: Keyset
    time: TimeInterval
    tier: Tier
    state: AuthorityState | None
    freshness: FreshnessFacts
    seen: Seen | None
    uses: Uses
    """Of the grant so far."""
    lockout: Lockout
    """Of the signer at this lock."""
    installer_cti: bytes | None
    """The installer's grant that the lock's PairingOrder names, for an hour after the pairing."""
    alarm_open: bool
    """Whether the alarm that the command names is open for its lock."""
    bucket_states: Mapping[str, int]
    limits: LimitSettings


def decide(bundle: VerifiedBundle, facts: Facts) -> Verdict:
    """Return the verdict on a command whose signatures have been verified: the first that a guard gives."""
    for _, guard in GUARDS:
        if verdict := guard(bundle, facts):
            return verdict
    return _judge_rate(bundle, facts)


def judge_each(bundle: VerifiedBundle, facts: Facts) -> Iterator[CheckResult]:
    """Run every guard in order, also those behind the one that settles it: what `explain` shows.

    The verdict of the first that gives one is `decide`'s.
    """
    for check, guard in GUARDS:
        yield CheckResult(check=check, verdict=guard(bundle, facts))
    yield CheckResult(check=Check.RATE, verdict=_judge_rate(bundle, facts))


def is_call_for_help(bundle: VerifiedBundle, freshness: FreshnessFacts, verdict: Verdict) -> bool:
    """Tell whether a command says that its signer is forced, and was signed for this moment and this door.

    Also where it is refused: who is held at a door at the wrong hour needs help no less. Never for a copy of an old
    one, which anybody may send.
    """
    command = bundle.command
    if command.action is command.action.movement or isinstance(verdict, Repeated):
        return False
    if isinstance(verdict, Denied) and verdict.code in {Code.WRONG_AUDIENCE, Code.ID_REUSED}:
        return False
    return judge_freshness(command.action, command.freshness, freshness) is None


def _judge_audience(bundle: VerifiedBundle, facts: Facts) -> Code | None:
    command, grant, authority = bundle.command, bundle.proof.grant, bundle.proof.authority
    if command.gateway_id != facts.gateway_id or command.lock_id not in facts.lock_ids:
        return Code.WRONG_AUDIENCE
    if facts.came_through is not None and command.lock_id != facts.came_through:
        return Code.WRONG_AUDIENCE
    if isinstance(grant, Grant) and blinded_lock(grant.cti, command.lock_id) not in grant.locks:
        return Code.WRONG_AUDIENCE
    if authority is not None and (
        authority.gateway_id != facts.gateway_id or command.lock_id not in authority.lock_ids
    ):
        return Code.WRONG_AUDIENCE
    return None


def _judge_keyset_age(proof: VerifiedGrant, facts: Facts) -> Code | None:
    outlives = proof.is_operator or _is_responder(proof)
    known_s = facts.time.hi_s if facts.time.trusted and facts.time.hi_s is not None else facts.time.lo_s
    return Code.EXPIRED if facts.keyset.exp_s <= known_s and not outlives else None


def _judge_rights(bundle: VerifiedBundle) -> Code | None:
    needed = RIGHT_FOR[bundle.command.action]
    return None if all(needed in _rights(proof) for proof in bundle.proofs) else Code.RIGHTS


def _rights(proof: VerifiedGrant) -> Rights:
    # What a responder's phone could do for 30 days offline is to open, and nothing else.
    return proof.rights & Rights.UNLOCK if _is_responder(proof) else proof.rights


def _judge_emergency(bundle: VerifiedBundle, facts: Facts) -> Code | None:
    """One operator suffices while the alarm is open, in every tier; otherwise two people, not one with two keys."""
    if facts.alarm_open or not bundle.proof.is_operator:
        return None
    if len({proof.grant.subject for proof in bundle.proofs}) >= OPERATOR_COUNT:
        return None
    return Code.SECOND_OPERATOR_NEEDED if bundle.command.alarm_ref is None else Code.ALARM_NOT_OPEN


def _judge_window(proof: VerifiedGrant, time: TimeInterval) -> Code | None:
    grant = proof.grant
    return Code.OUTSIDE_WINDOW if isinstance(grant, Grant) and not _in_window(grant, time) else None


def _in_window(grant: Grant, time: TimeInterval) -> bool:
    """Tell whether all of the time interval lies in one visit; no window at all is a denial."""
    if not time.trusted or time.hi_s is None:
        return any(time.lo_s < end for _, end in grant.windows)
    return any(start <= time.lo_s and time.hi_s < end for start, end in grant.windows)


def _judge_uses(proof: VerifiedGrant, facts: Facts) -> Code | None:
    return judge_uses(proof.grant, facts.uses, facts.time.lo_ms) if isinstance(proof.grant, Grant) else None


def _judge_lockout(bundle: VerifiedBundle, facts: Facts) -> Denied | None:
    left_ms = wait_ms(facts.lockout, facts.time.lo_ms)
    if left_ms == 0 or bundle.is_emergency:
        return None
    return Denied(code=Code.LOCKED_OUT, retry_after_s=_whole_seconds(left_ms))


def _judge_rate(bundle: VerifiedBundle, facts: Facts) -> Verdict:
    taken = take(buckets_for(bundle, facts.limits), facts.bucket_states, facts.time.lo_ms)
    if isinstance(taken, Exhausted):
        return Denied(code=Code.RATE_LIMITED, retry_after_s=_whole_seconds(taken.retry_after_ms))
    grant = bundle.proof.grant
    used = use(grant, facts.uses, facts.time.lo_ms) if isinstance(grant, Grant) else None
    return Permitted(buckets=taken, use=used)


def _is_responder(proof: VerifiedGrant) -> bool:
    return isinstance(proof.grant, Grant) and proof.grant.offline_class is OfflineClass.RESPONDER


def _whole_seconds(milliseconds: int) -> int:
    return -(-milliseconds // 1_000)


def _each(judge: Callable[[VerifiedGrant, Facts], Code | None]) -> Callable[[VerifiedBundle, Facts], Code | None]:
    """Ask of every signer's grant: of two operators both must hold."""

    def judge_all(bundle: VerifiedBundle, facts: Facts) -> Code | None:
        code = judge(bundle.proof, facts)
        if code is None and bundle.second is not None:
            return judge(bundle.second, facts)
        return code

    return judge_all


def _refusing(judge: Callable[[VerifiedBundle, Facts], Code | None]) -> Guard:
    def guard(bundle: VerifiedBundle, facts: Facts) -> Denied | None:
        code = judge(bundle, facts)
        return None if code is None else Denied(code=code)

    return guard


def _counting(judge: Callable[[VerifiedBundle, Facts], Code | None]) -> Guard:
    """Refuse, and let it count towards the lock-out: nobody but the signer can have brought it this far."""

    def guard(bundle: VerifiedBundle, facts: Facts) -> Denied | None:
        code = judge(bundle, facts)
        if code is None:
            return None
        counts = not bundle.is_emergency
        return Denied(code=code, lockout=after_refusal(facts.lockout, facts.time.lo_ms) if counts else None)

    return guard


Guard = Callable[["VerifiedBundle", "Facts"], "Verdict | None"]
"""Returns what settles the command, or None: the next one is asked."""

GUARDS: Final[tuple[tuple[Check, Guard], ...]] = (
    # Before the audience: what was answered once is answered the same again, whatever the answer was.
    (Check.SEEN, lambda bundle, facts: judge_seen(facts.seen, bundle.command_sha256)),
    (Check.AUDIENCE, _refusing(_judge_audience)),
    (
        Check.FRESHNESS,
        _refusing(
            lambda bundle, facts: judge_freshness(bundle.command.action, bundle.command.freshness, facts.freshness)
        ),
    ),
    (Check.LIFE, _refusing(_each(lambda proof, _: judge_life(proof)))),
    (
        Check.TIER,
        _refusing(_each(lambda proof, facts: judge_tier(facts.tier, proof, installer_cti=facts.installer_cti))),
    ),
    (Check.TIME, _refusing(_each(lambda proof, facts: judge_times(proof, facts.time)))),
    (Check.KEYSET, _refusing(_each(_judge_keyset_age))),
    (Check.REVOCATION, _refusing(_each(lambda proof, facts: judge_revocation(proof, facts.state)))),
    (Check.LOCKOUT, _judge_lockout),
    (Check.RIGHTS, _counting(lambda bundle, _: _judge_rights(bundle))),
    (Check.EMERGENCY, _refusing(_judge_emergency)),
    (Check.WINDOW, _counting(_each(lambda proof, facts: _judge_window(proof, facts.time)))),
    (Check.USES, _counting(_each(_judge_uses))),
)
"""The order of the decision, one row a reason to say no; the rate comes last, and is what permits."""
