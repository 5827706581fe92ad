"""What `gatewayd grants` asks and is answered: who may open, and which revocations are in force."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

GRANT_PAGE_COUNT: Final = 200
"""Most grants in one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantLine:
    """A grant that is kept for use without internet."""

    sha256: str
    """Of the signed grant, in hex."""
    cti: str
    provider: str
    subject: str
    """Pseudonym of the holder."""
    holder: str
    """Kid of the holder's key."""
    rights: tuple[str, ...]
    offline_class: str
    exp_s: int
    windows: tuple[tuple[int, int], ...]
    use_count: int
    use_count_max: int | None
    """None: not limited."""
    revoked: bool
    """By the AuthorityState in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantPage:
    """Grants in the order of their hashes."""

    grants: tuple[GrantLine, ...]
    more: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityLine:
    """A provider that may grant here."""

    provider: str
    cti: str
    iat_s: int
    exp_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftDocument:
    """What of its rights this gateway has in force: to be held against what the office has signed last."""

    gateway_id: str
    tier: str
    keyset_version: int | None
    state_keyset_version: int | None
    """None, with the three below: no AuthorityState is held."""
    state_seq: int | None
    state_sha256: str | None
    """Of the signed AuthorityState: the office knows it by this."""
    state_iat_s: int | None
    state_due_s: int | None
    """The next one was promised for this second."""
    state_current: bool
    """Whether the Keyset in force bears it out and no repair has put it in doubt."""
    revoked_kids: tuple[str, ...]
    revoked_ctis: tuple[str, ...]
    provider_iat_min_s: tuple[tuple[str, int], ...]
    authorities: tuple[AuthorityLine, ...]
    grant_count: int
    now_lo_s: int
    """The gateway's own time is not before this."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


class RightsSource(Protocol):
    """Whoever knows who may open."""

    async def grants(self, after: bytes) -> GrantPage:
        """Return a page of grants, those behind the hash `after`.

        Raises:
            GatewayError: they cannot be read now.
        """

    def drift(self) -> DriftDocument:
        """Return which revocations are in force."""
