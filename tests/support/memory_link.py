"""One link of the in-memory radio: values arrive late by chance and in order, or not at all."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from gatewayd.link.radio import RadioCode, RadioError
from gatewayd.link.value_queue import ValueQueue

if TYPE_CHECKING:
    from collections.abc import Callable


class MemoryLink:
    """A `LockLink`; `pipe` is the lock's end of it."""

    def __init__(
        self,
        *,
        value_size_max: int,
        delay_ms: Callable[[], float],
        on_value: Callable[[bytes], None],
        on_gone: Callable[[], None],
        values: ValueQueue,
    ) -> None:
        self.value_size_max = value_size_max
        self.pipe = MemoryPipe(self)
        self._delay_ms = delay_ms
        self._on_value = on_value
        self._on_gone = on_gone
        self._values = values
        self._to_lock = Flight(delay_ms, self._on_arrival)
        self._from_lock = Flight(delay_ms, self._on_notification)
        self._open = True
        self._held = True
        self.silent = False
        """Whether values of both ends vanish on a link that stays up: a phantom connection."""

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
            self._let_go()

    def hang_up(self) -> None:
        """End the link from the lock's end. Where nothing passes any more, the other end hears nothing of it."""
        if self.silent:
            self._let_go()
        else:
            self.drop()

    def _let_go(self) -> None:
        if self._held:
            self._held = False
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
        if self._open and not self.silent:
            self._on_value(value)

    def _on_notification(self, value: bytes) -> None:
        if self._open and not self.silent and not self._values.put(value):
            self.drop()


class PhoneQueue(ValueQueue):
    """What a phone has received; it takes what comes, as much as a visit may carry."""

    def put(self, value: bytes) -> bool:
        """See `ValueQueue.put`; nothing overflows."""
        if not self._ended:
            self._values.append(value)
            self._changed.set()
        return True


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
        asyncio.get_running_loop().call_soon(self._link.hang_up)


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
