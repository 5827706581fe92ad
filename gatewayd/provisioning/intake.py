"""Takes papers into the store: all of them or none, never something older than what is held."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from firmware_protocol import cose
from firmware_protocol.chains import verify_keyset
from firmware_protocol.constants import OWNER_EPOCH_STEP_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.orders import PairingOrder
from firmware_protocol.statements import GATEWAY_LOCK_COUNT_MAX
from firmware_protocol.vocabulary import Role
from gatewayd.access.trust import newer_state, own_authority
from gatewayd.journal.events import AuthorityUpdated
from gatewayd.provisioning.papers import Findings, ProvisioningError, check_authorities, check_homes
from gatewayd.recorder import Page
from gatewayd.store import locks, meta, trust
from gatewayd.store.locks import PairedAt
from gatewayd.store.log import load_journal
from gatewayd.timekeeper import TimeKeeper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_protocol.statements import AuthorityState
    from firmware_protocol.tokens import Keyset
    from gatewayd.channel import Entropy
    from gatewayd.identity import Identity
    from gatewayd.journal.journal import Journal
    from gatewayd.provisioning.papers import Papers
    from gatewayd.store.locks import LockHome
    from gatewayd.store.store import Store, Transaction
    from gatewayd.timekeeping import Clock


async def take_in(  # noqa: PLR0913 - the papers, and what they are held against
    papers: Papers,
    store: Store,
    *,
    identity: Identity,
    roots: Sequence[bytes],
    clock: Clock,
    entropy: Entropy,
    machine_boot: str = "",
    paired: bytes | None = None,
    timekeeper: TimeKeeper | None = None,
) -> tuple[str, ...]:
    """Verify the papers and keep them durably, in one transaction; return a line for each, saying what became of it.

    `paired` is the lock that has taken its order from these papers: the homes of others in them are left for their own
    pairing. None: nobody has spoken to a lock, so an order that would change one of ours is refused.
    `timekeeper` is the caller's to use from the store's thread; None: what the store knows of the time is all.

    `machine_boot` is the machine's id of its boot, in which the installer's hour is counted; empty: there is none.

    Taking the same papers in again changes nothing.

    Raises:
        ProvisioningError: with everything that is not in order; nothing was kept.
        StoreError: nothing was kept.
    """

    def work(tx: Transaction) -> tuple[str, ...]:
        return _Intake(
            tx=tx,
            papers=papers,
            identity=identity,
            roots=tuple(roots),
            journal=load_journal(tx, gateway_id=identity.gateway_id),
            timekeeper=timekeeper or TimeKeeper(clock=clock, stored=meta.load_time(tx)),
            entropy=entropy,
            paired_at=PairedAt(machine_boot=machine_boot, boottime_ms=clock.now().boottime_ms),
            paired=paired,
        ).run()

    return await store.run(work)


class _RehearsalOver(Exception):  # noqa: N818 - no fault: it rolls the transaction back
    """The papers are in order, and nothing of them is to be kept yet."""


async def rehearse(
    papers: Papers,
    store: Store,
    *,
    identity: Identity,
    roots: Sequence[bytes],
    clock: Clock,
    entropy: Entropy,
    paired: bytes,
) -> Keyset:
    """Verify the papers as `take_in` does, and keep nothing; return the Keyset that bears them out.

    Raises:
        ProvisioningError: with everything that is not in order.
        StoreError: the store cannot be read.
    """
    found: list[Keyset] = []

    def work(tx: Transaction) -> None:
        intake = _Intake(
            tx=tx,
            papers=papers,
            identity=identity,
            roots=tuple(roots),
            journal=load_journal(tx, gateway_id=identity.gateway_id),
            timekeeper=TimeKeeper(clock=clock, stored=meta.load_time(tx)),
            entropy=entropy,
            paired_at=PairedAt(machine_boot="", boottime_ms=0),
            paired=paired,
        )
        intake.run()
        raw = trust.load_keyset(tx)
        if raw is not None:
            found.append(verify_keyset(raw, roots=roots))
        raise _RehearsalOver

    with contextlib.suppress(_RehearsalOver):
        await store.run(work)
    return found[0]


@dataclass(slots=True, kw_only=True)
class _Intake:
    """One transaction. The first mistakes are collected; nothing is kept unless there are none."""

    tx: Transaction
    papers: Papers
    identity: Identity
    roots: tuple[bytes, ...]
    journal: Journal
    timekeeper: TimeKeeper
    entropy: Entropy
    paired_at: PairedAt
    paired: bytes | None
    findings: Findings = field(default_factory=Findings)
    lines: list[str] = field(default_factory=list)

    @property
    def gateway_id(self) -> bytes:
        return self.identity.gateway_id

    def run(self) -> tuple[str, ...]:
        keyset = self._keyset()
        if keyset is None:
            raise ProvisioningError(self.findings.problems or ["keyset: is missing, and the gateway has none yet"])
        self._authorities(keyset)
        self._state(keyset)
        for home in check_homes(self.papers, keyset=keyset, identity=self.identity, findings=self.findings):
            self._home(home)
        if self.findings.problems:
            raise ProvisioningError(self.findings.problems)  # rolls the transaction back
        meta.save_time(self.tx, self.timekeeper.to_store())
        return tuple(self.lines)

    def _keyset(self) -> Keyset | None:
        """Return the newer of the file's Keyset and the held one."""
        held = _verified(trust.load_keyset(self.tx), self.roots)
        raw = self.papers.keyset
        if raw is None:
            return held
        given = self.findings.check("keyset", lambda: verify_keyset(raw, roots=self.roots))
        if given is None:
            return None
        if held is not None and held.version >= given.version:
            self._kept(f"keyset {given.version}", newer=None if held.version == given.version else str(held.version))
            return held
        trust.save_keyset(self.tx, raw, given.version)
        self._saved(f"keyset {given.version}")
        self._journal(AuthorityUpdated(kind="keyset", keyset_version=given.version))
        return given

    def _authorities(self, keyset: Keyset) -> None:
        held = trust.load_authorities(self.tx)
        for authority, raw in check_authorities(
            self.papers, keyset=keyset, gateway_id=self.gateway_id, findings=self.findings
        ):
            kid = cose.kid_of(authority.provider_key)
            name = f"authority of {authority.provider}"
            if held.get(kid) == raw:
                self._kept(name)
            elif kid in held and self._issued_s(held[kid], keyset) > authority.iat_s:
                self._kept(name, newer="a later one")
            else:
                trust.save_authority(self.tx, kid, raw)
                self._saved(name)

    def _issued_s(self, held: bytes, keyset: Keyset) -> int:
        try:
            return own_authority(held, keyset=keyset, gateway_id=self.gateway_id).iat_s
        except RemoteProtocolError:
            return 0  # signed under an earlier Keyset: whatever this one bears out is better

    def _state(self, keyset: Keyset) -> None:
        raw, problem_count = self.papers.state, len(self.findings.problems)
        if raw is None:
            return
        held = self._held_state(keyset)
        given = self.findings.check(
            "state", lambda: newer_state(raw, held=held, keyset=keyset, gateway_id=self.gateway_id)
        )
        if given is not None:
            trust.save_authority_state(self.tx, raw, given.keyset_version, given.seq)
            self.timekeeper.take_floor(given.iat_s, Role.STATUS)
            self._saved(f"state {given.keyset_version}/{given.seq}")
            self._journal(AuthorityUpdated(kind="state", keyset_version=keyset.version, seq=given.seq))
        elif held is not None and len(self.findings.problems) == problem_count:
            same = trust.load_authority_state(self.tx) == raw
            self._kept("state", newer=None if same else f"{held.keyset_version}/{held.seq}")

    def _held_state(self, keyset: Keyset) -> AuthorityState | None:
        raw = trust.load_authority_state(self.tx)
        try:
            return None if raw is None else newer_state(raw, held=None, keyset=keyset, gateway_id=self.gateway_id)
        except RemoteProtocolError:
            return None

    def _home(self, home: LockHome) -> None:
        name = f"lock {home.lock_id.hex()}"
        if self.paired not in {None, home.lock_id}:
            self.lines.append(f"{name}: left for its own pairing")
            return
        homes = locks.load_lock_homes(self.tx)
        held = next((each for each in homes if each.lock_id == home.lock_id), None)
        if held is None and len(homes) >= GATEWAY_LOCK_COUNT_MAX:
            self.findings.add(name, f"this gateway has {len(homes)} locks, as many as one serves: take another gateway")
            return
        if held == home:
            self._kept(name)
            return
        if held is not None and (problem := _epoch_problem(home, held)):
            self.findings.add(name, problem)
            return
        if held is not None and held.owner_epoch < home.owner_epoch and self.paired is None:
            # Kept here, it would begin counters anew that the lock goes on counting: we would look like our own clone.
            self.findings.add(name, f"owner epoch {home.owner_epoch} is for the lock to obey: hand it over with pair")
            return
        locks.save_lock_home(self.tx, home)
        if held is None or held.owner_epoch < home.owner_epoch:
            locks.save_paired_at(self.tx, home.lock_id, self.paired_at)
            self.timekeeper.take_floor(_order_of(home).iat_s, Role.PAIRING)
        self._saved(f"{name}, owner epoch {home.owner_epoch}")

    def _saved(self, name: str) -> None:
        self.lines.append(f"{name}: saved")

    def _kept(self, name: str, newer: str | None = None) -> None:
        self.lines.append(f"{name}: is held already" if newer is None else f"{name}: left alone, {newer} is held")

    def _journal(self, event: AuthorityUpdated) -> None:
        page = Page(
            tx=self.tx,
            time=self.timekeeper.interval(),
            stored_time=self.timekeeper.to_store(),
            journal=self.journal,
            entropy=self.entropy,
        )
        page.append(event)


def _verified(held: bytes | None, roots: Sequence[bytes]) -> Keyset | None:
    """Return the held Keyset; None too where the pinned roots have changed since and no longer bear it out."""
    try:
        return None if held is None else verify_keyset(held, roots=roots)
    except RemoteProtocolError:
        return None


def _order_of(home: LockHome) -> PairingOrder:
    """Return the order of a home whose papers have been verified."""
    return PairingOrder.from_bytes(cose.parse(home.pairing_order, size_max=PairingOrder.SIZE_MAX).payload)


def _epoch_problem(home: LockHome, held: LockHome) -> str | None:
    new, old = home.owner_epoch, held.owner_epoch
    if new < old:
        return f"owner epoch {new} is refused, {old} is held: an old order must not bring old counters back"
    if new == old and home.pairing_order != held.pairing_order:
        return f"owner epoch {new} is held already, by another pairing order"
    if new > old + OWNER_EPOCH_STEP_MAX:
        return f"owner epoch {new} leaps ahead of {old}"
    return None
