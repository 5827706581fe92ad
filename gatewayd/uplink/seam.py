"""The seam between the uplink and whatever broker there is: what a session can do, and how it fails.

The broker is a postman (law 8): it may lose, delay, repeat and reorder what it carries. Nothing that it
says counts as evidence; its acknowledgement only means that it took a message.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum, unique
from typing import TYPE_CHECKING, Final, Literal, Protocol

from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from pathlib import Path

PAYLOAD_SIZE_MAX: Final = 65_536
"""Longest payload that is taken in, in bytes: sixteen times the longest signed object."""
PUBLISH_WINDOW_COUNT: Final = 20
"""Most publishes without an acknowledgement: what mosquitto takes at once unless told otherwise."""
INCOMING_COUNT_MAX: Final = 256
"""Received messages that may wait; beyond it the session stops reading and the broker has to hold the rest."""


@unique
class BrokerCode(StrEnum):
    """What went wrong with the broker, in the words of logs and status."""

    UNRESOLVED = "broker.unresolved"
    """Its name has no address, and none is remembered."""
    UNREACHABLE = "broker.unreachable"
    """No address of it takes a connection."""
    TLS = "broker.tls"
    """No trusted encrypted connection: its certificate, ours, or the files that hold them."""
    TIMEOUT = "broker.timeout"
    """It did not answer in time; the next attempt waits longer, for links that are slow."""
    REFUSED = "broker.refused"
    """It will not have us, or lacks what we need."""
    NOT_PERMITTED = "broker.not_permitted"
    """It refused a subscription."""
    LOST = "broker.lost"
    """The connection ended."""
    SILENT = "broker.silent"
    """The connection is half open: nothing came back within the keepalive."""
    STALLED = "broker.stalled"
    """It answers pings but not publishes."""
    TAKEN_OVER = "broker.taken_over"
    """Somebody else connected with our client id: a copy of this gateway, or a mistake."""
    UNSTEADY = "broker.unsteady"
    """Sessions keep ending soon after they began: perhaps taken over, which MQTT 3.1.1 and older brokers don't say."""
    OVERSIZE = "broker.oversize"
    """It sent a packet that is longer than anything we take."""
    MALFORMED = "broker.malformed"
    """It sent what MQTT does not allow."""
    CLOSED = "broker.closed"
    """We closed the session ourselves."""
    FAULT = "broker.fault"
    """An unforeseen exception in the handling of the connection: a bug, ended with the session."""


class BrokerError(GatewayError):
    """The network, the broker or its answers failed; the remedy is another session, later."""

    def __init__(self, code: BrokerCode, detail: str = "") -> None:
        super().__init__(code, detail)
        self.broker_code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """How the connection is encrypted. The broker's name is always checked; nothing turns that off."""

    ca_file: Path | None = None
    """PEM file of the authorities that may vouch for the broker, several for a rotation; None = the system's."""
    cert_file: Path | None = None
    """PEM file of our certificate and what leads to it; None = we show none."""
    key_file: Path | None = None
    """PEM file of its private key; None = it stands in `cert_file`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """Where the broker is and who we are to it."""

    host: str
    """Name or address; the name that its certificate must have."""
    port: int = 8883
    protocol: Literal["5", "3.1.1"] = "5"
    client_id: str
    """Unique at the broker; two sessions with one id throw each other out."""
    tls: TlsSettings | None = None
    """None = in the clear, for a broker on this machine."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    keepalive_s: int = 10
    """Seconds between proofs of life, 5 to 15. A dead connection shows after one and a half of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One received message. Anybody whom the broker lets may have sent it."""

    topic: str
    payload: bytes
    """At most `PAYLOAD_SIZE_MAX` bytes."""
    retained: bool
    """The broker had stored it: it may be of any age."""
    response_topic: str | None = None
    """MQTT 5: where the sender wants the answer. Not to be believed without `Topics.accepts_response_topic`."""
    correlation: bytes | None = None
    """MQTT 5: what the sender wants to find in the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message to publish, or the will."""

    topic: str
    payload: bytes
    qos: Literal[0, 1] = 1
    retain: bool = False
    correlation: bytes | None = None
    """Sent where the protocol is MQTT 5."""
    expiry_s: int | None = None
    """MQTT 5: the broker may forget it after so many seconds. A courtesy; nothing relies on it."""


@unique
class PublishOutcome(Enum):
    """What the broker said to one publish."""

    DELIVERED = "delivered"
    """It took the message. Whether anybody gets it, it does not say."""
    NO_SUBSCRIBERS = "no_subscribers"
    """It took the message and nobody was there for it: MQTT 5 reason 0x10."""
    REFUSED = "refused"
    """It did not take it: no right to the topic, over a quota, too large. MQTT 3.1.1 cannot say so."""


class BrokerSession(Protocol):
    """One connection to the broker, from CONNACK until it ends; it never comes back to life."""

    async def subscribe(self, filters: Sequence[str]) -> None:
        """Subscribe to all of `filters` at QoS 1; returns when the broker has granted every one.

        Raises:
            BrokerError: `broker.not_permitted` names what was refused; else the session has ended.
        """

    def publish(self, message: Outgoing) -> asyncio.Future[PublishOutcome]:
        """Send `message` in its turn and return a future that is done once the broker has answered.

        The order of calls is the order on the wire. The caller bounds how many it has unanswered. It raises
        BrokerError once the session has ended: the message may or may not have arrived.
        """

    async def next_message(self) -> Incoming:
        """Return the next received message, in order. One reader; waits for ever; safe to cancel.

        Raises:
            BrokerError: the session has ended and what came before is read.
        """

    async def close(self) -> None:
        """Disconnect properly, so that the will is not published. Does nothing the second time; never raises."""


class Broker(Protocol):
    """How to get a session."""

    async def connect(self, will: Outgoing) -> BrokerSession:
        """Return a fresh session: nothing of an earlier one is resumed, the broker keeps nothing of it after.

        Raises:
            BrokerError: none was had, within seconds.
        """
