"""The air within one program: the whole virtual radio on the loop's time, and nothing that ticks when all is quiet."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol.constants import SERVICE_UUID
from gatewayd.link.bleak_radio import BleakRadio
from gatewayd.link.radio import RadioCode, RadioError
from simulator.bleak_backend import backend_on
from simulator.hci import HciHost
from simulator.near_air import NearAir, NearRadio
from simulator.peripheral import Peripheral
from simulator.phone_radio import PhoneRadio
from tests.support.echo_lock import EchoLock
from tests.support.virtual_loop import StuckError, run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd.link.radio import LockLink

ADDRESS: Final = "F0:00:00:00:00:01"
MS: Final = 3_000


def radio_at(place: NearRadio, address: str = "F0:00:00:00:00:77") -> BleakRadio:
    return BleakRadio(backend=backend_on(HciHost(hci=place.open, address=address)))


async def connect(radio: BleakRadio) -> LockLink:
    return await radio.connect(await radio.find(SERVICE_UUID, ADDRESS, timeout_ms=MS), timeout_ms=MS)


@asynccontextmanager
async def lock_on_air(air: NearAir) -> AsyncIterator[EchoLock]:
    lock = EchoLock()
    async with Peripheral(hci=air.radio().open, handler=lock, address=ADDRESS):
        yield lock


def test_gateway_and_phone_reach_a_lock_on_virtual_time() -> None:
    async def story() -> None:
        async with NearAir() as air, lock_on_air(air) as lock:
            radio = radio_at(air.radio())
            link = await connect(radio)
            await asyncio.sleep(86_400)
            await link.write_value(b"after a day")
            assert await link.next_value() == b"after a day"
            async with PhoneRadio(hci=air.radio().open) as phones:
                await phones.connect(ADDRESS, timeout_ms=MS)
                assert lock.diary == ["gateway connected", "phone 1 connected"]
            await radio.close()

    run_virtual(story())


@pytest.mark.parametrize("is_connected", [False, True])
def test_where_nobody_listens_nothing_ticks(is_connected: bool) -> None:  # noqa: FBT001 - a parameter
    async def story() -> None:
        async with NearAir() as air, lock_on_air(air):
            if is_connected:
                await connect(radio_at(air.radio()))
            await asyncio.sleep(60)
            await asyncio.Event().wait()

    with pytest.raises(StuckError, match="no timer is pending"):
        run_virtual(story())


def test_a_radio_without_power_is_noticed_at_both_ends_and_its_successor_connects() -> None:
    async def story() -> None:
        async with NearAir() as air, lock_on_air(air) as lock:
            place = air.radio()
            link = await connect(radio_at(place))
            place.cut()
            with pytest.raises(RadioError) as caught:
                await link.next_value()
            assert caught.value.code == RadioCode.DISCONNECTED
            await lock.wait_for("gateway disconnected")
            await connect(radio_at(place))
            assert lock.diary == ["gateway connected", "gateway disconnected", "gateway connected"]

    run_virtual(story())


def test_whoever_opens_a_radio_takes_it_from_whom_had_it() -> None:
    async def story() -> None:
        async with NearAir() as air, lock_on_air(air) as lock:
            place = air.radio()
            first, second = radio_at(place), radio_at(place)
            link = await connect(first)
            await connect(second)
            with pytest.raises(RadioError):
                await link.next_value()
            await first.close()
            assert lock.diary == ["gateway connected", "gateway disconnected", "gateway connected"]

    run_virtual(story())
