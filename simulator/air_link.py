"""What the radios of one air share: Bumble's link, and Bumble's controllers as plain Bluetooth 4.2 chips.

Whoever waits here waits for an event or for a timer of the running loop, and nothing ticks that nobody hears: on
virtual time a quiet hour of such an air costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from bumble import hci, ll
from bumble.controller import Connection, Controller, LegacyAdvertiser
from bumble.core import InvalidArgumentError, PhysicalTransport
from bumble.link import LocalLink

ACL_PACKET_SIZE: Final = 251
"""Longest data packet of the controllers, in bytes: the data length extension, so an MTU of 247 is one packet."""
PUBLIC_ADDRESS: Final = "00:1A:7D:DA:71:{:02X}"
"""The public address of each radio, by its number. Only a host that sets no address of its own goes by it."""
SUPERVISION_MS: Final = 200
"""A link whose other end is missing for two looks so far apart is dropped at this end too."""


class AirLink(LocalLink):
    """Bumble's link, for radios that connect by their public address too, as those of gateways do."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Bumble gives it no annotations
        # In the order in which they came: what chance decided, a seed could not repeat.
        self.controllers: dict[AirController, None] = {}  # type: ignore[assignment]  # only ever iterated
        self._links_changed = asyncio.Event()

    def add_controller(self, controller: AirController) -> None:  # type: ignore[override]  # no others are here
        """Put a radio on the air."""
        self.controllers[controller] = None

    def remove_controller(self, controller: AirController) -> None:  # type: ignore[override]  # no others are here
        """Take a radio off the air."""
        del self.controllers[controller]

    def send_acl_data(
        self, sender_controller: Controller, destination_address: hci.Address, transport: PhysicalTransport, data: bytes
    ) -> None:
        """Deliver `data` as from the address by which the receiver knows this connection."""
        receiver = self.find_le_controller(destination_address)
        connection = sender_controller.le_connections.get(destination_address)
        # Gone on either side: on the air, too, such data reaches nobody.
        if receiver is not None and connection is not None:
            asyncio.get_running_loop().call_soon(receiver.on_link_acl_data, connection.self_address, transport, data)

    def has_listeners(self, speaker: Controller) -> bool:
        """Whether an advertisement of `speaker` would be heard by anybody."""
        return any(radio.listens for radio in self.controllers if radio is not speaker)

    def note_listener(self) -> None:
        """Somebody listens from now on: let those advertise who had nobody to tell."""
        for radio in self.controllers:
            radio.advertiser.wake()

    def note_links(self) -> None:
        """A link has begun or ended, at one end."""
        self._links_changed.set()

    async def supervise(self) -> None:
        """Drop links that only one end believes in, for ever.

        Two centrals that answer one advertisement both believe that they are connected, but the peripheral took
        only the first. A real controller notices that nobody answers.
        """
        while True:
            await self._links_changed.wait()
            self._links_changed.clear()
            suspects = self._half_open()
            while suspects:
                await asyncio.sleep(SUPERVISION_MS / 1_000)
                half_open = self._half_open()
                for key in suspects.keys() & half_open.keys():
                    connection = half_open.pop(key)
                    connection.controller.on_le_disconnected(connection, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)
                suspects = half_open

    def _half_open(self) -> dict[int, Connection]:
        ends = {
            (str(connection.self_address), str(connection.peer_address)): connection
            for controller in self.controllers
            for connection in controller.le_connections.values()
        }
        return {id(connection): connection for (near, far), connection in ends.items() if (far, near) not in ends}


class QuietAdvertiser(LegacyAdvertiser):
    """Bumble's advertiser, which is silent while nobody listens: nothing is different but the work."""

    def __init__(self, controller: AirController) -> None:
        super().__init__(controller)
        self._air = controller.link

    def wake(self) -> None:
        """Go on, if it had stopped because nobody listened."""
        if self.enabled and self.timer_handle is None:
            self.timer_handle = asyncio.get_running_loop().call_soon(self._on_timer_fired)

    def _on_timer_fired(self) -> None:
        if self._air.has_listeners(self.controller):
            super()._on_timer_fired()
        else:
            self.timer_handle = None


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
    link: AirLink
    reported: set[tuple[hci.Address, bytes]]
    """What this scan has reported."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - Bumble's
        super().__init__(*arguments, **options)
        self.reported = set()
        self.le_legacy_advertiser = self.advertiser = QuietAdvertiser(self)

    @property
    def listens(self) -> bool:
        """Whether it scans, or waits for an advertisement to connect to."""
        return bool(self.le_scan_enable) or self.pending_le_connection is not None

    def on_hci_le_create_connection_command(self, command: hci.HCI_LE_Create_Connection_Command) -> None:
        """Wait for the peer's advertisement."""
        super().on_hci_le_create_connection_command(command)
        self.link.note_listener()

    def create_le_connection(self, peer_address: hci.Address) -> None:
        """Connect to whom it has just heard."""
        super().create_le_connection(peer_address)
        self.link.note_links()

    def on_le_connect_ind(self, packet: ll.ConnectInd) -> None:
        """Take a central's connection, or not."""
        super().on_le_connect_ind(packet)
        self.link.note_links()

    def on_le_disconnected(self, connection: Connection, reason: int) -> None:
        """End a connection at this end."""
        super().on_le_disconnected(connection, reason)
        self.link.note_links()

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
        answer = super().on_hci_le_set_scan_enable_command(command)
        self.link.note_listener()
        return answer

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
        self.link.note_links()
