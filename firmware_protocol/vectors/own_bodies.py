"""Vectors of records, plain messages and the other bodies that ride inside something authenticated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.codes import Code
from firmware_protocol.directions import FROM_GATEWAY, FROM_LOCK
from firmware_protocol.hello import FROM_GATEWAY_PLAIN, FROM_LOCK_PLAIN, TO_PHONE_PLAIN, decode_plain, encode_plain
from firmware_protocol.messages import decode_record, encode_record
from firmware_protocol.vectors import spoil
from firmware_protocol.vectors.case import Case, document, error_of, rule_of
from firmware_protocol.vectors.example_records import OTHERS, PLAIN, RECORDS
from firmware_protocol.vectors.tally import Tally
from firmware_protocol.vocabulary import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from firmware_protocol.schema import WireMap

KIND: Final = "bodies"
CORR: Final = 0x0102
_NO_TYPES: Final = frozenset({0x00, 0x24, 0x2F, 0x35, 0x3F, 0x40, 0x41, 0x42, 0x7D, 0x7F, 0x80, 0xFF})
"""Some of the numbers that no record has; one that a later version takes drops out by itself."""
_BETWEEN: Final[Mapping[str, tuple[tuple[str, dict[int, Any]], ...]]] = {
    "Confirm": (("half an interval", {2: None}),),
    "LogAck": (("received beyond copied", {0: 4, 1: 5}),),
    "LockCommand": (("an action that is no movement", {1: int(Action.UNLOCK_UNDER_DURESS)}),),
    "Courier": (
        ("a piece beyond its object", {2: 1}),
        ("a piece of nothing", {1: None}),
        ("an object without a piece", {4: None}),
    ),
    "TimeState": (("half an interval", {2: None}), ("ends before it begins", {1: 1})),
    "OwnerResult": (("half a proof", {3: None}),),
    "GatewayHello": (("another magic", {0: b"CLK2"}), ("an empty range of versions", {1: 2, 2: 1})),
    "LockHello": (("an empty range of versions", {1: 2, 2: 1}),),
}
"""By class: what is wrong between fields that are each right. None takes a key out."""


def documents() -> Iterator[tuple[str, Case]]:
    """Yield the records, the plain messages and the rest, a file each."""
    yield "records", _document("9", "records: type, corr, body", _record_cases())
    yield "plain", _document("8.1", "plain messages: type, body", _plain_cases())
    yield (
        "bodies",
        _document("8, 11, 21", "handshake message 2, what a phone is answered, and what is sealed", _other_cases()),
    )


def judge(given: Case) -> Tally:
    """Read every case as the side that it is for."""
    tally = Tally()
    for case in given["cases"]:
        error = error_of(_READERS[case["reader"]], bytes.fromhex(case["data"]))
        tally.judge(f"{case['reader']}: {case['name']}", is_right=error == case["error"])
    return tally


def _document(section: str, about: str, cases: Iterator[Case]) -> Case:
    return document(KIND, section, f"{about}. `reader` is the side that reads it.", cases=list(cases))


_READERS: Final[Mapping[str, Callable[[bytes], object]]] = {
    "lock record": lambda data: decode_record(data, FROM_GATEWAY),
    "gateway record": lambda data: decode_record(data, FROM_LOCK),
    "lock plain": lambda data: decode_plain(data, FROM_GATEWAY_PLAIN),
    "gateway plain": lambda data: decode_plain(data, FROM_LOCK_PLAIN),
    "phone plain": lambda data: decode_plain(data, TO_PHONE_PLAIN),
    **{kind.__name__: kind.from_bytes for kind in OTHERS},
}


def _record_cases() -> Iterator[Case]:
    for kind, value in RECORDS.items():
        header = encode_record(value, CORR)[:3]
        reader, other = "lock record", "gateway record"
        if kind.TYPE not in FROM_GATEWAY:
            reader, other = other, reader
        yield from _body_cases(value, reader, header)
        goes_both_ways = kind.TYPE in FROM_GATEWAY and kind.TYPE in FROM_LOCK
        yield _case(kind, other, "the other direction", header + value.to_bytes(), not goes_both_ways, "direction")
    for number in sorted(_NO_TYPES - FROM_GATEWAY.keys() - FROM_LOCK.keys()):
        for reader in ("lock record", "gateway record"):
            name = f"type {number:02x}, which there is not"
            yield _bare(name, reader, bytes((number, 0, 1, 0xA0)), Code.UNSUPPORTED_TYPE, "direction")
    for size in range(4):
        yield _bare(f"{size} bytes, no more than a header", "lock record", bytes((2, 0, 1))[:size], Code.MALFORMED)


def _plain_cases() -> Iterator[Case]:
    tables = {"lock plain": FROM_GATEWAY_PLAIN, "gateway plain": FROM_LOCK_PLAIN, "phone plain": TO_PHONE_PLAIN}
    for kind, value in PLAIN.items():
        readers = [reader for reader, table in tables.items() if kind.TYPE in table]
        yield from _body_cases(value, readers[0], encode_plain(value)[:1])
        for reader in tables:
            if reader != readers[0]:
                wrong = reader not in readers
                yield _case(kind, reader, "for another reader", encode_plain(value), wrong, "direction")
    yield _bare("an empty plain message", "lock plain", b"", Code.MALFORMED)
    yield _bare("type 05, which there is not", "lock plain", b"\x05\xa0", Code.UNSUPPORTED_TYPE, "direction")


def _other_cases() -> Iterator[Case]:
    for kind, value in OTHERS.items():
        yield from _body_cases(value, kind.__name__, b"")


def _body_cases(value: WireMap, reader: str, header: bytes) -> Iterator[Case]:
    kind, body = type(value), value.to_bytes()
    yield _case(kind, reader, "as it should be", header + body, False, "good")  # noqa: FBT003 - see `_case`
    for name, data in spoil.variants(value):
        yield _case(kind, reader, name, header + data, False, "good")  # noqa: FBT003
    between = ((name, spoil.changed(value, change)) for name, change in _BETWEEN.get(kind.__name__, ()))
    for layer, faults in (("shape", spoil.shapes(value)), ("encoding", spoil.encodings(body)), ("values", between)):
        for name, data in faults:
            yield _case(kind, reader, name, header + data, True, layer)  # noqa: FBT003


def _case(kind: type[WireMap], reader: str, name: str, data: bytes, wrong: bool, layer: str) -> Case:  # noqa: FBT001
    error = Code.UNSUPPORTED_TYPE if layer == "direction" else Code.MALFORMED
    return {
        "name": f"{kind.__name__}: {name}",
        "error": error.name if wrong else None,
        "layer": layer,
        "rule": rule_of(kind),
        "reader": reader,
        "data": data.hex(),
    }


def _bare(name: str, reader: str, data: bytes, code: Code, layer: str = "encoding") -> Case:
    return {"name": name, "error": code.name, "layer": layer, "reader": reader, "data": data.hex()}
