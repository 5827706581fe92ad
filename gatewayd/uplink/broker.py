"""MQTT through paho, driven from the running loop. The only importer of paho; none of its threads is ever started.

paho parses and builds packets. When to read, write and ping, when to give up and what an exception means is
decided by `pump` and here: measured, one exception in a callback kills paho's own thread while it goes on
saying that it is connected.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from gatewayd.uplink.dial import Dialler
from gatewayd.uplink.inbox import Inbox
from gatewayd.uplink.pump import Pump
from gatewayd.uplink.seam import (
    PAYLOAD_SIZE_MAX,
    PUBLISH_WINDOW_COUNT,
    BrokerCode,
    BrokerError,
    BrokerSession,
    BrokerSettings,
    Incoming,
    Outgoing,
    PublishOutcome,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from paho.mqtt.reasoncodes import ReasonCode

CONNECT_S_MAX: Final = 15.0
"""Longest time to a session, in seconds, from the name look-up to CONNACK, where the link is not a slow one."""
PATIENCE_MAX: Final = 8
"""After timeouts attempts wait 1, 2, 4, 8 times as long and then as at first: a radio link at its limit may need 90 s
for its handshakes, and one that has come back must not wait behind a long attempt."""
ANSWER_S_MAX: Final = 60.0
"""Longest wait for the answer to a ping, in seconds, however long CONNACK took."""
SUBSCRIBE_S_MAX: Final = 15.0
"""Longest wait for SUBACK, in seconds."""
ACK_S_MAX: Final = 60.0
"""Oldest publish without PUBACK, in seconds: a full window over 9,600 bit/s takes a quarter of it."""
PACKET_SIZE_MAX: Final = PAYLOAD_SIZE_MAX + 1_024
"""Longest packet that is read: a payload, its topic and properties."""
READ_SIZE: Final = 65_536
UNSENT_SIZE_MAX: Final = 65_536
"""Bytes that are gathered for one write; what is queued beyond waits in paho until they have gone."""

_QOS2_PUBLISH: Final = 0x34
_TYPE_AND_QOS: Final = 0xF6
_NO_MATCHING_SUBSCRIBERS: Final = 0x10
_SESSION_TAKEN_OVER: Final = 0x8E
_PROTOCOLS: Final = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}

log = structlog.get_logger(__name__)
T = TypeVar("T")


class PahoBroker:
    """A `seam.Broker` over TCP or TLS, MQTT 5 or 3.1.1."""

    def __init__(self, settings: BrokerSettings, *, dialler: Dialler | None = None) -> None:
        self._settings = settings
        self._dialler = dialler or Dialler(settings)
        self._patience = 1

    async def connect(self, will: Outgoing) -> BrokerSession:
        """See `Broker.connect`."""
        began_s = asyncio.get_running_loop().time()
        within_s = CONNECT_S_MAX * self._patience
        try:
            async with asyncio.timeout(within_s):
                dialled = await self._dialler.dial(patience=self._patience)
                session = PahoSession(_Client(self._settings, will, dialled), patience=self._patience)
                await session.begin(self._settings)
        except TimeoutError as error:
            self._wait_longer()
            raise BrokerError(BrokerCode.TIMEOUT, f"no session within {within_s:.0f} s") from error
        except BrokerError as error:
            if error.broker_code is BrokerCode.TIMEOUT:
                self._wait_longer()
            raise
        took_s = asyncio.get_running_loop().time() - began_s
        while self._patience > 1 and 2 * took_s <= CONNECT_S_MAX * self._patience // 2:
            self._patience //= 2
        return session

    def _wait_longer(self) -> None:
        self._patience = 1 if self._patience == PATIENCE_MAX else 2 * self._patience


class _Client(Client):
    """paho's client over a socket that is connected already, with the bounds that paho lacks.

    What begins with an underscore and is not written here is paho's own: there is no public way to hand it a socket, to
    see the length of a packet before its body is read, to refuse one, to write several at once, to ping, or to follow
    CONNACK. The tests of this module fail where a release of paho changes them.
    """

    def __init__(self, settings: BrokerSettings, will: Outgoing, dialled: socket.socket) -> None:
        self.is_v5: Final = settings.protocol == "5"
        self.dialled: Final = dialled
        self.fault: tuple[BrokerCode, str] | None = None
        self._unread = b""
        self._unsent = bytearray()
        self._keepalive_s_max = settings.keepalive_s
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            clean_session=None if self.is_v5 else True,
            protocol=_PROTOCOLS[settings.protocol],
            reconnect_on_failure=False,
        )
        self.will_set(will.topic, will.payload, will.qos, will.retain)
        if settings.username is not None:
            self.username_pw_set(settings.username, settings.password)

    @property
    def has_unread(self) -> bool:
        """See `PacketMachine.has_unread`."""
        return bool(self._unread)

    @property
    def has_unsent(self) -> bool:
        """See `PacketMachine.has_unsent`."""
        return bool(self._unsent) or self.want_write()

    def obey(self, receive_max: int) -> None:
        """Take over what CONNACK says: fewer publishes at once, a shorter keepalive.

        A longer keepalive, with which a dead line would go unnoticed, is not taken over.
        """
        self._max_inflight_messages = min(PUBLISH_WINDOW_COUNT, receive_max)
        if not 0 < self._keepalive <= self._keepalive_s_max:
            self._keepalive = self._keepalive_s_max

    def loop_misc(self) -> MQTTErrorCode:
        """Ping. Whether an answer comes is judged by the pump, which knows how slow the link is."""
        return self._send_pingreq()

    def loop_write(self) -> MQTTErrorCode:
        """Write what is queued in one go: a call, and over TLS a record, for each packet took a third of a drain."""
        self._send_gathered()
        code = super().loop_write()
        self._send_gathered()
        return code

    def _sock_send(self, buf: bytes | bytearray) -> int:
        if self._sock is None:
            raise ConnectionAbortedError
        if len(self._unsent) >= UNSENT_SIZE_MAX:
            raise BlockingIOError
        self._unsent += buf
        return len(buf)

    def _sock_close(self) -> None:
        self._send_gathered()  # paho closes right behind its DISCONNECT
        super()._sock_close()

    def _send_gathered(self) -> None:
        try:
            # What TLS has not taken it wants to see again, as much or more of it: nothing is cut off in between.
            while self._unsent and self._sock is not None:
                del self._unsent[: self._sock.send(self._unsent)]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self._unsent.clear()
            self.fault = self.fault or (BrokerCode.LOST, str(error))
            self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)

    def _create_socket(self) -> socket.socket:
        return self.dialled

    def _sock_recv(self, bufsize: int) -> bytes:
        # The first thing that paho asks for of a body is all of it, so this is before any of it is kept.
        if bufsize > PACKET_SIZE_MAX:
            self.fault = (BrokerCode.OVERSIZE, f"a packet of {bufsize} bytes")
            raise ConnectionAbortedError
        if not self._unread:
            self._unread = self._receive()
        taken, self._unread = self._unread[:bufsize], self._unread[bufsize:]
        return taken

    def _receive(self) -> bytes:
        # paho alone makes three system calls for each packet.
        try:
            return super()._sock_recv(READ_SIZE)
        except BlockingIOError:
            raise
        except OSError as error:
            self.fault = (BrokerCode.LOST, str(error))  # a TLS alert says here why we were thrown out
            raise

    def _packet_handle(self) -> MQTTErrorCode:
        # Nothing is subscribed at QoS 2, and paho keeps such messages until the broker cares to release them.
        if self._in_packet["command"] & _TYPE_AND_QOS == _QOS2_PUBLISH:
            self.fault = (BrokerCode.MALFORMED, "a message at QoS 2")
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        return super()._packet_handle()


class PahoSession:
    """A `seam.BrokerSession`. Everything in it runs on the loop; paho calls its callbacks from within the pump."""

    def __init__(self, client: _Client, *, patience: int = 1) -> None:
        """Begin; answers are waited for `patience` times as long as usual."""
        self._client = client
        self._patience = patience
        self._began_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._acks: dict[int, tuple[asyncio.Future[PublishOutcome], float]] = {}
        self._subacks: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self._packet_size_max: int | None = None
        self._ended: BrokerError | None = None
        self._pump = Pump(
            client, client.dialled, is_full=lambda: self._inbox.full, on_tick=self._check_acks, on_fault=self._end
        )
        self._inbox = Inbox(self._pump.resume)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_socket_register_write = lambda *_: self._pump.plan_flush()

    async def begin(self, settings: BrokerSettings) -> None:
        """Send CONNECT and return after a CONNACK that lets us in.

        Raises:
            BrokerError: `broker.refused`, or the connection ended.
        """
        where = (settings.host, settings.port, settings.keepalive_s)
        self._began_s = self._loop.time()
        try:
            # The socket is connected already, so that this cannot block: it queues CONNECT.
            if self._client.is_v5:
                self._client.connect(*where, clean_start=True, properties=_connect_properties())
            else:
                self._client.connect(*where)
            await self._connected
        except BaseException:
            self._end(BrokerCode.CLOSED, "gave up on connecting")
            raise

    async def subscribe(self, filters: Sequence[str]) -> None:
        """See `BrokerSession.subscribe`."""
        self._raise_if_ended()
        if self._client.is_v5:
            _, packet_id = self._client.subscribe([(name, SubscribeOptions(qos=1)) for name in filters])
        else:
            _, packet_id = self._client.subscribe([(name, 1) for name in filters])
        if packet_id is None:
            raise BrokerError(BrokerCode.LOST, "nothing to subscribe on")
        answered: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self._subacks[packet_id] = answered
        try:
            async with asyncio.timeout(SUBSCRIBE_S_MAX * self._patience):
                codes = await answered
        except TimeoutError as error:
            raise BrokerError(BrokerCode.TIMEOUT, "no answer to a subscription") from error
        finally:
            self._subacks.pop(packet_id, None)
        refused = [name for name, code in zip(filters, codes, strict=False) if code.is_failure]
        if refused or len(codes) != len(filters):
            raise BrokerError(BrokerCode.NOT_PERMITTED, f"not granted: {', '.join(refused) or 'an answer is missing'}")

    def publish(self, message: Outgoing) -> asyncio.Future[PublishOutcome]:
        """See `BrokerSession.publish`."""
        answered: asyncio.Future[PublishOutcome] = self._loop.create_future()
        if self._ended is not None:
            _fail(answered, self._ended)
        elif self._packet_size_max is not None and _packet_size(message) > self._packet_size_max:
            answered.set_result(PublishOutcome.REFUSED)
        else:
            # Judged by PUBACK, never by the returned code: paho says "no connection" and sends it all the same.
            info = self._client.publish(
                message.topic, message.payload, message.qos, message.retain, self._properties_of(message)
            )
            if info.mid in self._acks:  # all 65,535 ids later one is still unanswered
                self._end(BrokerCode.STALLED, "a publish was never answered")
                return self.publish(message)
            self._acks[info.mid] = (answered, self._loop.time())
        return answered

    async def next_message(self) -> Incoming:
        """See `BrokerSession.next_message`."""
        return await self._inbox.get()

    async def close(self) -> None:
        """See `BrokerSession.close`."""
        if self._ended is None:
            self._client.fault = (BrokerCode.CLOSED, "closed here")
            self._pump.guarded(self._client.disconnect)
            self._pump.guarded(self._client.loop_write)
            self._end(BrokerCode.CLOSED, "closed here")

    # What paho calls. Never close the socket in these: paho still uses it when a callback returns.

    def _on_connect(
        self, _client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._end(BrokerCode.REFUSED, reason.getName())
            return
        if getattr(properties, "MaximumQoS", 1) == 0 or getattr(properties, "RetainAvailable", 1) == 0:
            self._end(BrokerCode.REFUSED, "the broker has no QoS 1 or keeps no retained messages")
            return
        # A session that the broker says it resumed changes nothing: everything is subscribed again.
        self._packet_size_max = getattr(properties, "MaximumPacketSize", None)
        self._client.obey(getattr(properties, "ReceiveMaximum", PUBLISH_WINDOW_COUNT))
        if not self._connected.done():
            # A link that took so long for the first answer will take so long for the next.
            round_trip_s = self._loop.time() - self._began_s
            self._pump.begin_pings(answer_s_min=min(2 * round_trip_s, ANSWER_S_MAX))
            self._connected.set_result(None)

    def _on_disconnect(
        self, _client: Client, _data: object, flags: DisconnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            # A redirect (0x9C, 0x9D) is never followed: the broker is not trusted to say where we go.
            code = BrokerCode.TAKEN_OVER if reason.value == _SESSION_TAKEN_OVER else BrokerCode.LOST
            self._end(code, reason.getName())
            return
        code, detail = self._client.fault or (BrokerCode.LOST, "the connection ended")
        if code is BrokerCode.LOST and not self._connected.done():
            # A broker that does not like our certificate says so in a TLS alert, which may be lost with the line.
            code, detail = BrokerCode.REFUSED, f"no answer to CONNECT ({detail}); over TLS, look at our certificate"
        self._end(code, detail)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            log.warning("broker.message_dropped", reason="its topic is not UTF-8")
            return
        if getattr(message.properties, "TopicAlias", None) is not None:
            # We never allowed one (topic alias maximum 0), and what it stands for we do not know.
            self._end(BrokerCode.MALFORMED, "a topic alias")
            return
        if len(message.payload) > PAYLOAD_SIZE_MAX:
            log.warning("broker.message_dropped", reason="its payload is too long", size=len(message.payload))
            return
        self._inbox.put(
            Incoming(
                topic=topic,
                payload=bytes(message.payload),
                retained=message.retain,
                response_topic=getattr(message.properties, "ResponseTopic", None),
                correlation=getattr(message.properties, "CorrelationData", None),
            )
        )

    def _on_publish(
        self, _client: Client, _data: object, packet_id: int, reason: ReasonCode, _properties: object
    ) -> None:
        answered, _ = self._acks.pop(packet_id, (None, 0.0))
        if answered is None or answered.done():
            return
        if reason.is_failure:
            log.warning("broker.publish_refused", reason=reason.getName())
            answered.set_result(PublishOutcome.REFUSED)
        elif reason.value == _NO_MATCHING_SUBSCRIBERS:
            answered.set_result(PublishOutcome.NO_SUBSCRIBERS)
        else:
            answered.set_result(PublishOutcome.DELIVERED)

    def _on_subscribe(
        self, _client: Client, _data: object, packet_id: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        answered = self._subacks.get(packet_id)
        if answered is not None and not answered.done():
            answered.set_result(codes)

    # The end.

    def _check_acks(self) -> None:
        oldest_s = next((sent_s for _, sent_s in self._acks.values()), None)
        if oldest_s is not None and self._loop.time() - oldest_s > ACK_S_MAX:
            self._end(BrokerCode.STALLED, f"no answer to a publish for {ACK_S_MAX:.0f} s")

    def _end(self, code: BrokerCode, detail: str) -> None:
        if self._ended is not None:
            return
        self._ended = BrokerError(code, detail)
        self._pump.stop()
        self._inbox.end(code, detail)
        _fail(self._connected, self._ended)
        for acked, _ in self._acks.values():
            _fail(acked, self._ended)
        for granted in self._subacks.values():
            _fail(granted, self._ended)
        self._acks.clear()

    def _raise_if_ended(self) -> None:
        if self._ended is not None:
            raise BrokerError(self._ended.broker_code, self._ended.detail)

    def _properties_of(self, message: Outgoing) -> Properties | None:
        if not self._client.is_v5 or (message.correlation is None and message.expiry_s is None):
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho annotates it halfway
        if message.correlation is not None:
            properties.CorrelationData = message.correlation
        if message.expiry_s is not None:
            properties.MessageExpiryInterval = message.expiry_s
        return properties


def _connect_properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho annotates it halfway
    properties.SessionExpiryInterval = 0  # the broker must not keep yesterday's unlock for us
    properties.MaximumPacketSize = PACKET_SIZE_MAX
    properties.ReceiveMaximum = PUBLISH_WINDOW_COUNT
    return properties


def _packet_size(message: Outgoing) -> int:
    """Return an upper bound of the packet's size, in bytes."""
    return len(message.topic.encode()) + len(message.payload) + len(message.correlation or b"") + 32


def _fail(waiting: asyncio.Future[T], error: BrokerError) -> None:
    if not waiting.done():
        waiting.set_exception(BrokerError(error.broker_code, error.detail))
        waiting.exception()  # nobody need be waiting: without this the loop complains of an exception unseen
