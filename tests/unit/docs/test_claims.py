"""What the pages for people claim: tests that they name exist, commands are commands, and a law names what shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from gatewayd import exits
from gatewayd.cli.app import main

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[3]
SECURITY: Final = (ROOT / "docs" / "security.md").read_text()
PAGES: Final = [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md", "docs/operations.md")
] + [ROOT / "docs" / "security.md", ROOT / "docs" / "glossary.md"]
LAW_COUNT: Final = 11

_NAMED: Final = re.compile(r"`((?:tests/[\w/]+/)?test_\w+\.py)(?:::(test_\w+)(…?))?`")
_CODE: Final = re.compile(r"`([^`\n]+)`|^ {4}(\S.*)$", re.MULTILINE)
_COMMAND: Final = re.compile(r"\bgatewayd((?: [a-z][a-z-]*){1,2})\b(.*)")


def named_tests(text: str) -> Iterator[tuple[Path, str, str]]:
    """Yield each test that a text names: file, function or "", and "…" where the name only begins so."""
    folder = ROOT
    for name, function, rest in _NAMED.findall(text):
        path = ROOT / name if "/" in name else folder / name
        folder = path.parent
        yield path, function, rest


def section(title: str) -> str:
    return SECURITY.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    for path, function, rest in named_tests(page.read_text()):
        assert path.is_file(), path
        found = re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
        assert not function or any(each == function or (rest and each.startswith(function)) for each in found), function


def test_every_law_of_the_door_names_what_shows_it() -> None:
    laws = re.split(r"^\d+\. ", section("The laws of the door"), flags=re.MULTILINE)[1:]
    assert len(laws) == LAW_COUNT
    assert [law for law in laws if not list(named_tests(law))] == []


def test_every_attacker_is_played_by_a_test() -> None:
    can, played = section("Attackers, and what stops each").split("Each is played out")
    rows = {name: _rows(text) for name, text in (("can", can), ("played", played))}
    assert list(rows["can"]) == list(rows["played"])
    assert [name for name, row in rows["played"].items() if not any(each[1] for each in named_tests(row))] == []


def _rows(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\| (?!attacker |---)([^|]+) \|(.*)\|$", text, re.MULTILINE))


def commands_in(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield each command that a text shows: its words, and its options."""
    for quoted, indented in _CODE.findall(text):
        for words, rest in _COMMAND.findall((quoted or indented).split(" # ")[0]):
            yield words.split(), re.findall(r"--[a-z][a-z-]*", rest.split("`")[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_shows_is_one(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, options in commands_in(page.read_text()):
        command = words if words[0] in {"log", "grants", "config"} else words[:1]
        assert main([*command, "--help"]) == exits.OK, command
        shown = capsys.readouterr().out
        assert shown.startswith(f"Usage: gatewayd {' '.join(command)}"), command
        assert [option for option in options if option not in shown] == [], command


def test_these_tests_see_what_is_wrong() -> None:
    assert list(named_tests("`tests/unit/docs/test_no.py::test_a…`, `test_b.py`")) == [
        (ROOT / "tests/unit/docs/test_no.py", "test_a", "…"),
        (ROOT / "tests/unit/docs/test_b.py", "", ""),
    ]
    text = "    gatewayd log erase --subject x   # gatewayd no\nor `gatewayd pair papers.json --test`; gatewayd prose"
    assert list(commands_in(text)) == [(["log", "erase"], ["--subject"]), (["pair", "papers"], ["--test"])]


def test_every_word_of_the_glossary_is_one_that_we_use() -> None:
    sources = [
        path for folder in ("firmware_protocol", "gatewayd", "simulator") for path in (ROOT / folder).rglob("*.py")
    ]
    pages = [path for path in (ROOT / "docs").glob("*.md") if path.name != "glossary.md"]
    said = re.sub(r"[-_\s]+", " ", " ".join(path.read_text().lower() for path in (*sources, *pages)))
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    words = {re.sub(r" \(.*\)", "", word).lower() for row in rows for word in row.split(", ")} - {"word"}
    assert len(words) > 100
    assert sorted(word for word in words if re.sub(r"[-_]", " ", word) not in said) == []


def test_no_two_decisions_have_one_number() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs" / "adr").glob("[0-9]*.md")]
    assert len(numbers) == len(set(numbers))
