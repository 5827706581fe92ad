"""A simulated lock on a bench: a gateway's session on real bytes, phones, and time that passes by hand."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from firmware_protocol.fragments import Fragmenter, FragmentKind, Reassembler
from firmware_protocol.hello import TO_PHONE_PLAIN, PhoneHello, PlainClose, decode_plain
from firmware_protocol.messages import LockCommand, Message
from firmware_protocol.noise import KeyPair
from firmware_protocol.session import GatewaySession, LinkAuthenticated, PeerClosing, RecordReceived
from firmware_protocol.vocabulary import Action
from simulator.flash import Flash
from simulator.flash_media import FragileMedium, MemoryMedium
from simulator.lock import SimulatedLock
from simulator.lock_keys import LockKeys
from simulator.mechanics import Mechanics
from tests.support.manual_scheduler import ManualScheduler
from tests.support.seeded_entropy import SeededEntropy

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.fragments import Message as WholeMessage
    from firmware_protocol.hello import LockStatus
    from firmware_protocol.session import Event

VALUE_SIZE_MAX: Final = 244
ACTOR: Final = b"actorkid"
MOTOR_MS: Final = 1_000
M = TypeVar("M", bound=Message)


class BenchPipe:
    """A pipe whose other end is a list."""

    def __init__(self, on_disconnect: Callable[[], None], value_size_max: int = VALUE_SIZE_MAX) -> None:
        self.values: list[bytes] = []
        self.is_open = True
        self._on_disconnect = on_disconnect
        self._value_size_max = value_size_max

    @property
    def value_size_max(self) -> int:
        """See `simulator.wire.Pipe`."""
        return self._value_size_max

    def send_value(self, value: bytes) -> None:
        """See `simulator.wire.Pipe`."""
        if len(value) > self._value_size_max:
            raise ValueError(f"a value of {len(value)} bytes")
        if self.is_open:
            self.values.append(value)

    def disconnect(self) -> None:
        """See `simulator.wire.Pipe`."""
        if self.is_open:
            self.is_open = False
            self._on_disconnect()

    def take(self) -> list[bytes]:
        """Return what came, and forget it."""
        values, self.values = self.values, []
        return values


class Bench:
    """The lock, what it is made of, and the time."""

    def __init__(
        self,
        *,
        motor_ms: int = MOTOR_MS,
        log_count_max: int = 1_024,
        is_powered: bool = True,
        keys: LockKeys | None = None,
    ) -> None:
        self.scheduler = ManualScheduler(now_ms=5_000)
        self.entropy = SeededEntropy(1)
        self.gateway_keys = KeyPair.from_private(self.entropy.token(32))
        self.keys = keys or LockKeys.generate(
            self.entropy, name="bench", gateway_key=self.gateway_keys.public, gateway_id=b"gateway1"
        )
        self.medium = FragileMedium(MemoryMedium())
        self.flash = Flash(self.medium, log_count_max=log_count_max)
        self.mechanics = Mechanics(self.scheduler, motor_ms=motor_ms)
        self.lock = SimulatedLock(
            self.keys, self.flash, self.mechanics, self.scheduler, self.entropy, is_powered=is_powered
        )
        self._session_ctr = 0
        self._phone_channel = 0

    def connect(self, *, session_ctr: int | None = None) -> BenchGateway:
        """Connect a gateway that has said nothing yet."""
        self._session_ctr = self._session_ctr + 1 if session_ctr is None else session_ctr
        return BenchGateway(self, self._session_ctr)

    def live(self, *, utc_s: tuple[int, int] | None = None) -> BenchGateway:
        """Connect a gateway and confirm its session."""
        gateway = self.connect()
        gateway.confirm(utc_s)
        return gateway

    def phone(self, *, value_size_max: int = VALUE_SIZE_MAX) -> BenchPhone:
        """Connect a phone."""
        self._phone_channel += 1
        return BenchPhone(self, self._phone_channel, value_size_max)

    def pair_again(self) -> None:
        """Give the lock to its next owner, who has the same gateway."""
        self.lock.power_off()
        self.keys = replace(self.keys, owner_epoch=self.keys.owner_epoch + 1)
        self.lock.keys = self.keys
        self.lock.power_on()

    def restart(self) -> None:
        """Turn the lock on, if it is not."""
        self.lock.power_on()
        assert self.lock.is_powered


class BenchGateway:
    """The gateway's end. `events` is all that it has understood."""

    status: LockStatus
    """What the lock said of itself in the handshake; there once the session was confirmed."""

    def __init__(self, bench: Bench, session_ctr: int) -> None:
        self.events: list[Event] = []
        self._bench = bench
        self.pipe = BenchPipe(bench.lock.gateway_disconnected)
        bench.lock.gateway_connected(self.pipe)
        self.session = GatewaySession(
            keys=bench.gateway_keys,
            lock_key=bench.keys.link.public,
            ephemeral=KeyPair.from_private(bench.entropy.token(32)),
            nonce=bench.entropy.token(8),
            session_ctr=session_ctr,
            version_floor=1,
            value_size_max=VALUE_SIZE_MAX,
            now_ms=bench.scheduler.now_ms(),
        )

    def exchange(self) -> None:
        """Carry values until neither end has more to say."""
        moved = True
        while moved:
            moved = False
            for value in self.session.take_values():
                moved = True
                if self.pipe.is_open:
                    self._bench.lock.gateway_value(value)
            for value in self.pipe.take():
                moved = True
                self.events.extend(self.session.receive_value(value, self._bench.scheduler.now_ms()))

    def confirm(self, utc_s: tuple[int, int] | None = None) -> None:
        """Shake hands and make the session live."""
        self.exchange()
        [authenticated] = [event for event in self.events if isinstance(event, LinkAuthenticated)]
        self.status = authenticated.status
        lo_s, hi_s = utc_s or (None, None)
        self.session.confirm(utc_lo_s=lo_s, utc_hi_s=hi_s)
        self.exchange()

    def ask(self, message: Message, *, corr: int = 7) -> Message:
        """Send a record and return the first answer to it."""
        self.events.clear()
        self.session.send(message, corr=corr)
        self.exchange()
        return self.answers(corr)[0]

    def answers(self, corr: int) -> list[Message]:
        """Return the answers understood so far to `corr`."""
        received = [event for event in self.events if isinstance(event, RecordReceived)]
        return [event.message for event in received if event.corr == corr]

    def heard(self, kind: type[M]) -> list[M]:
        """Return the records of one kind understood so far."""
        received = [event.message for event in self.events if isinstance(event, RecordReceived)]
        return [message for message in received if isinstance(message, kind)]

    def closings(self) -> list[PeerClosing]:
        """Return the goodbyes understood so far."""
        return [event for event in self.events if isinstance(event, PeerClosing)]

    def wait(self, duration_ms: int, *, step_ms: int = 1_000) -> None:
        """Let time pass at both ends, and carry what they say meanwhile."""
        rest_ms = duration_ms
        while rest_ms > 0:
            self._bench.scheduler.advance(min(step_ms, rest_ms))
            rest_ms -= step_ms
            self.session.tick(self._bench.scheduler.now_ms())
            self.exchange()

    def command(self, seq: int, *, action: Action = Action.UNLOCK, before_ms: int = 10_000) -> LockCommand:
        """Return a command that the lock may start within `before_ms`."""
        return lock_command(seq, action=action, before_up_ms=self._bench.lock.up_ms + before_ms)


