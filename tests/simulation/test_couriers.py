"""A home without internet: phones carry rights and time in, and the journal out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nacl.public import PrivateKey

from firmware_protocol.codes import Code
from firmware_protocol.noise import KeyPair
from firmware_protocol.sealed import SealedBody, seal
from firmware_protocol.vocabulary import Parcel, Tier
from gatewayd.link.radio import RadioError
from simulator.office import unlock_over_mqtt
from tests.support.courier_phone import CourierPhone
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path


async def offline_home(world: MemoryWorld) -> None:
    """Start a gateway that no central log hears and that has no trusted time."""
    world.disconnect_central()
    await world.provision()
    house = await world.start_gateway()
    await house.links[world.home.lock_id].wait_ready()
    assert house.statements.tier() is Tier.COLD


@pytest.mark.parametrize("key", [None, PrivateKey(bytes(range(32)))], ids=["open", "sealed"])
def test_a_phone_ends_the_cold_and_its_carer_gets_in(tmp_path: Path, key: PrivateKey | None) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 1, unsealing_key=key)
        await offline_home(world)
        assert world.house is not None
        phone = await CourierPhone.come(world)
        assert await phone.ask(world.carer()) is Code.TIER
        # With coverage at the door the phone sends the journal on, and brings what the centre answers.
        entries = await phone.fetch(Parcel.ENTRY)
        assert any(b"carelock.command.decided" in leaf for leaf in entries) is (key is None)
        assert await phone.carry_journal() is Code.DONE
        state = world.office.state(world.home, now_s=world.utc_s(), seq=5)
        if key is not None:  # then not even the phone that carries it can tell who is revoked
            ephemeral = KeyPair.from_private(world.entropy.token(32))
            state = seal(SealedBody(payload=state), to=world.home.gateway_link_keys.public, ephemeral=ephemeral)
        assert await phone.bring(Parcel.STATE, state) is Code.DONE
        await phone.leave()
        assert world.house.statements.tier() is Tier.FRESH
        assert (await world.visit(world.carer())).final is Code.DONE
        await world.kill_gateway()

    run_virtual(story())


@pytest.mark.parametrize("kind", [Parcel.STATE, Parcel.KEYSET, Parcel.RECEIPT, Parcel.GRANT, Parcel.ENTRY])
def test_attack_a_phone_brings_what_nobody_signed(tmp_path: Path, kind: Parcel) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 2)
        await offline_home(world)
        assert world.house is not None
        phone = await CourierPhone.come(world)
        await phone.ask(world.carer())
        assert await phone.bring(kind, b"forged") is not Code.DONE
        assert await phone.bring(kind, b"\xa1\x00\x40") is not Code.DONE  # no more is a seal that does not open
        assert world.house.statements.tier() is Tier.COLD
        await world.kill_gateway()

    run_virtual(story())


def test_attack_a_stranger_at_the_door_with_a_command_recorded_at_the_broker_takes_no_journal(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 3)
        await offline_home(world)
        place = (await world.ask_info()).locks[0]
        recorded = unlock_over_mqtt(
            world.carer(),
            world.home,
            epoch=place.epoch,
            issued_s=place.now_s,
            command_id=world.entropy.token(16),
            now_s=world.utc_s(),
        )
        assert [receipt.code for receipt in await world.command(recorded)] == [Code.TIER]
        stranger = await CourierPhone.come(world)
        # Its sender may hear the answer once more; whoever has the bytes has proven nothing with them.
        assert await stranger.replay(recorded) is Code.TIER
        with pytest.raises(RadioError):
            await stranger.fetch(Parcel.ENTRY)
        carer = await CourierPhone.come(world)
        assert await carer.ask(world.carer()) is Code.TIER
        assert await carer.fetch(Parcel.ENTRY)
        await carer.leave()
        await world.kill_gateway()

    run_virtual(story())
