"""How a party far away asks a gateway over MQTT, and what it is answered: bytes ⇄ values (docs/protocol.md §14).

On MQTT 5 a request is bare bytes with response topic and correlation data, and an answer is a `RelayAnswer`; on
3.1.1 both are JSON with the correlation in it.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.relay import AnswerKind, RelayAnswer
from simulator.mqtt_client import MqttVersion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.mqtt_client import Mail

_KINDS: Final[Mapping[str, AnswerKind]] = {
    "receipt": AnswerKind.RECEIPT,
    "info": AnswerKind.INFO,
    "denied": AnswerKind.DENIED,
    "rejected": AnswerKind.DENIED,
    "report": AnswerKind.REPORT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer; what is in its body proves nothing until its signature is checked."""

    correlation: bytes | None
    kind: AnswerKind
    body: bytes


def request_payload(version: MqttVersion, *, key: str, body: bytes, correlation: bytes) -> bytes:
    """Return the payload that asks: `key` is `bundle` or `nonce`."""
    if version is MqttVersion.V5:
        return body
    return json.dumps({key: _to_base64url(body), "correlation": correlation.hex()}).encode()


def read_answer(version: MqttVersion, mail: Mail) -> Answer:
    """Read an answer.

    Raises:
        RemoteProtocolError: it is none.
    """
    if version is MqttVersion.V5:
        answer = RelayAnswer.from_bytes(mail.payload)
        return Answer(correlation=mail.correlation, kind=answer.kind, body=answer.body)
    return _read_json(mail.payload)


def _read_json(payload: bytes) -> Answer:
    try:
        members = json.loads(payload)
        correlation = bytes.fromhex(members.pop("correlation"))
        ((key, value),) = members.items()
        body = _from_base64url(value) if isinstance(value, str) and key in {"receipt", "info", "report"} else b""
        return Answer(correlation=correlation, kind=_KINDS[key], body=body)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise RemoteProtocolError(Code.MALFORMED, "not an answer") from error


def _to_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
