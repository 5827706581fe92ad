from __future__ import annotations

import hashlib
import json
from typing import Any

import cbor2
import pytest
from nacl.signing import SigningKey, VerifyKey

from firmware_protocol import cose
from firmware_protocol.codes import Code
from firmware_protocol.constants import OBJECT_SIZE_MAX
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from tests.support.published_vectors import published_vectors

KEY, OTHER_KEY, THIRD_KEY = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
PUBLIC, OTHER_PUBLIC, THIRD_PUBLIC = (bytes(key.verify_key) for key in (KEY, OTHER_KEY, THIRD_KEY))
KID = cose.kid_of(PUBLIC)
PAYLOAD = bytes.fromhex("a10001")
PROTECTED = bytes.fromhex("a2012704") + b"\x48" + KID
SIGNATURE = bytes(64)


def by_kid(*keys: bytes) -> dict[bytes, bytes]:
    return {cose.kid_of(key): key for key in keys}


def parse(data: bytes) -> cose.Envelope:
    return cose.parse(data, size_max=OBJECT_SIZE_MAX)


def cose_object(*items: object, tag: int = 18) -> bytes:
    """Bytes of a tagged array, written by cbor2 alone so that any shape can be had."""
    return cbor2.dumps(cbor2.CBORTag(tag, list(items)), canonical=True)


def refusal_of_parsing(data: bytes) -> Code:
    with pytest.raises(RemoteProtocolError) as caught:
        parse(data)
    return caught.value.code


def refusal_of_verifying(data: bytes, verify_key: bytes = PUBLIC, domain: str = "grant") -> Code:
    with pytest.raises(RemoteProtocolError) as caught:
        parse(data).verify(verify_key, domain=domain)
    return caught.value.code


# --------------------------------------------------------------------------------------------------------- names


def test_a_key_id_is_the_first_8_bytes_of_the_hash_of_the_key() -> None:
    assert cose.kid_of(PUBLIC) == hashlib.sha256(PUBLIC).digest()[:8]


def test_a_gateway_or_lock_id_is_computed_like_a_key_id() -> None:
    assert cose.id_of(PUBLIC) == cose.kid_of(PUBLIC)


# ---------------------------------------------------------------------------------------------------- one signer


def test_a_signed_object_has_exactly_these_bytes() -> None:
    data = cose.sign1(PAYLOAD, key=KEY, domain="grant")
    covered = b"\x84\x6aSignature1\x4d" + PROTECTED + b"\x50carelock/1/grant\x43" + PAYLOAD
    assert data == b"\xd2\x84\x4d" + PROTECTED + b"\xa0\x43" + PAYLOAD + b"\x58\x40" + KEY.sign(covered).signature


def test_the_signers_key_opens_the_object() -> None:
    data = cose.sign1(PAYLOAD, key=KEY, domain="grant")
    envelope = parse(data)
    assert envelope.verify(PUBLIC, domain="grant") == PAYLOAD
    assert (envelope.raw, envelope.sha256) == (data, hashlib.sha256(data).digest())
    assert not envelope.is_multi
    assert [entry.kid for entry in envelope.signatures] == [KID]


def test_an_empty_payload_is_a_payload() -> None:
    assert parse(cose.sign1(b"", key=KEY, domain="info")).verify(PUBLIC, domain="info") == b""


@pytest.mark.parametrize("size", [1, 23, 24, 255, 256, 900])
def test_a_payload_of_any_size_comes_back(size: int) -> None:
    data = cose.sign1(bytes(size), key=KEY, domain="info")
    assert data == cbor2.dumps(cbor2.loads(data), canonical=True)
    assert parse(data).verify(PUBLIC, domain="info") == bytes(size)


@pytest.mark.parametrize("size", [1, 23, 24, 255, 256])
def test_attack_a_payload_with_a_longer_length_than_need_be_is_refused(size: int) -> None:
    data = cose.sign1(bytes(size), key=KEY, domain="info")
    head, longer = cbor2.dumps(bytes(size))[:-size], b"\x5a" + size.to_bytes(4, "big")
    assert refusal_of_parsing(data.replace(b"\xa0" + head, b"\xa0" + longer)) is Code.MALFORMED
    shorter_forms = {1: b"\x58\x01", 23: b"\x58\x17", 24: b"\x59\x00\x18", 255: b"\x59\x00\xff"}
    if size in shorter_forms:
        assert refusal_of_parsing(data.replace(b"\xa0" + head, b"\xa0" + shorter_forms[size])) is Code.MALFORMED


