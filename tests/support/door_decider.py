"""A lock and its gateway as one phone meets them: real fragments, Noise and signatures, and a script of answers."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

from firmware_protocol.chains import parse_bundle
from firmware_protocol.fragments import Fragmenter, FragmentKind, Reassembler
from firmware_protocol.hello import PhoneHello, PlainClose, encode_plain
from firmware_protocol.noise import KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer, RelayDecider
from firmware_protocol.signed import sign
from firmware_protocol.statements import CommandReceipt, GatewayInfo
from firmware_protocol.vocabulary import Decider, Phase, Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nacl.signing import SigningKey

    from firmware_protocol.codes import Code
    from simulator.office import Home

CHALLENGE: Final = bytes(range(16))
_EPHEMERAL: Final = KeyPair.from_private(bytes(range(32)))


class LinkGoneError(Exception):
    """What this link raises once it is gone."""


class DoorDecider:
    """A phone's link; what it answers to the bundle is what `script` makes of it."""

    def __init__(
        self,
        home: Home,
        script: Callable[[DoorDecider, bytes], Sequence[RelayAnswer | PlainClose | None]],
        *,
        greets: bool = True,
        value_size_max: int = 20,
    ) -> None:
        """`script(self, bundle)` gives the answers in order; None drops the link there."""
        self.home = home
        self.value_size_max = value_size_max
        self.bundle: bytes | None = None
        self.closed = False
        self._script = script
        self._values: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._to_phone = Fragmenter(value_size_max)
        self._from_phone = Reassembler()
        self._has_answered = False
        self._relay = RelayDecider(keys=home.gateway_link_keys, challenge=CHALLENGE, ephemeral=_EPHEMERAL)
        if greets:
            self.say(PhoneHello(challenge=CHALLENGE, decider=Decider.GATEWAY))

    def say(self, plain: PhoneHello | PlainClose) -> None:
        self._send(FragmentKind.PLAIN, encode_plain(plain))

    async def write_value(self, value: bytes) -> None:
        message = self._from_phone.receive_value(value, 0)
        if message is None:
            return
        self.bundle = self._relay.read_bundle(message.data)
        for answer in self._script(self, self.bundle):
            match answer:
                case RelayAnswer():
                    kind = FragmentKind.RECORD if self._has_answered else FragmentKind.HANDSHAKE
                    self._has_answered = True
                    self._send(kind, self._relay.answer(answer))
                case PlainClose():
                    self.say(answer)
                case None:
                    self._values.put_nowait(None)

    async def next_value(self) -> bytes:
        value = await self._values.get()
        if value is None:
            raise LinkGoneError
        return value

    async def close(self) -> None:
        self.closed = True

    def receipt(
        self,
        code: Code,
        *,
        phase: Phase = Phase.DECIDED,
        key: SigningKey | None = None,
        command: bytes | None = None,
    ) -> RelayAnswer:
        """Return a receipt over the command in the bundle, or over another one, by the gateway or by another key."""
        assert self.bundle is not None
        signed = parse_bundle(self.bundle)[0] if command is None else command
        receipt = CommandReceipt(
            gateway_id=self.home.gateway_id,
            log_id=bytes(16),
            lock_id=self.home.lock_id,
            command_sha256=hashlib.sha256(signed).digest(),
            phase=phase,
            code=code,
            utc_lo_s=1,
        )
        return RelayAnswer(kind=AnswerKind.RECEIPT, body=sign(receipt, key or self.home.gateway_signing_key))

    def info(self) -> RelayAnswer:
        """Return where the gateway stands."""
        info = GatewayInfo(
            nonce=b"",
            gateway_id=self.home.gateway_id,
            locks=(),
            state_seq=1,
            keyset_version=1,
            tier=Tier.FRESH,
            ttl_s_max=60,
        )
        return RelayAnswer(kind=AnswerKind.INFO, body=sign(info, self.home.gateway_signing_key))

    def _send(self, kind: FragmentKind, data: bytes) -> None:
        for value in self._to_phone.fragment(kind, data):
            self._values.put_nowait(value)
