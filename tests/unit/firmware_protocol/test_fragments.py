from __future__ import annotations

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.constants import MESSAGE_SIZE_MAX, REASSEMBLY_MS_MAX, VALUE_SIZE_MAX
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.fragments import Fragmenter, FragmentKind, Message, Reassembler

RECORD, HANDSHAKE, PLAIN = FragmentKind
MTUS = [23, 24, 185, 247, 512, 515, 517]
FIRST, LAST = 0x20, 0x10


def receive(*values: str, now_ms: int = 0) -> list[Message | None]:
    """What a fresh reassembler says to each of these values, given in hex."""
    reassembler = Reassembler()
    return [reassembler.receive_value(bytes.fromhex(value), now_ms) for value in values]


def assert_refused(reassembler: Reassembler, value: bytes, now_ms: int = 0) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        reassembler.receive_value(value, now_ms)
    assert caught.value.code is Code.MALFORMED


# --------------------------------------------------------------------------------------------------------- the bytes


def test_a_short_message_is_one_value() -> None:
    assert Fragmenter(20).fragment(RECORD, b"abc") == (bytes.fromhex("30 0003") + b"abc",)


def test_a_longer_message_begins_with_its_length_and_counts_its_values() -> None:
    values = Fragmenter(6).fragment(HANDSHAKE, b"abcdefghij")
    assert values == (
        bytes.fromhex("60 000a") + b"abc",
        bytes.fromhex("41") + b"defgh",
        bytes.fromhex("52") + b"ij",
    )


def test_the_kind_stands_in_the_two_topmost_bits() -> None:
    assert [Fragmenter(20).fragment(kind, b"a")[0][0] for kind in FragmentKind] == [0x30, 0x70, 0xB0]


def test_the_count_goes_on_from_message_to_message_and_round_from_15_to_0() -> None:
    fragmenter = Fragmenter(20)
    counts = [fragmenter.fragment(PLAIN, b"a")[0][0] & 0x0F for _ in range(18)]
    assert counts == [*range(16), 0, 1]


def test_the_smallest_value_carries_one_byte_after_the_length() -> None:
    assert Fragmenter(4).fragment(RECORD, b"abcde") == (b"\x20\x00\x05a", b"\x01bcd", b"\x12e")


def test_a_value_without_room_for_a_fragment_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        Fragmenter(3)


@pytest.mark.parametrize("size", [0, MESSAGE_SIZE_MAX + 1])
def test_no_message_or_too_long_a_one_is_our_own_mistake(size: int) -> None:
    with pytest.raises(LocalProtocolError):
        Fragmenter(20).fragment(RECORD, bytes(size))


# ------------------------------------------------------------------------------------------------- there and back again


@pytest.mark.parametrize("mtu", MTUS)
def test_messages_of_every_size_come_through(mtu: int) -> None:
    fragmenter, reassembler = Fragmenter(mtu - 3), Reassembler()
    room = min(mtu - 3, VALUE_SIZE_MAX)
    edges = {1, room - 4, room - 3, room - 2, 2 * room - 5, 2 * room - 4, 2 * room - 3, MESSAGE_SIZE_MAX}
    for size in sorted(edge for edge in edges if edge <= MESSAGE_SIZE_MAX):
        data = bytes(index % 251 for index in range(size))
        values = fragmenter.fragment(RECORD, data)
        assert max(map(len, values)) <= room
        *before, last = [reassembler.receive_value(value, 0) for value in values]
        assert before == [None] * len(before)
        assert last == Message(kind=RECORD, data=data)


@pytest.mark.parametrize(
    ("mtu", "value_count"),
    [(23, 108), (24, 103), (185, 12), (247, 9), (512, 5), (515, 5), (517, 5)],
)
def test_the_longest_message_takes_this_many_values(mtu: int, value_count: int) -> None:
    values = Fragmenter(mtu - 3).fragment(RECORD, bytes(MESSAGE_SIZE_MAX))
    assert len(values) == value_count
    assert {len(value) for value in values[:-1]} == {min(mtu - 3, VALUE_SIZE_MAX)}


def test_an_mtu_of_517_is_used_like_one_of_515_because_longer_values_are_cut_silently() -> None:
    assert max(map(len, Fragmenter(514).fragment(RECORD, bytes(2_000)))) == VALUE_SIZE_MAX


def test_any_cutting_into_values_is_read_not_only_our_own() -> None:
    assert receive("20 0005 61", "01 6263", "02 64", "13 65")[-1] == Message(kind=RECORD, data=b"abcde")


def test_messages_of_different_kinds_may_follow_each_other() -> None:
    assert receive("b0 0001 61", "71 0001 62", "32 0001 63") == [
        Message(kind=PLAIN, data=b"a"),
        Message(kind=HANDSHAKE, data=b"b"),
        Message(kind=RECORD, data=b"c"),
    ]


