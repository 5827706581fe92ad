from __future__ import annotations

import itertools
from typing import Any

import pytest
from nacl import bindings

from firmware_protocol import noise
from firmware_protocol.codes import Code
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.noise import KK, NK, XXPSK3, CipherState, HandshakeState, KeyPair

GATEWAY, LOCK, EPHEMERAL, OTHER_EPHEMERAL, STRANGER = (KeyPair.from_private(bytes([n]) * 32) for n in range(1, 6))
PSK = bytes(range(32))
PROLOGUE = b"carelock-link/1"


def pattern(name: str, text: str) -> noise.Pattern:
    """A pattern in the notation of the specification, messages separated by semicolons, `pre |` before them."""
    pre, _, messages = text.rpartition("|")
    return noise.Pattern(
        name,
        tuple(tuple(noise.Token(token) for token in message.split()) for message in messages.split(";")),
        pre_initiator="-> s" in pre,
        pre_responder="<- s" in pre,
    )


def link(**changes: object) -> tuple[HandshakeState, HandshakeState]:
    """Both sides of a KK handshake; `initiator_*` and `responder_*` replace what one of them believes."""
    sides: list[dict[str, Any]] = [
        {"initiator": True, "s": GATEWAY, "e": EPHEMERAL, "rs": LOCK.public},
        {"initiator": False, "s": LOCK, "e": OTHER_EPHEMERAL, "rs": GATEWAY.public},
    ]
    for side, prefix in zip(sides, ("initiator_", "responder_"), strict=True):
        side |= {"prologue": PROLOGUE, "psk": None}
        side |= {key.removeprefix(prefix): value for key, value in changes.items() if key.startswith(prefix)}
    return HandshakeState(KK, **sides[0]), HandshakeState(KK, **sides[1])


def pairing(*, gateway_psk: bytes = PSK, gateway_e: KeyPair = EPHEMERAL) -> tuple[HandshakeState, HandshakeState]:
    return (
        HandshakeState(XXPSK3, initiator=True, prologue=PROLOGUE, s=GATEWAY, e=gateway_e, rs=None, psk=gateway_psk),
        HandshakeState(XXPSK3, initiator=False, prologue=PROLOGUE, s=LOCK, e=OTHER_EPHEMERAL, rs=None, psk=PSK),
    )


def phone(rs: bytes = LOCK.public, s: KeyPair = LOCK) -> tuple[HandshakeState, HandshakeState]:
    return (
        HandshakeState(NK, initiator=True, prologue=PROLOGUE, s=None, e=EPHEMERAL, rs=rs, psk=None),
        HandshakeState(NK, initiator=False, prologue=PROLOGUE, s=s, e=OTHER_EPHEMERAL, rs=None, psk=None),
    )


def shake_hands(initiator: HandshakeState, responder: HandshakeState) -> list[bytes]:
    """Let both sides finish with empty payloads; returns the messages."""
    messages = []
    turns = itertools.cycle([(initiator, responder), (responder, initiator)])
    while not (initiator.finished and responder.finished):
        writer, reader = next(turns)
        messages.append(writer.write_message(b""))
        assert reader.read_message(messages[-1]) == b""
    return messages


