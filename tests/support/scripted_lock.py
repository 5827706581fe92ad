"""A lock that does what a test tells it to: authentic, because it has the keys, and as wrong as it wants to be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.messages import LogBatch, LogRead, State, StateGet
from firmware_protocol.noise import KeyPair
from firmware_protocol.session import Confirmed, LockSession, RecordReceived, StatusWanted
from firmware_protocol.vocabulary import Bolt, DoorLeaf
from tests.support.seeded_entropy import SeededEntropy
from tests.support.session_pair import GATEWAY_KEYS, LOCK_KEYS, LOG_ID, status

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.hello import LockStatus
    from firmware_protocol.messages import Confirm, Message
    from firmware_protocol.session import Event
    from simulator.wire import Pipe


class ScriptedLock:
    """A `simulator.wire.PeripheralHandler`. Its uptime is the loop's time; `on_message` may be replaced."""

    def __init__(self) -> None:
        self.entropy = SeededEntropy(2)
        self.status: Callable[[], LockStatus] = lambda: status(session_ctr=0, up_ms=self.up_ms)
        self.on_message: Callable[[Message, int], None] = self.answer
        self.mute = False
        """Whether it hears and says nothing, on a link that stays up: a phantom connection."""
        self.heard: list[Message] = []
        self.confirms: list[Confirm] = []
        self.connections = 0
        self.session: LockSession | None = None
        self.pipe: Pipe | None = None

    @property
    def up_ms(self) -> int:
        """The uptime, in milliseconds."""
        return int(asyncio.get_running_loop().time() * 1_000)

    def say(self, message: Message, corr: int = 0) -> None:
        """Send a record."""
        if self.session is not None:
            self.session.send(message, corr=corr)
            self.flush()

    def flush(self) -> None:
        """Send what the session has queued."""
        if self.session is not None and self.pipe is not None:
            for value in self.session.take_values():
                if not self.mute:
                    self.pipe.send_value(value)

    def answer(self, message: Message, corr: int) -> None:
        """Answer STATE_GET, and LOG_READ with nothing new; ignore the rest."""
        match message:
            case StateGet():
                self.say(self.state(), corr)
            case LogRead(from_seq=from_seq):
                empty = LogBatch(log_id=LOG_ID, from_seq=from_seq, previous=bytes(32), records=(), more=False)
                self.say(empty, corr)
            case _:
                pass

    def state(self) -> State:
        """Return how the door stands."""
        return State(
            bolt=Bolt.LOCKED,
            door=DoorLeaf.CLOSED,
            battery_mv=5_800,
            motor_busy=False,
            tampered=False,
            up_ms=self.up_ms,
        )

    def info_value(self) -> bytes:
        """See `PeripheralHandler`."""
        return b"\x01\x01scripted"

    def gateway_connected(self, pipe: Pipe) -> None:
        """See `PeripheralHandler`."""
        self.connections += 1
        self.pipe = pipe
        self.session = LockSession(
            keys=LOCK_KEYS,
            gateway_key=GATEWAY_KEYS.public,
            ephemeral=KeyPair.from_private(self.entropy.token(32)),
            boot_nonce=bytes(8),
            firmware="scripted 1",
            session_ctr=0,
            version_floor=1,
            value_size_max=pipe.value_size_max,
            now_ms=self.up_ms,
        )

    def gateway_value(self, value: bytes) -> None:
        """See `PeripheralHandler`."""
        if self.session is None or self.mute:
            return
        try:
            for event in self.session.receive_value(value, self.up_ms):
                self._take(event)
        except RemoteProtocolError:
            self.hang_up()
        self.flush()

    def hang_up(self) -> None:
        """Drop the link."""
        self.session = None
        if self.pipe is not None:
            self.pipe.disconnect()

    def gateway_disconnected(self) -> None:
        """See `PeripheralHandler`."""
        self.session = self.pipe = None

    def phone_connected(self, channel: int, pipe: Pipe) -> None:
        """See `PeripheralHandler`."""

    def phone_value(self, channel: int, value: bytes) -> None:
        """See `PeripheralHandler`."""

    def phone_disconnected(self, channel: int) -> None:
        """See `PeripheralHandler`."""

    def _take(self, event: Event) -> None:
        match event:
            case StatusWanted() if self.session is not None:
                self.session.answer(self.status())
            case Confirmed(confirm=confirm):
                self.confirms.append(confirm)
            case RecordReceived(message=message, corr=corr):
                self.heard.append(message)
                self.on_message(message, corr)
            case _:
                pass
