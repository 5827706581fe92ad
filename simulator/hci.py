"""A Bumble host on a controller: opened when first used, opened again when the controller comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, BinaryIO, Final

from bumble.core import BaseBumbleError
from bumble.device import Connection, Device, DeviceConfiguration
from bumble.hci import Address, HCI_LE_Create_Connection_Cancel_Command
from bumble.snoop import BtSnooper
from bumble.transport import open_transport
from bumble.transport.common import Transport, TransportLostError

if TYPE_CHECKING:
    from collections.abc import Iterator

Hci = str | Callable[[], Awaitable[Transport]]
"""A controller: Bumble's name of a transport, or what opens one."""
OPEN_MS_MAX: Final = 3_000
"""Longest time to reach and reset the controller, in milliseconds."""
CANCEL_MS_MAX: Final = 1_000
"""Longest time to take back a connection attempt or to drop a link, in milliseconds."""
HCI_FAULTS: Final = (BaseBumbleError, OSError, TimeoutError)
"""What Bumble raises when the controller, the peer or the way to them fails."""


class HciHost:
    """One Bumble `Device` on the controller behind the transport `hci`, e.g. `tcp-client:127.0.0.1:40001`.

    A controller in this program has no such name: `hci` is then what opens the way to it.
    `address` is a random static address; a fresh one is made when it is None. All that passes between host and
    controller is written to `capture`, if given, as btsnoop.
    """

    def __init__(self, *, hci: Hci, address: str | None = None, capture: BinaryIO | None = None) -> None:
        self._hci = hci
        self._snooper = None if capture is None else BtSnooper(capture)
        self._address = Address(address) if address else Address.generate_static_address()
        self._transport: Transport | None = None
        self._device: Device | None = None
        self._opening = asyncio.Lock()
        self._connecting = asyncio.Lock()
        self._scanner_count = 0

    @property
    def address(self) -> str:
        """The random static address, upper case with colons."""
        return self._address.to_string(with_type_qualifier=False)

    async def device(self) -> Device:
        """Return the powered device, opening the transport if it is not open or was lost.

        Raises:
            HCI_FAULTS: nobody serves the transport, or the controller does not answer.
        """
        async with self._opening:
            if self._device is not None and not self.is_lost:
                return self._device
            await self._close()
            async with asyncio.timeout(OPEN_MS_MAX / 1_000):
                return await self._open()

    @property
    def is_lost(self) -> bool:
        """Whether the transport was open and ended from the other side."""
        return self._transport is not None and self._transport.source.terminated.done()

    async def wait_lost(self) -> None:
        """Return when the open transport has ended from the other side; at once if none is open."""
        if self._transport is not None:
            await asyncio.shield(self._transport.source.terminated)

    async def connect(self, address: str, *, timeout_ms: int) -> Connection:
        """Connect to the peripheral with the random address `address`. An abandoned attempt leaves no link behind.

        Raises:
            HCI_FAULTS: no controller, nobody answered within `timeout_ms`, or the controller refused.
        """
        async with asyncio.timeout(timeout_ms / 1_000), self._connecting:
            device = await self.device()
            attempt = asyncio.create_task(device.connect_le(Address(address), timeout=None))
            try:
                with lost_link_is_a_fault():
                    return await asyncio.shield(attempt)
            except asyncio.CancelledError:
                await _take_back(device, attempt)
                raise

    async def start_scanning(self) -> Device:
        """Scan until `stop_scanning`; several may ask. Advertisements are the device's `advertisement` events.

        Raises:
            HCI_FAULTS: no controller.
        """
        device = await self.device()
        if not device.is_scanning:
            await device.start_scanning(active=True, filter_duplicates=False)
        self._scanner_count += 1
        return device

    async def stop_scanning(self, device: Device) -> None:
        """Undo the `start_scanning` that returned `device`; nothing is left to undo if that device is gone."""
        if device is not self._device or self.is_lost:
            return
        self._scanner_count -= 1
        if self._scanner_count == 0:
            await device.stop_scanning()

    async def close(self) -> None:
        """Let go of the controller, which drops its links. `device` opens again."""
        async with self._opening:
            await self._close()

    async def _open(self) -> Device:
        self._transport = await (open_transport(self._hci) if isinstance(self._hci, str) else self._hci())
        # No name, no GAP service: nothing that names a device in an attribute that anyone can read.
        configuration = DeviceConfiguration(name="", address=self._address, gap_service_enabled=False)
        device = Device.from_config_with_hci(configuration, self._transport.source, self._transport.sink)
        device.host.snooper = self._snooper
        await device.power_on()
        self._device = device
        return device

    async def _close(self) -> None:
        transport, self._transport = self._transport, None
        device, self._device = self._device, None
        self._scanner_count = 0
        if device is not None:
            device.host.emit("flush")
        if transport is not None:
            # Bumble would fail a command that waits, even one that was cancelled a moment ago, which asyncio forbids.
            transport.source.set_packet_sink(_Deaf())
            await transport.close()


class _Deaf:
    """A packet sink for a transport that is being closed."""

    def on_packet(self, packet: bytes) -> None:
        """Ignore `packet`."""


@contextlib.contextmanager
def lost_link_is_a_fault() -> Iterator[None]:
    """Wrap a request to the peer: Bumble *cancels* what waits for an answer when the link goes down.

    Left alone, that cancellation would end a task that nobody asked to end.

    Raises:
        TransportLostError: the link went down during the request.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise TransportLostError("the link went down") from error


async def drop_link(connection: Connection) -> None:
    """Disconnect, within `CANCEL_MS_MAX`; it may be gone already, or the controller may be."""
    with contextlib.suppress(*HCI_FAULTS), lost_link_is_a_fault():
        async with asyncio.timeout(CANCEL_MS_MAX / 1_000):
            await connection.disconnect()


async def _take_back(device: Device, attempt: asyncio.Task[Connection]) -> None:
    """Cancel `attempt` in the controller too, or drop the link if it came up meanwhile."""
    with contextlib.suppress(*HCI_FAULTS):
        async with asyncio.timeout(CANCEL_MS_MAX / 1_000):
            if not attempt.done():
                await device.send_sync_command(HCI_LE_Create_Connection_Cancel_Command())
            await drop_link(await attempt)
