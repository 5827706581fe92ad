"""The radio through bleak: BlueZ, or any backend of the entry point group. The only importer of bleak.

Every await on bleak has a deadline: BlueZ loses answers. Every foreign exception becomes a `RadioError` here, by
its type or its D-Bus name.
"""

from __future__ import annotations

import asyncio
import contextlib
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final, Protocol, cast

import structlog
from bleak import BleakClient, BleakScanner
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakDBusError,
    BleakError,
)

from firmware_protocol.constants import (
    ADVERTISED_COMPANY_ID,
    ADVERTISED_PHONE_WAITING,
    RX_UUID,
    SERVICE_UUID,
    TX_UUID,
    VALUE_SIZE_MAX,
)
from gatewayd.link.bluez import BUS_FAULTS
from gatewayd.link.radio import LockLink, RadioCode, RadioError, RadioUnavailable, Sighting
from gatewayd.link.value_queue import ValueQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bleak.backends.characteristic import BleakGATTCharacteristic
    from bleak.backends.client import BaseBleakClient
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData, BaseBleakScanner

BACKEND_GROUP: Final = "gatewayd.ble_backends"
"""Entry point group of other radios. An entry is called with the options and returns a `BleBackend`."""
SCAN_SWITCH_MS_MAX: Final = 5_000
"""Longest time to start or stop a scan, in milliseconds: connecting to the bus and one answer of BlueZ."""
WRITE_MS_MAX: Final = 2_000
"""Longest time for a write without response, in milliseconds; BlueZ holds it back while its buffers are full."""
CLOSE_MS_MAX: Final = 5_000
"""Longest time to drop a link or let go of the adapter, in milliseconds."""
SEEN_COUNT_MAX: Final = 128
"""Most devices that are remembered for `connect`: a stairwell of 64 locks, each with one new address."""
FAULTS: Final = (BleakError, TimeoutError, *BUS_FAULTS)

log = structlog.get_logger()


class AdapterControl(Protocol):
    """The adapter of a backend."""

    async def close(self) -> None:
        """Drop all links and let go of the adapter."""


class BleBackend(Protocol):
    """What an entry point of `BACKEND_GROUP` returns: bleak's public extension points and the adapter."""

    @property
    def scanner(self) -> type[BaseBleakScanner]:
        """For `BleakScanner(backend=…)`."""

    @property
    def client(self) -> type[BaseBleakClient]:
        """For `BleakClient(…, backend=…)`."""

    @property
    def adapter_control(self) -> AdapterControl:
        """The adapter that both classes use."""


class BleakRadio:
    """A `Radio` on bleak. `backend` None is bleak's own for this platform, there with the BlueZ adapter `adapter`."""

    def __init__(self, *, backend: BleBackend | None = None, adapter: str | None = None) -> None:
        self._backend = backend
        self._adapter = adapter
        self._seen: dict[str, BLEDevice] = {}
        self._links: set[BleakLockLink] = set()

    @classmethod
    def from_settings(cls, backend: str | None, options: Mapping[str, str], adapter: str | None) -> BleakRadio:
        """Make the radio that the configuration names; nothing is opened yet.

        `backend` is None, the name of an entry point, or `module:attribute`.

        Raises:
            RadioError: `radio.backend_unusable`, there is no such backend or it refused `options`.
        """
        return cls(backend=None if backend is None else load_backend(backend, options), adapter=adapter)

    async def find(self, service_uuid: str, address: str | None, *, timeout_ms: int) -> Sighting:
        """See `Radio.find`."""
        found: asyncio.Future[Sighting] = asyncio.get_running_loop().create_future()

        def on_advertisement(device: BLEDevice, data: AdvertisementData) -> None:
            # BlueZ also reports what other programs' scans hear, so the filter given to it is not enough.
            wanted = address is None or device.address.upper() == address.upper()
            if wanted and service_uuid.lower() in data.service_uuids and not found.done():
                self._remember(device)
                found.set_result(_sighting(device, data))

        scanner = self._scanner(on_advertisement, service_uuid)
        try:
            await _start(scanner)
            async with asyncio.timeout(timeout_ms / 1_000):
                return await found
        except TimeoutError:
            raise RadioError(RadioCode.NOT_FOUND, f"no lock heard in {timeout_ms} ms") from None
        finally:
            await _stop(scanner)

    async def connect(self, sighting: Sighting, *, timeout_ms: int) -> LockLink:
        """See `Radio.connect`."""
        device = self._seen.get(sighting.address)
        if device is None:
            raise RadioError(RadioCode.NOT_FOUND, f"{sighting.address} was not heard by this radio")
        link = BleakLockLink(device, self._backend, timeout_ms=timeout_ms)
        try:
            await link.open(timeout_ms=timeout_ms)
        except BaseException:
            await link.close()
            raise
        self._links = {other for other in self._links if not other.closed} | {link}
        return link

    async def close(self) -> None:
        """See `Radio.close`."""
        for link in self._links:
            await link.close()
        self._links = set()
        if self._backend is not None:
            with _logged_faults("radio.close_failed"):
                async with asyncio.timeout(CLOSE_MS_MAX / 1_000):
                    await self._backend.adapter_control.close()

    def _scanner(
        self, on_advertisement: Callable[[BLEDevice, AdvertisementData], None], service_uuid: str
    ) -> BleakScanner:
        if self._backend is not None:
            return BleakScanner(on_advertisement, [service_uuid], backend=self._backend.scanner)
        if self._adapter is not None:
            return BleakScanner(on_advertisement, [service_uuid], bluez={"adapter": self._adapter})
        return BleakScanner(on_advertisement, [service_uuid])

    def _remember(self, device: BLEDevice) -> None:
        self._seen.pop(device.address.upper(), None)
        self._seen[device.address.upper()] = device
        if len(self._seen) > SEEN_COUNT_MAX:
            del self._seen[next(iter(self._seen))]


