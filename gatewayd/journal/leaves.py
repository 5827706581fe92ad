"""An event ⇄ the bytes of a journal entry: CloudEvents 1.0 in structured JSON, one text a value.

The bytes are what is hashed, published and checked for ever, so their form never depends on a library's
defaults: compact, keys sorted, UTF-8, no escapes but JSON's own.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from gatewayd.errors import GatewayError
from gatewayd.journal.events import EVENT_TYPES

if TYPE_CHECKING:
    from gatewayd.journal.events import Event, TimeStamp

LEAF_SIZE_MAX: Final = 8_192
"""Longest entry, in bytes: the bounds of the events' fields keep every one below it."""
SALT_SIZE: Final = 16
"""Bytes of salt: enough that an erased entry cannot be guessed back from its hash."""

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS_MAX: Final = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_ID: Final = re.compile(r"(?P<log>[0-9a-f]{32})/(?P<index>0|[1-9][0-9]{0,18})", re.ASCII)
_SOURCE: Final = re.compile(r"/gateways/(?P<gateway>[0-9a-f]{16})(?:/locks/(?P<lock>[0-9a-f]{16}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """An entry, read back."""

    gateway_id: bytes
    log_id: bytes
    index: int
    type: str
    lock_id: bytes | None
    time_lo: str
    """RFC 3339, UTC."""
    time_hi: str | None
    data: dict[str, Any]
    """By type: the fields of its class in `events`."""


class LeafError(GatewayError):
    """Bytes that no `to_leaf` has made."""

    def __init__(self, detail: str) -> None:
        super().__init__("journal.leaf_malformed", detail)


def to_leaf(event: Event, *, gateway_id: bytes, log_id: bytes, index: int, salt: bytes, time: TimeStamp) -> bytes:
    """Return the bytes of the entry `index`. `salt`: 16 random bytes, so that personal data can be erased later."""
    time_lo = _rfc3339(time.lo_ms)
    envelope: dict[str, Any] = {
        "data": event.model_dump(mode="json"),
        "datacontenttype": "application/json",
        "id": f"{log_id.hex()}/{index}",
        "salt": base64.b64encode(salt).decode(),
        "source": _source(gateway_id, event.lock_id),
        "specversion": "1.0",
        "time": time_lo,
        "timelo": time_lo,
        "type": event.TYPE,
    }
    if time.hi_ms is not None:
        envelope["timehi"] = _rfc3339(time.hi_ms)
    if event.priority:
        envelope["priority"] = True
    return _to_bytes(envelope)


def _to_bytes(envelope: dict[str, Any]) -> bytes:
    return _ENCODER.encode(envelope).encode()


def carry_leaf(data: bytes, *, log_id: bytes, index: int) -> bytes:
    """Return an entry of a former log as one of this log: the same words, time and salt, with where it came from.

    Raises:
        LeafError: it is no entry.
    """
    read_leaf(data)
    envelope = _parse(data)
    envelope["carriedfrom"] = envelope.get("carriedfrom", envelope["id"])
    envelope["id"] = f"{log_id.hex()}/{index}"
    return _to_bytes(envelope)


def read_leaf(data: bytes) -> Leaf:
    """Read an entry back, strictly: its type is known and its fields are that type's.

    Raises:
        LeafError: it is no entry, and why.
    """
    envelope = _parse(data)
    named, source = _match(_ID, envelope, "id"), _match(_SOURCE, envelope, "source")
    kind = EVENT_TYPES.get(_text(envelope, "type"))
    if kind is None:
        raise LeafError("an event type that does not exist")
    return Leaf(
        gateway_id=bytes.fromhex(source["gateway"]),
        log_id=bytes.fromhex(named["log"]),
        index=int(named["index"]),
        type=kind.TYPE,
        lock_id=None if source["lock"] is None else bytes.fromhex(source["lock"]),
        time_lo=_text(envelope, "timelo"),
        time_hi=_text(envelope, "timehi") if "timehi" in envelope else None,
        data=_data(kind, envelope),
    )


def _parse(data: bytes) -> dict[str, Any]:
    if len(data) > LEAF_SIZE_MAX:
        raise LeafError(f"{len(data)} bytes, {LEAF_SIZE_MAX} allowed")
    try:
        envelope = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LeafError("not JSON") from error
    if not isinstance(envelope, dict) or envelope.get("specversion") != "1.0":
        raise LeafError("not a CloudEvent 1.0")
    return envelope


def _data(kind: type[Event], envelope: dict[str, Any]) -> dict[str, Any]:
    try:
        return kind.model_validate(envelope.get("data")).model_dump(mode="json")
    except ValueError as error:
        raise LeafError(f"data that is not a {kind.TYPE}") from error


def _match(pattern: re.Pattern[str], envelope: dict[str, Any], name: str) -> re.Match[str]:
    matched = pattern.fullmatch(_text(envelope, name))
    if matched is None:
        raise LeafError(f"{name} of another form")
    return matched


def _text(envelope: dict[str, Any], name: str) -> str:
    value = envelope.get(name)
    if not isinstance(value, str):
        raise LeafError(f"no {name}")
    return value


def _source(gateway_id: bytes, lock_id: bytes | None) -> str:
    gateway = f"/gateways/{gateway_id.hex()}"
    return gateway if lock_id is None else f"{gateway}/locks/{lock_id.hex()}"


def _rfc3339(ms: int) -> str:
    # Four-digit years are all that RFC 3339 has: a wrong clock far away must not keep an event out of the log.
    moment = _EPOCH + timedelta(milliseconds=min(max(ms, 0), _MS_MAX))
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
