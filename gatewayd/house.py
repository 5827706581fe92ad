"""The composition of one gateway: every part, made once, in the order in which they need each other.

The seams (store, radio, broker, clocks, chance) come in from outside, so that the whole house runs
unchanged on virtual time with a radio and a broker in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.orders import PairingOrder
from firmware_protocol.topics import Topics
from firmware_protocol.vocabulary import Role
from gatewayd import __version__
from gatewayd.access.freshness import Challenges, Epochs
from gatewayd.access.installers import Installers, Pairing
from gatewayd.alarm_desk import AlarmDesk
from gatewayd.alerts import Alerts
from gatewayd.couriers import Couriers
from gatewayd.denials import Denials
from gatewayd.disk_watch import DiskWatch
from gatewayd.door import Door
from gatewayd.door_watch import DoorWatch
from gatewayd.emergency import Emergencies
from gatewayd.foundation import Foundation, Plan, Seams, lay_foundation
from gatewayd.journal.events import GatewayHeartbeat, GatewayStarted
from gatewayd.log_watch import LogWatch
from gatewayd.presence import Presence
from gatewayd.renewal import carry_over
from gatewayd.report_id import new_id
from gatewayd.request_desk import RequestDesk
from gatewayd.reservation import Premises, Reservations
from gatewayd.roll import Roll
from gatewayd.roster import Roster
from gatewayd.statements import Statements
from gatewayd.stopping import until_one_ends
from gatewayd.store import meta
from gatewayd.store.store import StoreError
from gatewayd.upkeep import Upkeep
from gatewayd.uplink.board import Board
from gatewayd.uplink.downlink import Downlink
from gatewayd.uplink.home_assistant import Announcements
from gatewayd.uplink.ledger import Ledger
from gatewayd.uplink.outbox import Outbox
from gatewayd.uplink.outlet import Outlet
from gatewayd.uplink.sealing import Sealer
from gatewayd.uplink.seals import Seals
from gatewayd.uplink.supervision import supervise
from gatewayd.uplink.uplink import Uplink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd.access.freshness import Epoch
    from gatewayd.link.supervisor import LinkSupervisor
    from gatewayd.store.locks import LockHome, PairedAt

FINISH_S_MAX: Final = 5.0
"""Longest wait for a movement that is under way when the daemon is told to stop, in seconds."""

_log = structlog.get_logger()


class House:
    """One gateway, ready to run; made by `open_house`."""

    def __init__(self, base: Foundation) -> None:
        seams, identity = base.seams, base.plan.identity
        self.base = base
        self.topics = Topics.of(identity.gateway_id)
        self.epochs = Epochs(clock=seams.clock, entropy=seams.entropy)
        self.alerts = Alerts(clock=seams.clock, recorder=base.recorder)
        self.board = Board()
        self.links: dict[bytes, LinkSupervisor] = {}
        self.roll = Roll(home.lock_id for home in base.homes)
        self.changed = asyncio.Event()
        self._stop = asyncio.Event()
        self.must_restart = False
        """It has stopped by its own will: the journal is to begin anew, which a start does."""
        self.challenges = Challenges()
        self.statements = Statements(
            identity=identity,
            log_id=base.journal.log_id,
            roll=self.roll,
            epochs=self.epochs,
            clock=seams.clock,
            timekeeper=base.timekeeper,
            trust=base.trust,
            suspicion=base.suspicion,
        )
        self.watch = DoorWatch(
            clock=seams.clock,
            topics=self.topics,
            challenges=self.challenges,
            timekeeper=base.timekeeper,
            suspicion=base.suspicion,
            alerts=self.alerts,
            show=self._show_door,
        )
        premises = Premises(gateway_id=identity.gateway_id, roll=self.roll, limits=base.plan.limits)
        self.reservations = Reservations(premises=premises, statements=self.statements)
        self.emergencies = Emergencies(
            clock=seams.clock,
            store=seams.store,
            premises=premises,
            statements=self.statements,
            timekeeper=base.timekeeper,
            recorder=base.recorder,
            unreadable=self._note_unreadable,
        )
        self.alarm_desk = AlarmDesk(
            gateway_id=identity.gateway_id,
            roll=self.roll,
            clock=seams.clock,
            epochs=self.epochs,
            trust=base.trust,
            recorder=base.recorder,
            memory=self.emergencies,
        )
        self.pairings: dict[bytes, Pairing] = {}
        for home in base.homes:
            self.note_pairing(home, base.paired_at[home.lock_id])
        self.installers = Installers(pairings=self.pairings, machine_boot=seams.machine_boot)
        self.door = self._door()
        self.roster = Roster(base, links=self.links, listener=self.watch, submit=self.door)
        self.adapter = self.roster.adapter
        self._connect_uplink()

    def _door(self) -> Door:
        base = self.base
        return Door(
            clock=base.seams.clock,
            epochs=self.epochs,
            challenges=self.challenges,
            timekeeper=base.timekeeper,
            trust=base.trust,
            reservations=self.reservations,
            statements=self.statements,
            recorder=base.recorder,
            installers=self.installers,
            emergencies=self.emergencies,
            denials=Denials(clock=base.seams.clock, recorder=base.recorder, alerts=self.alerts),
            links=self.links,
        )

    @property
    def epoch(self) -> Epoch:
        """The epoch in force."""
        return self.epochs.current

    async def _note_unreadable(self) -> Epoch:
        """What has been seen cannot be read: nothing that was asked for until now may act any more."""
        self.challenges.forget()
        epoch = self.epochs.renew()
        self.changed.set()
        await self.alerts.alert("store.unreadable", "which commands have acted cannot be read; a new epoch has begun")
        return epoch

    def note_pairing(self, home: LockHome, paired_at: PairedAt) -> None:
        """Whom the order lets try a new lock; one that the Keyset no longer bears out lets nobody."""
        self.pairings.pop(home.lock_id, None)
        with contextlib.suppress(RemoteProtocolError):
            order = self.base.trust.open_held(PairingOrder, home.pairing_order, Role.PAIRING)
            self.pairings[home.lock_id] = Pairing(
                installer_cti=order.installer_grant_cti,
                machine_boot=paired_at.machine_boot,
                boottime_ms=paired_at.boottime_ms,
            )

    def _connect_uplink(self) -> None:
        base, seams, identity = self.base, self.base.seams, self.base.plan.identity
        self.ledger = Ledger(
            store=seams.store,
            journal=base.journal,
            key=identity.signing_key,
            receipt_keys=base.trust,
            clock=seams.clock,
            boot=base.start.boot,
        )
        seal = self._sealer()
        outbox = Outbox(
            ledger=self.ledger,
            topics=self.topics,
            grown=base.recorder.grown,
            watcher=self._log_watch(),
            alerts=self.alerts,
            seal=seal,
        )
        self.request_desk = self._request_desk(outbox)
        seals = Seals(keys=identity.link_keys, entropy=seams.entropy)
        self.watch.couriers = Couriers(objects=base.trust, log_mail=outbox, ledger=self.ledger, seals=seals, seal=seal)
        outlet = Outlet()
        self.announcements = announcements = self._announcements()
        self.downlink = Downlink(
            topics=self.topics,
            submit=self.door,
            objects=base.trust,
            alarms=self.alarm_desk,
            infos=self.statements,
            requests=self.request_desk,
            log_mail=outbox,
            outlet=outlet,
            seals=seals,
            announcements=announcements,
        )
        self.uplink = Uplink(
            broker=seams.broker,
            topics=self.topics,
            boot=base.start.boot,
            downlink=self.downlink,
            outbox=outbox,
            outlet=outlet,
            board=self.board,
            alerts=self.alerts,
            random=seams.random,
            courtesies=() if announcements is None else (announcements.birth_topic,),
        )
        self._presence = self._shown_presence()

    def _request_desk(self, outbox: Outbox) -> RequestDesk:
        base, seams = self.base, self.base.seams
        return RequestDesk(
            gateway_id=base.plan.identity.gateway_id,
            roots=base.plan.roots,
            clock=seams.clock,
            epochs=self.epochs,
            trust=base.trust,
            timekeeper=base.timekeeper,
            statements=self.statements,
            recorder=base.recorder,
            resend=outbox.resend,
            facts=self._facts,
            new_report_id=lambda: new_id(seams.entropy),
        )

    def _shown_presence(self) -> Presence:
        base = self.base
        return Presence(
            topics=self.topics,
            boot=base.start.boot,
            log_id=base.journal.log_id,
            statements=self.statements,
            timekeeper=base.timekeeper,
            trust=base.trust,
            ledger=self.ledger,
            downlink=self.downlink,
            radio=self._radio_health,
            show=self.board.put,
            changed=self.changed,
        )

    async def _facts(self) -> tuple[tuple[str, str], ...]:
        from gatewayd.report_facts import facts_of  # noqa: PLC0415 - asked for on a bad day only

        return await facts_of(
            self.base,
            tier=self.statements.tier().name.lower(),
            radio=self.adapter.status,
            uplink=self.uplink.status,
            links=self.links,
            dropped={drop.value: count for drop, count in self.downlink.dropped.items()},
        )

    def _radio_health(self) -> tuple[bool, int]:
        counts = (link.status.connect_hour_count for link in self.links.values())
        return self.adapter.status.failed, max(counts, default=0)

    def _sealer(self) -> Sealer | None:
        key = self.base.plan.seal_to
        return None if key is None else Sealer(key, topics=self.topics, log_id=self.base.journal.log_id)

    def _announcements(self) -> Announcements | None:
        plan = self.base.plan
        if plan.discovery_prefix is None or plan.seal_to is not None:
            return None
        shown = Announcements(plan.discovery_prefix, self.topics, version=__version__, board=self.board)
        shown.show(sorted(self.roll.lock_ids))
        return shown

    def _show_door(self, topic: str, payload: Callable[[], bytes]) -> None:
        # Where entries are sealed, an empty one takes away what an earlier run has left there for everybody.
        self.board.put_living(topic, payload if self.base.plan.seal_to is None else bytes)

    def _log_watch(self) -> LogWatch:
        return LogWatch(
            boot=self.base.start.boot,
            store=self.base.seams.store,
            journal=self.base.journal,
            retain_count=self.base.plan.retain_count,
            timekeeper=self.base.timekeeper,
            suspicion=self.base.suspicion,
            alerts=self.alerts,
            changed=self._note_receipt,
            renew=self._renew,
        )

    def _renew(self) -> None:
        self.must_restart = True
        self._stop.set()

    def _note_receipt(self) -> None:
        self.changed.set()
        for link in self.links.values():
            link.note_received()

    async def run(self, stop: asyncio.Event) -> None:
        """Live until `stop` is set, by whomever; then let a movement that is under way end, and leave properly.

        Raises:
            ExceptionGroup: a bug in one of the parts. Faults of radio, network and disk never come out.
        """
        self._stop = stop
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(carry_over(self.base.recorder))
            lives = (
                self.uplink.run(),
                self.door.settle(),
                self._presence.run(),
                self._disk_watch().run(),
                self._upkeep().run(),
                supervise(self.ledger, self._heartbeat, interval_s=self.base.plan.heartbeat_s),
            )
            parts = [tasks.create_task(each) for each in lives]
            watching = tasks.create_task(until_one_ends(parts))
            self.roster.run(tasks)
            try:
                await stop.wait()
                await self._finish()
            finally:
                self.roster.stop()
            for part in (watching, *parts):
                part.cancel()
        await _write_or_tell(self.base.seams.store.run(meta.end_run))

    def _upkeep(self) -> Upkeep:
        base = self.base
        return Upkeep(
            clock=base.seams.clock,
            store=base.seams.store,
            timekeeper=base.timekeeper,
            statements=self.statements,
            alerts=self.alerts,
        )

    def _disk_watch(self) -> DiskWatch:
        return DiskWatch(store=self.base.seams.store, alerts=self.alerts, mended=self._note_mended)

    async def _note_mended(self) -> None:
        await self.emergencies.hand_over()
        await self.door.doubts.settle_all()

    async def _finish(self) -> None:
        try:
            async with asyncio.timeout(FINISH_S_MAX):
                await self.downlink.finish()
        except TimeoutError:
            # The intent is durable: the next start asks the lock.
            _log.warning("stop.impatient")

    async def _heartbeat(self) -> None:
        trust = self.base.trust
        await self.base.recorder.record(
            GatewayHeartbeat(
                tier=self.statements.tier().name.lower(),
                state_seq=0 if trust.state is None else trust.state.seq,
                keyset_version=0 if trust.keyset is None else trust.keyset.version,
                supervision_s=self.base.plan.heartbeat_s,
            )
        )


async def open_house(seams: Seams, plan: Plan) -> House:
    """Begin a run on this store: count the start, load what is known, journal that we are up.

    Raises:
        StoreError: the store cannot be used.
        RemoteProtocolError: what it holds was not signed by the pinned roots.
    """
    base = await lay_foundation(seams, plan)
    await base.trust.load()
    await base.suspicion.load()
    house = House(base)
    started = GatewayStarted(
        boot=base.start.boot,
        version=__version__,
        unclean=base.start.unclean,
        supervision_s=plan.heartbeat_s,
    )
    await _write_or_tell(base.recorder.record(started))
    return house


async def _write_or_tell(writing: Awaitable[object]) -> None:
    """A disk that takes nothing keeps nobody from starting or stopping: emergencies must get through."""
    try:
        await writing
    except StoreError as error:
        _log.error("store.unavailable", code=error.code)
