"""Is this signed object newer and ours? Pure rules for what may replace what we hold.

A broker can withhold, delay and replay. So nothing is replaced by something older, and what is meant
for another gateway is refused before its number is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from firmware_protocol.chains import open_by_role, verify_keyset
from firmware_protocol.codes import Code
from firmware_protocol.constants import AUTHORITY_STATE_SEQ_STEP_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.signed import SignedMap
from firmware_protocol.statements import AuthorityState
from firmware_protocol.tokens import Authority, Grant, Keyset
from firmware_protocol.vocabulary import Role, blinded_lock
from gatewayd.access.validity import judge_end, judge_issue, judge_life

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from firmware_protocol.chains import VerifiedGrant
    from gatewayd.timekeeping import TimeInterval

S = TypeVar("S", bound=SignedMap)


def newer_keyset(data: bytes, *, held: Keyset | None, roots: Sequence[bytes]) -> Keyset | None:
    """Return the Keyset in `data`, or None where it is not newer than the held one.

    Any higher version by the pinned roots is taken: after a year in a drawer there is no chain to walk.

    Raises:
        RemoteProtocolError: not signed by two pinned roots, or malformed.
    """
    keyset = verify_keyset(data, roots=roots)
    return keyset if held is None or keyset.version > held.version else None


def newer_state(
    data: bytes, *, held: AuthorityState | None, keyset: Keyset, gateway_id: bytes
) -> AuthorityState | None:
    """Return the AuthorityState in `data`, or None where it is not newer than the held one.

    Raises:
        RemoteProtocolError: WRONG_AUDIENCE for another gateway's; SUPERSEDED for a leap beyond 65 536
            (one use of a stolen key must not burn the counter), also to a Keyset that is not here yet;
            not signed by the status role; malformed.
    """
    state = open_by_role(AuthorityState, data, keyset=keyset, role=Role.STATUS)
    if state.audience != (gateway_id,):
        raise RemoteProtocolError(Code.WRONG_AUDIENCE, "an authority state for another gateway")
    if state.keyset_version > keyset.version:
        # It would stand above every state of the Keysets in between, whoever signs them.
        raise RemoteProtocolError(Code.SUPERSEDED, "an authority state of a keyset that is not here yet")
    if held is None:
        return state
    if (state.keyset_version, state.seq) <= (held.keyset_version, held.seq):
        return None
    if state.keyset_version == held.keyset_version and state.seq - held.seq > AUTHORITY_STATE_SEQ_STEP_MAX:
        raise RemoteProtocolError(Code.SUPERSEDED, "an authority state that leaps ahead")
    return state


def open_held(kind: type[S], data: bytes, *, keysets: Sequence[Keyset], role: Role) -> S:
    """Return an object that was verified when it was taken in, under whichever of our Keysets was in force then.

    A role's key is replaced, and what it signed before still names our doors: a gateway must not forget its locks at
    the next start because the status role has a new key. For what grants a right this is not enough.

    Raises:
        RemoteProtocolError: none of `keysets`, newest first, bears it out.
    """
    refusal = RemoteProtocolError(Code.UNKNOWN_SIGNER, "no keyset has been provisioned")
    for keyset in keysets:
        try:
            return open_by_role(kind, data, keyset=keyset, role=role)
        except RemoteProtocolError as error:
            refusal = error
    raise refusal


def held_state(data: bytes, *, keysets: Sequence[Keyset], gateway_id: bytes) -> tuple[AuthorityState | None, bool]:
    """Return the state that was taken in under one of `keysets`, newest first, and whether the newest bears it out.

    A new key of the status role lifts no denial; only, what its earlier key has signed proves nothing of the present.

    Raises:
        RemoteProtocolError: none of them bears it out.
    """
    refusal = RemoteProtocolError(Code.UNKNOWN_SIGNER, "no keyset has been provisioned")
    for place, keyset in enumerate(keysets):
        try:
            return newer_state(data, held=None, keyset=keyset, gateway_id=gateway_id), place == 0
        except RemoteProtocolError as error:
            refusal = error
    raise refusal


def judge_keeping(
    proof: VerifiedGrant, *, gateway_id: bytes, lock_ids: Iterable[bytes], time: TimeInterval
) -> Code | None:
    """Return why a grant is not worth keeping for later, or None."""
    grant, authority = proof.grant, proof.authority
    if not isinstance(grant, Grant) or (authority is not None and authority.gateway_id != gateway_id):
        return Code.WRONG_AUDIENCE
    allowed = [lock_id for lock_id in lock_ids if authority is None or lock_id in authority.lock_ids]
    if not any(blinded_lock(grant.cti, lock_id) in grant.locks for lock_id in allowed):
        return Code.WRONG_AUDIENCE
    return judge_life(proof) or judge_issue(proof, time) or judge_end(proof, time)


def own_authority(data: bytes, *, keyset: Keyset, gateway_id: bytes) -> Authority:
    """Return the Authority in `data`.

    Raises:
        RemoteProtocolError: WRONG_AUDIENCE for another gateway's; not signed by the authority role; malformed.
    """
    authority = open_by_role(Authority, data, keyset=keyset, role=Role.AUTHORITY)
    if authority.gateway_id != gateway_id:
        raise RemoteProtocolError(Code.WRONG_AUDIENCE, "an authority for another gateway")
    return authority
