"""What hostile bytes cost: memory in proportion to the cap, by hand and by a seeded climb, and nothing afterwards."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from benchmarks.costly_inputs import READERS, Reader, by_climbing, by_hand, peak_bytes
from firmware_protocol import cbor
from firmware_protocol.codes import Code
from firmware_protocol.constants import CBOR_ITEM_COUNT_MAX, CBOR_MAP_COUNT_MAX, OBJECT_SIZE_MAX
from firmware_protocol.errors import RemoteProtocolError

LEAK_BYTES_MAX = 4_096
"""Growth over all repetitions that is none: counters and caches of the interpreter."""


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_attack_the_costliest_bytes_that_a_hand_can_write(reader: Reader) -> None:
    for name, data in by_hand(reader.size_max):
        assert peak_bytes(reader, data) <= reader.peak_max, name


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_attack_the_costliest_bytes_that_a_search_finds(reader: Reader, seed: int) -> None:
    data = by_climbing(reader, seed=seed, round_count=150)
    assert peak_bytes(reader, data) <= reader.peak_max, data.hex()


def repeat(reader: Reader, repetitions: int) -> int:
    """Return by how much memory has grown after so many refusals of everything that is costly."""
    inputs = [data for _, data in by_hand(reader.size_max)]
    for data in inputs:
        reader.refuse(data)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for index in range(repetitions):
            reader.refuse(inputs[index % len(inputs)])
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_attack_the_same_bytes_again_and_again_leave_nothing_behind(reader: Reader) -> None:
    assert repeat(reader, 500) <= LEAK_BYTES_MAX


@pytest.mark.soak
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_hundred_thousand_refusals_leave_nothing_behind(reader: Reader) -> None:
    assert repeat(reader, 100_000) <= LEAK_BYTES_MAX


# ------------------------------------------------------------------------------------------------ the counts themselves


def refusal(data: bytes, size_max: int = OBJECT_SIZE_MAX) -> Code | None:
    try:
        cbor.decode(data, size_max=size_max)
    except RemoteProtocolError as error:
        return error.code
    return None


def array(count: int, item: bytes) -> bytes:
    return b"\x99" + count.to_bytes(2, "big") + item * count


def test_sixteen_maps_are_read_and_a_seventeenth_is_refused() -> None:
    inner = CBOR_MAP_COUNT_MAX
    assert refusal(bytes((0x80 + inner,)) + b"\xa0" * inner) is None
    assert refusal(bytes((0x80 + inner + 1,)) + b"\xa0" * (inner + 1)) is Code.TOO_LARGE


@pytest.mark.parametrize("size_max", [64, 96, 128, 256])
def test_a_small_cap_has_room_for_an_item_in_two_bytes(size_max: int) -> None:
    item_count = size_max // 2 - 1
    head = array(item_count, b"\x00") if item_count > 255 else b"\x98" + bytes((item_count,)) + bytes(item_count)
    assert refusal(head, size_max) is None
    assert refusal(b"\x98" + bytes((item_count + 1,)) + bytes(item_count + 1), size_max) is Code.TOO_LARGE


def test_items_are_counted_before_they_are_built() -> None:
    reader = Reader("array", OBJECT_SIZE_MAX, lambda data: cbor.decode(data, size_max=OBJECT_SIZE_MAX))
    refused = array(CBOR_ITEM_COUNT_MAX, b"\x00")
    assert refusal(refused) is Code.TOO_LARGE
    # 512 places of a list alone would be 4 kB: the refusal comes before there is one.
    assert peak_bytes(reader, refused) < 4_096
