"""The schemas that integrators read say what is published, neither more nor less."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator

from gatewayd.journal.events import EVENT_TYPES
from simulator.office import Office
from tests.support.schema_documents import FOLDER, documents, event_schema, problem_of
from tests.support.small_journal import SmallJournal

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = "carelock/v1/0123456789abcdef/log/entries"


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_a_committed_schema_does_not_lag_behind_the_models(path: Path) -> None:
    assert path.read_text() == documents()[path], "run: python -m tests.support.schema_documents"


def test_there_is_no_schema_of_what_is_no_longer_published() -> None:
    assert set(FOLDER.rglob("*.json")) <= set(documents())


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_every_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(event_schema(EVENT_TYPES[name]))


def test_an_entry_fits_its_schema_and_what_is_not_one_does_not() -> None:
    leaf = SmallJournal(Office(b"schemas").home("ada")).beat()
    assert problem_of(ENTRIES, leaf) is None
    for old, new in (
        ("fresh", "f" * 65),
        ('"salt":"AAA', '"salt":"A'),
        ('"state_seq":1,', ""),
        ('"data"', '"more":1,"data"'),
    ):
        assert old.encode() in leaf
        assert problem_of(ENTRIES, leaf.replace(old.encode(), new.encode(), 1)) is not None, old


def test_a_state_document_is_held_against_its_own_schema() -> None:
    topic = "carelock/v1/0123456789abcdef/lock/0123456789abcdef/availability"
    assert problem_of(topic, b'{"state":"online","cause":null}') is None
    assert problem_of(topic, b'{"state":"perhaps","cause":null}') is not None
    assert json.loads((FOLDER / "state" / "lock-availability.json").read_text())["title"] == "LockAvailability"
