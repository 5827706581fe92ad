"""What people send and get over MQTT: bytes of a request ⇄ values. Pure.

A request comes in one of two encodings and is answered in the same one:

- the bare bytes (a bundle, a nonce), with MQTT 5's response topic and correlation data; answered by the same
  `RelayAnswer` as a phone at the door gets;
- JSON for MQTT 3.1.1 and for tools: `{"bundle": "<base64url>", "correlation": "<at most 64 characters>"}`;
  answered as `{"correlation": …, "receipt": "<base64url>"}`, or `info`, `denied`, `rejected` in its place.

Either may have come sealed, and its answer goes sealed then: `seals`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, replace
from enum import Enum, unique
from typing import TYPE_CHECKING, Final

from firmware_protocol.constants import BUNDLE_SIZE_MAX
from firmware_protocol.relay import AnswerKind, RelayAnswer
from firmware_protocol.vocabulary import NONCE_SIZE
from gatewayd.uplink.seam import Outgoing

if TYPE_CHECKING:
    from firmware_protocol.topics import Topics
    from gatewayd.uplink.seam import Incoming

CORRELATION_SIZE_MAX: Final = 64
"""Longest correlation that is echoed, in bytes or characters; a longer one is left out of the answer."""
JSON_SIZE_MAX: Final = 4_096
"""Longest JSON request, in bytes: the longest bundle in base64 and room for the rest."""
ANSWER_EXPIRY_S: Final = 120
"""The broker may forget an answer after so long: a sender that is still interested has asked again by then."""

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}", re.ASCII)
_JSON_KEYS: Final = {
    AnswerKind.RECEIPT: "receipt",
    AnswerKind.INFO: "info",
    AnswerKind.DENIED: "denied",
    AnswerKind.REPORT: "report",
}


@unique
class Encoding(Enum):
    """How a request was written, and so its answer."""

    BARE = "bare"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyTo:
    """Where and how to answer one request."""

    topic: str
    """Always one of this gateway's own, below `response`."""
    encoding: Encoding = Encoding.BARE
    correlation: bytes | None = None
    """MQTT 5: at most 64 bytes."""
    json_correlation: str | None = None
    """At most 64 characters."""
    answer_key: bytes = b""
    """X25519 key that the answer is sealed to; empty: it goes in the clear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A readable request; what is in its body proves nothing yet."""

    body: bytes
    reply_to: ReplyTo


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Not a request."""

    reason: str
    """For the log; holds nothing that was sent."""


def read_command(incoming: Incoming, topics: Topics) -> Request | Unreadable:
    """Read a message on the command topic: a bundle of 1 to 1 900 bytes."""
    return _read(incoming, topics, key="bundle", size_max=BUNDLE_SIZE_MAX, default_topic=topics.response)


def read_info_request(incoming: Incoming, topics: Topics) -> Request | Unreadable:
    """Read a message on `request/info`: a nonce of 16 bytes."""
    where = topics.response_to("info")
    if len(incoming.payload) == NONCE_SIZE:  # a nonce in JSON is longer; a bare one may begin with any byte, `{` too
        return Request(body=incoming.payload, reply_to=reply_to(incoming, topics, where))
    request = _read(incoming, topics, key="nonce", size_max=NONCE_SIZE, default_topic=where)
    if isinstance(request, Request) and len(request.body) != NONCE_SIZE:
        return Unreadable(reason="its nonce is not 16 bytes")
    return request


def read_request(incoming: Incoming, topics: Topics, verb: str) -> Request | Unreadable:
    """Read a message on `request/<verb>`: a signed Request and its arguments, 1 to 1 900 bytes."""
    return _read(incoming, topics, key="bundle", size_max=BUNDLE_SIZE_MAX, default_topic=topics.response_to(verb))


def answer(reply_to: ReplyTo, kind: AnswerKind, body: bytes = b"") -> Outgoing:
    """Return the answer to a request: a signed object, or the denial that has no body."""
    if reply_to.encoding is Encoding.BARE:
        return _outgoing(reply_to, RelayAnswer(kind=kind, body=body).to_bytes())
    return _json_answer(reply_to, _JSON_KEYS[kind], _to_base64url(body) if body else True)


def rejection(reply_to: ReplyTo) -> Outgoing:
    """Return the answer to a retained command. It names no more than what the broker knows anyway."""
    if reply_to.encoding is Encoding.BARE:
        return answer(reply_to, AnswerKind.DENIED)
    return _json_answer(reply_to, "rejected", "retained")


def reply_to(incoming: Incoming, topics: Topics, default_topic: str) -> ReplyTo:
    """Return where and how a bare request is answered, whatever is in it."""
    topic, correlation = default_topic, incoming.correlation
    if incoming.response_topic is not None and topics.accepts_response_topic(incoming.response_topic):
        topic = incoming.response_topic
    if correlation is not None and len(correlation) > CORRELATION_SIZE_MAX:
        correlation = None
    return ReplyTo(topic=topic, correlation=correlation)


def _read(incoming: Incoming, topics: Topics, *, key: str, size_max: int, default_topic: str) -> Request | Unreadable:
    bare = reply_to(incoming, topics, default_topic)
    if incoming.payload[:1] == b"{":  # as CBOR, the head of a text longer than any message
        return _read_json(incoming.payload, bare, key, size_max)
    if not 0 < len(incoming.payload) <= size_max:
        return Unreadable(reason=f"its size of {len(incoming.payload)} bytes")
    return Request(body=incoming.payload, reply_to=bare)


def _read_json(payload: bytes, bare: ReplyTo, key: str, size_max: int) -> Request | Unreadable:
    if len(payload) > JSON_SIZE_MAX:
        return Unreadable(reason=f"its size of {len(payload)} bytes")
    try:
        members = json.loads(payload, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):  # thousands of brackets are enough for the latter
        return Unreadable(reason="its JSON")
    body, correlation = members.get(key), members.get("correlation", "")
    if not members.keys() <= {key, "correlation"} or not isinstance(body, str) or not isinstance(correlation, str):
        return Unreadable(reason="its JSON members")
    decoded = _from_base64url(body)
    if decoded is None or not 0 < len(decoded) <= size_max:
        return Unreadable(reason=f"its {key}")
    if len(correlation) > CORRELATION_SIZE_MAX:
        correlation = ""
    return Request(
        body=decoded,
        reply_to=replace(bare, encoding=Encoding.JSON, json_correlation=correlation or None),
    )


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key twice: two readers could see two requests")
    return members


def _json_answer(reply_to: ReplyTo, key: str, value: str | bool) -> Outgoing:  # noqa: FBT001 - a JSON value
    members: dict[str, object] = {key: value}
    if reply_to.json_correlation is not None:
        members["correlation"] = reply_to.json_correlation
    return _outgoing(reply_to, json.dumps(members, separators=(",", ":"), sort_keys=True).encode())


def _outgoing(reply_to: ReplyTo, payload: bytes) -> Outgoing:
    return Outgoing(topic=reply_to.topic, payload=payload, correlation=reply_to.correlation, expiry_s=ANSWER_EXPIRY_S)


def _to_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64url(text: str) -> bytes | None:
    if not _BASE64URL.fullmatch(text):
        return None
    unpadded = text.rstrip("=")
    try:
        return base64.urlsafe_b64decode(unpadded + "=" * (-len(unpadded) % 4))
    except binascii.Error:
        return None
