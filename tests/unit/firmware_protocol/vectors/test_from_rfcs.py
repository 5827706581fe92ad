"""Vectors out of the text of RFCs, in the formats of the runner: they need no file beside the checkout."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nacl.signing import SigningKey

from firmware_protocol import cbor, cose
from firmware_protocol.vectors import published

X25519 = {
    "private": "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
    "public": "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
    "shared": "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
}
"""RFC 7748 §5.2."""
CHACHA20_POLY1305 = {
    "key": "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
    "iv": "070000004041424344454647",
    "aad": "50515253c0c1c2c3c4c5c6c7",
    "msg": (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
        b"sunscreen would be it."
    ).hex(),
    "ct": (
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e06"
        "0b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d265"
        "86cec64b6116"
    ),
    "tag": "1ae10b594f09e26a7e902ecbd0600691",
}
"""RFC 8439 §2.8.2."""
HKDF_INFO = {
    "ikm": "0b" * 22,
    "salt": "000102030405060708090a0b0c",
    "info": "f0f1f2f3f4f5f6f7f8f9",
    "size": 42,
    "okm": "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
}
"""RFC 5869 A.1."""
HKDF_BARE = {
    "ikm": "0b" * 22,
    "salt": "",
    "info": "",
    "size": 42,
    "okm": "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
}
"""RFC 5869 A.3."""
HMAC = {
    "key": "0b" * 20,
    "msg": b"Hi There".hex(),
    "tag": "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
}
"""RFC 4231 §4.2."""


def counts(algorithm: str, test: dict[str, Any], result: str = "valid") -> tuple[int, int]:
    whole = {"tcId": 1, "comment": "", "flags": ["Rfc"], "result": result} | test
    document = {"algorithm": algorithm, "testGroups": [{"tagSize": 256, "tests": [whole]}]}
    tally = published.judge(json.dumps(document))
    return tally.passed, len(tally.failures)


@pytest.mark.parametrize(
    ("algorithm", "test", "spoiled"),
    [
        ("XDH", X25519, "shared"),
        ("CHACHA20-POLY1305", CHACHA20_POLY1305, "tag"),
        ("CHACHA20-POLY1305", CHACHA20_POLY1305, "msg"),
        ("HKDF-SHA-256", HKDF_INFO, "okm"),
        ("HKDF-SHA-256", HKDF_BARE, "okm"),
        ("HMACSHA256", HMAC, "tag"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_rfcs_own_examples_pass_and_with_another_byte_fail(
    algorithm: str, test: dict[str, Any], spoiled: str
) -> None:
    assert counts(algorithm, test) == (1, 0)
    text = test[spoiled]
    wrong = test | {spoiled: text[:-1] + ("0" if text[-1] != "0" else "1")}
    assert counts(algorithm, wrong) == (0, 1)
    assert counts(algorithm, test, "invalid") == (0, 1)


def test_what_must_be_refused_is_refused() -> None:
    assert counts("XDH", X25519 | {"public": "00" * 32}, "acceptable") == (1, 0)
    assert counts("CHACHA20-POLY1305", CHACHA20_POLY1305 | {"iv": "00" * 8}, "invalid") == (1, 0)
    assert counts("HKDF-SHA-256", HKDF_BARE | {"size": 255 * 32 + 1}, "invalid") == (1, 0)


def test_rows_of_rfc_8949_are_read_or_refused_as_the_profile_says() -> None:
    read = [
        "00",
        "1864",
        "3903e7",
        "f4",
        "f5",
        "f6",
        "40",
        "4401020304",
        "6161",
        "62c3bc",
        "80",
        "83010203",
        "a201020304",
    ]
    refused = [
        "f90000",
        "c074323031332d30332d32315432303a30343a30305a",
        "9fff",
        "f7",
        "a26161016162820203",
        "f818",
        "1801",
    ]
    rows = [{"hex": text, "roundtrip": True} for text in read]
    rows += [{"hex": text, "roundtrip": text not in {"9fff", "1801"}} for text in refused]
    tally = published.judge(json.dumps(rows))
    assert (tally.passed, tally.failures) == (len(rows), [])
    assert tally.notes == [f"{len(read)} rows are of the protocol's profile and must be read; the others be refused"]


def example(*, several: bool) -> dict[str, Any]:
    """An example as the COSE working group writes them, by the first key of RFC 8032 §7.1."""
    seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    key = SigningKey(bytes.fromhex(seed))
    protected, payload = bytes.fromhex("a10127"), b"This is the content."
    covered = (
        cose.sig_structure(b"", protected, b"", payload) if several else cose.sig_structure1(protected, b"", payload)
    )
    signature = key.sign(covered).signature
    unprotected: dict[int, cbor.Value] = {4: b"11"}
    parts: list[cbor.Value] = [b"", {}, payload, [[protected, unprotected, signature]]]
    data = cbor.Tag(98, parts) if several else cbor.Tag(18, [protected, unprotected, payload, signature])
    signer = {"key": {"crv": "Ed25519", "d_hex": seed, "x_hex": bytes(key.verify_key).hex()}}
    made = {"ToBeSign_hex": covered.hex()}
    return {
        "title": "ours",
        "input": {"sign": {"signers": [signer]}} if several else {"sign0": signer},
        "intermediates": {"signers": [made]} if several else made,
        "output": {"cbor": cbor.encode(data).hex()},
    }


@pytest.mark.parametrize("several", [False, True], ids=["Sign1", "Sign"])
def test_an_example_of_cose_passes_and_otherwise_fails(*, several: bool) -> None:
    document = example(several=several)
    tally = published.judge(json.dumps(document))
    assert (tally.passed, tally.failures) == (1, [])
    for output in (document["output"]["cbor"][:-2] + "00", "80", "f7"):
        spoiled = document | {"output": {"cbor": output}}
        assert published.judge(json.dumps(spoiled)).failures == ["ours"]
        assert published.judge(json.dumps(spoiled | {"fail": True})).failures == []


def test_other_algorithms_of_cose_are_skipped_with_a_reason() -> None:
    for given, reason in (
        ({"sign0": {"key": {"crv": "P-256"}}}, "key of the curve P-256: the protocol signs with Ed25519 only"),
        ({"mac0": {}}, "neither COSE_Sign1 nor COSE_Sign with one signer"),
        ({"sign": {"signers": [1, 2]}}, "neither COSE_Sign1 nor COSE_Sign with one signer"),
    ):
        tally = published.judge(json.dumps({"title": "theirs", "input": given}))
        assert (tally.passed, list(tally.skipped)) == (0, [reason])


def test_noise_vectors_that_do_not_apply_are_skipped_with_a_reason() -> None:
    names = ("Noise_NN_448_AESGCM_SHA256", "Noise_NN_25519_ChaChaPoly_SHA3", "Noise_NK1_25519_ChaChaPoly_SHA256")
    several = {"protocol_name": "Noise_NNpsk0+psk2_25519_ChaChaPoly_SHA256", "init_psks": ["00" * 32, "11" * 32]}
    vectors = [{"protocol_name": name} for name in names]
    tally = published.judge(json.dumps({"vectors": [*vectors, several]}))
    assert (tally.passed, tally.skipped.total(), len(tally.skipped)) == (0, 4, 4)


def test_an_inclusion_proof_of_one_leaf_is_its_root() -> None:
    root = "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0="
    document = {
        "leafIdx": 0,
        "treeSize": 1,
        "root": root,
        "leafHash": root,
        "proof": None,
        "desc": "one",
        "wantErr": False,
    }
    assert published.judge(json.dumps(document)).passed == 1
    assert published.judge(json.dumps(document | {"treeSize": 2})).failures == ["one"]
