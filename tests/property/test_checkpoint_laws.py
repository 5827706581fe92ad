from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from firmware_protocol.checkpoint import (
    TIME_S_MAX,
    Checkpoint,
    Cosignature,
    cosign,
    origin_of,
    parse_note,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.merkle import TREE_SIZE_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
GATEWAY = SigningKey(hashlib.sha256(b"gateway").digest())
CENTRE = SigningKey(hashlib.sha256(b"centre").digest())
IDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=32)
LINES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20)
CHECKPOINTS = st.builds(
    Checkpoint,
    origin=st.builds(origin_of, IDS, IDS),
    size=st.integers(0, TREE_SIZE_MAX),
    root=st.binary(min_size=32, max_size=32),
    extensions=st.lists(LINES, max_size=4).map(tuple),
)
FIXED = Checkpoint(origin=origin_of("gateway", "log"), size=7, root=bytes(range(32)))
RECEIPT = cosign(
    sign_checkpoint(FIXED, key=GATEWAY, name=FIXED.origin), key=CENTRE, name="centre", time_s=1_800_000_000
)


def unless_malformed(read: Callable[[bytes], T], data: bytes) -> T | None:
    try:
        return read(data)
    except RemoteProtocolError as error:
        if error.code is not Code.MALFORMED:
            raise
        return None


@given(CHECKPOINTS, st.integers(0, TIME_S_MAX))
def test_what_was_signed_and_cosigned_is_what_is_verified(checkpoint: Checkpoint, time_s: int) -> None:
    assert Checkpoint.parse(checkpoint.body()) == checkpoint
    note = sign_checkpoint(checkpoint, key=GATEWAY, name=checkpoint.origin)
    receipt = cosign(note, key=CENTRE, name="centre", time_s=time_s)
    for each in (note, receipt):
        assert verify_checkpoint(each, name=checkpoint.origin, public=bytes(GATEWAY.verify_key)) == checkpoint
    stated = verify_cosignature(receipt, name="centre", public=bytes(CENTRE.verify_key))
    assert stated == Cosignature(checkpoint=checkpoint, time_s=time_s)


@given(st.integers(0, len(RECEIPT) - 1), st.integers(1, 255))
def test_no_byte_of_a_receipt_can_change_without_one_of_its_signers_noticing(at: int, mask: int) -> None:
    changed = bytearray(RECEIPT)
    changed[at] ^= mask
    with pytest.raises(RemoteProtocolError) as caught:  # noqa: PT012 - which of the two notices depends on the byte
        verify_checkpoint(bytes(changed), name=FIXED.origin, public=bytes(GATEWAY.verify_key))
        verify_cosignature(bytes(changed), name="centre", public=bytes(CENTRE.verify_key))
    assert caught.value.code in {Code.BAD_SIGNATURE, Code.MALFORMED}


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_checkpoint_in_its_one_encoding_or_malformed(data: bytes) -> None:
    for body in (data, FIXED.body() + data):
        checkpoint = unless_malformed(Checkpoint.parse, body)
        assert checkpoint is None or checkpoint.body() == body


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_note_or_malformed(data: bytes) -> None:
    for note in (data, RECEIPT + data, data + RECEIPT):
        parsed = unless_malformed(parse_note, note)
        assert parsed is None or note.startswith(parsed.text + b"\n")
