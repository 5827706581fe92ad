"""The lock as a GATT server on a Bumble controller: a thin pipe between centrals and the lock's firmware.

One service. A link becomes the gateway's by subscribing to TX and a phone's by subscribing to PHONE_TX; until
then it may read INFO and nothing else, and not for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from bumble import att
from bumble.core import UUID, AdvertisingData
from bumble.data_types import CompleteListOf128BitServiceUUIDs, Flags, ManufacturerSpecificData
from bumble.gatt import Characteristic, CharacteristicValue, Service

from firmware_protocol.constants import (
    ADVERTISED_COMPANY_ID,
    ADVERTISED_INSTALL_MODE,
    ADVERTISED_PHONE_WAITING,
    INFO_UUID,
    PHONE_RX_UUID,
    PHONE_TX_UUID,
    RELAY_PHONE_COUNT_MAX,
    RX_UUID,
    SERVICE_UUID,
    TX_UUID,
    VALUE_SIZE_MAX,
)
from simulator.hci import HCI_FAULTS, HciHost, drop_link

if TYPE_CHECKING:
    from types import TracebackType

    from bumble.device import Connection, Device

    from simulator.hci import Hci
    from simulator.wire import PeripheralHandler

ATT_MTU_MAX: Final = 247
"""Largest ATT MTU that the lock agrees to: one link-layer packet of 251 bytes, as BLE chips in locks have it."""
LINK_COUNT_MAX: Final = 1 + RELAY_PHONE_COUNT_MAX + 1
"""Most links at once: the gateway's, the phones', and one for a newcomer that the lock may yet prefer or drop."""
UNDECIDED_MS_MAX: Final = 3_000
"""A link that subscribed to nothing is dropped after so long: strangers cannot keep the gateway's place."""
ADVERTISING_INTERVAL_MS: Final = 60
CHANNEL_COUNT: Final = 255
"""Channels are 1 to 255, each new phone the next free one: a late answer to one that left reaches nobody."""


class Peripheral:
    """The GATT server of one lock. `async with Peripheral(hci=…, address=…, handler=…)`: on the air inside."""

    def __init__(
        self,
        *,
        hci: Hci,
        handler: PeripheralHandler,
        address: str | None = None,
        att_mtu_max: int = ATT_MTU_MAX,
        capture: BinaryIO | None = None,
    ) -> None:
        """Write all HCI traffic to `capture`, if given, as btsnoop."""
        self._host = HciHost(hci=hci, address=address, capture=capture)
        self._handler = handler
        self._att_mtu_max = att_mtu_max
        self._tx = _notified(TX_UUID)
        self._phone_tx = _notified(PHONE_TX_UUID)
        self._links: dict[Connection, _Link] = {}
        self._gateway: _Link | None = None
        self._channels = itertools.cycle(range(1, CHANNEL_COUNT + 1))
        self._phone_waiting = False
        self._installable = False
        self._held = False
        self._advertising_due = asyncio.Event()
        self._advertising: asyncio.Task[None] | None = None
        self._off_the_air = False

    @property
    def address(self) -> str:
        """The lock's random static address."""
        return self._host.address

    async def __aenter__(self) -> Self:
        """Power on and advertise.

        Raises:
            HCI_FAULTS: no controller.
        """
        device = await self._host.device()
        device.gatt_server.max_mtu = self._att_mtu_max
        device.add_service(self._service())
        self._tx.on(Characteristic.EVENT_SUBSCRIPTION, self._on_tx_subscription)
        self._phone_tx.on(Characteristic.EVENT_SUBSCRIPTION, self._on_phone_tx_subscription)
        device.on(device.EVENT_CONNECTION, self._on_connection)
        self._advertising_due.set()
        self._advertising = asyncio.create_task(self._keep_advertising(device))
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Go off the air; the handler hears of every link that ends."""
        self._off_the_air = True
        if self._advertising is not None:
            self._advertising.cancel()
            await asyncio.wait({self._advertising})
        await self._host.close()

    async def wait_lost(self) -> None:
        """Return when the controller is gone: this lock is off the air for good."""
        await self._host.wait_lost()

    def set_phone_waiting(self, waiting: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """See `simulator.wire.Beacon`."""
        if waiting != self._phone_waiting:
            self._phone_waiting = waiting
            self._advertising_due.set()

    def set_installable(self, installable: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """See `simulator.wire.Beacon`."""
        if installable != self._installable:
            self._installable = installable
            self._advertising_due.set()

    def hold(self) -> None:
        """Be a phone's, as with an app of another kind: every link drops, and nobody hears it until `release`."""
        self._held = True
        for link in self._links.values():
            link.disconnect()
        self._advertising_due.set()

    def release(self) -> None:
        """Be heard again."""
        self._held = False
        self._advertising_due.set()

    def _service(self) -> Service:
        return Service(
            UUID(SERVICE_UUID),
            [
                Characteristic(
                    UUID(INFO_UUID),
                    Characteristic.Properties.READ,
                    Characteristic.READABLE,
                    CharacteristicValue(read=lambda _connection: self._handler.info_value(), write=_refuse_write),
                ),
                _written(RX_UUID, CharacteristicValue(read=_refuse_read, write=self._on_rx)),
                self._tx,
                _written(PHONE_RX_UUID, CharacteristicValue(read=_refuse_read, write=self._on_phone_rx)),
                self._phone_tx,
            ],
        )

    async def _keep_advertising(self, device: Device) -> None:
        """Advertise while a link is free, with the flag as it is. A connection ends advertising in the controller."""
        # Not `while True`: a cancellation is lost when the controller's answer arrives in the same turn of the loop.
        while not self._off_the_air:
            await self._advertising_due.wait()
            self._advertising_due.clear()
            with contextlib.suppress(*HCI_FAULTS):
                if self._held or len(self._links) >= LINK_COUNT_MAX:
                    await device.stop_advertising()
                    continue
                await device.start_advertising(
                    advertising_data=advertising_data(phone_waiting=self._phone_waiting, installable=self._installable),
                    advertising_interval_min=ADVERTISING_INTERVAL_MS,
                    advertising_interval_max=ADVERTISING_INTERVAL_MS,
                )

    def _on_connection(self, connection: Connection) -> None:
        link = _Link(connection)
        self._links[connection] = link
        undecided = asyncio.get_running_loop().call_later(UNDECIDED_MS_MAX / 1_000, self._drop_undecided, link)
        connection.on(connection.EVENT_DISCONNECTION, lambda _reason: self._on_disconnection(link, undecided))
        self._advertising_due.set()

    def _on_disconnection(self, link: _Link, undecided: asyncio.TimerHandle) -> None:
        undecided.cancel()
        link.closed = True
        del self._links[link.connection]
        self._advertising_due.set()
        if link is self._gateway:
            self._gateway = None
            self._handler.gateway_disconnected()
        elif link.channel is not None:
            self._handler.phone_disconnected(link.channel)

    def _drop_undecided(self, link: _Link) -> None:
        if link.tx is None:
            link.disconnect()

    def _on_tx_subscription(self, connection: Connection, notify: bool, _indicate: bool) -> None:  # noqa: FBT001 - Bumble's event
        link = self._links.get(connection)
        if link is None:
            return
        # The gateway that is there stays: a stranger that subscribes must not be able to push it out.
        if not notify or link.tx is not None or self._gateway is not None:
            link.disconnect()
            return
        link.tx = self._tx
        self._gateway = link
        self._handler.gateway_connected(link)

    def _on_phone_tx_subscription(self, connection: Connection, notify: bool, _indicate: bool) -> None:  # noqa: FBT001 - Bumble's event
        link = self._links.get(connection)
        if link is None:
            return
        if not notify or link.tx is not None:
            link.disconnect()
            return
        link.tx = self._phone_tx
        taken = {other.channel for other in self._links.values()}
        link.channel = next(channel for channel in self._channels if channel not in taken)
        self._handler.phone_connected(link.channel, link)

    def _on_rx(self, connection: Connection, value: bytes) -> None:
        link = self._links.get(connection)
        if link is None or link.closed:
            return
        if link is self._gateway:
            self._handler.gateway_value(value)
        else:
            link.disconnect()

    def _on_phone_rx(self, connection: Connection, value: bytes) -> None:
        link = self._links.get(connection)
        if link is None or link.closed:
            return
        if link.channel is not None:
            self._handler.phone_value(link.channel, value)
        else:
            link.disconnect()


