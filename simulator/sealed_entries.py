"""The central log opens what a gateway has sealed to it (`gatewayd`'s `mqtt.seal_to`)."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Final

from nacl.exceptions import CryptoError
from nacl.public import SealedBox

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError

if TYPE_CHECKING:
    from nacl.public import PrivateKey

SEALED_TYPE: Final = "carelock.entry.sealed"
_SIZE_MAX: Final = 32_768


def open_entry(payload: bytes, key: PrivateKey | None) -> bytes:
    """Return the inner bytes of a sealed entry; anything else as it is. What is outside counts for nothing.

    Raises:
        RemoteProtocolError: MALFORMED, sealed for somebody else or altered.
    """
    if key is None or len(payload) > _SIZE_MAX:
        return payload
    try:
        outer = json.loads(payload)
        if not isinstance(outer, dict) or outer.get("type") != SEALED_TYPE:
            return payload
        return SealedBox(key).decrypt(base64.b64decode(outer["data_base64"], validate=True))
    except (CryptoError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RemoteProtocolError(Code.MALFORMED, "a sealed entry that does not open") from error
