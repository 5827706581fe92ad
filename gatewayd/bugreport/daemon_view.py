"""What only the running daemon can add to a report (implements `control.report_wire.ReportSource`)."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import structlog

from gatewayd.control.report_wire import METRICS, STATUS, STORE, ReportDocument
from gatewayd.errors import GatewayError
from gatewayd.metrics import metrics_text
from gatewayd.store.counts import count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewayd.control.messages import StatusSource
    from gatewayd.store.store import Store

_log = structlog.get_logger()


class DaemonView:
    """Looks at the daemon and changes nothing."""

    def __init__(self, *, status: StatusSource, dropped: Callable[[], Mapping[str, int]], store: Store) -> None:
        self._status = status
        self._dropped = dropped
        self._store = store

    async def report(self, report_id: str | None) -> ReportDocument:
        """See `ReportSource.report`."""
        parts: dict[str, str] = {}
        absent: dict[str, str] = {}
        try:
            status = await self._status.status()
            parts[STATUS] = json.dumps(status.to_json(), indent=2)
            parts[METRICS] = metrics_text(status, self._dropped())
        except GatewayError as error:
            absent[STATUS] = absent[METRICS] = str(error.code)
        try:
            parts[STORE] = json.dumps(asdict(await self._store.run(count)), indent=2)
        except GatewayError as error:
            absent[STORE] = str(error.code)
        if report_id is not None:
            _log.info("bugreport.made", report=report_id)
        return ReportDocument(parts=parts, absent=absent)
