"""The alarm centre at its broker: asks where a gateway stands, raises alarms, commands, checks every receipt.

It trusts the broker with nothing: an answer counts where the gateway's identity key has signed it, time counts only
over a nonce of its own, and the same bytes are sent again until a receipt comes or they expire.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from firmware_protocol.chains import parse_bundle
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.relay import AnswerKind
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import CommandReceipt, GatewayInfo
from firmware_protocol.topics import Topics
from firmware_protocol.vocabulary import NONCE_SIZE, Phase
from simulator.mqtt_answers import Answer, read_answer, request_payload
from simulator.mqtt_client import MqttError, MqttVersion

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from firmware_protocol.orders import Door
    from simulator.mqtt_client import Mail, Postman
    from simulator.seams import Entropy

RESEND_MS: Final = 2_000
"""An unanswered request goes out again, the same bytes, after so long."""
INFO_MS_MAX: Final = 5_000
CORRELATION_SIZE: Final = 16
_DESK: Final = "alarm-centre"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where the gateway stands, by its own signed word over a nonce of ours."""

    info: GatewayInfo
    heard_ms: int
    """The loop's time at which the answer came."""

    def epoch_of(self, lock_id: bytes) -> bytes:
        """Return the epoch that commands for this lock must name."""
        return self._lock(lock_id)[0]

    def now_s(self, lock_id: bytes, now_ms: int) -> int:
        """Return the second of that epoch, advanced by our own clock since the answer."""
        return self._lock(lock_id)[1] + (now_ms - self.heard_ms) // 1_000

    def _lock(self, lock_id: bytes) -> tuple[bytes, int]:
        for each in self.info.locks:
            if each.lock_id == lock_id:
                return each.epoch, each.now_s
        raise LookupError("the gateway does not serve this lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Everything that came back for one command."""

    receipts: tuple[CommandReceipt, ...] = ()
    """Signed by the door's gateway over this command."""
    raw_receipts: tuple[bytes, ...] = ()
    info: GatewayInfo | None = None
    denied: bool = False
    unverified_count: int = 0
    sent_count: int = 0
    decided_ms: int | None = None
    """From the first sending to the first answer."""
    elapsed_ms: int = 0

    @property
    def final(self) -> Code | None:
        """The code of the last receipt, or None where there was none."""
        return self.receipts[-1].code if self.receipts else None


@dataclass(slots=True)
class _Heard:
    receipts: list[CommandReceipt] = field(default_factory=list)
    raw_receipts: list[bytes] = field(default_factory=list)
    info: GatewayInfo | None = None
    denied: bool = False
    unverified_count: int = 0
    decided_ms: int | None = None

    @property
    def is_over(self) -> bool:
        if self.denied:
            return True
        if not self.receipts:
            return False
        last = self.receipts[-1]
        return last.phase is Phase.OUTCOME or last.code is not Code.PERMITTED


class AlarmCentre:
    """`async with AlarmCentre(client, door=…, entropy=…) as centre`, over a client that is connected."""

    def __init__(self, client: Postman, *, door: Door, entropy: Entropy) -> None:
        self.topics = Topics.of(door.gateway_id)
        self.shown: dict[str, Mail] = {}
        """The newest message of each topic on which the gateway shows itself and its doors."""
        self._client = client
        self._door = door
        self._entropy = entropy
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[bytes, asyncio.Queue[Answer]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Subscribe.

        Raises:
            MqttError: the broker is gone.
        """
        door, topics = self._door, self.topics
        shown = (topics.state, topics.info, topics.health)
        lock_shown = (topics.lock_state(door.lock_id), topics.lock_availability(door.lock_id))
        answers = (topics.response, topics.response_to("info"), topics.response_to(_DESK))
        await self._client.subscribe((*shown, *lock_shown, *answers))
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Stop reading; the client stays whose it is."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def publish_authority(self, *, keyset: bytes, state: bytes, authorities: Mapping[str, bytes]) -> None:
        """Leave the signed objects that every gateway reads when it connects, retained.

        Raises:
            MqttError: the broker is gone.
        """
        await self._client.publish(self.topics.authority_keyset, keyset, retain=True)
        await self._client.publish(self.topics.authority_state, state, retain=True)
        for provider, authority in authorities.items():
            await self._client.publish(self.topics.authority_provider(provider), authority, retain=True)

    async def ask_info(self, *, patience_ms: int = INFO_MS_MAX) -> Standing | None:
        """Return where the gateway stands, or None where it did not say in time.

        Raises:
            MqttError: the broker is gone.
        """
        nonce = self._entropy.token(NONCE_SIZE)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_ms / 1_000):
                return await self._info_over(nonce)
        return None

    async def raise_alarm(self, alarm: bytes) -> None:
        """Pass on the intake's signed word.

        Raises:
            MqttError: the broker is gone.
        """
        await self._client.publish(self.topics.alarm, alarm)

    async def command(self, bundle: bytes, *, patience_ms: int, retain: bool = False) -> Reply:
        """Send a bundle, again and again until its story is over or `patience_ms` are.

        Raises:
            MqttError: the broker is gone.
        """
        correlation = self._entropy.token(CORRELATION_SIZE)
        answers = self._waiting[correlation] = asyncio.Queue()
        heard, sent_count, began_ms = _Heard(), 0, self.now_ms()
        try:
            async with asyncio.timeout(patience_ms / 1_000):
                while not heard.is_over:
                    await self._ask(self.topics.command, "bundle", bundle, correlation, retain=retain)
                    sent_count += 1
                    await self._collect(answers, heard, bundle, began_ms)
        except TimeoutError:
            pass  # the reply says how far it came
        finally:
            del self._waiting[correlation]
        return Reply(
            receipts=tuple(heard.receipts),
            raw_receipts=tuple(heard.raw_receipts),
            info=heard.info,
            denied=heard.denied,
            unverified_count=heard.unverified_count,
            sent_count=sent_count,
            decided_ms=heard.decided_ms,
            elapsed_ms=self.now_ms() - began_ms,
        )

    async def wait_shown(self, topic: str) -> Mail:
        """Return the newest message of a topic, waiting for the first one; bound it with `asyncio.timeout`."""
        while topic not in self.shown:
            self._news.clear()
            await self._news.wait()
        return self.shown[topic]

    def now_ms(self) -> int:
        """Return the loop's time, in milliseconds."""
        return int(self._loop.time() * 1_000)

    async def _info_over(self, nonce: bytes) -> Standing:
        correlation = self._entropy.token(CORRELATION_SIZE)
        answers = self._waiting[correlation] = asyncio.Queue()
        try:
            while True:
                await self._ask(self.topics.request("info"), "nonce", nonce, correlation)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RESEND_MS / 1_000):
                        return await self._first_verified(answers, nonce)
        finally:
            del self._waiting[correlation]

    async def _first_verified(self, answers: asyncio.Queue[Answer], nonce: bytes) -> Standing:
        while True:
            answer = await answers.get()
            heard_ms = self.now_ms()
            with contextlib.suppress(RemoteProtocolError):
                info = open_signed(GatewayInfo, answer.body, self._door.gateway_identity_key)
                if info.nonce == nonce:  # an answer to somebody else's question tells no time
                    return Standing(info=info, heard_ms=heard_ms)

    async def _collect(self, answers: asyncio.Queue[Answer], heard: _Heard, bundle: bytes, began_ms: int) -> None:
        with contextlib.suppress(TimeoutError):
            while not heard.is_over:
                async with asyncio.timeout(RESEND_MS / 1_000):
                    answer = await answers.get()
                if heard.decided_ms is None:
                    heard.decided_ms = self.now_ms() - began_ms
                self._take(answer, heard, bundle)

    def _take(self, answer: Answer, heard: _Heard, bundle: bytes) -> None:
        try:
            match answer.kind:
                case AnswerKind.DENIED:
                    heard.denied = True
                case AnswerKind.INFO:
                    heard.info = open_signed(GatewayInfo, answer.body, self._door.gateway_identity_key)
                case AnswerKind.RECEIPT:
                    heard.receipts.append(self._verified_receipt(answer.body, bundle))
                    heard.raw_receipts.append(answer.body)
                case AnswerKind.COURIER | AnswerKind.COURIER_ACK | AnswerKind.REPORT:
                    heard.unverified_count += 1  # nobody asked
        except RemoteProtocolError:
            heard.unverified_count += 1

    def _verified_receipt(self, raw: bytes, bundle: bytes) -> CommandReceipt:
        receipt = open_signed(CommandReceipt, raw, self._door.gateway_identity_key)
        if receipt.command_sha256 != hashlib.sha256(parse_bundle(bundle)[0]).digest():
            raise RemoteProtocolError(Code.BAD_SIGNATURE, "a receipt for another command")
        return receipt

    async def _ask(self, topic: str, key: str, body: bytes, correlation: bytes, *, retain: bool = False) -> None:
        version = self._client.version
        await self._client.publish(
            topic,
            request_payload(version, key=key, body=body, correlation=correlation),
            retain=retain,
            response_topic=self.topics.response_to(_DESK) if version is MqttVersion.V5 else None,
            correlation=correlation,
        )

    async def _read(self) -> None:
        with contextlib.suppress(MqttError):  # whoever asks next hears of it
            while True:
                self._route(await self._client.next_mail())

    def _route(self, mail: Mail) -> None:
        if not mail.topic.startswith(self.topics.response):
            self.shown[mail.topic] = mail
            self._news.set()
            return
        with contextlib.suppress(RemoteProtocolError):
            answer = read_answer(self._client.version, mail)
            waiting = self._waiting.get(answer.correlation or b"")
            if waiting is not None:
                waiting.put_nowait(answer)
