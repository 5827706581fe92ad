"""What has been taken back: by key, by numbered object, by provider and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_protocol.codes import Code
from firmware_protocol.tokens import Grant

if TYPE_CHECKING:
    from firmware_protocol.chains import VerifiedGrant
    from firmware_protocol.statements import AuthorityState


def judge_revocation(proof: VerifiedGrant, state: AuthorityState | None) -> Code | None:
    """Return REVOKED, TIER where the grant asks for a newer state than we hold, or None."""
    seq_min = proof.grant.state_seq_min if isinstance(proof.grant, Grant) else 0
    if state is None:
        return Code.TIER if seq_min > 0 else None
    if not set(state.revoked_kids).isdisjoint(proof.kids) or not set(state.revoked_ctis).isdisjoint(proof.ctis):
        return Code.REVOKED
    if proof.grant.iat_s < dict(state.provider_iat_min_s).get(proof.provider or "", 0):
        return Code.REVOKED
    return Code.TIER if seq_min > state.seq else None
