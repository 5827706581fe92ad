"""The radio through bleak: BlueZ, or any backend of the entry point group. Only this and `bleak_*` import bleak.

Every await on bleak has a deadline: BlueZ loses answers. Every foreign exception becomes a `RadioError` here, by
its type or its D-Bus name.
"""

from __future__ import annotations

import asyncio
import contextlib
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, cast

import structlog
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason, BleakDBusError

from firmware_protocol.constants import (
    ADVERTISED_COMPANY_ID,
    ADVERTISED_INSTALL_MODE,
    ADVERTISED_PHONE_WAITING,
    RX_UUID,
    SERVICE_UUID,
    TX_UUID,
    VALUE_SIZE_MAX,
)
from gatewayd.link.bleak_bus import forget_bluez, reaches_bluez
from gatewayd.link.bleak_faults import (
    FAULTS,
    IN_PROGRESS,
    REFUSED_COUNT_MAX,
    SCAN_SWITCH_MS_MAX,
    ConnectAbortedError,
    logged_faults,
    translated,
    unavailable,
)
from gatewayd.link.bluez import BlueZHost
from gatewayd.link.listening import Listening
from gatewayd.link.radio import LockLink, RadioCode, RadioError, RadioUnavailable, Rung, Sighting
from gatewayd.link.value_queue import ValueQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from bleak.args.bluez import BlueZScannerArgs
    from bleak.backends.characteristic import BleakGATTCharacteristic
    from bleak.backends.client import BaseBleakClient
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData, BaseBleakScanner