@pytest.mark.parametrize("size", range(0, 90, 7))
def test_an_object_cut_short_anywhere_is_refused(size: int) -> None:
    assert refusal_of_parsing(cose.sign1(PAYLOAD, key=KEY, domain="info")[:size]) is Code.MALFORMED


def test_attack_an_object_presented_as_one_of_another_domain_does_not_verify() -> None:
    assert refusal_of_verifying(cose.sign1(PAYLOAD, key=KEY, domain="operator")) is Code.BAD_SIGNATURE


def test_attack_an_object_signed_by_another_key_does_not_verify() -> None:
    assert refusal_of_verifying(cose.sign1(PAYLOAD, key=OTHER_KEY, domain="grant")) is Code.BAD_SIGNATURE


def test_attack_a_borrowed_kid_does_not_make_the_key_its_owner() -> None:
    covered = cose.sig_structure1(PROTECTED, b"carelock/1/grant", PAYLOAD)
    data = cose_object(PROTECTED, {}, PAYLOAD, OTHER_KEY.sign(covered).signature)
    assert refusal_of_verifying(data) is Code.BAD_SIGNATURE


def test_attack_a_right_signature_under_another_kid_does_not_verify() -> None:
    protected = PROTECTED[:5] + bytes(8)
    covered = cose.sig_structure1(protected, b"carelock/1/grant", PAYLOAD)
    assert refusal_of_verifying(cose_object(protected, {}, PAYLOAD, KEY.sign(covered).signature)) is Code.BAD_SIGNATURE


def test_attack_a_changed_payload_does_not_verify() -> None:
    data = cose.sign1(PAYLOAD, key=KEY, domain="grant")
    assert refusal_of_verifying(data.replace(PAYLOAD, bytes.fromhex("a10002"))) is Code.BAD_SIGNATURE


def test_attack_a_signature_of_several_is_none_of_one() -> None:
    covered = cose.sig_structure(b"", PROTECTED, b"carelock/1/grant", PAYLOAD)
    assert refusal_of_verifying(cose_object(PROTECTED, {}, PAYLOAD, KEY.sign(covered).signature)) is Code.BAD_SIGNATURE


def test_attack_a_signature_with_the_group_order_added_does_not_verify() -> None:
    data = cose.sign1(PAYLOAD, key=KEY, domain="grant")
    order = 2**252 + 27_742_317_777_372_353_535_851_937_790_883_648_493
    scalar = int.from_bytes(data[-32:], "little") + order
    assert refusal_of_verifying(data[:-32] + scalar.to_bytes(32, "little")) is Code.BAD_SIGNATURE


SMALL_ORDER_KEYS = {
    "identity": "01" + "00" * 31,
    "order 2": "ec" + "ff" * 30 + "7f",
    "order 4, all zero": "00" * 32,
    "order 4, other sign": "00" * 31 + "80",
    "order 8": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "order 8, other sign": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "order 8, second": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "order 8, second, other sign": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "identity, not reduced": "ee" + "ff" * 30 + "7f",
    "order 4, not reduced": "ed" + "ff" * 30 + "7f",
}


@pytest.mark.parametrize("nonce_point", SMALL_ORDER_KEYS.values(), ids=[f"R {name}" for name in SMALL_ORDER_KEYS])
@pytest.mark.parametrize("key", SMALL_ORDER_KEYS.values(), ids=[f"key {name}" for name in SMALL_ORDER_KEYS])
def test_attack_a_key_of_small_order_signs_nothing(key: str, nonce_point: str) -> None:
    public = bytes.fromhex(key)
    protected = PROTECTED[:5] + cose.kid_of(public)
    data = cose_object(protected, {}, PAYLOAD, bytes.fromhex(nonce_point) + bytes(32))
    assert refusal_of_verifying(data, public) is Code.BAD_SIGNATURE


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_verify_key_of_another_size_is_our_own_mistake(size: int) -> None:
    protected = PROTECTED[:5] + cose.kid_of(bytes(size))
    envelope = parse(cose_object(protected, {}, PAYLOAD, SIGNATURE))
    with pytest.raises(LocalProtocolError):
        envelope.verify(bytes(size), domain="grant")


