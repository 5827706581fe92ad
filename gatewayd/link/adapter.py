"""One Bluetooth adapter and what the links on it share: its connections, and its recovery when it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd.link.recovery import Recovery
from gatewayd.link.slots import SLOT_COUNT, Slots

if TYPE_CHECKING:
    from gatewayd.link.ports import LinkLedger, RadioStatus
    from gatewayd.link.radio import Radio
    from gatewayd.timekeeping import Clock


class Adapter:
    """Made once for each radio; every `LinkSupervisor` on it is given the same one."""

    def __init__(self, *, radio: Radio, ledger: LinkLedger, clock: Clock, slot_count: int = SLOT_COUNT) -> None:
        self.radio = radio
        self.slots = Slots(slot_count)
        self.recovery = Recovery(radio=radio, ledger=ledger, clock=clock)

    @property
    def status(self) -> RadioStatus:
        """How the radio does."""
        return self.recovery.status