def denied_reading(state: HandshakeState, message: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        state.read_message(message)
    assert caught.value.code is Code.DENIED


# ------------------------------------------------------------------------------------------------------ the patterns


def test_both_sides_of_the_link_agree_on_hash_and_keys() -> None:
    gateway, lock = link()
    messages = shake_hands(gateway, lock)
    assert [len(message) for message in messages] == [48, 48]
    assert gateway.handshake_hash == lock.handshake_hash
    (gateway_out, gateway_in), (lock_in, lock_out) = gateway.split(), lock.split()
    assert lock_in.decrypt(b"", gateway_out.encrypt(b"", b"unlock")) == b"unlock"
    assert gateway_in.decrypt(b"", lock_out.encrypt(b"", b"done")) == b"done"


def test_pairing_tells_each_side_the_others_key() -> None:
    gateway, lock = pairing()
    assert [gateway.remote_static, lock.remote_static] == [None, None]
    messages = shake_hands(gateway, lock)
    assert [len(message) for message in messages] == [48, 96, 64]
    assert [gateway.remote_static, lock.remote_static] == [LOCK.public, GATEWAY.public]


def test_a_phone_stays_unnamed() -> None:
    carer, lock = phone()
    messages = shake_hands(carer, lock)
    assert [len(message) for message in messages] == [48, 48]
    assert carer.remote_static == LOCK.public
    assert lock.remote_static is None


def test_payloads_ride_in_the_handshake() -> None:
    carer, lock = phone()
    assert lock.read_message(carer.write_message(b"bundle")) == b"bundle"
    assert carer.read_message(lock.write_message(b"receipt")) == b"receipt"


# ------------------------------------------------------------------------------------------------------------ attacks


@pytest.mark.parametrize(
    "changes",
    [
        {"responder_s": STRANGER},
        {"responder_rs": STRANGER.public},
        {"initiator_s": STRANGER},
        {"initiator_rs": STRANGER.public},
        {"initiator_prologue": PROLOGUE + b"\0"},
        {"responder_prologue": b""},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_attack_a_side_that_believes_otherwise_is_denied_at_the_first_message(changes: dict[str, Any]) -> None:
    gateway, lock = link(**changes)
    denied_reading(lock, gateway.write_message(b""))


def test_attack_a_message_with_any_bit_changed_is_denied() -> None:
    message = link()[0].write_message(b"payload")
    for bit in range(8 * len(message)):
        changed = bytearray(message)
        changed[bit // 8] ^= 1 << bit % 8
        denied_reading(link()[1], bytes(changed))


def test_attack_a_message_of_any_shorter_length_is_denied() -> None:
    message = link()[0].write_message(b"")
    for size in range(len(message)):
        denied_reading(link()[1], message[:size])


def test_attack_bytes_added_to_a_message_are_denied() -> None:
    denied_reading(link()[1], link()[0].write_message(b"") + b"\0")


def test_attack_the_static_key_of_a_pairing_cut_short_is_denied() -> None:
    gateway, lock = pairing()
    lock.read_message(gateway.write_message(b""))
    denied_reading(gateway, lock.write_message(b"")[: 32 + 47])


def test_attack_who_does_not_know_the_label_secret_cannot_pair_as_gateway() -> None:
    gateway, lock = pairing(gateway_psk=bytes(32))
    lock.read_message(gateway.write_message(b""))
    gateway.read_message(lock.write_message(b""))
    denied_reading(lock, gateway.write_message(b""))


def test_attack_a_replayed_first_message_does_not_make_the_replayed_record_good() -> None:
    gateway, lock = link()
    first, _ = shake_hands(gateway, lock)
    confirm = gateway.split()[0].encrypt(b"", b"confirm")
    _, again = link(responder_e=STRANGER)
    assert again.read_message(first) == b""
    again.write_message(b"")
    denied_decrypting(again.split()[0], b"", confirm)


LOW_ORDER_POINTS = {
    "zero": "00" * 32,
    "one": "01" + "00" * 31,
    "order 8": "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "order 8, second": "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "p - 1": "ec" + "ff" * 30 + "7f",
    "p": "ed" + "ff" * 30 + "7f",
    "p + 1": "ee" + "ff" * 30 + "7f",
    "zero, unused bit set": "00" * 31 + "80",
    "p, unused bit set": "ed" + "ff" * 31,
}


@pytest.mark.parametrize("point", LOW_ORDER_POINTS.values(), ids=LOW_ORDER_POINTS)
def test_attack_an_ephemeral_key_of_low_order_is_denied_to_its_reader(point: str) -> None:
    denied_reading(phone()[1], bytes.fromhex(point) + bytes(16))


@pytest.mark.parametrize("point", LOW_ORDER_POINTS.values(), ids=LOW_ORDER_POINTS)
def test_attack_an_ephemeral_key_of_low_order_is_denied_at_the_answer_at_the_latest(point: str) -> None:
    _, lock = pairing()
    denied_key = bytes.fromhex(point)
    # XXpsk3's first message is not encrypted but for the key that the psk modifier makes of `e`.
    forger = pairing(gateway_e=KeyPair(private=bytes(32), public=denied_key))[0]
    lock.read_message(forger.write_message(b""))
    with pytest.raises(RemoteProtocolError) as caught:
        lock.write_message(b"")
    assert caught.value.code is Code.DENIED


def test_attack_after_one_failure_the_handshake_is_over() -> None:
    gateway, lock = link()
    message = gateway.write_message(b"")
    denied_reading(lock, bytes(48))
    with pytest.raises(LocalProtocolError):
        lock.read_message(message)
    with pytest.raises(LocalProtocolError):
        lock.write_message(b"")
    assert not lock.finished


def test_attack_a_message_longer_than_noise_allows_is_denied() -> None:
    denied_reading(phone()[1], EPHEMERAL.public + bytes(noise.NOISE_MESSAGE_SIZE_MAX - 31))


def test_attack_a_long_message_is_denied_even_where_nothing_is_encrypted() -> None:
    nn = pattern("NN", "e; e ee")
    lock = HandshakeState(nn, initiator=False, prologue=b"", s=None, e=EPHEMERAL, rs=None, psk=None)
    denied_reading(lock, bytes(noise.NOISE_MESSAGE_SIZE_MAX + 1))


# --------------------------------------------------------------------------------------------------------- own misuse


@pytest.mark.parametrize(
    "changes",
    [
        {"initiator_s": None},
        {"responder_s": None},
        {"initiator_rs": None},
        {"responder_rs": None},
        {"initiator_psk": PSK},
        {"initiator_rs": bytes(31)},
        {"responder_rs": bytes(33)},
    ],
    ids=str,
)
def test_a_link_is_not_begun_without_exactly_its_keys(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        link(**changes)


@pytest.mark.parametrize(
    "keys",
    [
        {"s": None, "rs": None, "psk": PSK},
        {"s": GATEWAY, "rs": LOCK.public, "psk": PSK},
        {"s": GATEWAY, "rs": None, "psk": None},
        {"s": GATEWAY, "rs": None, "psk": bytes(31)},
        {"s": GATEWAY, "rs": None, "psk": b""},
    ],
    ids=["no static key", "a key that is not pinned", "no secret", "a short secret", "an empty secret"],
)
def test_a_pairing_is_not_begun_without_exactly_its_keys(keys: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        HandshakeState(XXPSK3, initiator=True, prologue=b"", e=EPHEMERAL, **keys)


def test_speaking_out_of_turn_is_refused_and_harms_nothing() -> None:
    gateway, lock = link()
    with pytest.raises(LocalProtocolError):
        lock.write_message(b"")
    with pytest.raises(LocalProtocolError):
        gateway.read_message(bytes(48))
    shake_hands(gateway, lock)
    with pytest.raises(LocalProtocolError):
        gateway.write_message(b"")
    with pytest.raises(LocalProtocolError):
        gateway.read_message(bytes(48))


def test_an_unfinished_handshake_has_neither_hash_nor_keys() -> None:
    gateway, _ = link()
    gateway.write_message(b"")
    with pytest.raises(LocalProtocolError):
        _ = gateway.handshake_hash
    with pytest.raises(LocalProtocolError):
        gateway.split()


def test_attack_keys_are_handed_out_once_so_that_no_counter_starts_twice() -> None:
    gateway, lock = link()
    shake_hands(gateway, lock)
    gateway.split()
    with pytest.raises(LocalProtocolError):
        gateway.split()
    assert gateway.finished


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_private_key_has_32_bytes(size: int) -> None:
    with pytest.raises(LocalProtocolError):
        KeyPair.from_private(bytes(size))


def test_a_private_key_is_not_shown() -> None:
    pair = KeyPair.from_private(b"\xaa" * 32)
    assert repr(pair) == f"KeyPair(public={pair.public!r})"


def test_a_pattern_that_uses_a_key_before_it_is_known_is_refused() -> None:
    broken = pattern("broken", "ee")
    state = HandshakeState(broken, initiator=True, prologue=b"", s=None, e=EPHEMERAL, rs=None, psk=None)
    with pytest.raises(LocalProtocolError):
        state.write_message(b"")


def test_the_longest_handshake_message_is_written_and_one_byte_more_is_not() -> None:
    payload = bytes(noise.NOISE_MESSAGE_SIZE_MAX - 48)
    carer, lock = phone()
    assert lock.read_message(carer.write_message(payload)) == payload
    with pytest.raises(LocalProtocolError):
        phone()[0].write_message(payload + b"\0")


# ------------------------------------------------------------------------------------------------------------ records


def channel(n: int = 0) -> tuple[CipherState, CipherState]:
    return CipherState(PSK, n), CipherState(PSK, n)


def denied_decrypting(state: CipherState, ad: bytes, ciphertext: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        state.decrypt(ad, ciphertext)
    assert caught.value.code is Code.DENIED


def test_records_come_out_in_the_order_they_went_in() -> None:
    sender, receiver = channel()
    records = [sender.encrypt(b"", bytes([number])) for number in range(3)]
    assert [receiver.decrypt(b"", record) for record in records] == [b"\0", b"\1", b"\2"]
    assert (sender.n, receiver.n) == (3, 3)


def test_the_counter_stands_little_endian_after_four_zero_bytes() -> None:
    # RFC 8439 §2.8.2's key and text under the nonce of counter 0x4746454443424140.
    key = bytes.fromhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f")
    sender = CipherState(key, 0x4746454443424140)
    one = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
        b"text", b"ad", bytes.fromhex("00000000" + "4041424344454647"), key
    )
    assert sender.encrypt(b"ad", b"text") == one


def test_attack_a_replayed_record_is_denied_and_the_next_one_still_goes_through() -> None:
    sender, receiver = channel()
    first, second = sender.encrypt(b"", b"a"), sender.encrypt(b"", b"b")
    receiver.decrypt(b"", first)
    denied_decrypting(receiver, b"", first)
    assert receiver.n == 1
    assert receiver.decrypt(b"", second) == b"b"


def test_attack_a_record_that_was_skipped_over_is_denied() -> None:
    sender, receiver = channel()
    sender.encrypt(b"", b"held back")
    denied_decrypting(receiver, b"", sender.encrypt(b"", b"b"))


def test_attack_a_record_with_other_associated_data_is_denied() -> None:
    sender, receiver = channel()
    denied_decrypting(receiver, b"other", sender.encrypt(b"one", b"a"))


def test_attack_a_record_returned_to_its_sender_is_denied() -> None:
    gateway, lock = link()
    shake_hands(gateway, lock)
    gateway_out, gateway_in = gateway.split()
    denied_decrypting(gateway_in, b"", gateway_out.encrypt(b"", b"a"))


@pytest.mark.parametrize("size", [0, 1, 15])
def test_attack_a_record_shorter_than_its_tag_is_denied(size: int) -> None:
    denied_decrypting(channel()[1], b"", bytes(size))


def test_the_longest_record_goes_through_and_one_byte_more_does_not() -> None:
    sender, receiver = channel()
    plaintext = bytes(noise.NOISE_MESSAGE_SIZE_MAX - 16)
    assert receiver.decrypt(b"", sender.encrypt(b"", plaintext)) == plaintext
    with pytest.raises(LocalProtocolError):
        sender.encrypt(b"", plaintext + b"\0")
    denied_decrypting(receiver, b"", bytes(noise.NOISE_MESSAGE_SIZE_MAX + 1))
    assert (sender.n, receiver.n) == (1, 1)


def test_the_last_counter_is_used_and_the_reserved_one_never() -> None:
    sender, receiver = channel(noise.NONCE_MAX - 1)
    assert receiver.decrypt(b"", sender.encrypt(b"", b"last")) == b"last"
    with pytest.raises(LocalProtocolError):
        sender.encrypt(b"", b"")
    with pytest.raises(LocalProtocolError):
        receiver.decrypt(b"", bytes(16))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_cipher_key_has_32_bytes(size: int) -> None:
    with pytest.raises(LocalProtocolError):
        CipherState(bytes(size))
