from __future__ import annotations

import json
from collections import deque
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import pytest

from firmware_protocol import cbor
from firmware_protocol.codes import Code
from firmware_protocol.constants import CBOR_DEPTH_MAX, CBOR_ITEM_COUNT_MAX, LARGE_OBJECT_SIZE_MAX
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from tests.support.published_vectors import published_vectors


def decode(hex_text: str) -> cbor.Value:
    return cbor.decode(bytes.fromhex(hex_text), size_max=LARGE_OBJECT_SIZE_MAX)


def refusal_of(data: bytes, size_max: int = LARGE_OBJECT_SIZE_MAX) -> Code:
    with pytest.raises(RemoteProtocolError) as caught:
        cbor.decode(data, size_max=size_max)
    return caught.value.code


def nested(depth: int) -> bytes:
    """Arrays of one item, `depth` of them, around a zero."""
    return b"\x81" * depth + b"\x00"


# ----------------------------------------------------------------------------------------------------- what is accepted

ROUND_TRIPS: dict[str, cbor.Value] = {
    "00": 0,
    "17": 23,
    "1818": 24,
    "18ff": 255,
    "190100": 256,
    "19ffff": 65_535,
    "1a00010000": 65_536,
    "1affffffff": 2**32 - 1,
    "1b0000000100000000": 2**32,
    "1bffffffffffffffff": 2**64 - 1,
    "20": -1,
    "3bffffffffffffffff": -(2**64),
    "40": b"",
    "4401020304": b"\x01\x02\x03\x04",
    "60": "",
    "62c3a5": "å",
    "f4": False,
    "f5": True,
    "f6": None,
    "80": (),
    "83010203": (1, 2, 3),
    "a0": {},
    "a4000117022003370a": {0: 1, 23: 2, -1: 3, -24: 10},
    "a20000" + "3a00011170" + "01": {0: 0, -70_001: 1},
    "d28443a10127a04041ff": cbor.Tag(18, (b"\xa1\x01\x27", {}, b"", b"\xff")),
    "d86280": cbor.Tag(98, ()),
}


@pytest.mark.parametrize(("hex_text", "value"), ROUND_TRIPS.items(), ids=ROUND_TRIPS)
def test_each_kind_of_value_has_this_one_encoding(hex_text: str, value: cbor.Value) -> None:
    assert cbor.encode(value).hex() == hex_text
    assert decode(hex_text) == value
    assert type(decode(hex_text)) is type(value)


def test_lists_are_for_writing_only_and_come_back_as_tuples() -> None:
    assert cbor.decode(cbor.encode([1, [2, {0: [3]}]]), size_max=64) == (1, (2, {0: (3,)}))


def test_a_map_inside_a_tag_comes_back_as_a_plain_dict() -> None:
    tag = decode("d281a10102")
    assert isinstance(tag, cbor.Tag)
    assert type(tag.value[0]) is dict
    assert tag.value == ({1: 2},)


def test_map_keys_are_written_in_bytewise_order_however_they_were_given() -> None:
    assert cbor.encode({-70_001: 4, -24: 3, -1: 2, 23: 1, 0: 0}).hex() == "a500001701200237033a0001117004"


def test_numbers_with_a_name_are_written_as_numbers() -> None:
    class Action(IntEnum):
        UNLOCK = 2

    assert cbor.encode({Action.UNLOCK: Action.UNLOCK}).hex() == "a10202"


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 4_000, 65_535])
def test_a_byte_string_is_written_alike_on_both_ways(size: int) -> None:
    assert cbor.encode_bytes(bytes(size)) == cbor.encode(bytes(size))


def test_a_byte_string_beyond_any_object_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        cbor.encode_bytes(bytes(65_536))


# --------------------------------------------------------------------------------------------- both sides of each bound


def test_an_object_of_exactly_the_allowed_size_is_read() -> None:
    assert cbor.decode(b"\x43abc", size_max=4) == b"abc"


def test_an_object_one_byte_too_long_is_refused_before_it_is_parsed() -> None:
    assert refusal_of(b"\xff\xff\xff\xff\xff", size_max=4) is Code.TOO_LARGE


def test_the_deepest_allowed_nesting_is_read() -> None:
    data = nested(CBOR_DEPTH_MAX)
    assert cbor.encode(cbor.decode(data, size_max=64)) == data