class BleakLockLink:
    """A `LockLink` on a bleak client."""

    def __init__(self, device: BLEDevice, backend: BleBackend | None, *, timeout_ms: int) -> None:
        self._values = ValueQueue()
        # bleak's own time-out is later than `open`'s, so that one place decides what a late answer is.
        self._client = BleakClient(
            device,
            disconnected_callback=self._on_disconnected,
            timeout=timeout_ms / 1_000 + 1,
            backend=None if backend is None else backend.client,
        )
        self._rx: BleakGATTCharacteristic | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether the link is gone or on its way out."""
        return self._values.ended

    @property
    def value_size_max(self) -> int:
        """See `LockLink.value_size_max`."""
        return 0 if self._rx is None else min(self._rx.max_write_without_response_size, VALUE_SIZE_MAX)

    async def open(self, *, timeout_ms: int) -> None:
        """Connect, find the characteristics and subscribe. The caller closes on failure.

        Raises:
            RadioError: see `Radio.connect`.
        """
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                with _translated(RadioCode.CONNECT_FAILED):
                    await self._client.connect()
                self._rx = self._characteristic(RX_UUID, "write-without-response")
                tx = self._characteristic(TX_UUID, "notify")
                with _translated(RadioCode.GATT_FAILED):
                    await self._client.start_notify(tx, self._on_value)
        except TimeoutError:
            raise RadioError(RadioCode.CONNECT_TIMEOUT, f"no link after {timeout_ms} ms") from None

    async def write_value(self, value: bytes) -> None:
        """See `LockLink.write_value`."""
        if self._values.ended or self._rx is None:
            raise RadioError(RadioCode.DISCONNECTED)
        if len(value) > self.value_size_max:
            raise ValueError(f"a value of {len(value)} bytes on a link that carries {self.value_size_max}")
        try:
            async with asyncio.timeout(WRITE_MS_MAX / 1_000):
                with _translated(RadioCode.GATT_FAILED):
                    await self._client.write_gatt_char(self._rx, value, response=False)
        except TimeoutError:
            raise RadioError(RadioCode.GATT_FAILED, f"a write took more than {WRITE_MS_MAX} ms") from None

    async def next_value(self) -> bytes:
        """See `LockLink.next_value`."""
        return await self._values.get()

    async def close(self) -> None:
        """See `LockLink.close`."""
        self._values.end()
        # One task, also for several callers: cancelling one of them must not leave the link half open.
        if self._closing is None:
            self._closing = asyncio.create_task(self._disconnect())
        await asyncio.shield(self._closing)

    async def _disconnect(self) -> None:
        with _logged_faults("radio.drop_failed"):
            async with asyncio.timeout(CLOSE_MS_MAX / 1_000):
                await self._client.disconnect()

    def _characteristic(self, uuid: str, needed: str) -> BleakGATTCharacteristic:
        with _translated(RadioCode.GATT_FAILED):
            service = self._client.services.get_service(SERVICE_UUID)
        characteristic = service and service.get_characteristic(uuid)
        if not characteristic or needed not in characteristic.properties:
            raise RadioError(RadioCode.GATT_FAILED, f"no characteristic {uuid} with {needed}")
        return characteristic

    def _on_value(self, _characteristic: BleakGATTCharacteristic, value: bytearray) -> None:
        if not self._values.put(bytes(value)):
            log.warning("radio.values_overflowed")
            self._closing = self._closing or asyncio.create_task(self._disconnect())

    def _on_disconnected(self, _client: BleakClient) -> None:
        self._values.end()


def load_backend(name: str, options: Mapping[str, str]) -> BleBackend:
    """Call the entry point `name` of `BACKEND_GROUP`, or the object `module:attribute`, with `options`.

    Raises:
        RadioError: `radio.backend_unusable`.
    """
    found = (
        [EntryPoint(name, name, BACKEND_GROUP)] if ":" in name else list(entry_points(group=BACKEND_GROUP, name=name))
    )
    if not found:
        raise RadioError(RadioCode.BACKEND_UNUSABLE, f"no backend named {name} is installed")
    try:
        factory = cast("Callable[[Mapping[str, str]], BleBackend]", found[0].load())
        return factory(options)
    except (ImportError, AttributeError, ValueError) as error:
        raise RadioError(RadioCode.BACKEND_UNUSABLE, f"{name}: {error}") from error


def _sighting(device: BLEDevice, data: AdvertisementData) -> Sighting:
    flags = data.manufacturer_data.get(ADVERTISED_COMPANY_ID, b"")[:1]
    return Sighting(
        address=device.address.upper(),
        rssi_dbm=data.rssi,
        phone_waiting=bool(flags and flags[0] & ADVERTISED_PHONE_WAITING),
    )


async def _start(scanner: BleakScanner) -> None:
    """Start to listen. Whatever fails here means that there is no radio to listen with.

    Raises:
        RadioUnavailable: always with a sentence for the person who installs.
    """
    try:
        async with asyncio.timeout(SCAN_SWITCH_MS_MAX / 1_000):
            await scanner.start()
    except FAULTS as error:
        raise RadioUnavailable(_why_unavailable(error)) from error


async def _stop(scanner: BleakScanner) -> None:
    with _logged_faults("radio.scan_stop_failed"):
        async with asyncio.timeout(SCAN_SWITCH_MS_MAX / 1_000):
            await scanner.stop()


_REASONS: Final = {
    BleakBluetoothNotAvailableReason.NO_BLUETOOTH: "no Bluetooth adapter",
    BleakBluetoothNotAvailableReason.NO_BLE_CENTRAL_ROLE: "no adapter that can be a BLE central",
    BleakBluetoothNotAvailableReason.POWERED_OFF: "the Bluetooth adapter is powered off",
    BleakBluetoothNotAvailableReason.DENIED_BY_SYSTEM: "the message bus refused this user",
}
_NO_BLUEZ: Final = frozenset({"org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner"})


def _why_unavailable(error: BaseException) -> str:
    """Return one sentence that says what to look at first."""
    match error:
        case BleakBluetoothNotAvailableError():
            return f"{_REASONS.get(error.reason, 'Bluetooth cannot be used')} ({error.args[0]})"
        case BleakDBusError() if error.dbus_error in _NO_BLUEZ:
            return "BlueZ is not running (org.bluez is not on the system bus)"
        case BleakError():
            return f"BlueZ refused to scan ({error})"
        case TimeoutError():
            return f"the radio did not answer in {SCAN_SWITCH_MS_MAX} ms"
        case _:
            return f"the system message bus cannot be used ({str(error) or type(error).__name__})"


@contextlib.contextmanager
def _translated(code: RadioCode) -> Iterator[None]:
    """Turn bleak's faults into `code`, or into RadioUnavailable where the adapter itself is gone.

    A TimeoutError passes: each caller's own deadline is the only one there is.
    """
    try:
        yield
    except TimeoutError:
        raise
    except BleakBluetoothNotAvailableError as error:
        raise RadioUnavailable(_why_unavailable(error)) from error
    except FAULTS as error:
        raise RadioError(code, str(error) or type(error).__name__) from error


@contextlib.contextmanager
def _logged_faults(event: str) -> Iterator[None]:
    """Go on after a fault: there is nothing else to try at this level, and the link's recovery ladder looks on."""
    try:
        yield
    except FAULTS as error:
        log.warning(event, fault=type(error).__name__, detail=str(error))
