from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_protocol import cbor
from firmware_protocol.codes import Code
from firmware_protocol.constants import LARGE_OBJECT_SIZE_MAX
from firmware_protocol.errors import RemoteProtocolError

KEYS = st.integers(-24, 23) | st.just(-70_001)
SCALARS: st.SearchStrategy[cbor.Value] = (
    st.integers(-(2**64), 2**64 - 1) | st.booleans() | st.none() | st.binary(max_size=40) | st.text(max_size=20)
)


def containers(items: st.SearchStrategy[cbor.Value]) -> st.SearchStrategy[cbor.Value]:
    arrays = st.lists(items, max_size=4).map(tuple)
    return items | arrays | st.dictionaries(KEYS, items, max_size=4)


VALUES = containers(containers(containers(SCALARS)))
TAGGED = st.builds(cbor.Tag, st.sampled_from([cbor.TAG_SIGN1, cbor.TAG_SIGN]), VALUES)


def decode(data: bytes) -> cbor.Value:
    return cbor.decode(data, size_max=LARGE_OBJECT_SIZE_MAX)


def assert_read_as_itself_or_refused(data: bytes) -> None:
    try:
        value = decode(data)
    except RemoteProtocolError as error:
        code = error.code
    else:
        assert cbor.encode(value) == data
        return
    assert code in {Code.MALFORMED, Code.TOO_LARGE}


@given(VALUES | TAGGED)
def test_every_value_comes_back_as_it_was_written(value: cbor.Value) -> None:
    data = cbor.encode(value)
    assert decode(data) == value
    assert cbor.encode(decode(data)) == data


@given(st.dictionaries(KEYS, SCALARS), st.data())
def test_the_order_in_which_a_map_was_filled_does_not_show(value: dict[int, cbor.Value], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(list(value.items())))
    assert cbor.encode(dict(shuffled)) == cbor.encode(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_one_value_in_its_one_encoding_or_refused(data: bytes) -> None:
    assert_read_as_itself_or_refused(data)


@given(VALUES, st.data())
def test_an_encoding_with_a_byte_changed_is_another_value_or_refused(value: cbor.Value, data: st.DataObject) -> None:
    changed = bytearray(cbor.encode(value))
    position = data.draw(st.integers(0, len(changed) - 1))
    changed[position] ^= data.draw(st.integers(1, 255))
    assert_read_as_itself_or_refused(bytes(changed))


@given(VALUES, st.binary(min_size=1, max_size=8))
def test_nothing_may_follow_a_value(value: cbor.Value, tail: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(cbor.encode(value) + tail)
