"""How long a grant may live, and whether it holds now. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_protocol.codes import Code
from firmware_protocol.constants import (
    GRANT_LIFE_S_MAX,
    OPERATOR_GRANT_LIFE_S_MAX,
    RESPONDER_GRANT_LIFE_S_MAX,
)
from firmware_protocol.tokens import Grant
from firmware_protocol.vocabulary import OfflineClass

if TYPE_CHECKING:
    from firmware_protocol.chains import VerifiedGrant
    from gatewayd.timekeeping import TimeInterval


def judge_life(proof: VerifiedGrant) -> Code | None:
    """Return TTL_TOO_LONG or RIGHTS for a grant that nobody may give, whenever it is shown; or None."""
    grant, authority = proof.grant, proof.authority
    if not isinstance(grant, Grant):
        return Code.TTL_TOO_LONG if grant.exp_s > grant.iat_s + OPERATOR_GRANT_LIFE_S_MAX else None
    responder = grant.offline_class is OfflineClass.RESPONDER
    life_s_max = RESPONDER_GRANT_LIFE_S_MAX if responder else GRANT_LIFE_S_MAX
    if authority is not None:
        life_s_max = min(life_s_max, authority.grant_life_s_max)
        if grant.offline_class > authority.offline_class_max:
            return Code.RIGHTS
    return Code.TTL_TOO_LONG if grant.exp_s - grant.nbf_s > life_s_max else None


def judge_times(proof: VerifiedGrant, time: TimeInterval) -> Code | None:
    """Return NOT_YET_VALID or EXPIRED, or None for a grant that holds in all of the time interval."""
    return judge_beginning(proof, time) or judge_end(proof, time)


def judge_beginning(proof: VerifiedGrant, time: TimeInterval) -> Code | None:
    """Return NOT_YET_VALID, or None; without trusted time nothing can be said to lie ahead."""
    if not time.trusted or time.hi_s is None:
        return None
    if proof.grant.nbf_s > time.lo_s:
        return Code.NOT_YET_VALID
    return judge_issue(proof, time)


def judge_issue(proof: VerifiedGrant, time: TimeInterval) -> Code | None:
    """Return NOT_YET_VALID for what claims to have been issued later than now, or None."""
    issued_s = proof.grant.iat_s if proof.authority is None else max(proof.grant.iat_s, proof.authority.iat_s)
    is_ahead = time.trusted and time.hi_s is not None and issued_s > time.hi_s
    return Code.NOT_YET_VALID if is_ahead else None


def judge_end(proof: VerifiedGrant, time: TimeInterval) -> Code | None:
    """Return EXPIRED, or None. Without trusted time the lower bound alone is proven: it can only end a right."""
    known_s = time.hi_s if time.trusted and time.hi_s is not None else time.lo_s
    return Code.EXPIRED if proof.exp_s <= known_s else None
