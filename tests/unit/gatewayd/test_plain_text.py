"""What strangers wrote is shown so that it cannot steer anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.plain_text import SHOWN_SIZE_MAX, printable, shown


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Ådalen 3, dörr", "Ådalen 3, dörr"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202edcba", "abc\\u202edcba"),
        ("\udcff", "\\udcff"),
        ("\U000e0001", "\\U000e0001"),
    ],
    ids=["letters", "lines", "escape", "C1", "right to left", "surrogate", "tag"],
)
def test_what_is_not_plainly_visible_is_escaped(text: str, safe: str) -> None:
    assert printable(text) == safe


@given(st.text(st.characters()))
def test_any_text_becomes_printable(text: str) -> None:
    assert printable(text).isprintable()
    printable(text).encode()


def test_values_are_shown_short_and_text_in_quotes() -> None:
    assert shown("a\nb") == '"a\\nb"'
    assert shown(3) == "3"
    assert shown("x" * (SHOWN_SIZE_MAX - 2)) == f'"{"x" * (SHOWN_SIZE_MAX - 2)}"'
    assert shown("x" * SHOWN_SIZE_MAX) == f'"{"x" * (SHOWN_SIZE_MAX - 1)}…'
