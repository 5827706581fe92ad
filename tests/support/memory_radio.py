"""A radio in memory for virtual time: gateway and phones on one side, `PeripheralHandler`s on the other.

Everything waits through the running loop and all chance comes from the caller's `Random`, so one seed is one
trace. Values keep their order; a value in flight when the link drops is lost, as in the air. What the radio could
do at any moment, `can_connect` knows: it is the truth that tests hold the link to.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from gatewayd.link.radio import LockLink, RadioCode, RadioError, RadioUnavailable, Rung, Sighting
from gatewayd.link.value_queue import ValueQueue
from tests.support.memory_link import MemoryLink, PhoneQueue

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from simulator.wire import PeripheralHandler

ADDRESS: Final = "F0:00:00:00:00:01"
RSSI_DBM: Final = -50
CONNECT_MS: Final = 500
"""What finding and connecting take each at most, in milliseconds; measured on the virtual radio: 0.1 to 0.5 s."""
RUNG_MS: Final = {Rung.FORGET: 100, Rung.POWER_CYCLE: 3_000, Rung.RESET: 5_000, Rung.RESTART: 8_000}
"""What a rung takes, in milliseconds."""


class MemoryLock:
    """One lock in the air; a `simulator.wire.Beacon`."""

    def __init__(self, handler: PeripheralHandler, address: str, on_changed: Callable[[], None]) -> None:
        self.handler = handler
        self.address = address
        self.reachable = True
        self.held = False
        """Whether a phone has it and it does not advertise."""
        self.deaf = False
        """Whether it advertises and takes no connection."""
        self.stale = False
        """Whether the host remembers another table of services of it."""
        self.phone_waiting = False
        self.installable = False
        self.rssi_dbm = RSSI_DBM
        self.gateway: MemoryLink | None = None
        self.phones: dict[int, MemoryLink] = {}
        self.next_channel = 1
        self._on_changed = on_changed

    @property
    def audible(self) -> bool:
        """Whether it can be heard where it is."""
        return self.reachable and not self.held

    def set_phone_waiting(self, waiting: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """See `simulator.wire.Beacon`."""
        self.phone_waiting = waiting
        self._on_changed()

    def set_installable(self, installable: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """See `simulator.wire.Beacon`."""
        self.installable = installable

    @property
    def sighting(self) -> Sighting:
        """What an advertisement tells."""
        return Sighting(
            address=self.address,
            rssi_dbm=self.rssi_dbm,
            phone_waiting=self.phone_waiting,
            installable=self.installable,
        )

    def on_gateway_gone(self) -> None:
        """The gateway's link is down."""
        self.gateway = None
        self.handler.gateway_disconnected()
        self._on_changed()


