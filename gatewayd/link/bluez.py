"""BlueZ and the service manager over D-Bus: what bleak has no public name for. The only importer of dbus-fast.

Watches the message bus, the owner of `org.bluez` and the adapters, so that the death of any of them is known at once,
and takes the rungs of the recovery ladder. An adapter is known by its address; its index changes when it returns.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

import structlog
from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusFastError

from gatewayd.link.radio import Rung

if TYPE_CHECKING:
    from collections.abc import Callable

BUS_FAULTS: Final = (DBusFastError, EOFError, OSError)
"""What a missing, refusing or dying message bus raises, here and through bleak, beside bleak's own errors."""
CALL_MS_MAX: Final = 5_000
"""Longest wait for an answer, in milliseconds; a switch of an adapter takes about one second."""
OFF_MS: Final = 500
"""How long an adapter stays off in a power cycle, in milliseconds."""
REBUILD_MS_FIRST: Final = 250
REBUILD_MS_MAX: Final = 10_000
"""Pauses between tries to reach the message bus again, in milliseconds: they double."""
UNIT_MS_MAX: Final = 25_000
"""Longest wait for what a unit of the service manager has to bring back, in milliseconds."""
RESET_UNIT: Final = "gatewayd-reset-adapter@{}.service"
"""Runs as root; the instance is the adapter's index, such as hci0."""
RESTART_UNIT: Final = "gatewayd-restart-bluetooth.service"

BLUEZ: Final = "org.bluez"
ADAPTER: Final = "org.bluez.Adapter1"
_BUS: Final = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_OBJECTS: Final = "org.freedesktop.DBus.ObjectManager"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_SYSTEMD: Final = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_GONE: Final = frozenset({"org.bluez.Error.DoesNotExist", "org.freedesktop.DBus.Error.UnknownObject"})
_RULES: Final = (
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.bluez'",
    f"type='signal',sender='org.bluez',interface='{_OBJECTS}',path='/'",
    f"type='signal',sender='org.bluez',interface='{_PROPERTIES}',arg0='{ADAPTER}'",
)

_log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class HostAdapter:
    """One adapter as BlueZ has it now."""

    path: str
    address: str
    powered: bool

    @property
    def name(self) -> str:
        """Its index, such as hci0; good until it returns."""
        return self.path.rpartition("/")[2]


class HostError(Exception):
    """BlueZ, the service manager or the bus refused or did not answer. `name` is a D-Bus error name or empty."""

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(f"{name}: {detail}" if detail else name)
        self.name = name


