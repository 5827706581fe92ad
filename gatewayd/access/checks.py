"""The checks of a decision by name, in their order: what `gatewayd explain` shows, one line each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayd.access.verdicts import Verdict


@unique
class Check(StrEnum):
    """One question that a command must answer well; the names are stable."""

    SIZE = "size"
    """Not longer than a bundle may be."""
    FORM = "form"
    """Signed objects of the right kinds, each in its one encoding."""
    CHAIN = "chain"
    """Every signature from the command up to the Keyset."""
    SEEN = "seen"
    """Never decided before."""
    AUDIENCE = "audience"
    """Meant for this gateway, one of its locks, and the lock that brought it."""
    FRESHNESS = "freshness"
    """Asked for now."""
    LIFE = "life"
    """No longer a life, and no wider a class, than such a grant may have."""
    TIER = "tier"
    """Admitted by how much of the present can be proven."""
    TIME = "time"
    """Begun, and not over."""
    KEYSET = "keyset"
    """Under a Keyset that still serves such a grant."""
    REVOCATION = "revocation"
    """Not taken back."""
    LOCKOUT = "lockout"
    """The signer need not wait for earlier refusals."""
    RIGHTS = "rights"
    """The chain permits the action."""
    EMERGENCY = "emergency"
    """An operator acts for an open alarm, or not alone."""
    WINDOW = "window"
    """Within a visit."""
    USES = "uses"
    """Uses are left."""
    RATE = "rate"
    """Not too often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check says of a command; a verdict of None lets the next one speak."""

    check: Check
    verdict: Verdict | None
