"""Keeps one lock within reach for ever: does what each state of `machine.py` stands for."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from firmware_protocol.codes import Code
from firmware_protocol.hello import HELLO_NONCE_SIZE
from firmware_protocol.noise import DH_SIZE, KeyPair
from firmware_protocol.session import GatewaySession
from gatewayd.errors import GatewayError
from gatewayd.link.attendance import Attendance
from gatewayd.link.budget import ConnectBudget
from gatewayd.link.faults import LinkFault, LinkLost, Relieved, SessionWornOut
from gatewayd.link.ladder import LockRungs
from gatewayd.link.lock_client import LockClient
from gatewayd.link.log_transfer import LogTransfer
from gatewayd.link.machine import HELD_STATES, LinkEvent, LinkState, next_state
from gatewayd.link.moves import Hurry, Moves
from gatewayd.link.patience import Patience, radio_patience
from gatewayd.link.ports import LinkStatus
from gatewayd.link.radio import RadioCode, RadioError
from gatewayd.link.relay_channel import RelayChannels
from gatewayd.link.search import look_for
from gatewayd.link.slots import ROUND_MS
from gatewayd.link.troubles import ORDER_PENDING, Troubles
from gatewayd.stopping import run_apart, until_one_ends

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from random import Random

    from firmware_protocol.hello import LockStatus
    from gatewayd.channel import Entropy, Submit
    from gatewayd.link.adapter import Adapter
    from gatewayd.link.ports import BoltMove, LinkLedger, LinkListener, LockTarget, MoveOutcome
    from gatewayd.link.radio import LockLink, Sighting
    from gatewayd.timekeeping import Clock

CONNECT_MS_MAX: Final = 10_000
"""Longest stay in CONNECTING, in milliseconds. bleak alone would wait 30 s: too long at a door."""
DROP_MS_MAX: Final = 10_000
"""Longest time for each step of taking a link down, in milliseconds."""
STEADY_MS: Final = 60_000
"""A link that stood for so long has shown that the lock can be kept: its loss starts with a short back-off again."""
HELD_MS: Final = 60_000
"""A lock that is not heard, and when last heard, at most so long ago, had a phone, is held by a phone."""

_log = structlog.get_logger()


class LinkSupervisor:
    """One lock's link; implements `ports.BoltMover`."""

    # Of the link that is up, or on its way up.
    _link: LockLink | None = None
    _client: LockClient | None = None
    _carrier: asyncio.Task[None] | None = None
    _session_ctr: int | None = None
    _version_floor: int = 0

    def __init__(  # noqa: PLR0913 - the seams of a link, each once
        self,
        *,
        target: LockTarget,
        keys: KeyPair,
        adapter: Adapter,
        ledger: LinkLedger,
        listener: LinkListener,
        submit: Submit,
        clock: Clock,
        entropy: Entropy,
        random: Random,
    ) -> None:
        """Do nothing yet. `keys` is the gateway's X25519 pair; `random` jitters back-offs and nothing else."""
        self._target = target
        self._keys = keys
        self._adapter = adapter
        self._radio = adapter.radio
        self._ledger = ledger
        self._listener = listener
        self._clock = clock
        self._entropy = entropy
        self._ready = asyncio.Event()
        self._hurry = Hurry()
        self._budget = ConnectBudget(clock.now().monotonic_ms)
        self._rungs = LockRungs()
        self._troubles = Troubles(lock_id=target.lock_id, ledger=ledger, listener=listener, clock=clock)
        self._patience = Patience(
            address=target.address or target.heard_at,
            radio=self._radio,
            budget=self._budget,
            clock=clock,
            random=random,
            hurry=self._hurry,
            on_sighting=self._note_sighting,
        )
        self._transfer = LogTransfer(lock_id=target.lock_id, log_key=target.log_key, ledger=ledger, listener=listener)
        self._relay = RelayChannels(
            lock_id=target.lock_id, keys=keys, submit=submit, listener=listener, clock=clock, entropy=entropy
        )
        self._attendance = Attendance(
            lock_id=target.lock_id,
            listener=listener,
            ledger=ledger,
            relay=self._relay,
            transfer=self._transfer,
            slots=adapter.slots,
        )
        self._moves = Moves(
            clock=clock, hurry=self._hurry, moved=self._attendance.state_due.set, why_down=self._troubles.why_down
        )
        self._state = LinkState.IDLE
        self._since = clock.now()
        self._connect_count = 0
        self._rest_until_ms: int | None = None
        """When the next visit is due, where others had to be given room."""
        self._heard_at = target.heard_at
        self._sighting: Sighting | None = None
        self._sighted_ms = 0

    @property
    def ready(self) -> bool:
        """Whether authenticated answers arrive."""
        return self._state is LinkState.READY

    @property
    def status(self) -> LinkStatus:
        """A snapshot."""
        now_ms = self._clock.now().monotonic_ms
        return LinkStatus(
            lock_id=self._target.lock_id,
            state=self._state,
            since=self._since,
            failure_count=self._troubles.count,
            last_fault=self._troubles.code,
            rssi_dbm=None if self._sighting is None else self._sighting.rssi_dbm,
            connect_count=self._connect_count,
            connect_hour_count=self._budget.hour_count(now_ms),
            connect_left_count=self._budget.left(now_ms),
        )

    @property
    def address(self) -> str | None:
        """Where the lock was last heard, or is said to be."""
        told = self._target.address or self._target.heard_at
        return told if self._sighting is None else self._sighting.address

    @property
    def connected_to(self) -> str | None:
        """Where this link leads, while it is up or on its way up or down."""
        return self.address if self._state in HELD_STATES else None

    async def wait_ready(self) -> None:
        """Wait until the link is ready; for ever, if need be."""
        await self._ready.wait()

    async def execute(self, move: BoltMove) -> MoveOutcome:
        """See `BoltMover.execute`; no back-off, no budget and no other lock's turn holds it up."""
        return await self._moves.execute(move)

    async def query(self, command_seq: int) -> MoveOutcome:
        """See `BoltMover.query`; cancels a back-off."""
        return await self._moves.query(command_seq)

    @property
    def last_command_seq(self) -> int:
        """See `BoltMover.last_command_seq`."""
        return self._attendance.last_command_seq or 0

    async def wait_heard(self, within_ms: int) -> None:
        """See `BoltMover.wait_heard`."""
        if self._attendance.last_command_seq is None:
            await self._moves.wait_attached(within_ms)

    def note_received(self) -> None:
        """The central log has signed for more of the lock's log: the lock may be told."""
        self._transfer.note_received()

    async def run(self) -> NoReturn:
        """Keep the lock within reach until cancelled; then nothing is left of the link."""
        self._adapter.slots.join(self._target.lock_id)
        async with asyncio.TaskGroup() as tasks:
            await until_one_ends([tasks.create_task(part) for part in (self._relay.run(), self._keep())])

    async def _keep(self) -> NoReturn:
        self._enter(LinkEvent.STARTED)
        try:
            while True:
                self._enter(await run_apart(self._act()))
        finally:
            # Cancelled, or a bug: either way no link may be left that nobody watches.
            await self._drop()
            self._enter(LinkEvent.STOPPED)
            self._troubles.outages.show_down(Code.LINK_DOWN.dotted)

    async def _act(self) -> LinkEvent:
        """Do what the state stands for, and return what ended it."""
        try:
            return await self._acts()[self._state]()
        except (GatewayError, RadioError) as fault:
            await self._troubles.note_fault(fault, self._state)
            return LinkEvent.FAULTED

    def _acts(self) -> Mapping[LinkState, Callable[[], Awaitable[LinkEvent]]]:
        return {
            LinkState.SCANNING: self._scan,
            LinkState.QUEUEING: self._queue,
            LinkState.CONNECTING: self._connect,
            LinkState.DISCOVERING: self._discover,
            LinkState.HANDSHAKING: self._shake_hands,
            LinkState.READY: self._serve,
            LinkState.DROPPING: self._drop,
            LinkState.BACKING_OFF: self._back_off,
        }

    def _enter(self, event: LinkEvent) -> None:
        state = next_state(self._state, event)
        _log.debug("link.moved", lock=self._target.lock_id.hex(), event_name=event.name.lower(), state=state.value)
        self._state = state
        self._since = self._clock.now()

    # What the states stand for.

    async def _scan(self) -> LinkEvent:
        heard_at, self._heard_at = self._heard_at, None
        try:
            sighting = await look_for(self._radio, self._target.address, heard_at=heard_at)
        except RadioError as error:
            if error.code == RadioCode.NOT_FOUND and self._had_phone():
                raise RadioError(RadioCode.HELD, "a phone had it when it was last heard") from error
            raise
        self._note_sighting(sighting)
        return LinkEvent.HEARD

    async def _queue(self) -> LinkEvent:
        """Wait for one of the adapter's connections; whoever is in a hurry does not wait for visits."""
        hurrying = asyncio.create_task(self._hurry_up())
        try:
            await self._adapter.slots.take(self._target.lock_id, urgent=self._urgent)
        finally:
            hurrying.cancel()
            await asyncio.wait({hurrying})
        return LinkEvent.ADMITTED

    async def _hurry_up(self) -> None:
        await self._patience.urgency()
        self._adapter.slots.hurry(self._target.lock_id)

    async def _connect(self) -> LinkEvent:
        assert self._sighting is not None  # noqa: S101 - for mypy: the table leads here only from HEARD
        async with radio_patience(CONNECT_MS_MAX, RadioCode.CONNECT_TIMEOUT):
            self._link = await self._radio.connect(self._sighting, timeout_ms=CONNECT_MS_MAX)
        self._connect_count += 1
        self._budget.spend(self._clock.now().monotonic_ms)
        return LinkEvent.CONNECTED

    async def _discover(self) -> LinkEvent:
        assert self._link is not None  # noqa: S101 - for mypy: the table leads here only from CONNECTED
        reserved = await self._ledger.reserve_session(self._target.lock_id)
        self._session_ctr, self._version_floor = reserved.session_ctr, reserved.version_floor
        session = GatewaySession(
            keys=self._keys,
            lock_key=self._target.lock_key,
            ephemeral=KeyPair.from_private(self._entropy.token(DH_SIZE)),
            nonce=self._entropy.token(HELLO_NONCE_SIZE),
            session_ctr=self._session_ctr,
            version_floor=self._version_floor,
            value_size_max=self._link.value_size_max,
            now_ms=self._clock.now().monotonic_ms,
            next_owner_epoch=self._target.owner_epoch,
        )
        self._client = LockClient(session=session, link=self._link, clock=self._clock, sink=self._attendance)
        self._carrier = asyncio.create_task(self._client.run())
        await self._client.greeted()
        return LinkEvent.GREETED

    async def _shake_hands(self) -> LinkEvent:
        client = self._live_client()
        authenticated, instant = await client.authenticated()
        status = authenticated.status
        if status.owner_epoch < self._target.owner_epoch:
            raise LinkLost(Code.OWNER_EPOCH.dotted, ORDER_PENDING)  # its counters are the earlier order's: no clone
        self._attendance.greet(status)
        await self._resume(client, status)
        self._relay.attach(client.post)
        client.confirm(
            await self._listener.on_lock_clock(
                self._target.lock_id, boot=status.boot, up_ms=status.up_ms, instant=instant
            )
        )
        await self._attendance.read_state(client)
        if authenticated.version > self._version_floor:
            await self._ledger.raise_version_floor(self._target.lock_id, authenticated.version)
        with contextlib.suppress(GatewayError):  # on a disk that takes nothing the door asks us for it
            await self._ledger.raise_command_seq(self._target.lock_id, status.command_seq)
        return LinkEvent.PROVEN

    async def _resume(self, client: LockClient, status: LockStatus) -> None:
        """Number the session after the lock's own counter, where no number could be reserved."""
        if self._session_ctr is not None:
            return
        self._session_ctr = await self._ledger.resume_session(self._target.lock_id, status.session_ctr)
        if self._session_ctr is None:
            detail = "the disk takes nothing, and the session numbers that were reserved on it are used up"
            await self._listener.on_alert(self._target.lock_id, Code.STORE_UNAVAILABLE, detail)
            raise LinkLost(Code.STORE_UNAVAILABLE.dotted, detail)
        client.resume(self._session_ctr)

    async def _serve(self) -> LinkEvent:
        client = self._live_client()
        await self._adapter.recovery.note_up(self._target.lock_id)
        await self._troubles.note_up(session_ctr=self._session_ctr or 0)
        self._heard_at = self.address
        self._moves.attach(client)
        self._ready.set()
        fault: LinkFault | None = None
        try:
            await self._attendance.attend(client, urgent=self._urgent)
        except* LinkFault as faults:
            fault = _first(faults)
        finally:
            self._moves.detach()
            self._ready.clear()
            self._adapter.recovery.note_down(self._target.lock_id)
        if self._clock.now().monotonic_ms - self._since.monotonic_ms >= STEADY_MS:
            self._troubles.count = 0
            self._rungs.note_proof()
        if isinstance(fault, SessionWornOut):
            return LinkEvent.RENEWAL_DUE
        if isinstance(fault, Relieved):
            self._rest_until_ms = self._since.monotonic_ms + ROUND_MS
            return LinkEvent.RELIEVED
        raise fault or LinkLost(Code.LINK_DOWN.dotted, "the link ended without a word")

    async def _drop(self) -> LinkEvent:
        """Take down whatever is left of the link. Raises only for bugs."""
        try:
            await self._take_down()
        finally:
            self._adapter.slots.give_back(self._target.lock_id)
        return LinkEvent.DROPPED

    async def _take_down(self) -> None:
        self._relay.detach()
        link, client, carrier = self._link, self._client, self._carrier
        self._link = self._client = self._carrier = None
        if carrier is not None and client is not None:
            carrier.cancel()
            _, late = await asyncio.wait({carrier}, timeout=DROP_MS_MAX / 1_000)
            if late:
                _log.error("link.carrier_hangs", lock=self._target.lock_id.hex())
            await client.farewell(Code.LINK_DOWN)
        if link is not None:
            try:
                async with asyncio.timeout(DROP_MS_MAX / 1_000):
                    await link.close()
            except TimeoutError:
                _log.warning("link.close_failed", lock=self._target.lock_id.hex())
        if carrier is not None and carrier.done() and not carrier.cancelled():
            carrier.result()  # a bug in carrying must not hide

    async def _back_off(self) -> LinkEvent:
        rest_until_ms, self._rest_until_ms = self._rest_until_ms, None
        if rest_until_ms is not None:
            return await self._patience.rest(rest_until_ms - self._clock.now().monotonic_ms)
        count, code = self._troubles.count, self._troubles.take()
        if code is None:
            return await self._patience.back_off(0, None)
        await self._adapter.recovery.climb(self._rungs, address=self.address, failure_count=count, code=code)
        return await self._patience.back_off(count, code)

    # What is known of the lock and of the last try.

    @property
    def _urgent(self) -> bool:
        return self._hurry.active or (self._sighting is not None and self._sighting.phone_waiting)

    def _note_sighting(self, sighting: Sighting) -> None:
        self._sighting = sighting
        self._sighted_ms = self._clock.now().monotonic_ms

    def _had_phone(self) -> bool:
        sighting, age_ms = self._sighting, self._clock.now().monotonic_ms - self._sighted_ms
        return sighting is not None and sighting.phone_waiting and age_ms <= HELD_MS

    def _live_client(self) -> LockClient:
        assert self._client is not None  # noqa: S101 - for mypy: there is one from DISCOVERING to DROPPING
        return self._client


def _first(faults: BaseExceptionGroup[LinkFault]) -> LinkFault:
    first = faults.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
