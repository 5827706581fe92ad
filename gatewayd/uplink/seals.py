"""Opens what was sealed to this gateway and seals its answers (docs/protocol.md §21)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from firmware_protocol.noise import DH_SIZE, KeyPair
from firmware_protocol.sealed import SealedBody, is_sealed, seal, unseal

if TYPE_CHECKING:
    from gatewayd.channel import Entropy
    from gatewayd.uplink.seam import Outgoing


class Seals:
    """One gateway's: its link key is the one that Doors name, and so the one that senders know."""

    def __init__(self, *, keys: KeyPair, entropy: Entropy) -> None:
        self._keys = keys
        self._entropy = entropy

    def open(self, data: bytes) -> SealedBody:
        """Return what is inside; what is not sealed is its own inside. It proves nothing either way.

        Raises:
            RemoteProtocolError: it does not open, or holds nothing that it should.
        """
        return unseal(data, self._keys) if is_sealed(data) else SealedBody(payload=data)

    def close(self, message: Outgoing, answer_key: bytes) -> Outgoing:
        """Return an answer as its asker wants it: sealed to this key, or in the clear where it is empty."""
        if not answer_key:
            return message
        ephemeral = KeyPair.from_private(self._entropy.token(DH_SIZE))
        return replace(message, payload=seal(SealedBody(payload=message.payload), to=answer_key, ephemeral=ephemeral))