class BlueZHost:
    """The host's side of the radio. `watch` has to run."""

    def __init__(self, *, adapter: str | None, on_lost: Callable[[str], None]) -> None:
        """Use the adapter with this address, or with the address that this index has first, or any.

        `on_lost` is told when whatever was connected over the adapter is no more, and why.
        """
        self._wanted_name = adapter if adapter is not None and ":" not in adapter else None
        self._wanted_address = adapter.upper() if adapter is not None and ":" in adapter else None
        self._on_lost = on_lost
        self._bus: MessageBus | None = None
        self._has_owner = False
        self._looked = asyncio.Event()
        self._adapters: dict[str, HostAdapter] = {}
        self._returned = asyncio.Event()
        self._switching = False

    @property
    def adapter(self) -> HostAdapter | None:
        """The adapter to use, if it is there: what was asked for, or the first, one that is on before others."""
        fitting = [each for each in self._adapters.values() if self._wanted_address in {None, each.address}]
        if self._wanted_name is not None and self._wanted_address is None:
            fitting = [each for each in fitting if each.name == self._wanted_name]
        return min(fitting, key=lambda each: (not each.powered, each.path), default=None)

    @property
    def wanted(self) -> str | None:
        """The address or index that was asked for."""
        return self._wanted_address or self._wanted_name

    @property
    def informed(self) -> bool:
        """Whether BlueZ has told which adapters there are."""
        return self._bus is not None and self._has_owner

    async def look(self) -> None:
        """Wait until it was tried once to find out."""
        await self._looked.wait()

    async def watch(self) -> NoReturn:
        """Follow bus, BlueZ and adapters until cancelled."""
        pause_ms, complain = REBUILD_MS_FIRST, _log.warning
        while True:
            try:
                async with asyncio.timeout(CALL_MS_MAX / 1_000):
                    bus = await self._open()
                pause_ms, complain = REBUILD_MS_FIRST, _log.warning
                self._looked.set()
                with contextlib.suppress(*BUS_FAULTS):  # however it ends, it is lost
                    await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # dbus-fast's own omission
                self._lose("the message bus is gone")
            except (*BUS_FAULTS, HostError, TimeoutError) as error:
                complain("bluez.unreachable", detail=str(error))
                complain = _log.debug  # once: it is tried for as long as it takes
            finally:
                self._close()
            self._looked.set()
            await asyncio.sleep(pause_ms / 1_000)
            pause_ms = min(2 * pause_ms, REBUILD_MS_MAX)

    async def returned(self) -> None:
        """Wait until an adapter that can be used comes, or comes back."""
        self._returned.clear()
        await self._returned.wait()

    async def answers(self) -> bool:
        """Whether BlueZ itself answers, which it does not while it hangs."""
        try:
            await self._call((BLUEZ, "/", "org.freedesktop.DBus.Peer"), "Ping")
        except HostError as error:
            return bool(error.name)  # a refusal is an answer, too
        except BUS_FAULTS:
            return False
        return True

    # The rungs. Each returns whether it was taken, and raises nothing for faults of the host.

    async def recover(self, rung: Rung, address: str | None) -> bool:
        """See `Radio.recover`."""
        adapter = self.adapter
        try:
            match rung:
                case Rung.FORGET:
                    return adapter is not None and await self._forget(adapter, address or "")
                case Rung.POWER_CYCLE:
                    return adapter is not None and await self._power_cycle(adapter)
                case Rung.RESET:
                    return adapter is not None and await self._start_unit(RESET_UNIT.format(adapter.name))
                case Rung.RESTART:
                    return await self._start_unit(RESTART_UNIT)
        except (HostError, *BUS_FAULTS) as error:
            _log.warning("radio.rung_refused", rung=rung.value, detail=str(error))
            return False

    async def _forget(self, adapter: HostAdapter, address: str) -> bool:
        device = f"{adapter.path}/dev_{address.upper().replace(':', '_')}"
        try:
            await self._call((BLUEZ, adapter.path, ADAPTER), "RemoveDevice", "o", [device])
        except HostError as error:
            if error.name not in _GONE:
                raise
        return True

    async def _power_cycle(self, adapter: HostAdapter) -> bool:
        self._switching = True
        try:
            with contextlib.suppress(HostError):  # one that hangs may refuse to go, and come back all the same
                await self._switch(adapter, on=False)
            await asyncio.sleep(OFF_MS / 1_000)
            await self._switch(adapter, on=True)
        finally:
            self._switching = False
        return True

    async def _switch(self, adapter: HostAdapter, *, on: bool) -> None:
        body = [ADAPTER, "Powered", Variant("b", on)]
        await self._call((BLUEZ, adapter.path, _PROPERTIES), "Set", "ssv", body)

    async def _start_unit(self, unit: str) -> bool:
        """Start a unit that brings an adapter back, and wait until it has."""
        self._returned.clear()
        await self._call(_SYSTEMD, "StartUnit", "ss", [unit, "replace"])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(UNIT_MS_MAX / 1_000):
                await self._returned.wait()
        return True

    # The bus.

    async def _open(self) -> MessageBus:
        self._bus = bus = MessageBus(bus_type=BusType.SYSTEM)
        await bus.connect()
        bus.add_message_handler(self._take_signal)
        for rule in _RULES:
            await self._call(_BUS, "AddMatch", "s", [rule])
        self._has_owner = (await self._call(_BUS, "NameHasOwner", "s", [BLUEZ]))[0]
        if self._has_owner:
            await self._learn()
        return bus

    async def _learn(self) -> None:
        (objects,) = await self._call((BLUEZ, "/", _OBJECTS), "GetManagedObjects")
        for path, interfaces in objects.items():
            self._add(path, interfaces)

    async def _call(
        self, where: tuple[str, str, str], member: str, signature: str = "", body: list[Any] | None = None
    ) -> list[Any]:
        """Call a method and return its answer.

        Raises:
            HostError: refused, or no answer in time.
        """
        if self._bus is None or not self._bus.connected:
            raise HostError("", "no message bus")
        destination, path, interface = where
        message = Message(
            destination=destination, path=path, interface=interface, member=member, signature=signature, body=body or []
        )
        try:
            async with asyncio.timeout(CALL_MS_MAX / 1_000):
                reply = await self._bus.call(message)
        except TimeoutError:
            raise HostError("", f"{member} was not answered in {CALL_MS_MAX} ms") from None
        if reply.message_type is MessageType.ERROR:
            raise HostError(reply.error_name or "", member)
        return reply.body

    def _close(self) -> None:
        bus, self._bus = self._bus, None
        self._adapters.clear()
        if bus is not None:
            # Also where it never came up or is dead: its descriptors are freed here only.
            with contextlib.suppress(*BUS_FAULTS):
                bus.disconnect()

    # What the bus tells.

    def _take_signal(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        match message.member, message.body:
            case "NameOwnerChanged", [name, _, owner] if name == BLUEZ:
                self._take_owner(owner)
            case "InterfacesAdded", [path, interfaces]:
                self._add(path, interfaces)
            case "InterfacesRemoved", [path, interfaces] if ADAPTER in interfaces:
                self._remove(path)
            case "PropertiesChanged", [interface, changed, _] if interface == ADAPTER and "Powered" in changed:
                self._take_power(message.path or "", powered=changed["Powered"].value)

    def _take_owner(self, owner: str) -> None:
        had, self._has_owner = self._has_owner, bool(owner)
        self._adapters.clear()
        if had:
            # Nobody says for each device that it is gone; what bleak has cached of them is of the former owner.
            self._lose("BlueZ has gone")

    def _add(self, path: str, interfaces: dict[str, dict[str, Variant]]) -> None:
        if ADAPTER not in interfaces:
            return
        properties = interfaces[ADAPTER]
        adapter = HostAdapter(
            path=path, address=str(properties["Address"].value).upper(), powered=bool(properties["Powered"].value)
        )
        self._adapters[path] = adapter
        if self._wanted_name == adapter.name and self._wanted_address is None:
            self._wanted_address = adapter.address  # from now on it is this one, whatever its index
        if self.adapter is adapter:
            self._returned.set()

    def _remove(self, path: str) -> None:
        used = self.adapter
        self._adapters.pop(path, None)
        if used is not None and used.path == path:
            self._lose("the adapter has gone")

    def _take_power(self, path: str, *, powered: bool) -> None:
        adapter = self._adapters.get(path)
        if adapter is None:
            return
        used = self.adapter is adapter
        adapter.powered = powered
        if used and not powered and not self._switching:
            self._lose("the adapter was switched off")
        elif powered and self.adapter is adapter:
            self._returned.set()

    def _lose(self, reason: str) -> None:
        _log.warning("bluez.lost", reason=reason)
        self._on_lost(reason)
