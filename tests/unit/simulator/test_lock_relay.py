"""Phones at the door: carried to the gateway, bounded, and never in each other's way."""

from __future__ import annotations

from typing import Final

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.constants import (
    BUNDLE_SIZE_MAX,
    REASSEMBLY_MS_MAX,
    RELAY_AGE_MS_MAX,
    RELAY_BUNDLE_MS_MAX,
    RELAY_PROGRESS_MS_MAX,
)
from firmware_protocol.fragments import FragmentKind
from firmware_protocol.messages import RELAY_DATA_SIZE_MAX, RelayClose, RelayData, RelayOpen, StateGet
from firmware_protocol.noise import KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer, RelayDecider, RelayPhone
from firmware_protocol.vocabulary import Decider
from simulator.lock_link import LINGER_MS
from simulator.lock_relay import BEACON_MS
from tests.support.lock_bench import Bench, BenchGateway

DECIDER: Final = KeyPair.from_private(bytes(range(32)))


class BenchBeacon:
    """An advertisement of one flag."""

    def __init__(self) -> None:
        self.is_waiting = False
        self.is_installable = False

    def set_phone_waiting(self, waiting: bool) -> None:  # noqa: FBT001 - a setter of one flag
        self.is_waiting = waiting

    def set_installable(self, installable: bool) -> None:  # noqa: FBT001 - a setter of one flag
        self.is_installable = installable


def closes(gateway: BenchGateway) -> list[tuple[int, Code]]:
    gateway.exchange()
    return [(close.channel, close.code) for close in gateway.heard(RelayClose)]


@pytest.mark.parametrize("value_size_max", [20, 182, 244, 512], ids=["MTU 23", "MTU 185", "MTU 247", "MTU 517"])
def test_a_phone_and_the_gateway_talk_through_a_lock_that_cannot_read(value_size_max: int) -> None:
    bench = Bench()
    gateway = bench.live()
    phone = bench.phone(value_size_max=value_size_max)
    hello = phone.hello()
    gateway.exchange()
    [opened] = gateway.heard(RelayOpen)
    assert opened == RelayOpen(channel=1, challenge=hello.challenge, up_ms=bench.lock.up_ms)
    assert hello.decider is Decider.GATEWAY

    end = RelayPhone(decider_key=DECIDER.public, challenge=hello.challenge, ephemeral=KeyPair.from_private(b"e" * 32))
    decider = RelayDecider(keys=DECIDER, challenge=opened.challenge, ephemeral=KeyPair.from_private(b"f" * 32))
    bundle = bytes(BUNDLE_SIZE_MAX)
    phone.write(*phone.values(end.open(bundle)))
    gateway.exchange()
    [carried] = gateway.heard(RelayData)
    assert decider.read_bundle(carried.data) == bundle

    for body in (b"decided", b"outcome"):
        answer = RelayAnswer(kind=AnswerKind.RECEIPT, body=body)
        gateway.session.send(RelayData(channel=1, data=decider.answer(answer)))
    gateway.session.send(RelayClose(channel=1, code=Code.DONE))
    gateway.exchange()
    first, second, goodbye = phone.read()
    assert [each.kind for each in (first, second, goodbye)] == [
        FragmentKind.HANDSHAKE,
        FragmentKind.RECORD,
        FragmentKind.PLAIN,
    ]
    assert [end.read(each.data).body for each in (first, second)] == [b"decided", b"outcome"]
    bench.scheduler.advance(LINGER_MS - 1)
    was_open = phone.pipe.is_open
    bench.scheduler.advance(1)
    assert (was_open, phone.pipe.is_open) == (True, False)
    assert closes(gateway) == []


def test_challenges_and_channels_are_never_used_twice_in_a_session() -> None:
    bench = Bench()
    gateway = bench.live()
    for _ in range(5):
        bench.phone().pipe.disconnect()
    gateway.exchange()
    opened = gateway.heard(RelayOpen)
    assert [each.channel for each in opened] == [1, 2, 3, 4, 5]
    assert len({each.challenge for each in opened}) == 5
    assert closes(gateway) == [(channel, Code.LINK_DOWN) for channel in range(1, 6)]


def test_channels_count_from_one_in_each_session() -> None:
    bench = Bench()
    bench.live()
    bench.phone()
    bench.lock.drop_gateway()
    gateway = bench.live()
    bench.phone()
    gateway.exchange()
    assert [each.channel for each in gateway.heard(RelayOpen)] == [1]


@pytest.mark.parametrize("stage", ["nobody", "unconfirmed"])
def test_without_a_live_gateway_a_phone_is_told_so_and_the_advertisement_calls_for_one(stage: str) -> None:
    bench = Bench()
    beacon = BenchBeacon()
    bench.lock.attach_beacon(beacon)
    if stage == "unconfirmed":
        bench.connect().exchange()
    phone = bench.phone()
    assert phone.close_code().code is Code.LINK_DOWN
    assert beacon.is_waiting
    bench.scheduler.advance(LINGER_MS)
    assert not phone.pipe.is_open
    bench.scheduler.advance(BEACON_MS)
    assert not beacon.is_waiting


@pytest.mark.parametrize("end", ["a gateway comes", "the power goes"])
def test_the_call_for_a_gateway_ends_when(end: str) -> None:
    bench = Bench()
    beacon = BenchBeacon()
    bench.lock.attach_beacon(beacon)
    bench.phone()
    assert beacon.is_waiting
    if end == "a gateway comes":
        bench.live()
    else:
        bench.lock.power_off()
    assert not beacon.is_waiting


