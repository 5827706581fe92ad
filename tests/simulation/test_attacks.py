"""Attacks on who may open, each by its name: what the attacker has, what he tries, and that the bolt stays.

The world is real but for radio, broker and clocks. Each story also lets somebody with a right in, so that
a gateway that refuses everybody does not pass.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from firmware_protocol import cose
from firmware_protocol.chains import make_bundle, parse_bundle
from firmware_protocol.checkpoint import cosign
from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.relay import AnswerKind
from firmware_protocol.schema import UINT_MAX
from firmware_protocol.signed import sign
from firmware_protocol.statements import Conflict
from firmware_protocol.tokens import Grant, OperatorGrant
from firmware_protocol.vocabulary import Action, OfflineClass, Rights, Role, Tier
from gatewayd.journal.events import AlertRaised
from gatewayd.journal.receipts import receipt_name
from gatewayd.link.attendance import REFRESH_MS
from gatewayd.lock_ledger import LockLedger
from gatewayd.settings import LimitSettings
from gatewayd.uplink.downlink import Drop
from simulator.office import Office, unlock_over_mqtt, unlock_together
from tests.support.life_world import LifeWorld
from tests.support.memory_world import NOW_S, PROVIDER, MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from nacl.signing import SigningKey

    from firmware_protocol.statements import LockEpoch
    from gatewayd.house import House
    from simulator.office import Holder
    from simulator.phone import Visit

HOUR_S = 3_600
DAY_S = 24 * HOUR_S
YEAR_MS = 365 * DAY_S * 1_000
S_2099 = 4_070_908_800
"""2099-01-01T00:00:00Z."""


def attack(
    folder: Path, seed: int, tell: Callable[[MemoryWorld, House], Coroutine[Any, Any, None]], **world: Any
) -> None:
    """Run a story in a world whose gateway is provisioned, linked, and knows the time."""

    async def story() -> None:
        here = MemoryWorld(folder, seed, **world)
        async with here.gateway() as house:
            await here.settled()
            await tell(here, house)

    run_virtual(story())


async def opens(world: MemoryWorld, holder: Holder) -> None:
    """Let somebody with a right in, and the one who lives there lock again."""
    before = len(world.command_movements)
    assert (await world.visit(holder)).final is Code.DONE
    assert len(world.command_movements) == before + 1
    world.relock()


def is_turned_away(visit: Visit) -> bool:
    """Tell whether a phone heard the plain no: from the gateway, or within a second of another from the lock."""
    return not visit.receipts and (visit.denied or visit.closed is Code.DENIED)


async def over_mqtt(world: MemoryWorld, holder: Holder, *, place: LockEpoch | None = None, **changes: Any) -> bytes:
    """Return a command as its signer would make it now, for an attacker to do with as he likes."""
    place = place or (await world.ask_info()).locks[0]
    chosen: dict[str, Any] = {"epoch": place.epoch, "issued_s": place.now_s} | changes
    return unlock_over_mqtt(holder, world.home, command_id=world.entropy.token(16), now_s=world.utc_s(), **chosen)


async def answer_to(world: MemoryWorld, bundle: bytes) -> Code:
    """Deliver bytes to the gateway and return what their sender is told."""
    world.answers.clear()
    world.send(world.topics.command, bundle)
    async with asyncio.timeout(30):
        while not world.answers:
            await asyncio.sleep(0.01)
    if world.answers[0].kind is AnswerKind.DENIED:
        return Code.DENIED
    return (await world.next_receipt()).code


def signed_again(signed: bytes, kind: type[Grant | OperatorGrant], key: SigningKey, **changes: Any) -> bytes:
    """Return the same object, perhaps with other fields, as somebody else signs it."""
    token = kind.from_bytes(cose.parse(signed, size_max=kind.SIZE_MAX).payload)
    return sign(replace(token, **changes), key)


async def outlive(seconds: float) -> None:
    await asyncio.sleep(seconds)


# Stolen phone.


def test_stolen_phone_is_dead_seconds_after_its_revocation_and_other_phones_are_not(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        stolen = world.carer("anna")
        await opens(world, stolen)
        kid = kid_of(bytes(stolen.key.verify_key))
        world.send(
            world.topics.authority_state,
            world.office.state(world.home, now_s=world.utc_s(), seq=2, revoked_kids=(kid,)),
            retain=True,
        )
        await outlive(2)
        assert (await world.visit(stolen)).final is Code.REVOKED
        assert (await world.visit(world.carer("anna", number=1))).final is Code.REVOKED
        await opens(world, world.carer("bo"))

    attack(tmp_path, 100, tell)


def test_stolen_phone_at_a_home_kept_offline_opens_no_longer_than_its_shift(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        stolen = world.carer("anna", exp_s=world.utc_s() + 2 * HOUR_S)
        world.broker.stop()
        await outlive(2 * HOUR_S - 60)
        await opens(world, stolen)
        await outlive(120)
        assert (await world.visit(stolen)).final is Code.EXPIRED
        await opens(world, world.carer("bo"))

    attack(tmp_path, 101, tell)


def test_stolen_phone_with_next_weeks_grants_opens_a_home_kept_offline_for_no_more_than_a_day(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        issued_s, week = world.utc_s(), range(3)
        shifts = [
            world.carer("anna", now_s=issued_s, nbf_s=issued_s + day * DAY_S, exp_s=issued_s + day * DAY_S + 8 * HOUR_S)
            for day in week
        ]
        world.broker.stop()
        opened = []
        for day in week:
            if day:
                await world.kill_gateway()  # nothing but time goes by
                await outlive(DAY_S - 60)
                house = await world.start_gateway()
                await house.links[world.home.lock_id].wait_ready()
            await outlive(60)
            opened.append((await world.visit(shifts[day])).final is Code.DONE)
            world.relock()
        assert opened == [True, False, False]
        await opens(world, world.carer("bo"))

    attack(tmp_path, 132, tell)


def test_stolen_phone_takes_half_of_a_locks_movements_and_leaves_the_other_half(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        stolen = world.carer("anna")
        for _number in range(3):
            await opens(world, stolen)
        assert (await world.visit(stolen)).final is Code.RATE_LIMITED
        await opens(world, world.carer("bo"))

    attack(tmp_path, 102, tell, limits=LimitSettings(lock_burst=6))


# Former employee, kept offline, who serves NTP on the home's Wi-Fi.


@pytest.mark.parametrize("set_back_ms", [HOUR_S * 1_000, 3 * DAY_S * 1_000, 50 * YEAR_MS])
def test_former_employee_who_serves_ntp_on_the_homes_wifi_cannot_bring_his_last_shift_back(
    tmp_path: Path, set_back_ms: int
) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        former = world.carer("anna", exp_s=world.utc_s() + HOUR_S)
        world.broker.stop()
        await outlive(HOUR_S)
        world.clock.step_utc(-set_back_ms)
        assert (await world.visit(former)).final is Code.EXPIRED
        await world.kill_gateway()
        world.machine_boot = "after he pulled the plug"
        house = await world.start_gateway()
        await house.links[world.home.lock_id].wait_ready()
        assert (await world.visit(former)).final is Code.EXPIRED
        await opens(world, world.carer("bo"))

    attack(tmp_path, 103, tell)


def test_former_employee_who_takes_the_locks_batteries_out_too_meets_a_clock_that_is_not_trusted(
    tmp_path: Path,
) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        former = world.carer("anna", exp_s=world.utc_s() + HOUR_S)
        world.broker.stop()
        await outlive(HOUR_S)
        await world.kill_gateway()
        world.lock.power_cycle()
        world.clock.step_utc(-2 * HOUR_S * 1_000)
        house = await world.start_gateway()
        await house.links[world.home.lock_id].wait_ready()
        assert house.statements.tier() is Tier.COLD
        assert (await world.visit(former)).final is Code.TIER
        await opens(world, world.carer("bo", offline_class=OfflineClass.RESPONDER))

    attack(tmp_path, 104, tell)


# Hostile broker.


def test_hostile_broker_drops_everything_and_the_carer_at_the_door_gets_in(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        world.broker.set_black_hole(True)
        await outlive(300)
        await opens(world, world.carer())

    attack(tmp_path, 105, tell)


@pytest.mark.parametrize("held_s", [31, 300, HOUR_S])
def test_hostile_broker_delays_a_command_past_its_second_and_it_is_dead(tmp_path: Path, held_s: int) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        held = await over_mqtt(world, world.carer(), ttl_s=30)
        await outlive(held_s)
        assert await answer_to(world, held) is Code.EXPIRED
        assert world.command_movements == []
        await opens(world, world.carer("bo"))

    attack(tmp_path, 106, tell)


def test_hostile_broker_delays_a_command_over_a_restart_and_it_is_of_an_earlier_epoch(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        held = await over_mqtt(world, world.carer(), ttl_s=60)
        await world.kill_gateway()
        await world.start_gateway()
        await world.settled()
        assert await answer_to(world, held) is Code.WRONG_EPOCH
        assert world.command_movements == []

    attack(tmp_path, 107, tell)


def test_hostile_broker_reorders_and_an_unlock_does_not_undo_the_later_lock(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        carer = world.carer()
        unlock = await over_mqtt(world, carer, ttl_s=60)
        await outlive(2)
        lock = await over_mqtt(world, carer, ttl_s=60, action=Action.LOCK)
        assert await answer_to(world, lock) is Code.PERMITTED
        await outlive(3)
        before = len(world.command_movements)
        assert await answer_to(world, unlock) is Code.SUPERSEDED
        await outlive(3)
        assert len(world.command_movements) == before

    attack(tmp_path, 108, tell)


def test_hostile_broker_replays_and_the_bolt_moves_once(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        bundle = await over_mqtt(world, world.carer(), ttl_s=60)
        for _number in range(50):
            world.send(world.topics.command, bundle)
        await outlive(5)
        world.relock()
        await outlive(40)
        assert await answer_to(world, bundle) is Code.DONE  # the recorded answer
        await world.kill_gateway()
        await world.start_gateway()
        await world.settled()
        assert await answer_to(world, bundle) is Code.DONE
        assert len(world.command_movements) == 1

    attack(tmp_path, 109, tell)


def test_hostile_broker_injects_objects_of_its_own_making_and_nothing_is_taken(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, house: House) -> None:
        forger, now_s = Office(b"the broker's own"), world.utc_s()
        eve = forger.carer(world.home, PROVIDER, "eve", now_s=now_s)
        place = (await world.ask_info()).locks[0]
        alarm_ref = bytes(16)
        forged = {
            world.topics.authority_keyset: forger.keyset(now_s=now_s, version=99),
            world.topics.authority_state: forger.state(world.home, now_s=now_s, seq=99),
            world.topics.authority_provider(PROVIDER): eve.authority or b"",
            world.topics.authority_grant("eve"): eve.grant,
            world.topics.alarm: forger.alarm(
                world.home, alarm_ref=alarm_ref, epoch=place.epoch, exp_s=place.now_s + 30
            ),
        }
        trust = house.base.trust
        before = (trust.keyset, trust.state, trust.grant_count, trust.authority_count)
        for topic, payload in forged.items():
            world.send(topic, payload, retain=True)
        await outlive(3)
        assert (trust.keyset, trust.state, trust.grant_count, trust.authority_count) == before
        assert await answer_to(world, await over_mqtt(world, eve)) is Code.DENIED
        (receipt,) = await world.unlock_from_centre(alarm_ref=alarm_ref)
        assert receipt.code is Code.ALARM_NOT_OPEN
        assert world.command_movements == []
        await opens(world, world.carer())

    attack(tmp_path, 110, tell)


@pytest.mark.no_cover
def test_hostile_broker_freezes_the_state_and_only_what_needs_the_internet_stops(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, house: House) -> None:
        frozen = world.office.state(world.home, now_s=world.utc_s(), seq=2)
        world.send(world.topics.authority_state, frozen, retain=True)
        for _number in range(8):
            await outlive(HOUR_S)
            world.send(world.topics.authority_state, frozen, retain=True)
        assert house.statements.tier() is Tier.STALE
        assert (await world.visit(world.carer("anna", offline_class=OfflineClass.ONLINE))).final is Code.TIER
        await opens(world, world.carer("bo"))

    attack(tmp_path, 111, tell)


def test_hostile_broker_plays_another_gateways_state_and_our_own_next_one_still_counts(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, house: House) -> None:
        carer = world.carer()
        elsewhere = world.office.home("home-2")
        foreign = world.office.state(elsewhere, now_s=world.utc_s(), seq=60_000)
        world.send(world.topics.authority_state, foreign, retain=True)
        await outlive(2)
        assert house.base.trust.state is not None
        assert house.base.trust.state.seq == 1
        kid = kid_of(bytes(carer.key.verify_key))
        ours = world.office.state(world.home, now_s=world.utc_s(), seq=2, revoked_kids=(kid,))
        world.send(world.topics.authority_state, ours, retain=True)
        await outlive(2)
        assert (await world.visit(carer)).final is Code.REVOKED
        await opens(world, world.carer("bo"))

    attack(tmp_path, 112, tell)


def test_hostile_broker_holds_back_a_revocation_and_plays_it_later_it_is_never_undone_by_an_older_one(
    tmp_path: Path,
) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        carer = world.carer()
        kid = kid_of(bytes(carer.key.verify_key))
        clean = world.office.state(world.home, now_s=world.utc_s(), seq=2)
        revoking = world.office.state(world.home, now_s=world.utc_s(), seq=3, revoked_kids=(kid,))
        world.send(world.topics.authority_state, revoking)
        await outlive(2)
        for _number in range(3):
            world.send(world.topics.authority_state, clean, retain=True)
            await outlive(1)
        await world.kill_gateway()
        await world.start_gateway()
        await world.settled()
        assert (await world.visit(carer)).final is Code.REVOKED

    attack(tmp_path, 113, tell)


# A provider's grant dated 2099.


def test_a_providers_grant_dated_2099_opens_nothing_and_ages_nobody_elses(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, house: House) -> None:
        before = house.base.timekeeper.interval()
        dated = [
            world.carer("anna", now_s=S_2099, nbf_s=S_2099, windows=((NOW_S, S_2099 + DAY_S),)),
            world.carer("anna", nbf_s=world.utc_s() - 60, exp_s=S_2099),
        ]
        assert (await world.visit(dated[0])).final is Code.NOT_YET_VALID
        assert (await world.visit(dated[1])).final is Code.TTL_TOO_LONG
        for number, holder in enumerate(dated):
            world.send(world.topics.authority_grant(f"g{number}"), holder.grant, retain=True)
        await outlive(2)
        after = house.base.timekeeper.interval()
        assert after.lo_ms - before.lo_ms < 60_000
        await opens(world, world.carer("bo"))
        await world.kill_gateway()
        await world.start_gateway()
        await world.settled()
        await opens(world, world.carer("bo"))

    attack(tmp_path, 114, tell)


def test_a_grant_dated_2099_at_a_gateway_without_time_opens_nothing_either(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        world.broker.stop()
        await world.kill_gateway()
        world.lock.power_cycle()
        house = await world.start_gateway()
        await house.links[world.home.lock_id].wait_ready()
        shift = world.carer("anna", now_s=S_2099, nbf_s=S_2099)
        assert (await world.visit(shift)).final is Code.TIER
        await opens(world, world.carer("bo", offline_class=OfflineClass.RESPONDER))

    attack(tmp_path, 115, tell)


# Cloned card.


def test_cloned_card_executes_no_command_that_the_true_gateway_has_executed(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        await world.kill_gateway()
        card = world.store_path.read_bytes()
        await world.start_gateway()
        await world.settled()
        bundle = await over_mqtt(world, world.carer(), ttl_s=60)
        assert await answer_to(world, bundle) is Code.PERMITTED
        await outlive(2)
        world.relock()
        await world.kill_gateway()
        world.store_path.write_bytes(card)
        await world.start_gateway()
        await outlive(10)
        assert await answer_to(world, bundle) is Code.WRONG_EPOCH
        assert len(world.command_movements) == 1

    attack(tmp_path, 116, tell)


def test_cloned_card_brings_back_no_grant_that_was_revoked_since(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        carer = world.carer(offline_class=OfflineClass.RESPONDER)
        await world.kill_gateway()
        card = world.store_path.read_bytes()
        await world.start_gateway()
        await world.settled()
        kid = kid_of(bytes(carer.key.verify_key))
        state = world.office.state(world.home, now_s=world.utc_s(), seq=2, revoked_kids=(kid,))
        world.send(world.topics.authority_state, state, retain=True)
        await outlive(2)
        await world.kill_gateway()
        world.store_path.write_bytes(card)
        await world.start_gateway()  # the broker still has the newest state, retained
        await outlive(10)  # the central log proves the copy: a start with a fresh log is part of it
        assert world.house is not None
        await world.house.links[world.home.lock_id].wait_ready()
        await outlive(5)
        assert (await world.visit(carer)).final is Code.REVOKED

    attack(tmp_path, 117, tell)


# Clock rollback and forward.


@pytest.mark.parametrize("step_ms", [-50 * YEAR_MS, -DAY_S * 1_000, DAY_S * 1_000, 50 * YEAR_MS])
def test_clock_rollback_and_forward_change_no_verdict(tmp_path: Path, step_ms: int) -> None:
    async def tell(world: MemoryWorld, house: House) -> None:
        before = house.base.timekeeper.interval()
        world.clock.step_utc(step_ms)
        assert house.base.timekeeper.interval() == before
        await opens(world, world.carer("anna"))
        late = world.carer("bo", nbf_s=world.utc_s() - 2 * HOUR_S, exp_s=world.utc_s() - HOUR_S)
        assert (await world.visit(late)).final is Code.EXPIRED
        early = world.carer("cia", nbf_s=world.utc_s() + HOUR_S)
        assert (await world.visit(early)).final is Code.NOT_YET_VALID

    attack(tmp_path, 118, tell)


@pytest.mark.parametrize("step_ms", [-HOUR_S * 1_000, 50 * YEAR_MS], ids=["an hour back", "fifty years on"])
def test_a_clock_that_jumps_while_a_command_waits_neither_revives_nor_kills_it(tmp_path: Path, step_ms: int) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        dead = await over_mqtt(world, world.carer("anna"), ttl_s=30)
        alive = await over_mqtt(world, world.carer("bo"), ttl_s=60)
        await outlive(31)
        world.clock.step_utc(step_ms)
        assert await answer_to(world, dead) is Code.EXPIRED
        assert await answer_to(world, alive) is Code.PERMITTED

    attack(tmp_path, 129, tell)


def test_a_machine_that_slept_wakes_with_every_waiting_command_dead(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        waiting = await over_mqtt(world, world.carer(), ttl_s=30)
        world.clock.sleep_machine(31_000)
        assert await answer_to(world, waiting) is Code.EXPIRED
        assert world.command_movements == []

    attack(tmp_path, 119, tell)


# Forced lock-out by replay.


def test_forced_lock_out_by_replay_shuts_nobody_out(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        anna, refused = world.carer("anna"), world.carer("anna", number=1, windows=())
        kept: list[bytes] = []

        def overheard(challenge: bytes) -> bytes:
            kept.append(world.unlock_bundle(refused, challenge))
            return kept[-1]

        assert (await world.visit_with(overheard)).final is Code.OUTSIDE_WINDOW
        for _number in range(20):
            assert (await world.visit_with(lambda _: kept[0])).final is Code.OUTSIDE_WINDOW
            world.send(world.topics.command, kept[0])
        await outlive(2)
        await opens(world, anna)

    attack(tmp_path, 120, tell)


def test_forced_lock_out_by_stale_commands_shuts_nobody_out(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        anna, refused = world.carer("anna"), world.carer("anna", number=1, windows=())
        place = (await world.ask_info()).locks[0]
        hoarded = [await over_mqtt(world, refused, place=place, ttl_s=30) for _number in range(20)]
        await outlive(31)
        for bundle in hoarded:
            assert await answer_to(world, bundle) is Code.EXPIRED
        await opens(world, anna)

    attack(tmp_path, 121, tell)


# Forged conflict answers.


def test_forged_conflict_answers_make_nobody_suspect_and_stop_nothing(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, house: House) -> None:
        log_id, forger = house.base.journal.log_id, Office(b"forger")
        for key in (forger.signing_key("any"), world.office.role_keys[Role.STATUS], world.home.gateway_signing_key):
            for size in (0, 1, 2**52):
                conflict = Conflict(gateway_id=world.home.gateway_id, log_id=log_id, size=size)
                world.send(world.topics.log_receipt, sign(conflict, key))
        # Even the true key's word is no evidence without a checkpoint that we have signed.
        empty = Conflict(gateway_id=world.home.gateway_id, log_id=log_id, size=2**52)
        world.send(world.topics.log_receipt, sign(empty, world.office.role_keys[Role.RECEIPT]))
        forged = Conflict(gateway_id=world.home.gateway_id, log_id=log_id, size=9, checkpoint=b"carelock/9\n9\nAAAA\n")
        world.send(world.topics.log_receipt, sign(forged, world.office.role_keys[Role.RECEIPT]))
        await outlive(30)
        assert house.statements.tier() is Tier.FRESH
        await opens(world, world.carer())
        await world.settled()

    attack(tmp_path, 122, tell)


# Budget starvation of the emergency class.


def test_budget_starvation_of_the_emergency_class_by_carers_and_strangers_fails(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        for person in ("anna", "bo"):
            await opens(world, world.carer(person))
        assert (await world.visit(world.carer("cia"))).final is Code.RATE_LIMITED
        for _number in range(100):
            world.send(world.topics.command, make_bundle(b"nonsense"))
        receipts = await world.unlock_from_centre(alarm_ref=await world.raise_alarm())
        assert [receipt.code for receipt in receipts] == [Code.PERMITTED, Code.DONE]

    attack(tmp_path, 123, tell, limits=LimitSettings(lock_burst=2, provider_burst=2, global_burst=2))


def test_budget_starvation_of_one_operator_by_another_fails(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        for _number in range(5):
            await outlive(1)
            (refused,) = await world.unlock_from_centre(alarm_ref=None, operator="otto")
            assert refused.code is Code.SECOND_OPERATOR_NEEDED
        alarm_ref = await world.raise_alarm()
        for _number in range(2):
            await world.unlock_from_centre(alarm_ref=alarm_ref, operator="otto")
            world.relock()
            await outlive(1)
        (spent,) = await world.unlock_from_centre(alarm_ref=alarm_ref, operator="otto")
        assert spent.code is Code.RATE_LIMITED
        receipts = await world.unlock_from_centre(alarm_ref=alarm_ref, operator="olga")
        assert receipts[-1].code is Code.DONE

    attack(tmp_path, 124, tell, limits=LimitSettings(emergency_burst=2))


# Insider with one signature.


def test_insider_with_one_root_key_names_no_new_keys(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, house: House) -> None:
        (one, *_) = world.office.roots
        for signers in ((one,), (one, one), (one, world.office.role_keys[Role.AUTHORITY])):
            keyset = world.office.keyset(now_s=world.utc_s(), version=2, signers=signers)
            world.send(world.topics.authority_keyset, keyset, retain=True)
            await outlive(1)
            assert house.base.trust.require_keyset().version == 1
        await opens(world, world.carer())

    attack(tmp_path, 125, tell)


def test_insider_operator_alone_without_an_alarm_opens_nothing(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        (receipt,) = await world.unlock_from_centre(alarm_ref=None)
        assert receipt.code is Code.SECOND_OPERATOR_NEEDED
        (receipt,) = await world.unlock_from_centre(alarm_ref=bytes(16))
        assert receipt.code is Code.ALARM_NOT_OPEN
        assert world.command_movements == []

    attack(tmp_path, 126, tell)


@pytest.mark.parametrize("role", [role for role in Role if role not in {Role.ROOT, Role.AUTHORITY, Role.ALARM}])
def test_insider_with_the_key_of_another_role_grants_nothing(tmp_path: Path, role: Role) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        key, carer = world.office.role_keys[role], world.carer()
        operator = world.office.operator("anna", now_s=world.utc_s())
        for wrongly_signed in (
            signed_again(carer.grant, Grant, key),
            signed_again(operator.grant, OperatorGrant, key),
        ):
            holder = type(carer)(key=carer.key, grant=wrongly_signed, authority=None)
            assert is_turned_away(await world.visit(holder))
        assert world.command_movements == []
        await opens(world, carer)

    attack(tmp_path, 127, tell)


def test_insider_provider_grants_more_than_it_was_given_and_the_chain_narrows_it(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        await outlive(2)  # the newer authority counts
        authority = world.office.authority(
            world.home, PROVIDER, now_s=world.utc_s(), rights=Rights.LOCK, offline_class_max=OfflineClass.SHIFT
        )
        carer = world.carer("anna", rights=Rights.UNLOCK | Rights.LOCK | Rights.SERVICE)
        narrowed = type(carer)(key=carer.key, grant=carer.grant, authority=authority)
        assert (await world.visit(narrowed)).final is Code.RIGHTS
        responder = world.carer("bo", offline_class=OfflineClass.RESPONDER)
        widened = type(carer)(key=responder.key, grant=responder.grant, authority=authority)
        assert (await world.visit(widened)).final is Code.RIGHTS
        assert world.command_movements == []

    attack(tmp_path, 128, tell)


def test_insider_provider_presents_its_wider_authority_of_before_and_the_newer_one_counts(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        carer = world.carer("anna")
        await outlive(2)
        narrower = world.office.authority(world.home, PROVIDER, now_s=world.utc_s(), rights=Rights.LOCK)
        world.send(world.topics.authority_provider(PROVIDER), narrower, retain=True)
        await outlive(2)
        assert (await world.visit(carer)).final is Code.RIGHTS  # whatever authority her phone brings along
        assert world.command_movements == []

    attack(tmp_path, 131, tell)


def test_insider_provider_signs_under_another_providers_name_and_nobody_is_blamed_wrongly(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        other = world.office.carer(world.home, "south-care", "eve", now_s=world.utc_s())
        south = world.office.signing_key("provider-south-care")
        forged = signed_again(world.carer("anna").grant, Grant, south, issuer=PROVIDER)
        thief = type(other)(key=world.office.signing_key("device-anna"), grant=forged, authority=other.authority)
        assert is_turned_away(await world.visit(thief))
        assert world.command_movements == []

    attack(tmp_path, 129, tell)


def test_a_grant_of_one_carer_signs_no_command_of_another(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        anna, bo = world.carer("anna"), world.carer("bo")
        borrowed = type(anna)(key=bo.key, grant=anna.grant, authority=anna.authority)
        assert is_turned_away(await world.visit(borrowed))

        def swapped(challenge: bytes) -> bytes:
            command, *_ = parse_bundle(world.unlock_bundle(anna, challenge))
            return make_bundle(command, bo.grant, bo.authority or b"")

        assert is_turned_away(await world.visit_with(swapped))
        assert world.command_movements == []

    attack(tmp_path, 130, tell)


def test_hostile_broker_replays_a_rescue_when_the_first_receipt_has_moved_the_time_by_months(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 92)
        world.disconnect_central()
        await world.provision()
        await asyncio.sleep(60 * DAY_S)  # in a drawer: what it knows of the time is from before
        house = await world.start_gateway()
        await house.links[world.home.lock_id].wait_ready()
        place = (await world.ask_info()).locks[0]
        bundle = unlock_together(
            world.office.operator("olga", now_s=world.utc_s()),
            world.office.operator("otto", now_s=world.utc_s()),
            world.home,
            epoch=place.epoch,
            issued_s=place.now_s,
            command_id=world.entropy.token(16),
            now_s=world.utc_s(),
        )
        assert [receipt.code for receipt in await world.command(bundle)] == [Code.PERMITTED, Code.DONE]
        before_s = house.base.timekeeper.interval().lo_s
        world.connect_central()
        await world.settled(within_s=50)
        assert house.base.timekeeper.interval().lo_s - before_s > 50 * DAY_S
        assert [receipt.code for receipt in await world.command(bundle)] == [Code.DONE]
        await world.settled()
        decided = [event for event in world.events() if event["type"] == "carelock.command.decided"]
        assert len(decided) == 1
        await world.kill_gateway()

    run_virtual(story())


# The alarm intake's word, and numbers beyond all time.


@pytest.mark.parametrize("order", ["open, close, open again", "close, then the open that it overtook"])
def test_hostile_broker_plays_an_alarms_opening_after_its_end_and_one_operator_still_does_not_suffice(
    tmp_path: Path, order: str
) -> None:
    async def tell(world: MemoryWorld, house: House) -> None:
        place, alarm_ref = (await world.ask_info()).locks[0], world.entropy.token(16)
        options: dict[str, Any] = {"alarm_ref": alarm_ref, "epoch": place.epoch, "exp_s": place.now_s + 60}
        opening = world.office.alarm(world.home, **options)
        closing = world.office.alarm(world.home, **options, opens=False)
        for word in (opening, closing, opening) if order.startswith("open") else (closing, opening):
            world.send(world.topics.alarm, word)
            await asyncio.sleep(1)
        receipts = await world.unlock_from_centre(alarm_ref=alarm_ref)
        assert [receipt.code for receipt in receipts] == [Code.ALARM_NOT_OPEN]
        assert house.downlink.dropped[Drop.REFUSED] == 1
        another = await world.raise_alarm()
        await asyncio.sleep(1)
        assert [each.code for each in await world.unlock_from_centre(alarm_ref=another)] == [Code.PERMITTED, Code.DONE]

    attack(tmp_path, 90, tell)


def test_thief_of_the_status_key_dates_a_state_at_the_end_of_numbers_and_the_daemon_lives(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 91)
        world.disconnect_central()
        async with world.gateway() as house:
            await house.links[world.home.lock_id].wait_ready()
            await house.base.trust.take_state(world.office.state(world.home, now_s=UINT_MAX - 48 * HOUR_S, seq=2))
            responder = world.carer("rita", offline_class=OfflineClass.RESPONDER)
            assert (await world.visit(responder)).final is Code.DONE
            assert house.statements.tier() is Tier.COLD

    run_virtual(story())


def test_thief_of_the_status_key_moves_no_locks_time_past_a_gateway_that_knows_better(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 93)
        await world.pair()
        house = await world.start_gateway()
        await world.settled()
        trust = house.base.trust
        await trust.take_state(world.office.state(world.home, now_s=world.utc_s() + 20 * 365 * DAY_S, seq=2))
        await asyncio.sleep(3 * REFRESH_MS / 1_000)
        assert world.lock.flash.values.time_floor_s < world.utc_s()
        honest = world.office.state(world.home, now_s=world.utc_s(), seq=3)
        await trust.take_state(honest)
        await asyncio.sleep(3 * REFRESH_MS / 1_000)
        assert world.lock.flash.values.state == honest
        await world.kill_gateway()

    run_virtual(story())


def test_thief_of_the_receipt_key_moves_no_locks_time_past_a_gateway_that_knows_better(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 94)
        async with world.gateway() as house:
            await world.settled()
            base, key = house.base, world.office.role_keys[Role.RECEIPT]
            handed = LockLedger(store=base.seams.store, recorder=base.recorder)
            assert await handed.newest_receipt() is not None
            world.disconnect_central()
            await base.recorder.record(AlertRaised(code="store.low", detail="something to sign for"))
            note = await house.ledger.checkpoint()
            assert note is not None
            name, ahead_s = receipt_name(bytes(key.verify_key)), world.utc_s() + 20 * 365 * DAY_S
            world.send(world.topics.log_receipt, cosign(note, key=key, name=name, time_s=ahead_s))
            await asyncio.sleep(1)
            marks = await house.ledger.marks()
            assert marks.size - marks.received <= 1, "it counts, but for what it says of the time"
            assert await handed.newest_receipt() is None

    run_virtual(story())
