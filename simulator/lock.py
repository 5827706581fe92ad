"""The simulated lock: a door's mechanics, a flash, and a power supply between which firmware boots and dies.

`SimulatedLock` is the `PeripheralHandler` behind the virtual radio and behind the tests' radio in memory. What is true
of it stands in `flash` and `mechanics`; what it says, a gateway has to find out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_protocol.constants import PROTOCOL_VERSION
from simulator.firmware import MODEL, Firmware
from simulator.flash_media import PowerLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.flash import Flash
    from simulator.lock_keys import LockKeys
    from simulator.mechanics import Mechanics
    from simulator.seams import Entropy, Scheduler
    from simulator.wire import Beacon, Pipe


class SimulatedLock:
    """One lock; it boots when it is made, unless told not to. A power loss in a write turns it off till `power_on`."""

    def __init__(
        self,
        keys: LockKeys,
        flash: Flash,
        mechanics: Mechanics,
        scheduler: Scheduler,
        entropy: Entropy,
        *,
        is_powered: bool = True,
    ) -> None:
        self.keys = keys
        self.flash = flash
        self.mechanics = mechanics
        self._scheduler = scheduler
        self._entropy = entropy
        self._beacon: Beacon | None = None
        self._is_installable = False
        self._firmware: Firmware | None = None
        self._gateway_pipe: FaultyPipe | None = None
        self._phone_pipes: dict[int, Pipe] = {}
        self.accepted_ms_max: int | None = None
        """Longest time from the last value of a command to the sending of CommandAccepted, on this lock's own clock."""
        if is_powered:
            self.power_on()

    @property
    def is_powered(self) -> bool:
        """Whether firmware runs."""
        return self._firmware is not None

    @property
    def is_live(self) -> bool:
        """Whether it runs and a gateway's session is confirmed."""
        return self._firmware is not None and self._firmware.is_live

    @property
    def up_ms(self) -> int:
        """The uptime, in milliseconds; 0 without power."""
        return 0 if self._firmware is None else self._firmware.up_ms

    def attach_beacon(self, beacon: Beacon) -> None:
        """Give the firmware an advertisement, in which it says that a phone waits, or that it can be paired."""
        self._beacon = beacon
        beacon.set_installable(self._is_installable)

    # Power.

    def power_on(self) -> None:
        """Boot; does nothing when it runs. It may end at once, with a power loss in one of its first writes."""
        if self._firmware is not None:
            return
        self.flash.load()
        try:
            firmware = Firmware(
                keys=self.keys,
                flash=self.flash,
                mechanics=self.mechanics,
                scheduler=self._scheduler,
                entropy=self._entropy,
                beacon=self,
                turn=lambda work: self._turn(firmware, work),
            )
        except PowerLostError:
            return
        self._firmware = firmware

    def power_off(self) -> None:
        """Lose the power now: RAM, links and the motor's run are gone, the bolt stays where it is."""
        self._firmware = None
        self.mechanics.on_sensed = None
        self.mechanics.cut_motor()
        self.set_phone_waiting(False)
        for pipe in (self._gateway_pipe, *self._phone_pipes.values()):
            if pipe is not None:
                pipe.disconnect()

    def power_cycle(self) -> None:
        """Lose the power and get it back."""
        self.power_off()
        self.power_on()

    # Faults.

    def drop_gateway(self) -> None:
        """Lose the gateway's link without a word, as at the edge of the radio's reach."""
        if self._gateway_pipe is not None:
            self._gateway_pipe.disconnect()

    def garble_next_value(self) -> None:
        """Flip a bit in the next value to the gateway, as somebody on the air between may."""
        if self._gateway_pipe is not None:
            self._gateway_pipe.garble_next()

    # The radio's side.

    def info_value(self) -> bytes:
        """See `PeripheralHandler`: lowest and highest protocol version, and the model. Nothing that names a lock."""
        return bytes((PROTOCOL_VERSION, PROTOCOL_VERSION)) + MODEL

    def gateway_connected(self, pipe: Pipe) -> None:
        """See `PeripheralHandler`."""
        self._gateway_pipe = faulty = FaultyPipe(pipe)
        if self._firmware is None:
            pipe.disconnect()
        self._run(lambda firmware: firmware.gateway_connected(faulty))

    def gateway_value(self, value: bytes) -> None:
        """See `PeripheralHandler`."""
        last, since_ms = self.flash.last_command, self.up_ms
        self._run(lambda firmware: firmware.gateway_value(value))
        if self.flash.last_command is not last and self.is_powered:
            self.accepted_ms_max = max(self.up_ms - since_ms, self.accepted_ms_max or 0)

    def gateway_disconnected(self) -> None:
        """See `PeripheralHandler`."""
        self._gateway_pipe = None
        self._run(lambda firmware: firmware.gateway_disconnected())

    def phone_connected(self, channel: int, pipe: Pipe) -> None:
        """See `PeripheralHandler`."""
        self._phone_pipes[channel] = pipe
        if self._firmware is None:
            pipe.disconnect()
        self._run(lambda firmware: firmware.phones.connected(channel, pipe))

    def phone_value(self, channel: int, value: bytes) -> None:
        """See `PeripheralHandler`."""
        self._run(lambda firmware: firmware.phones.received(channel, value))

    def phone_disconnected(self, channel: int) -> None:
        """See `PeripheralHandler`."""
        self._phone_pipes.pop(channel, None)
        self._run(lambda firmware: firmware.phones.disconnected(channel))

    def set_phone_waiting(self, waiting: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """See `Beacon`: the firmware's way to whatever advertises."""
        if self._beacon is not None:
            self._beacon.set_phone_waiting(waiting)

    def set_installable(self, installable: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """See `Beacon`."""
        self._is_installable = installable
        if self._beacon is not None:
            self._beacon.set_installable(installable)

    # Hands at the lock.

    def press_install_button(self) -> None:
        """Let the lock be paired for ten minutes, as somebody inside can."""
        self._run(lambda firmware: firmware.press_install_button())

    def factory_reset(self) -> None:
        """Wipe pairing and log, as somebody who has opened the housing can."""
        self._run(lambda firmware: firmware.factory_reset())

    def _run(self, work: Callable[[Firmware], None]) -> None:
        firmware = self._firmware
        if firmware is not None:
            self._turn(firmware, lambda: work(firmware))

    def _turn(self, firmware: Firmware, work: Callable[[], None]) -> None:
        """Run `work` of that boot, if it still lasts."""
        if firmware is not self._firmware:
            return
        try:
            work()
            firmware.settle()
        except PowerLostError:
            self.power_off()


class FaultyPipe:
    """A pipe on which one value can be spoilt."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._garbles_next = False

    @property
    def value_size_max(self) -> int:
        """See `Pipe`."""
        return self._pipe.value_size_max

    def garble_next(self) -> None:
        """Flip the last bit of the next value."""
        self._garbles_next = True

    def send_value(self, value: bytes) -> None:
        """See `Pipe`."""
        if self._garbles_next:
            self._garbles_next = False
            value = value[:-1] + bytes((value[-1] ^ 1,))
        self._pipe.send_value(value)

    def disconnect(self) -> None:
        """See `Pipe`."""
        self._pipe.disconnect()