# ----------------------------------------------------------------------------------------------- several signers


def test_several_signers_sign_exactly_these_bytes() -> None:
    data = cose.sign_many(PAYLOAD, keys=[KEY], domain="keyset")
    covered = b"\x85\x69Signature\x40\x4d" + PROTECTED + b"\x51carelock/1/keyset\x43" + PAYLOAD
    signature = b"\x83\x4d" + PROTECTED + b"\xa0\x58\x40" + KEY.sign(covered).signature
    assert data == b"\xd8\x62\x84\x40\xa0\x43" + PAYLOAD + b"\x81" + signature


def test_the_keys_that_signed_are_told_and_no_others() -> None:
    envelope = parse(cose.sign_many(PAYLOAD, keys=[KEY, OTHER_KEY], domain="keyset"))
    assert envelope.is_multi
    assert [entry.kid for entry in envelope.signatures] == [KID, cose.kid_of(OTHER_PUBLIC)]
    known = by_kid(PUBLIC, OTHER_PUBLIC, THIRD_PUBLIC)
    assert envelope.verify_many(known, domain="keyset") == {PUBLIC, OTHER_PUBLIC}


def test_signatures_of_unknown_keys_do_not_count() -> None:
    envelope = parse(cose.sign_many(PAYLOAD, keys=[KEY, OTHER_KEY], domain="keyset"))
    assert envelope.verify_many(by_kid(PUBLIC), domain="keyset") == {PUBLIC}
    assert envelope.verify_many({}, domain="keyset") == frozenset()


def test_attack_a_key_that_signs_twice_counts_once() -> None:
    envelope = parse(cose.sign_many(PAYLOAD, keys=[KEY, KEY, KEY], domain="keyset"))
    assert envelope.verify_many(by_kid(PUBLIC, OTHER_PUBLIC), domain="keyset") == {PUBLIC}


def test_attack_a_key_known_by_two_kids_counts_once() -> None:
    other_kid = bytes(8)
    protected = PROTECTED[:5] + other_kid
    signed = [
        [header, {}, KEY.sign(cose.sig_structure(b"", header, b"carelock/1/keyset", PAYLOAD)).signature]
        for header in (PROTECTED, protected)
    ]
    envelope = parse(cose_object(b"", {}, PAYLOAD, signed, tag=98))
    assert envelope.verify_many({KID: PUBLIC, other_kid: PUBLIC}, domain="keyset") == {PUBLIC}


