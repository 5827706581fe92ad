"""The committed vectors, judged by code that shares nothing with the code that made them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cddl_verifier import Validator  # type: ignore[import-untyped]  # ships no types

from tests.oracle import cbor, envelope, fragments, note
from tests.oracle.noise import handshake, public_of
from tests.oracle.phone import Visit

ROOT = Path(__file__).resolve().parents[2]
GRAMMAR = Validator(ROOT / "firmware_protocol" / "carelock.cddl")
DOCUMENTS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "docs" / "vectors").glob("*.json"))
}
OBJECTS = [name for name in DOCUMENTS if name.startswith("object-")]


def hex_of(case: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(case[name])


def verdict_of_object(document: dict[str, Any], signed: bytes) -> str | None:
    """Verify and read an object; return the code that it is refused with."""
    domain = document["domain"].removeprefix("carelock/1/")
    several = document["object"] == "Keyset"
    try:
        payload = envelope.payload_of(
            signed,
            [bytes.fromhex(key) for key in document["verify_keys"]],
            domain,
            threshold=2 if several else 1,
            size_max=document["size_max"],
            several=several,
        )
        cbor.decode(payload)
    except envelope.RefusedError as refusal:
        return str(refusal)
    except (cbor.NotCborError, UnicodeDecodeError):
        return "MALFORMED"
    fits = GRAMMAR.validate(payload, document["rule"], require_deterministic=True).valid
    return None if fits else "MALFORMED"


@pytest.mark.parametrize("name", OBJECTS)
def test_every_signed_object_is_judged_alike(name: str) -> None:
    document = DOCUMENTS[name]
    for case in document["cases"]:
        assert verdict_of_object(document, hex_of(case, "signed")) == case["error"], case["name"]


@pytest.mark.parametrize("name", OBJECTS)
def test_every_good_object_is_signed_anew_with_the_same_bytes(name: str) -> None:
    document = DOCUMENTS[name]
    seeds = [bytes.fromhex(seed) for seed in document["signing_seeds"]]
    for case in document["cases"]:
        if case["error"] is None and len(seeds) == 1:
            payload = cbor.decode(hex_of(case, "payload"))
            again = envelope.sign1(payload, seeds[0], document["domain"].removeprefix("carelock/1/"))
            assert again.hex() == case["signed"]


def test_every_run_of_fragments_is_cut_and_joined_alike() -> None:
    kinds = {"RECORD": fragments.RECORD, "HANDSHAKE": fragments.HANDSHAKE, "PLAIN": fragments.PLAIN}
    for case in DOCUMENTS["fragments"]["cases"]:
        values = [bytes.fromhex(value) for value in case["values"]]
        receiver = fragments.Receiver()
        if case["error"] is None:
            sender = fragments.Sender(case["att_mtu"] - 3)
            messages = [(kinds[each["kind"]], bytes.fromhex(each["data"])) for each in case["messages"]]
            assert [value for kind, data in messages for value in sender.cut(kind, data)] == values
            joined = [receiver.take(value) for value in values]
            assert [message for message in joined if message is not None] == messages
            continue
        *before, last = zip(values, case["at_ms"], strict=True)
        for value, at_ms in before:
            receiver.take(value, at_ms)
        with pytest.raises(fragments.BrokenLinkError):
            receiver.take(*last)


@pytest.mark.parametrize("vector", DOCUMENTS["handshakes"]["vectors"], ids=lambda vector: vector["protocol_name"])
def test_every_handshake_is_shaken_alike(vector: dict[str, Any]) -> None:
    def side(prefix: str) -> Any:
        given = {
            name: bytes.fromhex(vector[f"{prefix}_{key}"])
            for name, key in (("e", "ephemeral"), ("s", "static"), ("rs", "remote_static"))
            if f"{prefix}_{key}" in vector
        }
        psks = [bytes.fromhex(psk) for psk in vector.get(f"{prefix}_psks", [])]
        return handshake(
            vector["protocol_name"].split("_")[1],
            initiator=prefix == "init",
            prologue=hex_of(vector, f"{prefix}_prologue"),
            psk=psks[0] if psks else None,
            **given,
        )

    writer, reader = side("init"), side("resp")
    for message in vector["messages"]:
        payload, ciphertext = hex_of(message, "payload"), hex_of(message, "ciphertext")
        finished = writer.handshake_finished
        assert bytes(writer.encrypt(payload) if finished else writer.write_message(payload)) == ciphertext
        assert bytes(reader.decrypt(ciphertext) if finished else reader.read_message(ciphertext)) == payload
        writer, reader = reader, writer
    assert writer.get_handshake_hash().hex() == vector["handshake_hash"]


def test_every_record_of_the_log_is_chained_alike() -> None:
    document = DOCUMENTS["log"]
    head = hashlib.sha256(b"carelock/ev1" + hex_of(document, "log_id")).digest()
    assert head.hex() == document["genesis"]
    heads = [head]
    for case in document["cases"]:
        if "record" in case and case["error"] is None:
            heads.append(hashlib.sha256(b"carelock/ev1" + heads[-1] + hex_of(case, "record")).digest())
    for case in document["cases"]:
        if "batch" in case:
            assert verdict_of_batch(case) == (case["error"], case["after"]), case["name"]
            assert case["after"] is None or case["after"]["head"] == heads[case["after"]["seq"]].hex()


def verdict_of_batch(case: dict[str, Any]) -> tuple[str | None, dict[str, Any] | None]:
    batch = cbor.decode(hex_of(case, "batch"))
    seq, head = case["seq"], hex_of(case, "head")
    if batch[1] > seq + 1:
        return "LOG_GAP", None
    if batch[1] <= seq or batch[2] != head:
        return "LOG_FORK", None
    for record in batch[3]:
        if not GRAMMAR.validate(record, "log-record", require_deterministic=True).valid:
            return "MALFORMED", None
        seq += 1
        if cbor.decode(record)[0] != seq:
            return "LOG_GAP", None
        head = hashlib.sha256(b"carelock/ev1" + head + record).digest()
    return None, {"seq": seq, "head": head.hex()}


def verdict_of_note(case: dict[str, Any], signer: dict[str, str]) -> dict[str, Any]:
    public = bytes.fromhex(signer["public_key"])
    try:
        origin, size, root, time_s = note.stated(
            hex_of(case, "note"), name=signer["name"], public=public, cosigned=case["as"] == "receipt"
        )
    except note.NotANoteError as refusal:
        return {"error": str(refusal)}
    return {"error": None, "origin": origin, "size": size, "root": root.hex()} | (
        {} if time_s is None else {"time_s": time_s}
    )


def verdict_of_erased(case: dict[str, Any], log: dict[str, str]) -> dict[str, Any]:
    try:
        index, leaf_hash, accounted_size = note.erased(
            hex_of(case, "note"), origin=log["name"], public=bytes.fromhex(log["public_key"])
        )
    except note.NotANoteError as refusal:
        return {"error": str(refusal)}
    return {
        "error": None,
        "origin": log["name"],
        "index": index,
        "leaf_hash": leaf_hash.hex(),
        "accounted_size": accounted_size,
    }


def test_every_checkpoint_receipt_and_erased_entry_states_the_same() -> None:
    document = DOCUMENTS["notes"]
    for case in document["cases"]:
        expected = {name: value for name, value in case.items() if name not in {"name", "as", "note"}}
        signer = document["cosigner" if case["as"] == "receipt" else "log"]
        verdict = verdict_of_erased if case["as"] == "erased" else verdict_of_note
        assert verdict(case, signer) == expected, case["name"]


def test_a_visit_says_the_very_bytes_of_the_vectors() -> None:
    document = DOCUMENTS["relay"]
    good = document["cases"][0]
    phone = Visit(
        decider_key=public_of(hex_of(document, "decider_static")),
        challenge=hex_of(document, "challenge"),
        ephemeral=hex_of(document, "phone_ephemeral"),
    )
    assert phone.say(hex_of(document, "bundle")).hex() == good["message_1"]
    heard = [phone.hear(bytes.fromhex(answer)) for answer in good["answers"]]
    assert [cbor.encode(answer).hex() for answer in heard] == document["plaintexts"]


@pytest.mark.parametrize("name", ["records", "plain", "bodies"])
def test_every_body_is_judged_alike(name: str) -> None:
    for case in DOCUMENTS[name]["cases"]:
        if "rule" not in case or case["layer"] in {"direction", "values"}:
            continue
        header_size = {"record": 3, "plain": 1}.get(case["reader"].split()[-1], 0)
        body = hex_of(case, "data")[header_size:]
        try:
            cbor.decode(body)
            refused = not GRAMMAR.validate(body, case["rule"], require_deterministic=True).valid
        except (cbor.NotCborError, UnicodeDecodeError):
            refused = True
        assert refused is (case["error"] is not None), case["name"]


def test_the_oracle_builds_on_nothing_of_the_project() -> None:
    for path in Path(__file__).parent.glob("*.py"):
        if not path.name.startswith("test_"):
            text = path.read_text()
            assert "firmware_protocol" not in text.replace("docs/protocol.md", ""), path.name
            assert "gatewayd" not in text, path.name
