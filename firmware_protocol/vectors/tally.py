"""What a file of vectors came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILURES_SHOWN: Final = 20
"""Named one by one; of more, the number."""


class VectorFileError(Exception):
    """A file that is no file of vectors, or not one that is known here."""


@dataclass(slots=True)
class Tally:
    """Counts of one file, with what a reader must know to believe them."""

    passed: int = 0
    failures: list[str] = field(default_factory=list)
    """Which vectors failed."""
    skipped: Counter[str] = field(default_factory=Counter)
    """How many were left out, by reason."""
    notes: list[str] = field(default_factory=list)
    """What else is to be told: verdicts where the vectors leave a choice."""

    def judge(self, name: str, *, is_right: bool) -> None:
        """Count one vector."""
        if is_right:
            self.passed += 1
        else:
            self.failures.append(name)

    def lines(self, name: str) -> Iterator[str]:
        """Yield the summary of the file called `name`, then its reasons."""
        yield f"{name}: {self.passed} passed, {len(self.failures)} failed, {self.skipped.total()} skipped"
        for failure in self.failures[:FAILURES_SHOWN]:
            yield f"  failed: {failure}"
        if len(self.failures) > FAILURES_SHOWN:
            yield f"  failed: and {len(self.failures) - FAILURES_SHOWN} more"
        for reason, count in sorted(self.skipped.items()):
            yield f"  skipped {count}: {reason}"
        yield from (f"  note: {note}" for note in self.notes)
