"""The in-memory radio is what most link tests stand on, so it is tested like a part of the product."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.constants import SERVICE_UUID
from gatewayd.link.radio import RadioCode, RadioError, RadioUnavailable
from tests.support.echo_lock import EchoLock
from tests.support.memory_radio import ADDRESS, CONNECT_MS, MemoryRadio

if TYPE_CHECKING:
    from gatewayd.link.radio import LockLink, Radio


@pytest.fixture
def lock() -> EchoLock:
    return EchoLock()


@pytest.fixture
def radio(lock: EchoLock) -> MemoryRadio:
    return MemoryRadio(lock, Random(1), value_size_max=20, latency_ms=(0, 0.5), connect_ms=1)


async def connect(radio: Radio) -> LockLink:
    sighting = await radio.find(SERVICE_UUID, None, timeout_ms=CONNECT_MS)
    return await radio.connect(sighting, timeout_ms=CONNECT_MS)


async def test_values_pass_both_ways_and_keep_their_order(radio: MemoryRadio) -> None:
    link = await connect(radio)
    sent = [bytes([index]) for index in range(100)]
    for value in sent:
        await link.write_value(value)
    assert [await link.next_value() for _ in sent] == sent


async def test_both_ends_refuse_what_is_longer_than_a_value(radio: MemoryRadio, lock: EchoLock) -> None:
    link = await connect(radio)
    assert lock.gateway is not None
    assert link.value_size_max == lock.gateway.value_size_max == 20
    await link.write_value(bytes(20))
    with pytest.raises(ValueError, match="21 bytes"):
        await link.write_value(bytes(21))
    with pytest.raises(ValueError, match="21 bytes"):
        lock.gateway.send_value(bytes(21))


async def test_a_dropped_link_loses_what_is_in_flight_and_both_ends_notice(radio: MemoryRadio, lock: EchoLock) -> None:
    link = await connect(radio)
    await link.write_value(b"lost")
    radio.drop_link()
    assert lock.diary == ["gateway connected", "gateway disconnected"]
    with pytest.raises(RadioError) as caught:
        await link.next_value()
    assert caught.value.code == RadioCode.DISCONNECTED
    with pytest.raises(RadioError):
        await link.write_value(b"")
    await link.close()
    assert lock.diary == ["gateway connected", "gateway disconnected"]


async def test_the_lock_can_hang_up(radio: MemoryRadio, lock: EchoLock) -> None:
    link = await connect(radio)
    assert lock.gateway is not None
    lock.gateway.disconnect()
    with pytest.raises(RadioError):
        await link.next_value()
    assert lock.diary == ["gateway connected", "gateway disconnected"]


async def test_a_lock_out_of_reach_is_not_found_and_a_known_one_does_not_answer(radio: MemoryRadio) -> None:
    sighting = await radio.find(SERVICE_UUID, ADDRESS, timeout_ms=CONNECT_MS)
    radio.set_reachable(False)
    with pytest.raises(RadioError) as not_found:
        await radio.find(SERVICE_UUID, None, timeout_ms=1)
    assert not_found.value.code == RadioCode.NOT_FOUND
    with pytest.raises(RadioError) as no_answer:
        await radio.connect(sighting, timeout_ms=1)
    assert no_answer.value.code == RadioCode.CONNECT_TIMEOUT
    radio.set_reachable(True)
    await connect(radio)


async def test_a_pulled_adapter_is_unavailable_and_drops_the_link(radio: MemoryRadio, lock: EchoLock) -> None:
    await connect(radio)
    radio.set_available(False)
    assert lock.diary[-1] == "gateway disconnected"
    with pytest.raises(RadioUnavailable):
        await radio.find(SERVICE_UUID, None, timeout_ms=1)


async def test_phones_have_links_of_their_own(radio: MemoryRadio, lock: EchoLock) -> None:
    link = await connect(radio)
    first, second = radio.connect_phone(), radio.connect_phone()
    await first.write_value(b"first")
    await second.write_value(b"second")
    assert await second.next_value() == b"second"
    assert await first.next_value() == b"first"
    await first.close()
    await link.write_value(b"gateway")
    assert await link.next_value() == b"gateway"
    radio.set_reachable(False)
    assert lock.diary == [
        "gateway connected",
        "phone 1 connected",
        "phone 2 connected",
        "phone 1 disconnected",
        "gateway disconnected",
        "phone 2 disconnected",
    ]


async def test_a_sighting_carries_the_waiting_bit(radio: MemoryRadio) -> None:
    radio.set_phone_waiting(True)
    assert (await radio.find(SERVICE_UUID, None, timeout_ms=CONNECT_MS)).phone_waiting
