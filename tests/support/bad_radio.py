"""A home whose radio fails in every way it knows, for days to years of virtual time, and who keeps the truth.

The world draws its faults from one seed. It records by itself when a fresh connect could first succeed, which commands
moved the bolt and when; nothing of that is asked of the link.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Action, Bolt
from gatewayd.link.radio import RadioCode, RadioError, Rung
from tests.support.link_home import Diary, LinkHome, move
from tests.support.memory_radio import ADDRESS

if TYPE_CHECKING:
    from gatewayd.link.ports import BoltMove, DoorObserved, LinkChanged, MoveOutcome
    from gatewayd.timekeeping import Instant, TimeInterval

DAY_S: Final = 24 * 3_600
INCIDENT_S_MEAN: Final = 3 * 3_600
COMMAND_S_MEAN: Final = 2 * 3_600
CHANCE_LOSS_MAX: Final = 0.2
"""A connect that fails more often than this by chance alone is not one that could succeed."""


def loop_s() -> float:
    """Virtual seconds."""
    return asyncio.get_running_loop().time()


@dataclass(slots=True, kw_only=True)
class Told:
    """One command and what was told of it."""

    order: BoltMove
    begun_s: float
    ended_s: float
    outcome: MoveOutcome


@dataclass(slots=True)
class Record:
    """What the world saw."""

    fresh_s: list[float] = field(default_factory=list)
    """For each outage: how long after the first instant at which a fresh connect could succeed the link was ready."""
    silent_s: list[float] = field(default_factory=list)
    """The same for links that fell silent without an end, which must first be noticed."""
    told: list[Told] = field(default_factory=list)
    incidents: Counter[str] = field(default_factory=Counter)
    connects: Counter[int] = field(default_factory=Counter)
    """Links that came up, by day."""

    @staticmethod
    def percentile(values: list[float], share: float) -> float:
        """Return what `share` of the values do not exceed; 0 of none."""
        return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


class _ShortDiary(Diary):
    """Keeps nothing that grows."""

    def __init__(self, world: BadRadio) -> None:
        super().__init__()
        self._world = world

    def on_door_observed(self, observed: DoorObserved) -> None:
        """See `LinkListener`."""

    def on_link_changed(self, change: LinkChanged) -> None:
        """See `LinkListener`."""
        self._world.note_shown(ready=change.ready)

    async def on_lock_clock(self, _lock_id: bytes, *, boot: int, up_ms: int, instant: Instant) -> TimeInterval:  # noqa: ARG002 - the port's
        """See `LinkListener`."""
        return self.interval


class BadRadio:
    """Made inside a running virtual loop."""

    def __init__(self, seed: int) -> None:
        self.home = LinkHome(seed=seed)
        self.random = Random(-seed - 1)
        self.record = Record()
        self.home.diary = _ShortDiary(self)
        self.home.link = self.home.make_link()
        self.home.radio.on_changed = self._note_world
        self.home.ledger.on_commit = self._note_commit
        self._instant_s: float | None = loop_s()
        self._silent = False
        self._connect_count = 0
        self._seq = 0

    async def live(self, days: float) -> Record:
        """Let that many days pass, and then let the world be good for ten minutes."""
        async with self.home.running():
            async with asyncio.TaskGroup() as tasks:
                weather = tasks.create_task(self._weather(loop_s() + days * DAY_S))
                people = tasks.create_task(self._people())
                await weather
                people.cancel()
            self._make_good()
            await asyncio.sleep(600)
            assert self.home.link.ready
        return self.record

    # Truth.

    def note_shown(self, *, ready: bool) -> None:
        """The link shows itself up or down."""
        if ready and self._instant_s is not None:
            (self.record.silent_s if self._silent else self.record.fresh_s).append(loop_s() - self._instant_s)
            self._instant_s, self._silent = None, False

    def _note_world(self) -> None:
        radio = self.home.radio
        count = radio.connects[ADDRESS]
        self.record.connects[int(loop_s() // DAY_S)] += count - self._connect_count
        self._connect_count = count
        link = radio.locks[ADDRESS].gateway
        if not self._is_possible():
            self._instant_s = None
        elif (link is None or link.silent) and self._instant_s is None:
            self._instant_s = loop_s()
            self._silent = link is not None

    def _is_possible(self) -> bool:
        radio = self.home.radio
        return radio.can_connect() and not radio.connect_errors and radio.connect_loss <= CHANCE_LOSS_MAX

    def _note_commit(self) -> None:
        # The central log signs at once, so that the lock may prune what it has told.
        ledger = self.home.ledger
        ledger.entries.clear()
        if ledger.position is not None:
            ledger.received = ledger.position.seq

    # What happens.

    async def _weather(self, end_s: float) -> None:
        incidents = (
            (self._drop, 30),
            (self._out_of_reach, 15),
            (self._silence, 10),
            (self._restart_of_bluez, 8),
            (self._pull_adapter, 6),
            (self._hang, 6),
            (self._errors, 6),
            (self._bad_hour, 6),
            (self._reboot_of_lock, 5),
            (self._new_services, 4),
            (self._new_battery, 3),
            (self._switch_off, 2),
        )
        while loop_s() < end_s:
            await asyncio.sleep(self.random.expovariate(1 / INCIDENT_S_MEAN))
            happen = self.random.choices([each for each, _ in incidents], [weight for _, weight in incidents])[0]
            self.record.incidents[happen.__name__.strip("_")] += 1
            await happen()

    async def _people(self) -> None:
        while True:
            await asyncio.sleep(self.random.expovariate(1 / COMMAND_S_MEAN))
            self._seq += 1
            out = self.home.mechanics.bolt is Bolt.UNLOCKED
            order = move(
                self._seq,
                action=Action.LOCK if out else Action.UNLOCK,
                within_ms=self.random.randrange(1_000, 10_000),
            )
            begun_s = loop_s()
            outcome = await self.home.link.execute(order)
            self.record.told.append(Told(order=order, begun_s=begun_s, ended_s=loop_s(), outcome=outcome))

    def _make_good(self) -> None:
        radio = self.home.radio
        radio.connect_errors.clear()
        radio.connect_loss = 0
        self.home.lock.power_on()
        radio.set_reachable(True)
        radio.set_available(True)

    async def _drop(self) -> None:
        self.home.radio.drop_link()

    async def _out_of_reach(self) -> None:
        self.home.radio.set_reachable(False)
        await asyncio.sleep(self.random.uniform(1, 1_200))
        self.home.radio.set_reachable(True)

    async def _silence(self) -> None:
        self.home.radio.silence_link()

    async def _restart_of_bluez(self) -> None:
        self.home.radio.set_available(False)
        await asyncio.sleep(self.random.uniform(0.5, 5))
        self.home.radio.set_available(True)

    async def _pull_adapter(self) -> None:
        self.home.radio.set_available(False)
        await asyncio.sleep(self.random.uniform(1, 600))
        self.home.radio.set_available(True)

    async def _hang(self) -> None:
        self.home.radio.hang(self.random.choice([Rung.POWER_CYCLE, Rung.RESET, Rung.RESTART]))

    async def _switch_off(self) -> None:
        self.home.radio.switch_off()

    async def _errors(self) -> None:
        codes = [RadioCode.IN_PROGRESS, RadioCode.CONNECT_FAILED, RadioCode.NO_SLOT, RadioCode.GATT_FAILED]
        for _ in range(self.random.randrange(1, 6)):
            self.home.radio.connect_errors.append(RadioError(self.random.choice(codes)))
        self.home.radio.drop_link()

    async def _bad_hour(self) -> None:
        radio, end_s = self.home.radio, loop_s() + self.random.uniform(600, 3_600)
        radio.connect_loss = self.random.uniform(0.05, 0.9)
        self._note_world()
        while loop_s() < end_s:
            await asyncio.sleep(self.random.expovariate(1 / 300))
            radio.drop_link()
        radio.connect_loss = 0
        self._note_world()

    async def _reboot_of_lock(self) -> None:
        self.home.lock.power_cycle()

    async def _new_services(self) -> None:
        self.home.radio.set_stale()
        self.home.radio.drop_link()

    async def _new_battery(self) -> None:
        radio = self.home.radio
        self.home.lock.power_off()
        radio.set_reachable(False)
        await asyncio.sleep(self.random.uniform(20, 600))
        self.home.mechanics.drain_battery(6_000)
        self.home.lock.power_on()
        radio.set_reachable(True)


def broken_promises(world: BadRadio) -> list[str]:
    """Return what was told and is not so, or was done and should not have been."""
    moved = Counter[bytes]()
    late: list[str] = []
    orders = {told.order.command_id: told for told in world.record.told}
    for movement in world.home.mechanics.movements:
        if movement.command_id is None:
            continue
        moved[movement.command_id] += 1
        told = orders.get(movement.command_id)
        if told is not None and movement.at_ms / 1_000 >= told.begun_s + told.order.within_ms / 1_000:
            late.append(f"command {told.order.command_seq} moved the bolt late")
    twice = [
        f"command {int.from_bytes(each, 'big')} moved the bolt {count} times"
        for each, count in moved.items()
        if count > 1
    ]
    never = {Code.LINK_DOWN, Code.BUSY, Code.FAILED, Code.TOO_LATE}
    lies = [
        f"command {told.order.command_seq} is told as {told.outcome.code.dotted} and the bolt moved"
        for told in world.record.told
        if told.outcome.code in never and moved[told.order.command_id]
    ] + [
        f"command {told.order.command_seq} is told as done and the bolt never moved"
        for told in world.record.told
        if told.outcome.code is Code.DONE and not moved[told.order.command_id] and told.outcome.lock_log_seq is None
    ]
    return [*twice, *late, *lies]
