"""One MQTT session of a party that is not the gateway: paho on its own thread behind a few coroutines.

A session is connected once and used until it is lost; whoever wants another makes another. MQTT 5 and 3.1.1
look alike from here, but for the response topic and the correlation, which 3.1.1 does not have.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from paho.mqtt.client import Client, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from types import TracebackType

HOST: Final = "127.0.0.1"
KEEPALIVE_S: Final = 15
ANSWER_S_MAX: Final = 5.0
"""Longest wait for any acknowledgement of the broker's."""
SESSION_S: Final = 7 * 86_400
"""How long a broker keeps a session for whoever wants one, in seconds."""
MAIL_COUNT_MAX: Final = 8_192
"""Messages that may wait to be read; beyond it the oldest are lost, as a broker may lose them."""


class MqttError(Exception):
    """The broker is not there, will not have us, or has gone."""


@unique
class MqttVersion(StrEnum):
    """Which MQTT is spoken, in the words of the gateway's configuration."""

    V5 = "5"
    V311 = "3.1.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One received message."""

    topic: str
    payload: bytes
    retained: bool = False
    correlation: bytes | None = None


class Postman(Protocol):
    """One MQTT session, as its users see it."""

    @property
    def version(self) -> MqttVersion:
        """Which MQTT is spoken."""

    async def subscribe(self, filters: Sequence[str]) -> None:
        """Subscribe at QoS 1; returns when the broker has agreed.

        Raises:
            MqttError: it has not, or is gone.
        """

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> None:
        """Publish at QoS 1; returns when the broker has it. On 3.1.1 response topic and correlation are left out.

        Raises:
            MqttError: the broker is gone.
        """

    async def next_mail(self) -> Mail:
        """Return the next message; waits for ever.

        Raises:
            MqttError: the session was lost and everything before is read.
        """


class MqttClient:
    """A `Postman`: `async with MqttClient(port=…, client_id=…, version=…) as client`; entering connects."""

    def __init__(
        self,
        *,
        port: int,
        client_id: str,
        version: MqttVersion,
        tls: ssl.SSLContext | None = None,
        keeps_session: bool = False,
    ) -> None:
        """Do nothing yet; `keeps_session` asks an MQTT 5 broker to queue what comes while we are away."""
        self._keeps_session = keeps_session
        self._version = version
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._acknowledged: dict[tuple[str, int], asyncio.Future[None]] = {}
        self._mail: deque[Mail] = deque(maxlen=MAIL_COUNT_MAX)
        self._news = asyncio.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTv5 if version is MqttVersion.V5 else MQTTv311,
            reconnect_on_failure=False,
        )
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            MqttError: the broker is not there or will not have us.
        """
        try:
            await asyncio.to_thread(self._connect)
        except OSError as error:
            raise MqttError("the broker does not answer") from error
        self._client.loop_start()
        try:
            await self._bounded(self._connected)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Say goodbye."""
        await self.close()

    @property
    def version(self) -> MqttVersion:
        """See `Postman`."""
        return self._version

    async def close(self) -> None:
        """Say goodbye; does nothing the second time."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def subscribe(self, filters: Sequence[str]) -> None:
        """See `Postman`."""
        result, mid = self._client.subscribe([(each, 1) for each in filters])
        await self._acknowledgement("subscribe", result, mid)

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> None:
        """See `Postman`."""
        properties = self._properties(response_topic, correlation)
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        await self._acknowledgement("publish", info.rc, info.mid)

    async def next_mail(self) -> Mail:
        """See `Postman`."""
        while True:
            if self._mail:
                return self._mail.popleft()
            if self._lost.done():
                raise MqttError("the broker is gone")
            self._news.clear()
            await self._news.wait()

    def _connect(self) -> None:
        if not self._keeps_session:
            self._client.connect(HOST, self._port, KEEPALIVE_S)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho gives it no annotations
        properties.SessionExpiryInterval = SESSION_S
        self._client.connect(HOST, self._port, KEEPALIVE_S, clean_start=False, properties=properties)

    def _properties(self, response_topic: str | None, correlation: bytes | None) -> Properties | None:
        if self._version is not MqttVersion.V5 or (response_topic is None and correlation is None):
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho gives it no annotations
        if response_topic is not None:
            properties.ResponseTopic = response_topic
        if correlation is not None:
            properties.CorrelationData = correlation
        return properties

    async def _acknowledgement(self, kind: str, result: int, mid: int | None) -> None:
        if result != 0 or mid is None or self._lost.done():
            raise MqttError(f"the broker is gone, nothing to {kind} to")
        acknowledged: asyncio.Future[None] = self._loop.create_future()
        # paho's thread reports through the loop, so it cannot have been faster than this line.
        self._acknowledged[kind, mid] = acknowledged
        try:
            await self._bounded(acknowledged)
        finally:
            self._acknowledged.pop((kind, mid), None)

    async def _bounded(self, awaited: asyncio.Future[None]) -> None:
        done, _ = await asyncio.wait({awaited, self._lost}, timeout=ANSWER_S_MAX, return_when=asyncio.FIRST_COMPLETED)
        if awaited not in done:
            raise MqttError("the broker is gone" if done else "the broker does not answer")
        awaited.result()

    # On paho's thread.

    def _on_connect(self, _c: Client, _u: object, _f: object, reason: Any, _p: object) -> None:  # noqa: ANN401 - paho's
        error = MqttError(f"the broker refuses: {reason}") if reason.is_failure else None
        self._in_loop(lambda: _settle(self._connected, error))

    def _on_disconnect(self, *_: object) -> None:
        self._in_loop(self._lose)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        properties = message.properties
        mail = Mail(
            topic=message.topic,
            payload=bytes(message.payload),
            retained=bool(message.retain),
            correlation=getattr(properties, "CorrelationData", None),
        )
        self._in_loop(lambda: self._put(mail))

    def _on_publish(self, _c: Client, _u: object, mid: int, reason: Any, _p: object) -> None:  # noqa: ANN401 - paho's
        self._in_loop(lambda: self._acknowledge("publish", mid, failed=reason.is_failure))

    def _on_subscribe(self, _c: Client, _u: object, mid: int, reasons: list[Any], _p: object) -> None:
        failed = any(reason.is_failure for reason in reasons)
        self._in_loop(lambda: self._acknowledge("subscribe", mid, failed=failed))

    def _in_loop(self, work: Any) -> None:  # noqa: ANN401 - a callable without arguments
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is left to hear of it
            self._loop.call_soon_threadsafe(work)

    # Back on the loop.

    def _lose(self) -> None:
        _settle(self._lost)
        self._news.set()

    def _put(self, mail: Mail) -> None:
        self._mail.append(mail)
        self._news.set()

    def _acknowledge(self, kind: str, mid: int, *, failed: bool) -> None:
        waiting = self._acknowledged.get((kind, mid))
        if waiting is not None:
            _settle(waiting, MqttError(f"the broker refuses to {kind}") if failed else None)


def _settle(future: asyncio.Future[None], error: MqttError | None = None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
