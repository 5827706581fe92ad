"""How many entries go out between two checkpoints, and whether the receipt for the first is awaited before the next.

A broker acknowledges faster than a central log reads, and drops what its queue for the log does not hold, without a
word: the log asks for it again, and whoever sent on at the broker's speed would be asked for ever. So a loss makes
the strides short, each waiting for its receipt, and every receipt makes them longer (as TCP does, for the same reason).
"""

from __future__ import annotations

from typing import Final

COUNT_MAX: Final = 1_024
"""Entries of a backlog between two checkpoints: what none covers yet the central log must hold in memory."""
COUNT_MIN: Final = 16
"""Shortest stride, and what each receipt adds."""
_LOSS_DIVISOR: Final = 4


class Stride:
    """Begins at its longest, where nothing is awaited."""

    def __init__(self) -> None:
        self._count = COUNT_MAX
        self._known_to = 0
        """Up to where the central log has last said that it has everything."""

    def end(self, sent: int) -> int:
        """Return before which entry to stop, when everything below `sent` has been sent."""
        return sent + COUNT_MAX if self._count == COUNT_MAX else max(sent, self._known_to + self._count)

    def is_over(self, sent: int) -> bool:
        """Tell whether an answer of the central log is to be awaited before anything else is sent."""
        return self.end(sent) == sent

    def lost(self, known_to: int) -> None:
        """The central log has asked for the entries from `known_to` on again."""
        self._known_to = known_to
        self._count = max(COUNT_MIN, self._count // _LOSS_DIVISOR)

    def received(self, known_to: int) -> None:
        """The central log has signed for the entries below `known_to`."""
        self._known_to = max(self._known_to, known_to)  # an old receipt that comes again says nothing
        self._count = min(COUNT_MAX, self._count + COUNT_MIN)
