from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from simulator.flash_media import FileMedium, FragileMedium, MemoryMedium, PowerLostError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["memory", "file"])
def medium(request: pytest.FixtureRequest, tmp_path: Path) -> MemoryMedium | FileMedium:
    return MemoryMedium() if request.param == "memory" else FileMedium(tmp_path / "flash")


def test_bytes_are_appended_cut_and_replaced(medium: MemoryMedium | FileMedium) -> None:
    assert medium.read() == b""
    medium.append(b"abc")
    medium.append(b"def")
    assert medium.read() == b"abcdef"
    medium.cut(4)
    medium.append(b"X")
    assert medium.read() == b"abcdX"
    medium.replace(b"new")
    medium.append(b"er")
    assert medium.read() == b"newer"


def test_a_file_outlives_the_object_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "flash"
    medium = FileMedium(path)
    medium.append(b"abc")
    medium.replace(b"xyz")
    medium.close()
    assert FileMedium(path).read() == b"xyz"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["flash"]


@pytest.mark.parametrize(
    ("kept_size", "kept"), [(0, b""), (2, b"ab"), (None, b"abc")], ids=["nothing", "a part", "all of it"]
)
def test_power_is_lost_at_the_chosen_write_once(kept_size: int | None, kept: bytes) -> None:
    medium = FragileMedium(MemoryMedium())
    medium.append(b"1")
    medium.lose_power_at_write(2, kept_size=kept_size)
    medium.append(b"2")
    with pytest.raises(PowerLostError):
        medium.append(b"abc")
    medium.append(b"3")
    assert medium.read() == b"12" + kept + b"3"
    assert medium.write_count == 4
