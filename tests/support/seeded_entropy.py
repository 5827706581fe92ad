"""An `Entropy` that a seed repeats. Its bytes are as predictable as they look."""

from __future__ import annotations

from random import Random


class SeededEntropy:
    """Tokens from a generator of its own."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def token(self, size: int) -> bytes:
        """See `gatewayd.channel.Entropy`."""
        return self._random.randbytes(size)
