"""The costliest bytes for each reader of the protocol: by hand, and by a seeded climb.

What an input costs is the peak of `tracemalloc` while it is read and refused.
"""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from firmware_protocol import cose
from firmware_protocol.chains import parse_bundle
from firmware_protocol.constants import BUNDLE_SIZE_MAX, LARGE_OBJECT_SIZE_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.hello import LockHello, LockStatus
from firmware_protocol.lock_log import LogRecord
from firmware_protocol.messages import RECORD_SIZE_MAX, LogBatch
from firmware_protocol.statements import AuthorityState
from firmware_protocol.tokens import Grant, Keyset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PEAK_RATIO_MAX: Final = 40
"""Most bytes of memory for each byte of the cap."""
CAP_MIN: Final = 256
"""A cap below counts as this: the frames of a refusal eight levels down are 9 kB whatever was read."""
_PIECES: Final = (
    b"\xa0",
    b"\xa1\x00",
    b"\x80",
    b"\x81",
    b"\x82",
    b"\x98\xff",
    b"\xd2",
    b"\x1b" + b"\xff" * 8,
    b"\x3b" + b"\xff" * 8,
    b"\x47" + bytes(7),
    b"\x58\x18" + bytes(24),
    b"\x61a",
    b"\x62\xc3\xa5",
    b"\xf6",
    b"\x00",
)
"""What the climb puts together: each kind of item, the dearer ones more than once."""


@dataclass(frozen=True, slots=True)
class Reader:
    """One way into the package, with the cap that it checks first."""

    name: str
    size_max: int
    read: Callable[[bytes], object]

    @property
    def peak_max(self) -> int:
        """Most bytes of memory that any input may cost."""
        return PEAK_RATIO_MAX * max(self.size_max, CAP_MIN)

    def refuse(self, data: bytes) -> None:
        """Read what is (nearly always) refused."""
        with suppress(RemoteProtocolError):
            self.read(data)


READERS: Final = (
    Reader("AuthorityState", AuthorityState.SIZE_MAX, AuthorityState.from_bytes),
    Reader("Keyset", Keyset.SIZE_MAX, Keyset.from_bytes),
    Reader("Grant", Grant.SIZE_MAX, Grant.from_bytes),
    Reader("LogBatch", LogBatch.SIZE_MAX, LogBatch.from_bytes),
    Reader("LockStatus", LockStatus.SIZE_MAX, LockStatus.from_bytes),
    Reader("LockHello", LockHello.SIZE_MAX, LockHello.from_bytes),
    Reader("log record", RECORD_SIZE_MAX, LogRecord.from_bytes),
    Reader("bundle", BUNDLE_SIZE_MAX, parse_bundle),
    Reader("envelope", LARGE_OBJECT_SIZE_MAX, lambda data: cose.parse(data, size_max=LARGE_OBJECT_SIZE_MAX)),
)


def by_hand(size_max: int) -> Iterator[tuple[str, bytes]]:
    """Yield what somebody who knows the reader would send, filled up to the cap."""
    count = min(510, size_max // 2 - 2)
    head = b"\x99" + count.to_bytes(2, "big")
    yield "empty maps", head + b"\xa0" * count
    yield "maps of one entry, in each other", _chains(b"\xa1\x00" * 6 + b"\xa0", item_count=13, size_max=size_max)
    yield "maps of one entry, side by side", _chains(b"\xa1\x00\x00", item_count=3, size_max=size_max)
    yield "arrays in each other", _chains(b"\x81" * 6 + b"\x80", item_count=7, size_max=size_max)
    yield "large numbers", head + (b"\x1b" + b"\xff" * 8) * ((size_max - 3) // 9)
    yield "short byte strings", head + (b"\x42ab" * count)[: size_max - 3]
    yield "one long byte string", b"\x59" + (size_max - 3).to_bytes(2, "big") + bytes(size_max - 3)
    yield "one long text", b"\x79" + (size_max - 3).to_bytes(2, "big") + b"a" * (size_max - 3)
    yield "a whole map of maps", b"\xb8\x18" + b"".join(bytes((key,)) + b"\xa1\x00\xa0" for key in range(24))
    yield "a promise of everything", b"\x9b" + b"\xff" * 8
    yield "nothing but heads of arrays", b"\x81" * size_max


def _chains(chain: bytes, *, item_count: int, size_max: int) -> bytes:
    """Return as many of these as the counted items and the cap have room for: one more is refused unbuilt."""
    count = min((min(512, size_max // 2) - 1) // item_count, (size_max - 2) // len(chain))
    return b"\x98" + bytes((count,)) + chain * count if count > 23 else bytes((0x80 + count,)) + chain * count


def by_climbing(reader: Reader, *, seed: int, round_count: int) -> bytes:
    """Return the dearest input that a seeded search finds: keep what costs more, change a little, try again."""
    random = Random(seed)
    best = _assembled(random, reader.size_max)
    best_cost = peak_bytes(reader, best)
    for _ in range(round_count):
        candidate = _changed(random, best, reader.size_max)
        cost = peak_bytes(reader, candidate)
        if cost >= best_cost:
            best, best_cost = candidate, cost
    return best


def _assembled(random: Random, size_max: int) -> bytes:
    data = b"\x99\x01\xf0"
    while len(data) < size_max:
        data += random.choice(_PIECES)
    return data[:size_max]


def _changed(random: Random, data: bytes, size_max: int) -> bytes:
    at = random.randrange(len(data))
    piece = random.choice(_PIECES) * random.choice((1, 1, 8, 64))
    cut = random.choice((0, len(piece)))
    return (data[:at] + piece + data[at + cut :])[:size_max]


def peak_bytes(reader: Reader, data: bytes) -> int:
    """Return how much memory reading `data` took at its highest."""
    reader.refuse(data)  # what is made once is no cost of this input
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        reader.refuse(data)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
