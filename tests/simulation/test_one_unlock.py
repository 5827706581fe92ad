"""One whole unlock in the in-memory world: that it works, and that one seed is one trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Bolt, Tier
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path


async def unlock_both_ways(folder: Path, seed: int) -> tuple[str, list[bytes]]:
    world = MemoryWorld(folder, seed)
    async with world.gateway() as house:
        await world.settled()
        assert house.statements.tier() is Tier.FRESH
        visit = await world.visit(world.carer())
        assert [receipt.code for receipt in visit.receipts] == [Code.PERMITTED, Code.DONE]
        assert world.mechanics.bolt is Bolt.UNLOCKED
        world.mechanics.hand_turns_knob()
        receipts = await world.unlock_from_centre(alarm_ref=await world.raise_alarm())
        assert [receipt.code for receipt in receipts] == [Code.PERMITTED, Code.DONE]
        await world.settled()
        return world.digest(), world.command_movements


def test_a_carer_at_the_door_and_an_operator_over_mqtt_both_open(tmp_path: Path) -> None:
    _, movements = run_virtual(unlock_both_ways(tmp_path, 1))
    assert len(movements) == 2


def test_one_seed_gives_the_same_trace_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first = run_virtual(unlock_both_ways(tmp_path / "first", 7))
    second = run_virtual(unlock_both_ways(tmp_path / "second", 7))
    assert first == second


def test_another_seed_gives_another_trace(tmp_path: Path) -> None:
    assert run_virtual(unlock_both_ways(tmp_path, 7))[0] != run_virtual(unlock_both_ways(tmp_path, 8))[0]
