"""`gatewayd log tail`, `show`, `prove` and `export`: the journal read, proved to others, and taken along."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import exits
from gatewayd.cli import log_view
from gatewayd.cli.app import main
from gatewayd.control.server import ControlServer
from gatewayd.control.store_log import StoreLog
from gatewayd.journal.events import CommandDecided, TimeStamp
from gatewayd.journal.journal import SignedAt
from gatewayd.store.database import Database
from gatewayd.store.log import load_journal
from gatewayd.store.store import Store
from tests.support.control_bench import FixedStatus
from tests.support.gateway_folder import GatewayFolder
from tests.support.other_user import as_nobody, let_through
from tests.support.rfc6962 import checks_consistency, checks_inclusion

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatewayd.store.store import Transaction

SUBJECT = "carer-4711-anna"
DECIDED = CommandDecided(
    lock_id=bytes(8),
    command_id=bytes(16),
    command_sha256=bytes(32),
    channel="ble",
    action="unlock",
    code="outcome.permitted",
    signer="ab" * 8,
    subject=SUBJECT,
    role="carer",
    tier="fresh",
)
STAMP = TimeStamp(lo_ms=1_800_000_000_000, hi_ms=1_800_000_000_500)


def written(folder: GatewayFolder, work: Callable[[Transaction], object]) -> None:
    database = Database(folder.store)
    database.run(work)
    database.close()


def sign(folder: GatewayFolder) -> None:
    def work(tx: Transaction) -> None:
        journal = load_journal(tx, gateway_id=folder.home.gateway_id)
        journal.signed_checkpoint(tx, folder.home.gateway_signing_key, signed_at=SignedAt(boot=1, boottime_ms=1))

    written(folder, work)


def append(folder: GatewayFolder, count: int) -> None:
    def work(tx: Transaction) -> None:
        journal = load_journal(tx, gateway_id=folder.home.gateway_id)
        for number in range(count):
            journal.append(tx, DECIDED, time=STAMP, salt=number.to_bytes(16, "big"))

    written(folder, work)


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> GatewayFolder:
    """Return a provisioned gateway: 2 entries of provisioning, a checkpoint, 7 decisions, another, 3 more."""
    folder = GatewayFolder(tmp_path)
    assert main(["provision", str(folder.write_papers()), "--config", str(folder.config)]) == exits.OK
    sign(folder)
    append(folder, 7)
    sign(folder)
    append(folder, 3)
    capsys.readouterr()
    return folder


def log(folder: GatewayFolder, *arguments: str) -> int:
    return main(["log", *arguments, "--config", str(folder.config)])


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_tail_shows_the_newest_entries_in_order_with_who_it_was_masked(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert log(folder, "tail", "-n", "2") == exits.OK
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines] == [["10", "command.decided"], ["11", "command.decided"]]
    assert lines[0].startswith("2027-01-15T08:00:00.000Z ")
    assert " subject=care… " in lines[0]
    assert SUBJECT not in lines[0]


def test_tail_shows_pseudonyms_where_asked_for_and_json_a_line_each(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert log(folder, "tail", "--lines", "1", "--ids", "--json") == exits.OK
    document = told(capsys)
    assert (document["index"], document["event"]["data"]["subject"]) == (11, SUBJECT)


async def test_tail_follows_the_running_daemon(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_view, "FOLLOW_S", 0.01)
    store = Store.open(folder.store)
    server = ControlServer(folder.folder / "run" / "control.sock", status=FixedStatus(), journal=StoreLog(store))
    await server.open()
    following = asyncio.create_task(asyncio.to_thread(log, folder, "tail", "-n", "1", "--follow"))
    out = ""
    while " 11 command" not in out:
        await asyncio.sleep(0.01)
        out += capsys.readouterr().out
    journal = await store.run(lambda tx: load_journal(tx, gateway_id=folder.home.gateway_id))
    await store.run(lambda tx: journal.append(tx, DECIDED, time=STAMP, salt=bytes(16)))
    while " 12 command" not in out:
        await asyncio.sleep(0.01)
        out += capsys.readouterr().out
    await server.close()
    assert await following == exits.FAILED  # the daemon has gone
    await store.close()


def test_show_tells_an_entry_its_hash_and_who_has_signed_for_it(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert log(folder, "show", "4") == exits.OK
    out = capsys.readouterr().out
    assert '"subject": "care…"' in out
    assert "under the gateway's checkpoint of size 9" in out
    assert "the central log has not signed for it yet" in out
    assert log(folder, "show", "10", "--json", "--ids") == exits.OK
    document = told(capsys)
    assert (document["checkpoint"], document["received"]) == (None, False)
    assert document["event"]["data"]["subject"] == SUBJECT


def test_show_names_what_is_not_there(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert log(folder, "show", "12") == exits.FAILED
    assert "there are 12 entries, from 0 (journal.beyond_end)" in capsys.readouterr().err


@pytest.mark.parametrize("index", [0, 3, 8])
def test_prove_prints_an_inclusion_proof_that_an_independent_verifier_accepts_with_the_signed_root(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], index: int
) -> None:
    assert log(folder, "prove", str(index)) == exits.OK
    document = told(capsys)
    assert (document["leafIdx"], document["treeSize"]) == (index, 9)
    assert checks_inclusion(document)
    assert document["checkpoint"].splitlines()[1:3] == ["9", document["root"]]  # size and root of the signed note
    assert document["receipt"] is None


def test_an_entry_under_no_checkpoint_is_proved_and_said_to_be_unsigned(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert log(folder, "prove", "11") == exits.OK
    caught = capsys.readouterr()
    assert "nobody has signed" in caught.err
    assert checks_inclusion(json.loads(caught.out))


def test_prove_since_prints_a_consistency_proof_that_an_independent_verifier_accepts(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert log(folder, "prove", "--since", "2", "--size", "9") == exits.OK
    document = told(capsys)
    assert (document["size1"], document["size2"]) == (2, 9)
    assert checks_consistency(document)
    altered = document | {"root1": document["root2"]}
    assert not checks_consistency(altered)


@pytest.mark.parametrize("arguments", [[], ["1", "--since", "1"]])
def test_prove_wants_one_thing_to_prove(folder: GatewayFolder, arguments: list[str]) -> None:
    assert log(folder, "prove", *arguments) == exits.USAGE


@pytest.mark.parametrize("arguments", [["12"], ["3", "--size", "13"], ["--since", "9", "--size", "8"]])
def test_prove_refuses_what_there_is_not(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert log(folder, "prove", *arguments) == exits.FAILED
    assert "(journal.beyond_end)" in capsys.readouterr().err


def test_an_exported_journal_is_verified_shown_and_proved_as_the_store_is(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = folder.folder / "journal.jsonl"
    assert log(folder, "export", str(exported)) == exits.OK
    assert exported.stat().st_mode & 0o777 == 0o600
    capsys.readouterr()
    for arguments in (["verify", "--json"], ["tail", "-n", "3"], ["show", "4"], ["prove", "4"]):
        assert log(folder, *arguments) == exits.OK
        from_store = capsys.readouterr()
        assert log(folder, *arguments, "--from", str(exported)) == exits.OK
        assert capsys.readouterr() == from_store
    assert log(folder, "export", "--from", str(exported)) == exits.OK
    assert capsys.readouterr().out == exported.read_text()


@pytest.mark.parametrize("command", [["verify"], ["tail"], ["show", "4"], ["prove", "4"], ["report"], ["export"]])
def test_a_file_of_something_else_is_called_so_and_not_damaged(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert log(folder, *command, "--from", str(folder.config)) == exits.FAILED
    said = f"gatewayd: {folder.config}: neither a store nor what gatewayd log export writes (log.malformed)\n"
    assert capsys.readouterr().err == said


def test_an_export_overwrites_nothing(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    exported = folder.folder / "journal.jsonl"
    exported.write_text("mine")
    assert log(folder, "export", str(exported)) == exits.FAILED
    assert "(log.not_written)" in capsys.readouterr().err
    assert exported.read_text() == "mine"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('"carelock_log":1', '"carelock_log":2', 1),
        ('"checkpoint":9', '"checkpoint":-9', 3),
        ('"entry":7', '"entry":"7"', 11),
        ('{"entry":7', '["entry":7', 11),
    ],
)
def test_an_export_that_was_damaged_is_told_by_its_line(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], old: str, new: str, line: int
) -> None:
    exported = folder.folder / "journal.jsonl"
    assert log(folder, "export", str(exported)) == exits.OK
    exported.write_text(exported.read_text().replace(old, new, 1))
    capsys.readouterr()
    assert log(folder, "verify", "--from", str(exported)) == exits.FAILED
    assert f"{exported}:{line}: not a line of an exported journal" in capsys.readouterr().err


def test_attack_an_entry_altered_in_an_export_is_named(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = folder.folder / "journal.jsonl"
    assert log(folder, "export", str(exported)) == exits.OK
    exported.write_text(exported.read_text().replace("outcome.permitted", "outcome.permitten", 1))
    capsys.readouterr()
    assert log(folder, "verify", "--from", str(exported)) == exits.FAILED
    assert capsys.readouterr().out.startswith("entry 2: its bytes do not have the hash")


def test_attack_an_entry_that_is_noise_does_not_steer_the_terminal(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    written(folder, lambda tx: tx.execute("UPDATE entries SET leaf = x'1b5b324a0a' WHERE idx = 11"))
    assert log(folder, "tail", "-n", "1") == exits.OK
    assert capsys.readouterr().out.split() == ["11", "unreadable", "unreadable=1b5b324a0a"]
    exported = folder.folder / "journal.jsonl"
    assert log(folder, "export", str(exported)) == exits.OK
    assert log(folder, "verify", "--from", str(exported)) == exits.FAILED


def test_following_a_file_is_refused(folder: GatewayFolder) -> None:
    assert log(folder, "tail", "--follow", "--from", str(folder.store)) == exits.USAGE


@pytest.mark.parametrize("command", [["verify"], ["tail"], ["show", "4"], ["prove", "4"], ["report"], ["export"]])
def test_an_export_of_somebody_else_is_one_line_and_exit_1(folder: GatewayFolder, command: list[str]) -> None:
    exported = folder.folder / "journal.jsonl"
    assert log(folder, "export", str(exported)) == exits.OK
    let_through(folder.folder)

    def look() -> str:
        said = io.StringIO()
        with redirect_stderr(said):
            code = main(["log", *command, "--from", str(exported)])
        return f"{code}: {said.getvalue()}"

    assert as_nobody(look) == f"{exits.FAILED}: gatewayd: {exported}: Permission denied (log.unreadable)\n"
