"""The signed objects that a lock holds: what it verifies orders and bundles by (docs/protocol.md §18, §19)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from firmware_protocol.chains import Known, open_by_role, verify_keyset
from firmware_protocol.codes import Code
from firmware_protocol.constants import AUTHORITY_STATE_SEQ_STEP_MAX
from firmware_protocol.cose import kid_of
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.statements import AuthorityState
from firmware_protocol.tokens import Authority, Keyset
from firmware_protocol.vocabulary import Parcel, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

AUTHORITY_COUNT_MAX: Final = 16
"""Most providers that one lock keeps; the one that came first goes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockTrust:
    """Pinned roots, and what came. Everything is kept as it was received and verified again when it is used."""

    roots: tuple[bytes, ...]
    keyset_raw: bytes = b""
    state_raw: bytes = b""
    authorities: tuple[bytes, ...] = ()

    @property
    def keyset(self) -> Keyset | None:
        """The Keyset, or None."""
        return verify_keyset(self.keyset_raw, roots=self.roots) if self.keyset_raw else None

    @property
    def state(self) -> AuthorityState | None:
        """The AuthorityState, or None where there is none that the Keyset bears out."""
        keyset = self.keyset
        if keyset is None or not self.state_raw:
            return None
        try:
            return open_by_role(AuthorityState, self.state_raw, keyset=keyset, role=Role.STATUS)
        except RemoteProtocolError:
            return None

    def require_keyset(self) -> Keyset:
        """Return the Keyset.

        Raises:
            RemoteProtocolError: UNKNOWN_SIGNER, there is none: nobody is known.
        """
        if (keyset := self.keyset) is None:
            raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "this lock has no keyset")
        return keyset

    def known(self) -> Known:
        """Return what a verifier of bundles needs.

        Raises:
            RemoteProtocolError: UNKNOWN_SIGNER, there is no Keyset.
        """
        keyset = self.require_keyset()
        return Known(keyset=keyset, find_grant=lambda _: None, find_authority=self._by_kid(keyset).get)

    def values(self) -> Mapping[str, bytes | tuple[bytes, ...]]:
        """Return what the flash keeps of it."""
        return {"keyset": self.keyset_raw, "state": self.state_raw, "authorities": self.authorities}

    def admit(self, kind: Parcel, data: bytes, *, gateway_id: bytes) -> LockTrust:
        """Return what is held after an object has come; the same where it is no newer than what is held.

        Raises:
            RemoteProtocolError: it is not what it should be, is for another gateway, or no such object is kept here.
        """
        match kind:
            case Parcel.KEYSET:
                return self._with_keyset(data)
            case Parcel.STATE:
                return self._with_state(data, gateway_id)
            case Parcel.AUTHORITY:
                return self._with_authority(data, gateway_id)
            case _:
                raise RemoteProtocolError(Code.UNSUPPORTED_TYPE, "a lock keeps no such object")

    def _with_keyset(self, data: bytes) -> LockTrust:
        given, held = verify_keyset(data, roots=self.roots), self.keyset
        return replace(self, keyset_raw=data) if held is None or given.version > held.version else self

    def _with_state(self, data: bytes, gateway_id: bytes) -> LockTrust:
        given = open_by_role(AuthorityState, data, keyset=self.require_keyset(), role=Role.STATUS)
        if given.audience != (gateway_id,):
            raise RemoteProtocolError(Code.WRONG_AUDIENCE, "an authority state for another gateway")
        held = self.state
        if held is None:
            return replace(self, state_raw=data)
        if given.keyset_version == held.keyset_version and given.seq > held.seq + AUTHORITY_STATE_SEQ_STEP_MAX:
            raise RemoteProtocolError(Code.SUPERSEDED, "an authority state that leaps ahead")
        is_newer = (given.keyset_version, given.seq) > (held.keyset_version, held.seq)
        return replace(self, state_raw=data) if is_newer else self

    def _with_authority(self, data: bytes, gateway_id: bytes) -> LockTrust:
        keyset = self.require_keyset()
        given = open_by_role(Authority, data, keyset=keyset, role=Role.AUTHORITY)
        if given.gateway_id != gateway_id:
            raise RemoteProtocolError(Code.WRONG_AUDIENCE, "an authority for another gateway")
        held = self._by_kid(keyset)
        kid = kid_of(given.provider_key)
        if kid in held:
            before = open_by_role(Authority, held[kid], keyset=keyset, role=Role.AUTHORITY)
            if before.iat_s >= given.iat_s:
                return self
        others = tuple(raw for other, raw in held.items() if other != kid)
        return replace(self, authorities=(*others, data)[-AUTHORITY_COUNT_MAX:])

    def _by_kid(self, keyset: Keyset) -> dict[bytes, bytes]:
        """Return the Authorities that this Keyset bears out, by the kid of the provider's key."""
        found = {}
        for raw in self.authorities:
            try:
                authority = open_by_role(Authority, raw, keyset=keyset, role=Role.AUTHORITY)
            except RemoteProtocolError:
                continue
            found[kid_of(authority.provider_key)] = raw
        return found
