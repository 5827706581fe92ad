"""How much of the present the gateway can prove, and what that admits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_protocol.codes import Code
from firmware_protocol.constants import GRANT_LIFE_S_MAX
from firmware_protocol.tokens import Grant
from firmware_protocol.vocabulary import OfflineClass, Tier

if TYPE_CHECKING:
    from firmware_protocol.chains import VerifiedGrant
    from firmware_protocol.statements import AuthorityState
    from gatewayd.timekeeping import TimeInterval


def tier_of(*, time: TimeInterval, state: AuthorityState | None, suspect: bool) -> Tier:
    """Return the tier that this evidence supports; the worst reason wins."""
    if suspect:
        return Tier.SUSPECT
    if not time.trusted or time.hi_s is None:
        return Tier.COLD
    if state is None or state.exp_s <= time.hi_s or state.iat_s > time.hi_s:
        return Tier.STALE  # also where it is dated ahead: it would pass for fresh until then
    return Tier.FRESH


def judge_tier(tier: Tier, proof: VerifiedGrant, *, installer_cti: bytes | None) -> Code | None:
    """Return TIER where this tier does not admit such a grant, or None.

    The alarm centre is admitted in every tier: the age of what we know must not stop a rescue. Whoever pairs a lock
    in a home without internet may try it: `installer_cti` names that one grant, for as long as it may.
    """
    if not isinstance(proof.grant, Grant):
        return None
    if tier is Tier.COLD and proof.grant.cti == installer_cti:
        return None
    admitted = {
        Tier.FRESH: OfflineClass.ONLINE,
        Tier.STALE: OfflineClass.SHIFT,
        Tier.COLD: OfflineClass.RESPONDER,
        Tier.SUSPECT: OfflineClass.RESPONDER,
    }[tier]
    if proof.grant.offline_class < admitted:
        return Code.TIER
    return Code.TIER if tier is Tier.STALE and _is_old_news(proof.grant) else None


def _is_old_news(grant: Grant) -> bool:
    """Tell whether a shift grant was issued so early that it says little of its holder today.

    Attack: a phone with next week's grants is stolen, and the home is kept offline. Where no revocation may have
    arrived the grant is itself the evidence that somebody still trusted its holder, and counts for a day (ADR 22).
    """
    return grant.offline_class is OfflineClass.SHIFT and grant.exp_s - grant.iat_s > GRANT_LIFE_S_MAX
