"""Published test vectors: read from beside the checkout, never copied into it."""

from __future__ import annotations

from pathlib import Path

import pytest

_VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors"


def published_folder() -> Path:
    """Return the folder of published vectors, or skip the test that asks for it."""
    if not _VECTORS.is_dir():
        pytest.skip("no published vectors are beside the checkout")
    return _VECTORS


def published_vectors(name: str) -> str:
    """Return the text of one file of published vectors, or skip the test that asks for it."""
    path = _VECTORS / name
    if not path.is_file():
        pytest.skip(f"published vectors are not beside the checkout: {name}")
    return path.read_text(encoding="utf-8")
