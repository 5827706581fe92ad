"""The test's hands in the guest, as far as they can be tried outside: packets of a controller, cut anywhere."""

from __future__ import annotations

import os

import pytest

from tests.bluez.guest.agent import Adapter

PACKETS = (
    bytes.fromhex("040e0401030c00"),  # an event: a reset is complete
    bytes.fromhex("0240200700030004000a0a00"),  # data of a link
    bytes.fromhex("043e0c01000000000000000000000000")[:15],  # another event
)


@pytest.mark.parametrize("cut", range(1, sum(map(len, PACKETS))))
def test_the_kernel_gets_whole_packets_one_a_write_however_the_stream_is_cut(cut: int) -> None:
    reader, writer = os.pipe2(os.O_DIRECT)  # keeps the borders of writes, as the device does
    adapter = Adapter.__new__(Adapter)
    adapter._kernel = writer  # noqa: SLF001 - a pipe stands for the device
    stream = b"".join(PACKETS)
    rest = adapter._deliver(stream[:cut])  # noqa: SLF001 - what the thread of an adapter does with what it has read
    assert adapter._deliver(rest + stream[cut:]) == b""  # noqa: SLF001 - the same
    assert [os.read(reader, 64) for _ in PACKETS] == list(PACKETS)
    os.close(reader)
    os.close(writer)
