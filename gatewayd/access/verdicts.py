"""What a decision can be. A refusal is a value with its reason; a fault would be an exception."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_protocol.codes import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Permitted:
    """The bolt may move, once the reservation is durable."""

    buckets: Mapping[str, int]
    """New states of the rate limits, to be written in the reservation's transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """The bolt stays; the signer is told why."""

    code: Code
    retry_after_s: int | None = None
    buckets: Mapping[str, int] = field(default_factory=dict)
    """New states of the lock-out, where this refusal counts towards it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """These very bytes were decided before: the recorded receipt is the answer, and nothing moves."""

    receipt: bytes


Verdict = Permitted | Denied | Repeated
