"""Entries that only the central log can read: each one sealed to its X25519 key, under one constant outer type.

A libsodium sealed box: an ephemeral key each, so that nobody, this gateway included, opens it again. The outer event
says whose it is and which number it has, and nothing else; what counts is inside. The tree is over the inner bytes.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Final

from nacl.exceptions import CryptoError
from nacl.public import PublicKey, SealedBox

from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from firmware_protocol.topics import Topics

SEALED_TYPE: Final = "carelock.entry.sealed"
SEAL_KEY_UNUSABLE: Final = "seal.key_unusable"


class Sealer:
    """Seals for one central log."""

    def __init__(self, key: bytes, *, topics: Topics, log_id: bytes) -> None:
        """`key`: the log's X25519 public key, 32 bytes.

        Raises:
            GatewayError: seal.key_unusable, a point that everybody can open for.
        """
        self._box = SealedBox(PublicKey(key))
        self._source = f"/gateways/{topics.gateway}"
        self._log_id = log_id.hex()
        try:
            self._box.encrypt(b"")  # libsodium refuses points of small order
        except (CryptoError, RuntimeError) as error:
            raise GatewayError(SEAL_KEY_UNUSABLE, "mqtt.seal_to is no key of anybody's") from error

    def __call__(self, index: int, leaf: bytes) -> bytes:
        """Return what is published in place of entry `index`."""
        outer = {
            "data_base64": base64.b64encode(self._box.encrypt(leaf)).decode(),
            "datacontenttype": "application/octet-stream",
            "id": f"{self._log_id}/{index}",
            "source": self._source,
            "specversion": "1.0",
            "type": SEALED_TYPE,
        }
        return json.dumps(outer, separators=(",", ":"), sort_keys=True).encode()
