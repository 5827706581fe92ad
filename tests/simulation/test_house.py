"""What a failing disk does, what is kept of strangers, and how the house starts, stops and shows itself."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
import structlog

from firmware_protocol import link_session
from firmware_protocol.chains import make_bundle
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.relay import AnswerKind
from firmware_protocol.vocabulary import OfflineClass, Tier
from gatewayd.overview import Overview
from gatewayd.provisioning.papers import ProvisioningError
from simulator.office import unlock_over_mqtt
from tests.support.faulty_disk import FaultyDisk
from tests.support.life_world import LifeWorld
from tests.support.memory_world import NOW_S, MemoryWorld
from tests.support.virtual_loop import run_virtual
from tests.support.waits import given_time, until_ready

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from firmware_protocol.statements import CommandReceipt


# A failing disk.


def test_a_full_disk_refuses_before_the_bolt_and_works_again_when_there_is_room(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 33)
        async with world.gateway():
            await world.settled()
            world.disk.fill()
            visit = await world.visit(world.carer())
            assert visit.final is Code.STORE_UNAVAILABLE
            assert visit.receipts[0].journal_index is None
            assert world.command_movements == []
            world.disk.mend()
            assert (await world.visit(world.carer())).final is Code.DONE
            await world.settled()

    run_virtual(story())


def test_a_disk_that_fails_after_the_bolt_has_moved_still_gives_a_true_receipt_and_is_settled_later(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 34)
        async with world.gateway():
            await world.settled()
            visiting = asyncio.create_task(world.visit(world.carer()))
            while not world.mechanics.movements:
                await asyncio.sleep(0.005)
            world.disk.fill()
            assert (await visiting).final is Code.DONE
            world.disk.mend()
            await world.kill_gateway()
            await world.start_gateway()
            await world.settled()
            assert len(world.command_movements) == 1
            assert world.codes("carelock.command.outcome") == [Code.DONE.dotted]

    run_virtual(story())


@pytest.mark.parametrize("fault", [FaultyDisk.fill, FaultyDisk.mount_read_only], ids=["full", "read-only"])
def test_a_gateway_starts_and_stops_on_a_disk_that_takes_nothing_and_says_so(
    tmp_path: Path, fault: Callable[[FaultyDisk], None]
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 36)
        async with world.gateway():
            await world.settled()
        fault(world.disk)
        with structlog.testing.capture_logs() as logs:
            house = await world.start_gateway()
            assert (house.base.start.boot, house.base.start.recorded) == (2, False)
            await asyncio.sleep(60)
            assert house.uplink.status.connected
        assert "alert.raised" in {log["event"] for log in logs}
        world.disk.mend()
        await world.kill_gateway()
        house = await world.start_gateway()
        assert (house.base.start.boot, house.base.start.recorded) == (2, True)
        await world.settled()
        assert [event["data"]["boot"] for event in world.events() if event["type"].endswith(".started")] == [1, 2]
        await world.kill_gateway()

    run_virtual(story())


def test_a_stranger_on_a_full_disk_still_hears_denied(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 35)
        async with world.gateway() as house:
            await world.settled()
            world.disk.fill()
            await house.alerts.alert("test.alert", "an alert that cannot be kept stops nothing")
            assert (await world.visit_with(lambda _: make_bundle(b"nonsense"))).denied
            world.disk.mend()

    run_virtual(story())


# What is journaled of strangers.


def test_a_flood_of_strangers_writes_few_entries_counts_the_rest_and_raises_one_alarm(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 36)
        async with world.gateway() as house:
            await world.settled()
            before = (await house.ledger.marks()).size
            for _ in range(2_000):
                world.send(world.topics.command, make_bundle(b"nonsense"))
                await asyncio.sleep(0.01)
            await world.settled()
            denied = [event["data"] for event in world.events() if event["type"] == "carelock.command.denied"]
            assert 1 <= len(denied) <= 8
            assert world.codes("carelock.alert.raised") == ["flood.mqtt"]
            assert (await house.ledger.marks()).size - before == len(denied) + 1
            assert len([answer for answer in world.answers if answer.kind is AnswerKind.DENIED]) <= 22

    run_virtual(story())


def test_a_few_mistakes_are_no_flood(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 54)
        async with world.gateway():
            await world.settled()
            for _ in range(100):
                world.send(world.topics.command, make_bundle(b"nonsense"))
                await asyncio.sleep(0.01)
            await world.settled()
            assert world.codes("carelock.alert.raised") == []

    run_virtual(story())


def test_the_next_flood_is_told_again(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 55)
        async with world.gateway():
            await world.settled()
            for _ in range(2):
                for _ in range(300):
                    world.send(world.topics.command, make_bundle(b"nonsense"))
                    await asyncio.sleep(0.01)
                await given_time(1_000)
            await world.settled()
            assert world.codes("carelock.alert.raised") == ["flood.mqtt", "flood.mqtt"]

    run_virtual(story())


def test_attack_a_stolen_phone_that_is_refused_all_day_fills_no_disk(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 56)
        async with world.gateway() as house:
            await world.settled()
            before = (await house.ledger.marks()).size
            holder, place = world.carer(windows=()), (await world.ask_info()).locks[0]
            receipts: list[CommandReceipt] = []
            for _ in range(200):
                bundle = unlock_over_mqtt(
                    holder,
                    world.home,
                    epoch=place.epoch,
                    issued_s=place.now_s,
                    command_id=world.entropy.token(16),
                    now_s=world.utc_s(),
                )
                world.send(world.topics.command, bundle)
                receipts.append(await world.next_receipt())
            assert {receipt.code for receipt in receipts} == {Code.OUTSIDE_WINDOW, Code.LOCKED_OUT}
            assert receipts[-1].journal_index is None
            assert (await house.ledger.marks()).size - before <= 40
            assert (await world.visit(world.carer("bo"))).final is Code.DONE

    run_virtual(story())


# Starting, stopping, showing.


def test_a_clean_stop_says_offline_and_the_next_start_knows_it_was_clean(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 37)
        await world.provision()
        await world.start_gateway()
        await world.settled()
        await world.stop_gateway()
        assert json.loads(world.broker.retained[world.topics.state])["state"] == "offline"
        house = await world.start_gateway()
        assert not house.base.start.unclean
        assert house.base.start.boot == 2
        await world.kill_gateway()

    run_virtual(story())


def test_a_stop_lets_a_movement_that_is_under_way_end(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 38)
        await world.provision()
        await world.start_gateway()
        await world.settled()
        unlocking = asyncio.create_task(world.unlock_from_centre(alarm_ref=await world.raise_alarm()))
        while not world.mechanics.movements:
            await asyncio.sleep(0.005)
        await world.stop_gateway()
        assert [receipt.code for receipt in await unlocking] == [Code.PERMITTED, Code.DONE]

    run_virtual(story())


def test_the_overview_tells_how_everything_does(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 39)
        async with world.gateway() as house:
            empty = await Overview(house).status()
            assert not empty.locks[0].ready
            assert empty.locks[0].bolt == "unknown"
            assert empty.locks[0].observed_age_ms is None
            await world.settled()
            status = await Overview(house).status()
            assert status.tier == "fresh"
            assert status.clock.trusted
            assert status.broker.connected
            assert status.outbox.depth == 0
            assert (status.locks[0].ready, status.locks[0].bolt, status.locks[0].door) == (True, "locked", "closed")
            assert (status.authority.keyset_version, status.authority.state_seq) == (1, 1)
            json.dumps(status.to_json())
            assert status.outbox.oldest_age_ms is None
            world.disconnect_central()
            world.mechanics.hand_turns_knob()
            await given_time(30)
            waiting = (await Overview(house).status()).outbox
            assert waiting.depth > 0
            assert waiting.oldest_age_ms == pytest.approx(30_000, abs=5_000)

    run_virtual(story())


def test_an_old_state_of_the_door_decays_into_unknown(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 40)
        async with world.gateway() as house:
            await world.settled()
            world.radio.set_reachable(False)
            await given_time(60)
            assert (await Overview(house).status()).locks[0].bolt == "locked"
            state = json.loads(world.broker.retained[world.topics.lock_state(world.home.lock_id)])
            assert state["bolt"] == "locked"
            await given_time(120)
            gone = (await Overview(house).status()).locks[0]
            assert (gone.bolt, gone.door) == ("unknown", "unknown")
            assert gone.observed_age_ms is not None
            assert gone.observed_age_ms > 120_000
            assert not gone.ready
            await given_time(1)
            shown = json.loads(world.broker.retained[world.topics.lock_state(world.home.lock_id)])
            assert (shown["bolt"], shown["door"]) == ("unknown", "unknown")
            assert shown["age_s"] >= 120

    run_virtual(story())


def test_a_broker_that_was_away_is_told_how_old_the_state_of_the_door_is_by_now(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 45)
        async with world.gateway():
            await world.settled()
            world.radio.set_reachable(False)
            world.broker.stop()
            await given_time(60)
            world.broker.start()
            await given_time(30)
            state = json.loads(world.broker.retained[world.topics.lock_state(world.home.lock_id)])
            assert (state["bolt"], state["age_s"] >= 60) == ("locked", True)

    run_virtual(story())


def test_the_state_of_a_quiet_door_within_reach_stays_known_at_the_broker(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 44)
        async with world.gateway():
            await world.settled()
            for _ in range(10):
                await given_time(100)
                state = json.loads(world.broker.retained[world.topics.lock_state(world.home.lock_id)])
                assert (state["bolt"], state["door"]) == ("locked", "closed")

    run_virtual(story())


def test_a_copied_card_makes_the_true_gateway_suspect(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 41)
        async with world.gateway():
            await world.settled()
            old_card = world.store_path.read_bytes()
            for _ in range(2):  # another holder of the key talks to the lock, two blocks of sessions on
                await world.kill_gateway()
                await world.start_gateway()
                await world.settled()
            await world.kill_gateway()
            world.store_path.write_bytes(old_card)
            house = await world.start_gateway()
            await given_time(30)
            assert house.statements.tier() is Tier.SUSPECT
            assert not house.links[world.home.lock_id].ready
            await world.kill_gateway()

    run_virtual(story())


def test_suspicion_outlives_restarts_and_ends_with_a_pairing_order_of_a_higher_epoch(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 45)
        await world.pair()
        house = await world.start_gateway()
        await world.settled()
        await house.base.suspicion.enter("link.clone_suspect", world.home.lock_id)
        await world.kill_gateway()
        restarted = await world.start_gateway()
        assert restarted.statements.tier() is Tier.SUSPECT
        await world.settled()
        assert (await world.visit(world.carer())).final is Code.TIER
        responder = world.carer("rita", offline_class=OfflineClass.RESPONDER)
        assert (await world.visit(responder)).final is Code.DONE
        assert (await world.unlock_together())[-1].code is Code.DONE
        await world.kill_gateway()
        with pytest.raises(ProvisioningError, match="hand it over with pair"):
            await world.provision(owner_epoch=2)  # an order on our own disk shuts nobody out of the lock
        restarted = await world.start_gateway()
        assert restarted.statements.tier() is Tier.SUSPECT
        await world.kill_gateway()
        await world.pair(world.papers(owner_epoch=2))
        restarted = await world.start_gateway()
        assert restarted.statements.tier() is not Tier.SUSPECT
        await world.kill_gateway()

    run_virtual(story())


def test_in_a_new_home_without_internet_the_installer_tries_the_door_for_an_hour(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 46)
        world.disconnect_central()
        async with world.gateway() as house:
            await until_ready(world)
            assert house.statements.tier() is Tier.COLD
            installer = world.office.installer(world.home, "ivar", now_s=NOW_S)
            assert (await world.visit(installer)).final is Code.DONE
            assert (await world.visit(world.carer())).final is Code.TIER
            await given_time(3_600)
            world.relock()
            assert (await world.visit(installer)).final is Code.TIER

    run_virtual(story())


def test_attack_a_reboot_of_the_machine_renews_no_installers_hour(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 47)
        world.disconnect_central()
        async with world.gateway():
            await world.kill_gateway()
            world.machine_boot = "the next boot"
            await world.start_gateway()
            await until_ready(world)
            installer = world.office.installer(world.home, "ivar", now_s=NOW_S)
            assert (await world.visit(installer)).final is Code.TIER

    run_virtual(story())


def test_a_door_of_another_gateway_in_the_store_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 42)
        await world.provision()
        elsewhere = world.office.home("home-2")
        await world.plant_door(world.office.door(elsewhere))
        with pytest.raises(RemoteProtocolError) as refused:
            await world.start_gateway()
        assert refused.value.code is Code.WRONG_AUDIENCE

    run_virtual(story())


def test_the_renewal_of_a_session_waits_for_the_phone_that_is_at_the_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever moment of a visit the renewal falls due at, the carer hears how it went, or is told at once to wait."""
    monkeypatch.setattr(link_session, "SESSION_AGE_MS_MAX", 30_000)  # a minute after the start its age is looked at

    async def visit_at(moment_s: float) -> Code | None:
        world = MemoryWorld(tmp_path, int(moment_s * 1_000))
        async with world.gateway() as house:
            await house.links[world.home.lock_id].wait_ready()
            await asyncio.sleep(moment_s)
            return (await world.visit(world.carer(offline_class=OfflineClass.RESPONDER))).final

    ends = [run_virtual(visit_at(59.9 + step * 0.01)) for step in range(16)]
    assert set(ends) == {Code.DONE, None}
    assert ends[0] is Code.DONE
    assert ends[-1] is None, "no visit met the renewal"
