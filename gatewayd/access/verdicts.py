"""What a decision can be. A refusal is a value with its reason; a fault would be an exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_protocol.codes import Code
    from gatewayd.access.lockout import Lockout
    from gatewayd.access.uses import Use


@dataclass(frozen=True, slots=True, kw_only=True)
class Permitted:
    """The bolt may move, once the reservation is durable."""

    buckets: Mapping[str, int]
    """New states of the rate limits, to be written in the reservation's transaction."""
    use: Use | None = None
    """The use of the grant that this is, where uses are limited; to be written with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """The bolt stays; the signer is told why."""

    code: Code
    retry_after_s: int | None = None
    lockout: Lockout | None = None
    """What is to be remembered of the signer, where this refusal counts towards the lock-out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """These very bytes were decided before: the recorded receipt is the answer, and nothing moves."""

    receipt: bytes


Verdict = Permitted | Denied | Repeated
