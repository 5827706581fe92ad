"""Keeps one lock within reach for ever: does what each state of `machine.py` stands for."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, NoReturn

import structlog

from firmware_protocol.codes import Code
from firmware_protocol.constants import SERVICE_UUID
from firmware_protocol.hello import HELLO_NONCE_SIZE
from firmware_protocol.messages import EventNotification, RelayClose, RelayData, RelayOpen, State
from firmware_protocol.noise import DH_SIZE, KeyPair
from firmware_protocol.session import GatewaySession
from gatewayd.errors import GatewayError
from gatewayd.link.faults import CloneSuspected, LinkFault, LinkLost, RequestRefused, SessionWornOut
from gatewayd.link.lock_client import LockClient
from gatewayd.link.log_transfer import LogTransfer
from gatewayd.link.machine import LinkEvent, LinkState, backoff_ms_max, next_state
from gatewayd.link.moves import Moves
from gatewayd.link.outages import Outages
from gatewayd.link.ports import DoorObserved, LinkStatus
from gatewayd.link.radio import RadioCode, RadioError
from gatewayd.link.relay_channel import RelayChannels
from gatewayd.stopping import run_apart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from random import Random

    from firmware_protocol.hello import LockStatus
    from gatewayd.channel import Entropy, Submit
    from gatewayd.link.lock_client import Unasked
    from gatewayd.link.ports import BoltMove, LinkLedger, LinkListener, LockTarget, MoveOutcome
    from gatewayd.link.radio import LockLink, Radio, Sighting
    from gatewayd.timekeeping import Clock, Instant

SCAN_MS_MAX: Final = 10_000
"""Longest stay in SCANNING, in milliseconds: a lock advertises at least once a second."""
CONNECT_MS_MAX: Final = 10_000
"""Longest stay in CONNECTING, in milliseconds. bleak alone would wait 30 s: too long at a door."""
RADIO_SLACK_MS: Final = 5_000
"""So much longer the radio may take to give up itself, in milliseconds, before it is given up."""
DROP_MS_MAX: Final = 10_000
"""Longest time for each step of taking a link down, in milliseconds."""
STEADY_MS: Final = 60_000
"""A link that stood for so long has shown that the lock can be kept: its loss starts with a short back-off again."""
REFRESH_MS: Final = 60_000
"""How often the door's state is read and the session's age looked at, in milliseconds: half of what a shown state
may be old."""

_log = structlog.get_logger()


class LinkSupervisor:
    """One lock's link; implements `ports.BoltMover`."""

    def __init__(  # noqa: PLR0913 - the seams of a link, each once
        self,
        *,
        target: LockTarget,
        keys: KeyPair,
        radio: Radio,
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
        self._radio = radio
        self._ledger = ledger
        self._listener = listener
        self._clock = clock
        self._entropy = entropy
        self._random = random
        self._hurried = asyncio.Event()
        self._state_due = asyncio.Event()
        self._ready = asyncio.Event()
        self._moves = Moves(clock=clock, hurry=self._hurried.set, moved=self._state_due.set)
        self._transfer = LogTransfer(lock_id=target.lock_id, ledger=ledger, listener=listener)
        self._relay = RelayChannels(
            lock_id=target.lock_id, keys=keys, submit=submit, listener=listener, clock=clock, entropy=entropy
        )
        self._outages = Outages(lock_id=target.lock_id, ledger=ledger, listener=listener, clock=clock)
        self._acts: Mapping[LinkState, Callable[[], Awaitable[LinkEvent]]] = {
            LinkState.SCANNING: self._scan,
            LinkState.CONNECTING: self._connect,
            LinkState.DISCOVERING: self._discover,
            LinkState.HANDSHAKING: self._shake_hands,
            LinkState.READY: self._serve,
            LinkState.DROPPING: self._drop,
            LinkState.BACKING_OFF: self._back_off,
        }
        self._state = LinkState.IDLE
        self._since = clock.now()
        self._failure_count = 0
        self._connect_count = 0
        self._fault_code: str | None = None
        self._suspected = False
        self._sighting: Sighting | None = None
        self._link: LockLink | None = None
        self._client: LockClient | None = None
        self._carrier: asyncio.Task[None] | None = None
        self._session_ctr = 0
        self._version_floor = 0
        self._lock_status: LockStatus | None = None

    @property
    def ready(self) -> bool:
        """Whether authenticated answers arrive."""
        return self._state is LinkState.READY

    @property
    def status(self) -> LinkStatus:
        """A snapshot."""
        return LinkStatus(
            lock_id=self._target.lock_id,
            state=self._state,
            since=self._since,
            failure_count=self._failure_count,
            last_fault=self._fault_code,
            rssi_dbm=None if self._sighting is None else self._sighting.rssi_dbm,
            connect_count=self._connect_count,
        )

    async def wait_ready(self) -> None:
        """Wait until the link is ready; for ever, if need be."""
        await self._ready.wait()

    async def execute(self, move: BoltMove) -> MoveOutcome:
        """See `BoltMover.execute`; cancels a back-off."""
        return await self._moves.execute(move)

    async def query(self, command_seq: int) -> MoveOutcome:
        """See `BoltMover.query`; cancels a back-off."""
        return await self._moves.query(command_seq)

    def note_received(self) -> None:
        """The central log has signed for more of the lock's log: the lock may be told."""
        self._transfer.note_received()

    async def run(self) -> NoReturn:
        """Keep the lock within reach until cancelled; then nothing is left of the link."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._relay.run())
            await self._keep()

    async def _keep(self) -> NoReturn:
        self._enter(LinkEvent.STARTED)
        try:
            while True:
                self._enter(await run_apart(self._act()))
        finally:
            # Cancelled, or a bug: either way no link may be left that nobody watches.
            await self._drop()
            self._enter(LinkEvent.STOPPED)
            self._outages.show_down(Code.LINK_DOWN.dotted)

    async def _act(self) -> LinkEvent:
        """Do what the state stands for, and return what ended it."""
        try:
            return await self._acts[self._state]()
        except (GatewayError, RadioError) as fault:
            await self._note_fault(fault)
            return LinkEvent.FAULTED

    def _enter(self, event: LinkEvent) -> None:
        state = next_state(self._state, event)
        _log.debug("link.moved", lock=self._target.lock_id.hex(), event_name=event.name.lower(), state=state.value)
        self._state = state
        self._since = self._clock.now()

    # What the states stand for.

    async def _scan(self) -> LinkEvent:
        await self._find(SCAN_MS_MAX)
        return LinkEvent.HEARD

    async def _find(self, timeout_ms: int) -> None:
        async with _radio_patience(timeout_ms, RadioCode.NOT_FOUND):
            self._sighting = await self._radio.find(SERVICE_UUID, self._target.address, timeout_ms=timeout_ms)

    async def _connect(self) -> LinkEvent:
        assert self._sighting is not None  # noqa: S101 - for mypy: the table leads here only from HEARD
        async with _radio_patience(CONNECT_MS_MAX, RadioCode.CONNECT_TIMEOUT):
            self._link = await self._radio.connect(self._sighting, timeout_ms=CONNECT_MS_MAX)
        self._connect_count += 1
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
        )
        self._client = LockClient(session=session, link=self._link, clock=self._clock, sink=self)
        self._carrier = asyncio.create_task(self._client.run())
        await self._client.greeted()
        return LinkEvent.GREETED

    async def _shake_hands(self) -> LinkEvent:
        client = self._live_client()
        authenticated, instant = await client.authenticated()
        self._lock_status = status = authenticated.status
        self._relay.attach(client.post)
        client.confirm(
            await self._listener.on_lock_clock(
                self._target.lock_id, boot=status.boot, up_ms=status.up_ms, instant=instant
            )
        )
        await self._read_state(client)
        if authenticated.version > self._version_floor:
            await self._ledger.raise_version_floor(self._target.lock_id, authenticated.version)
        return LinkEvent.PROVEN

    async def _serve(self) -> LinkEvent:
        client = self._live_client()
        self._suspected = False
        await self._outages.note_up(session_ctr=self._session_ctr)
        self._moves.attach(client)
        self._ready.set()
        fault: LinkFault | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(client.until_lost())
                tasks.create_task(self._copy_log(client))
                tasks.create_task(self._refresh(client))
        except* LinkFault as faults:
            fault = _first(faults)
        finally:
            self._moves.detach()
            self._ready.clear()
        if self._clock.now().monotonic_ms - self._since.monotonic_ms >= STEADY_MS:
            self._failure_count = 0
        if isinstance(fault, SessionWornOut):
            return LinkEvent.RENEWAL_DUE
        raise fault or LinkLost(Code.LINK_DOWN.dotted, "the link ended without a word")

    async def _drop(self) -> LinkEvent:
        """Take down whatever is left of the link. Raises only for bugs."""
        self._relay.detach()
        link, client, carrier = self._link, self._client, self._carrier
        self._link = self._client = self._carrier = None
        if carrier is not None and client is not None:
            carrier.cancel()
            await asyncio.wait({carrier}, timeout=DROP_MS_MAX / 1_000)
            await client.farewell(Code.LINK_DOWN)
        if link is not None:
            try:
                async with asyncio.timeout(DROP_MS_MAX / 1_000):
                    await link.close()
            except TimeoutError:
                _log.warning("link.close_failed", lock=self._target.lock_id.hex())
        if carrier is not None and carrier.done() and not carrier.cancelled():
            carrier.result()  # a bug in carrying must not hide
        return LinkEvent.DROPPED

    async def _back_off(self) -> LinkEvent:
        delay_ms = round(self._random.uniform(0, backoff_ms_max(self._failure_count)))
        waits: dict[asyncio.Task[Any], LinkEvent] = {asyncio.create_task(self._hurried.wait()): LinkEvent.HURRIED}
        if self._fault_code == RadioCode.NOT_FOUND:
            # It was out of reach: the first advertisement says that it is back.
            waits[asyncio.create_task(self._listen(delay_ms))] = LinkEvent.HEARD
        try:
            done, _ = await asyncio.wait(waits, timeout=delay_ms / 1_000, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.wait(waits)
        self._hurried.clear()
        return next((waits[task] for task in waits if task in done), LinkEvent.WAITED)

    async def _listen(self, timeout_ms: int) -> None:
        try:
            await self._find(timeout_ms)
        except RadioError:
            await asyncio.Event().wait()  # for as long as the back-off lasts

    # While the link is ready.

    async def _copy_log(self, client: LockClient) -> None:
        assert self._lock_status is not None  # noqa: S101 - for mypy: known since the handshake
        await self._transfer.run(client, self._lock_status)

    async def _refresh(self, client: LockClient) -> NoReturn:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_MS / 1_000):
                    await self._state_due.wait()
            self._state_due.clear()
            await client.retire_if_due()
            await self._read_state(client)

    async def _read_state(self, client: LockClient) -> None:
        try:
            state, instant = await client.state()
        except RequestRefused as refused:
            _log.debug("link.state_refused", lock=self._target.lock_id.hex(), code=refused.code)
        else:
            self._show_state(state, instant)

    def _show_state(self, state: State, instant: Instant) -> None:
        self._listener.on_door_observed(
            DoorObserved(
                lock_id=self._target.lock_id,
                bolt=state.bolt,
                door=state.door,
                battery_mv=state.battery_mv,
                motor_busy=state.motor_busy,
                tampered=state.tampered,
                observed_at=instant,
            )
        )

    # `lock_client.RecordSink`.

    def on_record(self, message: Unasked, instant: Instant) -> None:
        """See `RecordSink.on_record`."""
        match message:
            case State():
                self._show_state(message, instant)
            case EventNotification():
                self._transfer.hint()
            case RelayOpen() | RelayData() | RelayClose():
                self._relay.take(message, instant)

    async def on_uptime(self, up_ms: int, instant: Instant) -> None:
        """See `RecordSink.on_uptime`."""
        if self._lock_status is not None:
            await self._listener.on_lock_clock(
                self._target.lock_id, boot=self._lock_status.boot, up_ms=up_ms, instant=instant
            )

    async def _note_fault(self, fault: GatewayError | RadioError) -> None:
        self._failure_count += 1
        self._fault_code = fault.code
        log = _log.warning if self._failure_count == 1 else _log.debug
        log("link.lost", lock=self._target.lock_id.hex(), code=fault.code, detail=fault.detail, state=self._state.value)
        await self._outages.note_fault(fault.code)
        if isinstance(fault, CloneSuspected) and not self._suspected:
            self._suspected = True  # not with every reconnection
            await self._listener.on_alert(self._target.lock_id, Code.CLONE_SUSPECT, fault.detail)

    def _live_client(self) -> LockClient:
        assert self._client is not None  # noqa: S101 - for mypy: there is one from DISCOVERING to DROPPING
        return self._client


@contextlib.asynccontextmanager
async def _radio_patience(timeout_ms: int, code: RadioCode) -> AsyncIterator[None]:
    """Give up a radio that does not give up by itself.

    Raises:
        RadioError: `code`.
    """
    try:
        async with asyncio.timeout((timeout_ms + RADIO_SLACK_MS) / 1_000):
            yield
    except TimeoutError:
        raise RadioError(code, "the radio hangs") from None


def _first(faults: BaseExceptionGroup[LinkFault]) -> LinkFault:
    first = faults.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
