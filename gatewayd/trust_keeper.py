"""Holds what the gateway trusts: Keyset, Authorities, AuthorityState, grants; takes newer ones in.

Everything is durable before it is used, so that a restart never trusts less evidence than a receipt
has already claimed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_protocol import cose
from firmware_protocol.chains import Known, verify_grant
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.tokens import Grant, Keyset
from firmware_protocol.vocabulary import Role
from gatewayd.access.trust import newer_keyset, newer_state, own_authority
from gatewayd.journal.events import AlertRaised, AuthorityUpdated
from gatewayd.store import trust as rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_protocol.chains import VerifiedGrant
    from firmware_protocol.statements import AuthorityState
    from gatewayd.recorder import Page, Recorder
    from gatewayd.store.store import Store, Transaction
    from gatewayd.timekeeper import TimeKeeper


class TrustKeeper:
    """The one holder of signed objects that decide what is permitted."""

    def __init__(
        self,
        *,
        gateway_id: bytes,
        roots: Sequence[bytes],
        store: Store,
        recorder: Recorder,
        timekeeper: TimeKeeper,
    ) -> None:
        self._gateway_id = gateway_id
        self._roots = tuple(roots)
        self._store = store
        self._recorder = recorder
        self._timekeeper = timekeeper
        self._authorities: dict[bytes, bytes] = {}
        self._grants: dict[bytes, bytes] = {}
        self.keyset: Keyset | None = None
        self.state: AuthorityState | None = None

    async def load(self) -> None:
        """Read what earlier runs have kept, and verify it again: a card can be written to elsewhere.

        Raises:
            StoreError: the store cannot be read.
            RemoteProtocolError: what it holds was not signed by the pinned roots.
        """
        await self._store.run(self._load)

    def _load(self, tx: Transaction) -> None:
        keyset = rows.load_keyset(tx)
        if keyset is None:
            return
        self.keyset = newer_keyset(keyset, held=None, roots=self._roots)
        self._authorities = rows.load_authorities(tx)
        self._grants = rows.load_grants(tx)
        state = rows.load_authority_state(tx)
        if state is not None and self.keyset is not None:
            self.state = newer_state(state, held=None, keyset=self.keyset, gateway_id=self._gateway_id)

    def known(self) -> Known:
        """Return what a verifier of bundles needs.

        Raises:
            RemoteProtocolError: UNKNOWN_SIGNER, nothing has been provisioned yet: everybody is a stranger.
        """
        return Known(keyset=self.require_keyset(), find_grant=self._grants.get, find_authority=self._authorities.get)

    def require_keyset(self) -> Keyset:
        """Return the Keyset.

        Raises:
            RemoteProtocolError: UNKNOWN_SIGNER, there is none yet.
        """
        if self.keyset is None:
            raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "no keyset has been provisioned")
        return self.keyset

    @property
    def grant_count(self) -> int:
        """Grants kept for use without internet."""
        return len(self._grants)

    @property
    def authority_count(self) -> int:
        """Providers that may grant here."""
        return len(self._authorities)

    @property
    def receipt_keys(self) -> tuple[bytes, ...]:
        """The central log's Ed25519 keys."""
        held = None if self.keyset is None else self.keyset.roles.get(Role.RECEIPT)
        return () if held is None else held.keys

    async def take_keyset(self, data: bytes) -> None:
        """Take a Keyset in, if it is newer.

        Raises:
            RemoteProtocolError: it is not what the pinned roots have signed.
        """
        keyset = newer_keyset(data, held=self.keyset, roots=self._roots)
        if keyset is None:
            return
        await self._recorder.run(lambda page: self._save_keyset(page, data, keyset))
        self.keyset = keyset

    def _save_keyset(self, page: Page, data: bytes, keyset: Keyset) -> None:
        rows.save_keyset(page.tx, data, keyset.version)
        page.append(_updated("keyset", keyset))

    async def take_authority(self, data: bytes) -> None:
        """Take a provider's Authority in.

        Raises:
            RemoteProtocolError: not signed by the authority role, or for another gateway.
        """
        authority = own_authority(data, keyset=self.require_keyset(), gateway_id=self._gateway_id)
        kid = cose.kid_of(authority.provider_key)
        if self._authorities.get(kid) == data:
            return
        held = self._authorities.get(kid)
        if held is not None and self._issued_s(held) > authority.iat_s:
            return
        await self._store.run(lambda tx: rows.save_authority(tx, kid, data))
        self._authorities[kid] = data

    def _issued_s(self, authority: bytes) -> int:
        return own_authority(authority, keyset=self.require_keyset(), gateway_id=self._gateway_id).iat_s

    async def take_state(self, data: bytes) -> None:
        """Take an AuthorityState in, if it is newer.

        Raises:
            RemoteProtocolError: not signed by the status role, for another gateway, or a leap.
        """
        keyset = self.require_keyset()
        state = newer_state(data, held=self.state, keyset=keyset, gateway_id=self._gateway_id)
        if state is None:
            return
        believed = self._timekeeper.take_floor(state.iat_s)
        await self._recorder.run(lambda page: self._save_state(page, data, state, keyset, believed=believed))
        self.state = state

    def _save_state(self, page: Page, data: bytes, state: AuthorityState, keyset: Keyset, *, believed: bool) -> None:
        rows.save_authority_state(page.tx, data, state.keyset_version, state.seq)
        page.append(_updated("state", keyset, seq=state.seq))
        if not believed:
            detail = "an authority state claims a time beyond the trusted interval"
            page.append(AlertRaised(code="time.contradicted", detail=detail))

    async def take_grant(self, data: bytes) -> None:
        """Take a grant into the offline cache. Whether it permits anything is decided at each command.

        Raises:
            RemoteProtocolError: no chain of signatures leads from it to the Keyset.
        """
        proof = verify_grant(data, None, known=self.known())
        if proof.sha256 in self._grants or not isinstance(proof.grant, Grant):
            return
        self._grants = await self._store.run(lambda tx: _keep_grant(tx, proof, data))


def _keep_grant(tx: Transaction, proof: VerifiedGrant, data: bytes) -> dict[bytes, bytes]:
    rows.save_grant(tx, proof.sha256, data, proof.exp_s)
    return rows.load_grants(tx)


def _updated(kind: str, keyset: Keyset, seq: int | None = None) -> AuthorityUpdated:
    return AuthorityUpdated(kind=kind, keyset_version=keyset.version, seq=seq)
