from __future__ import annotations

import asyncio
from random import Random

from structlog.testing import capture_logs

from gatewayd.uplink.outlet import Outlet
from gatewayd.uplink.seam import Incoming, Outgoing
from tests.support.memory_broker import MemoryBroker
from tests.support.virtual_loop import run_virtual

ANSWER = Outgoing(topic="response", payload=b"answer")


def test_an_answer_goes_out_over_the_session_of_the_moment() -> None:
    async def story() -> None:
        heard: list[Incoming] = []
        broker, outlet = MemoryBroker(Random(1)), Outlet()
        broker.listen("response", heard.append)
        outlet.send(ANSWER)  # no session yet: lost
        outlet.attach(await broker.client("gateway").connect(ANSWER))
        outlet.send(ANSWER)
        await asyncio.sleep(1)
        outlet.detach()
        outlet.send(ANSWER)
        await asyncio.sleep(1)
        assert [message.payload for message in heard] == [b"answer"]

    run_virtual(story())


def test_an_answer_that_nobody_hears_is_a_line_in_the_log() -> None:
    async def story() -> None:
        broker, outlet = MemoryBroker(Random(1)), Outlet()
        outlet.attach(await broker.client("gateway").connect(ANSWER))
        outlet.send(ANSWER)
        await asyncio.sleep(1)

    with capture_logs() as lines:
        run_virtual(story())
    assert [(line["event"], line["outcome"]) for line in lines] == [("outlet.unheard", "no_subscribers")]


def test_a_session_that_ends_under_an_answer_is_no_error_here() -> None:
    async def story() -> None:
        broker, outlet = MemoryBroker(Random(1)), Outlet()
        outlet.attach(await broker.client("gateway").connect(ANSWER))
        outlet.send(ANSWER)
        broker.stop()
        outlet.send(ANSWER)
        await asyncio.sleep(1)

    run_virtual(story())
