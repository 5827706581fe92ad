"""A radio in memory for virtual time: gateway and phones on one side, a `PeripheralHandler` on the other.

Everything waits through the running loop and all chance comes from the caller's `Random`, so one seed is one
trace. Values keep their order; a value in flight when the link drops is lost, as in the air.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from gatewayd.link.radio import LockLink, RadioCode, RadioError, RadioUnavailable, Sighting
from gatewayd.link.value_queue import ValueQueue

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from simulator.wire import PeripheralHandler

ADDRESS: Final = "F0:00:00:00:00:01"
RSSI_DBM: Final = -50
CONNECT_MS: Final = 500
"""What finding and connecting take each at most, in milliseconds; measured on the virtual radio: 0.1 to 0.5 s."""


class MemoryRadio:
    """A `gatewayd.link.radio.Radio` with one lock in reach, and the faults that the air has."""

    def __init__(
        self,
        handler: PeripheralHandler,
        random: Random,
        *,
        value_size_max: int = 244,
        latency_ms: tuple[float, float] = (1, 5),
        connect_ms: float = CONNECT_MS,
    ) -> None:
        self._handler = handler
        self._random = random
        self._value_size_max = value_size_max
        self._latency_ms = latency_ms
        self._connect_ms = connect_ms
        self._reachable = True
        self._available = True
        self._gateway: MemoryLink | None = None
        self._phones: dict[int, MemoryLink] = {}
        self._next_channel = 1
        self._phone_waiting = False

    # The seam.

    async def find(self, _service_uuid: str, address: str | None, *, timeout_ms: int) -> Sighting:
        """See `Radio.find`; the lock advertises whether or not it has a gateway."""
        self._check_available()
        sleep_ms = self._random.uniform(0, self._connect_ms)
        heard = self._reachable and address in (None, ADDRESS) and sleep_ms <= timeout_ms
        await asyncio.sleep((sleep_ms if heard else timeout_ms) / 1_000)
        if not heard:
            raise RadioError(RadioCode.NOT_FOUND)
        return Sighting(address=ADDRESS, rssi_dbm=RSSI_DBM, phone_waiting=self._phone_waiting)

    async def connect(self, sighting: Sighting, *, timeout_ms: int) -> LockLink:
        """See `Radio.connect`."""
        self._check_available()
        if sighting.address != ADDRESS:
            raise RadioError(RadioCode.NOT_FOUND)
        sleep_ms = self._random.uniform(0, self._connect_ms)
        await asyncio.sleep(min(sleep_ms, timeout_ms) / 1_000)
        if not self._reachable or sleep_ms > timeout_ms:
            raise RadioError(RadioCode.CONNECT_TIMEOUT)
        if self._gateway is not None:
            raise RadioError(RadioCode.GATT_FAILED, "the lock has a gateway and drops another")
        link = self._link(self._handler.gateway_value, self._on_gateway_gone)
        self._gateway = link
        self._handler.gateway_connected(link.pipe)
        return link

    async def close(self) -> None:
        """See `Radio.close`."""
        self.drop_link()

    # The lock's side.

    def set_phone_waiting(self, waiting: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """See `simulator.wire.Beacon`."""
        self._phone_waiting = waiting

    # Phones.

    def connect_phone(self) -> MemoryLink:
        """Connect a phone at once and return its end, which works as the gateway's does.

        Raises:
            RadioError: `radio.not_found`, the lock is out of reach.
        """
        if not self._reachable:
            raise RadioError(RadioCode.NOT_FOUND)
        channel, self._next_channel = self._next_channel, self._next_channel % 255 + 1

        def on_gone() -> None:
            del self._phones[channel]
            self._handler.phone_disconnected(channel)

        link = self._link(lambda value: self._handler.phone_value(channel, value), on_gone)
        self._phones[channel] = link
        self._handler.phone_connected(channel, link.pipe)
        return link

    # Faults.

    def drop_link(self) -> None:
        """Drop the gateway's link as a lost radio does: both ends notice, values in flight are lost."""
        if self._gateway is not None:
            self._gateway.drop()

    def drop_phones(self) -> None:
        """Drop all phones' links."""
        for link in list(self._phones.values()):
            link.drop()

    def set_reachable(self, reachable: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """Put the lock out of reach, which drops all links, or back into it."""
        self._reachable = reachable
        if not reachable:
            self.drop_link()
            self.drop_phones()

    def set_available(self, available: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """Pull the gateway's adapter out, which drops its link, or put it back."""
        self._available = available
        if not available:
            self.drop_link()

    def _link(self, on_value: Callable[[bytes], None], on_gone: Callable[[], None]) -> MemoryLink:
        return MemoryLink(
            value_size_max=self._value_size_max, delay_ms=self._delay_ms, on_value=on_value, on_gone=on_gone
        )

    def _delay_ms(self) -> float:
        return self._random.uniform(*self._latency_ms)

    def _on_gateway_gone(self) -> None:
        self._gateway = None
        self._handler.gateway_disconnected()

    def _check_available(self) -> None:
        if not self._available:
            raise RadioUnavailable("the adapter was pulled out")


class MemoryLink:
    """A `LockLink`; `pipe` is the lock's end of it."""

    def __init__(
        self,
        *,
        value_size_max: int,
        delay_ms: Callable[[], float],
        on_value: Callable[[bytes], None],
        on_gone: Callable[[], None],
    ) -> None:
        self.value_size_max = value_size_max
        self.pipe = MemoryPipe(self)
        self._delay_ms = delay_ms
        self._on_value = on_value
        self._on_gone = on_gone
        self._values = ValueQueue()
        self._to_lock = Flight(delay_ms, self._on_arrival)
        self._from_lock = Flight(delay_ms, self._on_notification)
        self._open = True

    async def write_value(self, value: bytes) -> None:
        """See `LockLink.write_value`."""
        if not self._open:
            raise RadioError(RadioCode.DISCONNECTED)
        self.check_size(value)
        self._to_lock.send(value)

    async def next_value(self) -> bytes:
        """See `LockLink.next_value`."""
        return await self._values.get()

    async def close(self) -> None:
        """See `LockLink.close`."""
        self.drop()

    def drop(self) -> None:
        """End the link at both ends now. Does nothing the second time."""
        if self._open:
            self._open = False
            self._values.end()
            self._on_gone()

    def notify(self, value: bytes) -> None:
        """Send `value` from the lock's end."""
        self.check_size(value)
        if self._open:
            self._from_lock.send(value)

    def check_size(self, value: bytes) -> None:
        """Refuse what does not fit.

        Raises:
            ValueError: the sender's own fault.
        """
        if len(value) > self.value_size_max:
            raise ValueError(f"a value of {len(value)} bytes on a link that carries {self.value_size_max}")

    def _on_arrival(self, value: bytes) -> None:
        if self._open:
            self._on_value(value)

    def _on_notification(self, value: bytes) -> None:
        if self._open and not self._values.put(value):
            self.drop()


class MemoryPipe:
    """A `simulator.wire.Pipe`: the lock's end of a `MemoryLink`."""

    def __init__(self, link: MemoryLink) -> None:
        self._link = link

    @property
    def value_size_max(self) -> int:
        """See `Pipe.value_size_max`."""
        return self._link.value_size_max

    def send_value(self, value: bytes) -> None:
        """See `Pipe.send_value`."""
        self._link.notify(value)

    def disconnect(self) -> None:
        """See `Pipe.disconnect`. The other end notices in a turn of the loop of its own, as a chip's host does."""
        asyncio.get_running_loop().call_soon(self._link.drop)


class Flight:
    """One direction of a link: values arrive late by chance, but never out of order."""

    def __init__(self, delay_ms: Callable[[], float], on_arrival: Callable[[bytes], None]) -> None:
        self._delay_ms = delay_ms
        self._on_arrival = on_arrival
        self._in_flight: deque[bytes] = deque()
        self._latest_s = 0.0

    def send(self, value: bytes) -> None:
        """Let `value` arrive after a delay, and not before those that were sent before it."""
        loop = asyncio.get_running_loop()
        self._in_flight.append(value)
        self._latest_s = max(loop.time() + self._delay_ms() / 1_000, self._latest_s)
        # The timer takes the oldest, whichever that is: the loop does not keep the order of equal times.
        loop.call_at(self._latest_s, lambda: self._on_arrival(self._in_flight.popleft()))
