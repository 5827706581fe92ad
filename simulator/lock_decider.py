"""The decision of a lock that is alone: a verified bundle and what the lock knows in, a code out (§19). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_protocol.codes import Code
from firmware_protocol.constants import GRANT_LIFE_S_MAX, LOCK_EVIDENCE_AGE_S_MAX, RESPONDER_GRANT_LIFE_S_MAX
from firmware_protocol.tokens import Grant
from firmware_protocol.vocabulary import RIGHT_FOR, OfflineClass, Rights, blinded_lock

if TYPE_CHECKING:
    from collections.abc import Container

    from firmware_protocol.chains import VerifiedBundle, VerifiedGrant
    from firmware_protocol.statements import AuthorityState
    from firmware_protocol.tokens import Keyset
    from simulator.lock_time import Present


@dataclass(frozen=True, slots=True, kw_only=True)
class LoneFacts:
    """Everything that such a decision is made from beside the command."""

    lock_id: bytes
    gateway_id: bytes
    """The owner's."""
    challenge: bytes | None
    """What this phone was given; None once it is used or old."""
    seen_ids: Container[bytes]
    keyset: Keyset
    state: AuthorityState | None
    present: Present
    is_motor_busy: bool


def decide_alone(bundle: VerifiedBundle, facts: LoneFacts) -> Code:  # noqa: PLR0911 - one guard, one reason
    """Return PERMITTED, or why not."""
    command, proof = bundle.command, bundle.proof
    if not _is_for_us(bundle, facts):
        return Code.WRONG_AUDIENCE
    if command.command_id in facts.seen_ids:
        return Code.DUPLICATE
    if facts.challenge is None or command.challenge != facts.challenge:
        return Code.CHALLENGE_UNKNOWN
    grant = proof.grant
    if not isinstance(grant, Grant):
        return Code.TIER  # whether an alarm is open, the gateway knew
    if code := _judge_grant(grant, proof, facts):
        return code
    rights = proof.rights & Rights.UNLOCK if grant.offline_class is OfflineClass.RESPONDER else proof.rights
    if RIGHT_FOR[command.action] not in rights:
        return Code.RIGHTS
    if not _in_window(grant, facts.present):
        return Code.OUTSIDE_WINDOW
    return Code.BUSY if facts.is_motor_busy else Code.PERMITTED


def _is_for_us(bundle: VerifiedBundle, facts: LoneFacts) -> bool:
    command, grant, authority = bundle.command, bundle.proof.grant, bundle.proof.authority
    if (command.lock_id, command.gateway_id) != (facts.lock_id, facts.gateway_id):
        return False
    if isinstance(grant, Grant) and blinded_lock(grant.cti, facts.lock_id) not in grant.locks:
        return False
    return authority is None or (authority.gateway_id == facts.gateway_id and facts.lock_id in authority.lock_ids)


def _judge_grant(grant: Grant, proof: VerifiedGrant, facts: LoneFacts) -> Code | None:
    if code := _judge_life(grant, proof):
        return code
    if code := _judge_evidence(grant, facts):
        return code
    if code := _judge_times(grant, proof, facts):
        return code
    return _judge_revocation(grant, proof, facts.state)


def _judge_life(grant: Grant, proof: VerifiedGrant) -> Code | None:
    is_responder = grant.offline_class is OfflineClass.RESPONDER
    life_s_max = RESPONDER_GRANT_LIFE_S_MAX if is_responder else GRANT_LIFE_S_MAX
    if proof.authority is not None:
        life_s_max = min(life_s_max, proof.authority.grant_life_s_max)
        if grant.offline_class > proof.authority.offline_class_max:
            return Code.RIGHTS
    return Code.TTL_TOO_LONG if grant.exp_s - grant.nbf_s > life_s_max else None


def _judge_evidence(grant: Grant, facts: LoneFacts) -> Code | None:
    match grant.offline_class:
        case OfflineClass.RESPONDER:
            return None
        case OfflineClass.ONLINE:
            return Code.TIER
        case OfflineClass.SHIFT:
            return None if _is_recent(facts) and grant.use_count_max is None else Code.TIER


def _is_recent(facts: LoneFacts) -> bool:
    """Tell whether the lock's copies are young enough to let a shift in."""
    present, state = facts.present, facts.state
    if present.hi_s is None or present.age_s is None or state is None:
        return False
    return present.age_s <= LOCK_EVIDENCE_AGE_S_MAX and present.hi_s - state.iat_s <= LOCK_EVIDENCE_AGE_S_MAX


def _judge_times(grant: Grant, proof: VerifiedGrant, facts: LoneFacts) -> Code | None:
    present = facts.present
    if present.hi_s is None:
        return Code.EXPIRED if proof.exp_s <= present.lo_s else None
    issued_s = grant.iat_s if proof.authority is None else max(grant.iat_s, proof.authority.iat_s)
    if issued_s > present.hi_s or grant.nbf_s > present.lo_s:
        return Code.NOT_YET_VALID
    is_keyset_old = facts.keyset.exp_s <= present.hi_s and grant.offline_class is not OfflineClass.RESPONDER
    return Code.EXPIRED if proof.exp_s <= present.hi_s or is_keyset_old else None


def _judge_revocation(grant: Grant, proof: VerifiedGrant, state: AuthorityState | None) -> Code | None:
    if state is None:
        return Code.TIER if grant.state_seq_min > 0 else None
    if not set(state.revoked_kids).isdisjoint(proof.kids) or not set(state.revoked_ctis).isdisjoint(proof.ctis):
        return Code.REVOKED
    if grant.iat_s < dict(state.provider_iat_min_s).get(grant.issuer, 0):
        return Code.REVOKED
    return Code.TIER if grant.state_seq_min > state.seq else None


def _in_window(grant: Grant, present: Present) -> bool:
    if present.hi_s is None:
        return any(present.lo_s < end for _, end in grant.windows)
    return any(start <= present.lo_s and present.hi_s < end for start, end in grant.windows)
