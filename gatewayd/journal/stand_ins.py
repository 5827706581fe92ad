"""What goes out in the place of an entry whose words were erased: its hash, and who has held the words. Pure.

It is not an entry and has no place in the tree: the tree goes on having the entry's own hash.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from firmware_protocol.erased import ERASED_TYPE

if TYPE_CHECKING:
    from nacl.signing import SigningKey

    from firmware_protocol.erased import ErasedEntry


def stand_in(entry: ErasedEntry, *, gateway_id: bytes, log_id: bytes, receipt: bytes, key: SigningKey) -> bytes:
    """Return the bytes; `receipt`: a cosigned checkpoint over more than the entry, by which the words were received.

    Attack: a gateway that gave a hash for what it never told. Without such a receipt no central log takes it.
    """
    event = {
        "data": {"note": entry.sign(key).decode(), "receipt": receipt.decode()},
        "datacontenttype": "application/json",
        "id": f"{log_id.hex()}/{entry.index}",
        "source": f"/gateways/{gateway_id.hex()}",
        "specversion": "1.0",
        "type": ERASED_TYPE,
    }
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
