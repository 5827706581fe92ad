"""`gatewayd log verify`: whole or not, and by whose keys."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from gatewayd import exits
from gatewayd.cli.app import main
from gatewayd.control.server import ControlServer
from gatewayd.control.store_log import StoreLog
from gatewayd.journal.events import CommandDecided, TimeStamp
from gatewayd.journal.journal import SignedAt
from gatewayd.store.database import Database
from gatewayd.store.log import load_journal
from gatewayd.store.store import Store
from simulator.office import Office
from tests.support.control_bench import FixedStatus
from tests.support.gateway_folder import GatewayFolder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> GatewayFolder:
    """Return a provisioned gateway whose journal of two entries is signed."""
    folder = GatewayFolder(tmp_path)
    assert main(["provision", str(folder.write_papers()), "--config", str(folder.config)]) == exits.OK
    database = Database(folder.store)
    journal = database.run(lambda tx: load_journal(tx, gateway_id=folder.home.gateway_id))
    signed_at = SignedAt(boot=1, boottime_ms=1)
    database.run(lambda tx: journal.signed_checkpoint(tx, folder.home.gateway_signing_key, signed_at=signed_at))
    database.close()
    capsys.readouterr()
    return folder


def verify(folder: GatewayFolder, *arguments: str) -> int:
    return main(["log", "verify", "--config", str(folder.config), *arguments])


def falsify(folder: GatewayFolder) -> None:
    database = Database(folder.store)
    database.run(lambda tx: tx.execute("UPDATE entries SET leaf = x'7b7d' WHERE idx = 1"))
    database.close()


def test_a_stopped_gateways_journal_is_read_from_its_store(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(folder) == exits.OK
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.startswith("whole; 2 of 2 entries here, 1 checkpoints, 0 receipts, 0 lock records, root ")


@pytest.mark.parametrize("source", ["state", "state/gatewayd.sqlite"])
def test_a_copy_is_read_by_folder_or_file(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    assert verify(folder, "--from", str(folder.folder / source), "--json") == exits.OK
    document = json.loads(capsys.readouterr().out)
    assert (document["whole"], document["size"], document["unchecked"]) == (True, 2, None)


def test_an_altered_entry_exits_1_and_is_named(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    falsify(folder)
    assert verify(folder) == exits.FAILED
    assert capsys.readouterr().out.startswith("entry 1: ")
    assert verify(folder, "--json") == exits.FAILED
    assert json.loads(capsys.readouterr().out)["whole"] is False


async def test_the_running_daemon_is_asked(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(folder.store)
    server = ControlServer(folder.folder / "run" / "control.sock", status=FixedStatus(), journal=StoreLog(store))
    await server.open()
    assert await asyncio.to_thread(verify, folder) == exits.OK
    await server.close()
    assert capsys.readouterr().out.startswith("whole; 2 of 2")
    assert await asyncio.to_thread(verify, folder) == exits.FAILED  # nobody answers, and the store is taken
    assert "(store.locked)" in capsys.readouterr().err
    await store.close()


def test_without_pinned_roots_signatures_are_said_to_be_unchecked(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = folder.folder / "copy.sqlite"
    shutil.copy(folder.store, copy)
    folder.config.unlink()
    assert verify(folder, "--from", str(copy)) == exits.OK
    assert "no root keys are pinned here" in capsys.readouterr().err


def test_anothers_roots_do_not_bear_out_the_keys(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    stranger = Office(b"stranger")
    folder.roots.write_text("".join(f"{key.hex()}\n" for key in stranger.root_public_keys))
    assert verify(folder) == exits.OK
    assert "the keys are not borne out by the pinned roots" in capsys.readouterr().err


def test_an_empty_gateway_has_no_keys_to_check_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = GatewayFolder(tmp_path)
    asyncio.run(Store.create(folder.store, log_id=bytes(16)).close())
    assert verify(folder) == exits.OK
    assert "nothing has been provisioned" in capsys.readouterr().err


def test_no_journal_at_all_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = GatewayFolder(tmp_path)
    assert verify(folder) == exits.FAILED
    assert "(store.absent)" in capsys.readouterr().err


def test_a_wrong_configuration_exits_78(folder: GatewayFolder) -> None:
    folder.config.write_text("[gateway]\nnope = 1\n")
    assert verify(folder) == exits.CONFIG


def visit(folder: GatewayFolder) -> None:
    """Let Anna open once, and the central log sign for it."""
    database = Database(folder.store)
    journal = database.run(lambda tx: load_journal(tx, gateway_id=folder.home.gateway_id))
    event = CommandDecided(
        lock_id=folder.home.lock_id,
        command_id=bytes(16),
        command_sha256=bytes(32),
        channel="relay",
        action="unlock",
        code="outcome.permitted",
        signer=bytes(8),
        subject="anna",
        role="carer",
        tier="fresh",
    )
    time = TimeStamp(lo_ms=1_780_000_000_000, hi_ms=None)
    database.run(lambda tx: journal.append(tx, event, time=time, salt=bytes(16)))
    database.close()


def test_the_report_names_who_was_here(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    visit(folder)
    assert main(["log", "report", "--config", str(folder.config)]) == exits.OK
    lock = folder.home.lock_id.hex()
    expected = f"2026-05-28T20:26:40.000Z unlock lock {lock} by carer anna: outcome.permitted\n"
    assert capsys.readouterr().out == expected
    assert main(["log", "report", "--subject", "bo", "--json", "--config", str(folder.config)]) == exits.OK
    assert json.loads(capsys.readouterr().out) == {"visits": [], "entry_count": 0}


def test_erasing_waits_for_the_receipt_then_takes_the_name_off_the_disk(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    visit(folder)
    command = ["log", "erase", "--subject", "anna", "--config", str(folder.config)]
    assert main(command) == exits.FAILED
    assert "1 entries wait for the central log's receipt" in capsys.readouterr().err
    database = Database(folder.store)
    database.run(lambda tx: tx.execute("UPDATE gateway SET received = log_size, sent = log_size"))
    database.close()
    assert main(command) == exits.OK
    assert b"anna" not in folder.store.read_bytes()
    capsys.readouterr()
    assert verify(folder) == exits.OK
    assert "1 erased" in capsys.readouterr().out
