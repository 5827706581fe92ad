"""The short id of a bug report: read over the telephone, and found again in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gatewayd.channel import Entropy

ID_ALPHABET: Final = "23456789BCDFGHJKMNPQRTVWXZ"
"""No letter that is heard or read as another sign, and no vowel, so that chance spells no word."""
ID_SIZE: Final = 8


def new_id(entropy: Entropy) -> str:
    """Return a fresh one, in two halves: `K7M2-9QXD`."""
    signs = "".join(ID_ALPHABET[int.from_bytes(entropy.token(4), "big") % len(ID_ALPHABET)] for _ in range(ID_SIZE))
    return f"{signs[:4]}-{signs[4:]}"
