"""What the central log's answers mean for the rest of the house (implements `uplink.ports.LogWatcher`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from gatewayd.store import commands, meta, renewal
from gatewayd.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.checkpoint import Checkpoint
    from gatewayd.alerts import Alerts
    from gatewayd.journal.journal import Journal, SignedAt
    from gatewayd.store.meta import StoredTime
    from gatewayd.store.store import Store, Transaction
    from gatewayd.suspicion import Suspicion
    from gatewayd.timekeeper import TimeKeeper

SEEN_KEPT_S: Final = 48 * 3_600
"""How long a decided command is remembered, by proven time; the protocol asks for 24 h."""

DOUBTS: Final = frozenset({"journal.forked", "journal.damaged", "journal.incomplete"})
"""Faults with which a log can never be drained again. (Pruned or erased is what was received long ago.)"""

_log = structlog.get_logger()


class LogWatch:
    """Bounds the time by receipts, prunes below them, and believes signed proof against ourselves."""

    def __init__(  # noqa: PLR0913 - everybody whom a receipt concerns
        self,
        *,
        boot: int,
        store: Store,
        journal: Journal,
        retain_count: int,
        timekeeper: TimeKeeper,
        suspicion: Suspicion,
        alerts: Alerts,
        changed: Callable[[], None],
        renew: Callable[[], None],
    ) -> None:
        """`changed` is called when tier or backlog may have; `renew` when the journal must begin anew."""
        self._boot = boot
        self._store = store
        self._journal = journal
        self._retain_count = retain_count
        self._timekeeper = timekeeper
        self._suspicion = suspicion
        self._alerts = alerts
        self._changed = changed
        self._renew = renew
        self._milestones = (timekeeper.milestone(),) * 2
        """When these were passed: the former at least as long ago as a command is remembered, or at the start."""

    async def receipt_accepted(self, *, time_s: int, checkpoint: Checkpoint, signed_at: SignedAt | None) -> None:
        """See `LogWatcher.receipt_accepted`."""
        _log.info("receipt.accepted", size=checkpoint.size)
        if signed_at is not None and signed_at.boot == self._boot:
            # CLOCK_BOOTTIME of an earlier start may be that of an earlier boot: it bounds nothing now.
            believed = self._timekeeper.take_receipt(time_s=time_s, signed_boottime_ms=signed_at.boottime_ms)
            if not believed:
                detail = "a receipt of the central log states a time outside of what is trusted"
                await self._alerts.alert("time.contradicted", detail)
        before_s = self._seen_before_s()  # taken on the loop: the transaction runs on the writer's thread
        try:
            evidence, time = self._timekeeper.evidence, self._timekeeper.to_store()
            await self._store.run(lambda tx: self._prune(tx, before_s, time))
            self._timekeeper.note_saved(evidence)
        except StoreError as error:
            _log.warning("store.unavailable", code=error.code)
        self._changed()

    def _seen_before_s(self) -> int:
        """Return since when commands are remembered, by proven time.

        Attack: a receipt that ends a time without any moves it by months, and a command of a minute ago, decided on the
        time before, would be forgotten at once: the broker plays it again. What an earlier run has decided is void.
        """
        now, (former, latter) = self._timekeeper.milestone(), self._milestones
        if now.boottime_ms - latter.boottime_ms >= SEEN_KEPT_S * 1_000:
            self._milestones = former, latter = latter, now
        return min(now.lo_s - SEEN_KEPT_S, former.lo_s)

    def _prune(self, tx: Transaction, seen_before_s: int, time: StoredTime) -> None:
        meta.save_time(tx, time)
        self._journal.prune(tx, self._retain_count)
        commands.prune_seen(tx, seen_before_s)

    async def rolled_back(self, checkpoint: Checkpoint) -> None:
        """See `LogWatcher.rolled_back`: somebody wrote under our key what our journal does not hold."""
        await self._suspicion.enter("journal.rolled_back")
        self._changed()
        detail = f"the central log holds a checkpoint of ours over {checkpoint.size} entries that we cannot bear out"
        await self._alerts.alert("journal.rolled_back", detail)
        await self._begin_anew("journal.rolled_back")

    async def doubted(self, code: str, detail: str) -> None:
        """See `LogWatcher.doubted`: damage is nobody's attack, so it raises no suspicion."""
        await self._alerts.alert(code, detail)
        if code in DOUBTS:
            await self._begin_anew(code)

    async def _begin_anew(self, reason: str) -> None:
        # A start does it: everything that names the log learns its new name there, in one transaction.
        try:
            await self._store.run(lambda tx: renewal.note_doubt(tx, reason))
        except StoreError as error:
            _log.error("store.unavailable", code=error.code)
        else:
            self._renew()
