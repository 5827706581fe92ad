"""Keys as installers have them: 32 bytes raw, hex or base64."""

from __future__ import annotations

import base64
from typing import Final

KEY_SIZE: Final = 32
KEY_FILE_SIZE_MAX: Final = 4_096
"""Longest file with one key or a password, in bytes."""
_HEX_SIZE: Final = 2 * KEY_SIZE
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")


def read_key(content: bytes) -> bytes:
    """Return the key in `content`: 32 raw bytes, or text as for `read_key_text`.

    Raises:
        ValueError: it is neither; the message says what it is and holds nothing of it.
    """
    return _not_blank(content) if len(content) == KEY_SIZE else read_key_text(content)


def read_key_text(text: bytes) -> bytes:
    """Return the key in `text`: hex or base64 (either alphabet, padded or not) of 32 bytes.

    Raises:
        ValueError: as `read_key`.
    """
    digits = text.strip()
    try:
        key = bytes.fromhex(digits.decode("ascii")) if len(digits) == _HEX_SIZE else _from_base64(digits)
    except ValueError:  # binascii.Error and UnicodeDecodeError are some
        key = b""
    if len(key) != KEY_SIZE:
        raise ValueError(f"is no key: {len(digits)} characters, where hex has 64 and base64 43 or 44")
    return _not_blank(key)


def _not_blank(key: bytes) -> bytes:
    if not any(key):
        raise ValueError("is all zeros: a file that was made and never written")
    return key


def _from_base64(text: bytes) -> bytes:
    bare = text.rstrip(b"=")
    padded = bare + b"=" * (-len(bare) % 4)
    return base64.b64decode(padded.translate(_URL_SAFE), validate=True)
