"""One more lock, or one less, while the daemon runs: the doors that it serves already notice nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import OfflineClass
from gatewayd.control.messages import ControlCode, ControlError
from gatewayd.errors import GatewayError
from gatewayd.installer_desk import InstallerDesk
from gatewayd.link.moves import INQUIRY_MS_MAX
from gatewayd.link.pairing_talk import CommissionCode
from gatewayd.overview import Overview
from gatewayd.provisioning.papers import ProvisioningError
from gatewayd.store.store import StoreCode, StoreError
from simulator.flash import Flash
from simulator.flash_media import MemoryMedium
from simulator.lock import SimulatedLock
from simulator.mechanics import Mechanics
from simulator.seams import LoopScheduler
from tests.support.gateway_folder import document_of
from tests.support.life_world import LifeWorld
from tests.support.memory_world import MOTOR_MS
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.house import House
    from gatewayd.recorder import Page
    from gatewayd.reservation import Asked, Decided

SECOND_ADDRESS: Final = "F0:00:00:00:00:02"


class Stairwell(LifeWorld):
    """A gateway that serves one door, and a second lock from the factory beside it."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        other = self.office.home("second")
        self.second = replace(self.home, lock_log_key=other.lock_log_key, lock_link_keys=other.lock_link_keys)
        self.second_keys = replace(self.office.lock_keys(self.second), name="second")
        self.second_lock = SimulatedLock(
            self.second_keys,
            Flash(MemoryMedium()),
            Mechanics(LoopScheduler(), motor_ms=MOTOR_MS),
            LoopScheduler(),
            self.entropy,
        )
        self.told: list[str] = []

    async def opened(self) -> tuple[House, InstallerDesk]:
        """Pair the first lock as ever, start the daemon, and put the second lock into the air."""
        await self.pair()
        house = await self.start_gateway()
        await self.settled()
        aired = self.radio.add(self.second_lock, SECOND_ADDRESS)
        self.second_lock.attach_beacon(aired)
        return house, InstallerDesk(house, self.radio)

    def document(self, *, owner_epoch: int = 1) -> dict[str, Any]:
        """Return the second lock's papers."""
        return document_of(self.papers(home=self.second, owner_epoch=owner_epoch))

    async def pair_second(self, desk: InstallerDesk) -> None:
        """Run the errand."""
        await desk.pair(self.document(), self.second_keys.label.to_text(), None, self.told.append)

    def watch_first(self, house: House) -> list[str]:
        """Note whatever happens to the first door's link from now on."""
        lost: list[str] = []
        link = house.links[self.home.lock_id]

        async def watch() -> None:
            while True:
                if not link.ready:
                    lost.append(link.status.state.value)
                await asyncio.sleep(0.05)

        self.watching = asyncio.get_running_loop().create_task(watch())
        return lost


def test_one_more_lock_is_paired_while_the_first_door_is_served(tmp_path: Path) -> None:
    async def story() -> None:
        world = Stairwell(tmp_path, 80)
        house, desk = await world.opened()
        lost, epoch, session = world.watch_first(house), house.epoch.value, world.lock.flash.values.session_ctr
        pairing = asyncio.create_task(world.pair_second(desk))
        await asyncio.sleep(1)
        carer = world.carer(offline_class=OfflineClass.RESPONDER)
        assert (await world.visit(carer)).final is Code.DONE, "somebody comes to the first door meanwhile"
        assert not pairing.done()
        await pairing
        assert world.told[-1] == "the lock answers to this gateway"
        await asyncio.wait_for(house.links[world.second.lock_id].wait_ready(), 60)
        assert lost == []
        assert world.lock.flash.values.session_ctr == session
        assert house.epoch.value == epoch

        # The second is a door like the first: in what the gateway says of itself, and to whoever may open it.
        assert len((await Overview(house).status()).locks) == 2
        assert {each.lock_id for each in (await world.ask_info()).locks} == {
            world.home.lock_id,
            world.second.lock_id,
        }
        world.watching.cancel()
        await world.settled()
        await world.kill_gateway()
        assert await world.home_count() == 2

    run_virtual(story())


