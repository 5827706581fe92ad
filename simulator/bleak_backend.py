"""A bleak backend on Bumble's virtual radio: entry point `simulator` of the group `gatewayd.ble_backends`.

It behaves as bleak's own backends do, except where the virtual radio is better than they are: the MTU is
exchanged at connect, so `max_write_without_response_size` is right at once.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from bleak.assigned_numbers import gatt_char_props_to_strs
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.scanner import AdvertisementData, AdvertisementDataCallback, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakDeviceNotFoundError,
    BleakError,
    BleakGATTProtocolError,
)
from bleak.uuids import normalize_uuid_str
from bumble.att import ATT_Error
from bumble.core import UUID, AdvertisingData
from bumble.device import Peer

from simulator.hci import HCI_FAULTS, HciHost, drop_link, lost_link_is_a_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bleak.args import SizedBuffer
    from bleak.backends.device import BLEDevice
    from bumble.device import Advertisement, Device

ATT_MTU_WANTED: Final = 517
"""What the client offers, as BlueZ does: the largest that a value of 512 bytes can use."""
OPTIONS: Final = frozenset({"hci", "address"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BleBackend:
    """What the gateway gets: classes for `BleakScanner(backend=…)` and `BleakClient(…, backend=…)`, on one adapter."""

    scanner: type[BaseBleakScanner]
    client: type[BaseBleakClient]
    adapter_control: AdapterControl


class AdapterControl:
    """The virtual adapter itself, which opens by itself when it is first used and after it was lost."""

    def __init__(self, host: HciHost) -> None:
        self._host = host

    async def close(self) -> None:
        """Let go of the controller; all links drop. Never raises for a controller that is gone."""
        with contextlib.suppress(*HCI_FAULTS):
            await self._host.close()


def backend(options: Mapping[str, str]) -> BleBackend:
    """Make a backend with one adapter of its own.

    Options: `hci`, a Bumble transport such as `tcp-client:127.0.0.1:40001`, required; `address`, the adapter's
    random static address, random if absent.

    Raises:
        ValueError: `hci` is missing, or an option is unknown.
    """
    if "hci" not in options or not options.keys() <= OPTIONS:
        raise ValueError(f"the simulator's radio takes hci (required) and address, not {sorted(options)}")
    return backend_on(HciHost(hci=options["hci"], address=options.get("address")))


def backend_on(adapter: HciHost) -> BleBackend:
    """Make a backend on this adapter."""

    class AdapterScanner(VirtualScanner):
        host = adapter

    class AdapterClient(VirtualClient):
        host = adapter

    return BleBackend(scanner=AdapterScanner, client=AdapterClient, adapter_control=AdapterControl(adapter))


class VirtualScanner(BaseBleakScanner):
    """Listens for advertisements on the adapter `host`."""

    host: ClassVar[HciHost]

    def __init__(
        self,
        detection_callback: AdvertisementDataCallback | None,
        service_uuids: list[str] | None,
        _scanning_mode: str,
        **_other_platforms: object,
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self._device: Device | None = None

    async def start(self) -> None:
        """Start to listen.

        Raises:
            BleakBluetoothNotAvailableError: the virtual controller does not answer.
        """
        self.seen_devices = {}
        with _adapter_faults():
            self._device = await self.host.start_scanning()
        self._device.on(self._device.EVENT_ADVERTISEMENT, self._on_advertisement)

    async def stop(self) -> None:
        """Stop to listen; the adapter stops with its last scanner."""
        device, self._device = self._device, None
        if device is not None:
            device.remove_listener(device.EVENT_ADVERTISEMENT, self._on_advertisement)
            with _adapter_faults():
                await self.host.stop_scanning(device)

    def _on_advertisement(self, advertisement: Advertisement) -> None:
        data = _advertisement_data(advertisement)
        if not self.is_allowed_uuid(data.service_uuids):
            return
        address = advertisement.address.to_string(with_type_qualifier=False)
        device = self.create_or_update_device(address, address, data.local_name, None, data)
        self.call_detection_callbacks(device, data)


class VirtualClient(BaseBleakClient):
    """One GATT link on the adapter `host`."""

    host: ClassVar[HciHost]

    def __init__(self, address_or_ble_device: BLEDevice | str, **arguments: Any) -> None:  # noqa: ANN401 - bleak's signature
        super().__init__(address_or_ble_device, **arguments)
        self._peer: Peer | None = None
        self._callbacks: dict[int, Callable[[bytes], None]] = {}

    @property
    def name(self) -> str:
        """The address with dashes, as bleak has it for devices that advertise no name."""
        return self.address.replace(":", "-")

    @property
    def mtu_size(self) -> int:
        """The negotiated ATT MTU."""
        return self._connected().connection.att_mtu

    @property
    def is_connected(self) -> bool:
        """Whether the link is up."""
        return self._peer is not None

    async def connect(self, pair: bool, **_kwargs: object) -> None:  # noqa: ARG002, FBT001 - bleak's signature; nothing depends on bonding
        """Connect, exchange the MTU and discover everything; on failure no link is left.

        Raises:
            BleakDeviceNotFoundError: nobody at that address answered in time.
            BleakError: already connected, or the link broke in between.
        """
        if self._peer is not None:
            raise BleakError("already connected")
        with _adapter_faults():
            await self.host.device()
        try:
            connection = await self.host.connect(self.address, timeout_ms=round(self._timeout * 1_000))
        except HCI_FAULTS as error:
            raise BleakDeviceNotFoundError(self.address, f"{self.address} did not answer") from error
        connection.on(connection.EVENT_DISCONNECTION, self._on_disconnection)
        self._peer = peer = Peer(connection)
        try:
            with _link_faults():
                await peer.request_mtu(ATT_MTU_WANTED)
                await peer.discover_all()  # type: ignore[no-untyped-call]  # Bumble gives it no annotations
        except BaseException:
            await self.disconnect()
            raise
        self.services = _services(peer)

    async def disconnect(self) -> None:
        """Drop the link; nothing happens when it is gone."""
        if self._peer is not None:
            await drop_link(self._peer.connection)

    async def pair(self, *_args: object, **_kwargs: object) -> None:
        """Do nothing: the locks have no bonding, and nothing depends on it."""

    async def unpair(self) -> None:
        """Do nothing, see `pair`."""

    async def read_gatt_char(
        self,
        characteristic: BleakGATTCharacteristic,
        *,
        use_cached: bool = False,  # noqa: ARG002 - bleak's signature; there is no cache
        **_kwargs: object,
    ) -> bytearray:
        """Read the value.

        Raises:
            BleakError: the peripheral refused, or the link is gone.
        """
        return await self._read(characteristic.handle)

    async def read_gatt_descriptor(
        self,
        descriptor: BleakGATTDescriptor,
        *,
        use_cached: bool = False,  # noqa: ARG002 - bleak's signature; there is no cache
        **_kwargs: object,
    ) -> bytearray:
        """Read the descriptor.

        Raises:
            BleakError: the peripheral refused, or the link is gone.
        """
        return await self._read(descriptor.handle)

    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool) -> None:  # noqa: FBT001 - bleak's signature
        """Write, and with `response` wait for the answer.

        Raises:
            BleakError: the peripheral refused, the link is gone, or `data` is too long to go without response.
        """
        value = bytes(data)
        if not response and len(value) > characteristic.max_write_without_response_size:
            raise BleakError(f"{len(value)} bytes are too long for a write without response")
        await self._write(characteristic.handle, value, response=response)

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        """Write the descriptor.

        Raises:
            BleakError: the peripheral refused, or the link is gone.
        """
        await self._write(descriptor.handle, bytes(data), response=True)

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **_kwargs: object
    ) -> None:
        """Subscribe; `callback` gets every value in order, also those that come before this returns.

        Raises:
            BleakError: the peripheral refused, or the link is gone.
        """
        client = self._connected().gatt_client
        subscriber = functools.partial(_call_with_bytearray, callback)
        self._callbacks[characteristic.handle] = subscriber
        with _link_faults():
            await client.subscribe(characteristic.obj, subscriber)

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """Unsubscribe.

        Raises:
            BleakError: the peripheral refused, or the link is gone.
        """
        client = self._connected().gatt_client
        subscriber = self._callbacks.pop(characteristic.handle, None)
        with _link_faults():
            await client.unsubscribe(characteristic.obj, subscriber)

    async def _read(self, handle: int) -> bytearray:
        client = self._connected().gatt_client
        with _link_faults():
            return bytearray(await client.read_value(handle))

    async def _write(self, handle: int, value: bytes, *, response: bool) -> None:
        client = self._connected().gatt_client
        with _link_faults():
            await client.write_value(handle, value, with_response=response)

    def _connected(self) -> Peer:
        if self._peer is None:
            raise BleakError("not connected")
        return self._peer

    def _on_disconnection(self, _reason: int) -> None:
        self._peer = None
        self.services = None
        if self._disconnected_callback is not None:
            self._disconnected_callback()


@contextlib.contextmanager
def _adapter_faults() -> Iterator[None]:
    try:
        yield
    except HCI_FAULTS as error:
        raise BleakBluetoothNotAvailableError(
            "the virtual controller does not answer", BleakBluetoothNotAvailableReason.NO_BLUETOOTH
        ) from error


@contextlib.contextmanager
def _link_faults() -> Iterator[None]:
    try:
        with lost_link_is_a_fault():
            yield
    except ATT_Error as error:
        raise BleakGATTProtocolError(error.error_code) from error
    except HCI_FAULTS as error:
        raise BleakError("the link failed") from error


def _call_with_bytearray(callback: NotifyCallback, value: bytes) -> None:
    callback(bytearray(value))


def _uuid_text(uuid: UUID) -> str:
    return normalize_uuid_str(uuid.to_hex_str("-"))


def _services(peer: Peer) -> BleakGATTServiceCollection:
    """Return bleak's view of what Bumble discovered."""
    collection = BleakGATTServiceCollection()
    connection = peer.connection
    for service in peer.services:
        bleak_service = BleakGATTService(service, service.handle, _uuid_text(service.uuid))
        collection.add_service(bleak_service)
        for characteristic in service.characteristics:
            bleak_characteristic = BleakGATTCharacteristic(
                characteristic,
                characteristic.handle,
                _uuid_text(characteristic.uuid),
                list(gatt_char_props_to_strs(characteristic.properties)),
                lambda: connection.att_mtu - 3,
                bleak_service,
            )
            collection.add_characteristic(bleak_characteristic)
            for descriptor in characteristic.descriptors:
                collection.add_descriptor(
                    BleakGATTDescriptor(
                        descriptor, descriptor.handle, _uuid_text(descriptor.type), bleak_characteristic
                    )
                )
    return collection


