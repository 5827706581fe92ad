"""The air, where it has to be better than the library that it is made of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from bumble.device import Device, Peer
from bumble.hci import Address, OwnAddressType
from bumble.transport import open_transport

from firmware_protocol.constants import RX_UUID, SERVICE_UUID, TX_UUID
from simulator.air import Air
from simulator.air_link import PUBLIC_ADDRESS
from simulator.peripheral import Peripheral
from tests.support.echo_lock import EchoLock

if TYPE_CHECKING:
    from bumble.transport.common import Transport

ANSWER_S: Final = 10.0
HEARD_COUNT: Final = 5


async def central(air: Air, radio: int) -> tuple[Device, Transport]:
    """Power a host on one of the radios."""
    transport = await open_transport(f"tcp-client:127.0.0.1:{air.ports[radio]}")
    device = Device.with_hci("central", Address.generate_static_address(), transport.source, transport.sink)
    await device.power_on()
    return device, transport


async def test_a_central_that_connects_by_its_public_address_as_linux_does_hears_the_answers() -> None:
    async with (
        Air([0, 0]) as air,
        Peripheral(hci=f"tcp-client:127.0.0.1:{air.ports[0]}", handler=EchoLock()) as peripheral,
    ):
        device, transport = await central(air, 1)
        async with asyncio.timeout(ANSWER_S):
            connection = await device.connect_le(
                Address(peripheral.address), own_address_type=OwnAddressType.PUBLIC, timeout=None
            )
            peer = Peer(connection)
            (service,) = await peer.discover_service(SERVICE_UUID)
            found = {str(each.uuid.to_hex_str("-")).lower(): each for each in await service.discover_characteristics()}
            heard: asyncio.Queue[bytes] = asyncio.Queue()
            await found[TX_UUID].subscribe(heard.put_nowait)
            await found[RX_UUID].write_value(b"hello", with_response=False)
            assert await heard.get() == b"hello"
        assert connection.self_address.to_string(with_type_qualifier=False) == PUBLIC_ADDRESS.format(1)
        await transport.close()


async def test_a_scan_without_duplicates_reports_what_it_has_heard_once() -> None:
    async with (
        Air([0, 0, 0]) as air,
        Peripheral(hci=f"tcp-client:127.0.0.1:{air.ports[0]}", handler=EchoLock()) as peripheral,
    ):
        heard = {True: 0, False: 0}
        enough = asyncio.Event()
        transports = []

        def count(*, filtered: bool) -> None:
            heard[filtered] += 1
            if heard[False] >= HEARD_COUNT and heard[True]:
                enough.set()

        for radio, filtered in ((1, True), (2, False)):
            device, transport = await central(air, radio)
            transports.append(transport)
            device.on(device.EVENT_ADVERTISEMENT, lambda _advertisement, filtered=filtered: count(filtered=filtered))
            await device.start_scanning(filter_duplicates=filtered)
        async with asyncio.timeout(ANSWER_S):
            await enough.wait()
        assert heard[True] == 1
        enough.clear()
        peripheral.set_phone_waiting(True)
        async with asyncio.timeout(ANSWER_S):
            while heard[True] == 1:
                await enough.wait()
                enough.clear()
        assert heard[True] == 2
        for transport in transports:
            await transport.close()
