from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.noise import KK, NK, XXPSK3, CipherState, HandshakeState, KeyPair, Pattern

keys = st.binary(min_size=32, max_size=32)
pairs = keys.map(KeyPair.from_private)
patterns = st.sampled_from([KK, NK, XXPSK3])
payloads = st.binary(max_size=100)


@st.composite
def handshakes(draw: st.DrawFn) -> tuple[HandshakeState, HandshakeState]:
    """Two sides that agree, with any keys."""
    pattern: Pattern = draw(patterns)
    prologue, psk = draw(payloads), draw(keys) if pattern.uses_psk else None
    initiator, responder = draw(pairs), draw(pairs)
    return (
        HandshakeState(
            pattern,
            initiator=True,
            prologue=prologue,
            s=None if pattern is NK else initiator,
            e=draw(pairs),
            rs=responder.public if pattern.pre_responder else None,
            psk=psk,
        ),
        HandshakeState(
            pattern,
            initiator=False,
            prologue=prologue,
            s=responder,
            e=draw(pairs),
            rs=initiator.public if pattern.pre_initiator else None,
            psk=psk,
        ),
    )


@given(handshakes(), st.data())
def test_two_sides_that_agree_on_their_inputs_agree_on_everything_else(
    sides: tuple[HandshakeState, HandshakeState], data: st.DataObject
) -> None:
    writer, reader = sides
    while not writer.finished:
        payload = data.draw(payloads)
        assert reader.read_message(writer.write_message(payload)) == payload
        writer, reader = reader, writer
    initiator, responder = sides
    assert initiator.finished
    assert responder.finished
    assert initiator.handshake_hash == responder.handshake_hash
    for mine, theirs in zip(initiator.split(), responder.split(), strict=True):
        assert theirs.decrypt(b"", mine.encrypt(b"", b"text")) == b"text"


@given(handshakes(), st.data())
def test_a_changed_handshake_never_finishes_on_both_sides(
    sides: tuple[HandshakeState, HandshakeState], data: st.DataObject
) -> None:
    writer, reader = sides
    at = data.draw(st.integers(0, 1))
    code = None
    for index in range(3):
        try:
            message = bytearray(writer.write_message(b""))
            if index == at:
                message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
            reader.read_message(bytes(message))
        except RemoteProtocolError as error:
            code = error.code
            break
        writer, reader = reader, writer
    assert code is Code.DENIED
    assert not all(side.finished for side in sides)


@given(handshakes(), st.binary(max_size=120))
def test_bytes_that_no_initiator_wrote_are_denied(sides: tuple[HandshakeState, HandshakeState], message: bytes) -> None:
    _, responder = sides
    with pytest.raises(RemoteProtocolError) as caught:
        responder.read_message(message)
    assert caught.value.code is Code.DENIED


@given(keys, st.lists(st.tuples(payloads, payloads), max_size=8), st.data())
def test_only_the_next_record_is_read(key: bytes, texts: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    sender, receiver = CipherState(key), CipherState(key)
    records = [(ad, text, sender.encrypt(ad, text)) for ad, text in texts]
    for number, (ad, text, record) in enumerate(records):
        other = data.draw(st.sampled_from(records))[2]
        if other != record:
            with pytest.raises(RemoteProtocolError):
                receiver.decrypt(ad, other)
        assert receiver.n == number
        assert receiver.decrypt(ad, record) == text
