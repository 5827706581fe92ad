"""An installer comes to a stairwell of 64 doors whose gateway runs: one lock more, a newer order, one lock less."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.constants import OBJECT_SIZE_MAX
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import GatewayInfo
from gatewayd.installer_desk import InstallerDesk
from gatewayd.provisioning.papers import Papers, ProvisioningError
from simulator.flash import Flash
from simulator.flash_media import MemoryMedium
from simulator.lock import SimulatedLock
from simulator.mechanics import Mechanics
from simulator.seams import LoopScheduler
from tests.support.gateway_folder import document_of
from tests.support.life_world import LifeWorld
from tests.support.memory_world import MOTOR_MS, NOW_S
from tests.support.stairwell import Stairwell, address_of
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from pathlib import Path

    from gatewayd.house import House
    from simulator.office import Home

LOCK_COUNT: Final = 64
ERRAND_S_MAX: Final = 60
"""An installer waits for so long at most, in virtual seconds: with one lock it is some fifteen."""
UNLOCK_S_MAX: Final = 5
"""And the alarm centre, for a door of which nobody knows when its turn is."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A door of the stairwell."""

    home: Home
    lock: SimulatedLock
    mechanics: Mechanics


class TallHouse(LifeWorld):
    """63 doors are this gateway's from the start, where the configuration says; the 64th comes from the factory."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self.neighbours = [self._neighbour(number) for number in range(1, LOCK_COUNT)]
        self.new = self.neighbours[-1]
        self.told: list[str] = []

    def home_of(self, name: str) -> Home:
        """Return a door of this stairwell."""
        other = self.office.home(name)
        return replace(self.home, lock_log_key=other.lock_log_key, lock_link_keys=other.lock_link_keys)

    def _neighbour(self, number: int) -> Neighbour:
        home, is_new = self.home_of(f"door-{number}"), number == LOCK_COUNT - 1
        keys = replace(self.office.lock_keys(home), name=f"door-{number}")
        if not is_new:
            keys = replace(keys, gateway_key=home.gateway_link_keys.public, gateway_id=home.gateway_id, owner_epoch=1)
            self.addresses[home.lock_id] = address_of(number)
        mechanics = Mechanics(LoopScheduler(), motor_ms=MOTOR_MS)
        lock = SimulatedLock(keys, Flash(MemoryMedium()), mechanics, LoopScheduler(), self.entropy)
        if not is_new:
            lock.attach_beacon(self.radio.add(lock, address_of(number)))
        return Neighbour(home, lock, mechanics)

    async def opened(self) -> House:
        """Pair the first door as ever, take the papers of the others in, and start."""
        await self.pair()
        old = [each.home for each in self.neighbours[:-1]]
        await self.take_papers(*(self._papers(part) for part in (old[:31], old[31:])))
        house = await self.start_gateway()
        await asyncio.sleep(2 * Stairwell.ROUND_S)
        self.new.lock.attach_beacon(self.radio.add(self.new.lock, address_of(LOCK_COUNT - 1)))
        return house

    def _papers(self, homes: Sequence[Home]) -> Papers:
        return Papers.model_construct(
            keyset=None,
            authorities=(),
            state=None,
            doors=tuple(self.office.door(home) for home in homes),
            pairing_orders=tuple(self.office.pairing_order(home, now_s=NOW_S) for home in homes),
        )

    def oldest_s(self, house: House) -> float:
        """Return how long ago the door was heard of that has waited longest."""
        ages_ms = [house.watch.bolt(lock_id)[2] for lock_id in house.links]
        return max(10**6 if age_ms is None else age_ms for age_ms in ages_ms) / 1_000

    async def unlocked(self, door: Neighbour) -> float:
        """Let the alarm centre open a door; return how long that took, in seconds."""
        first, self.home = self.home, door.home
        begun_s = asyncio.get_running_loop().time()
        try:
            assert [receipt.code for receipt in await self.unlock_together()][-1] is Code.DONE
        finally:
            self.home = first
        return asyncio.get_running_loop().time() - begun_s


def label_of(world: TallHouse, home: Home) -> str:
    """Return the text on the lock of a door."""
    return world.office.lock_keys(home).label.to_text()


async def beside(world: TallHouse, house: House, errand: Awaitable[object], door: Neighbour) -> object:
    """Run an errand while the centre opens a door, and every door is heard of as ever."""
    begun_s = asyncio.get_running_loop().time()
    errands = asyncio.ensure_future(errand)
    await asyncio.sleep(1)
    assert await world.unlocked(door) <= UNLOCK_S_MAX
    assert not errands.done(), "the errand was over before anybody came"
    mine = set(house.links)
    while not errands.done():
        ages_ms = [house.watch.bolt(lock_id)[2] for lock_id in mine]
        assert all(age_ms is not None and age_ms <= Stairwell.ROUND_S * 1_000 for age_ms in ages_ms)
        await asyncio.sleep(1)
    assert asyncio.get_running_loop().time() - begun_s <= ERRAND_S_MAX
    return errands.result()


def test_the_sixty_fourth_door_comes_gets_a_newer_order_and_goes_while_all_others_are_served(tmp_path: Path) -> None:
    async def story() -> None:
        world = TallHouse(tmp_path, 90)
        house = await world.opened()
        assert len(house.links) == LOCK_COUNT - 1
        desk, new, label = InstallerDesk(house, world.radio), world.new, world.new.lock.keys.label.to_text()

        papers = document_of(world.papers(home=new.home))
        await beside(world, house, desk.pair(papers, label, None, world.told.append), world.neighbours[5])
        await asyncio.wait_for(house.links[new.home.lock_id].wait_ready(), Stairwell.ROUND_S)
        assert await world.unlocked(new) <= UNLOCK_S_MAX
        assert len(new.mechanics.movements) == 1

        # The gateway is full: one more is refused at once, and a phone is told of its own door only.
        assert len((await world.ask_info()).locks) == LOCK_COUNT
        more = world.home_of("door-65")
        with pytest.raises(ProvisioningError, match="64 locks, as many as one serves"):
            await desk.pair(document_of(world.papers(home=more)), label_of(world, more), None, world.told.append)
        told = house.statements.info(at=world.home.lock_id)
        assert len(told) <= OBJECT_SIZE_MAX
        (place,) = open_signed(GatewayInfo, told, world.identity.public_key).locks
        assert place.lock_id == world.home.lock_id

        newer = document_of(world.papers(home=new.home, owner_epoch=2))
        await beside(world, house, desk.pair(newer, label, None, world.told.append), world.neighbours[17])
        assert new.lock.flash.values.owner_epoch == 2

        order = world.office.decommission_order(new.home, now_s=world.utc_s(), owner_epoch=3)
        await beside(world, house, desk.decommission(order, None, world.told.append), world.neighbours[40])
        assert new.lock.flash.values.gateway_id == b""
        assert len(house.links) == LOCK_COUNT - 1
        await asyncio.sleep(Stairwell.ROUND_S)
        assert world.oldest_s(house) <= Stairwell.ROUND_S
        assert [each.lock.flash.values.owner_epoch for each in world.neighbours[:-1]] == [1] * (LOCK_COUNT - 2)
        await world.kill_gateway()

    run_virtual(story())
