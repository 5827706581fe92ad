"""The world of a lock's life over Bumble's controllers: the gateway by bleak, phones as GATT clients."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, Self

from gatewayd.link.bleak_radio import BleakRadio
from simulator.bleak_backend import backend_on
from simulator.hci import HciHost
from simulator.near_air import NearAir, NearRadio
from simulator.peripheral import Peripheral
from simulator.phone_radio import PhoneRadio, PhoneRadioError
from tests.support.life_world import LifeWorld
from tests.support.memory_radio import ADDRESS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from simulator.lock import SimulatedLock
    from simulator.phone import LockLink as PhoneLink

GATEWAY_ADDRESS: Final = "F0:00:00:00:00:77"
STRANGER_ADDRESS: Final = "F0:00:00:00:00:66"
PHONE_ADDRESS: Final = "F0:00:00:00:00:55"
CONNECT_MS: Final = 5_000
CONNECT_COUNT_MAX: Final = 3


class BumbleLife(LifeWorld):
    """Real ATT, real MTU exchange, real HCI packets; only the air itself is Bumble's `LocalLink`."""

    link_faults = (PhoneRadioError,)
    _air: NearAir
    _stack: AsyncExitStack
    _place: NearRadio
    """Where the gateway's adapter is plugged in."""
    _phones: PhoneRadio
    _stranger: BleakRadio
    _adapter: BleakRadio | None = None

    @asynccontextmanager
    async def on_air(self) -> AsyncIterator[Self]:
        """See `LifeWorld.on_air`."""
        async with AsyncExitStack() as stack:
            self._stack = stack
            self._air = await stack.enter_async_context(NearAir())
            peripheral = Peripheral(hci=self._air.radio().open, handler=self.tape, address=ADDRESS)
            self.lock.attach_beacon(await stack.enter_async_context(peripheral))
            self._place = self._air.radio()
            self._phones = await stack.enter_async_context(
                PhoneRadio(hci=self._air.radio().open, address=PHONE_ADDRESS)
            )
            self._stranger = _adapter(self._air.radio(), STRANGER_ADDRESS)
            stack.push_async_callback(self._stranger.close)
            yield self

    def gateway_radio(self) -> BleakRadio:
        """See `MemoryWorld.gateway_radio`: each program makes its own."""
        if self._adapter is None:
            self._adapter = _adapter(self._place, GATEWAY_ADDRESS)
        return self._adapter

    async def lose_radio(self) -> None:
        """See `MemoryWorld.lose_radio`."""
        self._place.cut()
        adapter, self._adapter = self._adapter, None
        if adapter is not None:
            await adapter.close()

    async def connect_phone(self) -> PhoneLink:
        """See `MemoryWorld.connect_phone`: what the air has aborted is tried again, as phones do."""
        for _ in range(CONNECT_COUNT_MAX - 1):
            # A connection that meets the lock just as it renews its advertisement comes up at one end only.
            with suppress(PhoneRadioError):
                return await self._phones.connect(ADDRESS, timeout_ms=CONNECT_MS)
        return await self._phones.connect(ADDRESS, timeout_ms=CONNECT_MS)

    def stranger_radio(self) -> BleakRadio:
        """See `LifeWorld.stranger_radio`."""
        return self._stranger

    async def put_on_air(self, lock: SimulatedLock, address: str) -> None:
        """See `LifeWorld.put_on_air`."""
        peripheral = Peripheral(hci=self._air.radio().open, handler=lock, address=address)
        lock.attach_beacon(await self._stack.enter_async_context(peripheral))


def _adapter(place: NearRadio, address: str) -> BleakRadio:
    return BleakRadio(backend=backend_on(HciHost(hci=place.open, address=address)))
