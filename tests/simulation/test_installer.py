"""The installer's commands against a lock in the air: pairing, new keys, taking down, and every cut in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol.lock_log import LogRecord, RecordType
from firmware_protocol.noise import KeyPair
from gatewayd.errors import GatewayError
from gatewayd.link.pairing_talk import CommissionCode, CommissionError
from gatewayd.link.radio import RadioError
from gatewayd.provisioning.papers import ProvisioningError
from simulator.flash import Flash
from simulator.flash_media import MemoryMedium
from simulator.lock import SimulatedLock
from simulator.mechanics import Mechanics
from simulator.seams import LoopScheduler
from tests.support.life_world import LifeWorld, PowerCut
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gatewayd.provisioning.installation import Outcome

NEW_LINK: Final = KeyPair.from_private(bytes([88]) * 32)
NEIGHBOUR: Final = "F0:00:00:00:00:02"


def neighbour(world: LifeWorld, *, rssi_dbm: int, is_owned: bool) -> None:
    """Put another lock into the air."""
    keys = world.office.lock_keys(world.office.home("neighbour"))
    if is_owned:
        keys = replace(keys, owner_epoch=1, gateway_key=bytes(range(32)), gateway_id=b"somebody")
    lock = SimulatedLock(
        keys, Flash(MemoryMedium()), Mechanics(LoopScheduler(), motor_ms=800), LoopScheduler(), world.entropy
    )
    aired = world.radio.add(lock, NEIGHBOUR)
    aired.rssi_dbm = rssi_dbm
    lock.attach_beacon(aired)


async def refused(doing: Awaitable[object]) -> CommissionError:
    with pytest.raises(CommissionError) as caught:
        await doing
    return caught.value


# ----------------------------------------------------------------------------------------------------------- pairing


def test_a_lock_from_the_factory_is_paired_without_internet_and_proves_it(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 1)
        outcome = await world.pair()
        assert (outcome.owner_epoch, outcome.was_done) == (1, False)
        assert world.lock.flash.values.gateway_id == world.home.gateway_id
        assert "this is the lock of the label" in world.said
        assert world.said[-1] == "the lock answers to this gateway"
        house = await world.start_gateway()
        await house.links[world.home.lock_id].wait_ready()
        await world.kill_gateway()

    run_virtual(story())


def test_the_same_command_again_changes_nothing_and_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 2)
        papers = world.papers()
        await world.pair(papers)
        owner = world.lock.flash.values.gateway_key
        assert (await world.pair(papers)).was_done
        assert world.lock.flash.values.gateway_key == owner

    run_virtual(story())


def test_ambiguity_is_refused_with_what_to_do(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 3)
        neighbour(world, rssi_dbm=-60, is_owned=False)
        fault = await refused(world.pair())
        assert fault.code == CommissionCode.SEVERAL_WAIT
        assert "--address" in fault.detail
        assert NEIGHBOUR in fault.detail
        assert world.lock.flash.values.owner_epoch == 0
        assert (await world.pair(address="F0:00:00:00:00:01")).owner_epoch == 1

    run_virtual(story())


@pytest.mark.parametrize(("rssi_dbm", "is_refused"), [(-41, False), (-40, True)])
def test_a_neighbour_that_is_much_nearer_is_asked_about(
    tmp_path: Path,
    rssi_dbm: int,
    is_refused: bool,  # noqa: FBT001 - a parameter
) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 4)
        neighbour(world, rssi_dbm=rssi_dbm, is_owned=True)
        if is_refused:
            assert (await refused(world.pair())).code == CommissionCode.NEIGHBOUR_NEARER
        else:
            assert (await world.pair()).owner_epoch == 1

    run_virtual(story())


def test_a_lock_of_somebody_else_is_refused_until_its_button_is_pressed(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 5)
        await world.pair()
        world.move_to(world.office.home("home-2"))
        papers = world.papers(owner_epoch=2)
        fault = await refused(world.pair(papers))
        assert fault.code == CommissionCode.NONE_WAITS
        assert "install button" in fault.detail
        world.lock.press_install_button()
        assert (await world.pair(papers)).owner_epoch == 2
        assert world.lock.flash.values.gateway_id == world.home.gateway_id

    run_virtual(story())


def test_no_lock_in_reach_is_said_in_one_line(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 6)
        world.radio.set_reachable(False)
        fault = await refused(world.pair())
        assert fault.code == CommissionCode.NONE_HEARD
        assert "\n" not in fault.detail

    run_virtual(story())


# ----------------------------------------------------------------------------------------------------------- attacks


def untouched(world: LifeWorld) -> tuple[bytes, int, bytes]:
    values = world.lock.flash.values
    return values.gateway_id, values.owner_epoch, values.keyset


def test_attack_wrong_qr_secret_is_told_and_changes_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 7)
        wrong = replace(world.lock.keys.label, secret=bytes(32))
        assert (await refused(world.pair(label=wrong))).code == CommissionCode.WRONG_SECRET
        assert untouched(world) == (b"", 0, b"")
        assert (await world.pair()).owner_epoch == 1

    run_virtual(story())


def test_attack_another_lock_answers_in_the_place_of_the_labels(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 8)
        neighbour(world, rssi_dbm=-30, is_owned=False)
        fault = await refused(world.pair(address=NEIGHBOUR))
        assert fault.code == CommissionCode.OTHER_LOCK
        assert untouched(world) == (b"", 0, b"")

    run_virtual(story())


def test_attack_expired_order_never_reaches_the_lock(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 9)
        await world.pair()
        with pytest.raises(ProvisioningError, match="expired"):
            await world.pair(world.papers(owner_epoch=2, life_s=-60))
        assert world.lock.flash.values.owner_epoch == 1

    run_virtual(story())


def test_attack_order_for_another_lock_is_not_for_this_label(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 10)
        other = world.office.home("home-9")
        papers = world.papers(home=replace(world.home, lock_log_key=other.lock_log_key))
        with pytest.raises(ProvisioningError, match="no pairing order"):
            await world.pair(papers)
        assert untouched(world) == (b"", 0, b"")

    run_virtual(story())


def test_attack_replayed_order_does_not_bring_an_old_gateway_back(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 11)
        old_papers = world.papers()
        await world.pair(old_papers)
        world.link_keys = NEW_LINK
        await world.pair(world.papers(owner_epoch=2), former=world.home.gateway_link_keys)
        world.link_keys = world.home.gateway_link_keys
        world.lock.press_install_button()
        with pytest.raises((ProvisioningError, CommissionError)):
            await world.pair(old_papers)
        assert world.lock.flash.values.gateway_key == NEW_LINK.public

    run_virtual(story())


# ------------------------------------------------------------------------------------------- new keys, taking down


def test_a_rotation_gives_new_keys_and_the_old_ones_open_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 12)
        await world.pair()
        world.link_keys = NEW_LINK
        outcome = await world.pair(world.papers(owner_epoch=2), former=world.home.gateway_link_keys)
        assert (outcome.owner_epoch, outcome.was_done) == (2, False)
        assert world.lock.flash.values.former_key == b""
        house = await world.start_gateway()
        await house.links[world.home.lock_id].wait_ready()
        await world.kill_gateway()

    run_virtual(story())


def test_a_lock_is_taken_down_with_its_whole_log_and_waits_for_the_next_home(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 13)
        await world.pair()
        world.mechanics.hand_turns_knob()
        assert (await world.release()).owner_epoch == 2
        assert world.lock.flash.values.gateway_id == b""
        last = world.lock.flash.values.copied_seq
        assert LogRecord.from_bytes(world.lock.flash.records_from(last, 1)[0]).type is RecordType.RELEASED
        house = await world.start_gateway()
        assert house.links == {}
        await world.kill_gateway()
        assert (await world.release()).was_done

    run_virtual(story())


# -------------------------------------------------------------------------------------------------------- power cuts


async def tried(doing: Awaitable[Outcome]) -> Outcome | None:
    """Return what came of a command, or None where it said in one line why nothing did."""
    try:
        return await doing
    except (GatewayError, RadioError) as error:
        if "\n" in str(error):
            raise
        return None


async def through_every_cut(
    make: Callable[[int], Awaitable[LifeWorld]], command: Callable[..., Awaitable[Outcome]], epoch: int
) -> int:
    """Cut the gateway's power before and after each transaction; the same command then goes on. Return how many."""
    whole = await make(0)
    await command(whole)
    count = whole.cut.count
    for number in range(2 * count):
        world = await make(1 + number)
        with pytest.raises(PowerCut):
            await command(world, cut_at=1 + number // 2, after=bool(number % 2))
        outcome = await tried(command(world))
        assert world.lock.flash.values.owner_epoch == epoch
        assert outcome is None or outcome.owner_epoch == epoch
        homes_left = await world.home_count()
        assert homes_left == (0 if outcome is None or world.lock.flash.values.gateway_id == b"" else 1)
    return count


def test_a_power_cut_of_the_gateway_at_every_step_of_pairing(tmp_path: Path) -> None:
    async def make(number: int) -> LifeWorld:
        folder = tmp_path / str(number)
        folder.mkdir()
        world = LifeWorld(folder, 20)
        world.in_hand = world.papers()
        return world

    async def command(world: LifeWorld, **cut: object) -> Outcome:
        return await world.pair(world.in_hand, **cut)  # type: ignore[arg-type]  # forwarded

    async def story() -> None:
        assert await through_every_cut(make, command, 1) >= 5

    run_virtual(story())


def test_a_power_cut_of_the_gateway_at_every_step_of_a_rotation(tmp_path: Path) -> None:
    async def make(number: int) -> LifeWorld:
        folder = tmp_path / str(number)
        folder.mkdir()
        world = LifeWorld(folder, 21)
        await world.pair()
        world.link_keys = NEW_LINK
        world.in_hand = world.papers(owner_epoch=2)
        return world

    async def command(world: LifeWorld, **cut: object) -> Outcome:
        return await world.pair(world.in_hand, former=world.home.gateway_link_keys, **cut)  # type: ignore[arg-type]  # forwarded

    async def story() -> None:
        assert await through_every_cut(make, command, 2) >= 5

    run_virtual(story())


async def through_the_locks_cuts(
    world: LifeWorld, command: Callable[[], Awaitable[Outcome]], epoch: int, kept_size: int | None
) -> None:
    """Cut the lock's power in each of its writes until one try comes through; then the command says that it is done."""
    for write in range(1, 20):
        world.medium.lose_power_at_write(write, kept_size=kept_size)
        outcome = await tried(command())
        world.lock.power_on()
        await asyncio.sleep(1)
        if outcome is not None or world.lock.flash.values.owner_epoch == epoch:
            break
    world.medium.lose_power_at_write(10_000)
    await tried(command())
    assert world.lock.flash.values.owner_epoch == epoch


def test_a_power_cut_of_the_gateway_at_every_step_of_a_decommission(tmp_path: Path) -> None:
    async def make(number: int) -> LifeWorld:
        folder = tmp_path / str(number)
        folder.mkdir()
        world = LifeWorld(folder, 25)
        await world.pair()
        return world

    async def command(world: LifeWorld, **cut: object) -> Outcome:
        return await world.release(**cut)  # type: ignore[arg-type]  # forwarded

    async def story() -> None:
        assert await through_every_cut(make, command, 2) >= 5

    run_virtual(story())


@pytest.mark.parametrize("kept_size", [0, 9, None], ids=["nothing written", "torn", "all written"])
def test_a_power_cut_of_the_lock_in_a_pairing(tmp_path: Path, kept_size: int | None) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 22)
        papers = world.papers()
        await through_the_locks_cuts(world, lambda: world.pair(papers), 1, kept_size)
        assert (await world.pair(papers)).was_done

    run_virtual(story())


@pytest.mark.parametrize("kept_size", [0, 9, None], ids=["nothing written", "torn", "all written"])
def test_a_power_cut_of_the_lock_in_a_rotation(tmp_path: Path, kept_size: int | None) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 23)
        await world.pair()
        world.link_keys = NEW_LINK
        papers, former = world.papers(owner_epoch=2), world.home.gateway_link_keys
        await through_the_locks_cuts(world, lambda: world.pair(papers, former=former), 2, kept_size)
        assert (await world.pair(papers, former=former)).was_done
        assert world.lock.flash.values.gateway_key == NEW_LINK.public

    run_virtual(story())


@pytest.mark.parametrize("kept_size", [0, 9, None], ids=["nothing written", "torn", "all written"])
def test_a_power_cut_of_the_lock_in_a_decommission(tmp_path: Path, kept_size: int | None) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 24)
        await world.pair()
        await through_the_locks_cuts(world, world.release, 2, kept_size)
        assert (await world.release()).was_done
        assert world.lock.flash.values.gateway_id == b""

    run_virtual(story())
