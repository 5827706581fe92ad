"""The story of `make demo`, told with the shipped service on the stock kernel, systemd and BlueZ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import asyncio

    from tests.support.guest_demo import GuestDemo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]


async def test_every_promise_of_the_demo_holds_on_the_real_stack(demo: asyncio.Task[GuestDemo]) -> None:
    played = await demo
    assert played.ledger.all_held, f"{played.ledger}\n{played.last_words}"
