"""`gatewayd factory-reset`: nothing secret stays on the disk, and nothing is lost that somebody still needs."""

from __future__ import annotations

import asyncio
import io
import json
import os
from typing import TYPE_CHECKING

import pytest

from gatewayd import exits
from gatewayd.cli.app import main
from gatewayd.store.store import Store
from tests.support.gateway_folder import GatewayFolder
from tests.support.other_user import NOBODY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORCED = ("--yes", "--abandon-locks", "--abandon-log")
PASSWORD = b"correct horse battery staple"
CLIENT_KEY = b"-----BEGIN PRIVATE KEY----- of the broker's client"


class PowerCut(Exception):  # noqa: N818 - what happens, not what is wrong
    """The power went."""


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> GatewayFolder:
    """A gateway in use: keys, passwords, a lock, a journal."""
    folder = GatewayFolder(tmp_path)
    assert main(["provision", str(folder.write_papers()), "--config", str(folder.config)]) == exits.OK
    folder.secret("mqtt.password", PASSWORD)
    folder.secret("mqtt-client.key", CLIENT_KEY)
    folder.secret("gateway-link.former.key", bytes(range(32)))
    folder.secret("gateway-identity.key.new", bytes(range(16)))
    folder.store.with_name(f"{folder.store.name}.damaged-1").write_bytes(folder.store.read_bytes())
    folder.store.with_name(f"{folder.store.name}.ballast").write_bytes(bytes(4_096))
    (folder.folder / "papers.json").unlink()  # the installer's own copy goes with the installer
    capsys.readouterr()
    return folder


def reset(folder: GatewayFolder, *flags: str) -> int:
    return main(["factory-reset", *flags, "--config", str(folder.config)])


def contents(folder: GatewayFolder) -> Mapping[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.folder.rglob("*")) if path.is_file()}


def assert_nothing_secret_is_left(folder: GatewayFolder) -> None:
    home = folder.home
    secrets = {
        "identity key": bytes(home.gateway_signing_key),
        "link key": home.gateway_link_keys.private,
        "former link key": bytes(range(32)),
        "a torn key": bytes(range(16)),
        "password": PASSWORD,
        "client key": CLIENT_KEY,
        "which lock it was": home.lock_id,
        "which lock it was, in words": home.lock_id.hex().encode(),
        "the journal": b"carelock.authority.updated",
    }
    for path, content in contents(folder).items():
        for name, secret in secrets.items():
            assert secret not in content, f"{name} in {path}"


