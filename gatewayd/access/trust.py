"""Is this signed object newer and ours? Pure rules for what may replace what we hold.

A broker can withhold, delay and replay. So nothing is replaced by something older, and what is meant
for another gateway is refused before its number is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_protocol.chains import open_by_role, verify_keyset
from firmware_protocol.codes import Code
from firmware_protocol.constants import AUTHORITY_STATE_SEQ_STEP_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.statements import AuthorityState
from firmware_protocol.tokens import Authority, Keyset
from firmware_protocol.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Sequence


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
            (one use of a stolen key must not burn the counter); not signed by the status role; malformed.
    """
    state = open_by_role(AuthorityState, data, keyset=keyset, role=Role.STATUS)
    if state.audience != (gateway_id,):
        raise RemoteProtocolError(Code.WRONG_AUDIENCE, "an authority state for another gateway")
    if held is None:
        return state
    if (state.keyset_version, state.seq) <= (held.keyset_version, held.seq):
        return None
    if state.keyset_version == held.keyset_version and state.seq - held.seq > AUTHORITY_STATE_SEQ_STEP_MAX:
        raise RemoteProtocolError(Code.SUPERSEDED, "an authority state that leaps ahead")
    return state


def own_authority(data: bytes, *, keyset: Keyset, gateway_id: bytes) -> Authority:
    """Return the Authority in `data`.

    Raises:
        RemoteProtocolError: WRONG_AUDIENCE for another gateway's; not signed by the authority role; malformed.
    """
    authority = open_by_role(Authority, data, keyset=keyset, role=Role.AUTHORITY)
    if authority.gateway_id != gateway_id:
        raise RemoteProtocolError(Code.WRONG_AUDIENCE, "an authority for another gateway")
    return authority
