"""carelock.cddl, held by an independent tool against every example and every vector, good and bad."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cddl_verifier import Validator, schema_diagnostics  # type: ignore[import-untyped]  # ships no types

from firmware_protocol import cbor, cose
from firmware_protocol.codes import Code
from firmware_protocol.commands import Request
from firmware_protocol.lock_log import RecordType
from firmware_protocol.signed import SignedMap
from firmware_protocol.vectors import own
from firmware_protocol.vectors.case import rule_of
from firmware_protocol.vectors.example_records import LOG
from firmware_protocol.vectors.examples import signed_example
from tests.support.protocol_classes import wire_maps
from tests.support.protocol_document import PATH as DOCUMENT
from tests.support.protocol_document import examples

if TYPE_CHECKING:
    from firmware_protocol.schema import WireField, WireMap

PATH = Path(__file__).resolve().parents[3] / "firmware_protocol" / "carelock.cddl"
TEXT = PATH.read_text(encoding="utf-8")
GRAMMAR = Validator(PATH)
RULES: dict[str, str] = dict(re.findall(r"^([a-z0-9-]+) = (.*(?:\n[ \]}].*)*)", TEXT, re.MULTILINE))
DOCUMENTS = {name: json.loads(text) for name, text in own.documents()}
_CONFIRMATION_PATH = (8, 1)
BEYOND_GRAMMAR = frozenset(
    {
        "GatewayHello: an empty range of versions",
        "LockHello: an empty range of versions",
        "LogAck: received beyond copied",
        "Courier: a piece beyond its object",
        "TimeState: ends before it begins",
    }
)
"""Rules between two values: carelock.cddl says at its head that they stand in the document."""


def fits(rule: str, data: bytes) -> bool:
    return bool(GRAMMAR.validate(data, rule, require_deterministic=True).valid)


def bodies() -> list[tuple[str, str, bytes, bool]]:
    """Every body in the vectors: its name, its rule, its bytes, and whether it is good."""
    found = []
    for document in DOCUMENTS.values():
        for case in document["cases"]:
            rule = case.get("rule", document.get("rule"))
            if case.get("layer") in {"good", "shape", "encoding", "values"} and rule is not None:
                found.append((case["name"], rule, body_of(case), case["error"] is None))
    return found


def body_of(case: dict[str, Any]) -> bytes:
    if "signed" in case:
        return cose.parse(bytes.fromhex(case["signed"]), size_max=1 << 16).payload
    header_size = {"record": 3, "plain": 1}.get(case["reader"].split()[-1], 0)
    return bytes.fromhex(case["data"])[header_size:]


def test_the_grammar_is_one() -> None:
    assert schema_diagnostics(PATH) == ()


@pytest.mark.parametrize("kind", wire_maps(), ids=lambda kind: kind.__name__)
def test_every_map_of_the_protocol_has_a_rule_with_its_keys_and_names(kind: type[WireMap]) -> None:
    assert rule_of(kind) in RULES, f"write a rule {rule_of(kind)} into firmware_protocol/carelock.cddl"
    rule = RULES[rule_of(kind)]
    body = RULES.get(rule, rule)  # a rule may be another one's second name
    for field in kind.FIELDS:
        assert has_member(body, field), field.name
    if issubclass(kind, SignedMap):
        assert f"signed-{rule_of(kind)}" in RULES


def has_member(rule: str, field: WireField) -> bool:
    key = field.path[0] if field.path == _CONFIRMATION_PATH else field.key  # written on one line, as its claim
    return re.search(rf"^ +(\? )?{key}:.*; {field.name}\b", rule, re.MULTILINE) is not None


@pytest.mark.no_cover
def test_every_good_body_fits_its_rule_and_every_bad_one_does_not() -> None:
    wrong = [
        f"{rule}: {name}"
        for name, rule, data, is_good in bodies()
        if fits(rule, data) is not is_good and name not in BEYOND_GRAMMAR
    ]
    assert wrong == []
    assert len(bodies()) > 1_500


@pytest.mark.no_cover
def test_what_the_grammar_cannot_say_is_only_what_its_head_names() -> None:
    named = {name for name, rule, data, is_good in bodies() if not is_good and fits(rule, data)}
    assert named == BEYOND_GRAMMAR


@pytest.mark.no_cover
def test_every_signed_object_fits_its_envelope_and_no_other() -> None:
    for document in DOCUMENTS.values():
        if document["kind"] != "signed object":
            continue
        rule = f"signed-{document['rule']}"
        for case in document["cases"]:
            data = bytes.fromhex(case["signed"])
            if case["error"] is None:
                assert fits(rule, data), case["name"]
            elif case["error"] == Code.MALFORMED.name and case["layer"] != "encoding":
                assert not fits(rule, data), case["name"]


def test_every_record_of_the_log_fits_and_every_other_does_not() -> None:
    for case in DOCUMENTS["log.json"]["cases"]:
        if "record" in case:
            assert fits("log-record", bytes.fromhex(case["record"])) is (case["error"] is None), case["name"]


@pytest.mark.parametrize("kind", RecordType)
def test_the_grammar_knows_every_kind_of_log_record(kind: RecordType) -> None:
    whole = replace(LOG[4], type=kind)  # a COMMAND_RESULT has all that any kind needs
    assert fits("log-record", whole.to_bytes())


@pytest.mark.parametrize("number", range(0x100))
def test_the_grammar_knows_every_code_and_no_other(number: int) -> None:
    data = b"\xa1\x00" + (bytes((number,)) if number <= 23 else bytes((24, number)))
    assert fits("plain-close", data) is (number in {code.wire for code in Code})


def test_bundles_fit_and_bundles_of_other_things_do_not() -> None:
    for case in DOCUMENTS["bundles.json"]["cases"]:
        data = bytes.fromhex(case["bundle"])
        if case["error"] is None:
            assert fits("bundle", data), case["name"]
    turned = next(c for c in DOCUMENTS["bundles.json"]["cases"] if c["name"] == "a chain in another order")
    assert not fits("bundle", bytes.fromhex(turned["bundle"]))


def test_a_request_on_its_way_fits_with_the_arguments_of_its_verb_and_no_others() -> None:
    signed = signed_example(Request)
    for arguments, is_right in ((None, True), (b"\xa0", True), (b"\xa1\x00\x01", True), (b"\xa1\x01\x01", False)):
        parts = [signed] if arguments is None else [signed, arguments]
        assert fits("request-bundle", cbor.encode(tuple(parts))) is is_right, arguments


def test_what_a_label_holds_fits() -> None:
    texts = [case["label"] for case in DOCUMENTS["ownership.json"]["cases"] if case["name"] == "a label"]
    for text in texts:
        bare = text.removeprefix("CARELOCK:1:")
        assert fits("label", base64.b32decode(bare + "=" * (-len(bare) % 8)))
    assert len(texts) == 1


RULES_OF_EXAMPLES = {
    "bundle": ("bundle", 0),
    "gateway HELLO": ("gateway-hello", 1),
    "lock HELLO": ("lock-hello", 1),
    "LockStatus": ("lock-status", 0),
    "CONFIRM": ("confirm", 3),
    "LOCK_CMD": ("lock-command", 3),
    "log record": ("log-record", 0),
}
"""By example: the rule, and how many bytes stand before the CBOR."""
SIGNED_NAMES = {kind.__name__: rule_of(kind) for kind in wire_maps() if issubclass(kind, SignedMap)}


@pytest.mark.parametrize("name", sorted(RULES_OF_EXAMPLES.keys() | SIGNED_NAMES.keys()))
def test_every_example_of_the_document_fits(name: str) -> None:
    rule, header_size = RULES_OF_EXAMPLES.get(name, (f"signed-{SIGNED_NAMES.get(name)}", 0))
    assert fits(rule, examples()[name][header_size:])
    assert f"<!-- example: {name} -->" in DOCUMENT.read_text(encoding="utf-8")