BACKEND_GROUP: Final = "gatewayd.ble_backends"
"""Entry point group of other radios. An entry is called with the options and returns a `BleBackend`."""
WRITE_MS_MAX: Final = 2_000
"""Longest time for a write without response, in milliseconds; BlueZ holds it back while its buffers are full."""
CLOSE_MS_MAX: Final = 5_000
"""Longest time to drop a link or let go of the adapter, in milliseconds."""
ABORT_RETRY_COUNT_MAX: Final = 9
"""Most tries that follow each other at once where the air aborts a connection that comes up."""
SEEN_COUNT_MAX: Final = 128
"""Most devices that are remembered for `connect`: a stairwell of 64 locks, each with one new address."""

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
    """A `Radio` on bleak. `backend` None is BlueZ, there with the adapter of this address or index, or any."""

    def __init__(self, *, backend: BleBackend | None = None, adapter: str | None = None) -> None:
        self._backend = backend
        self._adapter = adapter
        self._host: BlueZHost | None = None
        self._watching: asyncio.Task[NoReturn] | None = None
        self._listening = Listening(self._open_scan)
        self._seen: dict[str, BLEDevice] = {}
        self._links: set[BleakLockLink] = set()
        self._refused_count = 0

    @classmethod
    def from_settings(cls, backend: str | None, options: Mapping[str, str], adapter: str | None) -> BleakRadio:
        """Make the radio that the configuration names; nothing is opened yet.

        `backend` is None, the name of an entry point, or `module:attribute`.

        Raises:
            RadioError: `radio.backend_unusable`, there is no such backend or it refused `options`.
        """
        return cls(backend=None if backend is None else load_backend(backend, options), adapter=adapter)

    async def find(
        self, service_uuid: str, address: str | None, *, timeout_ms: int, phone_waiting: bool = False
    ) -> Sighting:
        """See `Radio.find`."""
        if service_uuid.lower() != SERVICE_UUID.lower():
            raise ValueError("a radio for locks looks for locks")

        def wanted(sighting: Sighting) -> bool:
            fits = address is None or sighting.address == address.upper()
            return fits and (sighting.phone_waiting or not phone_waiting)

        self._watch_host()
        return await self._listening.find(wanted, timeout_ms=timeout_ms)

    async def survey(self, *, duration_ms: int) -> tuple[Sighting, ...]:
        """See `Radio.survey`."""
        self._watch_host()
        return await self._listening.survey(duration_ms=duration_ms)

    async def connect(self, sighting: Sighting, *, timeout_ms: int) -> LockLink:
        """See `Radio.connect`. What the air has aborted is tried again at once, within the time."""
        device = self._seen.get(sighting.address)
        if device is None:
            raise RadioError(RadioCode.NOT_FOUND, f"{sighting.address} was not heard by this radio")
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_ms / 1_000
        for tries_left in range(ABORT_RETRY_COUNT_MAX, -1, -1):
            left_ms = max(1, round((end_s - loop.time()) * 1_000))
            try:
                return await self._connect(device, timeout_ms=left_ms)
            except ConnectAbortedError:
                if not tries_left or loop.time() >= end_s:
                    raise
        raise AssertionError  # pragma: no cover - the last try returns or raises

    async def returned(self) -> None:
        """See `Radio.returned`."""
        if self._host is None:
            await asyncio.Event().wait()  # a backend that does not tell
        else:
            await self._host.returned()

    async def recover(self, rung: Rung, address: str | None) -> bool:
        """See `Radio.recover`."""
        if self._host is None:
            return False
        for link in self._links if rung is not Rung.FORGET else ():
            link.lose()
        done = await self._host.recover(rung, address)
        if rung is not Rung.FORGET:
            self._seen.clear()
        return done

    async def close(self) -> None:
        """See `Radio.close`."""
        await self._listening.close()
        for link in self._links:
            await link.close()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        if self._backend is not None:
            with logged_faults("radio.close_failed"):
                async with asyncio.timeout(CLOSE_MS_MAX / 1_000):
                    await self._backend.adapter_control.close()

    async def _connect(self, device: BLEDevice, *, timeout_ms: int) -> BleakLockLink:
        link = BleakLockLink(device, self._backend, timeout_ms=timeout_ms)
        try:
            await link.open(timeout_ms=timeout_ms)
        except BaseException:
            await link.close()
            raise
        self._links = {other for other in self._links if not other.closed} | {link}
        return link

    @contextlib.asynccontextmanager
    async def _open_scan(self) -> AsyncIterator[None]:
        if self._host is not None:
            await self._host.look()
        scanner = self._scanner()
        try:
            await self._start(scanner)
            yield
        finally:
            if self._backend is not None or reaches_bluez():
                await _stop(scanner)

    async def _start(self, scanner: BleakScanner) -> None:
        """Start to listen. Whatever fails here means that there is no radio to listen with.

        Raises:
            RadioUnavailable: always with a sentence for the person who installs.
        """
        try:
            async with asyncio.timeout(SCAN_SWITCH_MS_MAX / 1_000):
                await scanner.start()
        except FAULTS as error:
            if isinstance(error, BleakDBusError) and error.dbus_error == IN_PROGRESS:
                self._shed_discovery()
            if isinstance(error, TimeoutError) and self._host is not None and not await self._host.answers():
                raise RadioUnavailable("BlueZ hangs: it does not answer", RadioCode.HOST_HANGS) from error
            if self._has_missed_an_adapter(error):
                forget_bluez()
            raise unavailable(error) from error
        self._refused_count = 0

    def _shed_discovery(self) -> None:
        """End one that bleak has forgotten with its connection; what is busy with another lock is told alike."""
        self._refused_count += 1
        if self._refused_count >= REFUSED_COUNT_MAX or all(link.closed for link in self._links):
            forget_bluez()

    def _has_missed_an_adapter(self, error: BaseException) -> bool:
        """Whether bleak knows of none although there is one.

        A bleak that asks while BlueZ comes up may hear that an adapter has come before it takes in the answer to its
        question, and then believes in the older word of the two for ever.
        """
        return (
            isinstance(error, BleakBluetoothNotAvailableError)
            and error.reason is BleakBluetoothNotAvailableReason.NO_BLUETOOTH
            and self._host is not None
            and self._host.adapter is not None
        )

    def _scanner(self) -> BleakScanner:
        if self._backend is not None:
            return BleakScanner(self._on_advertisement, [SERVICE_UUID], backend=self._backend.scanner)
        # Without duplicates BlueZ tells of a lock once, and not that a phone has come to wait at it.
        options: BlueZScannerArgs = {"filters": {"DuplicateData": True}}
        if self._host is not None and self._host.wanted is not None and self._host.informed:
            adapter = self._host.adapter
            if adapter is None:
                raise RadioUnavailable(f"the Bluetooth adapter {self._host.wanted} is not there")
            options["adapter"] = adapter.name
        return BleakScanner(self._on_advertisement, [SERVICE_UUID], bluez=options)

    def _on_advertisement(self, device: BLEDevice, data: AdvertisementData) -> None:
        # BlueZ also reports what other programs' scans hear, so the filter given to it is not enough.
        if SERVICE_UUID.lower() in data.service_uuids:
            self._remember(device)
            self._listening.hear(_sighting(device, data))

    def _remember(self, device: BLEDevice) -> None:
        self._seen.pop(device.address.upper(), None)
        self._seen[device.address.upper()] = device
        if len(self._seen) > SEEN_COUNT_MAX:
            del self._seen[next(iter(self._seen))]

    def _watch_host(self) -> None:
        if self._backend is None and self._host is None:
            self._host = BlueZHost(adapter=self._adapter, on_lost=self._on_host_lost)
            self._watching = asyncio.create_task(self._host.watch())

    def _on_host_lost(self, reason: str) -> None:
        for link in self._links:
            link.lose()
        self._seen.clear()
        self._listening.fail(RadioUnavailable(reason))
        forget_bluez()


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
                with translated(RadioCode.CONNECT_FAILED):
                    await self._client.connect()
                self._rx = self._characteristic(RX_UUID, "write-without-response")
                tx = self._characteristic(TX_UUID, "notify")
                with translated(RadioCode.GATT_FAILED):
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
                with translated(RadioCode.GATT_FAILED):
                    await self._client.write_gatt_char(self._rx, value, response=False)
        except TimeoutError:
            raise RadioError(RadioCode.GATT_FAILED, f"a write took more than {WRITE_MS_MAX} ms") from None

    async def next_value(self) -> bytes:
        """See `LockLink.next_value`."""
        return await self._values.get()

    def lose(self) -> None:
        """The host has let go of it, and says so or not."""
        self._values.end()

    async def close(self) -> None:
        """See `LockLink.close`."""
        self._values.end()
        # One task, also for several callers: cancelling one of them must not leave the link half open.
        if self._closing is None:
            self._closing = asyncio.create_task(self._disconnect())
        await asyncio.shield(self._closing)

    async def _disconnect(self) -> None:
        with logged_faults("radio.drop_failed"):
            async with asyncio.timeout(CLOSE_MS_MAX / 1_000):
                await self._client.disconnect()

    def _characteristic(self, uuid: str, needed: str) -> BleakGATTCharacteristic:
        with translated(RadioCode.GATT_FAILED):
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
        installable=bool(flags and flags[0] & ADVERTISED_INSTALL_MODE),
    )


async def _stop(scanner: BleakScanner) -> None:
    with logged_faults("radio.scan_stop_failed"):
        async with asyncio.timeout(SCAN_SWITCH_MS_MAX / 1_000):
            await scanner.stop()