def test_the_new_door_opens_at_once_by_the_alarm_centre(tmp_path: Path) -> None:
    async def story() -> None:
        world = Stairwell(tmp_path, 81)
        house, desk = await world.opened()
        await world.pair_second(desk)
        await asyncio.wait_for(house.links[world.second.lock_id].wait_ready(), 60)
        first, world.home = world.home, world.second
        assert (await world.unlock_together())[-1].code is Code.DONE
        world.home = first
        assert [each.cause.value for each in world.second_lock.mechanics.movements] == ["motor"]
        assert world.command_movements == []
        await world.kill_gateway()

    run_virtual(story())


def test_one_lock_is_let_go_and_the_other_door_notices_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        world = Stairwell(tmp_path, 82)
        house, desk = await world.opened()
        await world.pair_second(desk)
        await asyncio.wait_for(house.links[world.second.lock_id].wait_ready(), 60)
        lost = world.watch_first(house)
        order = world.office.decommission_order(world.second, now_s=world.utc_s(), owner_epoch=2)
        ended = await desk.decommission(order, None, world.told.append)
        assert (ended.owner_epoch, ended.was_done) == (2, False)
        assert world.second_lock.flash.values.gateway_id == b""
        assert list(house.links) == [world.home.lock_id]
        assert [each.lock_id for each in (await world.ask_info()).locks] == [world.home.lock_id]
        again = await desk.decommission(order, None, world.told.append)
        assert again.was_done
        assert lost == []
        world.watching.cancel()
        await world.settled()
        shown = world.broker.retained
        assert not shown.get(world.topics.lock_state(world.second.lock_id))
        await world.kill_gateway()
        assert await world.home_count() == 1

    run_virtual(story())


def test_an_errand_that_fails_leaves_the_lock_served_as_before(tmp_path: Path) -> None:
    async def story() -> None:
        world = Stairwell(tmp_path, 83)
        house, desk = await world.opened()
        link = house.links[world.home.lock_id]
        papers = document_of(world.papers(owner_epoch=1))
        with pytest.raises(ProvisioningError, match="is held already, by another pairing order"):
            await desk.pair(papers, world.lock.keys.label.to_text(), None, world.told.append)
        assert house.links[world.home.lock_id] is not link
        await asyncio.wait_for(house.links[world.home.lock_id].wait_ready(), 60)
        # And a second lock that does not come along is nobody's.
        world.radio.locks[SECOND_ADDRESS].reachable = False
        with pytest.raises(GatewayError) as caught:
            await world.pair_second(desk)
        assert caught.value.code in {CommissionCode.NONE_HEARD, CommissionCode.NONE_WAITS}
        assert list(house.links) == [world.home.lock_id]
        await world.kill_gateway()

    run_virtual(story())


def test_a_newer_order_for_a_lock_of_ours_is_handed_over_while_the_daemon_runs(tmp_path: Path) -> None:
    async def story() -> None:
        world = Stairwell(tmp_path, 84)
        house, desk = await world.opened()
        await house.base.suspicion.enter("link.clone_suspect", world.home.lock_id)
        papers = document_of(world.papers(owner_epoch=2))
        ended = await desk.pair(papers, world.lock.keys.label.to_text(), None, world.told.append)
        assert ended.owner_epoch == world.lock.flash.values.owner_epoch == 2
        await asyncio.wait_for(house.links[world.home.lock_id].wait_ready(), 60)
        assert not house.base.suspicion.active
        await world.kill_gateway()

    run_virtual(story())


def test_a_lock_that_is_let_go_between_the_yes_and_the_movement_stays_shut_and_the_daemon_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        world = Stairwell(tmp_path, 88)
        house, _ = await world.opened()
        decide = house.reservations.decide

        def decide_and_let_go(page: Page, asked: Asked) -> Decided:
            decided = decide(page, asked)
            house.roll.strike(world.home.lock_id)
            del house.links[world.home.lock_id]
            return decided

        monkeypatch.setattr(house.reservations, "decide", decide_and_let_go)
        receipts = await world.unlock_together()
        assert [receipt.code for receipt in receipts] == [Code.PERMITTED, Code.LINK_DOWN]
        assert world.command_movements == []
        await world.kill_gateway()

    run_virtual(story())