def test_nothing_secret_is_left_and_what_is_no_secret_stays(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reset(folder, *FORCED) == exits.OK
    assert capsys.readouterr().out.endswith("this unit is nobody's gateway until it is given new keys\n")
    assert_nothing_secret_is_left(folder)
    assert set(contents(folder)) == {folder.config, folder.roots}


def test_a_unit_whose_lock_is_its_own_is_not_wiped(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(folder)
    assert reset(folder, "--yes", "--abandon-log") == exits.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gatewayd: still this gateway's: {folder.home.lock_id.hex()}; let each go first with")
    assert "nobody serves them until they are paired anew" in line
    assert contents(folder) == before


def test_entries_that_the_central_log_lacks_are_not_wiped(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(folder)
    assert reset(folder, "--yes", "--abandon-locks") == exits.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert "the central log lacks " in line
    assert "gatewayd log export" in line
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("typed", "code"), [("wipe\n", exits.OK), ("no\n", exits.FAILED), ("\n", exits.FAILED), ("", exits.FAILED)]
)
def test_it_asks_and_takes_nothing_but_the_word(
    folder: GatewayFolder,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    code: int,
) -> None:
    before = contents(folder)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert reset(folder, "--abandon-locks", "--abandon-log") == code
    question, *rest = capsys.readouterr().err.splitlines()
    assert f"lock {folder.home.lock_id.hex()} is abandoned" in question
    assert "of the journal will be lost" in question
    if code == exits.FAILED:
        assert rest[-1].endswith("nothing was wiped")
        assert ("--yes" in rest[-1]) is (typed == "")
        assert contents(folder) == before


def test_a_running_daemon_is_to_be_stopped_first(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(folder.store)
    assert reset(folder, *FORCED) == exits.FAILED
    assert capsys.readouterr().err == "gatewayd: stop the daemon first: systemctl stop gatewayd\n"
    asyncio.run(store.close())
    assert (folder.credentials / "gateway-identity.key").exists()


def test_a_store_that_nobody_can_read_is_wiped_only_when_both_are_given_up(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.store.write_bytes(b"no database at all, but something that was one" * 100)
    assert reset(folder, "--yes", "--abandon-locks") == exits.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert "nobody can tell which locks" in line
    assert reset(folder, *FORCED) == exits.OK
    assert_nothing_secret_is_left(folder)


def test_machines_are_told_what_was_wiped(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert reset(folder, *FORCED, "--json") == exits.OK
    told = json.loads(capsys.readouterr().out)
    assert told["abandoned_locks"] == [folder.home.lock_id.hex()]
    assert told["abandoned_entry_count"] > 0
    assert str(folder.credentials / "gateway-identity.key") in told["wiped"]
    assert not told["was_begun"]


def test_again_there_is_nothing_to_wipe_and_that_is_no_fault(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    reset(folder, *FORCED)
    capsys.readouterr()
    assert reset(folder, "--yes") == exits.OK
    assert capsys.readouterr().out.startswith("0 files wiped")


def test_a_password_in_the_configuration_itself_is_named(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.credentials / "mqtt.password").unlink()
    drop_in = folder.drop_in("50-broker.toml", '[mqtt]\npassword = "hunter2"\n')
    drop_in.chmod(0o600)
    assert reset(folder, *FORCED) == exits.FAILED
    assert f"still stands in {drop_in}:2: take it out" in capsys.readouterr().err


def test_a_power_cut_at_every_step_is_finished_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is on the disk at each moment at which something reaches it, and the same command on that."""
    sync = os.fsync
    left = 0

    def synced(descriptor: int) -> None:
        nonlocal left
        if not left:
            raise PowerCut
        left -= 1
        sync(descriptor)

    for number in range(100):
        (tmp_path / str(number)).mkdir()
        gateway = GatewayFolder(tmp_path / str(number))
        papers = gateway.write_papers()
        assert main(["provision", str(papers), "--config", str(gateway.config)]) == exits.OK
        papers.unlink()
        gateway.secret("mqtt.password", PASSWORD)
        left = number
        monkeypatch.setattr(os, "fsync", synced)
        code = reset(gateway, *FORCED)
        monkeypatch.setattr(os, "fsync", sync)
        if code == exits.OK:
            assert number > 6
            return
        assert "PowerCut" in capsys.readouterr().err
        assert reset(gateway, *FORCED) == exits.OK
        told = capsys.readouterr().out
        assert told.startswith("an earlier wipe had begun") is (number > 0 and not told.startswith("0 files"))
        assert_nothing_secret_is_left(gateway)
    raise AssertionError("it never ends")


def test_attack_a_link_of_the_services_user_does_not_make_root_wipe_another_file(folder: GatewayFolder) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root owns what others do not")
    shadow = folder.folder / "shadow"
    shadow.write_bytes(b"root's own")
    link = folder.store.with_name(f"{folder.store.name}.link")
    link.symlink_to(shadow)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    assert reset(folder, *FORCED) == exits.OK
    assert shadow.read_bytes() == b"root's own"
    assert not link.is_symlink()


def test_a_key_that_its_owner_keeps_behind_a_link_is_wiped_where_it_is(folder: GatewayFolder) -> None:
    password, kept = folder.credentials / "mqtt.password", folder.folder / "elsewhere"
    password.rename(kept)
    password.symlink_to(kept)
    assert reset(folder, *FORCED) == exits.OK
    assert not kept.exists()
    assert not password.is_symlink()
