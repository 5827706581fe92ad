"""The runner of published vectors: that it passes them, that it can fail, and what it says of what it cannot read."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from nacl.signing import SigningKey

from firmware_protocol.noise import KK, NK, XXPSK3
from firmware_protocol.vectors import noise_patterns, published
from firmware_protocol.vectors.__main__ import main
from firmware_protocol.vectors.tally import FAILURES_SHOWN, VectorFileError
from tests.support.published_vectors import published_folder, published_vectors

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_protocol.noise import Pattern
    from firmware_protocol.vectors.tally import Tally

HAPPY_PROOF = "tlog/merkle/inclusion/3/happy-path.json"
CONSISTENCY: dict[str, Any] = {
    "size1": 1,
    "size2": 8,
    "root1": "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=",
    "root2": "XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=",
    "proof": [
        "lqKW0iTyhcZ77pPDD4owkVfw2qNdxbh+QQt4YwoJz8c=",
        "Xwg/ChozygdqlSeYMlgNs+DvRYS9/x9UyKNg9Q3jAx4=",
        "a0eq8p7jwq+a+Im8H7klTavTEXfxYjLdaqsDXKOb9uQ=",
    ],
    "desc": "happy path",
    "wantErr": False,
}


def ran(document: object) -> Tally:
    return published.judge(json.dumps(document))


def loaded(name: str) -> Any:
    return json.loads(published_vectors(name))


def counts(tally: Tally) -> tuple[int, int, int]:
    return tally.passed, len(tally.failures), tally.skipped.total()


# --------------------------------------------------------------------------------------------- all that is published


def test_every_published_file_passes_or_says_why_it_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    folder = published_folder()
    assert main([str(folder)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert f"{folder / 'noise/cacophony.txt'}: 144 passed, 0 failed, 800 skipped" in said.out
    assert "x25519_test.json: 518 passed, 0 failed, 0 skipped" in said.out
    assert "chacha20_poly1305_test.json: 325 passed, 0 failed, 0 skipped" in said.out
    assert "hkdf_sha256_test.json: 86 passed, 0 failed, 0 skipped" in said.out
    assert "hmac_sha256_test.json: 174 passed, 0 failed, 0 skipped" in said.out
    assert "eddsa-sig-01.json: 1 passed" in said.out
    assert "eddsa-01.json: 1 passed" in said.out
    assert "appendix_a.json: 82 passed, 0 failed, 0 skipped" in said.out
    assert "skipped 92: a deferred pattern" in said.out


def test_each_fundamental_pattern_and_psk_modifier_is_run_with_four_hashes() -> None:
    names = Counter(
        vector["protocol_name"].split("_")[1]
        for vector in loaded("noise/cacophony.txt")["vectors"]
        if "_25519_ChaChaPoly_" in vector["protocol_name"]
    )
    applicable = {name for name in names if noise_patterns.pattern(name) is not None}
    assert len(applicable) == 36
    assert {names[name] for name in applicable} == {4}
    assert noise_patterns.FUNDAMENTAL.keys() <= applicable


def test_an_acceptable_vector_may_go_either_way_and_the_way_is_told() -> None:
    tally = ran(loaded("wycheproof/x25519_test.json"))
    assert "acceptable, and accepted: 170 (EdgeCaseMultiplication Twist)" in tally.notes
    assert "acceptable, and refused: 12 (LowOrderPublic ZeroSharedSecret)" in tally.notes


# ------------------------------------------------------------------------------------------------------ it can fail


def noise_vectors(name: str) -> list[dict[str, Any]]:
    return [vector for vector in loaded("noise/cacophony.txt")["vectors"] if vector["protocol_name"] == name]


@pytest.mark.parametrize("spoiled", ["payload", "ciphertext"])
@pytest.mark.parametrize("index", [0, 1, 5], ids=lambda index: f"message {index}")
def test_a_noise_vector_with_another_byte_fails(index: int, spoiled: str) -> None:
    (vector,) = noise_vectors("Noise_XXpsk3_25519_ChaChaPoly_BLAKE2b")
    text = vector["messages"][index][spoiled]
    vector["messages"][index][spoiled] = ("0" if text[0] != "0" else "1") + text[1:]
    assert counts(ran({"vectors": [vector]})) == (0, 1, 0)


def test_a_noise_vector_with_another_hash_or_a_key_too_many_fails() -> None:
    (vector,) = noise_vectors("Noise_NN_25519_ChaChaPoly_SHA256")
    assert counts(ran({"vectors": [vector | {"handshake_hash": "00" * 32}]})) == (0, 1, 0)
    assert counts(ran({"vectors": [vector | {"init_static": "11" * 32}]})) == (0, 1, 0)


def test_a_noise_vector_of_snow_needs_no_hash_and_may_repeat_its_psk() -> None:
    (vector,) = noise_vectors("Noise_NNpsk0_25519_ChaChaPoly_SHA256")
    del vector["handshake_hash"]
    assert counts(ran({"vectors": [vector]})) == (1, 0, 0)
    several = vector | {"init_psks": ["11" * 32, "22" * 32]}
    tally = ran({"vectors": [several, vector | {"protocol_name": "Noise_NN_25519_ChaChaPoly_SHA3"}]})
    assert counts(tally) == (0, 0, 2)
    assert sorted(tally.skipped) == [
        "hash SHA3",
        "several different pre-shared keys in one handshake; Noise §9 has one",
    ]


@pytest.mark.parametrize("shipped", [KK, NK, XXPSK3], ids=lambda shipped: shipped.name)
def test_the_shipped_patterns_are_the_published_ones(shipped: Pattern) -> None:
    assert noise_patterns.pattern(shipped.name) == shipped


@pytest.mark.parametrize("name", ["NNpsk7", "I1K", "nn", "NNpsk", ""])
def test_what_is_no_fundamental_pattern_has_none(name: str) -> None:
    assert noise_patterns.pattern(name) is None


def ed25519(**changes: Any) -> dict[str, Any]:
    key = SigningKey(bytes(32))
    test = {
        "tcId": 1,
        "comment": "",
        "flags": [],
        "msg": "78",
        "sig": key.sign(b"x").signature.hex(),
        "result": "valid",
    }
    group = {"publicKey": {"pk": bytes(key.verify_key).hex()}, "tests": [test | changes]}
    return {"algorithm": "EDDSA", "testGroups": [group]}


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({}, True),
        ({"result": "acceptable"}, True),
        ({"result": "invalid"}, False),
        ({"msg": "79"}, False),
        ({"msg": "79", "result": "invalid"}, True),
        ({"msg": "79", "result": "acceptable"}, True),
        ({"sig": "", "result": "invalid"}, True),
        ({"sig": ""}, False),
    ],
    ids=str,
)
def test_an_ed25519_vector_is_judged_by_its_verdict(changes: dict[str, Any], *, passes: bool) -> None:
    assert counts(ran(ed25519(**changes))) == (int(passes), int(not passes), 0)


@pytest.mark.parametrize(
    ("name", "result", "spoiled"),
    [
        ("x25519", "valid", "shared"),
        ("x25519", "acceptable", "shared"),
        ("chacha20_poly1305", "valid", "msg"),
        ("chacha20_poly1305", "valid", "tag"),
        ("hkdf_sha256", "valid", "okm"),
        ("hmac_sha256", "valid", "tag"),
    ],
)
def test_a_wycheproof_vector_with_another_byte_fails(name: str, result: str, spoiled: str) -> None:
    document = loaded(f"wycheproof/{name}_test.json")
    group = next(g for g in document["testGroups"] if any(t["result"] == result and t[spoiled] for t in g["tests"]))
    test = next(t for t in group["tests"] if t["result"] == result and t[spoiled])
    text = test[spoiled]
    wrong = test | {spoiled: text[:-1] + ("0" if text[-1] != "0" else "1")}
    assert counts(ran(document | {"testGroups": [group | {"tests": [test]}]})) == (1, 0, 0)
    assert counts(ran(document | {"testGroups": [group | {"tests": [wrong]}]})) == (0, 1, 0)


def test_an_inclusion_proof_that_should_fail_and_does_not_is_a_failure() -> None:
    document = loaded(HAPPY_PROOF)
    assert counts(ran(document)) == (1, 0, 0)
    assert counts(ran(document | {"wantErr": True})) == (0, 1, 0)
    assert counts(ran(document | {"leafIdx": 1})) == (0, 1, 0)


def test_consistency_proofs_are_judged_too() -> None:
    assert counts(ran(CONSISTENCY)) == (1, 0, 0)
    assert counts(ran(CONSISTENCY | {"size1": 2})) == (0, 1, 0)
    assert counts(ran(CONSISTENCY | {"size1": 2, "wantErr": True})) == (1, 0, 0)
    assert counts(ran(CONSISTENCY | {"root1": "ZG9uJ3Q=", "root2": "ZG9uJ3Q=", "size2": 1, "proof": None})) == (0, 0, 1)


@pytest.mark.parametrize("name", ["eddsa-sig-01", "eddsa-01"])
def test_a_cose_example_with_another_byte_fails(name: str) -> None:
    document = loaded(f"cose/eddsa-examples/{name}.json")
    assert counts(ran(document | {"fail": True})) == (0, 1, 0)
    whole = document["output"]["cbor"]
    # Another signature, another envelope, bytes behind it, and CBOR that the protocol has not.
    for spoiled in (
        whole[:-2] + "00",
        whole.replace("D2", "", 1) if name == "eddsa-sig-01" else "80",
        whole + "00",
        "F7",
    ):
        changed = document | {"output": {"cbor": spoiled}}
        assert counts(ran(changed)) == (0, 1, 0)
        assert counts(ran(changed | {"fail": True})) == (1, 0, 0)
    other = copy.deepcopy(document)
    made = other["intermediates"]
    (made if "ToBeSign_hex" in made else made["signers"][0])["ToBeSign_hex"] = "00"
    assert counts(ran(other)) == (0, 1, 0)


@pytest.mark.parametrize(
    "row",
    [
        {"hex": "1800", "roundtrip": True},
        {"hex": "01ff", "roundtrip": True},
        {"hex": "01", "roundtrip": False},
    ],
    ids=str,
)
def test_a_cbor_row_that_says_otherwise_than_the_reader_fails(row: dict[str, Any]) -> None:
    assert counts(ran([row])) == (0, 1, 0)


def test_many_failures_are_named_in_part_and_counted_in_full() -> None:
    tally = ran([{"hex": "01", "roundtrip": False}] * (FAILURES_SHOWN + 3))
    lines = list(tally.lines("some.json"))
    assert lines[0] == f"some.json: 0 passed, {FAILURES_SHOWN + 3} failed, 0 skipped"
    assert lines.count("  failed: 01") == FAILURES_SHOWN
    assert "  failed: and 3 more" in lines


# ---------------------------------------------------------------------------------------------- files and exit status


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", "[1]", "null", '{"vectors": [{}]}', '{"testGroups": []}', '{"input": 1}', '{"vectors": 7}'],
)
def test_what_is_no_file_of_vectors_is_said_to_be_none(text: str) -> None:
    with pytest.raises(VectorFileError):
        published.judge(text)


def test_wycheproof_vectors_of_an_algorithm_that_the_protocol_does_not_use_are_refused_and_not_skipped() -> None:
    with pytest.raises(VectorFileError, match="AES-GCM"):
        ran({"algorithm": "AES-GCM", "testGroups": []})


def test_the_exit_status_is_one_on_a_failure_and_every_file_is_still_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = tmp_path / "a.json", tmp_path / "b.json"
    bad.write_text(json.dumps(CONSISTENCY | {"size1": 2}))
    good.write_text(json.dumps(CONSISTENCY))
    (tmp_path / "README.md").write_text("not looked at")
    assert main([str(good)]) == 0
    assert main([str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert f"{bad}: 0 passed, 1 failed, 0 skipped\n  failed: happy path\n" in said
    assert said.count(f"{good}: 1 passed, 0 failed, 0 skipped\n") == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"\xff", "not UTF-8"),
        (b"", "not JSON"),
        (b"{}", "not a format that is known here"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, reason: str
) -> None:
    path = tmp_path / "vectors.json"
    if content is not None:
        path.write_bytes(content)
    assert main([str(path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith(f"{path}: cannot be run: {reason}")


def test_an_empty_folder_is_told_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "no .json and no .txt file in it" in capsys.readouterr().err


def test_the_command_runs_as_a_module_and_the_rest_of_the_package_does_not_import_it() -> None:
    ran_alone = subprocess.run(
        [sys.executable, "-m", "firmware_protocol.vectors"], capture_output=True, text=True, check=False
    )
    assert ran_alone.returncode == 2
    assert "usage: python -m firmware_protocol.vectors" in ran_alone.stderr
    script = "import sys, gatewayd.house; sys.exit('firmware_protocol.vectors' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
