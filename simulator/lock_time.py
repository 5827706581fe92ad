"""What a lock knows of the time: a floor that signatures raise, and the interval of the last CONFIRM (§19, §20)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.checkpoint import verify_cosignature
from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.errands import TimeState
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.tokens import Keyset
    from simulator.flash import Flash

DRIFT_PPM: Final = 100
"""How far the lock's clock may run fast or slow."""
_RECEIPT_NAME: Final = "carelock/receipt/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """UTC lies in `[lo_s, hi_s]`; without an upper end only `lo_s` is proven."""

    lo_s: int
    hi_s: int | None = None
    age_s: int | None = None
    """Since the interval was given; there with `hi_s`."""


@dataclass(frozen=True, slots=True)
class _Given:
    lo_s: int
    hi_s: int
    at_ms: int


class LockTime:
    """The time of one boot. The floor is in the flash and never falls; the interval goes with the power."""

    def __init__(self, flash: Flash, up_ms: Callable[[], int]) -> None:
        self._flash = flash
        self._up_ms = up_ms
        self._given: _Given | None = None

    def take_interval(self, lo_s: int, hi_s: int) -> bool:
        """Take the interval of a CONFIRM; False where it ends before what signatures have proven."""
        if hi_s < self._flash.values.time_floor_s:
            return False
        self._given = _Given(lo_s, hi_s, self._up_ms())
        return True

    def now(self) -> Present:
        """Return what is known now."""
        floor_s = self._flash.values.time_floor_s
        given = self._given
        if given is None:
            return Present(lo_s=floor_s)
        elapsed_ms = self._up_ms() - given.at_ms
        drift_ms = elapsed_ms * DRIFT_PPM // 1_000_000 + 1
        lo_s = max(floor_s, given.lo_s + (elapsed_ms - drift_ms) // 1_000)
        hi_s = given.hi_s + -(-(elapsed_ms + drift_ms) // 1_000)
        if hi_s < lo_s:
            return Present(lo_s=floor_s)
        return Present(lo_s=lo_s, hi_s=hi_s, age_s=elapsed_ms // 1_000)

    def raised(self, utc_s: int) -> dict[str, int]:
        """Return what the flash has to write so that the time is known to have come so far."""
        return {"time_floor_s": utc_s} if utc_s > self._flash.values.time_floor_s else {}

    def state(self) -> TimeState:
        """Return the answer to a TimeGet."""
        present = self.now()
        return TimeState(utc_lo_s=present.lo_s, utc_hi_s=present.hi_s, age_s=present.age_s, up_ms=self._up_ms())


def receipt_time_s(receipt: bytes, *, keyset: Keyset, gateway_id: bytes) -> int:
    """Return the second that the central log has cosigned over a checkpoint of this gateway's.

    Raises:
        RemoteProtocolError: UNKNOWN_SIGNER, WRONG_AUDIENCE or malformed.
    """
    held = keyset.roles.get(Role.RECEIPT)
    for key in () if held is None else held.keys:
        try:
            seen = verify_cosignature(receipt, name=f"{_RECEIPT_NAME}{kid_of(key).hex()}", public=key)
        except RemoteProtocolError:
            continue
        if not seen.checkpoint.origin.startswith(f"carelock/{gateway_id.hex()}/"):
            raise RemoteProtocolError(Code.WRONG_AUDIENCE, "a receipt for another gateway")
        return seen.time_s
    raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "nobody of the receipt role has signed this")
