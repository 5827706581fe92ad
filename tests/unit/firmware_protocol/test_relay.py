"""A phone and its decider, through somebody who carries and can't read."""

from __future__ import annotations

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.constants import BUNDLE_SIZE_MAX, OBJECT_SIZE_MAX
from firmware_protocol.errands import Courier
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.messages import RELAY_DATA_SIZE_MAX, RelayData
from firmware_protocol.noise import KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer, RelayDecider, RelayPhone
from firmware_protocol.vocabulary import Parcel

DECIDER_KEYS = KeyPair.from_private(bytes([1]) * 32)
CHALLENGE = b"challenge-16-by."
RECEIPT = RelayAnswer(kind=AnswerKind.RECEIPT, body=b"r" * OBJECT_SIZE_MAX)


def phone(*, challenge: bytes = CHALLENGE, decider_key: bytes = DECIDER_KEYS.public, seed: int = 2) -> RelayPhone:
    ephemeral = KeyPair.from_private(bytes([seed]) * 32)
    return RelayPhone(decider_key=decider_key, challenge=challenge, ephemeral=ephemeral)


def decider(*, challenge: bytes = CHALLENGE, seed: int = 3) -> RelayDecider:
    return RelayDecider(keys=DECIDER_KEYS, challenge=challenge, ephemeral=KeyPair.from_private(bytes([seed]) * 32))


@pytest.mark.parametrize("bundle", [b"b", b"b" * BUNDLE_SIZE_MAX], ids=["one byte", "longest"])
def test_a_bundle_goes_in_and_answers_come_out_in_order(bundle: bytes) -> None:
    at_door, at_home = phone(), decider()
    assert at_home.read_bundle(at_door.open(bundle)) == bundle
    answers = [
        RelayAnswer(kind=AnswerKind.RECEIPT, body=b"decided"),
        RECEIPT,
        RelayAnswer(kind=AnswerKind.INFO, body=b"info"),
        RelayAnswer(kind=AnswerKind.DENIED),
    ]
    assert [at_door.read(at_home.answer(answer)) for answer in answers] == answers


def test_the_longest_bundle_and_the_longest_answer_fit_a_record() -> None:
    at_door, at_home = phone(), decider()
    first = at_door.open(b"b" * BUNDLE_SIZE_MAX)
    at_home.read_bundle(first)
    for data in (first, at_home.answer(RECEIPT), at_home.answer(RECEIPT)):
        assert len(RelayData(channel=2**16, data=data).to_bytes()) <= 2_048 - 3 - 16
        assert len(data) <= RELAY_DATA_SIZE_MAX


def test_a_bundle_beyond_its_cap_is_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError):
        phone().open(b"b" * (BUNDLE_SIZE_MAX + 1))


def test_attack_a_message_beyond_its_cap_is_refused_before_any_key_is_used() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decider().read_bundle(b"x" * (RELAY_DATA_SIZE_MAX + 1))
    assert caught.value.code is Code.TOO_LARGE


@pytest.mark.parametrize("data", [b"", b"x" * 47, bytes(48), b"x" * 600])
def test_attack_garbage_proves_nothing(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decider().read_bundle(data)
    assert caught.value.code is Code.DENIED


def test_attack_a_flipped_bit_in_the_bundle_is_noticed() -> None:
    data = bytearray(phone().open(b"bundle"))
    data[-20] ^= 1
    with pytest.raises(RemoteProtocolError, match="denied"):
        decider().read_bundle(bytes(data))


def test_attack_a_message_recorded_at_one_visit_is_worth_nothing_at_the_next() -> None:
    recorded = phone().open(b"bundle")
    with pytest.raises(RemoteProtocolError, match="denied"):
        decider(challenge=b"another challenge"[:16]).read_bundle(recorded)


def test_attack_who_has_not_the_deciders_key_can_neither_read_nor_answer() -> None:
    at_door = phone(decider_key=KeyPair.from_private(bytes([9]) * 32).public)
    with pytest.raises(RemoteProtocolError, match="denied"):
        decider().read_bundle(at_door.open(b"bundle"))


def test_attack_an_answer_of_another_visit_is_noticed() -> None:
    mine, theirs = phone(seed=2), phone(seed=4)
    at_home, other = decider(seed=3), decider(seed=5)
    at_home.read_bundle(mine.open(b"bundle"))
    other.read_bundle(theirs.open(b"bundle"))
    with pytest.raises(RemoteProtocolError, match="denied"):
        mine.read(other.answer(RECEIPT))


def test_attack_answers_can_be_neither_replayed_nor_reordered() -> None:
    at_door, at_home = phone(), decider()
    at_home.read_bundle(at_door.open(b"bundle"))
    first, second, third = (at_home.answer(RECEIPT) for _ in range(3))
    at_door.read(first)
    with pytest.raises(RemoteProtocolError, match="denied"):
        at_door.read(third)
    assert at_door.read(second) == RECEIPT
    with pytest.raises(RemoteProtocolError, match="denied"):
        at_door.read(second)


def test_an_answer_that_is_none_is_malformed() -> None:
    at_door, at_home = phone(), decider()
    at_home.read_bundle(at_door.open(b"bundle"))
    data = at_home._handshake.write_message(b"\xa1\x00\x09")  # noqa: SLF001 - a decider with a bug
    with pytest.raises(RemoteProtocolError, match="malformed"):
        at_door.read(data)


def test_a_phone_has_no_courier_before_the_first_answer() -> None:
    with pytest.raises(LocalProtocolError, match="before the first answer"):
        phone().courier(Courier(kind=Parcel.CHECKPOINT))


def test_couriers_follow_the_first_answer_in_both_ends_only() -> None:
    keys = KeyPair.from_private(bytes([1]) * 32)
    phone = RelayPhone(decider_key=keys.public, challenge=bytes(16), ephemeral=KeyPair.from_private(bytes([2]) * 32))
    decider = RelayDecider(keys=keys, challenge=bytes(16), ephemeral=KeyPair.from_private(bytes([3]) * 32))
    wish = Courier(kind=Parcel.CHECKPOINT)
    with pytest.raises(LocalProtocolError, match="before the first answer"):
        phone.courier(wish)
    decider.read_bundle(phone.open(b"bundle"))
    with pytest.raises(RemoteProtocolError, match="denied"):
        decider.read_courier(bytes(40))
    phone.read(decider.answer(RelayAnswer(kind=AnswerKind.DENIED)))
    sealed = phone.courier(wish)
    assert decider.read_courier(sealed) == wish
    with pytest.raises(RemoteProtocolError, match="denied"):
        decider.read_courier(sealed)
