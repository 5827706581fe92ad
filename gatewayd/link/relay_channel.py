"""Phones at the door that talk to this gateway through its lock (docs/protocol.md §11)."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from firmware_protocol import cose
from firmware_protocol.chains import parse_bundle
from firmware_protocol.codes import Code
from firmware_protocol.commands import Command
from firmware_protocol.constants import (
    COURIER_VISIT_SIZE_MAX,
    RELAY_AGE_MS_MAX,
    RELAY_BUNDLE_MS_MAX,
    RELAY_PHONE_COUNT_MAX,
)
from firmware_protocol.courier import CourierDesk, Delivery, pieces
from firmware_protocol.errands import Courier, CourierAck
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.messages import Message, RelayClose, RelayData, RelayOpen
from firmware_protocol.noise import DH_SIZE, KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer, RelayDecider
from firmware_protocol.statements import CommandReceipt
from firmware_protocol.vocabulary import HASH_SIZE
from gatewayd.channel import Channel, Submission
from gatewayd.errors import GatewayError
from gatewayd.link.faults import LinkLost
from gatewayd.stopping import until_one_ends

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.channel import Entropy, Submit
    from gatewayd.link.ports import LinkListener
    from gatewayd.timekeeping import Clock, Instant

DENIED_GAP_MS: Final = 1_000
"""Between two DENIED to the unauthenticated; the others see the channel close and nothing else."""
COURIER_GRACE_MS: Final = 3_000
"""So long a channel stays open for what a phone brings, after a refusal for want of evidence or after an errand."""
ERRAND_COUNT_MAX: Final = 32
"""Most objects and wishes of one lock's phones that wait."""
STORY_COUNT_MAX: Final = 4
"""Most bundles of one lock's phones in the door's hands at once; a story outlives its channel while the motor runs."""

_log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class _Phone:
    """One channel."""

    number: int
    challenge: bytes
    decider: RelayDecider
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    spoke: bool = False
    """Whether its bundle is there."""
    known: bool = False
    """Whether it has a receipt for a command over its own challenge: then it may carry objects."""
    desk: CourierDesk = field(default_factory=lambda: CourierDesk(size_max=COURIER_VISIT_SIZE_MAX))
    errand_count: int = 0
    """Objects and wishes of this phone that are being worked on."""
    given_size: int = 0
    over: Code | None = None
    """Why the channel closes; None while the story goes on."""


