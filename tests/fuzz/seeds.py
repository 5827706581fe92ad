"""Where a corpus begins: the committed vectors, good and bad, as inputs of the targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol import chains
from firmware_protocol.courier import pieces
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.messages import RECORD_SIZE_MAX
from firmware_protocol.vectors.case import rule_of
from firmware_protocol.vectors.examples import VALUES
from firmware_protocol.vocabulary import Parcel
from tests.fuzz.readers import MAPS, ROOT, heard, join, vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OBJECTS: Final = tuple(sorted(path.stem for path in (ROOT / "docs" / "vectors").glob("object-*.json")))
RECORD_HEAD_SIZE: Final = 3
"""Type and number, before the map."""
ROLES: Final = {
    "gateway_session": "gateway",
    "lock_session": "lock",
    "gateway_pairing": "pairing gateway",
    "lock_pairing": "pairing lock",
}


def seeds(target: str) -> Iterator[bytes]:
    """Yield the first inputs of a target."""
    if target in ROLES:
        values = heard(ROLES[target])
        yield from (join(values[:count]) for count in range(1, len(values) + 1))
    else:
        yield from _BY_TARGET[target]()


def _cases(document: str, member: str) -> Iterator[bytes]:
    for case in vectors(document)["cases"]:
        if member in case:
            yield bytes.fromhex(case[member])


def _signed() -> Iterator[bytes]:
    for name in OBJECTS:
        yield from _cases(name, "signed")


def _payloads() -> Iterator[bytes]:
    for name in OBJECTS:
        yield from _cases(name, "payload")


def _maps() -> Iterator[bytes]:
    for index, kind in enumerate(MAPS):
        if kind in VALUES:
            yield bytes((index,)) + VALUES[kind][0].to_bytes()  # type: ignore[index]  # a kind of VALUES
    by_rule = {rule_of(kind): index for index, kind in enumerate(MAPS)}
    for document, head_size in (("records", RECORD_HEAD_SIZE), ("bodies", 0)):
        for case in vectors(document)["cases"]:
            if case.get("rule") in by_rule:
                yield bytes((by_rule[case["rule"]],)) + bytes.fromhex(case["data"])[head_size:]


def _parts_of_bundles() -> Iterator[bytes]:
    for bundle in _cases("bundles", "bundle"):
        try:
            yield from chains.parse_bundle(bundle)
        except RemoteProtocolError:
            continue


def _labels() -> Iterator[bytes]:
    for case in vectors("ownership")["cases"]:
        if "label" in case:
            yield case["label"].encode()


def _runs() -> Iterator[bytes]:
    for case in vectors("fragments")["cases"]:
        yield join([bytes.fromhex(value) for value in case["values"]])


def _visits() -> Iterator[bytes]:
    for case in vectors("relay")["cases"]:
        if "answers" in case:
            yield join([bytes.fromhex(answer) for answer in case["answers"]])


def _carried() -> Iterator[bytes]:
    for data in (b"a", bytes(range(256)) * 12):
        yield join([piece.to_bytes() for piece in pieces(Parcel.STATE, data)])


def _log_records() -> Iterator[bytes]:
    yield from (record for record in _cases("log", "record") if len(record) <= RECORD_SIZE_MAX)


_BY_TARGET: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "cbor": _payloads,
    "map": _maps,
    "envelope": _signed,
    "record": lambda: _cases("records", "data"),
    "plain": lambda: _cases("plain", "data"),
    "log_record": _log_records,
    "log_batch": lambda: _cases("log", "batch"),
    "label": _labels,
    "fragments": _runs,
    "bundle": lambda: _cases("bundles", "bundle"),
    "grant": _parts_of_bundles,
    "keyset": lambda: _cases("object-keyset", "signed"),
    "order": lambda: _cases("ownership", "order"),
    "note": lambda: _cases("notes", "note"),
    "relay_decider": lambda: _cases("relay", "message_1"),
    "relay_phone": _visits,
    "sealed": lambda: _cases("sealed", "sealed"),
    "courier": _carried,
}
