"""What people take along is there whole, or not at all."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from gatewayd.cli.new_file import write_new

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def stopped_by(reason: BaseException) -> Iterator[bytes]:
    yield bytes(100_000)
    raise reason


def test_it_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write_new(path, [b"one", b"two"])
    assert path.read_bytes() == b"onetwo"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("reason", [KeyboardInterrupt(), ValueError("the daemon has gone")])
def test_whatever_stops_it_in_the_middle_leaves_nothing(tmp_path: Path, reason: BaseException) -> None:
    with pytest.raises(type(reason)):
        write_new(tmp_path / "journal.jsonl", stopped_by(reason))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with pytest.raises(OSError, match="No space left") as caught:
        write_new(path, stopped_by(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    assert caught.value.filename == str(path)
    assert not list(tmp_path.iterdir())


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        write_new(path, [b"other"])
    assert path.read_bytes() == b"mine"
