"""What one reader opens, and nobody who carries it."""

from __future__ import annotations

import pytest
from nacl.public import PrivateKey, PublicKey, SealedBox

from firmware_protocol.codes import Code
from firmware_protocol.constants import SEALED_PAYLOAD_SIZE_MAX
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.noise import KeyPair
from firmware_protocol.sealed import Sealed, SealedBody, is_sealed, seal, unseal

GATEWAY = KeyPair.from_private(bytes([1]) * 32)
STRANGER = KeyPair.from_private(bytes([2]) * 32)
EPHEMERAL = KeyPair.from_private(bytes([3]) * 32)
ASKER = KeyPair.from_private(bytes([4]) * 32)
LOW_ORDER = [bytes(32), b"\x01" + bytes(31)]
BODY = SealedBody(payload=b"a bundle", answer_key=ASKER.public)


def refusal(data: bytes, keys: KeyPair = GATEWAY) -> Code:
    with pytest.raises(RemoteProtocolError) as caught:
        unseal(data, keys)
    return caught.value.code


@pytest.mark.parametrize("answer_key", [b"", ASKER.public], ids=["no answer", "an answer"])
@pytest.mark.parametrize("payload", [b"p", b"p" * SEALED_PAYLOAD_SIZE_MAX], ids=["one byte", "longest"])
def test_what_is_sealed_to_a_gateway_opens_there(payload: bytes, answer_key: bytes) -> None:
    body = SealedBody(payload=payload, answer_key=answer_key)
    sealed = seal(body, to=GATEWAY.public, ephemeral=EPHEMERAL)
    assert unseal(sealed, GATEWAY) == body
    assert is_sealed(sealed)
    assert payload not in sealed
    assert len(sealed) <= Sealed.SIZE_MAX


def test_a_payload_beyond_its_cap_is_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError):
        seal(SealedBody(payload=bytes(SEALED_PAYLOAD_SIZE_MAX + 1)), to=GATEWAY.public, ephemeral=EPHEMERAL)


def test_the_box_is_libsodiums_sealed_box() -> None:
    box = Sealed.from_bytes(seal(BODY, to=GATEWAY.public, ephemeral=EPHEMERAL)).box
    assert SealedBox(PrivateKey(GATEWAY.private)).decrypt(box) == BODY.to_bytes()
    theirs = Sealed(box=SealedBox(PublicKey(GATEWAY.public)).encrypt(BODY.to_bytes()))
    assert unseal(theirs.to_bytes(), GATEWAY) == BODY


def test_nothing_else_on_the_topics_looks_sealed() -> None:
    for first in (b"\x82", b"\x83", b"\xd2", b"\xd8", b"{", b"c", b""):
        assert not is_sealed(first)


def test_attack_every_flipped_bit_of_the_box_is_denied() -> None:
    sealed = seal(BODY, to=GATEWAY.public, ephemeral=EPHEMERAL)
    head = len(sealed) - len(Sealed.from_bytes(sealed).box)
    for position in range(head, len(sealed)):
        flipped = bytes((sealed[position] ^ 1,))
        assert refusal(sealed[:position] + flipped + sealed[position + 1 :]) is Code.DENIED


def test_attack_what_is_sealed_to_another_is_denied_and_says_no_more() -> None:
    assert refusal(seal(BODY, to=STRANGER.public, ephemeral=EPHEMERAL)) is Code.DENIED


def test_attack_a_message_beyond_its_cap_is_refused_before_any_key_is_used() -> None:
    assert refusal(b"\xa1\x00\x59\xff\xff" + bytes(65_535)) is Code.TOO_LARGE


@pytest.mark.parametrize("data", [b"", b"\xa0", b"\xa1\x00\x40", b"\xa1\x01\x40", b"\x83abc"])
def test_attack_what_is_no_sealed_message_is_malformed(data: bytes) -> None:
    assert refusal(data) is Code.MALFORMED


def test_attack_something_else_inside_is_malformed() -> None:
    box = SealedBox(PublicKey(GATEWAY.public)).encrypt(b"\xa1\x00\x60")
    assert refusal(Sealed(box=box).to_bytes()) is Code.MALFORMED


@pytest.mark.parametrize("key", LOW_ORDER)
def test_attack_a_key_that_everybody_can_open_for_seals_and_asks_nothing(key: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        seal(BODY, to=key, ephemeral=EPHEMERAL)
    assert caught.value.code is Code.DENIED
    asked = seal(SealedBody(payload=b"a bundle", answer_key=key), to=GATEWAY.public, ephemeral=EPHEMERAL)
    assert refusal(asked) is Code.DENIED
