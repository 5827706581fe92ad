"""For how long a decided command is remembered, whatever a receipt does to the time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from firmware_protocol.checkpoint import Checkpoint
from gatewayd.alerts import Alerts
from gatewayd.journal.journal import Journal, SignedAt
from gatewayd.log_watch import SEEN_KEPT_S, LogWatch
from gatewayd.recorder import Recorder
from gatewayd.store import commands, entries
from gatewayd.store.store import Store
from gatewayd.suspicion import Suspicion
from gatewayd.timekeeper import TimeKeeper
from gatewayd.timekeeping import BUILD_TIME_MS
from tests.support.inline_executor import InlineExecutor
from tests.support.manual_clock import ManualClock
from tests.support.seeded_entropy import SeededEntropy
from tests.support.store_rows import SEEN
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path

BUILD_S = BUILD_TIME_MS // 1_000
TRUTH_S = BUILD_S + 90 * 24 * 3_600
HOUR_S = 3_600
OF_AN_EARLIER_RUN = replace(SEEN, command_id=bytes(16), command_seq=None, reserved_utc_s=BUILD_S - HOUR_S)
OF_THIS_RUN = replace(SEEN, command_id=b"\1" * 16, command_seq=None, reserved_utc_s=BUILD_S)


class Watched:
    """A watch on a real store, and receipts of a central log that knows the time."""

    def __init__(self, folder: Path) -> None:
        self.clock, entropy = ManualClock(), SeededEntropy(1)
        self.began_ms = self.clock.now().boottime_ms
        self.store = Store.create(folder / "gateway.sqlite", log_id=bytes(16), executor=InlineExecutor())
        journal = Journal(gateway_id=bytes(8), log_id=bytes(16), store=entries)
        timekeeper = TimeKeeper(clock=self.clock, stored=None)
        recorder = Recorder(store=self.store, journal=journal, timekeeper=timekeeper, entropy=entropy)
        self.watch = LogWatch(
            boot=1,
            store=self.store,
            journal=journal,
            retain_count=1_000,
            timekeeper=timekeeper,
            suspicion=Suspicion(store=self.store),
            alerts=Alerts(clock=self.clock, recorder=recorder),
            changed=lambda: None,
            renew=lambda: None,
        )

    async def receive(self) -> None:
        """Take a receipt in that was signed just now."""
        boottime_ms = self.clock.now().boottime_ms
        await self.watch.receipt_accepted(
            time_s=TRUTH_S + (boottime_ms - self.began_ms) // 1_000,
            checkpoint=Checkpoint(origin="a log", size=1, root=bytes(32)),
            signed_at=SignedAt(boot=1, boottime_ms=boottime_ms),
        )

    async def remembers(self, row: commands.SeenCommand) -> bool:
        """Whether a command is still known."""
        return await self.store.run(lambda tx: commands.find_seen(tx, row.kid, row.command_id)) is not None


def test_a_command_is_remembered_for_two_days_of_the_clock_that_nobody_sets(tmp_path: Path) -> None:
    async def story() -> None:
        here = Watched(tmp_path)
        for row in (OF_AN_EARLIER_RUN, OF_THIS_RUN):
            await here.store.run(partial(commands.reserve, command=row))
        await here.receive()  # it moves the time by ninety days
        assert not await here.remembers(OF_AN_EARLIER_RUN), "its epoch is over"
        assert await here.remembers(OF_THIS_RUN)
        here.clock.sleep_machine((SEEN_KEPT_S - 1) * 1_000)
        await here.receive()
        assert await here.remembers(OF_THIS_RUN)
        for _ in range(2):
            here.clock.sleep_machine(SEEN_KEPT_S * 1_000)
            await here.receive()
        assert not await here.remembers(OF_THIS_RUN), "the table does not grow for ever"
        await here.store.close()

    run_virtual(story())
