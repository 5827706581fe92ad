"""bluezoo, a mock of BlueZ's D-Bus API, as a process on a private bus; and a lock on one of its adapters.

Its quirks: an advertisement needs `Discoverable` and no ManufacturerData, a notification is confirmed by a call of
`Confirm`, and a link does not drop when the peripheral's process goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from firmware_protocol.constants import RX_UUID, SERVICE_UUID, TX_UUID
from tests.support.private_bus import PrivateBus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.wire import PeripheralHandler

GATEWAY_ADDRESS: Final = "00:00:00:11:11:11"
LOCK_ADDRESS: Final = "00:00:00:22:22:22"
GATEWAY_ADAPTER: Final = 0
LOCK_ADAPTER: Final = 1
MTU: Final = 247
POLL_S: Final = 0.02
BLUEZ: Final = "org.bluez"
_APPLICATION: Final = "/lock"
_SERVICE: Final = f"{_APPLICATION}/service"
_RX: Final = f"{_SERVICE}/rx"
_TX: Final = f"{_SERVICE}/tx"
_ADVERTISEMENT: Final = "/advertisement"
_OBJECTS: Final = "org.freedesktop.DBus.ObjectManager"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_CHARACTERISTIC: Final = "org.bluez.GattCharacteristic1"
_LOCK: Final[Mapping[str, dict[str, dict[str, Variant]]]] = {
    _SERVICE: {"org.bluez.GattService1": {"UUID": Variant("s", SERVICE_UUID), "Primary": Variant("b", value=True)}},
    _RX: {
        _CHARACTERISTIC: {
            "UUID": Variant("s", RX_UUID),
            "Service": Variant("o", _SERVICE),
            "Flags": Variant("as", ["write", "write-without-response"]),
            "MTU": Variant("q", MTU),
        }
    },
    _TX: {
        _CHARACTERISTIC: {
            "UUID": Variant("s", TX_UUID),
            "Service": Variant("o", _SERVICE),
            "Flags": Variant("as", ["notify"]),
            "MTU": Variant("q", MTU),
        }
    },
}
_SEEN: Final = {
    "org.bluez.LEAdvertisement1": {
        "Type": Variant("s", "peripheral"),
        "ServiceUUIDs": Variant("as", [SERVICE_UUID]),
        "Discoverable": Variant("b", value=True),
    }
}


def find_bluezoo() -> str | None:
    """Return where bluezoo is installed, or None."""
    return shutil.which("bluezoo", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


class BluezooStack:
    """A bus, a BlueZ with two adapters on it, and a lock on the second. `async with BluezooStack(…)`."""

    def __init__(self, folder: Path, lock: PeripheralHandler) -> None:
        self.bus = PrivateBus(folder)
        self._lock = lock
        self._bluez: subprocess.Popen[bytes] | None = None
        self._peripheral: BluezooPeripheral | None = None

    async def __aenter__(self) -> Self:
        """Start everything."""
        try:
            await self.bus.start()
            await self.start_bluez()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End everything."""
        self.kill_bluez()
        self.bus.kill()

    async def start_bluez(self) -> None:
        """Start BlueZ, and have the lock advertise."""
        command = [find_bluezoo() or "bluezoo", "--auto-enable", "--scan-interval=1", "--quiet"]
        adapters = [f"--adapter={address}" for address in (GATEWAY_ADDRESS, LOCK_ADDRESS)]
        environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": self.bus.address}
        self._bluez = await asyncio.to_thread(subprocess.Popen, [*command, *adapters], env=environment)
        self._peripheral = BluezooPeripheral(self.bus.address, self._lock)
        await self._peripheral.start()

    def kill_bluez(self) -> None:
        """End BlueZ without a word, and with it everything that it had connected."""
        bluez, self._bluez = self._bluez, None
        if bluez is not None:
            bluez.kill()
            bluez.wait()
        peripheral, self._peripheral = self._peripheral, None
        if peripheral is not None:
            peripheral.stop()

    async def pull_adapter(self, index: int = GATEWAY_ADAPTER) -> None:
        """Take the gateway's adapter away."""
        assert self._peripheral is not None
        await self._peripheral.call("/org/bluezoo", "org.bluezoo.Manager1", "RemoveAdapter", "y", [index])

    async def plug_adapter(self, index: int) -> None:
        """Put an adapter with the same address in, as hciN."""
        assert self._peripheral is not None
        await self._peripheral.call(
            "/org/bluezoo", "org.bluezoo.Manager1", "AddAdapter", "ys", [index, GATEWAY_ADDRESS]
        )


