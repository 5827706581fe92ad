"""One scan for everybody who listens, without a radio: what becomes of who listens when it ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gatewayd.link.listening import SCAN_MS, Listening
from gatewayd.link.radio import RadioError, RadioUnavailable, Sighting
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LOCK = Sighting(address="F0:00:00:00:00:01", rssi_dbm=-50, phone_waiting=False, installable=False)


def test_a_bug_in_scanning_is_told_at_once_and_the_next_scan_is_begun_all_the_same() -> None:
    bugs = [RuntimeError("not one of the radio's faults")]

    @asynccontextmanager
    async def open_scan() -> AsyncIterator[None]:
        if bugs:
            raise bugs.pop()
        asyncio.get_running_loop().call_later(1, listening.hear, LOCK)
        yield

    listening = Listening(open_scan)

    async def story() -> None:
        with capture_logs() as said, pytest.raises(RadioUnavailable):
            await listening.find(lambda _: True, timeout_ms=5_000)
        assert [(each["event"], each["log_level"]) for each in said] == [("radio.scan_fault", "error")]
        assert await listening.find(lambda _: True, timeout_ms=5_000) == LOCK

    run_virtual(story())


def test_a_lock_that_each_scan_reports_once_is_heard_though_the_host_has_missed_the_first_report() -> None:
    scan_count = 0

    @asynccontextmanager
    async def open_scan() -> AsyncIterator[None]:
        nonlocal scan_count
        scan_count += 1
        if scan_count > 1:
            asyncio.get_running_loop().call_later(0.1, listening.hear, LOCK)
        yield

    listening = Listening(open_scan)

    async def story() -> None:
        begun_s = asyncio.get_running_loop().time()
        assert await listening.find(lambda _: True, timeout_ms=10_000) == LOCK
        assert asyncio.get_running_loop().time() - begun_s <= SCAN_MS / 1_000 + 0.2
        # Who comes in the middle of somebody else's scan hears what it has reported already with the next one.
        absent = asyncio.create_task(listening.find(lambda _: False, timeout_ms=10_000))
        await asyncio.sleep(1)
        assert await listening.find(lambda _: True, timeout_ms=SCAN_MS) == LOCK
        with pytest.raises(RadioError):
            await absent
        assert scan_count == 1 + 1 + 10_000 // SCAN_MS

    run_virtual(story())
