"""Phones at the door that talk to this gateway through its lock (docs/protocol.md §11)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from firmware_protocol.codes import Code
from firmware_protocol.constants import RELAY_AGE_MS_MAX, RELAY_BUNDLE_MS_MAX, RELAY_PHONE_COUNT_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.messages import Message, RelayClose, RelayData, RelayOpen
from firmware_protocol.noise import DH_SIZE, KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer, RelayDecider
from gatewayd.channel import Channel, Submission
from gatewayd.errors import GatewayError
from gatewayd.link.faults import LinkLost

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.channel import Entropy, Submit
    from gatewayd.link.ports import LinkListener
    from gatewayd.timekeeping import Clock, Instant

DENIED_GAP_MS: Final = 1_000
"""Between two DENIED to the unauthenticated; the others see the channel close and nothing else."""
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

    async def until_quiet(self) -> None:
        """Wait until no phone is being served."""
        await self._quiet.wait()

    async def run(self) -> NoReturn:
        """Tell the stories of the bundles that come in, side by side, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
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
            self._close(phone, Code.DENIED)
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

    async def _tell(self, phone: _Phone, bundle: bytes) -> None:
        responder = _PhoneResponder(self, phone)
        submission = Submission(channel=Channel.RELAY, bundle=bundle, lock_id=self._lock_id, challenge=phone.challenge)
        try:
            await self._submit(submission, responder)
        except GatewayError as error:
            _log.error("relay.submission_failed", code=error.code)
            responder.last = Code.STORE_UNAVAILABLE
        finally:
            self._story_count -= 1
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

    def __init__(self, channels: RelayChannels, phone: _Phone) -> None:
        self.last = Code.DONE
        """Why the channel closes once everything is said."""
        self._channels = channels
        self._phone = phone

    async def receipt(self, raw: bytes) -> None:
        """See `Responder.receipt`."""
        self._channels.answer(self._phone, AnswerKind.RECEIPT, raw)

    async def info(self, raw: bytes) -> None:
        """See `Responder.info`."""
        self._channels.answer(self._phone, AnswerKind.INFO, raw)

    async def denied(self) -> None:
        """See `Responder.denied`."""
        self.last = Code.DENIED
        self._channels.deny(self._phone)
