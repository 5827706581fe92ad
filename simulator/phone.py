"""The carer's app: one visit at a door, over any link to the lock (docs/protocol.md §11).

The app trusts its Door object and nothing that it hears at the door: an answer counts where the gateway's
identity key has signed it over this very command, and everything else is silence.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from firmware_protocol.chains import open_by_role, parse_bundle
from firmware_protocol.codes import Code
from firmware_protocol.constants import RELAY_AGE_MS_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.fragments import Fragmenter, FragmentKind, Message, Reassembler
from firmware_protocol.hello import TO_PHONE_PLAIN, PhoneHello, PlainClose, decode_plain
from firmware_protocol.orders import Door
from firmware_protocol.relay import AnswerKind, RelayAnswer, RelayPhone
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import CommandReceipt, GatewayInfo
from firmware_protocol.vocabulary import Decider, Phase, Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.noise import KeyPair
    from firmware_protocol.tokens import Keyset

HELLO_MS_MAX: Final = 3_000
"""A lock greets at once; one that does not is out of reach, or is none."""
INFO_MS_MAX: Final = 1_000
"""So long after a refusal a GatewayInfo may follow."""
_INFO_FOLLOWS: Final = frozenset({Code.WRONG_EPOCH, Code.EXPIRED, Code.WRONG_AUDIENCE})


class LockLink(Protocol):
    """A connected link to a lock's characteristics for phones."""

    @property
    def value_size_max(self) -> int:
        """Longest value that `write_value` takes, in bytes."""

    async def write_value(self, value: bytes) -> None:
        """Write `value` to PHONE_RX."""

    async def next_value(self) -> bytes:
        """Return the next value of PHONE_TX, in order. Waits for ever."""

    async def close(self) -> None:
        """Drop the link. Does nothing the second time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a phone brought home from the door."""

    command_sha256: bytes | None = None
    """Of the command that was sent; None where the lock never gave a challenge."""
    receipts: tuple[CommandReceipt, ...] = ()
    """Signed by the door's gateway over this command, in the order in which they came."""
    raw_receipts: tuple[bytes, ...] = ()
    """The same as they were received."""
    info: GatewayInfo | None = None
    """Signed by the door's gateway."""
    denied: bool = False
    """The plain no to somebody who proved nothing."""
    unverified_count: int = 0
    """Answers that no key of this door had signed, or that were about another command."""
    closed: Code | None = None
    """Why the lock hung up; a hint, for it is not authenticated. None where it did not say."""
    decided_ms: int | None = None
    """From the bundle's first fragment to the first answer."""
    elapsed_ms: int = 0
    """From the first moment of the link to the last answer."""

    @property
    def final(self) -> Code | None:
        """The code of the last receipt, or None where there was none."""
        return self.receipts[-1].code if self.receipts else None


def verify_door(data: bytes, *, keyset: Keyset) -> Door:
    """Return the Door in `data`, which the status role must have signed.

    Raises:
        RemoteProtocolError: it is not one.
    """
    return open_by_role(Door, data, keyset=keyset, role=Role.STATUS)


class Phone:
    """An app that knows one door. One visit at a time over each link; many visits one after another."""

    def __init__(
        self, *, door: Door, new_ephemeral: Callable[[], KeyPair], link_faults: tuple[type[Exception], ...]
    ) -> None:
        """`new_ephemeral` draws a key pair for each visit; `link_faults` is what the links raise when they are gone."""
        self._door = door
        self._new_ephemeral = new_ephemeral
        self._link_faults = link_faults

    async def visit(
        self, link: LockLink, make_bundle: Callable[[bytes], bytes], *, patience_ms: int = RELAY_AGE_MS_MAX
    ) -> Visit:
        """Ask for a challenge, send `make_bundle(challenge)`, collect the answers, and hang up.

        Never takes longer than `patience_ms`, and returns whatever came until then.
        """
        conversation = _Conversation(self._door, link, self._new_ephemeral())
        try:
            async with asyncio.timeout(patience_ms / 1_000):
                await conversation.run(make_bundle)
        except (TimeoutError, RemoteProtocolError):
            pass  # the visit ends here, and what it brought home says how it went
        except self._link_faults:
            pass  # out of reach, or hung up on
        finally:
            await link.close()
        return conversation.visit()


