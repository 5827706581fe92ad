"""The air between the radios: Bumble controllers on one link, each behind an HCI port on loopback.

A process of its own, so that a host killed with SIGKILL is to its peers what a dead radio is: a link that
times out. A TCP connection is a controller's life: whoever connects to a port finds a clean controller, and
when that client goes, its links end with a supervision timeout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING, Final, Self, cast

from bumble.transport import open_transport
from bumble.transport.common import StreamPacketSink, StreamPacketSource

from simulator.air_link import PUBLIC_ADDRESS, AirController, AirLink

if TYPE_CHECKING:
    from types import TracebackType

    from bumble.transport.common import Transport

HOST: Final = "127.0.0.1"
KERNEL_NUMBER: Final = 0xFF
"""The number of the kernel's own adapter, beside those behind ports."""


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
        self._link = AirLink()
        self._hci_ports: list[HciPort] = []
        self._supervision: asyncio.Task[None] | None = None
        self._kernel: Transport | None = None

    async def __aenter__(self) -> Self:
        """Open all ports; `ports` then holds those that were chosen."""
        for index, port in enumerate(self.ports):
            hci_port = HciPort(index, self._link)
            self._hci_ports.append(hci_port)
            self.ports[index] = await hci_port.listen(port)
        self._supervision = asyncio.create_task(self._link.supervise())
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
