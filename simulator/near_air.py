"""An air within this program: its radios' HCI packets go from turn to turn of the loop, and over no socket.

So the whole radio, from bleak's interface down to the link layer, keeps to the loop's time: on virtual time three weeks
of it pass in the time that their packets take.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from bumble.transport.common import AsyncPipeSink, BaseSource, Transport

from simulator.air_link import PUBLIC_ADDRESS, AirController, AirLink

if TYPE_CHECKING:
    from types import TracebackType


class NearAir:
    """Radios that hear each other. `async with NearAir() as air: HciHost(hci=air.radio().open)`."""

    def __init__(self) -> None:
        self._link = AirLink()
        self._radios: list[NearRadio] = []
        self._supervision: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Let there be air."""
        self._supervision = asyncio.create_task(self._link.supervise())
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Drop everybody."""
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.wait({self._supervision})
        for radio in self._radios:
            radio.cut()

    def radio(self) -> NearRadio:
        """Return the place of another radio."""
        radio = NearRadio(len(self._radios), self._link)
        self._radios.append(radio)
        return radio


class NearRadio:
    """The place of one radio. Whoever opens it finds a clean controller; who had it before loses it."""

    def __init__(self, number: int, link: AirLink) -> None:
        self._number = number
        self._link = link
        self._source: _Source | None = None
        self._controller: AirController | None = None

    async def open(self) -> Transport:
        """Put a controller on the air; closing the transport takes it off again."""
        self.cut()
        self._source = source = _Source(self)
        self._controller = controller = AirController(
            f"radio {self._number}",
            host_sink=source,
            link=self._link,
            public_address=PUBLIC_ADDRESS.format(self._number),
        )
        return Transport(source, AsyncPipeSink(controller))

    def cut(self) -> None:
        """Take the power away: the host hears of it, the peers of its links only by and by."""
        source, self._source = self._source, None
        if source is not None:
            self._leave()
            source.on_transport_lost()

    def let_go(self, source: _Source) -> None:
        """The host wants no more."""
        if source is self._source:
            self._source = None
            self._leave()

    def _leave(self) -> None:
        controller, self._controller = self._controller, None
        if controller is not None:
            controller.go_silent()
            controller.host = None
            self._link.remove_controller(controller)


class _Source(BaseSource):
    """The way from a controller to its host, from which the host lets go by closing it."""

    def __init__(self, radio: NearRadio) -> None:
        super().__init__()
        self._radio = radio

    def on_packet(self, packet: bytes) -> None:
        """Take a packet of the controller's."""
        if self.sink is not None:
            self.sink.on_packet(packet)

    def close(self) -> None:
        """Let go of the controller."""
        self._radio.let_go(self)
