"""One link, value by value: what happens in the very moment in which it ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from firmware_protocol import link_session
from firmware_protocol.codes import Code
from firmware_protocol.messages import (
    CommandAccepted,
    LockCommand,
    LogHeadRecord,
    Message,
    Pong,
    RelayOpen,
    StateGet,
)
from firmware_protocol.noise import KeyPair
from firmware_protocol.session import GatewaySession
from gatewayd.link.faults import LinkLost, NotSent, SessionWornOut
from gatewayd.link.lock_client import LockClient
from gatewayd.link.value_queue import ValueQueue
from gatewayd.timekeeping import TimeInterval
from tests.support.link_home import move
from tests.support.manual_clock import ManualClock
from tests.support.scripted_lock import ScriptedLock
from tests.support.session_pair import GATEWAY_KEYS, LOCK_KEYS
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd.link.lock_client import Unasked
    from gatewayd.timekeeping import Instant

UNKNOWN = TimeInterval(lo_ms=0, hi_ms=None)


class Wire:
    """A `LockLink` and a `Pipe` with nothing between them."""

    value_size_max = 244

    def __init__(self, lock: ScriptedLock) -> None:
        self.values = ValueQueue()
        self.written: list[bytes] = []
        self._lock = lock

    async def write_value(self, value: bytes) -> None:
        self.written.append(value)
        self._lock.gateway_value(value)

    async def next_value(self) -> bytes:
        return await self.values.get()

    async def close(self) -> None:
        self.values.end()

    def send_value(self, value: bytes) -> None:
        self.values.put(value)

    def disconnect(self) -> None:
        self.values.end()


class Ears:
    """A `RecordSink`."""

    def __init__(self) -> None:
        self.records: list[Unasked] = []
        self.uptimes: list[int] = []
        self.said_ms: list[int] = []

    def on_record(self, message: Unasked, instant: Instant) -> None:
        self.records.append(message)
        self.said_ms.append(instant.boottime_ms)

    async def on_uptime(self, up_ms: int, _instant: Instant) -> None:
        self.uptimes.append(up_ms)


class Bench:
    """A client, a wire and a lock. Make it in a running loop."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.lock = ScriptedLock()
        self.wire = Wire(self.lock)
        self.ears = Ears()
        self.session = GatewaySession(
            keys=GATEWAY_KEYS,
            lock_key=LOCK_KEYS.public,
            ephemeral=KeyPair.from_private(bytes([5]) * 32),
            nonce=bytes(8),
            session_ctr=1,
            version_floor=1,
            value_size_max=244,
            now_ms=self.clock.now().monotonic_ms,
        )
        self.client = LockClient(session=self.session, link=self.wire, clock=self.clock, sink=self.ears)
        self.lock.gateway_connected(self.wire)

    @contextlib.asynccontextmanager
    async def live(self) -> AsyncIterator[LockClient]:
        """Run the client with a confirmed session."""
        task = asyncio.create_task(self.client.run())
        await self.client.authenticated()
        self.client.confirm(UNKNOWN)
        await self.client.state()
        yield self.client
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled() or task.exception() is None


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("value", [b"garbage", b""], ids=["garbage", "empty"])
def test_attack_nobody_uses_a_session_in_the_moment_in_which_it_fails(turns: int, value: bytes) -> None:
    async def story() -> None:
        bench = Bench()
        async with bench.live() as client:
            bench.wire.send_value(value)
            for _ in range(turns):
                await asyncio.sleep(0)
            with contextlib.suppress(LinkLost):  # it may not have been noticed yet
                client.post(Pong(up_ms=0))
            with pytest.raises(LinkLost, match=r"link\.malformed"):
                await client.until_lost()
            with pytest.raises(LinkLost, match=r"link\.malformed"):
                await client.state()

    run_virtual(story())


def test_a_session_whose_records_are_used_up_is_worn_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        bench = Bench()
        async with bench.live() as client:
            monkeypatch.setattr(link_session, "SESSION_RECORD_COUNT_MAX", 2)
            with pytest.raises(SessionWornOut):
                await client.state()
            with pytest.raises(SessionWornOut):
                await client.until_lost()

    run_virtual(story())


def test_a_session_is_retired_only_when_it_is_due_and_nothing_is_in_flight() -> None:
    async def story() -> None:
        bench = Bench()
        async with bench.live() as client:
            assert not client.renewal_due
            bench.session._started_ms -= 24 * 3_600_000  # noqa: SLF001 - a day ago
            held: list[int] = []
            bench.lock.on_message = lambda _message, corr: held.append(corr)
            asking = asyncio.create_task(client.state())
            retiring = asyncio.create_task(client.retire(SessionWornOut("a code", "due")))
            await asyncio.sleep(1)
            assert not retiring.done()
            bench.lock.say(bench.lock.state(), held[0])
            state, _ = await asking
            assert state.battery_mv == 5_800
            with pytest.raises(SessionWornOut):
                await retiring

    run_virtual(story())


