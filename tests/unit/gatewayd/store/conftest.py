"""Stores on real files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gatewayd.store import locks
from gatewayd.store.creation import create_file
from tests.support.journal_bench import LOG_ID
from tests.support.store_rows import HOME, Rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    create_file(tmp_path / "store.db", log_id=LOG_ID)
    rows = Rows.open(tmp_path / "store.db")
    yield rows
    rows.database.close()


@pytest.fixture
def paired(rows: Rows) -> Rows:
    rows.run(lambda tx: locks.save_lock_home(tx, HOME))
    return rows
