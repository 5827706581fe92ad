"""One search for one lock: where it is known to be, and where that is only remembered, anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.constants import SERVICE_UUID
from gatewayd.link.patience import radio_patience
from gatewayd.link.radio import RadioCode, RadioError

if TYPE_CHECKING:
    from gatewayd.link.radio import Radio, Sighting

SCAN_MS_MAX: Final = 10_000
"""Longest search, in milliseconds: a lock advertises at least once a second."""
REMEMBERED_MS_MAX: Final = 4_000
"""So much of it is for the address at which the lock answered last, in milliseconds: a lock that is not heard there by
then has another one, as after a change of its batteries."""


async def look_for(radio: Radio, address: str | None, *, heard_at: str | None) -> Sighting:
    """Listen at `address`; where none is set, first at `heard_at`, and then for any lock.

    Raises:
        RadioUnavailable: there is no radio to listen with.
        RadioError: `radio.not_found`.
    """
    left_ms = SCAN_MS_MAX
    if address is None and heard_at is not None:
        left_ms -= REMEMBERED_MS_MAX
        try:
            return await _find(radio, heard_at, REMEMBERED_MS_MAX)
        except RadioError as error:
            if error.code != RadioCode.NOT_FOUND:
                raise
    return await _find(radio, address, left_ms)


async def _find(radio: Radio, address: str | None, timeout_ms: int) -> Sighting:
    async with radio_patience(timeout_ms, RadioCode.NOT_FOUND):
        return await radio.find(SERVICE_UUID, address, timeout_ms=timeout_ms)
