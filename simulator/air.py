"""The air between the radios: Bumble controllers on one link, each behind an HCI port on loopback.

A process of its own, so that a host killed with SIGKILL is to its peers what a dead radio is: a link that
times out. A TCP connection is a controller's life: whoever connects to a port finds a clean controller, and
when that client goes, its links end with a supervision timeout.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, Self, cast

from bumble import hci, ll
from bumble.controller import Connection, Controller
from bumble.core import InvalidArgumentError, PhysicalTransport
from bumble.link import LocalLink
from bumble.transport import open_transport
from bumble.transport.common import StreamPacketSink, StreamPacketSource

if TYPE_CHECKING:
    from types import TracebackType

    from bumble.transport.common import Transport

HOST: Final = "127.0.0.1"
ACL_PACKET_SIZE: Final = 251
"""Longest data packet of the controllers, in bytes: the data length extension, so an MTU of 247 is one packet."""
PUBLIC_ADDRESS: Final = "00:1A:7D:DA:71:{:02X}"
"""The public address of each radio, by its number. Only a host that sets no address of its own goes by it."""
KERNEL_NUMBER: Final = 0xFF
"""The number of the kernel's own adapter, beside those behind ports."""
SUPERVISION_MS: Final = 200
"""A link whose other end is missing for two such periods is dropped at this end too."""


class AirLink(LocalLink):
    """Bumble's link, for radios that connect by their public address too, as those of gateways do."""

    def send_acl_data(
        self, sender_controller: Controller, destination_address: hci.Address, transport: PhysicalTransport, data: bytes
    ) -> None:
        """Deliver `data` as from the address by which the receiver knows this connection."""
        receiver = self.find_le_controller(destination_address)
        connection = sender_controller.le_connections.get(destination_address)
        # Gone on either side: on the air, too, such data reaches nobody.
        if receiver is not None and connection is not None:
            asyncio.get_running_loop().call_soon(receiver.on_link_acl_data, connection.self_address, transport, data)


class AirController(Controller):
    """Bumble's controller as a plain Bluetooth 4.2 chip, with the state that Bumble forgets to clear."""

    # Extended advertising and link-layer privacy off: legacy advertising is what the locks use, and Bumble's
    # link routes by random address, which privacy would change in mid-connection.
    le_features = Controller.le_features & ~(
        hci.LeFeatureMask.LE_EXTENDED_ADVERTISING
        | hci.LeFeatureMask.LE_PERIODIC_ADVERTISING
        | hci.LeFeatureMask.LL_PRIVACY
    )
    le_acl_data_packet_length = ACL_PACKET_SIZE
    reported: set[tuple[hci.Address, bytes]]
    """What this scan has reported."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - Bumble's
        super().__init__(*arguments, **options)
        self.reported = set()

    def on_hci_le_create_connection_cancel_command(
        self, _command: hci.HCI_LE_Create_Connection_Cancel_Command
    ) -> hci.HCI_StatusReturnParameters:
        """End the pending connection; without this the controller would connect later, with nobody waiting for it."""
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        self.send_hci_packet(
            hci.HCI_LE_Connection_Complete_Event(
                status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
                connection_handle=0,
                role=hci.Role.CENTRAL,
                peer_address_type=pending.peer_address.address_type,
                peer_address=pending.peer_address,
                connection_interval=0,
                peripheral_latency=0,
                supervision_timeout=0,
                central_clock_accuracy=0,
            )
        )
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)

    def on_hci_le_set_scan_enable_command(
        self, command: hci.HCI_LE_Set_Scan_Enable_Command
    ) -> hci.HCI_StatusReturnParameters:
        """Begin or end a scan, in which nothing has been reported yet."""
        self.reported.clear()
        return super().on_hci_le_set_scan_enable_command(command)

    def on_advertising_pdu(self, pdu: ll.AdvInd | ll.AdvExtInd) -> None:
        """Report an advertisement, in a scan without duplicates once: a host may be slow."""
        was_scanning, key = self.le_scan_enable, (pdu.advertiser_address, pdu.data)
        if self.filter_duplicates and key in self.reported:
            self.le_scan_enable = False
        self.reported.add(key)
        super().on_advertising_pdu(pdu)
        self.le_scan_enable = was_scanning

    def on_hci_reset_command(self, command: hci.HCI_Reset_Command) -> hci.HCI_StatusReturnParameters:
        """Forget what the host had set up."""
        self.go_silent()
        return super().on_hci_reset_command(command)

    def go_silent(self) -> None:
        """Stop advertising, scanning and connecting; the peers of all links see a supervision timeout."""
        self.le_legacy_advertiser.stop()
        self.le_scan_enable = False
        self.pending_le_connection = None
        for connection in list(self.le_connections.values()):
            # The peer may be gone already: then there is nobody to tell.
            with contextlib.suppress(InvalidArgumentError):
                connection.send_ll_control_pdu(ll.TerminateInd(hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR))
        self.le_connections.clear()


class HciClient(StreamPacketSource):
    """One TCP client of one port, and the controller that lives as long as it does."""

    def __init__(self, port: HciPort) -> None:
        super().__init__()
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._controller: AirController | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put a fresh controller on the air; the client before, if any still is, loses its own."""
        self._transport = cast("asyncio.Transport", transport)
        self._port.take_over(self)
        self._controller = AirController(
            self._port.name,
            host_source=self,
            host_sink=StreamPacketSink(self._transport),
            link=self._port.link,
            public_address=self._port.public_address,
        )

    def connection_lost(self, _error: Exception | None) -> None:
        """Take the controller off the air."""
        self.leave()

    def leave(self) -> None:
        """Take the controller off the air and hang up. Does nothing the second time."""
        controller, self._controller = self._controller, None
        if controller is not None:
            controller.go_silent()
            controller.host = None
            self._port.link.remove_controller(controller)
        if self._transport is not None:
            self._transport.abort()


