"""A BlueZ on a private message bus that fails in every way that BlueZ does: real bleak, real D-Bus, no radio.

It answers what bleak and `gatewayd.link.bluez` ask of `org.bluez`, and of the service manager, and is told by a test
what to do wrong. bluezoo mocks BlueZ more faithfully where nothing fails; this one is for the failing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from firmware_protocol.constants import (
    ADVERTISED_COMPANY_ID,
    ADVERTISED_PHONE_WAITING,
    RX_UUID,
    SERVICE_UUID,
    TX_UUID,
)
from tests.support.private_bus import PrivateBus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import pytest

    from simulator.wire import PeripheralHandler

LOCK: Final = "F0:00:00:00:00:01"
ADAPTER_ADDRESS: Final = "00:1A:7D:DA:71:13"
ADVERTISE_S: Final = 0.02
_OBJECTS: Final = "org.freedesktop.DBus.ObjectManager"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"


class FakeBlueZ:
    """One bluetoothd. `start` again after `stop` is its restart."""

    def __init__(self, address: str, lock: PeripheralHandler) -> None:
        self.index = 0
        self.adapter_address = ADAPTER_ADDRESS
        self.has_adapter = True
        self.hides: list[bool] = []
        """Whether the next who ask for its objects are told of none, as by one that is coming up."""
        self.powered = True
        self.blocked = False
        """Whether rfkill keeps the adapter off."""
        self.discovers = True
        """Whether what scans also hears; what is missed is not repeated in the same scan."""
        self.phone_waiting = False
        self.silent: set[str] = set()
        """Members that are never answered; `*` is all of them."""
        self.errors: dict[str, list[tuple[str, str]]] = {}
        """What the next calls of a member fail with: D-Bus error name and text."""
        self.calls: list[str] = []
        """Members that were called, in order."""
        self.mtu: int | None = 247
        self.service_name = "service0001"
        """Its handle: another one after an update of the lock's firmware."""
        self.connected = False
        self.units: Counter[str] = Counter()
        self.on_unit: Callable[[str], None] = lambda _unit: None
        """What starting a unit does."""
        self._bus_address = address
        self._lock = lock
        self._bus: MessageBus | None = None
        self._scanning = False
        self._reported = False
        """Whether this scan has reported the lock: a controller's filter looks at the address only."""
        self._known = False
        self._watching: asyncio.Task[None] | None = None
        self._advertising: asyncio.Task[None] | None = None

    @property
    def value_size_max(self) -> int:
        """See `simulator.wire.Pipe`."""
        return (self.mtu or 23) - 3

    @property
    def adapter(self) -> str:
        """The adapter's path now."""
        return f"/org/bluez/hci{self.index}"

    @property
    def device(self) -> str:
        """The lock's path now."""
        return f"{self.adapter}/dev_{LOCK.replace(':', '_')}"

    async def start(self) -> None:
        """Take the names on the bus."""
        self._bus = bus = await MessageBus(bus_address=self._bus_address).connect()
        bus.add_message_handler(self._handle)
        await bus.request_name("org.freedesktop.systemd1")
        await bus.request_name("org.bluez")
        self._advertising = asyncio.create_task(self._advertise())
        self._watching = asyncio.create_task(_until_dead(bus))
        if self.has_adapter:
            self._emit_added(self.adapter)

    def stop(self) -> None:
        """End as a process does that is killed: no object is said to be gone."""
        if self._advertising is not None:
            self._advertising.cancel()
        if self._bus is not None:
            self._bus.disconnect()
            self._bus = None
        self._scanning = self._known = False
        self._hang_up()

    # What a test does.

    def remove_adapter(self) -> None:
        """Pull the adapter out."""
        self._hang_up()
        paths = [self.device] if self._known else []
        self.has_adapter = self._scanning = self._known = False
        for path, interface in [*((path, "org.bluez.Device1") for path in paths), (self.adapter, "org.bluez.Adapter1")]:
            self._signal("/", _OBJECTS, "InterfacesRemoved", "oas", [path, [interface]])

    def add_adapter(self, index: int) -> None:
        """Put it back, under an index."""
        self.index, self.has_adapter = index, True
        self._emit_added(self.adapter)

    def switch(self, *, on: bool) -> None:
        """Let another program switch the adapter."""
        self.powered = on
        if not on:
            self._hang_up()
            self._scanning = False
        self._signal(
            self.adapter,
            _PROPERTIES,
            "PropertiesChanged",
            "sa{sv}as",
            ["org.bluez.Adapter1", {"Powered": Variant("b", on)}, []],
        )

    def send_value(self, value: bytes) -> None:
        """See `simulator.wire.Pipe`: notify."""
        changed = {"Value": Variant("ay", value)}
        path = f"{self.device}/{self.service_name}/char0004"
        self._signal(path, _PROPERTIES, "PropertiesChanged", "sa{sv}as", ["org.bluez.GattCharacteristic1", changed, []])

    def disconnect(self) -> None:
        """See `simulator.wire.Pipe`: the lock drops the link."""
        self._hang_up()

    # D-Bus.

    def _handle(self, message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        member = message.member or ""
        self.calls.append(member)
        if member in self.silent or "*" in self.silent:
            return True  # handled, and no answer ever comes
        if self.errors.get(member):
            name, text = self.errors[member].pop(0)
            return Message.new_error(message, name, text)
        answer = getattr(self, f"_on_{member}", None)
        if answer is None:
            return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownMethod", member)
        reply = answer(message)
        return reply if isinstance(reply, Message) else Message.new_method_return(message, *(reply or ()))

    def _on_Ping(self, _message: Message) -> None:  # noqa: N802 - D-Bus's name
        pass

    def _on_GetManagedObjects(self, _message: Message) -> tuple[str, list[Any]]:  # noqa: N802 - D-Bus's name
        hides = self.hides.pop(0) if self.hides else False
        return "a{oa{sa{sv}}}", [{} if hides else self._objects()]

    def _on_SetDiscoveryFilter(self, _message: Message) -> None:  # noqa: N802 - D-Bus's name
        pass

    def _on_StartDiscovery(self, message: Message) -> Message | None:  # noqa: N802 - D-Bus's name
        if not self.powered:
            return Message.new_error(message, "org.bluez.Error.NotReady", "Resource Not Ready")
        self._scanning, self._reported = True, False
        return None

    def _on_StopDiscovery(self, _message: Message) -> None:  # noqa: N802 - D-Bus's name
        self._scanning = False

    def _on_RemoveDevice(self, message: Message) -> Message | None:  # noqa: N802 - D-Bus's name
        if not self._known:
            return Message.new_error(message, "org.bluez.Error.DoesNotExist", "Does Not Exist")
        self._hang_up()
        self._known = False
        self._signal("/", _OBJECTS, "InterfacesRemoved", "oas", [self.device, ["org.bluez.Device1"]])
        return None

    def _on_Connect(self, message: Message) -> Message | None:  # noqa: N802 - D-Bus's name
        if not self._known:
            return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownObject", "no such device")
        self.connected = True
        self._change_device({"Connected": Variant("b", True)})  # noqa: FBT003 - a D-Bus value
        asyncio.get_running_loop().call_soon(self._resolve)
        return None

    def _on_Disconnect(self, _message: Message) -> None:  # noqa: N802 - D-Bus's name
        asyncio.get_running_loop().call_soon(self._hang_up)

    def _on_StartNotify(self, _message: Message) -> None:  # noqa: N802 - D-Bus's name
        asyncio.get_running_loop().call_soon(self._lock.gateway_connected, self)

    def _on_StopNotify(self, _message: Message) -> None:  # noqa: N802 - D-Bus's name
        pass

    def _on_WriteValue(self, message: Message) -> None:  # noqa: N802 - D-Bus's name
        self._lock.gateway_value(bytes(message.body[0]))

    def _on_Set(self, message: Message) -> Message | None:  # noqa: N802 - D-Bus's name
        on = bool(message.body[2].value)
        if on and self.blocked:
            return Message.new_error(message, "org.bluez.Error.Blocked", "Blocked through rfkill")
        self.switch(on=on)
        return None

    def _on_StartUnit(self, message: Message) -> tuple[str, list[Any]]:  # noqa: N802 - D-Bus's name
        unit = str(message.body[0])
        self.units[unit] += 1
        asyncio.get_running_loop().call_soon(self.on_unit, unit)
        return "o", ["/org/freedesktop/systemd1/job/1"]

    # Objects.

    def _objects(self) -> dict[str, Any]:
        objects: dict[str, Any] = {}
        if self.has_adapter:
            objects[self.adapter] = self._adapter_object()
        if self._known:
            objects[self.device] = self._device_object()
        return objects

    def _adapter_object(self) -> dict[str, Any]:
        return {
            "org.bluez.Adapter1": {
                "Address": Variant("s", self.adapter_address),
                "Powered": Variant("b", self.powered),
                "Roles": Variant("as", ["central"]),
            }
        }

    def _device_object(self) -> dict[str, Any]:
        flags = bytes([ADVERTISED_PHONE_WAITING if self.phone_waiting else 0])
        return {
            "org.bluez.Device1": {
                "Adapter": Variant("o", self.adapter),
                "Address": Variant("s", LOCK),
                "Alias": Variant("s", LOCK.replace(":", "-")),
                "Connected": Variant("b", self.connected),
                "Paired": Variant("b", False),  # noqa: FBT003 - a D-Bus value
                "ServicesResolved": Variant("b", False),  # noqa: FBT003 - a D-Bus value
                "RSSI": Variant("n", -50),
                "UUIDs": Variant("as", [SERVICE_UUID]),
                "ManufacturerData": Variant("a{qv}", {ADVERTISED_COMPANY_ID: Variant("ay", flags)}),
            }
        }

    def _services(self) -> dict[str, Any]:
        service = f"{self.device}/{self.service_name}"
        objects: dict[str, Any] = {
            service: {
                "org.bluez.GattService1": {
                    "UUID": Variant("s", SERVICE_UUID),
                    "Device": Variant("o", self.device),
                    "Primary": Variant("b", True),  # noqa: FBT003 - a D-Bus value
                }
            }
        }
        for handle, uuid, flag in ((2, RX_UUID, "write-without-response"), (4, TX_UUID, "notify")):
            properties = {
                "UUID": Variant("s", uuid),
                "Service": Variant("o", service),
                "Flags": Variant("as", [flag]),
                "Notifying": Variant("b", False),  # noqa: FBT003 - a D-Bus value
            }
            if flag == "notify":
                properties["NotifyAcquired"] = Variant("b", False)  # noqa: FBT003 - a D-Bus value
            if self.mtu is not None:
                properties["MTU"] = Variant("q", self.mtu)
            objects[f"{service}/char{handle:04x}"] = {"org.bluez.GattCharacteristic1": properties}
        return objects

    def _resolve(self) -> None:
        if not self.connected:
            return
        for path, interfaces in self._services().items():
            self._signal("/", _OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, interfaces])
        self._change_device({"ServicesResolved": Variant("b", True)})  # noqa: FBT003 - a D-Bus value

    def _hang_up(self) -> None:
        if not self.connected:
            return
        self.connected = False
        self._change_device({"Connected": Variant("b", False), "ServicesResolved": Variant("b", False)})  # noqa: FBT003 - D-Bus values
        self._lock.gateway_disconnected()

    def _change_device(self, changed: dict[str, Variant]) -> None:
        self._signal(self.device, _PROPERTIES, "PropertiesChanged", "sa{sv}as", ["org.bluez.Device1", changed, []])

    def _emit_added(self, path: str) -> None:
        self._signal("/", _OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, self._objects()[path]])

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        if self._bus is not None and "*" not in self.silent:
            message = Message.new_signal(path, interface, member, signature, body)
            self._bus.send(message).add_done_callback(_forgive)

    async def _advertise(self) -> None:
        while True:
            await asyncio.sleep(ADVERTISE_S)
            if self._reported or not (self._scanning and self.has_adapter):
                continue
            self._reported = True
            if not self.discovers:
                continue
            if self._known:
                self._change_device(self._device_object()["org.bluez.Device1"])
            else:
                self._known = True
                self._emit_added(self.device)


async def _until_dead(bus: MessageBus) -> None:
    """Take the error that a killed bus leaves behind, so that nobody is told of it at a moment of the collector's."""
    with contextlib.suppress(EOFError, OSError):
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # dbus-fast's own omission


def _forgive(sent: asyncio.Future[Any]) -> None:
    if not sent.cancelled():
        sent.exception()


def open_descriptor_count() -> int:
    """Return how many descriptors this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


@asynccontextmanager
async def bluez_on_a_private_bus(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lock: PeripheralHandler, *, connection_count_max: int = 256
) -> AsyncIterator[tuple[FakeBlueZ, PrivateBus]]:
    """Run both for the length of a block."""
    bus = PrivateBus(folder, connection_count_max=connection_count_max)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    await bus.start()
    bluez = FakeBlueZ(bus.address, lock)
    try:
        await bluez.start()
        yield bluez, bus
    finally:
        bluez.stop()
        bus.kill()
        await asyncio.sleep(0.05)  # clients notice