class _Link:
    """One connected central; a `Pipe` once it has subscribed."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.tx: Characteristic[bytes] | None = None
        self.channel: int | None = None
        self.closed = False
        self._disconnecting: asyncio.Task[None] | None = None

    @property
    def value_size_max(self) -> int:
        return min(self.connection.att_mtu - 3, VALUE_SIZE_MAX)

    def send_value(self, value: bytes) -> None:
        if len(value) > self.value_size_max:
            raise ValueError(f"a value of {len(value)} bytes on a link that carries {self.value_size_max}")
        if self.closed or self.tx is None:
            return
        # Straight into Bumble's queue, which keeps the order; its `notify_subscriber` would need a task for each value.
        notification = att.ATT_Handle_Value_Notification(attribute_handle=self.tx.handle, attribute_value=value)
        self.connection.device.gatt_server.send_gatt_pdu(self.connection, bytes(notification))

    def disconnect(self) -> None:
        if not self.closed:
            self.closed = True
            self._disconnecting = asyncio.create_task(drop_link(self.connection))


def advertising_data(*, phone_waiting: bool, installable: bool = False) -> bytes:
    """Return the 26 bytes of the lock's advertisement: flags, the service, and two bits. No name, no id."""
    bits = ADVERTISED_PHONE_WAITING * phone_waiting | ADVERTISED_INSTALL_MODE * installable
    return bytes(
        AdvertisingData(
            [
                Flags(AdvertisingData.Flags.LE_GENERAL_DISCOVERABLE_MODE | AdvertisingData.Flags.BR_EDR_NOT_SUPPORTED),
                CompleteListOf128BitServiceUUIDs([UUID(SERVICE_UUID)]),
                ManufacturerSpecificData(ADVERTISED_COMPANY_ID, bytes([bits])),
            ]
        )
    )


def _refuse_read(_connection: Connection) -> bytes:
    # Bumble leaves permissions to the attributes.
    raise att.ATT_Error(att.ErrorCode.READ_NOT_PERMITTED)


def _refuse_write(_connection: Connection, _value: bytes) -> None:
    raise att.ATT_Error(att.ErrorCode.WRITE_NOT_PERMITTED)


def _notified(uuid: str) -> Characteristic[bytes]:
    return Characteristic(
        UUID(uuid),
        Characteristic.Properties.NOTIFY,
        Characteristic.Permissions(0),
        CharacteristicValue(read=_refuse_read, write=_refuse_write),
    )


def _written(uuid: str, value: CharacteristicValue[bytes]) -> Characteristic[bytes]:
    return Characteristic(
        UUID(uuid),
        Characteristic.Properties.WRITE | Characteristic.Properties.WRITE_WITHOUT_RESPONSE,
        Characteristic.WRITEABLE,
        value,
    )
