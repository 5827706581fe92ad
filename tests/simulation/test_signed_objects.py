"""Signed objects as they come in from the broker and stay in the store: what is taken, kept, and refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from firmware_protocol.chains import make_bundle, parse_bundle
from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.merkle import Frontier
from firmware_protocol.vocabulary import Role, Tier
from gatewayd.store import renewal
from gatewayd.store import trust as trust_rows
from tests.support.memory_world import NOW_S, PROVIDER, MemoryWorld
from tests.support.virtual_loop import run_virtual
from tests.support.waits import given_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatewayd.store.store import Transaction


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