class RelayChannels:
    """The channels of one lock. They end with the link; the stories that they began go on."""

    def __init__(
        self,
        *,
        lock_id: bytes,
        keys: KeyPair,
        submit: Submit,
        listener: LinkListener,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._lock_id = lock_id
        self._keys = keys
        self._submit = submit
        self._listener = listener
        self._clock = clock
        self._entropy = entropy
        self._post: Callable[[Message], None] | None = None
        self._phones: dict[int, _Phone] = {}
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._last_number = -1
        self._denied_ms: int | None = None
        self._stories: asyncio.Queue[tuple[_Phone, bytes]] = asyncio.Queue(STORY_COUNT_MAX)
        self._story_count = 0
        self._errands: asyncio.Queue[tuple[_Phone, Courier | Delivery]] = asyncio.Queue(ERRAND_COUNT_MAX)

    @property
    def is_quiet(self) -> bool:
        """Whether no phone is being served."""
        return self._quiet.is_set()

    async def until_quiet(self) -> None:
        """Wait until no phone is being served."""
        await self._quiet.wait()

    async def run(self) -> NoReturn:
        """Tell the stories of the bundles that come in, side by side, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            parts = (self._run_errands(), self._tell_all(tasks))
            await until_one_ends([tasks.create_task(part) for part in parts])

    async def _tell_all(self, tasks: asyncio.TaskGroup) -> NoReturn:
        while True:
            tasks.create_task(self._tell(*await self._stories.get()))

    def attach(self, post: Callable[[Message], None]) -> None:
        """Speak over this session from now on."""
        self._post = post
        self._last_number = -1

    def detach(self) -> None:
        """The session is over, and all channels with it."""
        self._post = None
        for phone in list(self._phones.values()):
            self._drop(phone)

    def take(self, message: RelayOpen | RelayData | RelayClose, instant: Instant) -> None:
        """Take what the lock says about its phones.

        Raises:
            RemoteProtocolError: the lock used a channel number again.
        """
        match message:
            case RelayOpen(channel=number, challenge=challenge):
                self._open(number, challenge, instant)
            case RelayData(channel=number, data=data):
                self._hear(number, data)
            case RelayClose(channel=number):
                phone = self._phones.get(number)
                if phone is not None:
                    self._drop(phone)

    def _open(self, number: int, challenge: bytes, instant: Instant) -> None:
        if number <= self._last_number:
            raise RemoteProtocolError(Code.MALFORMED, "a relay channel number that was used before")
        self._last_number = number
        if len(self._phones) >= RELAY_PHONE_COUNT_MAX and not self._evict():
            self._send(RelayClose(channel=number, code=Code.BUSY))
            return
        ephemeral = KeyPair.from_private(self._entropy.token(DH_SIZE))
        phone = _Phone(
            number=number,
            challenge=challenge,
            decider=RelayDecider(keys=self._keys, challenge=challenge, ephemeral=ephemeral),
        )
        loop = asyncio.get_running_loop()
        phone.timers = [
            loop.call_later(RELAY_BUNDLE_MS_MAX / 1_000, self._expire_silent, phone),
            loop.call_later(RELAY_AGE_MS_MAX / 1_000, self._close, phone, Code.EXPIRED),
        ]
        self._phones[number] = phone
        self._quiet.clear()
        self._listener.on_challenge(self._lock_id, challenge, instant)

    def _evict(self) -> bool:
        """Close the oldest channel that has said nothing; False where both have."""
        silent = next((phone for phone in self._phones.values() if not phone.spoke), None)
        if silent is None:
            return False
        self._close(silent, Code.BUSY)
        return True

    def _hear(self, number: int, data: bytes) -> None:
        phone = self._phones.get(number)
        if phone is None:
            return  # it crossed our RELAY_CLOSE
        if phone.spoke:
            self._hear_courier(phone, data)
            return
        phone.spoke = True
        try:
            bundle = phone.decider.read_bundle(data)
        except RemoteProtocolError:
            # A phone's fault, not the lock's: the link stays. Noise has no way to answer it.
            self._close(phone, Code.DENIED)
            return
        if self._story_count >= STORY_COUNT_MAX:
            self._close(phone, Code.BUSY)
            return
        self._story_count += 1
        self._stories.put_nowait((phone, bundle))

    def _hear_courier(self, phone: _Phone, data: bytes) -> None:
        """Take a piece of what a phone brings, or its wish; only one that has a receipt may carry anything."""
        if not phone.known:
            self._close(phone, Code.DENIED)
            return
        try:
            piece = phone.decider.read_courier(data)
            errand = piece if piece.sha256 is None else phone.desk.take(piece)
        except RemoteProtocolError as error:
            self._close(phone, error.code)
            return
        if errand is not None and self._errands.full():
            self._close(phone, Code.BUSY)
        elif errand is not None:
            phone.errand_count += 1
            self._errands.put_nowait((phone, errand))

    async def _run_errands(self) -> NoReturn:
        """Do one errand of a phone's after the other."""
        while True:
            phone, errand = await self._errands.get()
            if isinstance(errand, Courier):
                await self._give(phone, errand)
            else:
                code = await self._listener.on_parcel(errand.kind, errand.data)
                self.answer(phone, AnswerKind.COURIER_ACK, CourierAck(sha256=errand.sha256, code=code).to_bytes())
            phone.errand_count -= 1
            if phone.over is not None and not phone.errand_count:
                self._linger(phone, phone.over)

    async def _give(self, phone: _Phone, wish: Courier) -> None:
        code, given = await self._listener.on_parcel_wanted(wish.kind, wish.offset)
        for data in given:
            phone.given_size += len(data)
            if phone.given_size > COURIER_VISIT_SIZE_MAX:
                break
            for piece in pieces(wish.kind, data):
                self.answer(phone, AnswerKind.COURIER, piece.to_bytes())
        end = CourierAck(sha256=bytes(HASH_SIZE), code=code)
        self.answer(phone, AnswerKind.COURIER_ACK, end.to_bytes())

    def _linger(self, phone: _Phone, code: Code) -> None:
        """Close the channel, unless the phone begins another errand at once."""
        phone.over = code

        def close() -> None:
            if not phone.errand_count:
                self._close(phone, code)

        phone.timers.append(asyncio.get_running_loop().call_later(COURIER_GRACE_MS / 1_000, close))

    async def _tell(self, phone: _Phone, bundle: bytes) -> None:
        responder = _PhoneResponder(self, phone, proves=_is_over(bundle, phone.challenge))
        submission = Submission(channel=Channel.RELAY, bundle=bundle, lock_id=self._lock_id, challenge=phone.challenge)
        try:
            await self._submit(submission, responder)
        except GatewayError as error:
            _log.error("relay.submission_failed", code=error.code)
            responder.last = Code.STORE_UNAVAILABLE
        finally:
            self._story_count -= 1
        phone.over = responder.last
        if responder.code is Code.TIER or phone.errand_count:
            self._linger(phone, responder.last)  # what was missing may be in this phone
        else:
            self._close(phone, responder.last)

    def answer(self, phone: _Phone, kind: AnswerKind, body: bytes) -> None:
        """Send one answer, if the channel is still there."""
        if self._phones.get(phone.number) is phone:
            data = phone.decider.answer(RelayAnswer(kind=kind, body=body))
            self._send(RelayData(channel=phone.number, data=data))

    def deny(self, phone: _Phone) -> None:
        """Say DENIED, unless somebody was told less than a second ago."""
        now_ms = self._clock.now().boottime_ms
        if self._denied_ms is None or now_ms - self._denied_ms >= DENIED_GAP_MS:
            self._denied_ms = now_ms
            self.answer(phone, AnswerKind.DENIED, b"")

    def _expire_silent(self, phone: _Phone) -> None:
        if not phone.spoke:
            self._close(phone, Code.EXPIRED)

    def _close(self, phone: _Phone, code: Code) -> None:
        if self._phones.get(phone.number) is phone:
            self._drop(phone)
            self._send(RelayClose(channel=phone.number, code=code))

    def _drop(self, phone: _Phone) -> None:
        for timer in phone.timers:
            timer.cancel()
        del self._phones[phone.number]
        if not self._phones:
            self._quiet.set()

    def _send(self, message: Message) -> None:
        if self._post is None:
            return
        try:
            self._post(message)
        except LinkLost:
            self._post = None  # the supervisor notices by itself


class _PhoneResponder:
    """A `channel.Responder` for one phone."""

    def __init__(self, channels: RelayChannels, phone: _Phone, *, proves: bool) -> None:
        """`proves`: a receipt for the bundle tells who is there, and not only who signed it once."""
        self._proves = proves
        self.last = Code.DONE
        """Why the channel closes once everything is said."""
        self.code: Code | None = None
        """Of the last receipt."""
        self._channels = channels
        self._phone = phone

    async def receipt(self, raw: bytes) -> None:
        """See `Responder.receipt`."""
        self._phone.known = self._proves
        with contextlib.suppress(RemoteProtocolError):  # whoever cannot read it need not wait for couriers
            self.code = CommandReceipt.from_bytes(cose.parse(raw, size_max=CommandReceipt.SIZE_MAX).payload).code
        self._channels.answer(self._phone, AnswerKind.RECEIPT, raw)

    async def info(self, raw: bytes) -> None:
        """See `Responder.info`."""
        self._channels.answer(self._phone, AnswerKind.INFO, raw)

    async def denied(self) -> None:
        """See `Responder.denied`."""
        self.last = Code.DENIED
        self._channels.deny(self._phone)


def _is_over(bundle: bytes, challenge: bytes) -> bool:
    """Tell whether a bundle, if its signature holds, was signed here and now.

    Attack: a stranger comes with a command that was recorded at the broker. It is answered with its receipt, and proves
    nothing of who brings it: such a one must not take the journal along.
    """
    try:
        signed = parse_bundle(bundle)[0]
        return Command.from_bytes(cose.parse(signed, size_max=Command.SIZE_MAX).payload).challenge == challenge
    except RemoteProtocolError:
        return False
