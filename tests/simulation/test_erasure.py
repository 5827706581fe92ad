"""A person's data erased at the gateway and at the central log: the words are gone, and both logs still verify."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Role
from gatewayd.control.store_eraser import StoreEraser
from gatewayd.control.store_log import StoreLog
from gatewayd.journal.people import look_for
from gatewayd.journal.verification import Keys, verify_log
from gatewayd.store.log import read_log
from simulator.central_log import CentralLog
from simulator.central_people import erase, main, problems
from simulator.central_store import CentralStore
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gatewayd.house import House


class WrittenWorld(MemoryWorld):
    """A world whose central log is a file."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self.central_path = folder / "central.sqlite"
        self.central_store = CentralStore(self.central_path)
        self.central = CentralLog(
            store=self.central_store,
            directory=self.central._directory,  # noqa: SLF001 - the same one
            receipt_key=self.office.role_keys[Role.RECEIPT],
        )

    def central_bytes(self) -> bytes:
        files = self.central_path.parent.glob(f"{self.central_path.name}*")
        return b"".join(file.read_bytes() for file in files)


def after_two_visits(folder: Path, seed: int, story: Callable[[WrittenWorld, House], Awaitable[None]]) -> None:
    async def main_story() -> None:
        world = WrittenWorld(folder, seed)
        async with world.gateway() as house:
            await world.settled()
            for person in ("anna-of-the-north", "bo-of-the-south"):
                visit = await world.visit(world.carer(person))
                assert visit.receipts[-1].code is Code.DONE
                world.relock()
                await world.settled()
            await story(world, house)
        world.central_store.close()

    run_virtual(main_story())


def test_what_is_erased_at_both_ends_is_gone_from_both_and_both_still_verify(tmp_path: Path) -> None:
    async def story(world: WrittenWorld, house: House) -> None:
        (before,) = world.central_store.logs()
        leaves = await StoreLog(house.base.seams.store).leaves(0, 500, 10**6)
        indexes = look_for(leaves, "anna-of-the-north").indexes
        erased = await StoreEraser(house.base.recorder).erase(sorted(indexes))
        assert (erased.count, erased.waiting_count) == (len(indexes), 0)
        await world.settled()  # the central log reads that something was erased, and no name
        assert b"anna-of-the-north" in world.central_bytes()

        assert erase(world.central_store, "anna-of-the-north", utc_s=world.utc_s()) == len(indexes)
        assert b"anna-of-the-north" not in world.central_bytes()
        assert b"bo-of-the-south" in world.central_bytes()
        assert problems(world.central_store) == []
        (after,) = world.central_store.logs()
        assert after.frontier.size > before.frontier.size
        assert erase(world.central_store, "anna-of-the-north", utc_s=world.utc_s()) == 0

        # Both ends go on: what happens now is received over the tree with the holes in it.
        visit = await world.visit(world.carer("cia"))
        assert visit.receipts[-1].code is Code.DONE
        await world.settled()
        assert (problems(world.central_store), world.central_store.alarms()) == ([], ())
        await world.stop_gateway()
        keys = Keys(
            gateway=bytes(world.home.gateway_signing_key.verify_key),
            receipt=[bytes(world.office.role_keys[Role.RECEIPT].verify_key)],
        )
        result = verify_log(read_log(world.store_path), keys=keys)
        assert (result.problems, result.erased_count) == ((), len(indexes))
        # Her grant is still good for hours, and goes when it is not; the journal says nothing of her.
        assert not [copy for copy in read_log(world.store_path).leaves if b"anna-of-the-north" in copy.leaf]

    after_two_visits(tmp_path, 95, story)


def test_attack_words_that_were_erased_do_not_come_back_over_the_broker(tmp_path: Path) -> None:
    async def story(world: WrittenWorld, _house: House) -> None:
        (held,) = world.central_store.logs()
        kept = world.central_store.leaves(held.gateway_id, held.log_id)  # by a broker that forgets nothing
        erase(world.central_store, "anna-of-the-north", utc_s=world.utc_s())
        for leaf in kept:
            world.central.take_entry(held.gateway_id, leaf, world.central_now())
        assert b"anna-of-the-north" not in world.central_bytes()
        assert (problems(world.central_store), world.central_store.alarms()) == ([], ())

    after_two_visits(tmp_path, 96, story)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE entries SET leaf = x'' WHERE number = 1", "1 entries are empty, 0 were erased"),
        ("UPDATE entries SET leaf = x'7b7d' WHERE number = 1", "entry 1 is not what was received"),
        ("DELETE FROM entries WHERE number > 3", "4 entries do not make the tree of"),
        ("UPDATE entries SET leaf = x'', hashed = zeroblob(32) WHERE number = 0", "is over others"),
    ],
    ids=["emptied", "altered", "cut", "another hash"],
)
def test_attack_a_central_log_that_somebody_else_has_emptied_is_told(tmp_path: Path, damage: str, told: str) -> None:
    async def story(world: WrittenWorld, _house: House) -> None:
        with world.central_store.transaction() as sql:
            sql.execute(damage)
        assert any(told in problem for problem in problems(world.central_store))

    after_two_visits(tmp_path, 97, story)


def test_the_command_erases_and_checks_beside_a_log_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story(world: WrittenWorld, _house: House) -> None:
        capsys.readouterr()
        command = ["--store", str(world.central_path), "--subject", "anna-of-the-north"]
        assert main(command) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["erased"] > 0
        assert told["problems"] == []
        await world.visit(world.carer("cia"))
        await world.settled()
        assert problems(world.central_store) == []

    after_two_visits(tmp_path, 98, story)
