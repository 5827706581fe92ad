"""Explaining a command to the running house: the verdict that it is going to get, and nothing spent on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.vocabulary import OfflineClass, Rights
from gatewayd.explainer import Explainer
from gatewayd.settings import LimitSettings
from simulator.office import unlock_over_mqtt
from tests.support.memory_world import PROVIDER, MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatewayd.control.messages import Explanation
    from simulator.office import Holder


def test_at_the_door_the_explanation_is_the_verdict_and_leaves_challenge_uses_and_budget_as_they_were(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 60, limits=LimitSettings(lock_burst=2))
        async with world.gateway() as house:
            await world.settled()
            carer, explainer, kept = world.carer(use_count_max=1), Explainer(house), list[bytes]()
            seen: list[Explanation] = []
            asked: list[bytes] = []

            def bundle(challenge: bytes) -> bytes:
                asked.append(challenge)
                kept.append(world.unlock_bundle(carer, challenge))
                return kept[-1]

            async def look_on() -> None:
                """Explain what is on its way ten times over, before the daemon has it."""
                while not kept or house.challenges.learned_boottime_ms(world.home.lock_id, asked[0]) is None:
                    await asyncio.sleep(0.0005)
                seen.extend([await explainer.explain(kept[0], None) for _ in range(10)])

            watching = asyncio.create_task(look_on())
            visit = await world.visit_with(bundle)
            await watching
            assert visit.final is Code.DONE
            assert [(each.verdict, each.code, each.channel) for each in seen] == [
                ("permitted", Code.PERMITTED.dotted, "relay")
            ] * 10
            again = await explainer.explain(kept[0], None)
            assert (again.verdict, again.code) == ("repeated", Code.DUPLICATE.dotted)

    run_virtual(story())


def test_explaining_writes_nothing_to_the_disk_and_nothing_into_the_journal(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 61)
        async with world.gateway() as house:
            await world.settled()
            bundle = world.unlock_bundle(world.carer(), bytes(16))
            before = (world.disk.write_count, (await house.ledger.marks()).size)
            for at_s in (None, world.utc_s() + 3_600):
                assert (await Explainer(house).explain(bundle, at_s)).code == Code.CHALLENGE_UNKNOWN.dotted
            assert (world.disk.write_count, (await house.ledger.marks()).size) == before

    run_virtual(story())


def test_at_another_moment_tier_and_times_are_judged_as_of_then(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 62)
        async with world.gateway() as house:
            await world.settled()
            bundle = world.unlock_bundle(world.carer(offline_class=OfflineClass.ONLINE), bytes(16))
            explainer = Explainer(house)
            tomorrow = await explainer.explain(bundle, world.utc_s() + 7 * 3_600)
            codes = {line.check: line.code for line in tomorrow.checks}
            assert (tomorrow.tier, codes["tier"], codes["time"]) == ("stale", Code.TIER.dotted, None)
            over = await explainer.explain(bundle, world.utc_s() + 11 * 3_600)
            assert {line.check: line.code for line in over.checks}["time"] == Code.EXPIRED.dotted

    run_virtual(story())


def _revoked(world: MemoryWorld) -> Holder:
    carer = world.carer("rut")
    state = world.office.state(
        world.home, now_s=world.utc_s(), seq=2, revoked_kids=(kid_of(bytes(carer.key.verify_key)),)
    )
    world.send(world.topics.authority_state, state, retain=True)
    return carer


HOLDERS: dict[str, Callable[[MemoryWorld], Holder]] = {
    "a carer on shift": lambda world: world.carer(),
    "without the right": lambda world: world.carer("bo", rights=Rights.LOCK),
    "outside her visits": lambda world: world.carer("cia", windows=((world.utc_s() + 900, world.utc_s() + 1_800),)),
    "without uses": lambda world: world.carer("dag", use_count_max=0),
    "with a grant of two days": lambda world: world.carer("eva", exp_s=world.utc_s() + 48 * 3_600),
    "with yesterday's grant": lambda world: world.carer(
        "fia", nbf_s=world.utc_s() - 36_000, exp_s=world.utc_s() - 3_600
    ),
    "before her shift": lambda world: world.carer("gun", nbf_s=world.utc_s() + 600),
    "who waits for a newer state": lambda world: world.carer("ida", state_seq_min=9),
    "for another home": lambda world: world.office.carer(
        world.office.home("home-2"), PROVIDER, "jan", now_s=world.utc_s()
    ),
    "whose phone was blocked": _revoked,
    "an operator without an alarm": lambda world: world.office.operator("olga", now_s=world.utc_s()),
}


@pytest.mark.parametrize("who", HOLDERS)
def test_over_mqtt_the_explanation_is_the_verdict(tmp_path: Path, who: str) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 63)
        async with world.gateway() as house:
            await world.settled()
            holder = HOLDERS[who](world)
            await asyncio.sleep(1)
            place = (await world.ask_info()).locks[0]
            bundle = unlock_over_mqtt(
                holder,
                world.home,
                epoch=place.epoch,
                issued_s=place.now_s,
                command_id=world.entropy.token(16),
                now_s=world.utc_s(),
            )
            explained = await Explainer(house).explain(bundle, None)
            world.send(world.topics.command, bundle)
            receipt = await world.next_receipt()
            assert (explained.authenticated, explained.code) == (True, receipt.code.dotted)
            refusing = [line for line in explained.checks if line.result != "passed"]
            assert (refusing[0].code if refusing else Code.PERMITTED.dotted) == receipt.code.dotted

    run_virtual(story())
