"""What a ready link is used for beside movements: the door's state, the lock's clock and log, and phones."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from firmware_protocol.codes import Code
from firmware_protocol.messages import EventNotification, RelayClose, RelayData, RelayOpen, State
from gatewayd.errors import GatewayError
from gatewayd.link.faults import LinkFault, Relieved, RequestRefused, SessionWornOut
from gatewayd.link.lock_time import LockTimeCare
from gatewayd.link.ports import DoorObserved
from gatewayd.link.slots import HURRIED_VISIT_MS_MIN, VISIT_MS_MIN
from gatewayd.stopping import until_one_ends

if TYPE_CHECKING:
    from firmware_protocol.hello import LockStatus
    from firmware_protocol.vocabulary import Parcel
    from gatewayd.link.faults import LinkLost
    from gatewayd.link.lock_client import LockClient, Unasked
    from gatewayd.link.log_transfer import LogTransfer
    from gatewayd.link.ports import LinkLedger, LinkListener
    from gatewayd.link.relay_channel import RelayChannels
    from gatewayd.link.slots import Slots
    from gatewayd.timekeeping import Instant

REFRESH_MS: Final = 60_000
"""How often the door's state is read and the session's age looked at, in milliseconds: half of what a shown state
may be old."""

_log = structlog.get_logger()


class Attendance:
    """One lock's, over all its links; implements `lock_client.RecordSink`."""

    def __init__(
        self,
        *,
        lock_id: bytes,
        listener: LinkListener,
        ledger: LinkLedger,
        relay: RelayChannels,
        transfer: LogTransfer,
        slots: Slots,
    ) -> None:
        self.state_due = asyncio.Event()
        """Set where the door may have changed."""
        self._lock_id = lock_id
        self._listener = listener
        self._relay = relay
        self._transfer = transfer
        self._slots = slots
        self._ledger = ledger
        self._time = LockTimeCare(ledger)
        self._handed: set[tuple[Parcel, bytes]] = set()
        """What the lock has got since this process started; a lock that lost it says so in its status."""
        self._status: LockStatus | None = None

    @property
    def last_command_seq(self) -> int | None:
        """The number of the lock's last command when its newest session began; None before any session."""
        return None if self._status is None else self._status.command_seq

    def greet(self, status: LockStatus) -> None:
        """Take what the lock said of itself in this session's handshake."""
        self._status = status
        if status.keyset_version == 0:
            self._handed.clear()

    async def attend(self, client: LockClient, *, urgent: bool) -> None:
        """Do all of it for as long as the link lasts.

        Raises:
            ExceptionGroup: of one or more `LinkFault`.
        """
        async with asyncio.TaskGroup() as tasks:
            parts = (
                client.until_lost(),
                self._copy_log(client),
                self._refresh(client),
                self._keep_young(client),
                self._make_room(client, urgent=urgent),
            )
            await until_one_ends([tasks.create_task(part) for part in parts])

    async def read_state(self, client: LockClient) -> None:
        """Show how the door stands, unless the lock will not say.

        Raises:
            LinkLost: the link is over.
        """
        try:
            state, instant = await client.state()
        except RequestRefused as refused:
            _log.debug("link.state_refused", lock=self._lock_id.hex(), code=refused.code)
        else:
            self._show_state(state, instant)

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
        if self._status is not None:
            boot = self._status.boot
            time = await self._listener.on_lock_clock(self._lock_id, boot=boot, up_ms=up_ms, instant=instant)
            self._time.note(boot=boot, time=time)

    async def _copy_log(self, client: LockClient) -> NoReturn:
        assert self._status is not None  # noqa: S101 - for mypy: known since the handshake
        await self._transfer.run(client, self._status)
        await client.until_lost()  # a log that cannot be continued is no reason to leave the door

    async def _refresh(self, client: LockClient) -> NoReturn:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_MS / 1_000):
                    await self.state_due.wait()
            self.state_due.clear()
            if client.renewal_due:
                await self._retire(client, SessionWornOut(Code.LINK_DOWN.dotted, "a new session is due"))
            await self.read_state(client)

    async def _keep_young(self, client: LockClient) -> NoReturn:
        """Hand a lock that verifies what it will need when this gateway is gone, and again what has changed."""
        while client.verifies:
            is_timeless = False
            try:
                for kind, data in await self._ledger.parcels(self._lock_id):
                    name = (kind, hashlib.sha256(data).digest())
                    if name not in self._handed:
                        await self._hand_over(client, kind, data)
                        self._handed.add(name)
                is_timeless = await self._time.tend(client)
            except RequestRefused as refused:
                _log.warning("link.handover_refused", lock=self._lock_id.hex(), code=refused.code)
            except LinkFault:
                raise
            except GatewayError as fault:
                _log.warning("link.handover_postponed", lock=self._lock_id.hex(), code=fault.code)
            if is_timeless:
                await self._retire(client, SessionWornOut(Code.LINK_DOWN.dotted, "the lock needs to be told the time"))
            await asyncio.sleep(REFRESH_MS / 1_000)
        await client.until_lost()

    async def _hand_over(self, client: LockClient, kind: Parcel, data: bytes) -> None:
        code = await client.hand_over(kind, data)
        if code is not Code.DONE:
            _log.warning("link.handover_refused", lock=self._lock_id.hex(), kind=kind.name.lower(), code=code.dotted)

    async def _make_room(self, client: LockClient, *, urgent: bool) -> NoReturn:
        """Give the connection up where another lock needs it, with nothing in flight.

        Raises:
            Relieved: it was given up.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout((HURRIED_VISIT_MS_MIN if urgent else VISIT_MS_MIN) / 1_000):
                await self._slots.wanted(self._lock_id, visited=False)
        await self._slots.wanted(self._lock_id, visited=True)
        await self._retire(client, Relieved(Code.LINK_DOWN.dotted, "another lock's turn"))

    async def _retire(self, client: LockClient, reason: LinkLost) -> NoReturn:
        """Give the connection up with nothing in flight, once no phone is being served, or after the longest visit.

        A phone whose channel ends with the session would never hear how the movement went that it asked for.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + HURRIED_VISIT_MS_MIN / 1_000
        while True:
            if not self._relay.is_quiet:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(end_s):
                        await self._relay.until_quiet()
                await self.read_state(client)  # values keep their order: with this answer the phone's have left
            # Somebody may have come while something else had its turn on the link.
            await client.retire(reason, unless=lambda: loop.time() < end_s and not self._relay.is_quiet)

    def _show_state(self, state: State, instant: Instant) -> None:
        self._listener.on_door_observed(
            DoorObserved(
                lock_id=self._lock_id,
                bolt=state.bolt,
                door=state.door,
                battery_mv=state.battery_mv,
                motor_busy=state.motor_busy,
                tampered=state.tampered,
                observed_at=instant,
            )
        )
