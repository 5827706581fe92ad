"""A lock's whole life, told once and lived on two radios: in memory, and over Bumble through bleak; in virtual time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import pytest
import structlog
from nacl.public import PrivateKey

from firmware_protocol.checkpoint import Checkpoint, origin_of, sign_checkpoint
from firmware_protocol.codes import Code
from firmware_protocol.merkle import Frontier, leaf_hash
from firmware_protocol.vocabulary import OfflineClass, Parcel, Tier
from gatewayd.cli.log_file import read_export
from gatewayd.provisioning.backup import unseal
from simulator.demo_audit import RECORDED
from simulator.demo_stage import command_in
from tests.support.bumble_life import BumbleLife
from tests.support.courier_phone import CourierPhone
from tests.support.intruders import FormerOwner, Intruders, former_carer
from tests.support.life_laws import Account, LawKeeper, all_leaves, audit
from tests.support.life_outside import Outsider
from tests.support.life_unit import LifeUnit
from tests.support.life_world import LifeWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gatewayd.provisioning.installation import Outcome
    from simulator.office import Holder

RECOVERY: Final = PrivateKey(bytes([4]) * 32)
"""The office's, for backups."""
UNSEALING: Final = PrivateKey(bytes([5]) * 32)
"""The central log's: the second home seals its entries."""
DAY_COUNT: Final = 21
DAY_S: Final = 86_400
SHORT_DAY_S: Final = 3_600
SHORTEST_DAY_S: Final = 900
"""Over Bumble the pings between two visits are what a day costs."""
SHORT: Final = pytest.mark.timeout(600)
WEEKS: Final = (pytest.mark.soak, pytest.mark.timeout(1_800))
STAGE_COUNT: Final = 8
ATTEMPT_COUNT: Final = 11
AGAIN_S: Final = 3
"""How soon whoever was turned away at the door asks again, in seconds."""
COURIER_DAYS: Final = 3
"""So often a phone with coverage carries rights and time in, and the journal out."""
RESPONDER: Final = OfflineClass.RESPONDER