@pytest.mark.parametrize("opener", ["81", "a100", "d2", "d862"], ids=["array", "map", "tag 18", "tag 98"])
def test_one_level_deeper_is_refused(opener: str) -> None:
    assert refusal_of(bytes.fromhex(opener) + nested(CBOR_DEPTH_MAX)) is Code.TOO_LARGE


def test_the_largest_allowed_count_of_items_is_read() -> None:
    items = (0,) * (CBOR_ITEM_COUNT_MAX - 1)
    assert cbor.decode(cbor.encode(items), size_max=LARGE_OBJECT_SIZE_MAX) == items


def test_one_item_more_is_refused() -> None:
    assert refusal_of(b"\x99\x02\x00" + bytes(CBOR_ITEM_COUNT_MAX)) is Code.TOO_LARGE


@pytest.mark.parametrize("key", ["00", "17", "20", "37", "3a00011170"], ids=["0", "23", "-1", "-24", "-70001"])
def test_a_key_at_the_edge_of_the_allowed_ones_is_read(key: str) -> None:
    value = decode(f"a1{key}00")
    assert cbor.encode(value).hex() == f"a1{key}00"


@pytest.mark.parametrize(
    "key",
    ["1818", "3818", "3a0001116f", "3a00011171", "1a00011170", "6161", "4161", "f5", "80"],
    ids=["24", "-25", "-70000", "-70002", "70000", "text", "bytes", "true", "array"],
)
def test_any_other_key_is_refused(key: str) -> None:
    assert refusal_of(bytes.fromhex(f"a1{key}00")) is Code.MALFORMED


# ------------------------------------------------------------------------------ attacks: another form of the same value

OTHER_FORMS = {
    "nothing at all": "",
    "number in one byte too many": "1817",
    "number in two bytes that fits one": "1900ff",
    "number in four bytes that fits two": "1a0000ffff",
    "number in eight bytes that fits four": "1b00000000ffffffff",
    "negative number in one byte too many": "3800",
    "byte string with a longer length than need be": "5801aa",
    "array with a longer length than need be": "980100",
    "map key in a longer form than need be": "a1180100",
    "tag in a longer form than need be": "d81280",
    "byte string of indefinite length": "5f41aaff",
    "text of indefinite length": "7f6161ff",
    "array of indefinite length": "9f00ff",
    "map of indefinite length": "bf0000ff",
    "break on its own": "ff",
    "reserved additional information 28": "1c",
    "reserved additional information 30": "1e",
    "duplicate key": "a201020103",
    "the same pair twice": "a201020102",
    "unsorted keys": "a202010101",
    "negative before positive key": "a220010101",
    "duplicate key deep inside": "8181a201020103",
    "duplicate key inside a tag": "d281a201020103",
    "byte after the end": "0000",
    "second item after the end": "a0a0",
    "text that is not UTF-8": "62ffff",
    "text with an overlong form": "62c080",
    "text with a surrogate": "63eda080",
}