def test_a_store_that_fails_under_an_errand_leaves_no_door_without_its_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        world = Stairwell(tmp_path, 89)
        house, desk = await world.opened()

        async def gone() -> None:
            raise StoreError(StoreCode.IO, "the card gives nothing back")

        with monkeypatch.context() as patched:
            patched.setattr(house.base.trust, "load", gone)
            papers = document_of(world.papers(owner_epoch=1))
            with pytest.raises(StoreError):
                await desk.pair(papers, world.lock.keys.label.to_text(), None, world.told.append)
        await asyncio.wait_for(house.links[world.home.lock_id].wait_ready(), 60)
        assert (await world.visit(world.carer())).final is Code.DONE
        await world.kill_gateway()

    run_virtual(story())


def test_what_a_lock_owes_is_asked_of_it_over_the_link_that_an_errand_has_put_in_the_place_of_the_old(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        world = Stairwell(tmp_path, 87)
        house, desk = await world.opened()
        visiting = asyncio.create_task(world.visit(world.carer()))
        while not world.mechanics.movements:
            await asyncio.sleep(0.005)
        world.radio.set_reachable(False)
        await visiting
        await asyncio.sleep(INQUIRY_MS_MAX / 1_000 + 1)  # whoever asked has heard that nobody knows
        papers = document_of(world.papers(owner_epoch=1))
        with pytest.raises(ProvisioningError, match="is held already"):
            await desk.pair(papers, world.lock.keys.label.to_text(), None, world.told.append)
        world.radio.set_reachable(True)
        await asyncio.wait_for(house.links[world.home.lock_id].wait_ready(), 600)
        await asyncio.sleep(120)
        await world.settled()
        outcomes = [event["data"] for event in world.events() if event["type"] == "carelock.command.outcome"]
        assert [(each["code"], each["late"]) for each in outcomes] == [
            (Code.MAY_HAVE_EXECUTED.dotted, False),
            (Code.DONE.dotted, True),
        ]
        await world.kill_gateway()

    run_virtual(story())


def test_two_errands_at_once_are_one_errand_and_a_clear_word(tmp_path: Path) -> None:
    async def story() -> None:
        world = Stairwell(tmp_path, 85)
        _, desk = await world.opened()
        pairing = asyncio.create_task(world.pair_second(desk))
        await asyncio.sleep(1)
        with pytest.raises(ControlError) as caught:
            await world.pair_second(desk)
        assert caught.value.code == ControlCode.BUSY
        await pairing
        await world.kill_gateway()

    run_virtual(story())


@pytest.mark.no_cover
def test_a_power_cut_of_the_gateway_in_an_errand_is_finished_after_its_start(tmp_path: Path) -> None:
    """Cut at each half second of the errand: the same errand again goes on, whatever the first had come to."""

    async def story() -> None:
        for number in range(40):
            folder = tmp_path / str(number)
            folder.mkdir()
            world = Stairwell(folder, 86)
            _, desk = await world.opened()
            document, label = world.document(), world.second_keys.label.to_text()
            pairing = asyncio.create_task(desk.pair(document, label, None, world.told.append))
            await asyncio.sleep(4.5 + number / 4)
            is_over = pairing.done()
            pairing.cancel()
            await world.kill_gateway()
            await asyncio.wait({pairing})
            had_come_to_the_lock = world.second_lock.flash.values.owner_epoch == 1
            house = await world.start_gateway()
            ended = await InstallerDesk(house, world.radio).pair(document, label, None, world.told.append)
            assert ended.was_done is had_come_to_the_lock
            await asyncio.wait_for(house.links[world.second.lock_id].wait_ready(), 60)
            await world.kill_gateway()
            if is_over:
                return
        raise AssertionError("the errand never ends")

    run_virtual(story())