def test_a_movement_does_not_wait_for_its_turn_beyond_its_time() -> None:
    async def story() -> None:
        bench = Bench()
        async with bench.live() as client:
            bench.lock.on_message = lambda _message, _corr: None
            reading = asyncio.create_task(client.read_log(1))
            await asyncio.sleep(0.1)
            deadline_ms = bench.clock.now().boottime_ms + 300
            with pytest.raises(NotSent):
                await client.execute(move(1), deadline_ms=deadline_ms)
            assert bench.clock.now().boottime_ms == deadline_ms
            with pytest.raises(LinkLost, match="no answer in 5000 ms"):
                await reading
            assert not any(isinstance(message, LockCommand) for message in bench.lock.heard)

    run_virtual(story())


def test_attack_an_answer_of_another_kind_ends_the_link() -> None:
    async def story() -> None:
        bench = Bench()
        async with bench.live() as client:
            bench.lock.on_message = lambda _message, corr: bench.lock.say(LogHeadRecord(), corr)
            with pytest.raises(LinkLost, match="a LogHeadRecord as an answer"):
                await client.state()

    run_virtual(story())


def test_what_has_not_left_when_the_link_ends_never_leaves() -> None:
    async def story() -> None:
        bench = Bench()
        async with bench.live() as client:
            pass
        written = len(bench.wire.written)
        bench.session.send(StateGet(), corr=1)  # queued, and the carrier is gone
        await client.farewell(Code.LINK_DOWN)
        # The goodbye alone; its sequence number has a hole before it, which tells the lock the same.
        assert len(bench.wire.written) == written + 1

    run_virtual(story())


def test_an_answer_that_was_long_on_its_way_tells_no_uptime() -> None:
    async def story() -> None:
        bench = Bench()
        async with bench.live() as client:
            bench.ears.uptimes.clear()

            def answer(message: Message, corr: int) -> None:
                bench.clock.sleep_machine(5_001)
                bench.lock.answer(message, corr)

            bench.lock.on_message = answer
            await client.state()
            assert bench.ears.uptimes == []
            bench.lock.on_message = bench.lock.answer
            await client.state()
            assert len(bench.ears.uptimes) == 1

    run_virtual(story())


def test_a_request_that_was_cancelled_does_not_take_the_next_ones_answer() -> None:
    async def story() -> None:
        bench = Bench()
        async with bench.live() as client:
            corrs: list[int] = []
            bench.lock.on_message = lambda _message, corr: corrs.append(corr)
            given_up = asyncio.create_task(client.state())
            await asyncio.sleep(1)
            given_up.cancel()
            await asyncio.wait({given_up})
            asking = asyncio.create_task(client.state())
            await asyncio.sleep(1)
            bench.lock.say(CommandAccepted(command_seq=1, up_ms=1), corrs[0])
            bench.lock.say(bench.lock.state(), corrs[1])
            state, _ = await asking
            assert state.up_ms == bench.lock.up_ms

    run_virtual(story())


def test_corrs_start_again_before_the_one_that_pings_have() -> None:
    async def story() -> None:
        bench = Bench()
        async with bench.live() as client:
            client._corr = 0xFFFD  # noqa: SLF001 - 65 533 requests later
            corrs: list[int] = []

            def answer(message: Message, corr: int) -> None:
                corrs.append(corr)
                bench.lock.answer(message, corr)

            bench.lock.on_message = answer
            await client.state()
            await client.state()
            assert corrs == [0xFFFE, 1]

    run_virtual(story())


def test_attack_a_challenge_held_back_in_the_air_is_as_old_as_the_lock_says_when_it_arrives() -> None:
    async def story() -> None:
        bench = Bench()
        async with bench.live():
            drawn_ms, drawn_up_ms = bench.clock.now().boottime_ms, bench.lock.up_ms
            await asyncio.sleep(40)
            # Let go together, the last word first heard is as old as the challenge: it must not vouch for it.
            bench.lock.say(Pong(up_ms=drawn_up_ms))
            bench.lock.say(RelayOpen(channel=1, challenge=bytes(16), up_ms=drawn_up_ms))
            await asyncio.sleep(0.1)
            (said_ms,) = bench.ears.said_ms
            assert drawn_ms <= said_ms <= drawn_ms + 10

    run_virtual(story())
