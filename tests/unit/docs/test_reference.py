"""Generated pages say what the code does."""

from __future__ import annotations

import pytest

from tests.support.reference_document import documents


@pytest.mark.parametrize(("path", "text"), documents().items(), ids=[path.name for path in documents()])
def test_a_generated_page_does_not_lag_behind_the_code(path: object, text: str) -> None:
    assert path.read_text() == text  # type: ignore[attr-defined]  # a Path
