"""This project's own vectors: committed as they are exported, judged as they say, and complete."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from firmware_protocol.schema import Text
from firmware_protocol.vectors import own, published, spoil
from firmware_protocol.vectors.__main__ import main
from firmware_protocol.vectors.case import rule_of
from firmware_protocol.vectors.examples import VALUES
from firmware_protocol.vectors.own_fragments import MTUS
from firmware_protocol.vectors.tally import VectorFileError
from tests.support.protocol_classes import wire_maps

if TYPE_CHECKING:
    from firmware_protocol.schema import WireMap

COMMITTED = Path(__file__).resolve().parents[4] / "docs" / "vectors"
EXPORTED = dict(own.documents())


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(EXPORTED[f"{name}.json"])["cases"]
    return found


# ---------------------------------------------------------------------------------------------------- what is committed


def test_the_committed_files_are_what_is_exported_byte_for_byte(tmp_path: Path) -> None:
    assert main(["export", str(tmp_path / "new")]) == 0
    exported = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    committed = {path.name: path.read_bytes() for path in COMMITTED.glob("*.json")}
    assert committed.keys() == exported.keys()
    for name, data in exported.items():
        assert committed[name] == data, f"run: python -m firmware_protocol.vectors export docs/vectors ({name})"


def test_another_process_exports_the_same_bytes() -> None:
    script = (
        "import sys; from firmware_protocol.vectors import own; sys.stdout.write(dict(own.documents())['relay.json'])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == EXPORTED["relay.json"]


@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_every_case_is_judged_by_the_code_as_it_says(name: str) -> None:
    tally = published.judge((COMMITTED / name).read_text(encoding="utf-8"))
    assert tally.failures == []
    assert tally.passed >= len(json.loads(EXPORTED[name])["cases"])
    assert not tally.skipped


@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_a_case_that_says_otherwise_fails(name: str) -> None:
    document = json.loads(EXPORTED[name])
    for case in document["cases"]:
        case["error"] = "BUSY"
        case.setdefault("reader", "decider")
        case.setdefault("at_ms", [0] * len(case.get("values", ())))
    assert len(own.judge(document).failures) == len(document["cases"])


def test_a_handshake_in_which_nothing_is_refused_fails() -> None:
    document = json.loads(EXPORTED["handshakes.json"])
    whole = next(vector for vector in document["vectors"] if "KK" in vector["protocol_name"])
    case = next(case for case in document["cases"] if case["pattern"] == "KK" and case["reader"] == "responder")
    first = whole["messages"][0]["ciphertext"]
    tally = own.judge(document | {"vectors": [], "cases": [case | {"messages": [first]}]})
    assert tally.failures == [case["name"]]


def test_a_session_that_says_something_else_fails() -> None:
    document = json.loads(EXPORTED["sessions.json"])
    whole = document["cases"][0]
    silent = whole["steps"][-1] | {"events": [], "send": []}
    changes: list[dict[str, Any]] = [
        {"first": []},
        {"steps": [silent | whole["steps"][0] | {"events": ["never"]}, *whole["steps"][1:]]},
        {"steps": [*whole["steps"][:-1], silent]},
        {"steps": [*whole["steps"][:-1], whole["steps"][-1] | {"send": ["00"]}]},
    ]
    for change in changes:
        assert own.judge(document | {"cases": [whole | change]}).failures == [whole["name"]]


def test_a_bad_case_names_a_code_and_a_good_one_none() -> None:
    for name, text in EXPORTED.items():
        document = json.loads(text)
        errors = {case["error"] for case in document["cases"]}
        assert errors - {None}, name
        assert None in errors or document["vectors"], name
        assert document["section"], name
        names = [json.dumps([case["name"], case.get("reader"), case.get("rule")]) for case in document["cases"]]
        assert len(set(names)) == len(names), name


# ------------------------------------------------------------------------------------------------- nothing is forgotten


@pytest.mark.parametrize("kind", wire_maps(), ids=lambda kind: kind.__name__)
def test_every_map_of_the_protocol_has_good_and_bad_cases(kind: type[WireMap]) -> None:
    rule = rule_of(kind)
    verdicts = []
    for text in EXPORTED.values():
        document = json.loads(text)
        verdicts += [c["error"] for c in document["cases"] if c.get("rule", document.get("rule")) == rule]
    reason = f"{kind.__name__} has no example: add one to firmware_protocol/vectors/examples.py or example_records.py"
    assert None in verdicts, reason
    assert "MALFORMED" in verdicts, reason


def test_fragments_are_shown_at_every_att_mtu_that_is_met() -> None:
    assert (
        {case.get("att_mtu") for case in cases("fragments")} - {None} == set(MTUS) == {23, 24, 185, 247, 512, 515, 517}
    )


def test_the_attacks_on_a_session_are_all_there() -> None:
    told = {case["name"]: case["error"] for case in cases("sessions")}
    assert told["lock: HELLO and message 1 replayed within one start: answered, and inert"] is None
    assert told["lock: and the recorded CONFIRM replayed behind them"] == "DENIED"
    assert told["lock: HELLO and message 1 replayed after a restart"] == "DENIED"
    for side in ("gateway", "lock"):
        assert told[f"{side}: a version below the floor"] == "VERSION"
        assert told[f"{side}: a lost value"] == "MALFORMED"
        assert told[f"{side}: a value twice"] == "MALFORMED"
        assert told[f"{side}: records in another order"] == "DENIED"
    assert told["lock: a flipped bit in the gateway's HELLO"] == "DENIED"
    assert told["lock: CONFIRM with a counter used before"] == "CLONE_SUSPECT"
    assert told["gateway: a lock that has confirmed our session"] == "CLONE_SUSPECT"


# ------------------------------------------------------------------------------------------------------ what is refused


def test_vectors_of_an_unknown_kind_are_refused() -> None:
    with pytest.raises(VectorFileError, match="'later'"):
        published.judge(json.dumps({"format": "carelock-vectors/1", "kind": "later", "cases": []}))


def test_a_folder_that_cannot_be_written_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "/dev/null/vectors"]) == 1
    said = capsys.readouterr()
    assert said.err == "/dev/null/vectors: cannot be written: Not a directory; name a folder of your own\n"


def test_a_step_that_is_none_is_refused() -> None:
    document = json.loads(EXPORTED["sessions.json"])
    document["cases"][0]["steps"][0] = {"at_ms": 0, "dance": True}
    with pytest.raises(VectorFileError, match="a step that is none"):
        published.judge(json.dumps(document))


def test_a_shape_of_which_there_is_no_sample_is_a_mistake_here() -> None:
    with pytest.raises(TypeError, match="Text"):
        next(spoil.samples(Text(size_max=3)))


def test_only_maps_can_be_spoiled() -> None:
    with pytest.raises(TypeError):
        list(spoil.encodings(b"\x80"))


def test_every_signed_object_has_a_file_of_its_own() -> None:
    assert {f"object-{kind.DOMAIN}.json" for kind in VALUES} <= EXPORTED.keys()
