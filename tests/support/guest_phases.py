"""What took how long in a guest."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.guest import Guest


class Phases:
    """What took how long in one guest, in the order in which it happened."""

    def __init__(self, title: str, guest: Guest) -> None:
        self.lines = [title]
        self._began_s = time.monotonic()
        self._cpu_s = guest.cpu_s
        """The emulator's processor time: about what a phase takes on a machine that does nothing else."""

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what is inside."""
        began_s, cpu_s = time.monotonic(), self._cpu_s()
        try:
            yield
        finally:
            self.note(f"{time.monotonic() - began_s:7.1f} s ({self._cpu_s() - cpu_s:5.1f} s of processor)  {name}")

    def close(self) -> None:
        """Say what it came to."""
        total_s = time.monotonic() - self._began_s
        self.note(f"{total_s:7.1f} s ({self._cpu_s():5.1f} s of processor)  altogether")

    def note(self, line: str) -> None:
        """Print this, too."""
        self.lines.append(line)
