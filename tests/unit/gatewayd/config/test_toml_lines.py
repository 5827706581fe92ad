"""On which line each key stands."""

from __future__ import annotations

import string
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.toml_lines import lines_of_keys

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_keys_have_the_lines_they_are_written_on() -> None:
    text = 'top = 1\n\n[mqtt]\nhost = "a"\n# port = 1\nport = 2\n[radio.options]\nx = "1"\n'
    assert lines_of_keys(text) == {
        ("top",): 1,
        ("mqtt",): 3,
        ("mqtt", "host"): 4,
        ("mqtt", "port"): 6,
        ("radio",): 7,
        ("radio", "options"): 7,
        ("radio", "options", "x"): 8,
    }


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ('a.b."c d" = 1', ("a", "b", "c d"), 1),
        ("\n[ a . 'b.c' ]\nd = 1", ("a", "b.c", "d"), 3),
        ('["a]#"]\nb = 1', ("a]#", "b"), 2),
        ('"\\u00e5" = 1', ("å",), 1),
        ("a = { b = 1, c = { d = 2 } }\ne = 3", ("a", "c", "d"), 1),
        ("a = { b = 1, c = { d = 2 }, f = 1 }\ne = 3", ("a", "f"), 1),
        ("a = {}\nb = 1", ("b",), 2),
        ('a = """\nb = 1\n"""\nb = 2', ("b",), 4),
        ('a = """x""""\nb = 2', ("b",), 2),
        ("a = '''\n[b]\n'''\nb = 2", ("b",), 4),
        ('a = "# \\" ]"\nb = 2', ("b",), 2),
        ("a = [\n  1, # ]\n  [2],\n]\nb = 2", ("b",), 5),
        ("a = [\n  { c = 1 },\n]\nb = 2", ("b",), 4),
        ("[[a]]\nb = 1\n[[a]]\nb = 2\n", ("a", "b"), 2),
        ("a = 1\r\nb = 2\r\n", ("b",), 2),
        ("a = 1979-05-27 07:32:00\nb = 2", ("b",), 2),
    ],
)
def test_every_form_of_toml_is_followed(text: str, path: tuple[str, ...], line: int) -> None:
    assert tomllib.loads(text) is not None
    assert lines_of_keys(text)[path] == line


def test_keys_inside_arrays_are_left_out() -> None:
    assert set(lines_of_keys("a = [{ b = 1 }, { c = { d = 2 } }]\n")) == {("a",)}


NAMES = st.text(string.ascii_letters + " .#[]{}=\"'\\å\n\x1f", max_size=6)
LEAVES = st.one_of(
    st.integers(-9, 9), st.booleans(), st.text(string.printable + "å", max_size=20), st.lists(st.integers(0, 3))
)
TABLES = st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=12)


def leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path, value


@given(st.dictionaries(NAMES, TABLES, max_size=4))
def test_every_key_of_any_document_is_found(document: dict[str, Any]) -> None:
    text = tomlkit.dumps(document)
    found = lines_of_keys(text)
    assert {path for path, _ in leaves(tomllib.loads(text))} <= found.keys()
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())
