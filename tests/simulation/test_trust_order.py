"""Signed papers that come in the same moment by several ways: what is held in the end is the newest, also on disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Rights, Role, Tier
from gatewayd.channel import Channel, Submission
from simulator.office import Holder, unlock_over_mqtt
from tests.support.memory_world import PROVIDER, MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.house import House

NARROW = Rights.LOCK


class Nobody:
    """A `channel.Responder` who does not listen."""

    async def receipt(self, raw: bytes) -> None:
        """See `Responder.receipt`."""

    async def info(self, raw: bytes) -> None:
        """See `Responder.info`."""

    async def denied(self) -> None:
        """See `Responder.denied`."""


def authority(world: MemoryWorld, *, age_s: int, rights: Rights = Rights.UNLOCK | Rights.LOCK) -> bytes:
    return world.office.authority(world.home, PROVIDER, now_s=world.utc_s() - age_s, rights=rights)


async def rights_here_and_after_a_restart(world: MemoryWorld, house: House) -> set[Rights]:
    (held,) = house.base.trust.authorities()
    await world.kill_gateway()
    (kept,) = (await world.start_gateway()).base.trust.authorities()
    return {held.rights_max, kept.rights_max}


@pytest.mark.parametrize("newest_first", [True, False])
def test_attack_an_authority_of_between_arrives_with_the_one_that_takes_rights_away(
    tmp_path: Path, *, newest_first: bool
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 95)
        async with world.gateway() as house:
            await world.settled()
            await asyncio.sleep(60)
            papers = [authority(world, age_s=0, rights=NARROW), authority(world, age_s=20)]
            trust = house.base.trust
            await asyncio.gather(*map(trust.take_authority, papers if newest_first else papers[::-1]))
            assert await rights_here_and_after_a_restart(world, house) == {NARROW}

    run_virtual(story())


@pytest.mark.parametrize(
    ("bundle_first", "bundle_is_newer"),
    [(True, False), (False, False), (True, True)],  # a newer one that comes a moment late is kept at the next visit
)
def test_attack_a_carer_brings_an_authority_of_between_in_a_bundle_while_the_newest_arrives(
    tmp_path: Path, *, bundle_first: bool, bundle_is_newer: bool
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 96)
        async with world.gateway() as house:
            await world.settled()
            await asyncio.sleep(60)
            carer, place = world.carer(), (await world.ask_info()).locks[0]
            brought = authority(world, age_s=0 if bundle_is_newer else 20)
            arriving = authority(world, age_s=20 if bundle_is_newer else 0, rights=NARROW)
            bundle = unlock_over_mqtt(
                Holder(key=carer.key, grant=carer.grant, authority=brought),
                world.home,
                epoch=place.epoch,
                issued_s=place.now_s,
                command_id=world.entropy.token(16),
                now_s=world.utc_s(),
            )
            stories = [
                house.door(Submission(channel=Channel.MQTT, bundle=bundle), Nobody()),
                house.base.trust.take_authority(arriving),
            ]
            await asyncio.gather(*(stories if bundle_first else stories[::-1]))
            expected = Rights.UNLOCK | Rights.LOCK if bundle_is_newer else NARROW
            assert await rights_here_and_after_a_restart(world, house) == {expected}

    run_virtual(story())


def test_attack_a_state_of_the_stolen_status_key_arrives_with_the_keyset_that_ends_it(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 97)
        async with world.gateway() as house:
            await world.settled()
            stolen = world.office.state(world.home, now_s=world.utc_s(), seq=2)
            world.office.role_keys[Role.STATUS] = world.office.signing_key("another status key")
            keyset = world.office.keyset(now_s=world.utc_s(), version=2)
            trust = house.base.trust
            await asyncio.gather(trust.take_keyset(keyset), trust.take_state(stolen), return_exceptions=True)
            assert house.statements.tier() is Tier.STALE
            state = world.office.state(world.home, now_s=world.utc_s(), seq=1, keyset_version=2)
            await trust.take_state(state)
            assert house.statements.tier() is Tier.FRESH
            assert (await world.visit(world.carer())).final is Code.DONE

    run_virtual(story())