def test_attack_one_false_signature_of_a_known_key_spoils_the_object() -> None:
    data = cose.sign_many(PAYLOAD, keys=[KEY, OTHER_KEY], domain="keyset")
    envelope = parse(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(RemoteProtocolError) as caught:
        envelope.verify_many(by_kid(PUBLIC, OTHER_PUBLIC), domain="keyset")
    assert caught.value.code is Code.BAD_SIGNATURE


def test_attack_several_signers_of_another_domain_do_not_verify() -> None:
    envelope = parse(cose.sign_many(PAYLOAD, keys=[KEY, OTHER_KEY], domain="state"))
    with pytest.raises(RemoteProtocolError) as caught:
        envelope.verify_many(by_kid(PUBLIC), domain="keyset")
    assert caught.value.code is Code.BAD_SIGNATURE


def test_an_object_of_several_signers_is_refused_where_one_is_expected() -> None:
    data = cose.sign_many(PAYLOAD, keys=[KEY], domain="grant")
    assert refusal_of_verifying(data) is Code.BAD_SIGNATURE


def test_an_object_of_one_signer_counts_as_one_signature() -> None:
    envelope = parse(cose.sign1(PAYLOAD, key=KEY, domain="alarm"))
    assert envelope.verify_many(by_kid(PUBLIC, OTHER_PUBLIC), domain="alarm") == {PUBLIC}
    assert envelope.verify_many(by_kid(OTHER_PUBLIC), domain="alarm") == frozenset()


def test_eight_signatures_are_allowed() -> None:
    keys = [SigningKey(bytes([number]) * 32) for number in range(8)]
    publics = [bytes(key.verify_key) for key in keys]
    envelope = parse(cose.sign_many(PAYLOAD, keys=keys, domain="keyset"))
    assert envelope.verify_many(by_kid(*publics), domain="keyset") == frozenset(publics)


@pytest.mark.parametrize("count", [0, 9])
def test_no_signature_or_nine_are_our_own_mistake(count: int) -> None:
    with pytest.raises(LocalProtocolError):
        cose.sign_many(PAYLOAD, keys=[KEY] * count, domain="keyset")


# ------------------------------------------------------------------------------------------------- other shapes

GOOD_ENTRY = [PROTECTED, {}, SIGNATURE]
OTHER_SHAPES = {
    "not a tag": cbor2.dumps([PROTECTED, {}, PAYLOAD, SIGNATURE]),
    "nothing in the tag": cose_object(),
    "a map in the tag": cbor2.dumps(cbor2.CBORTag(18, {})),
    "tag of one, shape of several": cose_object(b"", {}, PAYLOAD, [GOOD_ENTRY]),
    "tag of several, shape of one": cose_object(PROTECTED, {}, PAYLOAD, SIGNATURE, tag=98),
    "tag of MAC0": cose_object(PROTECTED, {}, PAYLOAD, SIGNATURE, tag=17),
    "three items": cose_object(PROTECTED, {}, PAYLOAD),
    "five items": cose_object(PROTECTED, {}, PAYLOAD, SIGNATURE, b""),
    "detached payload": cose_object(PROTECTED, {}, None, SIGNATURE),
    "payload that is text": cose_object(PROTECTED, {}, "a", SIGNATURE),
    "unprotected header with a kid": cose_object(PROTECTED, {4: KID}, PAYLOAD, SIGNATURE),
    "unprotected header that is an array": cose_object(PROTECTED, [], PAYLOAD, SIGNATURE),
    "protected header that is a map": cose_object({1: -8, 4: KID}, {}, PAYLOAD, SIGNATURE),
    "empty protected header": cose_object(b"", {}, PAYLOAD, SIGNATURE),
    "protected header with an empty map": cose_object(b"\xa0", {}, PAYLOAD, SIGNATURE),
    "protected header that is an array": cose_object(b"\x80", {}, PAYLOAD, SIGNATURE),
    "algorithm ES256": cose_object(PROTECTED.replace(b"\x27", b"\x26"), {}, PAYLOAD, SIGNATURE),
    "no algorithm": cose_object(b"\xa1\x04\x48" + KID, {}, PAYLOAD, SIGNATURE),
    "no kid": cose_object(b"\xa1\x01\x27", {}, PAYLOAD, SIGNATURE),
    "kid of 7 bytes": cose_object(b"\xa2\x01\x27\x04\x47" + KID[:7], {}, PAYLOAD, SIGNATURE),
    "kid of 9 bytes": cose_object(b"\xa2\x01\x27\x04\x49" + KID + b"\0", {}, PAYLOAD, SIGNATURE),
    "kid that is text": cose_object(b"\xa2\x01\x27\x04\x68abcdefgh", {}, PAYLOAD, SIGNATURE),
    "critical headers": cose_object(b"\xa3\x01\x27\x02\x80\x04\x48" + KID, {}, PAYLOAD, SIGNATURE),
    "protected header unsorted": cose_object(b"\xa2\x04\x48" + KID + b"\x01\x27", {}, PAYLOAD, SIGNATURE),
    "bytes after the protected header": cose_object(PROTECTED + b"\x00", {}, PAYLOAD, SIGNATURE),
    "signature of 63 bytes": cose_object(PROTECTED, {}, PAYLOAD, bytes(63)),
    "signature of 65 bytes": cose_object(PROTECTED, {}, PAYLOAD, bytes(65)),
    "no signature": cose_object(PROTECTED, {}, PAYLOAD, b""),
    "signature that is nothing": cose_object(PROTECTED, {}, PAYLOAD, None),
    "several: body header of an empty map": cose_object(b"\xa0", {}, PAYLOAD, [GOOD_ENTRY], tag=98),
    "several: unprotected header": cose_object(b"", {4: KID}, PAYLOAD, [GOOD_ENTRY], tag=98),
    "several: detached payload": cose_object(b"", {}, None, [GOOD_ENTRY], tag=98),
    "several: no signatures": cose_object(b"", {}, PAYLOAD, [], tag=98),
    "several: signatures that are bytes": cose_object(b"", {}, PAYLOAD, b"", tag=98),
    "several: a signature that is bytes": cose_object(b"", {}, PAYLOAD, [b""], tag=98),
    "several: a signature without a kid": cose_object(b"", {}, PAYLOAD, [[b"\xa1\x01\x27", {}, bytes(64)]], tag=98),
    "several: a signature of 63 bytes": cose_object(b"", {}, PAYLOAD, [[PROTECTED, {}, bytes(63)]], tag=98),
    "several: signature with a header": cose_object(b"", {}, PAYLOAD, [[PROTECTED, {4: KID}, SIGNATURE]], tag=98),
    "several: signature that is bytes": cose_object(b"", {}, PAYLOAD, [SIGNATURE], tag=98),
    "several: one good, one short": cose_object(b"", {}, PAYLOAD, [GOOD_ENTRY, [PROTECTED, {}, b""]], tag=98),
    "one in the other": cbor2.dumps(cbor2.CBORTag(18, cbor2.CBORTag(18, [PROTECTED, {}, PAYLOAD, SIGNATURE]))),
    "bytes after the end": cose_object(PROTECTED, {}, PAYLOAD, SIGNATURE) + b"\x00",
}


@pytest.mark.parametrize("data", OTHER_SHAPES.values(), ids=OTHER_SHAPES)
def test_any_other_shape_is_refused(data: bytes) -> None:
    assert refusal_of_parsing(data) is Code.MALFORMED


def test_nine_signatures_are_refused_before_any_is_verified() -> None:
    assert refusal_of_parsing(cose_object(b"", {}, b"", [GOOD_ENTRY] * 9, tag=98)) is Code.MALFORMED


def test_an_object_of_exactly_the_allowed_size_is_parsed_and_one_byte_more_is_not() -> None:
    data = cose.sign1(PAYLOAD, key=KEY, domain="grant")
    assert cose.parse(data, size_max=len(data)).payload == PAYLOAD
    with pytest.raises(RemoteProtocolError) as caught:
        cose.parse(data, size_max=len(data) - 1)
    assert caught.value.code is Code.TOO_LARGE


def test_attack_five_bytes_moved_from_the_message_into_the_signature_are_refused() -> None:
    covered = cose.sig_structure1(PROTECTED, b"carelock/1/grant", PAYLOAD)
    long_signature = KEY.sign(covered).signature + covered[:5]
    assert refusal_of_parsing(cose_object(PROTECTED, {}, PAYLOAD, long_signature)) is Code.MALFORMED


# -------------------------------------------------------------------------------------------- published vectors


def published_object(name: str) -> tuple[dict[str, Any], list[Any]]:
    vector = json.loads(published_vectors(f"cose/eddsa-examples/{name}.json"))
    return vector, cbor2.loads(bytes.fromhex(vector["output"]["cbor"])).value


def test_the_cose_working_groups_sign1_example_is_signed_and_verified_alike() -> None:
    vector, (protected, _, payload, signature) = published_object("eddsa-sig-01")
    covered = cose.sig_structure1(protected, b"", payload)
    assert covered == bytes.fromhex(vector["intermediates"]["ToBeSign_hex"])
    key = vector["input"]["sign0"]["key"]
    assert SigningKey(bytes.fromhex(key["d_hex"])).sign(covered).signature == signature
    assert VerifyKey(bytes.fromhex(key["x_hex"])).verify(covered, signature) == covered


def test_the_cose_working_groups_sign_example_is_signed_and_verified_alike() -> None:
    vector, (body_protected, _, payload, ((protected, _, signature),)) = published_object("eddsa-01")
    covered = cose.sig_structure(body_protected, protected, b"", payload)
    assert covered == bytes.fromhex(vector["intermediates"]["signers"][0]["ToBeSign_hex"])
    key = vector["input"]["sign"]["signers"][0]["key"]
    assert SigningKey(bytes.fromhex(key["d_hex"])).sign(covered).signature == signature
    assert VerifyKey(bytes.fromhex(key["x_hex"])).verify(covered, signature) == covered


@pytest.mark.parametrize("number", [1, 2, 3, 4, 6, 7])
def test_the_cose_working_groups_failures_are_no_envelopes_here(number: int) -> None:
    vector = json.loads(published_vectors(f"cose/sign1-tests/sign-fail-{number:02}.json"))
    assert refusal_of_parsing(bytes.fromhex(vector["output"]["cbor"])) is Code.MALFORMED
