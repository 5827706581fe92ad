"""Root writes through no link that the service's user has laid."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gatewayd.store.creation import create_file
from gatewayd.store.database import Database
from gatewayd.store.faults import StoreCode, StoreError
from tests.support.other_user import NOBODY

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root owns what others do not")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "gatewayd.sqlite"
    create_file(path, log_id=bytes(16))
    return path


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_attack_a_link_in_the_place_of_a_log_has_root_write_into_nothing(store: Path, suffix: str) -> None:
    shadow = store.with_name("shadow")
    shadow.write_bytes(b"root's own")
    link = store.with_name(store.name + suffix)
    link.symlink_to(shadow)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(StoreError, match="a link that somebody else has laid") as caught:
        Database(store)
    assert caught.value.code == StoreCode.FOREIGN
    assert shadow.read_bytes() == b"root's own"


def test_attack_a_link_in_the_place_of_the_store_opens_no_other_database(store: Path) -> None:
    other = store.with_name("other.sqlite")
    store.rename(other)
    store.symlink_to(other)
    os.chown(store, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(StoreError, match="a link that somebody else has laid"):
        Database(store)


def test_a_link_of_roots_own_is_followed(store: Path) -> None:
    moved = store.with_name("moved.sqlite")
    store.rename(moved)
    store.symlink_to(moved)
    Database(store).close()
