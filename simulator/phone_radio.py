"""A phone's BLE client on the virtual radio: find a lock, connect, subscribe to PHONE_TX, write to PHONE_RX."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Self

from bumble.core import UUID, AdvertisingData
from bumble.device import Peer

from firmware_protocol.constants import PHONE_RX_UUID, PHONE_TX_UUID, SERVICE_UUID, VALUE_SIZE_MAX
from simulator.hci import HCI_FAULTS, HciHost, drop_link, lost_link_is_a_fault

if TYPE_CHECKING:
    from types import TracebackType

    from bumble.device import Advertisement, Connection
    from bumble.gatt_client import CharacteristicProxy

    from simulator.hci import Hci

PHONE_ATT_MTU: Final = 185
"""What phones commonly ask for; the lock would take more."""


class PhoneRadioError(Exception):
    """The phone's radio, the air or the lock's chip failed; the message says which."""


class PhoneRadio:
    """A phone's adapter. `async with PhoneRadio(hci="tcp-client:127.0.0.1:40002") as radio`."""

    def __init__(self, *, hci: Hci, address: str | None = None, att_mtu: int = PHONE_ATT_MTU) -> None:
        self._host = HciHost(hci=hci, address=address)
        self._att_mtu = att_mtu

    async def __aenter__(self) -> Self:
        """Return this; the controller is opened when it is first needed."""
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Drop all links and let go of the controller."""
        with contextlib.suppress(*HCI_FAULTS):
            await self._host.close()

    async def find(self, *, timeout_ms: int) -> str:
        """Return the address of the first lock that is heard.

        Raises:
            PhoneRadioError: none was heard in time, or there is no controller.
        """
        heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def on_advertisement(advertisement: Advertisement) -> None:
            uuids = advertisement.data.get(AdvertisingData.Type.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS) or []
            if UUID(SERVICE_UUID) in uuids and not heard.done():
                heard.set_result(advertisement.address.to_string(with_type_qualifier=False))

        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                device = await self._host.start_scanning()
                device.on(device.EVENT_ADVERTISEMENT, on_advertisement)
                try:
                    return await heard
                finally:
                    device.remove_listener(device.EVENT_ADVERTISEMENT, on_advertisement)
                    await self._host.stop_scanning(device)
        except HCI_FAULTS as error:
            raise PhoneRadioError(f"no lock heard in {timeout_ms} ms") from error

    async def connect(self, address: str, *, timeout_ms: int) -> PhoneLink:
        """Connect, exchange the MTU and subscribe; on failure no link is left.

        Raises:
            PhoneRadioError: nobody answered in time, it is not a lock, or it dropped the link.
        """
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                link = PhoneLink(await self._host.connect(address, timeout_ms=timeout_ms))
                try:
                    await link.open(self._att_mtu)
                except BaseException:
                    await link.close()
                    raise
                return link
        except HCI_FAULTS as error:
            raise PhoneRadioError(f"no link to {address}") from error


class PhoneLink:
    """One link to a lock. `async with await radio.connect(…) as link`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._peer = Peer(connection)
        self._rx: CharacteristicProxy[bytes] | None = None
        self._values: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._gone = False
        connection.on(connection.EVENT_DISCONNECTION, self._on_disconnection)

    async def __aenter__(self) -> Self:
        """Return this."""
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Drop the link."""
        await self.close()

    @property
    def value_size_max(self) -> int:
        """Longest value that `write_value` takes, in bytes."""
        return min(self._connection.att_mtu - 3, VALUE_SIZE_MAX)

    async def open(self, att_mtu: int) -> None:
        """Exchange the MTU and subscribe.

        Raises:
            PhoneRadioError: it is not a lock.
            HCI_FAULTS: the link went down.
        """
        with lost_link_is_a_fault():
            await self._peer.request_mtu(att_mtu)
            services = await self._peer.discover_service(SERVICE_UUID)
            found = [each for service in services for each in await service.discover_characteristics()]
            by_uuid = {str(each.uuid.to_hex_str("-")).lower(): each for each in found}
            if PHONE_RX_UUID not in by_uuid or PHONE_TX_UUID not in by_uuid:
                raise PhoneRadioError("not a lock: no characteristics for phones")
            self._rx = by_uuid[PHONE_RX_UUID]
            await by_uuid[PHONE_TX_UUID].subscribe(self._values.put_nowait)

    async def write_value(self, value: bytes) -> None:
        """Write `value` to PHONE_RX without response.

        Raises:
            ValueError: our own fault, `value` is longer than `value_size_max`.
            PhoneRadioError: the link is gone.
        """
        if len(value) > self.value_size_max:
            raise ValueError(f"a value of {len(value)} bytes on a link that carries {self.value_size_max}")
        if self._gone or self._rx is None:
            raise PhoneRadioError("the link is gone")
        await self._rx.write_value(value, with_response=False)

    async def next_value(self) -> bytes:
        """Return the next value of PHONE_TX, in order. Waits for ever.

        Raises:
            PhoneRadioError: the link is gone and all that came before is read.
        """
        value = await self._values.get()
        if value is None:
            self._values.put_nowait(None)
            raise PhoneRadioError("the link is gone")
        return value

    async def close(self) -> None:
        """Drop the link. Does nothing the second time."""
        if not self._gone:
            await drop_link(self._connection)

    def _on_disconnection(self, _reason: int) -> None:
        self._gone = True
        self._values.put_nowait(None)
