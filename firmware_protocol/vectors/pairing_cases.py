"""The cases of pairing, made by two real ends and hands on the wire between them (docs/protocol.md §18)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from firmware_protocol.constants import PAIRING_MS_MAX
from firmware_protocol.errands import Courier, CourierAck, OwnerCommit, OwnerOrder, OwnerResult
from firmware_protocol.messages import StateGet, encode_record
from firmware_protocol.vectors.example_records import RECORDS
from firmware_protocol.vectors.examples import (
    GATEWAY_EPHEMERAL,
    GATEWAY_LINK,
    LABEL,
    LOCK_EPHEMERAL,
    LOCK_LINK,
    STRANGER_LINK,
)
from firmware_protocol.vectors.session_side import START_MS, Side, carry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_protocol.messages import Message
    from firmware_protocol.pairing import LockLabel
    from firmware_protocol.vectors.case import Case

_VALUE_SIZE: Final = 244
_SAID: Final[tuple[tuple[str, type[Message]], ...]] = (
    ("gateway", OwnerOrder),
    ("lock", OwnerResult),
    ("gateway", Courier),
    ("lock", CourierAck),
    ("gateway", OwnerCommit),
    ("lock", OwnerResult),
)
"""What is said in a pairing, and by whom; what it holds is `records`' business."""


def pairings() -> Iterator[Case]:
    """Yield pairings that come up, and those that must not."""
    for value_size in (20, _VALUE_SIZE):
        gateway, lock = _gateway(value_size), _lock(value_size)
        carry(gateway, lock)
        for number, (speaker, kind) in enumerate(_SAID, start=1):
            (gateway if speaker == "gateway" else lock).do(record=encode_record(RECORDS[kind], (number + 1) // 2).hex())
            carry(gateway, lock)
        for end in (gateway, lock):
            yield end.case(f"a pairing at ATT MTU {value_size + 3}")
    yield from _strangers()
    yield from _spoiled()
    for side in (_gateway(), _lock()):
        side.do(tick=START_MS + PAIRING_MS_MAX)
        yield side.case("not over after 60 seconds")


def _gateway(value_size: int = _VALUE_SIZE, label: LockLabel = LABEL) -> Side:
    facts = {
        "static": GATEWAY_LINK.private.hex(),
        "ephemeral": GATEWAY_EPHEMERAL.private.hex(),
        "label": label.to_text(),
        "nonce": "b1" * 8,
        "version_floor": 1,
        "value_size": value_size,
    }
    return Side("pairing gateway", facts)


def _lock(value_size: int = _VALUE_SIZE, **changes: str) -> Side:
    facts = {
        "static": LOCK_LINK.private.hex(),
        "ephemeral": LOCK_EPHEMERAL.private.hex(),
        "label": LABEL.to_text(),
        "nonce": "b2" * 8,
        "version_floor": 1,
        "value_size": value_size,
        "firmware": "1.0.0",
    }
    return Side("pairing lock", facts | changes)


def _strangers() -> Iterator[Case]:
    gateway, lock = _gateway(label=replace(LABEL, secret=bytes(32))), _lock()
    lock.receive(*gateway.take())
    gateway.receive(*lock.take())
    lock.receive(*gateway.take())
    yield lock.case("a gateway that has read another secret")
    gateway, lock = _gateway(), _lock(static=STRANGER_LINK.private.hex())
    carry(gateway, lock)
    yield gateway.case("a lock that is not the one of the label")
    gateway = _gateway()
    session = Side("lock", _lock().facts | {"remote_static": GATEWAY_LINK.public.hex(), "session_ctr": 0})
    session.receive(*gateway.take())
    gateway.receive(*session.take())
    yield gateway.case("a lock that has an owner and does not wait to be paired")


def _spoiled() -> Iterator[Case]:
    gateway, lock = _gateway(), _lock()
    for _ in range(2):
        lock.receive(*gateway.take())
        gateway.receive(*lock.take())
    (third,) = gateway.take()
    lock.receive(third[:-1] + bytes((third[-1] ^ 1,)))
    yield lock.case("message 3 with a flipped bit, as of somebody who has not the secret")
    gateway, lock = _gateway(), _lock()
    lock.receive(*gateway.take())
    (hello,) = lock.take()
    gateway.receive(hello[:-1] + bytes((hello[-1] ^ 1,)))
    lock.receive(*gateway.take())
    yield lock.case("a flipped bit in its own HELLO on the way")
    gateway, lock = _gateway(), _lock()
    carry(gateway, lock)
    gateway.do(record=encode_record(RECORDS[StateGet], 1).hex())
    lock.receive(*gateway.take())
    yield lock.case("a record that has no place in a pairing")
