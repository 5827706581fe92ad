"""`gatewayd explain` on a stopped gateway's store: what it reads, says and exits with."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from firmware_protocol.chains import make_bundle
from firmware_protocol.codes import Code
from firmware_protocol.sentences import SENTENCES
from gatewayd import exits
from gatewayd.access.checks import Check
from gatewayd.cli.app import main
from gatewayd.cli.explain_text import CHECKS
from gatewayd.cli.language import language_of
from gatewayd.store.database import Database
from simulator.office import unlock_at_door, unlock_over_mqtt
from tests.support.gateway_folder import NOW_S, PROVIDER, GatewayFolder

if TYPE_CHECKING:
    from pathlib import Path

AT: str = "2027-01-15T08:00:00+00:00"
"""NOW_S as people write it."""


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> GatewayFolder:
    """Return a provisioned gateway that is not running."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    folder = GatewayFolder(tmp_path)
    assert main(["provision", str(folder.write_papers()), "--config", str(folder.config)]) == exits.OK
    capsys.readouterr()
    return folder


def bundle_of(folder: GatewayFolder, person: str = "anna", **grant: Any) -> bytes:
    signed = folder.office.grant(folder.home, PROVIDER, person, **({"now_s": NOW_S} | grant))
    holder = folder.office.carer(folder.home, PROVIDER, person, now_s=NOW_S, grant=signed)
    return unlock_at_door(holder, folder.home, challenge=bytes(16), command_id=bytes(16), now_s=NOW_S)


def write(folder: GatewayFolder, content: bytes, name: str = "one.bundle") -> Path:
    path = folder.folder / "bundles" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def explain(folder: GatewayFolder, bundle: object, *options: str) -> int:
    return main(["explain", str(bundle), "--config", str(folder.config), *options])


def explained(folder: GatewayFolder, capsys: pytest.CaptureFixture[str], content: bytes, *options: str) -> Any:
    explain(folder, write(folder, content), "--json", *options)
    (document,) = json.loads(capsys.readouterr().out)
    return document


def results(document: Any) -> dict[str, str]:
    return {line["check"]: line["code"] or line["result"] for line in document["checks"]}