class HciPort:
    """A listening port: the place of one radio. It serves one client at a time, the newest."""

    def __init__(self, number: int, link: AirLink) -> None:
        self.name = f"radio {number}"
        self.link = link
        self.public_address = PUBLIC_ADDRESS.format(number)
        self._client: HciClient | None = None
        self._server: asyncio.Server | None = None

    async def listen(self, port: int) -> int:
        """Listen on loopback at `port` (0 = any) and return the port.

        Raises:
            OSError: the port is taken.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: HciClient(self), HOST, port)
        return cast("int", self._server.sockets[0].getsockname()[1])

    def take_over(self, client: HciClient) -> None:
        """Make `client` the one that is served; a dead process' connection may still look alive."""
        if self._client is not None:
            self._client.leave()
        self._client = client

    def close(self) -> None:
        """Stop listening and drop the client."""
        if self._server is not None:
            self._server.close()
        if self._client is not None:
            self._client.leave()


class Air:
    """Radios that hear each other. `async with Air([0, 0]) as air: air.ports`."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self._link = AirLink()  # type: ignore[no-untyped-call]  # Bumble gives it no annotations
        self._hci_ports: list[HciPort] = []
        self._supervision: asyncio.Task[None] | None = None
        self._kernel: Transport | None = None

    async def __aenter__(self) -> Self:
        """Open all ports; `ports` then holds those that were chosen."""
        for index, port in enumerate(self.ports):
            hci_port = HciPort(index, self._link)
            self._hci_ports.append(hci_port)
            self.ports[index] = await hci_port.listen(port)
        self._supervision = asyncio.create_task(self._supervise())
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Drop everybody."""
        if self._supervision is not None:
            self._supervision.cancel()
        for hci_port in self._hci_ports:
            hci_port.close()
        if self._kernel is not None:
            await self._kernel.close()

    async def plug_into_kernel(self, transport: str) -> None:
        """Put an adapter of this machine's kernel on the air; `transport` is `vhci` or `vhci:DEVICE`.

        Raises:
            OSError: no /dev/vhci (the module hci_vhci), or not allowed to use it.
        """
        self._kernel = await open_transport(transport)
        AirController(
            "kernel",
            host_source=self._kernel.source,
            host_sink=self._kernel.sink,
            link=self._link,
            public_address=PUBLIC_ADDRESS.format(KERNEL_NUMBER),
        )

    async def _supervise(self) -> None:
        """Drop links that only one end believes in, for ever.

        Two centrals that answer one advertisement both believe that they are connected, but the peripheral took
        only the first. A real controller notices that nobody answers.
        """
        suspects: set[int] = set()
        while True:
            await asyncio.sleep(SUPERVISION_MS / 1_000)
            half_open = {id(connection): connection for connection in self._half_open()}
            for key in suspects & half_open.keys():
                connection = half_open[key]
                connection.controller.on_le_disconnected(connection, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)
            suspects = set(half_open)

    def _half_open(self) -> list[Connection]:
        ends = {
            (str(connection.self_address), str(connection.peer_address)): connection
            for controller in self._link.controllers
            for connection in controller.le_connections.values()
        }
        return [connection for (near, far), connection in ends.items() if (far, near) not in ends]


async def _run(ports: list[int]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stopped.set)
    async with Air(ports) as air:
        sys.stdout.write(json.dumps({"ports": air.ports}) + "\n")
        sys.stdout.flush()
        await stopped.wait()


def main(argv: list[str]) -> int:
    """Serve until SIGTERM. One line on stdout when ready: `{"ports": [40001, …]}`, in the order asked for."""
    parser = argparse.ArgumentParser(prog="simulator air", description="A virtual radio: controllers behind HCI ports.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--controllers", type=int, default=3, metavar="N", help="so many controllers on ports of any number"
    )
    which.add_argument(
        "--port", type=int, action="append", metavar="PORT", help="a controller on this port (0 = any); repeatable"
    )
    arguments = parser.parse_args(argv)
    asyncio.run(_run(arguments.port or [0] * arguments.controllers))
    return 0