class Life:
    """The story; whoever moves or tries to move the bolt does it here."""

    def __init__(self, world: LifeWorld, *, day_s: int) -> None:
        self.world = world
        self.day_s = day_s
        self.keeper = LawKeeper(world)
        self.outsider = Outsider(world)
        self.intruders = Intruders(world)
        self.opened: list[tuple[bytes, Code]] = []
        """Every command of somebody who may, and how it ended."""

    async def run(self) -> None:
        """Live it."""
        await self.intruders.come()
        await self.stage("from the factory")
        await self.pair_offline()
        await self.stage("paired")
        await self.three_weeks_of_carers()
        await self.stage("after three weeks")
        sealed = self.back_up()
        dead = await self.gateway_dies_for_a_day()
        await self.restore_on_a_spare_unit(sealed)
        await self.stage("restored")
        self.read_the_dead_card(dead, sealed)
        await self.lock_moves_to_another_home()
        await self.stage("moved")
        await self.gateway_is_away()
        await self.decommission()
        await self.stage("decommissioned")
        account = Account(
            opened=self.opened,
            alone=self.keeper.alone,
            refused=self.intruders.refused,
            refused_alone=self.intruders.refused_alone,
        )
        audit(self.world, account, alarms=["log.replaced"])

    async def stage(self, name: str) -> None:
        """Everybody who may not tries, and no law is broken by it."""
        await self.intruders.try_everything(name)
        self.keeper.check(name)
        self.outsider.check(name)

    # People who may.

    async def opens(self, holder: Holder) -> None:
        """Let a carer in, and lock behind them by hand."""
        bundles: list[bytes] = []

        def make(challenge: bytes) -> bytes:
            bundles.append(self.world.unlock_bundle(holder, challenge))
            return bundles[-1]

        visit = await self.world.visit_with(make)
        if visit.closed is Code.LINK_DOWN:  # they came while the session of the next day was being made
            await asyncio.sleep(AGAIN_S)
            visit = await self.world.visit_with(make)
        assert visit.final is Code.DONE, visit
        self.opened.append((command_in(bundles[-1]).command_id, visit.final))
        self.intruders.recorded.append(bundles[-1])
        self.world.relock()
        await asyncio.sleep(5)

    async def carries(self, holder: Holder) -> None:
        """Let a carer with coverage at the door in, who carries journal and receipt, rights and time."""
        world = self.world
        phone = await CourierPhone.come(world)
        assert await phone.ask(holder) is Code.PERMITTED
        self.opened.append((list(world.signed)[-1], Code.DONE))
        gateway_id = world.home.gateway_id
        for _ in range(3):
            (note,) = await phone.fetch(Parcel.CHECKPOINT)
            for leaf in await phone.fetch(Parcel.ENTRY, held_size(world)):
                world.central.take_entry(gateway_id, leaf, world.central_now())
            answer = world.central.take_checkpoint(gateway_id, note, world.central_now())
            assert answer is not None
            await phone.bring(Parcel.RECEIPT, answer)
        assert await phone.bring(Parcel.STATE, world.fresh_state()) is Code.DONE
        await phone.leave()
        await asyncio.sleep(5)
        world.relock()
        await asyncio.sleep(5)
        assert world.house is not None
        assert world.house.statements.tier() is Tier.FRESH

    # The stages.

    async def pair_offline(self) -> None:
        """Pair the lock, where nothing reaches the internet."""
        self.world.broker.stop()
        outcome = await self.pair(LifeUnit(self.world, "here", home=self.world.home), owner_epoch=1)
        assert (outcome.owner_epoch, outcome.was_done) == (1, False)
        await self.start()

    async def three_weeks_of_carers(self) -> None:
        """Carers come every day; what a day is long in between, `day_s` says."""
        for day in range(DAY_COUNT):
            if day % COURIER_DAYS == 1:
                await self.carries(self.world.carer("cia", offline_class=RESPONDER))
            await self.opens(self.world.carer("anna", offline_class=RESPONDER))
            if day:
                await self.opens(self.world.carer("bo"))
            await asyncio.sleep(self.day_s)

    def back_up(self) -> Path:
        """Run `gatewayd backup` beside the daemon; return the file."""
        folder = self.world.store_folder
        public, sealed = folder / "recovery.pub", folder / "backup.sealed"
        public.write_bytes(bytes(RECOVERY.public_key))
        self.unit.command("backup", sealed, "--recovery-key", public)
        return sealed

    async def gateway_dies_for_a_day(self) -> LifeUnit:
        """The lock is alone: it decides. Return the dead unit."""
        world = self.world
        await self.opens(world.carer("anna", offline_class=RESPONDER))  # decided, and on no phone's way out
        await world.kill_gateway()
        await asyncio.sleep(3_600)
        await self.opens(world.carer("night", offline_class=RESPONDER))
        assert self.keeper.alone
        await self.stage("gateway dead")
        await asyncio.sleep(82_800)
        await self.opens(world.carer("morning", offline_class=RESPONDER))
        return self.unit

    async def restore_on_a_spare_unit(self, sealed: Path) -> None:
        """A unit with no store and keys of its own becomes the gateway, by `gatewayd restore` and what that says."""
        world = self.world
        spare = LifeUnit(world, "spare", home=world.office.home("spare"))
        private = world.store_folder / "recovery.key"
        private.write_bytes(bytes(RECOVERY))
        private.chmod(0o600)
        restore = ("restore", sealed, "--recovery-key", private, "--papers")
        spare.command(*restore, spare.write_papers(world.papers()), fails_with="ask the office first for a pairing")
        dead = self.owner_of_today()
        world.plug_in(spare)
        papers = spare.write_papers(world.papers(owner_epoch=2))
        told = spare.command(*restore, papers)
        assert spare.command(*restore, papers) == told
        assert not spare.config.store_path.exists()
        outcome = await spare.go_on(told)
        assert (outcome.owner_epoch, outcome.was_done) == (2, False)
        world.plug_in(spare)
        assert world.identity.gateway_id == world.home.gateway_id
        self.intruders.former.append(dead)  # whoever has the dead unit's card
        world.broker.start()
        await self.start()
        await world.settled()
        await self.opens(world.carer("anna"))
        await world.settled()

    def read_the_dead_card(self, dead: LifeUnit, sealed: Path) -> None:
        """The office reads what the dead unit had decided and not delivered, and signs for it with the backup's key."""
        world, gateway_id, exported = self.world, self.world.home.gateway_id, dead.folder / "journal.jsonl"
        dead.command("log", "export", exported)
        assert dead.command("log", "verify", "--from", exported).startswith("whole; ")
        copy, _ = read_export(exported)
        leaves = [each.leaf for each in copy.leaves]
        assert len(leaves) == copy.size
        tree = Frontier.empty()
        for leaf in leaves:
            tree = tree.append(leaf_hash(leaf))
            world.central.take_entry(gateway_id, leaf, world.central_now())
        origin = origin_of(gateway_id.hex(), copy.log_id.hex())
        key = unseal(sealed.read_bytes(), recovery_private=bytes(RECOVERY)).signing_key
        note = sign_checkpoint(Checkpoint(origin=origin, size=tree.size, root=tree.root()), key=key, name=origin)
        assert world.central.take_checkpoint(gateway_id, note, world.central_now()) is not None

    async def lock_moves_to_another_home(self) -> None:
        """Taken down here and paired there; there nobody learns what was here."""
        world = self.world
        self.intruders.former.append(self.owner_of_today())
        await self.take_down(owner_epoch=3)
        here, released_seq = world.home.gateway_id, world.lock.flash.last_seq
        there = world.office.home("home-2")
        world.move_to(there)
        world.seal_to = bytes(UNSEALING.public_key)
        assert (await self.pair(LifeUnit(world, "there", home=there), owner_epoch=4)).owner_epoch == 4
        await self.start()
        await world.settled()
        await self.opens(world.carer("dag"))
        await world.settled()
        read_there = [
            leaf.data["seq"] for leaf in all_leaves(world) if leaf.type == RECORDED and leaf.gateway_id != here
        ]
        assert min(read_there) > released_seq

    async def gateway_is_away(self) -> None:
        """Nothing is in the way of those who once had this lock: its link is free, and it decides by itself."""
        await self.world.kill_gateway()
        await asyncio.sleep(60)
        await self.stage("moved, and its gateway away")
        await self.start()
        await self.world.settled()

    async def decommission(self) -> None:
        """Its life ends; whoever had it before has it no more."""
        self.intruders.former.append(self.owner_of_today())
        await self.take_down(owner_epoch=5)
        assert self.world.lock.flash.values.gateway_id == b""

    async def take_down(self, *, owner_epoch: int) -> None:
        """Stop, release, and let the gateway deliver what there is."""
        world = self.world
        await world.stop_gateway()
        order = world.office.decommission_order(world.home, now_s=world.utc_s(), owner_epoch=owner_epoch)
        assert (await self.unit.decommission(order)).owner_epoch == owner_epoch
        await world.start_gateway()
        await world.settled()
        await world.stop_gateway()

    @property
    def unit(self) -> LifeUnit:
        """The box that is the gateway now."""
        assert self.world.unit is not None
        return self.world.unit

    async def pair(self, unit: LifeUnit, *, owner_epoch: int) -> Outcome:
        """Let a unit be the gateway, and run `gatewayd pair` on it."""
        self.world.plug_in(unit)
        return await unit.pair(unit.write_papers(self.world.papers(owner_epoch=owner_epoch)))

    async def start(self) -> None:
        """Start the gateway and wait until it has its lock."""
        house = await self.world.start_gateway()
        await house.links[self.world.home.lock_id].wait_ready()

    def owner_of_today(self) -> FormerOwner:
        """Return what whoever has this lock now will still have when it is no longer theirs."""
        world = self.world
        return FormerOwner(
            home=world.home,
            link_keys=world.link_keys,
            papers=world.papers(owner_epoch=world.lock.flash.values.owner_epoch),
            carer=former_carer(world),
        )


