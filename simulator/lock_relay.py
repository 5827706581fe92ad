"""Phones at the door: the firmware carries what they say to the gateway, and cannot read it (docs/protocol.md §11).

Strangers may connect here, so everything is bounded: how many, how long, how much. Nothing that a phone does reaches
the gateway's link but its one whole message, and its couriers once it was answered. A lock alone answers itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import (
    CHALLENGE_SIZE,
    COURIER_VISIT_SIZE_MAX,
    RELAY_AGE_MS_MAX,
    RELAY_BUNDLE_MS_MAX,
    RELAY_PHONE_COUNT_MAX,
    RELAY_PROGRESS_MS_MAX,
)
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.fragments import Fragmenter, FragmentKind, Reassembler
from firmware_protocol.hello import PhoneHello, PlainClose, encode_plain
from firmware_protocol.messages import RELAY_DATA_SIZE_MAX, RelayClose, RelayData, RelayOpen
from firmware_protocol.vocabulary import Decider
from simulator.lock_link import LINGER_MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.messages import Message
    from simulator.boot_clock import BootClock
    from simulator.lock_alone import LoneDesk, LoneVisit
    from simulator.seams import Entropy, Timer
    from simulator.wire import Pipe

BEACON_MS: Final = 30_000
"""So long the advertisement says that a phone waits, after one was turned away for want of a gateway."""


@dataclass(slots=True, kw_only=True)
class _Phone:
    """One phone with a way to whoever decides."""

    channel: int
    """The relay's channel, not the radio's; 0 where the lock decides."""
    alone: LoneVisit | None = None
    """There where the lock decides."""
    courier_size: int = 0
    """Bytes that it has sent since it was answered."""
    pipe: Pipe
    fragmenter: Fragmenter
    opened_ms: int
    progressed_ms: int
    reassembler: Reassembler = field(default_factory=Reassembler)
    has_spoken: bool = False
    is_complete: bool = False
    """Its message has gone to the gateway."""
    is_answered: bool = False
    timer: Timer | None = None

    def deadline_ms(self) -> int:
        """When patience ends. With its message delivered a phone only waits, for the gateway and the motor."""
        if self.is_complete:
            return self.opened_ms + RELAY_AGE_MS_MAX
        return min(self.opened_ms + RELAY_BUNDLE_MS_MAX, self.progressed_ms + RELAY_PROGRESS_MS_MAX)


class PhoneRelay:
    """All phones of one boot. `send` reaches the gateway; `is_gateway_live` tells whether there is one."""

    def __init__(
        self,
        *,
        clock: BootClock,
        entropy: Entropy,
        send: Callable[[Message], None],
        is_gateway_live: Callable[[], bool],
        set_phone_waiting: Callable[[bool], None],
        lone: LoneDesk,
    ) -> None:
        self._clock = clock
        self._entropy = entropy
        self._send = send
        self._is_gateway_live = is_gateway_live
        self._set_phone_waiting = set_phone_waiting
        self._lone = lone
        self._beacon_timer: Timer | None = None
        self._phones: dict[int, _Phone] = {}
        self._last_channel = 0

    def connected(self, radio_channel: int, pipe: Pipe) -> None:
        """Take the phone in, with a challenge, or turn it away."""
        fragmenter = Fragmenter(pipe.value_size_max)
        if not self._is_gateway_live():
            self._call_for_gateway()
            if not self._lone.decides:
                self._turn_away(pipe, fragmenter, Code.LINK_DOWN)
                return
        if not self._make_place():
            self._turn_away(pipe, fragmenter, Code.BUSY)
        else:
            self._take_in(radio_channel, pipe, fragmenter)

    def received(self, radio_channel: int, value: bytes) -> None:
        """Take a value of the phone's; a breach of the protocol ends its link and nobody else's."""
        phone = self._phones.get(radio_channel)
        if phone is None:
            return
        now_ms = self._clock.up_ms()
        phone.has_spoken = True
        phone.progressed_ms = now_ms
        try:
            message = phone.reassembler.receive_value(value, now_ms)
            if message is not None:
                self._forward(phone, message.kind, message.data)
        except RemoteProtocolError as error:
            self._drop(radio_channel, error.code)
            return
        if radio_channel in self._phones:
            self._set_timer(radio_channel, phone)

    def disconnected(self, radio_channel: int) -> None:
        """Forget the phone, and tell the gateway."""
        phone = self._forget(radio_channel)
        if phone is not None and phone.alone is None:
            self._send(RelayClose(channel=phone.channel, code=Code.LINK_DOWN))

    def answered(self, answer: RelayData) -> None:
        """Carry an answer of the gateway's; for a phone that is gone it is nobody's."""
        for phone in self._phones.values():
            if phone.alone is None and phone.channel == answer.channel:
                _reply(phone, answer.data)

    def closed(self, close: RelayClose) -> None:
        """Hang up on the phone, as the gateway wants it."""
        for radio_channel, phone in list(self._phones.items()):
            if phone.alone is None and phone.channel == close.channel:
                self._forget(radio_channel)
                self._turn_away(phone.pipe, phone.fragmenter, close.code)

    def gateway_came(self) -> None:
        """Begin anew: channels count from 1 in each session."""
        self._last_channel = 0
        self._stop_calling()

    def gateway_went(self) -> None:
        """Hang up on everybody who waits for the gateway: it can't answer any more."""
        for radio_channel, phone in list(self._phones.items()):
            if phone.alone is None:
                self._forget(radio_channel)
                self._turn_away(phone.pipe, phone.fragmenter, Code.LINK_DOWN)

    def _take_in(self, radio_channel: int, pipe: Pipe, fragmenter: Fragmenter) -> None:
        now_ms = self._clock.up_ms()
        challenge = self._entropy.token(CHALLENGE_SIZE)
        phone = _Phone(channel=0, pipe=pipe, fragmenter=fragmenter, opened_ms=now_ms, progressed_ms=now_ms)
        self._phones[radio_channel] = phone
        self._set_timer(radio_channel, phone)
        if self._is_gateway_live():
            self._last_channel += 1
            phone.channel = self._last_channel
            self._greet(phone, challenge, Decider.GATEWAY)
            self._send(RelayOpen(channel=phone.channel, challenge=challenge, up_ms=now_ms))
        else:
            phone.alone = self._lone.visit(
                challenge, lambda data: _reply(phone, data), lambda code: self._drop(radio_channel, code)
            )
            self._greet(phone, challenge, Decider.LOCK)

    def _greet(self, phone: _Phone, challenge: bytes, decider: Decider) -> None:
        hello = PhoneHello(challenge=challenge, decider=decider)
        _notify(phone.pipe, phone.fragmenter, FragmentKind.PLAIN, encode_plain(hello))

    def _make_place(self) -> bool:
        """Evict the oldest phone that has said nothing, if all places are taken; tell whether there is one."""
        if len(self._phones) < RELAY_PHONE_COUNT_MAX:
            return True
        silent = [radio_channel for radio_channel, phone in self._phones.items() if not phone.has_spoken]
        if silent:
            self._drop(silent[0], Code.BUSY)
        return bool(silent)

    def _forward(self, phone: _Phone, kind: FragmentKind, data: bytes) -> None:
        if len(data) > RELAY_DATA_SIZE_MAX:
            raise RemoteProtocolError(Code.TOO_LARGE, "a phone's message that no record can carry")
        if kind is FragmentKind.RECORD and phone.is_answered:
            self._forward_courier(phone, data)
            return
        if kind is not FragmentKind.HANDSHAKE or phone.is_complete:
            raise RemoteProtocolError(
                Code.MALFORMED, "before it is answered a phone says one thing, a handshake message"
            )
        phone.is_complete = True
        if phone.alone is not None:
            phone.alone.hear_bundle(data)
        else:
            self._send(RelayData(channel=phone.channel, data=data))

    def _forward_courier(self, phone: _Phone, data: bytes) -> None:
        phone.courier_size += len(data)
        if phone.courier_size > 2 * COURIER_VISIT_SIZE_MAX:  # the objects and what wraps them
            raise RemoteProtocolError(Code.TOO_LARGE, "more than a phone may bring")
        if phone.alone is not None:
            phone.alone.hear_courier(data)
        else:
            self._send(RelayData(channel=phone.channel, data=data))

    def _set_timer(self, radio_channel: int, phone: _Phone) -> None:
        if phone.timer is not None:
            phone.timer.cancel()
        deadline_ms = phone.deadline_ms()
        partial_ms = phone.reassembler.deadline_ms
        if partial_ms is not None:
            deadline_ms = min(deadline_ms, partial_ms + 1)
        delay_ms = max(1, deadline_ms - self._clock.up_ms())
        phone.timer = self._clock.call_later(delay_ms, lambda: self._drop(radio_channel, Code.LINK_DOWN))

    def _drop(self, radio_channel: int, code: Code) -> None:
        phone = self._forget(radio_channel)
        if phone is not None:
            if phone.alone is None:
                self._send(RelayClose(channel=phone.channel, code=code))
            self._turn_away(phone.pipe, phone.fragmenter, code)

    def _forget(self, radio_channel: int) -> _Phone | None:
        phone = self._phones.pop(radio_channel, None)
        if phone is not None and phone.timer is not None:
            phone.timer.cancel()
        return phone

    def _turn_away(self, pipe: Pipe, fragmenter: Fragmenter, code: Code) -> None:
        _notify(pipe, fragmenter, FragmentKind.PLAIN, encode_plain(PlainClose(code=code)))
        self._clock.call_later(LINGER_MS, pipe.disconnect)

    def _call_for_gateway(self) -> None:
        self._stop_calling()
        self._set_phone_waiting(True)  # noqa: FBT003 - a setter of one flag
        self._beacon_timer = self._clock.call_later(BEACON_MS, self._stop_calling)

    def _stop_calling(self) -> None:
        if self._beacon_timer is not None:
            self._beacon_timer.cancel()
            self._beacon_timer = None
            self._set_phone_waiting(False)  # noqa: FBT003 - a setter of one flag


def _reply(phone: _Phone, data: bytes) -> None:
    kind = FragmentKind.RECORD if phone.is_answered else FragmentKind.HANDSHAKE
    phone.is_answered = True
    _notify(phone.pipe, phone.fragmenter, kind, data)


def _notify(pipe: Pipe, fragmenter: Fragmenter, kind: FragmentKind, data: bytes) -> None:
    for value in fragmenter.fragment(kind, data):
        pipe.send_value(value)
