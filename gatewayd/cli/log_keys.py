"""Whose signatures a journal must bear: read from signed objects, verified up to the pinned root keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_protocol.chains import open_by_role, verify_keyset
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.orders import Door
from firmware_protocol.vocabulary import Role
from gatewayd.journal.verification import Keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd.store.inspection import StoredTrust


def keys_of(trust: StoredTrust, roots: Sequence[bytes]) -> tuple[Keys, str | None]:
    """Return the keys, and what is not checked for want of one (None: everything is)."""
    if not roots:
        return Keys(), "no root keys are pinned here: signatures are not checked"
    if trust.keyset is None:
        return Keys(), "nothing has been provisioned: signatures are not checked"
    try:
        keyset = verify_keyset(trust.keyset, roots=roots)
        doors = [open_by_role(Door, raw, keyset=keyset, role=Role.STATUS) for raw in trust.doors]
    except RemoteProtocolError as error:
        return Keys(), f"the keys are not borne out by the pinned roots ({error.detail}): signatures are not checked"
    receipt = keyset.roles.get(Role.RECEIPT)
    keys = Keys(
        gateway=doors[0].gateway_identity_key if doors else None,
        receipt=() if receipt is None else receipt.keys,
        locks={door.lock_id: door.lock_log_key for door in doors},
    )
    return keys, None if doors else "no lock has been provisioned: the gateway's signatures are not checked"