class BenchPhone:
    """A phone's end. `messages` is all that it has understood."""

    def __init__(self, bench: Bench, channel: int, value_size_max: int) -> None:
        self.messages: list[WholeMessage] = []
        self._bench = bench
        self._channel = channel
        self._reassembler = Reassembler()
        self._fragmenter = Fragmenter(value_size_max)
        self.pipe = BenchPipe(lambda: bench.lock.phone_disconnected(channel), value_size_max)
        bench.lock.phone_connected(channel, self.pipe)

    def values(self, data: bytes, kind: FragmentKind = FragmentKind.HANDSHAKE) -> tuple[bytes, ...]:
        """Return the values that carry a message of the phone's."""
        return self._fragmenter.fragment(kind, data)

    def write(self, *values: bytes) -> None:
        """Write values to the lock."""
        for value in values:
            if self.pipe.is_open:
                self._bench.lock.phone_value(self._channel, value)

    def read(self) -> list[WholeMessage]:
        """Return the messages that have come, and forget them."""
        values = self.pipe.take()
        messages = [self._reassembler.receive_value(value, self._bench.scheduler.now_ms()) for value in values]
        return [message for message in messages if message is not None]

    def hello(self) -> PhoneHello:
        """Read the lock's hello."""
        [message] = self.read()
        hello = decode_plain(message.data, TO_PHONE_PLAIN)
        assert isinstance(hello, PhoneHello)
        return hello

    def close_code(self) -> PlainClose:
        """Read what comes, and return the goodbye at its end."""
        close = decode_plain(self.read()[-1].data, TO_PHONE_PLAIN)
        assert isinstance(close, PlainClose)
        return close


def command_id(seq: int) -> bytes:
    """Return the 16 bytes that name the command `seq` on the bench."""
    return seq.to_bytes(16, "big")


def lock_command(
    seq: int, *, action: Action = Action.UNLOCK, before_up_ms: int, id_seq: int | None = None
) -> LockCommand:
    """Return a command; `id_seq` gives it the id of another."""
    name = command_id(seq if id_seq is None else id_seq)
    return LockCommand(
        command_seq=seq,
        action=action,
        command_hash=hashlib.sha256(name).digest()[:16],
        command_id=name,
        actor_kid=ACTOR,
        before_up_ms=before_up_ms,
    )