def test_the_longest_message_and_the_longest_value_are_read() -> None:
    assert receive("20 0800" + "00" * 509, "01" + "00" * 511, "02" + "00" * 511, "03" + "00" * 511, "14" + "00" * 6)[
        -1
    ] == Message(kind=RECORD, data=bytes(2_048))


# ------------------------------------------------------------------------------------------------------------ attacks

REFUSED = {
    "an empty value": [""],
    "a value of 513 bytes": ["20 0800" + "00" * 510],
    "the reserved kind": ["f0 0001 61"],
    "a count that does not start at 0": ["31 0001 61"],
    "a lost value": ["20 0003 61", "12 6263"],
    "a repeated value": ["20 0003 61", "20 0003 61"],
    "a count that stands still between messages": ["30 0001 61"] * 2,
    "a fragment before any FIRST": ["00 61"],
    "a LAST before any FIRST": ["10 61"],
    "a fragment after the end": ["30 0001 61", "01 62"],
    "FIRST in the middle of a message": ["20 0003 61", "21 0003 62"],
    "FIRST and LAST in the middle of a message": ["20 0003 61", "31 0001 62"],
    "a kind that changes in the middle": ["20 0003 61", "51 6263"],
    "FIRST with no length": ["30"],
    "FIRST with half a length": ["30 00"],
    "a length of 0": ["30 0000"],
    "a length of 0 and a byte": ["30 0000 61"],
    "a length of 2049": ["20 0801 61"],
    "a length of 65535": ["20 ffff 61"],
    "more in FIRST than announced": ["30 0001 6162"],
    "more in the end than announced": ["20 0003 61", "11 626364"],
    "LAST too early in FIRST": ["30 0003 6162"],
    "LAST too early later": ["20 0003 61", "11 62"],
    "LAST missing in FIRST": ["20 0001 61"],
    "LAST missing in the end": ["20 0003 61", "01 6263"],
    "FIRST that carries nothing": ["20 0003"],
    "a fragment that carries nothing": ["20 0003 61", "01"],
    "a LAST that carries nothing": ["20 0003 61", "11"],
}


@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED)
def test_attack_what_does_not_fit_ends_the_link(values: list[str]) -> None:
    *before, last = [bytes.fromhex(value) for value in values]
    reassembler = Reassembler()
    for value in before:
        reassembler.receive_value(value, 0)
    assert_refused(reassembler, last)
    assert reassembler.deadline_ms is None
    with pytest.raises(LocalProtocolError):
        reassembler.receive_value(bytes.fromhex("30 0001 61"), 0)
    with pytest.raises(LocalProtocolError):
        reassembler.check(0)


# --------------------------------------------------------------------------------------------------------------- time


def test_a_message_in_progress_has_a_deadline_and_a_whole_one_has_none() -> None:
    reassembler = Reassembler()
    deadlines = [reassembler.deadline_ms]
    for now_ms, value in ((500, b"\x20\x00\x03a"), (1_000, b"\x01b"), (1_500, b"\x12c")):
        reassembler.receive_value(value, now_ms)
        deadlines.append(reassembler.deadline_ms)
    assert deadlines == [None, 500 + REASSEMBLY_MS_MAX, 500 + REASSEMBLY_MS_MAX, None]
    reassembler.check(10**9)


def test_a_message_that_is_whole_at_its_deadline_is_in_time() -> None:
    reassembler = Reassembler()
    reassembler.receive_value(b"\x20\x00\x02a", 500)
    reassembler.check(500 + REASSEMBLY_MS_MAX)
    assert reassembler.receive_value(b"\x11b", 500 + REASSEMBLY_MS_MAX) == Message(kind=RECORD, data=b"ab")


def test_a_message_that_would_be_whole_a_millisecond_later_is_refused() -> None:
    reassembler = Reassembler()
    reassembler.receive_value(b"\x20\x00\x02a", 500)
    assert_refused(reassembler, b"\x11b", 501 + REASSEMBLY_MS_MAX)


def test_attack_a_message_that_trickles_in_is_refused_however_often_a_byte_comes() -> None:
    reassembler = Reassembler()
    reassembler.receive_value(b"\x20\x08\x00a", 0)
    for count in range(1, 5):
        assert reassembler.receive_value(bytes([count, 0]), count * 500) is None
    assert_refused(reassembler, b"\x05\x00", 2_001)


def test_attack_a_message_that_stops_coming_is_refused_by_the_clock_alone() -> None:
    reassembler = Reassembler()
    reassembler.receive_value(b"\x20\x00\x02a", 0)
    with pytest.raises(RemoteProtocolError) as caught:
        reassembler.check(REASSEMBLY_MS_MAX + 1)
    assert caught.value.code is Code.MALFORMED
    with pytest.raises(LocalProtocolError):
        reassembler.check(0)
