"""What an event costs a card: bytes that reach the disk, the folding of the log included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatewayd.journal.events import CommandOutcome
from gatewayd.store.creation import create_file
from tests.support.faulty_disk import FaultyDisk
from tests.support.journal_bench import LOG_ID, SALT, TIME, JournalBench

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatewayd.store.store import Transaction

EVENT: Final = CommandOutcome(
    command_id="00" * 16, command_sha256="00" * 32, code="outcome.done", bolt="unlocked", lock_id=bytes(8)
)
EVENT_COUNT: Final = 2_000
"""So many that the log is folded several times."""
BURST_COUNT: Final = 10


def cost(path: Path, *, at_once: int) -> float:
    """Return the bytes written for one event, when so many share a transaction."""
    create_file(path, log_id=LOG_ID)
    disk = FaultyDisk(f"wear-{at_once}")
    bench = JournalBench.open(path, vfs=disk.name)
    append: Callable[[Transaction], int] = lambda tx: bench.journal.append(tx, EVENT, time=TIME, salt=SALT)  # noqa: E731 - typed
    for _ in range(EVENT_COUNT // at_once):
        bench.database.run_batch([append] * at_once)
    bench.database.close()
    return disk.written_size / EVENT_COUNT


def test_a_lone_event_costs_at_most_20_kb(tmp_path: Path) -> None:
    assert cost(tmp_path / "store.db", at_once=1) <= 20_000


def test_an_event_in_a_burst_costs_at_most_3_kb(tmp_path: Path) -> None:
    assert cost(tmp_path / "store.db", at_once=BURST_COUNT) <= 3_000
