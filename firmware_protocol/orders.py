"""How keys and homes enter: PairingOrder, DecommissionOrder, Door (docs/protocol.md §4)."""

from __future__ import annotations

from typing import ClassVar

from firmware_protocol.constants import ID_SIZE
from firmware_protocol.schema import Text, octets, uint, wire, wire_field
from firmware_protocol.signed import SignedMap
from firmware_protocol.vocabulary import CTI_SIZE, KEY_SIZE


@wire
class PairingOrder(SignedMap):
    """This lock belongs to this gateway from now on; signed by the pairing role."""

    DOMAIN: ClassVar[str] = "pair"

    lock_id: bytes = octets(0, ID_SIZE)
    lock_link_key_fingerprint: bytes = octets(1, 16)
    """First 16 bytes of SHA-256(the lock's X25519 key)."""
    gateway_id: bytes = octets(2, ID_SIZE)
    gateway_link_key: bytes = octets(3, KEY_SIZE)
    """X25519 public key."""
    gateway_identity_key: bytes = octets(4, KEY_SIZE)
    """Ed25519 public key."""
    owner_epoch: int = uint(5, value_min=1)
    """Rises with every pairing; accepted only where `stored < new <= stored + 65 536`."""
    installer_grant_cti: bytes = octets(6, CTI_SIZE)
    iat_s: int = uint(7)
    exp_s: int = uint(8)


@wire
class DecommissionOrder(SignedMap):
    """This lock leaves this gateway; signed by the pairing role."""

    DOMAIN: ClassVar[str] = "unpair"

    lock_id: bytes = octets(0, ID_SIZE)
    gateway_id: bytes = octets(1, ID_SIZE)
    owner_epoch: int = uint(2, value_min=1)
    exp_s: int = uint(3)


@wire
class Door(SignedMap):
    """What a phone or a gateway needs to talk to this door in private; signed by the status role."""

    DOMAIN: ClassVar[str] = "door"

    lock_id: bytes = octets(0, ID_SIZE)
    gateway_id: bytes = octets(1, ID_SIZE)
    lock_link_key: bytes = octets(2, KEY_SIZE)
    """X25519 public key."""
    lock_log_key: bytes = octets(3, KEY_SIZE)
    """Ed25519 public key; its hash is the lock's id, and it signs LogHeads."""
    gateway_link_key: bytes = octets(4, KEY_SIZE)
    """X25519 public key; the far end of a phone's Noise_NK."""
    gateway_identity_key: bytes = octets(5, KEY_SIZE)
    """Ed25519 public key; its hash is the gateway's id, and it signs receipts."""
    label: str = wire_field(6, Text(size_max=64))
    """What the carer's app shows; the gateway sends it to nobody."""
