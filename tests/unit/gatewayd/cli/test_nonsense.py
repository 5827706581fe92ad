"""Every prompt and flag of the installer's commands, given nonsense: one clear line, what to do next, a stable code."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Final

import pytest

from gatewayd import exits
from gatewayd.cli.app import main
from tests.support.gateway_folder import GatewayFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMMANDS: Final = {
    "provision": ["{papers}"],
    "pair": ["{papers}", "--label", "{label}"],
    "pair --former-key": ["{papers}", "--label", "{label}", "--former-key", "{former}"],
    "decommission": ["{order}"],
    "backup": ["{backup}", "--recovery-key", "{public}"],
    "restore": ["{sealed}", "--recovery-key", "{private}", "--papers", "{papers}"],
}
"""Each with what it is given in order; a name in braces is a file or a text that a case spoils."""
SPOILED: Final = {
    "provision": ["papers"],
    "pair": ["papers"],
    "pair --former-key": ["former"],
    "decommission": ["order"],
    "backup": ["public"],
    "restore": ["sealed", "private", "papers"],
}


def absent(_path: Path) -> None:
    pass


def folder(path: Path) -> None:
    path.mkdir()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def words(path: Path) -> None:
    path.write_text("hello\x1b[2J there\nand more\n")


def huge(path: Path) -> None:
    path.write_bytes(b"A" * 5_000_000)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def looped(path: Path) -> None:
    path.symlink_to(path)


NONSENSE: Final = (absent, folder, empty, binary, words, huge, pipe, dangling, looped)
CASES: Final = [
    pytest.param(command, name, spoil, id=f"{command}-{name}-{spoil.__name__}")
    for command, names in SPOILED.items()
    for name in names
    for spoil in NONSENSE
]


class Desk:
    """A gateway's folder, and every file that a command may be given, each in order."""

    def __init__(self, tmp_path: Path) -> None:
        self.gateway = GatewayFolder(tmp_path)
        self.files = {name: tmp_path / f"given-{name}" for name in ("papers", "order", "former", "public", "private")}
        self.files |= {"sealed": tmp_path / "given-sealed", "backup": tmp_path / "new-backup"}
        self.files["papers"].write_bytes(self.gateway.write_papers().read_bytes())
        for name in ("former", "public", "private"):
            self.files[name].write_bytes(bytes(range(32)))
            self.files[name].chmod(0o600)
        self.files["order"].write_bytes(b"AAAA")
        self.files["sealed"].write_bytes(bytes(96))

    def run(self, command: str, **given: str) -> int:
        label = self.gateway.office.lock_keys(self.gateway.home).label.to_text()
        texts = {name: str(path) for name, path in self.files.items()} | {"label": label} | given
        arguments = [argument.format(**texts) for argument in COMMANDS[command]]
        arguments += ["--address", texts["extra"]] if "extra" in texts else []
        return main([command.partition(" ")[0], *arguments, "--config", str(self.gateway.config)])


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line != "gatewayd: nothing was kept"]
    assert len(lines) == 1, captured.err
    assert lines[0].isprintable()
    assert "Traceback" not in lines[0]
    assert len(lines[0]) < 600
    return lines[0]


@pytest.mark.parametrize(("command", "name", "spoil"), CASES)
def test_a_file_that_is_nonsense_is_named_in_one_line(
    desk: Desk, capsys: pytest.CaptureFixture[str], command: str, name: str, spoil: Callable[[Path], None]
) -> None:
    path = desk.files[name]
    path.unlink()
    spoil(path)
    if path.is_file():
        path.chmod(0o600)
    assert desk.run(command) == exits.FAILED
    line = one_line(capsys)
    assert str(path) in line or "backup" in line, line


@pytest.mark.parametrize("name", ["former", "private"])
def test_a_secret_that_others_can_read_is_refused_with_the_cure(
    desk: Desk, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    desk.files[name].chmod(0o644)
    assert desk.run({"former": "pair --former-key", "private": "restore"}[name]) == exits.FAILED
    assert f"chmod 600 {desk.files[name]}" in one_line(capsys)


@pytest.mark.parametrize(
    "label",
    ["", " ", "CARELOCK:1:", "CARELOCK:2:AAAA", "https://example.org", f"CARELOCK:1:{'A' * 9_999}", "\x1b[2J", "å"],
    ids=["empty", "blank", "bare", "version", "address", "long", "escape", "other letters"],
)
def test_a_label_that_is_nonsense_says_what_one_looks_like(
    desk: Desk, capsys: pytest.CaptureFixture[str], label: str
) -> None:
    assert desk.run("pair", label=label) == exits.FAILED
    assert "this is not the text of a lock's label, CARELOCK:1:" in one_line(capsys)


@pytest.mark.parametrize("address", ["", "hci0", "F0:00:00:00:00", "F0:00:00:00:00:0G", "\x1b[2J", "F" * 9_999])
@pytest.mark.parametrize("command", ["pair", "decommission"])
def test_an_address_that_is_nonsense_says_what_one_looks_like(
    desk: Desk, capsys: pytest.CaptureFixture[str], command: str, address: str
) -> None:
    assert desk.run(command, extra=address) == exits.FAILED
    assert "is no Bluetooth address: six pairs of hex digits" in one_line(capsys)


@pytest.mark.parametrize(
    "typed", ["", "\n", "nonsense\n", "A" * 99_999, "\x00\n"], ids=["end", "enter", "word", "long", "zero"]
)
def test_the_prompt_for_the_label_takes_nonsense_in_one_line(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert main(["pair", str(desk.files["papers"]), "--config", str(desk.gateway.config)]) == exits.FAILED
    question, *rest = capsys.readouterr().err.splitlines()
    assert question.startswith("Scan the QR code")
    (line,) = rest
    assert "CARELOCK:1:" in line or (typed == "" and line == "gatewayd: nobody answers: give --label")


@pytest.mark.parametrize("piped", ["https://example.org\n", "", None], ids=["an address", "the end", "closed"])
def test_a_label_that_is_piped_is_read_and_nonsense_told(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, piped: str | None
) -> None:
    monkeypatch.setattr("sys.stdin", None if piped is None else io.StringIO(piped))
    assert desk.run("pair", label="-") == exits.FAILED
    expected = "this is not the text of a lock's label" if piped else "nobody answers: give --label with its text"
    assert one_line(capsys).startswith(f"gatewayd: {expected}")


def test_bytes_piped_as_a_label_are_told_in_a_line(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\x80\n"), encoding="utf-8"))
    assert desk.run("pair", label="-") == exits.FAILED
    assert "nobody answers" in one_line(capsys)


def test_ctrl_c_at_the_prompt_says_what_becomes_of_it(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupting:
        def readline(self, _size: int) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", Interrupting())
    assert main(["pair", str(desk.files["papers"]), "--config", str(desk.gateway.config)]) == exits.FAILED
    assert capsys.readouterr().err.splitlines()[-1].startswith("gatewayd: interrupted; ")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_configuration_that_is_nonsense_exits_78(
    desk: Desk, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    desk.gateway.config.unlink()
    desk.gateway.config.mkdir()
    assert desk.run(command) == exits.CONFIG
    told = capsys.readouterr().err
    assert "is a folder, not a file" in told
    assert "Traceback" not in told


def test_a_backup_is_written_nowhere_where_it_cannot_be(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    for place in (desk.gateway.folder / "none" / "backup", desk.gateway.credentials, desk.files["papers"]):
        desk.files["backup"] = place
        assert desk.run("backup") == exits.FAILED
        line = one_line(capsys)
        assert str(place) in line
        assert ("name a new file" in line) == place.exists()
