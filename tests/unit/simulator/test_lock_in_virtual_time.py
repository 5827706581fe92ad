"""The simulated lock behind the radio in memory, spoken to by the gateway's own client, in virtual time."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.constants import SERVICE_UUID
from firmware_protocol.noise import KeyPair
from firmware_protocol.session import GatewaySession
from firmware_protocol.vocabulary import Action, Bolt
from gatewayd.link.faults import LinkLost, OutcomeUnknown
from gatewayd.link.lock_client import LockClient
from gatewayd.link.ports import BoltMove
from gatewayd.timekeeping import TimeInterval
from simulator.flash import Flash
from simulator.flash_media import MemoryMedium
from simulator.lock import SimulatedLock
from simulator.lock_keys import LockKeys
from simulator.mechanics import Mechanics
from simulator.seams import LoopScheduler
from tests.support.manual_clock import ManualClock
from tests.support.memory_radio import MemoryRadio
from tests.support.seeded_entropy import SeededEntropy
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from firmware_protocol.messages import Message
    from gatewayd.link.lock_client import Unasked
    from gatewayd.timekeeping import Instant

RADIO_MS: Final = 10_000
DAY_S: Final = 86_400
GATEWAY_KEYS: Final = KeyPair.from_private(bytes(range(32)))


class Home:
    """One lock in reach of one radio."""

    def __init__(self) -> None:
        self.entropy = SeededEntropy(1)
        self.keys = LockKeys.generate(
            self.entropy, name="home", gateway_key=GATEWAY_KEYS.public, gateway_id=b"gateway1"
        )
        scheduler = LoopScheduler()
        self.mechanics = Mechanics(scheduler)
        self.lock = SimulatedLock(self.keys, Flash(MemoryMedium()), self.mechanics, scheduler, self.entropy)
        self.radio = MemoryRadio(self.lock, Random(1))
        self.lock.attach_beacon(self.radio)
        self.unasked: list[Message] = []
        self.clock = ManualClock()
        self._session_ctr = 0

    def on_record(self, message: Unasked, _instant: Instant) -> None:
        self.unasked.append(message)

    async def on_uptime(self, _up_ms: int, _instant: Instant) -> None:
        """Nothing is kept."""

    @asynccontextmanager
    async def client(self) -> AsyncIterator[LockClient]:
        """Connect, confirm, and hang up at the end."""
        self._session_ctr += 1
        sighting = await self.radio.find(SERVICE_UUID, None, timeout_ms=RADIO_MS)
        link = await self.radio.connect(sighting, timeout_ms=RADIO_MS)
        session = GatewaySession(
            keys=GATEWAY_KEYS,
            lock_key=self.keys.link.public,
            ephemeral=KeyPair.from_private(self.entropy.token(32)),
            nonce=self.entropy.token(8),
            session_ctr=self._session_ctr,
            version_floor=1,
            value_size_max=link.value_size_max,
            now_ms=self.clock.now().monotonic_ms,
        )
        client = LockClient(session=session, link=link, clock=self.clock, sink=self)
        carrier = asyncio.create_task(client.run())
        try:
            await client.authenticated()
            client.confirm(TimeInterval(lo_ms=self.clock.now().utc_ms))
            await client.state()
            yield client
        finally:
            carrier.cancel()
            await asyncio.wait({carrier})
            await link.close()

    def deadline_ms(self) -> int:
        return self.clock.now().boottime_ms + 5_000


def move(seq: int, action: Action = Action.UNLOCK) -> BoltMove:
    name = seq.to_bytes(16, "big")
    return BoltMove(
        command_seq=seq,
        action=action,
        command_sha256=hashlib.sha256(name).digest(),
        command_id=name,
        actor_kid=b"actorkid",
        within_ms=5_000,
    )


def test_the_gateways_client_unlocks_and_locks() -> None:
    async def story() -> None:
        home = Home()
        async with home.client() as client:
            assert (await client.execute(move(1), deadline_ms=home.deadline_ms())).code is Code.DONE
            result = await client.execute(move(2, Action.LOCK), deadline_ms=home.deadline_ms())
            assert (result.code, result.bolt) == (Code.DONE, Bolt.LOCKED)
        assert [each.command_id for each in home.mechanics.movements] == [move(1).command_id, move(2).command_id]

    run_virtual(story())


@pytest.mark.no_cover
def test_a_session_lives_through_a_quiet_day() -> None:
    async def story() -> None:
        home = Home()
        async with home.client() as client:
            await asyncio.sleep(DAY_S - 60)
            state, _ = await client.state()
            assert state.up_ms >= (DAY_S - 60) * 1_000
        assert home.lock.flash.values.boot == 1

    run_virtual(story())


@pytest.mark.parametrize("after_ms", range(0, 1_600, 200))
def test_a_power_cut_during_a_command_is_told_honestly_afterwards(after_ms: int) -> None:
    async def story() -> None:
        home = Home()

        async def unlock() -> None:
            async with home.client() as client:
                asyncio.get_running_loop().call_later(after_ms / 1_000, home.lock.power_cycle)
                await client.execute(move(1), deadline_ms=home.deadline_ms())
                await client.until_lost()

        with pytest.raises((OutcomeUnknown, LinkLost)):
            await unlock()
        async with home.client() as client:
            code = (await client.query(1)).code
        moved = len(home.mechanics.movements)
        assert (code, moved) in {(Code.FAILED, 0), (Code.MAY_HAVE_EXECUTED, 1), (Code.DONE, 1)}

    run_virtual(story())
