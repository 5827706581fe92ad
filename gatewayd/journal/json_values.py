"""Bytes and counts of a journal as members of JSON, read back strictly: in an exported file, on the control socket."""

from __future__ import annotations

import base64


def text_of(value: bytes) -> str:
    """Return bytes in base64 (RFC 4648 §4)."""
    return base64.b64encode(value).decode()


def optional_text_of(value: bytes | None) -> str | None:
    """Return bytes in base64, and None for null."""
    return None if value is None else text_of(value)


def bytes_of(value: str) -> bytes:
    """Return the bytes.

    Raises:
        ValueError: not base64.
        TypeError: not a text.
    """
    return base64.b64decode(value, validate=True)


def optional_bytes_of(value: str | None) -> bytes | None:
    """Return the bytes, or None for null; raises as `bytes_of`."""
    return None if value is None else bytes_of(value)


def count_of(value: object) -> int:
    """Return a whole number from 0.

    Raises:
        ValueError: something else; true is no number either.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("not a count")
    return value