def test_when_the_gateway_goes_every_phone_is_told() -> None:
    bench = Bench()
    bench.live()
    phones = [bench.phone(), bench.phone()]
    bench.lock.drop_gateway()
    assert [phone.close_code().code for phone in phones] == [Code.LINK_DOWN] * 2
    bench.scheduler.advance(LINGER_MS)
    assert [phone.pipe.is_open for phone in phones] == [False, False]


def test_attack_two_silent_phones_do_not_keep_a_third_away() -> None:
    bench = Bench()
    gateway = bench.live()
    first, second, third = bench.phone(), bench.phone(), bench.phone()
    assert first.close_code().code is Code.BUSY
    assert closes(gateway) == [(1, Code.BUSY)]
    second.hello()
    third.hello()


def test_a_phone_that_speaks_is_not_evicted() -> None:
    bench = Bench()
    gateway = bench.live()
    speaking, silent = bench.phone(), bench.phone()
    speaking.write(speaking.values(b"bundle" * 100)[0])
    bench.phone().hello()
    assert silent.close_code().code is Code.BUSY
    assert closes(gateway) == [(2, Code.BUSY)]
    speaking.hello()


def test_with_two_phones_that_speak_a_third_is_turned_away() -> None:
    bench = Bench()
    gateway = bench.live()
    for phone in (bench.phone(), bench.phone()):
        phone.write(phone.values(b"bundle" * 100)[0])
    third = bench.phone()
    assert third.close_code().code is Code.BUSY
    gateway.exchange()
    assert len(gateway.heard(RelayOpen)) == 2


def test_attack_a_phone_that_says_nothing_is_dropped_in_time() -> None:
    bench = Bench()
    gateway = bench.live()
    phone = bench.phone()
    bench.scheduler.advance(RELAY_PROGRESS_MS_MAX - 1)
    phone.hello()
    bench.scheduler.advance(1)
    assert phone.close_code().code is Code.LINK_DOWN
    assert closes(gateway) == [(1, Code.LINK_DOWN)]


def test_attack_a_message_that_never_ends_is_dropped_in_time() -> None:
    bench = Bench()
    gateway = bench.live()
    phone = bench.phone()
    phone.write(phone.values(b"bundle" * 100)[0])
    bench.scheduler.advance(REASSEMBLY_MS_MAX)
    phone.hello()
    bench.scheduler.advance(1)
    assert phone.close_code().code is Code.LINK_DOWN
    assert closes(gateway) == [(1, Code.LINK_DOWN)]


def test_a_phone_with_its_message_delivered_is_waited_for_longer() -> None:
    bench = Bench()
    gateway = bench.live()
    phone = bench.phone()
    phone.write(*phone.values(b"bundle"))
    gateway.wait(RELAY_AGE_MS_MAX - 1, step_ms=1)
    assert RELAY_BUNDLE_MS_MAX < RELAY_AGE_MS_MAX
    assert closes(gateway) == []
    gateway.wait(1)
    assert closes(gateway) == [(1, Code.LINK_DOWN)]


@pytest.mark.parametrize("extra", [0, 1], ids=["as long as a record carries", "one byte more"])
def test_a_message_that_no_record_carries_is_too_large(extra: int) -> None:
    bench = Bench()
    gateway = bench.live()
    phone = bench.phone()
    phone.write(*phone.values(bytes(RELAY_DATA_SIZE_MAX + extra)))
    gateway.exchange()
    assert len(gateway.heard(RelayData)) == 1 - extra
    assert closes(gateway) == [(1, Code.TOO_LARGE)] * extra


@pytest.mark.parametrize("kind", [FragmentKind.RECORD, FragmentKind.PLAIN])
def test_attack_anything_but_a_handshake_message_drops_the_phone(kind: FragmentKind) -> None:
    bench = Bench()
    gateway = bench.live()
    phone = bench.phone()
    phone.write(*phone.values(b"hello", kind))
    assert phone.close_code().code is Code.MALFORMED
    assert closes(gateway) == [(1, Code.MALFORMED)]


def test_attack_a_second_message_drops_the_phone() -> None:
    bench = Bench()
    gateway = bench.live()
    phone = bench.phone()
    phone.write(*phone.values(b"one"), *phone.values(b"two"))
    gateway.exchange()
    assert [each.data for each in gateway.heard(RelayData)] == [b"one"]
    assert closes(gateway) == [(1, Code.MALFORMED)]


def test_attack_garbage_from_one_phone_hurts_neither_the_other_nor_the_gateway() -> None:
    bench = Bench()
    gateway = bench.live()
    bad, good = bench.phone(), bench.phone()
    for _ in range(50):
        bad.write(bench.entropy.token(20))
    good.write(*good.values(b"bundle"))
    gateway.exchange()
    assert [(each.channel, each.data) for each in gateway.heard(RelayData)] == [(2, b"bundle")]
    assert closes(gateway) == [(1, Code.MALFORMED)]
    assert gateway.ask(StateGet()) is not None


def test_an_answer_for_a_phone_that_left_reaches_nobody() -> None:
    bench = Bench()
    gateway = bench.live()
    bench.phone().pipe.disconnect()
    second = bench.phone()
    second.hello()
    gateway.session.send(RelayData(channel=1, data=b"answer"))
    gateway.session.send(RelayClose(channel=1, code=Code.DONE))
    gateway.exchange()
    assert second.read() == []
    assert bench.lock.is_live
