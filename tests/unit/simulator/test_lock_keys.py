from __future__ import annotations

import hashlib
import stat
from typing import TYPE_CHECKING

import pytest

from simulator.lock_keys import LockKeys
from tests.support.seeded_entropy import SeededEntropy

if TYPE_CHECKING:
    from pathlib import Path


def keys() -> LockKeys:
    return LockKeys.generate(SeededEntropy(1), name="Storgatan 1", gateway_key=bytes(32), gateway_id=b"gateway1")


def test_a_home_file_holds_all_that_a_lock_is(tmp_path: Path) -> None:
    path = tmp_path / "home.json"
    keys().save(path)
    again = LockKeys.load(path)
    assert again == keys()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_lock_is_named_by_its_log_key() -> None:
    public = bytes(keys().log_key.verify_key)
    assert keys().lock_id == hashlib.sha256(public).digest()[:8]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x", "lock_link_private": 5}'])
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "home.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r".*"):
        LockKeys.load(path)


def test_private_keys_are_not_in_the_repr() -> None:
    text = repr(keys())
    assert repr(keys().link.private) not in text
    assert "SigningKey" not in text
