from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_protocol.codes import Code
from firmware_protocol.constants import MESSAGE_SIZE_MAX, VALUE_SIZE_MAX
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.fragments import Fragmenter, FragmentKind, Message, Reassembler

messages = st.lists(
    st.tuples(st.sampled_from(FragmentKind), st.binary(min_size=1, max_size=300) | st.just(bytes(MESSAGE_SIZE_MAX))),
    max_size=6,
)
value_sizes = st.integers(4, 600)


def reassemble(values: list[bytes]) -> list[Message]:
    reassembler = Reassembler()
    answers = [reassembler.receive_value(value, 0) for value in values]
    return [message for message in answers if message is not None]


@given(messages, value_sizes)
def test_what_is_sent_arrives_in_order_and_in_values_that_fit(
    sent: list[tuple[FragmentKind, bytes]], value_size_max: int
) -> None:
    fragmenter = Fragmenter(value_size_max)
    values = [value for kind, data in sent for value in fragmenter.fragment(kind, data)]
    assert all(len(value) <= min(value_size_max, VALUE_SIZE_MAX) for value in values)
    assert reassemble(values) == [Message(kind=kind, data=data) for kind, data in sent]


@given(st.binary(min_size=1, max_size=400), st.data())
def test_any_cutting_is_read(message: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(message) - 1)), max_size=20)) - {len(message)})
    edges = [0, *cuts, len(message)]
    chunks = [message[start:end] for start, end in itertools.pairwise(edges)]
    values = []
    for index, chunk in enumerate(chunks):
        first, last = index == 0, index == len(chunks) - 1
        header = bytes([0x40 | first << 5 | last << 4 | index % 16])
        values.append(header + (len(message).to_bytes(2, "big") if first else b"") + chunk)
    assert reassemble(values) == [Message(kind=FragmentKind.HANDSHAKE, data=message)]


@given(messages.filter(bool), value_sizes, st.data())
def test_a_lost_value_never_passes_unseen_once_anything_follows(
    sent: list[tuple[FragmentKind, bytes]], value_size_max: int, data: st.DataObject
) -> None:
    fragmenter = Fragmenter(value_size_max)
    values = [value for kind, message in sent for value in fragmenter.fragment(kind, message)]
    lost = data.draw(st.integers(0, len(values) - 1))
    follower = fragmenter.fragment(FragmentKind.RECORD, b"follower")
    with pytest.raises(RemoteProtocolError):
        reassemble([*values[:lost], *values[lost + 1 :], *follower])


@given(st.lists(st.binary(max_size=30) | st.binary(min_size=510, max_size=514), max_size=20), st.integers(0, 1_000))
def test_any_values_are_a_message_or_the_end_of_the_link(values: list[bytes], step_ms: int) -> None:
    reassembler = Reassembler()
    now_ms = 0
    for value in values:
        now_ms += step_ms
        try:
            message = reassembler.receive_value(value, now_ms)
        except RemoteProtocolError as error:
            code = error.code
            break
        assert message is None or 1 <= len(message.data) <= MESSAGE_SIZE_MAX
        assert (message is None) == (reassembler.deadline_ms is not None)
    else:
        return
    assert code is Code.MALFORMED
    with pytest.raises(LocalProtocolError):
        reassembler.receive_value(b"\x30\x00\x01a", now_ms)
