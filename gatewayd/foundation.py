"""What a house stands on: the seams to the world, the plan of this home, and what the store holds of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from gatewayd.recorder import Page, Recorder
from gatewayd.renewal import renew_where_doubted
from gatewayd.settings import LimitSettings
from gatewayd.store import alarms, meta
from gatewayd.store.locks import load_lock_homes, load_paired_at
from gatewayd.store.log import load_journal
from gatewayd.store.store import StoreCode, StoreError
from gatewayd.store.trust import is_repaired
from gatewayd.suspicion import Suspicion
from gatewayd.timekeeper import TimeKeeper
from gatewayd.trust_keeper import TrustKeeper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from gatewayd.channel import Entropy
    from gatewayd.identity import Identity
    from gatewayd.journal.journal import Journal
    from gatewayd.link.radio import Radio
    from gatewayd.store.locks import LockHome, PairedAt
    from gatewayd.store.meta import Start
    from gatewayd.store.store import Store, Transaction
    from gatewayd.timekeeping import Clock
    from gatewayd.uplink.seam import Broker

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """Where the house touches the world."""

    store: Store
    radio: Radio
    broker: Broker
    clock: Clock
    entropy: Entropy
    random: Random
    """Jitters back-offs and nothing else."""
    machine_boot: str
    """The machine's id of its boot: CLOCK_BOOTTIME counts from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who this gateway is, and how it is to behave."""

    identity: Identity
    roots: Sequence[bytes]
    """Pinned Ed25519 root keys."""
    limits: LimitSettings = field(default_factory=LimitSettings)
    heartbeat_s: int = 6 * 3_600
    retain_count: int = 10_000
    addresses: Mapping[bytes, str] = field(default_factory=dict)
    """Where to look for a lock, by its id: hints."""
    seal_to: bytes | None = None
    """The central log's X25519 key: entries are sealed to it, and no state of a door stands at the broker."""
    discovery_prefix: str | None = None
    """Where Home Assistant looks for devices; None: nothing is announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """What has been read from the store, and the parts that everything else stands on."""

    seams: Seams
    plan: Plan
    start: Start
    homes: tuple[LockHome, ...]
    journal: Journal
    timekeeper: TimeKeeper
    recorder: Recorder
    trust: TrustKeeper
    suspicion: Suspicion
    paired_at: Mapping[bytes, PairedAt]


async def lay_foundation(seams: Seams, plan: Plan) -> Foundation:
    """Read the store and count the start; where the disk takes nothing, the start is foreseen and not counted.

    Raises:
        StoreError: the store cannot be read.
    """
    try:
        return await seams.store.run(lambda tx: _lay(tx, seams, plan, meta.begin_run(tx, seams.machine_boot)))
    except StoreError as error:
        if error.code not in {StoreCode.FULL, StoreCode.READ_ONLY}:
            raise
        _log.error("store.unavailable", code=error.code)
    return await seams.store.run(lambda tx: _lay(tx, seams, plan, meta.foresee_run(tx, seams.machine_boot)))


def _lay(tx: Transaction, seams: Seams, plan: Plan, start: Start) -> Foundation:
    if start.machine_rebooted:
        forget = alarms.forget_alarms if start.recorded else alarms.void_alarms
        forget(tx)
    gateway_id, own_key = plan.identity.gateway_id, bytes(plan.identity.signing_key.verify_key)
    timekeeper = TimeKeeper(clock=seams.clock, stored=meta.load_time(tx))
    journal = load_journal(tx, gateway_id=gateway_id)
    if start.recorded:
        page = Page(
            tx=tx,
            time=timekeeper.interval(),
            stored_time=timekeeper.to_store(),
            journal=journal,
            entropy=seams.entropy,
        )
        journal = renew_where_doubted(page, own_key=own_key)
    recorder = Recorder(store=seams.store, journal=journal, timekeeper=timekeeper, entropy=seams.entropy)
    trust = TrustKeeper(
        gateway_id=gateway_id, roots=plan.roots, store=seams.store, recorder=recorder, timekeeper=timekeeper
    )
    trust.is_repaired = is_repaired(tx) or (not start.recorded and journal.doubt(tx, own_key=own_key) != "")
    return Foundation(
        seams=seams,
        plan=plan,
        start=start,
        homes=load_lock_homes(tx),
        journal=journal,
        timekeeper=timekeeper,
        recorder=recorder,
        trust=trust,
        suspicion=Suspicion(store=seams.store),
        paired_at=load_paired_at(tx),
    )
