"""One scan for everybody who listens, without a radio: what becomes of who listens when it ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gatewayd.link.listening import Listening
from gatewayd.link.radio import RadioUnavailable, Sighting
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
