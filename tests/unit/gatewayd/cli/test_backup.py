"""`gatewayd backup` and `gatewayd restore`: the keys go to a spare unit, and only with the office's order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest
from nacl.public import PrivateKey

from gatewayd import exits
from gatewayd.cli.app import main
from gatewayd.config.loader import load
from tests.support.gateway_folder import NOW_S, GatewayFolder, text_of

if TYPE_CHECKING:
    from pathlib import Path

RECOVERY: Final = PrivateKey(bytes([4]) * 32)


class PowerCut(Exception):  # noqa: N818 - what happens, not what is wrong
    """The power went."""


class SpareUnit:
    """A dead gateway's backup, and a unit with keys of its own."""

    def __init__(self, folder: Path) -> None:
        for name in ("dead", "spare"):
            (folder / name).mkdir()
        self.dead, self.spare = GatewayFolder(folder / "dead"), GatewayFolder(folder / "spare")
        own = self.spare.office.home("spare")
        self.spare.secret("gateway-identity.key", bytes(own.gateway_signing_key))
        self.spare.secret("gateway-link.key", own.gateway_link_keys.private)
        self.own = own
        self.public = folder / "recovery.pub"
        self.public.write_bytes(bytes(RECOVERY.public_key))
        self.private = folder / "recovery.key"
        self.private.write_bytes(bytes(RECOVERY))
        self.private.chmod(0o600)
        self.file = folder / "backup.sealed"

    def backup(self) -> int:
        return main(["backup", str(self.file), "--recovery-key", str(self.public), "--config", str(self.dead.config)])

    def restore(self, papers: Path, key: Path | None = None) -> int:
        arguments = ["--recovery-key", str(key or self.private), "--papers", str(papers)]
        return main(["restore", str(self.file), *arguments, "--config", str(self.spare.config)])

    def papers(self) -> Path:
        link = self.own.gateway_link_keys.public
        office, home = self.dead.office, self.dead.home
        order = office.pairing_order(home, now_s=NOW_S, owner_epoch=2, gateway_link_key=link)
        door = office.door(home, gateway_link_key=link)
        return self.spare.write_papers(pairing_orders=[text_of(order)], doors=[text_of(door)])


@pytest.fixture
def unit(tmp_path: Path) -> SpareUnit:
    return SpareUnit(tmp_path)


def test_a_spare_unit_becomes_the_dead_gateway_with_its_own_link_key(
    unit: SpareUnit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert unit.backup() == exits.OK
    papers = unit.papers()
    assert unit.restore(papers) == exits.OK
    assert "gatewayd pair" in capsys.readouterr().out
    identity = load(unit.spare.config).identity()
    assert identity.gateway_id == unit.dead.home.gateway_id
    assert identity.link_keys.public == unit.own.gateway_link_keys.public
    former = unit.spare.credentials / "gateway-link.former.key"
    assert former.read_bytes() == unit.dead.home.gateway_link_keys.private
    assert former.stat().st_mode & 0o077 == 0
    assert unit.restore(papers) == exits.OK


def test_a_backup_shows_for_which_recovery_key_it_is(unit: SpareUnit, capsys: pytest.CaptureFixture[str]) -> None:
    assert unit.backup() == exits.OK
    shown = unit.public.read_bytes().hex()
    assert capsys.readouterr().out.endswith(f"for the recovery key {shown}\n")


def test_restore_asks_for_the_order_first(unit: SpareUnit, capsys: pytest.CaptureFixture[str]) -> None:
    unit.backup()
    capsys.readouterr()
    assert unit.restore(unit.spare.write_papers()) == exits.FAILED
    told = capsys.readouterr().err
    assert told.startswith("gatewayd: ask the office first for a pairing order of a higher owner epoch")
    assert unit.own.gateway_link_keys.public.hex() in told
    assert load(unit.spare.config).identity().gateway_id == unit.own.gateway_id


def test_attack_another_recovery_key_opens_nothing(unit: SpareUnit, capsys: pytest.CaptureFixture[str]) -> None:
    unit.backup()
    capsys.readouterr()
    thief = unit.file.with_name("thief.key")
    thief.write_bytes(bytes([5]) * 32)
    thief.chmod(0o600)
    assert unit.restore(unit.papers(), thief) == exits.FAILED
    assert "does not open the backup" in capsys.readouterr().err
    assert load(unit.spare.config).identity().gateway_id == unit.own.gateway_id


def test_a_backup_shows_no_key_and_overwrites_nothing(unit: SpareUnit, capsys: pytest.CaptureFixture[str]) -> None:
    assert unit.backup() == exits.OK
    sealed = unit.file.read_bytes()
    assert unit.dead.home.gateway_link_keys.private not in sealed
    assert unit.file.stat().st_mode & 0o077 == 0
    assert unit.backup() == exits.FAILED
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert unit.file.read_bytes() == sealed


def test_a_unit_that_has_a_store_is_no_spare(unit: SpareUnit, capsys: pytest.CaptureFixture[str]) -> None:
    unit.backup()
    capsys.readouterr()
    unit.spare.store.write_bytes(b"something")
    assert unit.restore(unit.papers()) == exits.FAILED
    assert "a spare unit has none" in capsys.readouterr().err
    assert load(unit.spare.config).identity().gateway_id == unit.own.gateway_id


def test_a_power_cut_between_the_two_keys_is_made_good_by_the_same_command(unit: SpareUnit) -> None:
    unit.backup()
    papers = unit.papers()
    unit.spare.secret("gateway-link.former.key", unit.dead.home.gateway_link_keys.private)
    unit.spare.secret("gateway-identity.key.new", b"torn")
    assert unit.restore(papers) == exits.OK
    assert load(unit.spare.config).identity().gateway_id == unit.dead.home.gateway_id


def test_a_power_cut_at_every_step_of_restore_is_made_good_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is on the disk at each moment at which something reaches it, and the same command on that."""
    sync, left = os.fsync, 0

    def synced(descriptor: int) -> None:
        nonlocal left
        if not left:
            raise PowerCut
        left -= 1
        sync(descriptor)

    for number in range(20):
        (tmp_path / str(number)).mkdir()
        unit = SpareUnit(tmp_path / str(number))
        unit.backup()
        papers = unit.papers()
        left = number
        monkeypatch.setattr(os, "fsync", synced)
        code = unit.restore(papers)
        monkeypatch.setattr(os, "fsync", sync)
        if code == exits.OK:
            assert number >= 4
            return
        assert "PowerCut" in capsys.readouterr().err
        assert unit.restore(papers) == exits.OK
        assert "gatewayd pair" in capsys.readouterr().out
        assert load(unit.spare.config).identity().gateway_id == unit.dead.home.gateway_id
        former = (unit.spare.credentials / "gateway-link.former.key").read_bytes()
        assert former == unit.dead.home.gateway_link_keys.private
    raise AssertionError("it never ends")