def test_a_stopped_gateway_says_that_nothing_asked_of_the_earlier_run_is_fresh_and_shows_every_other_check(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    document = explained(folder, capsys, bundle_of(folder), "--at", AT)
    assert (document["source"], document["verdict"], document["code"]) == (
        "store",
        "denied",
        Code.CHALLENGE_UNKNOWN.dotted,
    )
    assert results(document) == {check.value: "passed" for check in Check} | {
        "freshness": Code.CHALLENGE_UNKNOWN.dotted
    }
    assert (document["tier"], document["channel"], document["provider"]) == ("fresh", "relay", PROVIDER)


def test_without_a_moment_the_clock_of_a_stopped_gateway_is_not_trusted(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    document = explained(folder, capsys, bundle_of(folder))
    assert document["tier"] == "cold"
    assert results(document)["tier"] == Code.TIER.dotted
    assert document["clock"]["trusted"] is False


@pytest.mark.parametrize(
    ("moment", "code"),
    [
        pytest.param("2027-01-15T07:58:59+00:00", Code.NOT_YET_VALID, id="a second before it begins"),
        pytest.param("2027-01-15T08:59:00+01:00", None, id="its first second, as people there write it"),
        pytest.param("2027-01-15T07:59:00", None, id="UTC where no zone is written"),
        pytest.param("2027-01-15T17:58:59+00:00", None, id="its last second"),
        pytest.param("2027-01-15T17:59:00+00:00", Code.EXPIRED, id="over"),
    ],
)
def test_at_judges_rights_as_at_that_moment(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], moment: str, code: Code | None
) -> None:
    document = explained(folder, capsys, bundle_of(folder), "--at", moment)
    assert results(document)["time"] == ("passed" if code is None else code.dotted)


def test_a_stranger_is_told_apart_from_garbage_and_what_could_not_be_asked_is_shown(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = explained(folder, capsys, make_bundle(b"nonsense"))
    assert (stranger["authenticated"], stranger["code"]) == (False, Code.MALFORMED.dotted)
    assert results(stranger)["size"] == "passed"
    assert results(stranger)["form"] == Code.MALFORMED.dotted
    assert results(stranger)["audience"] == "not_asked"
    elsewhere = GatewayFolder.__new__(GatewayFolder)
    elsewhere.office, elsewhere.home = type(folder.office)(b"strangers"), folder.home
    unknown = explained(folder, capsys, bundle_of(elsewhere))
    assert results(unknown)["chain"] == Code.UNKNOWN_SIGNER.dotted
    assert unknown["signer"] is None
    assert explained(folder, capsys, bytes(3_000))["code"] == Code.TOO_LARGE.dotted


def test_an_unprovisioned_gateway_knows_nobody(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    database = Database(folder.store)
    database.run(lambda tx: tx.execute("DELETE FROM signed_objects"))
    database.close()
    document = explained(folder, capsys, bundle_of(folder))
    assert document["code"] == Code.UNKNOWN_SIGNER.dotted
    assert document["detail"] == "no keyset has been provisioned"


@pytest.mark.parametrize(
    ("content", "check"), [(b"nonsense", "form"), (bytes(2_000), "size")], ids=["nonsense", "too long"]
)
def test_an_unprovisioned_gateway_calls_no_nonsense_well_formed(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], content: bytes, check: str
) -> None:
    database = Database(folder.store)
    database.run(lambda tx: tx.execute("DELETE FROM signed_objects"))
    database.close()
    asked = explained(folder, capsys, content)["checks"]
    assert [each["check"] for each in asked if each["result"] == "refused"] == [check]


def test_nobodys_name_is_shown(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    explain(folder, write(folder, bundle_of(folder, "greta-of-nine")), "--json")
    assert "greta" not in capsys.readouterr().out


def test_base64_of_either_alphabet_is_read_from_a_file_and_from_stdin(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = bundle_of(folder)
    expected = explained(folder, capsys, raw, "--at", AT)
    for text in (base64.b64encode(raw), base64.urlsafe_b64encode(raw).rstrip(b"="), base64.encodebytes(raw)):
        assert explained(folder, capsys, text, "--at", AT) == expected
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
        explain(folder, "-", "--json", "--at", AT)
        assert json.loads(capsys.readouterr().out) == [expected | {"bundle": "stdin"}]


def test_a_folder_is_explained_file_by_file_in_order(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, bundle_of(folder), "b")
    path = write(folder, make_bundle(b"nonsense"), "a")
    assert explain(folder, path.parent, "--json") == exits.FAILED
    named = [(each["bundle"], each["code"]) for each in json.loads(capsys.readouterr().out)]
    assert named == [("a", Code.MALFORMED.dotted), ("b", Code.CHALLENGE_UNKNOWN.dotted)]


def test_another_gateways_state_is_explained_by_folder_or_file(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    for state in (folder.store, folder.store.parent):
        assert explained(folder, capsys, bundle_of(folder), "--state", str(state))["source"] == "store"


def test_explaining_writes_nothing_into_the_store(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = folder.store.read_bytes()
    explain(folder, write(folder, bundle_of(folder)), "--at", AT)
    assert folder.store.read_bytes() == before


def test_the_text_has_the_sentence_the_next_step_and_a_line_for_each_check_in_either_language(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = SENTENCES[Code.CHALLENGE_UNKNOWN]
    path = write(folder, bundle_of(folder))
    for language, meaning, step in (
        ("en", sentence.meaning.en, sentence.next_step.en),
        ("sv", sentence.meaning.sv, sentence.next_step.sv),
    ):
        assert explain(folder, path, "--at", AT, "--lang", language) == exits.FAILED
        text = capsys.readouterr().out
        assert Code.CHALLENGE_UNKNOWN.dotted in text.splitlines()[0]
        assert meaning in " ".join(text.split())
        assert step in " ".join(text.split())
        assert all(len(line) <= 80 for line in text.splitlines())
        for check in Check:
            assert any(line.split()[:1] == [check.value] for line in text.splitlines())


def test_the_locale_chooses_the_language() -> None:
    assert language_of({"LANG": "sv_SE.UTF-8"}) == "sv"
    assert language_of({"LC_ALL": "C", "LANG": "sv_SE.UTF-8"}) == "en"
    assert language_of({"LC_ALL": "", "LC_MESSAGES": "sv", "LANG": "de"}) == "sv"
    assert language_of({}) == "en"


def test_every_check_has_words_in_both_languages() -> None:
    assert set(CHECKS) == set(Check)
    assert all(phrase.en != phrase.sv for phrase in CHECKS.values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(["--at", "yesterday"], "--at yesterday", id="no moment"),
        pytest.param(["--state", "nowhere"], "store.absent", id="no store"),
    ],
)
def test_what_cannot_be_explained_is_one_line_and_exit_1(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert explain(folder, write(folder, bundle_of(folder)), *options) == exits.FAILED
    told = capsys.readouterr()
    assert said in told.err
    assert len(told.err.splitlines()) == 1
    assert told.out == ""


def test_a_missing_file_an_empty_folder_and_missing_roots_are_named(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(folder, folder.folder / "none") == exits.FAILED
    (folder.folder / "empty").mkdir()
    assert explain(folder, folder.folder / "empty") == exits.FAILED
    folder.roots.unlink()
    assert explain(folder, write(folder, bundle_of(folder))) == exits.CONFIG
    lines = capsys.readouterr().err.splitlines()
    assert "none" in lines[0]
    assert "no bundles" in lines[1]
    assert "trust_directory" in lines[2]


def test_a_store_that_other_roots_filled_is_refused(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.roots.write_text("".join(f"{key.hex()}\n" for key in type(folder.office)(b"others").root_public_keys))
    assert explain(folder, write(folder, bundle_of(folder))) == exits.FAILED
    assert Code.BAD_SIGNATURE.dotted in capsys.readouterr().err


def test_an_epoch_command_is_of_an_earlier_start(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = unlock_over_mqtt(
        folder.office.operator("olga", now_s=NOW_S),
        folder.home,
        epoch=bytes(16),
        issued_s=1,
        command_id=bytes(16),
        now_s=NOW_S,
        alarm_ref=bytes(16),
    )
    document = explained(folder, capsys, bundle, "--at", AT)
    assert (document["code"], document["channel"]) == (Code.WRONG_EPOCH.dotted, "mqtt")
    assert results(document)["emergency"] == Code.ALARM_NOT_OPEN.dotted


@pytest.mark.parametrize(
    "content", [b"\x81" * 3_000, b"A" * 4_000, b"\x00" * 10_000], ids=["bytes", "base64", "nothing"]
)
def test_what_is_longer_than_a_bundle_is_called_too_large(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    assert explained(folder, capsys, content)["code"] == "link.too_large"