@dataclass(slots=True)
class _Heard:
    """What has been heard in a visit so far."""

    receipts: list[CommandReceipt] = field(default_factory=list)
    raw_receipts: list[bytes] = field(default_factory=list)
    info: GatewayInfo | None = None
    denied: bool = False
    unverified_count: int = 0
    closed: Code | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more can follow."""
        if self.closed is not None or self.denied:
            return True
        if not self.receipts:
            return False
        last = self.receipts[-1]
        if last.phase is Phase.OUTCOME:
            return True
        return last.code is not Code.PERMITTED and (last.code not in _INFO_FOLLOWS or self.info is not None)

    @property
    def awaits_info(self) -> bool:
        """Whether only a GatewayInfo can still follow."""
        return bool(self.receipts) and self.receipts[-1].code in _INFO_FOLLOWS and self.info is None


class _Conversation:
    """One visit, step by step."""

    def __init__(self, door: Door, link: LockLink, ephemeral: KeyPair) -> None:
        self._door = door
        self._link = link
        self._ephemeral = ephemeral
        self._reassembler = Reassembler()
        self._heard = _Heard()
        self._is_gateway = True
        self._command_sha256: bytes | None = None
        self._loop = asyncio.get_running_loop()
        self._started_ms = self._now_ms()
        self._sent_ms: int | None = None
        self._decided_ms: int | None = None
        self._ended_ms = self._started_ms

    async def run(self, make_bundle: Callable[[bytes], bytes]) -> None:
        """Talk until nothing more can follow.

        Raises:
            RemoteProtocolError: what came was none of the protocol.
            TimeoutError: the lock never greeted, or no info followed.
        """
        async with asyncio.timeout(HELLO_MS_MAX / 1_000):
            hello = await self._hello()
        if hello is None:
            return
        relay = await self._ask(make_bundle(hello.challenge), hello)
        while not self._heard.is_over:
            patience_s = INFO_MS_MAX / 1_000 if self._heard.awaits_info else None
            async with asyncio.timeout(patience_s):
                self._take(relay, await self._next_message())

    def visit(self) -> Visit:
        """Return what was brought home."""
        heard = self._heard
        return Visit(
            command_sha256=self._command_sha256,
            receipts=tuple(heard.receipts),
            raw_receipts=tuple(heard.raw_receipts),
            info=heard.info,
            denied=heard.denied,
            unverified_count=heard.unverified_count,
            closed=heard.closed,
            decided_ms=self._decided_ms,
            elapsed_ms=self._ended_ms - self._started_ms,
        )

    async def _hello(self) -> PhoneHello | None:
        message = await self._next_message()
        if message.kind is not FragmentKind.PLAIN:
            raise RemoteProtocolError(Code.MALFORMED, "a lock greets in plain")
        plain = decode_plain(message.data, TO_PHONE_PLAIN)
        if isinstance(plain, PlainClose):
            self._close(plain.code)
            return None
        if not isinstance(plain, PhoneHello):
            raise RemoteProtocolError(Code.MALFORMED, "a lock greets with a challenge")
        return plain

    async def _ask(self, bundle: bytes, hello: PhoneHello) -> RelayPhone:
        self._command_sha256 = _command_sha256(bundle)
        self._is_gateway = hello.decider is Decider.GATEWAY
        decider_key = self._door.gateway_link_key if self._is_gateway else self._door.lock_link_key
        relay = RelayPhone(decider_key=decider_key, challenge=hello.challenge, ephemeral=self._ephemeral)
        self._sent_ms = self._now_ms()
        for value in Fragmenter(self._link.value_size_max).fragment(FragmentKind.HANDSHAKE, relay.open(bundle)):
            await self._link.write_value(value)
        return relay

    async def _next_message(self) -> Message:
        while True:
            value = await self._link.next_value()
            message = self._reassembler.receive_value(value, self._now_ms())
            if message is not None:
                return message

    def _take(self, relay: RelayPhone, message: Message) -> None:
        if message.kind is FragmentKind.PLAIN:
            plain = decode_plain(message.data, TO_PHONE_PLAIN)
            if isinstance(plain, PlainClose):
                self._close(plain.code)
            return
        answer = relay.read(message.data)
        self._ended_ms = self._now_ms()
        if self._decided_ms is None and self._sent_ms is not None:
            self._decided_ms = self._ended_ms - self._sent_ms
        self._take_answer(answer)

    def _take_answer(self, answer: RelayAnswer) -> None:
        try:
            match answer.kind:
                case AnswerKind.DENIED:
                    self._heard.denied = True
                case AnswerKind.INFO:
                    self._heard.info = open_signed(GatewayInfo, answer.body, self._door.gateway_identity_key)
                case AnswerKind.RECEIPT:
                    self._heard.receipts.append(self._verified_receipt(answer.body))
                    self._heard.raw_receipts.append(answer.body)
                case AnswerKind.COURIER | AnswerKind.COURIER_ACK | AnswerKind.REPORT:
                    self._heard.unverified_count += 1  # nobody asked
        except RemoteProtocolError:
            self._heard.unverified_count += 1

    def _verified_receipt(self, raw: bytes) -> CommandReceipt:
        key = self._door.gateway_identity_key if self._is_gateway else self._door.lock_log_key
        receipt = open_signed(CommandReceipt, raw, key)
        if receipt.gateway_id != self._door.gateway_id or receipt.command_sha256 != self._command_sha256:
            raise RemoteProtocolError(Code.BAD_SIGNATURE, "a receipt for another command")
        return receipt

    def _close(self, code: Code) -> None:
        self._heard.closed = code
        self._ended_ms = self._now_ms()

    def _now_ms(self) -> int:
        return int(self._loop.time() * 1_000)


def _command_sha256(bundle: bytes) -> bytes | None:
    """Name the command in `bundle`; bytes that are no bundle (an attack of the demo's) have none."""
    try:
        return hashlib.sha256(parse_bundle(bundle)[0]).digest()
    except RemoteProtocolError:
        return None
