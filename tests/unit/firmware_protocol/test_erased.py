from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from nacl.signing import SigningKey

from firmware_protocol.checkpoint import Checkpoint, origin_of, sign_checkpoint, verify_checkpoint
from firmware_protocol.codes import Code
from firmware_protocol.erased import ErasedEntry
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError

GATEWAY = SigningKey(hashlib.sha256(b"gateway").digest())
PUBLIC = bytes(GATEWAY.verify_key)
ORIGIN = origin_of("9f86d081884c7d65", "00112233445566778899aabbccddeeff")
ENTRY = ErasedEntry(origin=ORIGIN, index=7, leaf_hash=bytes(range(32)), accounted_size=19)


def test_a_note_says_which_entry_with_which_hash_and_how_far_it_is_accounted_for() -> None:
    note = ENTRY.sign(GATEWAY)
    hashed = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert note.startswith(f"{ORIGIN}/erased\n7\n{hashed}\naccounted 19\n\n".encode())
    assert ErasedEntry.verify(note, origin=ORIGIN, public=PUBLIC) == ENTRY


def test_attack_a_broker_puts_a_hash_in_the_place_of_words() -> None:
    note = ENTRY.sign(SigningKey(hashlib.sha256(b"broker").digest()))
    with pytest.raises(RemoteProtocolError) as caught:
        ErasedEntry.verify(note, origin=ORIGIN, public=PUBLIC)
    assert caught.value.code is Code.BAD_SIGNATURE


def test_attack_a_hash_of_another_log_of_the_gateway_does_not_verify() -> None:
    other = replace(ENTRY, origin=origin_of("9f86d081884c7d65", "ff" * 16)).sign(GATEWAY)
    with pytest.raises(RemoteProtocolError) as caught:
        ErasedEntry.verify(other, origin=ORIGIN, public=PUBLIC)
    assert caught.value.code is Code.BAD_SIGNATURE


def test_attack_neither_passes_as_the_other_a_checkpoint_and_an_erased_entry() -> None:
    checkpoint = sign_checkpoint(
        Checkpoint(origin=ORIGIN, size=7, root=bytes(32), extensions=("accounted 19",)), key=GATEWAY, name=ORIGIN
    )
    with pytest.raises(RemoteProtocolError):
        ErasedEntry.verify(checkpoint, origin=ORIGIN, public=PUBLIC)
    with pytest.raises(RemoteProtocolError):
        verify_checkpoint(ENTRY.sign(GATEWAY), name=ORIGIN, public=PUBLIC)


@pytest.mark.parametrize(
    "extensions",
    [
        (),
        ("accounted 019",),
        ("accounted -1",),
        ("accounted 19", "accounted 20"),
        ("accounted 1" + "0" * 19,),
        (f"accounted {2**63}",),
    ],
    ids=["none", "leading zero", "negative", "twice", "too long", "more than a log holds"],
)
def test_a_note_that_does_not_say_how_it_is_accounted_for_is_malformed(extensions: tuple[str, ...]) -> None:
    name = f"{ORIGIN}/erased"
    body = Checkpoint(origin=name, size=7, root=bytes(32), extensions=extensions)
    with pytest.raises(RemoteProtocolError) as caught:
        ErasedEntry.verify(sign_checkpoint(body, key=GATEWAY, name=name), origin=ORIGIN, public=PUBLIC)
    assert caught.value.code is Code.MALFORMED


def test_an_entry_with_half_a_hash_is_not_signed() -> None:
    with pytest.raises(LocalProtocolError):
        replace(ENTRY, leaf_hash=bytes(16)).sign(GATEWAY)
