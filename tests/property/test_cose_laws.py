from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from firmware_protocol import cose
from firmware_protocol.constants import LARGE_OBJECT_SIZE_MAX
from firmware_protocol.errors import RemoteProtocolError

KEYS = [SigningKey(bytes([number]) * 32) for number in range(1, 5)]
PUBLICS = [bytes(key.verify_key) for key in KEYS]
BY_KID = {cose.kid_of(public): public for public in PUBLICS}

domains = st.sampled_from(["keyset", "authority", "grant", "command", "alarm", "state"])
payloads = st.binary(max_size=300)


def parse(data: bytes) -> cose.Envelope:
    return cose.parse(data, size_max=LARGE_OBJECT_SIZE_MAX)


def with_a_byte_changed(data: bytes, draw: st.DataObject) -> bytes:
    changed = bytearray(data)
    changed[draw.draw(st.integers(0, len(changed) - 1))] ^= draw.draw(st.integers(1, 255))
    return bytes(changed)


@given(payloads, st.sampled_from(KEYS), domains)
def test_what_a_key_signed_opens_with_that_key_in_that_domain(payload: bytes, key: SigningKey, domain: str) -> None:
    envelope = parse(cose.sign1(payload, key=key, domain=domain))
    assert envelope.verify(bytes(key.verify_key), domain=domain) == payload


@given(payloads, domains, domains, st.sampled_from(KEYS), st.sampled_from(PUBLICS))
def test_it_opens_with_no_other_key_and_in_no_other_domain(
    payload: bytes, signed: str, presented: str, key: SigningKey, public: bytes
) -> None:
    envelope = parse(cose.sign1(payload, key=key, domain=signed))
    if signed == presented and public == bytes(key.verify_key):
        assert envelope.verify(public, domain=presented) == payload
    else:
        with pytest.raises(RemoteProtocolError):
            envelope.verify(public, domain=presented)


@given(payloads, st.data())
def test_no_byte_of_an_object_can_be_changed(payload: bytes, data: st.DataObject) -> None:
    changed = with_a_byte_changed(cose.sign1(payload, key=KEYS[0], domain="grant"), data)
    with pytest.raises(RemoteProtocolError):
        parse(changed).verify(PUBLICS[0], domain="grant")


@given(payloads, st.lists(st.sampled_from(KEYS), min_size=1, max_size=8))
def test_the_keys_counted_are_the_distinct_ones_that_signed(payload: bytes, keys: list[SigningKey]) -> None:
    envelope = parse(cose.sign_many(payload, keys=keys, domain="keyset"))
    assert envelope.verify_many(BY_KID, domain="keyset") == {bytes(key.verify_key) for key in keys}


@given(payloads, st.data())
def test_a_byte_changed_among_several_signatures_never_leaves_all_of_them_counted(
    payload: bytes, data: st.DataObject
) -> None:
    changed = with_a_byte_changed(cose.sign_many(payload, keys=KEYS[:2], domain="keyset"), data)
    try:
        counted = parse(changed).verify_many(BY_KID, domain="keyset")
    except RemoteProtocolError:
        return
    assert counted < set(PUBLICS[:2])


@given(st.binary(max_size=300))
def test_any_bytes_are_an_envelope_or_refused(data: bytes) -> None:
    try:
        envelope = parse(data)
    except RemoteProtocolError:
        return
    assert envelope.raw == data
