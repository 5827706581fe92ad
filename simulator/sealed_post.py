"""Seals what a party sends to a gateway, so that the broker sees neither who nor what (docs/protocol.md §21)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.noise import DH_SIZE, KeyPair
from firmware_protocol.sealed import SealedBody, is_sealed, seal, unseal
from firmware_protocol.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_protocol.orders import Door
    from simulator.mqtt_client import Mail, MqttVersion, Postman
    from simulator.seams import Entropy


class SealedPost:
    """A `Postman` around another: payloads for the gateway go out sealed, its sealed answers come back open."""

    def __init__(self, client: Postman, *, door: Door, entropy: Entropy) -> None:
        """Begin; `door` has been verified: its `gateway_link_key` is whom everything is sealed to."""
        self._client = client
        self._to = door.gateway_link_key
        self._entropy = entropy
        self._answers = self._drawn()
        topics = Topics.of(door.gateway_id)
        self._open = frozenset({topics.request("info")})
        self._sealed = tuple(topic.removesuffix("+") for topic in topics.subscriptions if topic != topics.log_receipt)

    @property
    def version(self) -> MqttVersion:
        """See `Postman.version`."""
        return self._client.version

    async def subscribe(self, filters: Sequence[str]) -> None:
        """See `Postman.subscribe`."""
        await self._client.subscribe(filters)

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> None:
        """See `Postman.publish`."""
        await self._client.publish(
            topic, self._closed(topic, payload), retain=retain, response_topic=response_topic, correlation=correlation
        )

    async def next_mail(self) -> Mail:
        """See `Postman.next_mail`; what is sealed to somebody else stays as it is."""
        mail = await self._client.next_mail()
        if is_sealed(mail.payload):
            with suppress(RemoteProtocolError):
                return replace(mail, payload=unseal(mail.payload, self._answers).payload)
        return mail

    def _closed(self, topic: str, payload: bytes) -> bytes:
        if topic in self._open or not topic.startswith(self._sealed):
            return payload
        body = SealedBody(payload=payload, answer_key=self._answers.public)
        return seal(body, to=self._to, ephemeral=self._drawn())

    def _drawn(self) -> KeyPair:
        return KeyPair.from_private(self._entropy.token(DH_SIZE))
