"""Who this gateway is: its keys and its ids."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from firmware_protocol.cose import id_of

if TYPE_CHECKING:
    from nacl.signing import SigningKey

    from firmware_protocol.noise import KeyPair


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The gateway's two key pairs. Neither is ever printed: `repr` leaves them out."""

    signing_key: SigningKey = field(repr=False)
    """Ed25519: signs receipts, infos and checkpoints."""
    link_keys: KeyPair = field(repr=False)
    """X25519: the gateway's end of every session with a lock or a phone."""

    @property
    def public_key(self) -> bytes:
        """The Ed25519 public key, 32 bytes."""
        return bytes(self.signing_key.verify_key)

    @property
    def gateway_id(self) -> bytes:
        """First 8 bytes of SHA-256(the Ed25519 public key)."""
        return id_of(self.public_key)
