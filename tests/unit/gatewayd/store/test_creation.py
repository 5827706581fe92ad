"""A new store appears whole or not at all, and never over something else."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from gatewayd.store.creation import create_file
from gatewayd.store.database import APPLICATION_ID, SCHEMA_VERSION, Database
from gatewayd.store.faults import StoreCode, StoreError
from gatewayd.store.schema import STEPS
from tests.support.journal_bench import LOG_ID

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    create_file(path, log_id=LOG_ID)
    return path


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir() if file.is_file()}


def test_a_new_store_is_whole_private_and_alone_in_its_folder(path: Path) -> None:
    assert [file.name for file in path.parent.iterdir()] == ["store.db"]
    assert path.stat().st_mode & 0o777 == 0o600
    database = Database(path)
    assert database.run(lambda tx: tx.execute("SELECT boot, log_id, log_size FROM gateway")) == [(0, LOG_ID, 0)]
    database.close()


@pytest.mark.parametrize("name", ["store.db", "store.db-wal", "store.db-journal"])
def test_a_store_is_never_made_over_something_else(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(StoreError) as refused:
        create_file(tmp_path / "store.db", log_id=LOG_ID)
    assert refused.value.code == StoreCode.EXISTS
    assert digests(tmp_path) == {name: hashlib.sha256(b"mine").hexdigest()}


def test_a_store_is_never_made_over_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "store.db").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError) as refused:
        create_file(tmp_path / "store.db", log_id=LOG_ID)
    assert refused.value.code == StoreCode.EXISTS


def test_what_a_power_cut_left_of_an_earlier_try_is_in_nobodys_way(tmp_path: Path) -> None:
    for name in ("store.db.new", "store.db.new-wal", "store.db.new-journal"):
        (tmp_path / name).write_bytes(b"half")
    create_file(tmp_path / "store.db", log_id=LOG_ID)
    assert [file.name for file in tmp_path.iterdir()] == ["store.db"]


def test_a_store_cannot_be_made_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refused:
        create_file(tmp_path / "nowhere" / "store.db", log_id=LOG_ID)
    assert refused.value.code == StoreCode.IO


def test_the_file_says_whose_it_is_and_which_schema_it_has(path: Path) -> None:
    database = Database(path)
    assert database.run(lambda tx: tx.execute("PRAGMA application_id")) == [(APPLICATION_ID,)]
    assert database.run(lambda tx: tx.execute("PRAGMA user_version")) == [(SCHEMA_VERSION,)]
    assert len(STEPS) == SCHEMA_VERSION
    database.close()