class BluezooPeripheral:
    """A lock's GATT application and advertisement: a `Pipe` to the gateway that subscribes."""

    def __init__(self, address: str, lock: PeripheralHandler) -> None:
        self._address = address
        self._lock = lock
        self._bus: MessageBus | None = None
        self._notifies = False
        self._ended: asyncio.Task[None] | None = None

    @property
    def value_size_max(self) -> int:
        """See `simulator.wire.Pipe`."""
        return MTU - 3

    async def start(self) -> None:
        """Register at BlueZ as soon as it is there."""
        self._bus = bus = MessageBus(bus_address=self._address)
        await bus.connect()
        self._ended = asyncio.create_task(_end(bus))
        bus.add_message_handler(self._answer)
        adapter = f"/org/bluez/hci{LOCK_ADAPTER}"
        while not await self._has_object(adapter):
            await asyncio.sleep(POLL_S)
        await self.call(adapter, "org.bluez.GattManager1", "RegisterApplication", "oa{sv}", [_APPLICATION, {}])
        await self.call(
            adapter, "org.bluez.LEAdvertisingManager1", "RegisterAdvertisement", "oa{sv}", [_ADVERTISEMENT, {}]
        )

    def stop(self) -> None:
        """Leave the bus; whoever was subscribed is gone."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.disconnect()
        self._stop_notifying()

    def send_value(self, value: bytes) -> None:
        """See `simulator.wire.Pipe`."""
        if self._bus is not None and self._notifies:
            body = [_CHARACTERISTIC, {"Value": Variant("ay", value)}, []]
            _ = self._bus.send(Message.new_signal(_TX, _PROPERTIES, "PropertiesChanged", "sa{sv}as", body))

    def disconnect(self) -> None:
        """See `simulator.wire.Pipe`; bluezoo's peripherals cannot drop a link."""

    async def call(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> list[Any]:
        """Call a method of BlueZ's."""
        assert self._bus is not None
        message = Message(
            destination=BLUEZ, path=path, interface=interface, member=member, signature=signature, body=body
        )
        reply = await self._bus.call(message)
        assert reply.message_type is MessageType.METHOD_RETURN, (member, reply.error_name, reply.body)
        return reply.body

    async def _has_object(self, path: str) -> bool:
        assert self._bus is not None
        reply = await self._bus.call(
            Message(destination=BLUEZ, path="/", interface=_OBJECTS, member="GetManagedObjects")
        )
        return reply.message_type is MessageType.METHOD_RETURN and path in reply.body[0]

    def _answer(self, message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        match message.interface, message.member:
            case interface, "GetManagedObjects" if interface == _OBJECTS:
                return Message.new_method_return(message, "a{oa{sa{sv}}}", [_LOCK])
            case interface, "GetAll" if interface == _PROPERTIES:
                interfaces = _SEEN if message.path == _ADVERTISEMENT else _LOCK.get(message.path or "", {})
                return Message.new_method_return(message, "a{sv}", [interfaces.get(message.body[0], {})])
            case interface, "StartNotify" if interface == _CHARACTERISTIC and not self._notifies:
                self._notifies = True
                self._lock.gateway_connected(self)
            case interface, "StopNotify" if interface == _CHARACTERISTIC:
                self._stop_notifying()
            case interface, "WriteValue" if interface == _CHARACTERISTIC:
                self._lock.gateway_value(bytes(message.body[0]))
            case _:
                pass  # Confirm, Release: nothing to do
        return Message.new_method_return(message)

    def _stop_notifying(self) -> None:
        if self._notifies:
            self._notifies = False
            self._lock.gateway_disconnected()


async def _end(bus: MessageBus) -> None:
    """Wait until `bus` is gone, also where it is killed: that is no fault here."""
    with contextlib.suppress(EOFError, OSError):
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # dbus-fast's own omission
