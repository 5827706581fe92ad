"""`gatewayd provision` as an installer runs it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from gatewayd import exits
from gatewayd.cli.app import main
from gatewayd.store.store import Store
from tests.support.gateway_folder import NOW_S, GatewayFolder, text_of
from tests.support.other_user import NOBODY

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> GatewayFolder:
    return GatewayFolder(tmp_path)


def provision(folder: GatewayFolder, papers: Path) -> int:
    return main(["provision", str(papers), "--config", str(folder.config)])


def test_a_new_gateway_gets_its_store_and_its_papers(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert provision(folder, folder.write_papers()) == exits.OK
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.splitlines()[0] == "keyset 1: saved"
    assert stat.S_IMODE(folder.store.stat().st_mode) == 0o600
    assert provision(folder, folder.write_papers()) == exits.OK
    assert {line.split(": ")[1] for line in capsys.readouterr().out.splitlines()} == {"is held already"}


def test_a_state_folder_that_is_missing_is_made_for_nobody_else(folder: GatewayFolder) -> None:
    folder.store.parent.rmdir()
    assert provision(folder, folder.write_papers()) == exits.OK
    assert stat.S_IMODE(folder.store.parent.stat().st_mode) == 0o700


def test_papers_that_are_not_in_order_are_told_and_nothing_is_kept(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    papers = folder.write_papers(doors=[])
    assert provision(folder, papers) == exits.FAILED
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        f"{papers}: pairing_orders[0]: lock {folder.home.lock_id.hex()} has no Door in this file",
        "gatewayd: nothing was kept",
    ]


def test_a_lower_owner_epoch_is_refused(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    second = folder.office.pairing_order(folder.home, now_s=NOW_S, owner_epoch=2)
    assert provision(folder, folder.write_papers(pairing_orders=[text_of(second)])) == exits.OK
    assert provision(folder, folder.write_papers()) == exits.FAILED
    assert "owner epoch 1 is refused, 2 is held" in capsys.readouterr().err


def test_while_the_daemon_has_the_store_it_says_so(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    papers = folder.write_papers()
    assert provision(folder, papers) == exits.OK
    capsys.readouterr()
    store = Store.open(folder.store)
    assert provision(folder, papers) == exits.FAILED
    assert "stop the daemon first" in capsys.readouterr().err
    assert store.path == folder.store


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "does not exist"), (b"{", "the file is not JSON"), (b"x" * 4_194_305, "has more than 4194304 bytes")],
)
def test_a_file_that_cannot_be_used_is_told(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], content: bytes | None, told: str
) -> None:
    papers = folder.folder / "papers.json"
    if content is not None:
        papers.write_bytes(content)
    assert provision(folder, papers) == exits.FAILED
    assert told in capsys.readouterr().err
    assert not folder.store.exists()


def test_a_wrong_configuration_exits_78(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.config.write_text("")
    assert provision(folder, folder.write_papers()) == exits.CONFIG
    assert "mqtt: is missing" in capsys.readouterr().err


def test_a_damaged_store_is_told_and_left_alone(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.store.write_bytes(b"not a store" * 100)
    assert provision(folder, folder.write_papers()) == exits.FAILED
    assert "(store.damaged)" in capsys.readouterr().err
    assert folder.store.read_bytes() == b"not a store" * 100


def test_what_root_provisions_belongs_to_the_owner_of_the_state_folder(folder: GatewayFolder) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(folder.store.parent, NOBODY, NOBODY)
    assert provision(folder, folder.write_papers()) == exits.OK
    assert {file.stat().st_uid for file in folder.store.parent.iterdir()} == {NOBODY}


def test_the_papers_file_says_what_the_readme_says(folder: GatewayFolder) -> None:
    assert json.loads(folder.write_papers().read_text()).keys() == {
        "keyset",
        "authorities",
        "state",
        "doors",
        "pairing_orders",
    }


def test_attack_a_link_in_the_state_folder_gives_nothing_of_roots_away(folder: GatewayFolder) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(folder.store.parent, NOBODY, NOBODY)
    shadow = folder.secret("shadow", b"root's own")
    folder.store.with_name(f"{folder.store.name}.link").symlink_to(shadow)
    assert provision(folder, folder.write_papers()) == exits.OK
    assert shadow.stat().st_uid == 0


def test_a_running_daemon_is_to_be_stopped_first(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    papers = folder.write_papers()
    assert provision(folder, papers) == exits.OK
    capsys.readouterr()
    running = Store.open(folder.store)
    try:
        assert provision(folder, papers) == exits.FAILED
    finally:
        asyncio.run(running.close())
    assert capsys.readouterr().err == "gatewayd: stop the daemon first: systemctl stop gatewayd\n"
