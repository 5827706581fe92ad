"""Holds what the gateway trusts: Keysets, Authorities, AuthorityState, grants; takes newer ones in.

Everything is durable before it is used, so that a restart never trusts less evidence than a receipt
has already claimed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from firmware_protocol import cose
from firmware_protocol.chains import Known, Proofs, named_grant, verify_grant, verify_keyset
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.tokens import Grant, Keyset
from firmware_protocol.vocabulary import Role
from gatewayd.access.trust import held_state, judge_keeping, newer_keyset, newer_state, open_held, own_authority
from gatewayd.journal.events import AlertRaised, AuthorityUpdated
from gatewayd.store import trust as rows
from gatewayd.store.locks import load_lock_homes
from gatewayd.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_protocol.chains import VerifiedBundle, VerifiedGrant
    from firmware_protocol.statements import AuthorityState
    from firmware_protocol.tokens import Authority
    from gatewayd.access.trust import S
    from gatewayd.recorder import Page, Recorder
    from gatewayd.store.store import Store, Transaction
    from gatewayd.store.trust import StoredGrant
    from gatewayd.timekeeper import TimeKeeper

RECENT_COUNT_MAX: Final = 256
"""Most grants held in memory beside the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """What a bundle brought that is not held yet, to be kept with its reservation."""

    grant: StoredGrant | None = None
    authority: bytes | None = None
    authority_kid: bytes = b""
    authority_held: bytes | None = None
    """What was held in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What the store holds, read in one transaction."""

    keyset: Keyset | None
    keysets: tuple[Keyset, ...]
    lock_ids: tuple[bytes, ...]
    authorities: dict[bytes, bytes]
    grant_count: int
    state: bytes | None


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
        self._taking = asyncio.Lock()
        """One is judged by what the one before has left."""
        self._lock_ids: tuple[bytes, ...] = ()
        self._authorities: dict[bytes, bytes] = {}
        self._recent: OrderedDict[bytes, bytes] = OrderedDict()
        self._proofs = Proofs()
        self._keysets: tuple[Keyset, ...] = ()
        self._alarmed_sha256 = b""
        self.grant_count = 0
        """Grants kept for use without internet; those that have ended since the start are still counted."""
        self._state_raw = b""
        self._is_current = False
        """Whether the Keyset in force bears the state out."""
        self.is_repaired = False
        """The store was repaired: what it says of revocations may be older than what was held, until more comes."""
        self.keyset: Keyset | None = None
        self.state: AuthorityState | None = None

    async def load(self) -> None:
        """Read what earlier runs have kept, and verify it again: a card can be written to elsewhere.

        Raises:
            StoreError: the store cannot be read.
            RemoteProtocolError: what it holds was not signed by the pinned roots.
        """
        async with self._taking:
            stored = await self._store.run(self._read)
            if stored is not None:
                self._hold(stored)

    def _hold(self, stored: _Stored) -> None:
        self.keyset, self._keysets, self._authorities = stored.keyset, stored.keysets, stored.authorities
        self._lock_ids, self.grant_count = stored.lock_ids, stored.grant_count
        self._proofs = Proofs()
        if stored.state is not None:
            self._state_raw = stored.state
            self.state, self._is_current = held_state(stored.state, keysets=self._keysets, gateway_id=self._gateway_id)

    def _read(self, tx: Transaction) -> _Stored | None:
        keyset = rows.load_keyset(tx)
        if keyset is None:
            return None
        return _Stored(
            keyset=newer_keyset(keyset, held=None, roots=self._roots),
            keysets=tuple(verify_keyset(raw, roots=self._roots) for raw in rows.load_keysets(tx)),
            lock_ids=tuple(home.lock_id for home in load_lock_homes(tx)),
            authorities=rows.load_authorities(tx),
            grant_count=rows.count_grants(tx),
            state=rows.load_authority_state(tx),
        )

    def open_held(self, kind: type[S], data: bytes, role: Role) -> S:
        """Return an object of our own homes; see `access.trust.open_held`.

        Raises:
            RemoteProtocolError: none of our Keysets bears it out, or there is none.
        """
        return open_held(kind, data, keysets=self._keysets, role=role)

    async def prefetch(self, bundle: bytes) -> None:
        """Have the grant at hand that a bundle names and does not hold: `known` finds it then."""
        sha256 = named_grant(bundle)
        if sha256 is None or sha256 in self._recent:
            return
        try:
            raw = await self._store.run(lambda tx: rows.find_grant(tx, sha256))
        except StoreError:
            return  # a disk that is not read knows nobody
        if raw is not None:
            self._remember(sha256, raw)

    def known(self) -> Known:
        """Return what a verifier of bundles needs.

        Raises:
            RemoteProtocolError: UNKNOWN_SIGNER, nothing has been provisioned yet: everybody is a stranger.
        """
        return Known(
            keyset=self.require_keyset(),
            find_grant=self._recent.get,
            find_authority=self._authorities.get,
            proofs=self._proofs,
        )

    def require_keyset(self) -> Keyset:
        """Return the Keyset.

        Raises:
            RemoteProtocolError: UNKNOWN_SIGNER, there is none yet.
        """
        if self.keyset is None:
            raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "no keyset has been provisioned")
        return self.keyset

    @property
    def fresh_state(self) -> AuthorityState | None:
        """The state, where the Keyset in force bears it out: what an earlier one's key signed still denies, no more."""
        return self.state if self._is_current and not self.is_repaired else None

    @property
    def state_sha256(self) -> bytes:
        """Names the state as it was signed."""
        return hashlib.sha256(self._state_raw).digest()

    @property
    def authority_count(self) -> int:
        """Providers that may grant here."""
        return len(self._authorities)

    def authorities(self) -> tuple[Authority, ...]:
        """Return every Authority that the Keyset bears out."""
        found = (self._own_authority(raw) for raw in self._authorities.values())
        return tuple(authority for authority in found if authority is not None)

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
        async with self._taking:
            await self._take_keyset(data)

    async def _take_keyset(self, data: bytes) -> None:
        keyset = newer_keyset(data, held=self.keyset, roots=self._roots)
        if keyset is None:
            return
        await self._recorder.run(lambda page: self._save_keyset(page, data, keyset))
        self.keyset = keyset
        self._keysets = (keyset, *self._keysets)[: rows.KEYSET_COUNT_MAX]
        self._proofs = Proofs()
        if self._state_raw:
            _, self._is_current = held_state(self._state_raw, keysets=self._keysets, gateway_id=self._gateway_id)

    def _save_keyset(self, page: Page, data: bytes, keyset: Keyset) -> None:
        rows.save_keyset(page.tx, data, keyset.version)
        page.append(_updated("keyset", keyset))

    async def take_authority(self, data: bytes) -> None:
        """Take a provider's Authority in.

        Raises:
            RemoteProtocolError: not signed by the authority role, for another gateway, or issued later than now.
        """
        async with self._taking:
            await self._take_authority(data)

    async def _take_authority(self, data: bytes) -> None:
        authority = own_authority(data, keyset=self.require_keyset(), gateway_id=self._gateway_id)
        kid = cose.kid_of(authority.provider_key)
        time = self._timekeeper.interval()
        if time.trusted and time.hi_s is not None and authority.iat_s > time.hi_s:
            # Held, it would stand above every true one until its date has come.
            raise RemoteProtocolError(Code.NOT_YET_VALID, "an authority that is dated ahead")
        while self._is_newer(kid, data, authority):
            keep = partial(rows.replace_authority, kid=kid, raw=data, instead_of=self._authorities.get(kid))
            self._authorities[kid] = await self._store.run(keep)

    def _is_newer(self, kid: bytes, data: bytes, authority: Authority) -> bool:
        held = self._authorities.get(kid)
        if held is None or held == data:
            return held is None
        kept = self._own_authority(held)
        return kept is None or authority.iat_s >= kept.iat_s

    def _own_authority(self, raw: bytes) -> Authority | None:
        try:
            return own_authority(raw, keyset=self.require_keyset(), gateway_id=self._gateway_id)
        except RemoteProtocolError:
            return None  # signed under an earlier Keyset, which this one no longer bears out

    async def take_state(self, data: bytes) -> None:
        """Take an AuthorityState in, if it is newer.

        Raises:
            RemoteProtocolError: not signed by the status role, for another gateway, or a leap.
        """
        async with self._taking:
            await self._take_state(data)

    async def _take_state(self, data: bytes) -> None:
        keyset = self.require_keyset()
        try:
            state = newer_state(data, held=self.state, keyset=keyset, gateway_id=self._gateway_id)
        except RemoteProtocolError as error:
            if error.code is Code.SUPERSEDED:
                await self._alarm(data, error)
            raise
        if state is None:
            return
        believed = self._timekeeper.take_floor(state.iat_s, Role.STATUS)
        await self._recorder.run(lambda page: self._save_state(page, data, state, keyset, believed=believed))
        self.state, self._state_raw, self._is_current, self.is_repaired = state, data, True, False

    async def _alarm(self, data: bytes, error: RemoteProtocolError) -> None:
        """Tell once that a key of the status role has signed what it never should."""
        sha256 = cose.parse(data, size_max=len(data)).sha256
        if sha256 == self._alarmed_sha256:
            return
        self._alarmed_sha256 = sha256
        await self._recorder.record(AlertRaised(code="authority.leap", detail=error.detail, priority=True))

    def _save_state(self, page: Page, data: bytes, state: AuthorityState, keyset: Keyset, *, believed: bool) -> None:
        rows.save_authority_state(page.tx, data, state.keyset_version, state.seq)
        page.append(_updated("state", keyset, seq=state.seq))
        if not believed:
            detail = "an authority state claims a time beyond the trusted interval"
            page.append(AlertRaised(code="time.contradicted", detail=detail))

    async def take_grant(self, data: bytes) -> None:
        """Take a grant into the offline cache. Whether it permits anything is decided at each command.

        Raises:
            RemoteProtocolError: no chain of signatures leads from it to the Keyset; it is for no lock of ours
                (WRONG_AUDIENCE), over, dated ahead or too long; RATE_LIMITED, its signer's share is full.
        """
        proof = verify_grant(data, None, known=self.known())
        time = self._timekeeper.interval()
        code = judge_keeping(proof, gateway_id=self._gateway_id, lock_ids=self._lock_ids, time=time)
        if code is not None:
            raise RemoteProtocolError(code, "a grant that is not kept")
        grant = _stored(proof)

        kept = await self._store.run(lambda tx: rows.save_grant(tx, grant, now_s=time.lo_s))
        self.grant_count += kept is rows.Kept.NEW
        if kept is rows.Kept.FULL:
            raise RemoteProtocolError(Code.RATE_LIMITED, "more grants of one signer than are kept")

    def unheld(self, bundle: VerifiedBundle) -> Paper | None:
        """Return what a bundle brought that is not held yet, or None."""
        proof = bundle.proof
        is_new = isinstance(proof.grant, Grant) and proof.sha256 not in self._recent
        authority, kid = (
            proof.authority_raw,
            b"" if proof.authority is None else cose.kid_of(proof.authority.provider_key),
        )
        held = self._authorities.get(kid)
        brings = authority if authority is not None and held != authority else None
        if not is_new and brings is None:
            return None
        return Paper(grant=_stored(proof) if is_new else None, authority=brings, authority_kid=kid, authority_held=held)

    def note_kept(self, paper: Paper) -> None:
        """What `unheld` returned is durable."""
        if paper.grant is not None:
            self._remember(paper.grant.sha256, paper.grant.raw)
        if paper.authority is not None and self._authorities.get(paper.authority_kid) == paper.authority_held:
            self._authorities[paper.authority_kid] = paper.authority

    def _remember(self, sha256: bytes, raw: bytes) -> None:
        self._recent[sha256] = raw
        while len(self._recent) > RECENT_COUNT_MAX:
            self._recent.popitem(last=False)


def keep_paper(tx: Transaction, paper: Paper, *, now_s: int) -> None:
    """Keep what a permitted command brought: its holder may come without it, and without internet, next time."""
    if paper.grant is not None:
        rows.save_grant(tx, paper.grant, now_s=now_s)
    if paper.authority is not None:
        rows.replace_authority(tx, paper.authority_kid, paper.authority, instead_of=paper.authority_held)


def _stored(proof: VerifiedGrant) -> StoredGrant:
    return rows.StoredGrant(
        sha256=proof.sha256, issuer_kid=proof.issuer_kid, cti=proof.grant.cti, exp_s=proof.exp_s, raw=proof.raw
    )


def _updated(kind: str, keyset: Keyset, seq: int | None = None) -> AuthorityUpdated:
    return AuthorityUpdated(kind=kind, keyset_version=keyset.version, seq=seq)
