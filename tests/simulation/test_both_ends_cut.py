"""The power goes at both ends in the same try of an installer's command; the same command again goes on and says so.

Gateway and lock hang on one supply here: whichever write takes the power away takes it from both. Together with the
cuts of one end alone (`test_installer.py`) these are all the moments that can differ, because whatever is not on
disk or in flash is gone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol.noise import KeyPair
from gatewayd.link.pairing_talk import CommissionCode, CommissionError
from tests.support.life_world import LifeWorld, PowerCut
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from gatewayd.provisioning.installation import Outcome

NEW_LINK: Final = KeyPair.from_private(bytes([88]) * 32)
GONE_ON: Final = frozenset(
    {
        "the lock has this order already",
        "the lock has let go of this gateway already",
        "this gateway has let the lock go already",
    }
)
"""What the next command says of a try that had come as far as the lock."""
WRITE_COUNT_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Errand:
    """A command, and the world in which it is given."""

    seed: int
    owner_epoch: int
    home_count: int
    """Locks that are the gateway's afterwards."""
    prepare: Callable[[LifeWorld], Awaitable[None]]
    command: Callable[..., Coroutine[None, None, Outcome]]


async def _new(world: LifeWorld) -> None:
    world.in_hand = world.papers()


async def _with_new_keys(world: LifeWorld) -> None:
    await world.pair()
    world.link_keys = NEW_LINK
    world.in_hand = world.papers(owner_epoch=2)


async def _on_a_spare(world: LifeWorld) -> None:
    """What `gatewayd restore` leaves: the dead gateway's name, a link key of the spare's own, no store."""
    await _with_new_keys(world)
    world.store_path = world.store_folder / "spare.sqlite"


async def _elsewhere(world: LifeWorld) -> None:
    """No backup: another gateway, with its own name and store, and a lock that belongs to the dead one."""
    await world.pair()
    world.move_to(world.office.home("home-2"))
    world.in_hand = world.papers(owner_epoch=2)
    world.lock.press_install_button()


async def _owned(world: LifeWorld) -> None:
    await world.pair()


def _pair(world: LifeWorld, **cut: object) -> Coroutine[None, None, Outcome]:
    return world.pair(world.in_hand, **cut)  # type: ignore[arg-type]  # forwarded


def _rotate(world: LifeWorld, **cut: object) -> Coroutine[None, None, Outcome]:
    former = world.office.home("home-1").gateway_link_keys
    return world.pair(world.in_hand, former=former, **cut)  # type: ignore[arg-type]  # forwarded


def _release(world: LifeWorld, **cut: object) -> Coroutine[None, None, Outcome]:
    return world.release(**cut)  # type: ignore[arg-type]  # forwarded


ERRANDS: Final = {
    "pairing": Errand(60, 1, 1, _new, _pair),
    "rotation": Errand(61, 2, 1, _with_new_keys, _rotate),
    "decommission": Errand(62, 2, 0, _owned, _release),
    "restore": Errand(63, 2, 1, _on_a_spare, _rotate),
    "replacement without a backup": Errand(64, 2, 1, _elsewhere, _pair),
}


async def goes_on(world: LifeWorld, errand: Errand) -> None:
    """Give the same command again, with the power back at both ends."""
    world.on_cut = world.medium.on_lost = lambda: None
    world.medium.lose_power_at_write(10_000)
    world.lock.power_on()
    await asyncio.sleep(1)
    had_come_to_the_lock = world.lock.flash.values.owner_epoch == errand.owner_epoch
    world.said.clear()
    if errand.prepare is _elsewhere and not had_come_to_the_lock:
        # The press of a button is forgotten with the power: the one thing that the installer has to do again.
        with pytest.raises(CommissionError, match="press the install button") as caught:
            await errand.command(world)
        assert caught.value.code == CommissionCode.NONE_WAITS
        world.lock.press_install_button()
    outcome = await errand.command(world)
    assert outcome.owner_epoch == world.lock.flash.values.owner_epoch == errand.owner_epoch
    assert outcome.was_done is had_come_to_the_lock
    assert bool(GONE_ON.intersection(world.said)) is had_come_to_the_lock
    assert await world.home_count() == errand.home_count


async def cut_at_the_gateways_write(world: LifeWorld, errand: Errand, number: int, *, after: bool) -> None:
    world.on_cut = world.lock.power_off
    with pytest.raises(PowerCut):
        await errand.command(world, cut_at=number, after=after)


async def cut_at_the_locks_write(world: LifeWorld, errand: Errand, number: int, kept_size: int | None) -> bool:
    """Return whether there was such a write."""
    running = asyncio.ensure_future(errand.command(world))

    def lost() -> None:
        world.cut.is_dead = True
        running.cancel()

    world.medium.on_lost = lost
    world.medium.lose_power_at_write(number, kept_size=kept_size)
    (ended,) = await asyncio.gather(running, return_exceptions=True)
    return isinstance(ended, BaseException)


@pytest.mark.parametrize("errand", ERRANDS.values(), ids=ERRANDS)
def test_a_power_cut_of_both_at_every_write_of_the_gateway(tmp_path: Path, errand: Errand) -> None:
    async def world_at(number: int) -> LifeWorld:
        folder = tmp_path / str(number)
        folder.mkdir()
        world = LifeWorld(folder, errand.seed)
        await errand.prepare(world)
        return world

    async def story() -> None:
        whole = await world_at(0)
        await errand.command(whole)
        assert whole.cut.count >= 5
        for number in range(2 * whole.cut.count):
            world = await world_at(1 + number)
            await cut_at_the_gateways_write(world, errand, 1 + number // 2, after=bool(number % 2))
            await goes_on(world, errand)

    run_virtual(story())


@pytest.mark.parametrize("kept_size", [0, 9, None], ids=["nothing written", "torn", "all written"])
@pytest.mark.parametrize("errand", ERRANDS.values(), ids=ERRANDS)
def test_a_power_cut_of_both_at_every_write_of_the_lock(tmp_path: Path, errand: Errand, kept_size: int | None) -> None:
    async def story() -> None:
        for number in range(1, WRITE_COUNT_MAX):
            folder = tmp_path / str(number)
            folder.mkdir()
            world = LifeWorld(folder, errand.seed)
            await errand.prepare(world)
            if not await cut_at_the_locks_write(world, errand, number, kept_size):
                assert number > 1
                return
            await goes_on(world, errand)
        raise AssertionError("the lock never stops writing")

    run_virtual(story())


def test_a_decommission_that_was_cut_is_finished_by_a_newer_order_too(tmp_path: Path) -> None:
    """The paper of the first try may be lost with the try."""

    async def story() -> None:
        world = LifeWorld(tmp_path, 65)
        await world.pair()
        for number in range(1, WRITE_COUNT_MAX):
            assert await cut_at_the_locks_write(world, ERRANDS["decommission"], number, None)
            world.lock.power_on()
            await asyncio.sleep(1)
            if world.lock.flash.values.owner_epoch == 2:
                break
        assert await world.home_count() == 1
        outcome = await world.release(owner_epoch=3)
        assert outcome.was_done
        assert await world.home_count() == 0

    run_virtual(story())


def test_an_order_that_expires_after_the_cut_is_finished_if_the_lock_has_it(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 66)
        world.in_hand = world.papers(life_s=600)
        whole = await cut_at_the_locks_write(world, ERRANDS["pairing"], 1, None)
        assert whole
        world.lock.power_on()
        await asyncio.sleep(3_600)
        outcome = await world.pair(world.in_hand)
        assert outcome.was_done
        assert await world.home_count() == 1

    run_virtual(story())
