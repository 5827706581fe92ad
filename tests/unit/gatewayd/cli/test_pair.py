"""`gatewayd pair` and `gatewayd decommission` as an installer mistypes them: one line each, and what to do next."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import TYPE_CHECKING

import pytest

from gatewayd import exits
from gatewayd.cli.app import main
from gatewayd.store.store import Store
from simulator.office import Office
from tests.support.gateway_folder import NOW_S, GatewayFolder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> GatewayFolder:
    return GatewayFolder(tmp_path)


def label_text(folder: GatewayFolder) -> str:
    return folder.office.lock_keys(folder.home).label.to_text()


def pair(folder: GatewayFolder, *arguments: str) -> int:
    return main(["pair", *arguments, "--config", str(folder.config)])


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that was said."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err.splitlines()[-1]


def test_a_label_that_is_none_is_refused(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    papers = str(folder.write_papers())
    assert pair(folder, papers, "--label", "https://example.org") == exits.FAILED
    assert told(capsys).startswith("gatewayd: this is not the text of a lock's label, CARELOCK:1:")


def test_a_label_is_asked_for_and_spaces_and_small_letters_do_not_matter(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = label_text(folder).lower()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{text[:40]} {text[40:]}\n"))
    papers = folder.write_papers(pairing_orders=[])
    assert pair(folder, str(papers)) == exits.FAILED
    captured = capsys.readouterr().err.splitlines()
    assert captured[0] == "Scan the QR code on the lock, or type its text, and press Enter:"
    assert "has no pairing order in this file" in captured[-1]


def test_the_secret_of_a_label_is_never_said(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    text = label_text(folder)
    pair(folder, str(folder.write_papers(doors=[])), "--label", text)
    captured = capsys.readouterr()
    assert text[20:] not in captured.err + captured.out


def test_a_label_of_another_lock_than_the_order_is_refused(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Office(b"another").home("x")
    text = folder.office.lock_keys(other).label.to_text()
    assert pair(folder, str(folder.write_papers()), "--label", text) == exits.FAILED
    assert "which the label names" in told(capsys)


def test_papers_that_are_not_there_are_named(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    missing = folder.store.parent / "none.json"
    assert pair(folder, str(missing), "--label", label_text(folder)) == exits.FAILED
    assert str(missing) in told(capsys)


def test_a_running_daemon_is_to_be_stopped_first(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store.create(folder.store, log_id=bytes(16))
    assert pair(folder, str(folder.write_papers()), "--label", label_text(folder)) == exits.FAILED
    assert told(capsys) == "gatewayd: stop the daemon first: systemctl stop gatewayd"

    asyncio.run(store.close())


def test_a_key_that_is_none_is_refused(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    key = folder.store.parent / "former"
    key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key.write_text("no key")
    key.chmod(0o600)
    papers = str(folder.write_papers())
    assert pair(folder, papers, "--label", label_text(folder), "--former-key", str(key)) == exits.FAILED
    assert "is no key" in told(capsys)


@pytest.mark.parametrize(
    "content",
    [b"", b"not base64!", b"\xff\x00", b"AAAA", b"0oRN", b"\xd2\x84"],
    ids=["empty", "text", "bytes", "zeros", "cut", "cut bytes"],
)
def test_an_order_that_is_none_is_refused(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    order = folder.store.parent / "order"
    order.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    order.write_bytes(content)
    assert main(["decommission", str(order), "--config", str(folder.config)]) == exits.FAILED
    assert told(capsys).startswith(f"gatewayd: {order}: is no signed order")


def test_an_order_for_a_lock_that_is_not_ours_needs_nothing_done(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["provision", str(folder.write_papers()), "--config", str(folder.config)]) == exits.OK
    capsys.readouterr()
    stranger = folder.office.home("elsewhere")
    raw = folder.office.decommission_order(stranger, now_s=NOW_S, owner_epoch=2)
    order = folder.store.parent / "order"
    order.write_bytes(base64.urlsafe_b64encode(raw))
    assert main(["decommission", str(order), "--config", str(folder.config)]) == exits.FAILED
    assert "the decommission order is for gateway" in told(capsys)