@pytest.mark.parametrize("hex_text", OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_another_form_of_the_same_value_is_refused(hex_text: str) -> None:
    assert refusal_of(bytes.fromhex(hex_text)) is Code.MALFORMED


UNUSED_KINDS = {
    "half float": "f93c00",
    "float": "fa3f800000",
    "double": "fb3ff0000000000000",
    "not a number": "f97e00",
    "undefined": "f7",
    "simple value 16": "f0",
    "simple value 255": "f8ff",
    "false in two bytes": "f814",
    "reserved simple form": "fc",
    "tag 0, a date that cbor2 would parse": "c074323031332d30332d32315432303a30343a30305a",
    "tag 2, a big number": "c249010000000000000000",
    "tag 4, a decimal": "c48221196ab3",
    "tag 28, a shared value": "d81c80",
    "tag 29, a reference": "d81d00",
    "tag 35, a regular expression": "d823" + "6728612b292b" + "2924",
    "tag 36, a MIME message": "d8246161",
    "tag 258, a set": "d9010280",
    "tag 55799, self-described": "d9d9f700",
    "tag 17": "d180",
    "tag 19": "d380",
    "tag 97": "d86180",
    "tag 99": "d86380",
}


@pytest.mark.parametrize("hex_text", UNUSED_KINDS.values(), ids=UNUSED_KINDS)
def test_a_kind_that_the_protocol_does_not_use_is_never_built(hex_text: str) -> None:
    assert refusal_of(bytes.fromhex(hex_text)) is Code.MALFORMED


@pytest.mark.parametrize("hex_text", [hex_text for hex_text in ROUND_TRIPS if len(hex_text) > 2])
def test_a_value_cut_short_at_any_byte_is_refused(hex_text: str) -> None:
    data = bytes.fromhex(hex_text)
    assert {refusal_of(data[:size]) for size in range(len(data))} == {Code.MALFORMED}


@pytest.mark.parametrize(
    "hex_text",
    ["5bffffffffffffffff", "7bffffffffffffffff", "9bffffffffffffffff", "bbffffffffffffffff", "5a7fffffff00"],
    ids=["bytes", "text", "array", "map", "two gigabytes"],
)
def test_a_length_that_promises_more_than_there_is_allocates_nothing(hex_text: str) -> None:
    assert refusal_of(bytes.fromhex(hex_text)) is Code.MALFORMED


@pytest.mark.parametrize("opener", ["81", "a100", "d2"], ids=["arrays", "maps", "tags"])
def test_a_thousand_levels_do_not_exhaust_the_stack(opener: str) -> None:
    assert refusal_of(bytes.fromhex(opener) * 1_000) is Code.TOO_LARGE


def test_wide_arrays_inside_wide_arrays_are_refused_by_their_count() -> None:
    assert refusal_of((b"\x98\x40" + (b"\x98\x40" + bytes(64)) * 62)[:LARGE_OBJECT_SIZE_MAX]) is Code.TOO_LARGE


# ------------------------------------------------------------------------------------------------------- our own misuse

CYCLE: list[Any] = []
CYCLE.append(CYCLE)
DEEP: list[Any] = []
for _ in range(2_000):
    DEEP = [DEEP]

MISUSES: dict[str, Any] = {
    "float": 1.0,
    "number above 64 bits": 2**64,
    "number below 64 bits": -(2**64) - 1,
    "text key": {"a": 1},
    "bytes key": {b"a": 1},
    "boolean key": {True: 1},
    "no key": {None: 1},
    "key above": {24: 1},
    "key below": {-25: 1},
    "another private key": {-70_002: 1},
    "other tag": cbor.Tag(17, []),
    "date": datetime(2026, 1, 1, tzinfo=UTC),
    "set": {1, 2},
    "object": object(),
    "bytearray": bytearray(b"a"),
    "memoryview": memoryview(b"a"),
    "range": range(3),
    "queue": [deque([1])],
    "text with a surrogate": "\ud800",
    "too deep": [[[[[[[[[]]]]]]]]],
    "much too deep": DEEP,
    "cycle": CYCLE,
    "too many": [0] * CBOR_ITEM_COUNT_MAX,
}


@pytest.mark.parametrize("value", MISUSES.values(), ids=MISUSES)
def test_what_could_not_be_read_back_is_not_written(value: object) -> None:
    with pytest.raises(LocalProtocolError):
        cbor.encode(value)  # type: ignore[arg-type]  # being no value is the point


# ---------------------------------------------------------------------------------------------------- published vectors


def test_rfc_8949_appendix_a_is_read_exactly_where_the_protocol_allows_it() -> None:
    accepted = {}
    for row in json.loads(published_vectors("cbor/appendix_a.json")):
        data = bytes.fromhex(row["hex"])
        try:
            accepted[row["hex"]] = cbor.decode(data, size_max=LARGE_OBJECT_SIZE_MAX)
        except RemoteProtocolError:
            assert refusal_of(data) is Code.MALFORMED
        else:
            assert row["roundtrip"]
            assert cbor.encode(accepted[row["hex"]]) == data
            as_json = json.loads(json.dumps(accepted[row["hex"]], default=bytes.hex))
            assert row.get("decoded", as_json) == as_json
    # 16 integers, 3 simple values, 2 byte strings, 7 texts, 4 arrays and 2 maps; the others are floats, tags,
    # indefinite lengths, keys that are text, and big numbers.
    assert len(accepted) == 34
