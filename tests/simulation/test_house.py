"""What comes in over the broker, what a failing disk does, and how the house shows itself."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
import structlog

from firmware_protocol import link_session
from firmware_protocol.chains import make_bundle, parse_bundle
from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.merkle import Frontier
from firmware_protocol.relay import AnswerKind
from firmware_protocol.vocabulary import Action, OfflineClass, Role, Tier
from gatewayd.overview import Overview
from gatewayd.provisioning.papers import ProvisioningError
from gatewayd.store import renewal
from gatewayd.store import trust as trust_rows
from simulator.office import unlock_over_mqtt
from tests.support.faulty_disk import FaultyDisk
from tests.support.life_world import LifeWorld
from tests.support.memory_world import NOW_S, PROVIDER, MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from firmware_protocol.statements import CommandReceipt
    from gatewayd.store.store import Transaction


async def given_time(seconds: float = 2) -> None:
    await asyncio.sleep(seconds)


async def until_ready(world: MemoryWorld) -> None:
    """Wait for the lock alone, where there is no central log to wait for."""
    async with asyncio.timeout(300):
        while world.house is None or not all(link.ready for link in world.house.links.values()):
            await asyncio.sleep(0.1)


# Signed objects.


def test_a_revocation_over_the_broker_stops_a_phone_and_survives_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 20)
        async with world.gateway():
            await world.settled()
            carer = world.carer()
            kid = kid_of(bytes(carer.key.verify_key))
            revoking = world.office.state(world.home, now_s=world.utc_s(), seq=2, revoked_kids=(kid,))
            world.send(world.topics.authority_state, revoking, retain=True)
            await given_time()
            assert (await world.visit(carer)).final is Code.REVOKED
            await world.kill_gateway()
            await world.start_gateway()
            await world.settled()
            assert (await world.visit(carer)).final is Code.REVOKED
            assert (await world.visit(world.carer("bo"))).final is Code.DONE

    run_virtual(story())


def test_a_frozen_broker_cannot_bring_an_older_state_back(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 21)
        async with world.gateway() as house:
            await world.settled()
            older = world.office.state(world.home, now_s=NOW_S, seq=1)
            newer = world.office.state(world.home, now_s=world.utc_s(), seq=5)
            for raw in (newer, older):
                world.send(world.topics.authority_state, raw)
                await given_time()
            assert house.base.trust.state is not None
            assert house.base.trust.state.seq == 5

    run_virtual(story())


def test_a_state_that_claims_a_time_beyond_the_trusted_interval_raises_an_alert_and_moves_no_clock(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 22)
        async with world.gateway() as house:
            await world.settled()
            ahead = world.office.state(world.home, now_s=world.utc_s() + 86_400, seq=2)
            world.send(world.topics.authority_state, ahead)
            await given_time()
            assert house.base.timekeeper.interval().hi_s == pytest.approx(world.utc_s(), abs=5)
            await world.settled()
            assert "time.contradicted" in world.codes("carelock.alert.raised")

    run_virtual(story())


def test_a_new_keyset_is_taken_and_another_roots_one_is_not(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 23)
        async with world.gateway() as house:
            await world.settled()
            stranger = type(world.office)(b"another office")
            world.send(world.topics.authority_keyset, stranger.keyset(now_s=NOW_S, version=9))
            world.send(world.topics.authority_keyset, world.office.keyset(now_s=NOW_S, version=3))
            world.send(world.topics.authority_keyset, world.office.keyset(now_s=NOW_S, version=2))
            await given_time()
            assert house.base.trust.keyset is not None
            assert house.base.trust.keyset.version == 3

    run_virtual(story())


def test_a_cached_grant_and_authority_let_a_bare_command_in(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 24)
        async with world.gateway() as house:
            await world.settled()
            carer = world.carer()
            assert carer.authority is not None

            def bare(challenge: bytes) -> bytes:
                return make_bundle(parse_bundle(world.unlock_bundle(carer, challenge))[0])

            assert (await world.visit_with(bare)).denied
            world.send(world.topics.authority_provider(PROVIDER), carer.authority)
            world.send(world.topics.authority_grant("anna"), carer.grant)
            await given_time()
            assert house.base.trust.grant_count == 1
            assert (await world.visit_with(bare)).final is Code.DONE

    run_virtual(story())


def test_what_a_bundle_brought_lets_its_holder_in_later_without_it(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 48)
        async with world.gateway() as house:
            await world.settled()
            carer = world.carer()

            def bare(challenge: bytes) -> bytes:
                return make_bundle(parse_bundle(world.unlock_bundle(carer, challenge))[0])

            assert (await world.visit(carer)).final is Code.DONE
            world.relock()
            await world.kill_gateway()
            await world.start_gateway()
            await world.settled()
            assert (await world.visit_with(bare)).final is Code.DONE
            kid = kid_of(bytes(world.office.signing_key(f"provider-{PROVIDER}").verify_key))
            assert world.house is not None
            assert world.house is not house
            assert world.house.base.trust.known().find_authority(kid) == carer.authority

    run_virtual(story())


def test_a_refused_bundle_leaves_nothing_behind(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 49)
        async with world.gateway() as house:
            await world.settled()
            assert (await world.visit(world.carer(windows=()))).final is Code.OUTSIDE_WINDOW
            assert await house.base.seams.store.run(trust_rows.count_grants) == 0

    run_virtual(story())


def test_a_new_status_key_forgets_no_lock_and_lifts_no_denial_at_the_next_start(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 50)
        async with world.gateway() as house:
            await world.settled()
            carer = world.carer()
            kid = kid_of(bytes(carer.key.verify_key))
            revoking = world.office.state(world.home, now_s=world.utc_s(), seq=2, revoked_kids=(kid,))
            await house.base.trust.take_state(revoking)
            world.office.role_keys[Role.STATUS] = world.office.signing_key("the new status key")
            await house.base.trust.take_keyset(world.office.keyset(now_s=NOW_S, version=2))
            assert house.statements.tier() is Tier.STALE
            await world.kill_gateway()
            restarted = await world.start_gateway()
            await world.settled()
            assert restarted.statements.tier() is Tier.STALE
            assert (await world.visit(carer)).final is Code.REVOKED
            assert (await world.visit(world.carer("bo"))).final is Code.DONE
            newest = world.office.state(world.home, now_s=world.utc_s(), seq=1, keyset_version=2)
            await restarted.base.trust.take_state(newest)
            assert restarted.statements.tier() is Tier.FRESH

    run_virtual(story())


def test_a_repaired_store_is_stale_until_a_new_state_has_come(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 57)
        async with world.gateway() as house:
            await world.settled()
            await house.base.seams.store.run(lambda tx: renewal.note_doubt(tx, "journal.forked"))
            await world.kill_gateway()
            restarted = await world.start_gateway()
            await world.settled()
            assert restarted.statements.tier() is Tier.STALE
            await world.kill_gateway()
            again = await world.start_gateway()  # the doubt is as durable as the damage was
            await world.settled()
            assert again.statements.tier() is Tier.STALE
            held = await again.base.seams.store.run(trust_rows.load_authority_state)
            assert held is not None
            await again.base.trust.take_state(held)  # Attack: the state before the one that was lost, again
            assert again.statements.tier() is Tier.STALE
            await again.base.trust.take_state(world.office.state(world.home, now_s=world.utc_s(), seq=2))
            assert again.statements.tier() is Tier.FRESH
            await world.kill_gateway()
            last = await world.start_gateway()
            await world.settled()
            assert last.statements.tier() is Tier.FRESH

    run_virtual(story())


def roll_back(tx: Transaction) -> None:
    """Let the journal be shorter than what our own checkpoint says of it."""
    tx.execute("DELETE FROM entries")
    tx.execute(
        "UPDATE gateway SET log_size = 0, sent = 0, received = 0, oldest = 0, frontier = ?",
        (Frontier.empty().to_bytes(),),
    )


@pytest.mark.parametrize(
    "spoil", [lambda tx: renewal.note_doubt(tx, "journal.forked"), roll_back], ids=["noted", "seen"]
)
def test_a_store_that_cannot_be_repaired_yet_is_doubted_all_the_same(
    tmp_path: Path, spoil: Callable[[Transaction], None]
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 58)
        async with world.gateway() as house:
            await world.settled()
            assert house.base.trust.fresh_state is not None
            await house.base.seams.store.run(spoil)
            world.disk.mount_read_only()
            await world.kill_gateway()
            restarted = await world.start_gateway()
            assert not restarted.base.start.recorded
            assert restarted.base.trust.state is not None
            assert restarted.base.trust.fresh_state is None
            world.disk.mend()

    run_virtual(story())


def test_a_stolen_status_key_that_burns_the_counter_is_refused_with_one_alarm(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 51)
        async with world.gateway() as house:
            await world.settled()
            for seq, version in ((2**53 - 1, 1), (1, 2**53 - 1)):
                burning = world.office.state(world.home, now_s=world.utc_s(), seq=seq, keyset_version=version)
                for _ in range(3):
                    world.send(world.topics.authority_state, burning)
                    await given_time()
            assert house.base.trust.state is not None
            assert house.base.trust.state.seq == 1
            await world.settled()
            assert world.codes("carelock.alert.raised") == ["authority.leap", "authority.leap"]

    run_virtual(story())


def test_grants_for_unknown_locks_and_more_than_a_share_disturb_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust_rows, "GRANT_COUNT_PER_ISSUER_MAX", 5)

    async def story() -> None:
        world = MemoryWorld(tmp_path, 52)
        async with world.gateway() as house:
            await world.settled()
            trust = house.base.trust
            elsewhere = world.office.home("home-2")
            strange = world.office.grant(elsewhere, PROVIDER, "anna", now_s=world.utc_s())
            with pytest.raises(RemoteProtocolError) as refused:
                await trust.take_grant(strange)
            assert refused.value.code is Code.WRONG_AUDIENCE
            for number in range(5):
                await trust.take_grant(
                    world.office.grant(world.home, PROVIDER, "anna", now_s=world.utc_s(), number=number)
                )
            with pytest.raises(RemoteProtocolError) as full:
                await trust.take_grant(world.office.grant(world.home, PROVIDER, "anna", now_s=world.utc_s(), number=9))
            assert full.value.code is Code.RATE_LIMITED
            assert trust.grant_count == 5
            assert (await world.visit(world.carer("bo"))).final is Code.DONE

    run_virtual(story())


def test_an_authority_that_is_dated_ahead_is_not_held(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 53)
        async with world.gateway() as house:
            await world.settled()
            with pytest.raises(RemoteProtocolError) as refused:
                await house.base.trust.take_authority(
                    world.office.authority(world.home, PROVIDER, now_s=world.utc_s() + 86_400)
                )
            assert refused.value.code is Code.NOT_YET_VALID

    run_virtual(story())


def test_an_older_authority_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 25)
        async with world.gateway() as house:
            await world.settled()
            kid = kid_of(bytes(world.office.signing_key(f"provider-{PROVIDER}").verify_key))
            newer = world.office.authority(world.home, PROVIDER, now_s=world.utc_s() + 5)
            older = world.office.authority(world.home, PROVIDER, now_s=NOW_S - 50)
            for raw in (newer, newer, older):
                await house.base.trust.take_authority(raw)
            assert house.base.trust.known().find_authority(kid) == newer

    run_virtual(story())


def test_an_unprovisioned_gateway_knows_nobody(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 26)
        await world.make_store()
        house = await world.start_gateway()
        await given_time()
        assert house.links == {}
        with pytest.raises(RemoteProtocolError) as refused:
            house.base.trust.known()
        assert refused.value.code is Code.UNKNOWN_SIGNER
        assert house.base.trust.receipt_keys == ()
        await world.kill_gateway()

    run_virtual(story())


def test_attack_a_store_filled_by_another_office_does_not_start(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 27)
        await world.provision()
        world.office = type(world.office)(b"another office")
        with pytest.raises(RemoteProtocolError):
            await world.start_gateway()

    run_virtual(story())


# Alarms.


def test_an_alarm_by_the_alarm_role_itself_opens_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 28)
        async with world.gateway():
            await world.settled()
            world.office.role_keys[Role.INTAKE] = world.office.role_keys[Role.ALARM]
            receipts = await world.unlock_from_centre(alarm_ref=await world.raise_alarm())
            assert [receipt.code for receipt in receipts] == [Code.ALARM_NOT_OPEN]

    run_virtual(story())


def test_a_closed_alarm_and_one_of_an_hour_ago_open_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 29)
        async with world.gateway():
            await world.settled()
            alarm_ref = await world.raise_alarm()
            await given_time()
            await world.close_alarm(alarm_ref)
            assert (await world.unlock_from_centre(alarm_ref=alarm_ref))[0].code is Code.ALARM_NOT_OPEN
            second = await world.raise_alarm()
            await given_time(3_590)
            assert (await world.unlock_from_centre(alarm_ref=second))[0].code is Code.PERMITTED
            await given_time(20)
            assert (await world.unlock_from_centre(alarm_ref=second))[0].code is Code.ALARM_NOT_OPEN

    run_virtual(story())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"epoch": bytes(16)}, Code.WRONG_EPOCH, id="of an earlier start"),
        pytest.param({"late_s": -1}, Code.EXPIRED, id="that waited too long"),
        pytest.param({"late_s": 61}, Code.TTL_TOO_LONG, id="for later"),
        pytest.param({"home": "home-2"}, Code.WRONG_AUDIENCE, id="for another home"),
    ],
)
def test_an_alarm_not_of_now_or_not_of_here_is_refused(tmp_path: Path, change: dict[str, object], code: Code) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 30)
        async with world.gateway() as house:
            await world.settled()
            await given_time(5)
            now_s = house.epoch.now_s(world.clock.now().boottime_ms)
            alarm = world.office.alarm(
                world.office.home(str(change.get("home", "home-1"))),
                alarm_ref=bytes(16),
                epoch=change.get("epoch", house.epoch.value),  # type: ignore[arg-type]  # from the table above
                exp_s=now_s + int(change.get("late_s", 30)),  # type: ignore[call-overload]  # from the table above
            )
            with pytest.raises(RemoteProtocolError) as refused:
                await house.alarm_desk.take_alarm(alarm)
            assert refused.value.code is code

    run_virtual(story())


def test_a_reboot_of_the_machine_closes_every_alarm(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 31)
        async with world.gateway():
            await world.settled()
            alarm_ref = await world.raise_alarm()
            await given_time()
            await world.kill_gateway()
            world.machine_boot = "the next boot"
            await world.start_gateway()
            await world.settled()
            assert (await world.unlock_from_centre(alarm_ref=alarm_ref))[0].code is Code.ALARM_NOT_OPEN

    run_virtual(story())


def test_two_operators_are_asked_for_where_no_alarm_is_named(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 32)
        async with world.gateway():
            await world.settled()
            (receipt,) = await world.unlock_from_centre(alarm_ref=None)
            assert receipt.code is Code.SECOND_OPERATOR_NEEDED

    run_virtual(story())


def test_two_operators_open_where_no_alarm_is_open_and_both_are_named(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 43)
        async with world.gateway():
            await world.settled()
            receipts = await world.unlock_together()
            assert [receipt.code for receipt in receipts] == [Code.PERMITTED, Code.DONE]
            await world.settled()
            (decided,) = (
                event["data"]
                for event in world.events()
                if event["type"] == "carelock.command.decided" and event["data"]["code"] == Code.PERMITTED.dotted
            )
            assert (decided["subject"], decided["second_subject"]) == ("olga", "otto")

    run_virtual(story())


# Duress.


def test_under_duress_the_door_opens_as_ever_and_the_centre_hears_of_it(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 44)
        async with world.gateway():
            await world.settled()
            carer = world.carer()
            forced = await world.visit_with(
                lambda challenge: world.unlock_bundle(carer, challenge, action=Action.UNLOCK_UNDER_DURESS)
            )
            world.relock()
            await given_time()
            plain = await world.visit(carer)
            assert [each.code for each in forced.receipts] == [each.code for each in plain.receipts]
            await world.settled()
            (call,) = (event for event in world.events() if event["type"] == "carelock.duress.signalled")
            assert call["priority"]
            assert call["data"]["subject"] == "anna"
            decided = [event["data"] for event in world.events() if event["type"] == "carelock.command.decided"]
            assert [each["action"] for each in decided] == ["unlock", "unlock"]

    run_virtual(story())


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