class MemoryRadio:
    """A `gatewayd.link.radio.Radio` with locks in reach, and the faults that adapters and the air have."""

    def __init__(
        self,
        handler: PeripheralHandler,
        random: Random,
        *,
        value_size_max: int = 244,
        latency_ms: tuple[float, float] = (1, 5),
        connect_ms: float = CONNECT_MS,
        slot_count: int = 64,
    ) -> None:
        self._random = random
        self._value_size_max = value_size_max
        self._latency_ms = latency_ms
        self._connect_ms = connect_ms
        self._slot_count = slot_count
        self._available = True
        self._powered = True
        self._hung: Rung | None = None
        self._changed: asyncio.Event | None = None
        self._returned: asyncio.Event | None = None
        self.locks: dict[str, MemoryLock] = {}
        self.connect_loss = 0.0
        """Share of connections that fail by chance."""
        self.connect_errors: deque[RadioError] = deque()
        """What the next connections fail with."""
        self.missing: set[Rung] = set()
        """Rungs that can't be taken here."""
        self.recoveries: list[tuple[Rung, str | None]] = []
        """Rungs that were taken."""
        self.refused: list[str] = []
        """Addresses that were connected to while another link to them was up, or beyond the slots."""
        self.connects: Counter[str] = Counter()
        """Links that came up, by address."""
        self.on_changed: Callable[[], None] = lambda: None
        """Called after whatever may have changed `can_connect`."""
        self.add(handler, ADDRESS)

    def add(self, handler: PeripheralHandler, address: str) -> MemoryLock:
        """Put another lock in reach."""
        lock = self.locks[address] = MemoryLock(handler, address, self._note_change)
        return lock

    def can_connect(self, address: str = ADDRESS) -> bool:
        """Whether a fresh connect would succeed now, but for chance; true also while a link is up."""
        lock = self.locks[address]
        return self._works and lock.audible and not lock.stale and not lock.deaf

    @property
    def link_count(self) -> int:
        """Links of the gateway that are up."""
        return sum(lock.gateway is not None for lock in self.locks.values())

    @property
    def _works(self) -> bool:
        return self._available and self._powered and self._hung is None

    # The seam.

    async def find(
        self, _service_uuid: str, address: str | None, *, timeout_ms: int, phone_waiting: bool = False
    ) -> Sighting:
        """See `Radio.find`; a lock advertises whether or not it has a gateway."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_ms / 1_000
        while True:
            self._check_available()
            delay_s = self._random.uniform(0, self._connect_ms) / 1_000
            if self._heard(address, phone_waiting=phone_waiting) and loop.time() + delay_s <= end_s:
                await asyncio.sleep(delay_s)
                self._check_available()
                lock = self._heard(address, phone_waiting=phone_waiting)
                if lock is not None:
                    return lock.sighting
            elif not await self._change_before(end_s):
                raise RadioError(RadioCode.NOT_FOUND)

    async def survey(self, *, duration_ms: int) -> tuple[Sighting, ...]:
        """See `Radio.survey`."""
        self._check_available()
        await asyncio.sleep(duration_ms / 1_000)
        self._check_available()
        heard = [] if self._hung is not None else [lock for lock in self.locks.values() if lock.audible]
        return tuple(lock.sighting for lock in heard)

    async def connect(self, sighting: Sighting, *, timeout_ms: int) -> LockLink:
        """See `Radio.connect`."""
        self._check_available()
        lock = self.locks.get(sighting.address)
        if lock is None:
            raise RadioError(RadioCode.NOT_FOUND)
        sleep_ms = self._random.uniform(0, self._connect_ms)
        if not self.can_connect(lock.address) and not lock.stale:
            sleep_ms = timeout_ms + 1
        await asyncio.sleep(min(sleep_ms, timeout_ms) / 1_000)
        self._check_available()
        if self.connect_errors:
            error = self.connect_errors.popleft()
            self.on_changed()
            raise error
        if (
            not (self._works and lock.audible)
            or lock.deaf
            or sleep_ms > timeout_ms
            or self._random.random() < self.connect_loss
        ):
            raise RadioError(RadioCode.CONNECT_TIMEOUT)
        if lock.stale:
            raise RadioError(RadioCode.GATT_FAILED, "the services are not the lock's")
        if lock.gateway is not None:
            self.refused.append(lock.address)
            raise RadioError(RadioCode.GATT_FAILED, "the lock has a gateway and drops another")
        if self.link_count >= self._slot_count:
            self.refused.append(lock.address)
            raise RadioError(RadioCode.NO_SLOT)
        self.connects[lock.address] += 1
        lock.gateway = link = self._link(lock.handler.gateway_value, lock.on_gateway_gone)
        self.on_changed()
        lock.handler.gateway_connected(link.pipe)
        return link

    async def returned(self) -> None:
        """See `Radio.returned`."""
        if self._returned is None:
            self._returned = asyncio.Event()
        await self._returned.wait()

    async def recover(self, rung: Rung, address: str | None) -> bool:
        """See `Radio.recover`."""
        if rung in self.missing or not self._available:
            return False
        self.recoveries.append((rung, address))
        if rung is Rung.FORGET:
            await asyncio.sleep(RUNG_MS[rung] / 1_000)
            if address in self.locks:
                self.locks[address].stale = False
        else:
            self._drop_links()
            await asyncio.sleep(RUNG_MS[rung] / 1_000)
            self._powered = True
            for lock in self.locks.values():
                lock.stale = False
        if self._hung is rung:
            self._hung = None
        self._note_return()
        return True

    async def close(self) -> None:
        """See `Radio.close`."""
        self._drop_links()

    # The lock's side.

    def set_phone_waiting(self, waiting: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """See `simulator.wire.Beacon`: the first lock's."""
        self.locks[ADDRESS].set_phone_waiting(waiting)

    def set_installable(self, installable: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """See `simulator.wire.Beacon`: the first lock's."""
        self.locks[ADDRESS].set_installable(installable)

    # Phones.

    def connect_phone(self, address: str = ADDRESS) -> MemoryLink:
        """Connect a phone at once and return its end, which works as the gateway's does.

        Raises:
            RadioError: `radio.not_found`, the lock is out of reach.
        """
        lock = self.locks[address]
        if not lock.reachable:
            raise RadioError(RadioCode.NOT_FOUND)
        channel, lock.next_channel = lock.next_channel, lock.next_channel % 255 + 1

        def on_gone() -> None:
            del lock.phones[channel]
            lock.handler.phone_disconnected(channel)

        link = self._link(lambda value: lock.handler.phone_value(channel, value), on_gone, PhoneQueue())
        lock.phones[channel] = link
        lock.handler.phone_connected(channel, link.pipe)
        return link

    # Faults.

    def drop_link(self, address: str = ADDRESS) -> None:
        """Drop the gateway's link as a lost radio does: both ends notice, values in flight are lost."""
        link = self.locks[address].gateway
        if link is not None:
            link.drop()

    def silence_link(self, address: str = ADDRESS) -> None:
        """Let nothing pass over the gateway's link any more, and let it stay up: a phantom connection."""
        link = self.locks[address].gateway
        if link is not None:
            link.silent = True
            self.on_changed()

    def drop_phones(self, address: str = ADDRESS) -> None:
        """Drop all phones' links."""
        for link in list(self.locks[address].phones.values()):
            link.drop()

    def set_reachable(self, reachable: bool, address: str = ADDRESS) -> None:  # noqa: FBT001 - a setter of one flag
        """Put a lock out of reach, which drops all links, or back into it."""
        self.locks[address].reachable = reachable
        if not reachable:
            self.drop_link(address)
            self.drop_phones(address)
        self._note_change()

    def set_held(self, held: bool, address: str = ADDRESS) -> None:  # noqa: FBT001 - a setter of one flag
        """Let a phone take the lock so that it does not advertise, or let go of it."""
        self.locks[address].held = held
        self._note_change()

    def set_stale(self, address: str = ADDRESS) -> None:
        """Let the host remember services that the lock no longer has, until it is told to forget it."""
        self.locks[address].stale = True
        self._note_change()

    def set_available(self, available: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """Pull the gateway's adapter out, which drops its links, or put it back."""
        self._available = available
        if available:
            self._note_return()
        else:
            self._drop_links()
            self._note_change()

    def switch_off(self) -> None:
        """Switch the adapter off, as another program does; POWER_CYCLE switches it on."""
        self._powered = False
        self._drop_links()
        self._note_change()

    def hang(self, cure: Rung) -> None:
        """Let the adapter hang until `cure`: it says that it works, hears nothing, and its links are phantoms."""
        self._hung = cure
        for address in self.locks:
            self.silence_link(address)
        self._note_change()

    def _drop_links(self) -> None:
        for address in self.locks:
            self.drop_link(address)

    def _heard(self, address: str | None, *, phone_waiting: bool) -> MemoryLock | None:
        if self._hung is not None:
            return None
        for lock in self.locks.values() if address is None else [self.locks.get(address)]:
            if lock is not None and lock.audible and (lock.phone_waiting or not phone_waiting):
                return lock
        return None

    async def _change_before(self, end_s: float) -> bool:
        if self._changed is None:
            self._changed = asyncio.Event()
        try:
            async with asyncio.timeout_at(end_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _note_change(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
        self.on_changed()

    def _note_return(self) -> None:
        if self._returned is not None:
            self._returned.set()
            self._returned = None
        self._note_change()

    def _link(
        self, on_value: Callable[[bytes], None], on_gone: Callable[[], None], values: ValueQueue | None = None
    ) -> MemoryLink:
        return MemoryLink(
            value_size_max=self._value_size_max,
            delay_ms=self._delay_ms,
            on_value=on_value,
            on_gone=on_gone,
            values=values or ValueQueue(),
        )

    def _delay_ms(self) -> float:
        return self._random.uniform(*self._latency_ms)

    def _check_available(self) -> None:
        if not self._available:
            raise RadioUnavailable("the adapter was pulled out")
        if not self._powered:
            raise RadioUnavailable("the adapter is switched off", RadioCode.POWERED_OFF)
