"""Whose lock this is: which signed orders take effect, and when (docs/protocol.md §18)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_protocol.chains import open_by_role
from firmware_protocol.codes import Code
from firmware_protocol.constants import OWNER_EPOCH_STEP_MAX
from firmware_protocol.cose import id_of
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.orders import DecommissionOrder, PairingOrder
from firmware_protocol.pairing import link_key_fingerprint
from firmware_protocol.vocabulary import Role

if TYPE_CHECKING:
    from firmware_protocol.tokens import Keyset

Order = PairingOrder | DecommissionOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """What a lock knows when an order is committed."""

    lock_id: bytes
    link_key: bytes
    """The lock's own X25519 public key."""
    owner_epoch: int
    """Of the last order that took effect; 0 before any."""
    gateway_id: bytes | None
    """The owner's; None where the lock belongs to nobody."""
    peer_key: bytes | None
    """The X25519 key of whoever pairs, proven by the handshake; None in a session of the owner's."""
    utc_lo_s: int
    """The time has come at least so far, as far as the lock can know."""


def open_order(data: bytes, *, keyset: Keyset) -> Order:
    """Return the order in `data`, signed by the role PAIRING.

    Raises:
        RemoteProtocolError: neither a PairingOrder nor a DecommissionOrder: UNKNOWN_SIGNER, BAD_SIGNATURE or malformed.
    """
    try:
        return open_by_role(PairingOrder, data, keyset=keyset, role=Role.PAIRING)
    except RemoteProtocolError as error:
        if error.code is not Code.BAD_SIGNATURE:
            raise
    # The domain is under the signature, so an order of one kind never verifies as the other.
    return open_by_role(DecommissionOrder, data, keyset=keyset, role=Role.PAIRING)


def judge_order(order: Order, known: Ownership) -> Code | None:
    """Return why an order must not take effect, or None."""
    if order.lock_id != known.lock_id:
        return Code.WRONG_AUDIENCE
    if not known.owner_epoch < order.owner_epoch <= known.owner_epoch + OWNER_EPOCH_STEP_MAX:
        return Code.OWNER_EPOCH
    if isinstance(order, PairingOrder):
        if code := _judge_pairing(order, known):
            return code
    elif order.gateway_id != known.gateway_id or known.peer_key is not None:
        return Code.WRONG_AUDIENCE
    return Code.EXPIRED if order.exp_s <= known.utc_lo_s else None


def _judge_pairing(order: PairingOrder, known: Ownership) -> Code | None:
    if order.lock_link_key_fingerprint != link_key_fingerprint(known.link_key):
        return Code.WRONG_AUDIENCE
    if order.gateway_id != id_of(order.gateway_identity_key):
        return Code.WRONG_AUDIENCE
    if known.peer_key is not None:
        return None if order.gateway_link_key == known.peer_key else Code.WRONG_AUDIENCE
    # In a session the owner hands the order over for itself: it may change its keys, not give the lock away.
    return None if order.gateway_id == known.gateway_id else Code.WRONG_AUDIENCE
