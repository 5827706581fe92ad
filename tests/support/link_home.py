"""A lock, the air, and a supervised link between them: real firmware, real bytes, virtual time."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.noise import KeyPair
from firmware_protocol.vocabulary import Action, Parcel
from gatewayd.errors import GatewayError
from gatewayd.link.adapter import Adapter
from gatewayd.link.ports import BoltMove, LockTarget, SessionReserved
from gatewayd.link.supervisor import LinkSupervisor
from gatewayd.timekeeping import TimeInterval
from simulator.flash import Flash
from simulator.flash_media import FragileMedium, MemoryMedium
from simulator.lock import SimulatedLock
from simulator.lock_keys import LockKeys
from simulator.mechanics import Mechanics
from simulator.seams import LoopScheduler
from tests.support.manual_clock import ManualClock
from tests.support.memory_radio import ADDRESS, MemoryRadio
from tests.support.seeded_entropy import SeededEntropy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from firmware_protocol.lock_log import LogPosition
    from gatewayd.channel import Responder, Submission
    from gatewayd.link.ports import DoorObserved, LinkChanged, LockEntry, RadioStep
    from gatewayd.timekeeping import Instant

ACTOR: Final = b"actorkid"
TRUSTED: Final = TimeInterval(lo_ms=1_790_000_000_500, hi_ms=1_790_000_060_500)
PATIENCE_S: Final = 3_600
"""Virtual seconds that `LinkHome.until` waits before a test fails."""


class MemoryLedger:
    """A `LinkLedger` in memory, on a disk that can be full."""

    def __init__(self) -> None:
        self.session_ctr = 0
        self.held_parcels: tuple[tuple[Parcel, bytes], ...] = ()
        self.version_floor = 0
        self.command_seq = 0
        self.position: LogPosition | None = None
        self.received = 0
        self.receipt: bytes | None = None
        self.entries: list[LockEntry] = []
        self.heads: list[bytes] = []
        self.restarts: list[LogPosition] = []
        self.links: list[tuple[object, ...]] = []
        self.steps: list[RadioStep] = []
        self.full = False
        """Whether writing fails; reserving a session does not, for its block was reserved before."""
        self.commit_s = 0.0
        """How long the disk takes for a batch."""
        self.on_commit: Callable[[], None] = lambda: None

    async def resume_session(self, _lock_id: bytes, lock_ctr: int) -> int | None:
        return lock_ctr + 1

    async def reserve_session(self, _lock_id: bytes) -> SessionReserved:
        """See `LinkLedger`."""
        self.session_ctr += 1
        return SessionReserved(session_ctr=self.session_ctr, version_floor=self.version_floor)

    async def raise_command_seq(self, _lock_id: bytes, command_seq: int) -> None:
        """See `LinkLedger`."""
        self.command_seq = max(self.command_seq, command_seq)

    async def raise_version_floor(self, _lock_id: bytes, version: int) -> None:
        """See `LinkLedger`."""
        self.version_floor = version

    async def log_position(self, _lock_id: bytes) -> LogPosition | None:
        """See `LinkLedger`."""
        return self.position

    async def parcels(self, _lock_id: bytes) -> tuple[tuple[Parcel, bytes], ...]:
        """See `LinkLedger`."""
        return self.held_parcels

    async def newest_receipt(self) -> bytes | None:
        """See `LinkLedger`."""
        return self.receipt

    async def received_seq(self, _lock_id: bytes, _log_id: bytes) -> int:
        """See `LinkLedger`."""
        return self.received

    async def restart_log(self, _lock_id: bytes, position: LogPosition) -> None:
        """See `LinkLedger`."""
        self._write()
        self.restarts.append(position)
        self.position = position

    async def commit_records(self, _lock_id: bytes, entries: Sequence[LockEntry], after: LogPosition) -> None:
        """See `LinkLedger`."""
        await asyncio.sleep(self.commit_s)
        self._write()
        self.on_commit()
        self.entries.extend(entries)
        self.position = after

    async def commit_head(self, _lock_id: bytes, head: bytes) -> None:
        """See `LinkLedger`."""
        self._write()
        self.heads.append(head)

    async def record_link_raised(self, _lock_id: bytes, *, session_ctr: int, outage_ms: int) -> None:
        """See `LinkLedger`."""
        self._write()
        self.links.append(("raised", session_ctr, outage_ms))

    async def record_link_lost(self, _lock_id: bytes, code: str) -> None:
        """See `LinkLedger`."""
        self._write()
        self.links.append(("lost", code))

    async def record_radio_step(self, step: RadioStep) -> None:
        """See `LinkLedger`."""
        self._write()
        self.steps.append(step)

    def _write(self) -> None:
        if self.full:
            raise GatewayError("store.full", "the disk is full")


class Diary:
    """A `LinkListener` that writes everything down."""

    def __init__(self) -> None:
        self.interval = TRUSTED
        self.clocks: list[tuple[int, int, Instant]] = []
        self.challenges: list[bytes] = []
        self.doors: list[DoorObserved] = []
        self.changes: list[LinkChanged] = []
        self.alerts: list[Code] = []
        self.parcels: list[tuple[Parcel, bytes]] = []

    async def on_lock_clock(self, _lock_id: bytes, *, boot: int, up_ms: int, instant: Instant) -> TimeInterval:
        """See `LinkListener`."""
        self.clocks.append((boot, up_ms, instant))
        return self.interval

    def on_challenge(self, _lock_id: bytes, challenge: bytes, _instant: Instant) -> None:
        """See `LinkListener`."""
        self.challenges.append(challenge)

    def on_door_observed(self, observed: DoorObserved) -> None:
        """See `LinkListener`."""
        self.doors.append(observed)

    def on_link_changed(self, change: LinkChanged) -> None:
        """See `LinkListener`."""
        self.changes.append(change)

    async def on_parcel(self, kind: Parcel, data: bytes) -> Code:
        """See `LinkListener`."""
        self.parcels.append((kind, data))
        return Code.DONE

    async def on_parcel_wanted(self, _kind: Parcel, _from_index: int) -> tuple[Code, tuple[bytes, ...]]:
        """See `LinkListener`."""
        return Code.DONE, (b"one", b"two")

    async def on_alert(self, _lock_id: bytes, code: Code, _detail: str) -> None:
        """See `LinkListener`."""
        self.alerts.append(code)


class Desk:
    """A `Submit` that answers as a test tells it to."""

    def __init__(self) -> None:
        self.submissions: list[Submission] = []
        self.story: Callable[[Submission, Responder], object] = lambda _submission, responder: responder.denied()

    async def __call__(self, submission: Submission, responder: Responder) -> None:
        """See `Submit`."""
        self.submissions.append(submission)
        await self.story(submission, responder)  # type: ignore[misc]  # every story is awaitable


class HomeWaits:
    """Running a link, and waiting for what it does."""

    link: LinkSupervisor

    @asynccontextmanager
    async def running(self, *, ready: bool = True) -> AsyncIterator[LinkSupervisor]:
        """Run the link, and stop it at the end."""
        task = asyncio.create_task(self.link.run())
        try:
            if ready:
                await self.until_ready(task)
            yield self.link
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def until_ready(self, task: asyncio.Task[object] | None = None) -> None:
        """Wait for the link; fail if its task ends before."""
        waiting = asyncio.create_task(self.link.wait_ready())
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({waiting, task} if task else {waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            assert task is not None
            task.result()

    async def until(self, reached: Callable[[], object]) -> None:
        """Wait until something is true, looking every 10 virtual milliseconds."""
        async with asyncio.timeout(PATIENCE_S):
            while not reached():
                await asyncio.sleep(0.01)


class LinkHome(HomeWaits):
    """One lock in reach of one gateway. Make it in a running loop."""

    def __init__(
        self,
        *,
        seed: int = 1,
        value_size_max: int = 244,
        latency_ms: tuple[float, float] = (1, 5),
        roots: tuple[bytes, ...] = (),
        gateway_id: bytes = b"gateway1",
    ) -> None:
        """With `roots` the lock decides alone where it has to."""
        self.random = Random(seed)
        self.entropy = SeededEntropy(seed)
        self.clock = ManualClock()
        self.gateway_keys = KeyPair.from_private(self.entropy.token(32))
        keys = LockKeys.generate(self.entropy, name="home", gateway_key=self.gateway_keys.public, gateway_id=gateway_id)
        self.keys = replace(keys, roots=roots)
        scheduler = LoopScheduler()
        self.medium = FragileMedium(MemoryMedium())
        self.flash = Flash(self.medium)
        self.mechanics = Mechanics(scheduler)
        self.lock = SimulatedLock(self.keys, self.flash, self.mechanics, scheduler, self.entropy)
        self.radio = MemoryRadio(self.lock, self.random, value_size_max=value_size_max, latency_ms=latency_ms)
        self.lock.attach_beacon(self.radio)
        self.ledger = MemoryLedger()
        self.diary = Diary()
        self.desk = Desk()
        self.adapter = Adapter(radio=self.radio, ledger=self.ledger, clock=self.clock)
        self.link = self.make_link()

    def make_link(
        self, *, lock_key: bytes | None = None, log_key: bytes | None = None, address: str = ADDRESS
    ) -> LinkSupervisor:
        """Return a new supervisor, as a restarted gateway has one."""
        return LinkSupervisor(
            target=LockTarget(
                lock_id=self.keys.lock_id,
                lock_key=lock_key or self.keys.link.public,
                log_key=log_key or bytes(self.keys.log_key.verify_key),
                address=address,
            ),
            keys=self.gateway_keys,
            adapter=self.adapter,
            ledger=self.ledger,
            listener=self.diary,
            submit=self.desk,
            clock=self.clock,
            entropy=self.entropy,
            random=self.random,
        )

    @property
    def movement_count(self) -> int:
        """How often the motor was started by a command: the truth of the mechanics."""
        return len([movement for movement in self.mechanics.movements if movement.command_id is not None])


def move(seq: int, *, action: Action = Action.UNLOCK, within_ms: int = 10_000) -> BoltMove:
    """Return a movement that was permitted and reserved."""
    command_id = seq.to_bytes(16, "big")
    return BoltMove(
        command_seq=seq,
        action=action,
        command_sha256=hashlib.sha256(command_id).digest(),
        command_id=command_id,
        actor_kid=ACTOR,
        within_ms=within_ms,
    )
