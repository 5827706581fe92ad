"""A gateway dies and another unit takes its lock; whoever held the lock before is named, refused and moves nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.noise import KeyPair
from firmware_protocol.vocabulary import OfflineClass, Tier
from gatewayd.link.pairing_talk import CommissionCode, CommissionError
from gatewayd.link.troubles import NOT_OURS, ORDER_PENDING
from tests.support.life_world import LifeWorld
from tests.support.old_unit import OldUnit, alerts
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path

NEW_LINK: Final = KeyPair.from_private(bytes([88]) * 32)


async def paired(world: LifeWorld) -> OldUnit:
    papers = world.papers()
    await world.pair(papers)
    await world.start_gateway()
    await world.settled()
    await world.kill_gateway()
    return OldUnit(world, papers)


async def on_a_spare(world: LifeWorld) -> None:
    """`gatewayd restore`, then `gatewayd pair --former-key` on a store that did not exist."""
    former, world.link_keys = world.link_keys, NEW_LINK
    world.store_path = world.store_folder / "spare.sqlite"
    world.door = world.office.door(world.home, gateway_link_key=NEW_LINK.public)
    assert (await world.pair(world.papers(owner_epoch=2), former=former)).owner_epoch == 2


async def on_another_gateway(world: LifeWorld) -> None:
    """No backup: a unit with a name of its own, an order for it, and a press of the lock's button."""
    world.move_to(world.office.home("home-2"))
    world.lock.press_install_button()
    assert (await world.pair(world.papers(owner_epoch=2))).owner_epoch == 2


REPLACEMENTS: Final = {"restored on a spare unit": on_a_spare, "another gateway without a backup": on_another_gateway}


@pytest.mark.parametrize("replace", REPLACEMENTS.values(), ids=REPLACEMENTS)
def test_a_dead_gateway_is_replaced_and_the_door_opens_by_the_new_one(tmp_path: Path, replace: object) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 70)
        await paired(world)
        await replace(world)  # type: ignore[operator]  # one of the above
        house = await world.start_gateway()
        await house.links[world.home.lock_id].wait_ready()
        carer = world.carer(offline_class=OfflineClass.RESPONDER)
        assert (await world.visit(carer)).final is Code.DONE
        assert len(world.command_movements) == 1
        assert house.statements.tier() is not Tier.SUSPECT
        await world.kill_gateway()

    run_virtual(story())


@pytest.mark.parametrize("replace", REPLACEMENTS.values(), ids=REPLACEMENTS)
def test_attack_former_unit_comes_back_to_life_is_named_and_moves_nothing(tmp_path: Path, replace: object) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 71)
        old = await paired(world)
        await replace(world)  # type: ignore[operator]  # one of the above
        house = await world.start_gateway()
        await house.links[world.home.lock_id].wait_ready()
        await world.kill_gateway()
        owner = world.lock.flash.values.gateway_key
        papers = old.comes_back()

        # Its daemon: no session, a name for it, and a validly signed unlock through it moves nothing.
        house = await world.start_gateway()
        await asyncio.sleep(900)
        assert not house.links[world.home.lock_id].ready
        assert alerts(world, Code.DENIED.dotted) == [NOT_OURS]
        assert [receipt.code for receipt in await world.unlock_together()][-1] is Code.LINK_DOWN
        assert world.command_movements == []
        await world.kill_gateway()

        # Its installer: the same command as on its first day, with the button pressed and without.
        with pytest.raises(CommissionError, match="another unit has it by a newer order") as told:
            await world.pair(papers)
        assert told.value.code == CommissionCode.NO_LONGER_OURS
        world.lock.press_install_button()
        with pytest.raises(CommissionError, match=r"owner\.epoch"):
            await world.pair(papers)
        assert world.lock.flash.values.gateway_key == owner

    run_virtual(story())


def test_a_rotation_without_the_former_key_says_what_is_missing(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 72)
        await paired(world)
        world.link_keys = NEW_LINK
        with pytest.raises(CommissionError, match="name the one before it with --former-key"):
            await world.pair(world.papers(owner_epoch=2))

    run_virtual(story())


def test_an_order_that_was_only_provisioned_is_no_clone_and_says_what_is_to_be_done(tmp_path: Path) -> None:
    """A fresh store cannot know that the lock obeys an earlier order and counts on from it; the lock says so."""

    async def story() -> None:
        world = LifeWorld(tmp_path, 73)
        await paired(world)
        world.store_path = world.store_folder / "fresh.sqlite"
        await world.provision(owner_epoch=2)
        house = await world.start_gateway()
        await asyncio.sleep(600)
        assert not house.links[world.home.lock_id].ready
        assert house.statements.tier() is not Tier.SUSPECT
        assert alerts(world, Code.OWNER_EPOCH.dotted) == [ORDER_PENDING]
        assert alerts(world, Code.CLONE_SUSPECT.dotted) == []
        session_ctr = world.lock.flash.values.session_ctr
        await world.kill_gateway()
        assert world.lock.flash.values.session_ctr == session_ctr

    run_virtual(story())