UUID_LISTS: Final = {
    AdvertisingData.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS: 2,
    AdvertisingData.INCOMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS: 2,
    AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS: 16,
    AdvertisingData.INCOMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS: 16,
}
"""Types of advertised lists to the size of one UUID in them, in bytes."""
SERVICE_DATA: Final = {AdvertisingData.SERVICE_DATA_16_BIT_UUID: 2, AdvertisingData.SERVICE_DATA_128_BIT_UUID: 16}
"""Types of advertised service data to the size of the UUID in front, in bytes."""


def _advertisement_data(advertisement: Advertisement) -> AdvertisementData:
    """Return bleak's view of one advertisement."""
    service_uuids: list[str] = []
    service_data: dict[str, bytes] = {}
    manufacturer_data: dict[int, bytes] = {}
    local_name: str | None = None
    for kind, data in advertisement.data.ad_structures:
        if size := UUID_LISTS.get(kind):
            service_uuids += [_uuid_text(UUID.from_bytes(data[at : at + size])) for at in range(0, len(data), size)]
        elif size := SERVICE_DATA.get(kind):
            service_data[_uuid_text(UUID.from_bytes(data[:size]))] = data[size:]
        elif kind == AdvertisingData.MANUFACTURER_SPECIFIC_DATA:
            manufacturer_data[int.from_bytes(data[:2], "little")] = data[2:]
        elif kind == AdvertisingData.COMPLETE_LOCAL_NAME:
            local_name = data.decode(errors="replace")
    return AdvertisementData(
        local_name=local_name,
        manufacturer_data=manufacturer_data,
        service_data=service_data,
        service_uuids=service_uuids,
        tx_power=None,
        rssi=advertisement.rssi,
        platform_data=(advertisement,),
    )
