"""An idle gateway shows that it lives: an entry of its own, once a supervision interval without any other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from gatewayd.uplink.ledger import Ledger
    from gatewayd.uplink.ports import Heartbeat

STEP_COUNT: Final = 4
"""Looks a supervision interval: the longest silence is one of these parts longer than the interval."""

log = structlog.get_logger(__name__)


async def supervise(ledger: Ledger, heartbeat: Heartbeat, *, interval_s: float) -> None:
    """Run for ever. The entry makes a fresh checkpoint, and its receipt proves the time as well.

    An entry of any kind counts as a sign of life. Between heartbeats nothing is written: an idle gateway must not
    wear its card.
    """
    size, quiet_count = await _size(ledger), 0
    while True:
        await asyncio.sleep(interval_s / STEP_COUNT)
        before, size = size, await _size(ledger)
        quiet_count = quiet_count + 1 if size is not None and size == before else 0
        if quiet_count == STEP_COUNT:
            await _beat(heartbeat)
            size, quiet_count = await _size(ledger), 0


async def _size(ledger: Ledger) -> int | None:
    try:
        return (await ledger.marks()).size
    except GatewayError as error:
        log.warning("supervision.fault", code=error.code, detail=error.detail)
        return None


async def _beat(heartbeat: Heartbeat) -> None:
    try:
        await heartbeat()
    except GatewayError as error:
        log.warning("supervision.fault", code=error.code, detail=error.detail)
