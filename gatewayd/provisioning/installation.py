"""What an installer does with a lock, from the papers to the proof. Each errand can be cut off and begun again.

The lock comes first and the store second: what the lock has committed it can be asked for, so that a power cut between
the two is found and finished by the same command.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from firmware_protocol.chains import open_by_role, verify_keyset
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.orders import DecommissionOrder, Door, PairingOrder
from firmware_protocol.vocabulary import Parcel, Role
from gatewayd.journal.events import LockHeadSigned
from gatewayd.link import commissioning
from gatewayd.link.commissioning import Bond, Sealed, Tools
from gatewayd.link.log_transfer import LogReader
from gatewayd.link.pairing_talk import CommissionCode, CommissionError
from gatewayd.link.ports import LockTarget
from gatewayd.lock_ledger import LockLedger, trust_parcels
from gatewayd.provisioning.intake import rehearse, take_in
from gatewayd.provisioning.papers import ProvisioningError
from gatewayd.recorder import Recorder
from gatewayd.store import locks, meta, trust
from gatewayd.store.log import load_journal
from gatewayd.timekeeper import TimeKeeper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from firmware_protocol.noise import KeyPair
    from firmware_protocol.pairing import LockLabel
    from firmware_protocol.tokens import Keyset
    from gatewayd.channel import Entropy
    from gatewayd.identity import Identity
    from gatewayd.link.radio import SurveyingRadio
    from gatewayd.provisioning.papers import Papers
    from gatewayd.store.store import Store, Transaction
    from gatewayd.timekeeping import Clock, TimeInterval


_FORMER_OWNER: Final = (
    "the lock was this gateway's and does not take its keys any more: another unit has it by a newer order. If this "
    "is the unit that was replaced, run gatewayd factory-reset; if not, ask the office for an order with a higher "
    "owner epoch and press the lock's install button"
)


_FORMER_KEY_MISSING: Final = (
    "the lock does not take this gateway's link key: if the order brings a new one, name the one before it with "
    "--former-key"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What a running daemon has of journal and time, which nobody else may have beside it."""

    recorder: Recorder
    timekeeper: TimeKeeper


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The gateway that an installer works at."""

    store: Store
    radio: SurveyingRadio
    identity: Identity
    roots: Sequence[bytes]
    clock: Clock
    entropy: Entropy
    progress: Callable[[str], None]
    machine_boot: str = ""
    live: Live | None = None
    """None: the daemon is stopped, and the store is all there is."""

    async def tools(self) -> Tools:
        """Return what an errand works with, at the time that is proven here."""
        if self.live is not None:
            time = self.live.timekeeper.interval()
        else:
            time = TimeKeeper(clock=self.clock, stored=await self.store.run(meta.load_time)).interval()
        return Tools(radio=self.radio, clock=self.clock, entropy=self.entropy, time=time, progress=self.progress)

    async def recorder(self) -> Recorder:
        """Return a way into the journal."""
        if self.live is not None:
            return self.live.recorder

        def work(tx: Transaction) -> Recorder:
            return Recorder(
                store=self.store,
                journal=load_journal(tx, gateway_id=self.identity.gateway_id),
                timekeeper=TimeKeeper(clock=self.clock, stored=meta.load_time(tx)),
                entropy=self.entropy,
            )

        return await self.store.run(work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it stands now."""

    lock_id: bytes
    owner_epoch: int
    was_done: bool
    """An earlier try had come so far."""
    address: str | None = None
    """Where the lock was heard, if it has proven itself there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """The lock that the papers are about."""

    target: LockTarget
    order: PairingOrder
    order_raw: bytes
    parcels: tuple[tuple[Parcel, bytes], ...]


async def pair_lock(
    site: Site,
    papers: Papers,
    label: LockLabel,
    *,
    address: str | None = None,
    former_keys: KeyPair | None = None,
) -> Outcome:
    """Make the lock of the label this gateway's, or give it new keys, and prove it; needs no internet.

    `former_keys` open the session in which a lock of ours is told of our new link key.

    Raises:
        ProvisioningError: the papers are not in order; nothing happened.
        CommissionError: the lock did not come along; it says what to do.
        RadioError: there is no radio.
        StoreError: the store cannot be used.
    """
    tools = await site.tools()
    wanted = await _wanted(site, papers, label, address, now=tools.time)
    sealed, heard_at = await _at_the_lock(site, tools, wanted, label, address, former_keys)
    for line in await take_in(
        papers,
        site.store,
        identity=site.identity,
        roots=site.roots,
        clock=site.clock,
        entropy=site.entropy,
        machine_boot=site.machine_boot,
        paired=label.lock_id,
        timekeeper=None if site.live is None else site.live.timekeeper.fork(),
    ):
        site.progress(line)
    site.progress(f"it is at {heard_at}: where several locks are in reach, write that down as locks.<name>.address")
    if sealed is not None:
        head = base64.b64encode(sealed.head).decode()
        await (await site.recorder()).record(LockHeadSigned(lock_id=label.lock_id, head=head))
    await _prove(site, tools, wanted, heard_at)
    return Outcome(
        lock_id=label.lock_id, owner_epoch=wanted.order.owner_epoch, was_done=sealed is None, address=heard_at
    )


async def release_lock(site: Site, order_raw: bytes, *, address: str | None = None) -> Outcome:
    """Take a lock's log over, let it go by a DecommissionOrder, and forget it.

    Raises:
        ProvisioningError: the order is not in order; nothing happened.
        CommissionError: the lock is not in reach, or refuses.
        RadioError: there is no radio.
        StoreError: the store cannot be used.
    """
    tools = await site.tools()
    order, door = await site.store.run(lambda tx: _release_papers(tx, site, order_raw))
    if door is None:
        site.progress("this gateway has let the lock go already")
        return Outcome(lock_id=order.lock_id, owner_epoch=order.owner_epoch, was_done=True)
    target = _target(door, address)
    recorder = await site.recorder()
    ledger = LockLedger(store=site.store, recorder=recorder)
    reserved = await ledger.reserve_session(order.lock_id)
    bond = Bond(target=target, keys=site.identity.link_keys, session_ctr=reserved.session_ctr or 1)
    async with commissioning.session_with(tools, bond) as (client, status, _):
        reader = LogReader(lock_id=order.lock_id, log_key=target.log_key, ledger=ledger, client=client, status=status)
        await reader.catch_up(reads=True)
        site.progress("the lock's log is here up to now")
        was_done = status.owner_epoch >= order.owner_epoch
        if not was_done:
            _refuse_expired("decommission", order.exp_s, tools)
            try:
                await commissioning.hand_over(client, order_raw, target)
            except CommissionError as error:
                # A session of ours that obeys nothing is the former owner's: an earlier order has taken effect.
                was_done = error.code == CommissionCode.NO_LONGER_OURS
                if not was_done:
                    raise
            else:
                site.progress("the lock has let go of this gateway")
                await reader.catch_up(reads=True)
        if was_done:
            site.progress("the lock has let go of this gateway already")
    await site.store.run(lambda tx: locks.release_lock_home(tx, order.lock_id, order.owner_epoch))
    return Outcome(lock_id=order.lock_id, owner_epoch=order.owner_epoch, was_done=was_done)


async def _wanted(site: Site, papers: Papers, label: LockLabel, address: str | None, *, now: TimeInterval) -> _Wanted:
    keyset = await rehearse(
        papers,
        site.store,
        identity=site.identity,
        roots=site.roots,
        clock=site.clock,
        entropy=site.entropy,
        paired=label.lock_id,
    )
    for raw in papers.pairing_orders:
        order = open_by_role(PairingOrder, raw, keyset=keyset, role=Role.PAIRING)
        if order.lock_id == label.lock_id:
            break
    else:
        raise ProvisioningError(
            [f"the papers have no pairing order for lock {label.lock_id.hex()}, which the label names"]
        )
    if order.lock_link_key_fingerprint != label.link_key_fingerprint:
        raise ProvisioningError(["the label has another key than the order: scan the label on this lock again"])
    doors = [open_by_role(Door, each, keyset=keyset, role=Role.STATUS) for each in papers.doors]
    door = next(each for each in doors if each.lock_id == order.lock_id)
    held = await site.store.run(lambda tx: trust_parcels(tx, now))
    return _Wanted(target=_target(door, address), order=order, order_raw=raw, parcels=_parcels(papers, held))


def _parcels(papers: Papers, held: tuple[tuple[Parcel, bytes], ...]) -> tuple[tuple[Parcel, bytes], ...]:
    """Return what the lock gets: what is held, and after it what the papers bring; the newer of each wins there."""
    given = [] if papers.keyset is None else [(Parcel.KEYSET, papers.keyset)]
    given += [(Parcel.AUTHORITY, raw) for raw in papers.authorities]
    given += [] if papers.state is None else [(Parcel.STATE, papers.state)]
    every = dict.fromkeys((*held, *given))
    return tuple(sorted(every, key=lambda parcel: parcel[0]))


async def _at_the_lock(
    site: Site,
    tools: Tools,
    wanted: _Wanted,
    label: LockLabel,
    address: str | None,
    former_keys: KeyPair | None,
) -> tuple[Sealed | None, str]:
    """Let the order take effect in the lock, None where an earlier try had done so; and return where the lock is."""
    own = Bond(target=wanted.target, keys=site.identity.link_keys, session_ctr=1)
    try:
        sighting = await commissioning.choose(tools, address=address)
    except CommissionError as error:
        if error.code == CommissionCode.NONE_HEARD:
            raise
        return await _in_a_session(site, tools, wanted, former_keys, error)
    _refuse_expired("pairing", wanted.order.exp_s, tools)
    sealed = await commissioning.pair(
        tools, sighting, label=label, bond=own, order=wanted.order_raw, parcels=wanted.parcels
    )
    return sealed, sighting.address


async def _in_a_session(
    site: Site, tools: Tools, wanted: _Wanted, former_keys: KeyPair | None, why_not: CommissionError
) -> tuple[Sealed | None, str]:
    """Hand the order to a lock that is ours already, or find that it has it."""
    for keys in (site.identity.link_keys, former_keys):
        seen = None if keys is None else await commissioning.look(tools, wanted.target, keys)
        if keys is None or seen is None:
            continue
        status, address = seen
        if status.owner_epoch >= wanted.order.owner_epoch:
            site.progress("the lock has this order already")
            return None, address
        _refuse_expired("pairing", wanted.order.exp_s, tools)
        bond = Bond(
            target=wanted.target,
            keys=keys,
            session_ctr=status.session_ctr + 1,
            next_owner_epoch=wanted.order.owner_epoch,
        )
        async with commissioning.session_with(tools, bond) as (client, _, address):
            return await commissioning.hand_over(client, wanted.order_raw, wanted.target), address
    for home in await site.store.run(locks.load_lock_homes):
        if home.lock_id == wanted.order.lock_id:
            is_newer, knows_former = wanted.order.owner_epoch > home.owner_epoch, former_keys is not None
            detail = _FORMER_KEY_MISSING if is_newer and not knows_former else _FORMER_OWNER
            raise CommissionError(CommissionCode.NO_LONGER_OURS, detail)
    raise why_not


def _refuse_expired(what: str, exp_s: int, tools: Tools) -> None:
    """Refuse an order that is too old to be handed over; one that has taken effect may be finished at any time."""
    if exp_s <= tools.time.lo_s:
        raise ProvisioningError([f"the {what} order expired at {exp_s}: ask the office for a new one"])


async def _prove(site: Site, tools: Tools, wanted: _Wanted, address: str) -> None:
    """Open a session as the daemon will, so that whoever leaves knows that it works."""
    recorder = await site.recorder()
    reserved = await LockLedger(store=site.store, recorder=recorder).reserve_session(wanted.target.lock_id)
    target = replace(wanted.target, address=address)
    bond = Bond(target=target, keys=site.identity.link_keys, session_ctr=reserved.session_ctr or 1)
    async with commissioning.session_with(tools, bond) as (_, status, _):
        if status.owner_epoch != wanted.order.owner_epoch:
            raise CommissionError(
                CommissionCode.UNPROVEN,
                f"the lock obeys an order of owner epoch {status.owner_epoch}: ask for an order with a higher one",
            )
    site.progress("the lock answers to this gateway")


def _release_papers(tx: Transaction, site: Site, raw: bytes) -> tuple[DecommissionOrder, Door | None]:
    """Return the order, and the Door of its lock; None where an order of this owner epoch has let the lock go."""
    keyset = _keyset(tx, site.roots)
    try:
        order = open_by_role(DecommissionOrder, raw, keyset=keyset, role=Role.PAIRING)
    except RemoteProtocolError as error:
        raise ProvisioningError([f"decommission order: {error.detail} ({error.code.dotted})"]) from error
    if order.gateway_id != site.identity.gateway_id:
        raise ProvisioningError([f"the decommission order is for gateway {order.gateway_id.hex()}"])
    for home in locks.load_lock_homes(tx):
        if home.lock_id == order.lock_id:
            return order, open_by_role(Door, home.door, keyset=keyset, role=Role.STATUS)
    if locks.is_released(tx, order.lock_id, order.owner_epoch):
        return order, None
    raise ProvisioningError([f"lock {order.lock_id.hex()} is not paired with this gateway: nothing is to be done"])


def _keyset(tx: Transaction, roots: Sequence[bytes]) -> Keyset:
    raw = trust.load_keyset(tx)
    if raw is None:
        raise ProvisioningError(
            ["nothing has been provisioned here, so no lock is this gateway's: is it the right unit?"]
        )
    return verify_keyset(raw, roots=roots)


def _target(door: Door, address: str | None) -> LockTarget:
    return LockTarget(
        lock_id=door.lock_id,
        lock_key=door.lock_link_key,
        log_key=door.lock_log_key,
        address=None if address is None else address.upper(),
    )