def held_size(world: LifeWorld) -> int:
    """How many entries of the gateway's newest log the central log holds."""
    logs = world.central_store.logs(world.home.gateway_id)
    return logs[-1].frontier.size if logs else 0


@pytest.fixture(autouse=True)
def log_read() -> Iterator[None]:
    """Let the log be read by whom the story chooses."""
    yield
    structlog.reset_defaults()


def live(life: type[LifeWorld], folder: Path, seed: int, *, day_s: int) -> list[str]:
    """Live a life on the radio of that world; return what intruders tried."""

    async def story() -> list[str]:
        async with life(folder, seed, unsealing_key=UNSEALING).on_air() as world:
            told = Life(world, day_s=day_s)
            structlog.configure(
                processors=[structlog.processors.add_log_level, told.outsider.log],
                wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            )
            await told.run()
            assert told.outsider.heard_count
            assert told.outsider.shown_count
            assert told.outsider.logged_count
            return told.intruders.attempts

    return run_virtual(story())


@pytest.mark.parametrize(
    ("life", "day_s"),
    [
        pytest.param(LifeWorld, SHORT_DAY_S, id="in memory, days of an hour", marks=SHORT),
        pytest.param(BumbleLife, SHORTEST_DAY_S, id="over Bumble and bleak, days of a quarter", marks=SHORT),
        pytest.param(LifeWorld, DAY_S, id="in memory, three whole weeks", marks=WEEKS),
        pytest.param(BumbleLife, DAY_S, id="over Bumble and bleak, three whole weeks", marks=WEEKS),
    ],
)
def test_a_whole_life(tmp_path: Path, life: type[LifeWorld], day_s: int) -> None:
    """Pair offline, carers for three weeks without internet, a dead gateway, a spare unit, another home, decommission.

    Three weeks over Bumble are 120,000 pings of some 1.3 ms of CPU each: beside the soak its 21 days are short ones,
    with all that happens in them, and with the dead gateway's day whole.
    """
    attempts = live(life, tmp_path, 30, day_s=day_s)
    assert len(attempts) == STAGE_COUNT * ATTEMPT_COUNT
