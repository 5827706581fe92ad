"""bleak's real BlueZ backend, and what watches BlueZ beside it, on a private message bus with bluezoo as BlueZ."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol.constants import SERVICE_UUID
from gatewayd.link.bleak_radio import BleakRadio
from gatewayd.link.radio import RadioCode, RadioError, RadioUnavailable
from tests.support.bluezoo_stack import BluezooStack, find_bluezoo
from tests.support.echo_lock import EchoLock
from tests.support.private_bus import PrivateBus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gatewayd.link.radio import LockLink

RADIO_MS: Final = 10_000
NOTICED_S: Final = 10.0
"""Everything here is noticed within milliseconds; the bound is for a machine that does much else."""
NOTIFICATION_COUNT: Final = 200

pytestmark = [
    pytest.mark.skipif(not PrivateBus.is_installed(), reason="dbus-daemon (Debian package: dbus) is missing"),
    pytest.mark.skipif(find_bluezoo() is None, reason="bluezoo is missing"),
]


@pytest.fixture
async def lock() -> EchoLock:
    return EchoLock()


@pytest.fixture
async def stack(tmp_path: Path, lock: EchoLock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BluezooStack]:
    async with BluezooStack(tmp_path, lock) as stack:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", stack.bus.address)
        yield stack


@pytest.fixture
async def radio(stack: BluezooStack) -> AsyncIterator[BleakRadio]:
    radio = BleakRadio(adapter="hci0")
    yield radio
    await radio.close()


async def connect(radio: BleakRadio) -> LockLink:
    """Find the lock and connect to it."""
    return await radio.connect(await radio.find(SERVICE_UUID, None, timeout_ms=RADIO_MS), timeout_ms=RADIO_MS)


async def connect_again(radio: BleakRadio) -> LockLink:
    """Try as the supervisor does, until there is a radio again."""
    async with asyncio.timeout(RADIO_MS * 3 / 1_000):
        while True:
            try:
                return await connect(radio)
            except RadioError:
                await asyncio.sleep(0.1)


async def echo(link: LockLink, value: bytes) -> bytes:
    """Write `value` and return what comes back."""
    async with asyncio.timeout(NOTICED_S):
        await link.write_value(value)
        return await link.next_value()


async def lost(link: LockLink) -> str:
    """Wait until the link says that it is gone, and return how."""
    async with asyncio.timeout(NOTICED_S):
        with pytest.raises(RadioError) as caught:
            await link.next_value()
    return caught.value.code


async def test_200_notifications_come_in_order_through_bleaks_own_backend(radio: BleakRadio) -> None:
    link = await connect(radio)
    assert link.value_size_max == 244
    sent = [bytes([index]) * (1 + index) for index in range(NOTIFICATION_COUNT)]
    assert [await echo(link, value) for value in sent] == sent


async def test_an_adapter_that_is_pulled_and_returns_under_another_index_is_used_again(
    stack: BluezooStack, radio: BleakRadio
) -> None:
    link = await connect(radio)
    await stack.pull_adapter()
    assert await lost(link) == RadioCode.DISCONNECTED
    with pytest.raises(RadioUnavailable):
        await radio.find(SERVICE_UUID, None, timeout_ms=RADIO_MS)
    returned = asyncio.create_task(radio.returned())
    await stack.plug_adapter(5)
    async with asyncio.timeout(NOTICED_S):
        await returned
    assert await echo(await connect_again(radio), b"back") == b"back"


async def test_bluez_that_is_killed_is_noticed_at_once_and_used_again_when_it_returns(
    stack: BluezooStack, radio: BleakRadio
) -> None:
    link = await connect(radio)
    stack.kill_bluez()
    assert await lost(link) == RadioCode.DISCONNECTED
    await stack.start_bluez()
    assert await echo(await connect_again(radio), b"back") == b"back"


async def test_a_message_bus_that_dies_is_noticed_at_once_and_reached_again_when_it_returns(
    stack: BluezooStack, radio: BleakRadio
) -> None:
    link = await connect(radio)
    stack.bus.kill()
    assert await lost(link) == RadioCode.DISCONNECTED
    stack.kill_bluez()
    await stack.bus.start()
    await stack.start_bluez()
    assert await echo(await connect_again(radio), b"back") == b"back"


async def test_a_gateway_that_starts_before_bluez_finds_the_lock_once_it_is_there(
    stack: BluezooStack, radio: BleakRadio
) -> None:
    stack.kill_bluez()
    with pytest.raises(RadioUnavailable):
        await radio.find(SERVICE_UUID, None, timeout_ms=RADIO_MS)
    await stack.start_bluez()
    assert await echo(await connect_again(radio), b"there") == b"there"
