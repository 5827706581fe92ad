"""A gateway as a party at the broker meets it: real signatures, and a script of answers; time may be virtual."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from typing import TYPE_CHECKING

from firmware_protocol.chains import parse_bundle
from firmware_protocol.relay import AnswerKind, RelayAnswer
from firmware_protocol.signed import sign
from firmware_protocol.statements import CommandReceipt, GatewayInfo, LockEpoch
from firmware_protocol.topics import Topics
from firmware_protocol.vocabulary import Phase, Tier
from simulator.mqtt_client import Mail, MqttError, MqttVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nacl.signing import SigningKey

    from firmware_protocol.codes import Code
    from simulator.office import Home

EPOCH = bytes(range(16))
NOW_S = 100


class ScriptedGateway:
    """A `Postman` with a gateway behind it."""

    def __init__(
        self,
        home: Home,
        script: Callable[[ScriptedGateway, bytes], Sequence[RelayAnswer]] = lambda _gateway, _body: (),
        *,
        version: MqttVersion = MqttVersion.V5,
    ) -> None:
        """`script(self, body)` gives the answers to a bundle or a nonce."""
        self.version = version
        self.home = home
        self.topics = Topics.of(home.gateway_id)
        self.filters: tuple[str, ...] = ()
        self.asked: list[bytes] = []
        """Bodies of all requests, in order."""
        self.published: list[tuple[str, bytes, bool]] = []
        """Topic, payload and whether it was retained, of everything else."""
        self._script = script
        self._mail: asyncio.Queue[Mail | None] = asyncio.Queue()

    async def subscribe(self, filters: Sequence[str]) -> None:
        self.filters = tuple(filters)

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> None:
        if topic not in {self.topics.command, self.topics.request("info")}:
            self.published.append((topic, payload, retain))
            return
        body, echoed = self._read(payload, correlation)
        self.asked.append(body)
        for answer in self._script(self, body):
            self._answer(response_topic or self.topics.response, answer, echoed)

    async def next_mail(self) -> Mail:
        mail = await self._mail.get()
        if mail is None:
            raise MqttError("the broker is gone")
        return mail

    def deliver(self, topic: str, payload: bytes) -> None:
        self._mail.put_nowait(Mail(topic=topic, payload=payload))

    def go(self) -> None:
        """End the session."""
        self._mail.put_nowait(None)

    def info(self, nonce: bytes, *, key: SigningKey | None = None) -> RelayAnswer:
        info = GatewayInfo(
            nonce=nonce,
            gateway_id=self.home.gateway_id,
            locks=(LockEpoch(self.home.lock_id, EPOCH, NOW_S),),
            state_seq=1,
            keyset_version=1,
            tier=Tier.FRESH,
            ttl_s_max=60,
        )
        return RelayAnswer(kind=AnswerKind.INFO, body=sign(info, key or self.home.gateway_signing_key))

    def receipt(
        self, bundle: bytes, code: Code, *, phase: Phase = Phase.DECIDED, key: SigningKey | None = None
    ) -> RelayAnswer:
        receipt = CommandReceipt(
            gateway_id=self.home.gateway_id,
            log_id=bytes(16),
            lock_id=self.home.lock_id,
            command_sha256=hashlib.sha256(parse_bundle(bundle)[0]).digest(),
            phase=phase,
            code=code,
            utc_lo_s=1,
        )
        return RelayAnswer(kind=AnswerKind.RECEIPT, body=sign(receipt, key or self.home.gateway_signing_key))

    def _read(self, payload: bytes, correlation: bytes | None) -> tuple[bytes, bytes | str | None]:
        if self.version is MqttVersion.V5:
            return payload, correlation
        members = json.loads(payload)
        echoed = members.pop("correlation")
        (text,) = members.values()
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), echoed

    def _answer(self, topic: str, answer: RelayAnswer, echoed: bytes | str | None) -> None:
        if isinstance(echoed, bytes):
            self._mail.put_nowait(Mail(topic=topic, payload=answer.to_bytes(), correlation=echoed))
            return
        value: str | bool = base64.urlsafe_b64encode(answer.body).rstrip(b"=").decode() if answer.body else True
        members = {answer.kind.name.lower(): value, "correlation": echoed}
        self._mail.put_nowait(Mail(topic=topic, payload=json.dumps(members).encode()))
