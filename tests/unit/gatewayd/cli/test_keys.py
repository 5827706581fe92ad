"""`gatewayd keys`: made once, where they stay; only their public halves are shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gatewayd import exits
from gatewayd.cli.app import main
from gatewayd.config.loader import load
from gatewayd.store.creation import sync_folder
from tests.support.gateway_folder import GatewayFolder

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("gateway-identity.key", "gateway-link.key")


@pytest.fixture
def folder(tmp_path: Path) -> GatewayFolder:
    """Return a unit with a configuration and without keys."""
    folder = GatewayFolder(tmp_path)
    for name in NAMES:
        (folder.credentials / name).unlink()
    folder.credentials.rmdir()
    return folder


def keys(folder: GatewayFolder, *options: str) -> int:
    return main(["keys", "--config", str(folder.config), *options])


def test_a_unit_makes_its_keys_once_and_shows_what_the_office_needs(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys(folder, "--make", "--json") == exits.OK
    shown = json.loads(capsys.readouterr().out)
    identity = load(folder.config, {}).identity()
    assert shown == {
        "gateway_id": identity.gateway_id.hex(),
        "gateway_identity_key": identity.public_key.hex(),
        "gateway_link_key": identity.link_keys.public.hex(),
    }
    made = {name: (folder.credentials / name).read_bytes() for name in NAMES}
    assert len(set(made.values())) == 2
    assert {(folder.credentials / name).stat().st_mode & 0o777 for name in NAMES} == {0o600}
    assert folder.credentials.stat().st_mode & 0o777 == 0o700
    assert keys(folder, "--make") == exits.OK
    text = capsys.readouterr().out
    assert [line.split() for line in text.splitlines()] == [list(each) for each in shown.items()]
    assert {name: (folder.credentials / name).read_bytes() for name in NAMES} == made
    assert not any(secret.hex() in text for secret in made.values())


def test_a_unit_without_keys_says_how_to_get_them(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys(folder) == exits.FAILED
    told = capsys.readouterr()
    assert told.out == ""
    path = folder.credentials / NAMES[0]
    assert (
        told.err == f"gatewayd: {path}: does not exist; a unit that has no keys yet gets them by gatewayd keys --make\n"
    )
    assert not folder.credentials.exists()


def test_a_power_cut_between_the_two_leaves_what_the_same_command_finishes(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(_folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gatewayd.cli.keys.sync_folder", cut)
    assert keys(folder, "--make") == exits.FAILED
    first = (folder.credentials / NAMES[0]).read_bytes()
    assert [path.name for path in folder.credentials.iterdir()] == [NAMES[0]]
    monkeypatch.setattr("gatewayd.cli.keys.sync_folder", sync_folder)
    assert keys(folder, "--make") == exits.OK
    assert (folder.credentials / NAMES[0]).read_bytes() == first
    assert "gateway_link_key" in capsys.readouterr().out


@pytest.mark.parametrize("left", ["key", "store"])
def test_what_is_left_of_an_earlier_gateway_is_never_mixed_with_new_keys(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], left: str
) -> None:
    folder.credentials.mkdir()
    path = folder.store if left == "store" else folder.credentials / NAMES[1]
    path.write_bytes(bytes(range(32)))
    assert keys(folder, "--make") == exits.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"gatewayd: {path} is an earlier gateway's: end that one with gatewayd factory-reset first"
    assert not (folder.credentials / NAMES[0]).exists()


def test_keys_that_others_can_read_or_that_are_none_are_refused(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys(folder, "--make") == exits.OK
    capsys.readouterr()
    (folder.credentials / NAMES[1]).write_bytes(b"x")
    assert keys(folder) == exits.FAILED
    assert "is no key: 1 characters" in capsys.readouterr().err
    (folder.credentials / NAMES[0]).chmod(0o644)
    assert keys(folder, "--make") == exits.FAILED
    assert "is a secret that others can read" in capsys.readouterr().err


def test_where_no_key_can_be_written_it_is_told_in_a_line(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.credentials.write_bytes(b"")
    assert keys(folder, "--make") == exits.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gatewayd: {folder.credentials}")
    folder.config.unlink()
    assert keys(folder, "--make") == exits.CONFIG
