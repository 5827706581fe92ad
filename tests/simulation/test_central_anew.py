"""A central log that lost its disk is brought up again from a gateway that has erased a person's words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from firmware_protocol.checkpoint import Checkpoint, cosign, origin_of, sign_checkpoint
from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.erased import ERASED_TYPE, ErasedEntry
from firmware_protocol.lock_log import RecordType
from firmware_protocol.merkle import leaf_hash, root_of
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import Conflict
from firmware_protocol.vocabulary import Role
from gatewayd.control.store_eraser import StoreEraser
from gatewayd.control.store_log import StoreLog
from gatewayd.journal.events import LogErased
from gatewayd.journal.people import look_for
from simulator.central_log import CentralLog, Directory, Now
from simulator.central_people import problems
from simulator.central_store import CentralStore
from simulator.office import Office
from tests.support.memory_world import MemoryWorld
from tests.support.small_journal import SmallJournal, SmallLockLog
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from gatewayd.house import House

PERSON = "anna-of-the-north"
NOW = Now(utc_s=1_800_000_000, monotonic_ms=0)


def anew(world: MemoryWorld) -> CentralStore:
    """Put an empty central log in the place of the one that is there, with the same key."""
    world.central_store = CentralStore()
    world.central = CentralLog(
        store=world.central_store,
        directory=world.central._directory,  # noqa: SLF001 - the same one
        receipt_key=world.office.role_keys[Role.RECEIPT],
        unsealing_key=world.central._unsealing_key,  # noqa: SLF001 - as it was
    )
    return world.central_store


def with_two_visits(
    folder: Path,
    seed: int,
    story: Callable[[MemoryWorld, House], Awaitable[None]],
    *,
    unsealing_key: PrivateKey | None = None,
) -> None:
    async def main_story() -> None:
        world = MemoryWorld(folder, seed, unsealing_key=unsealing_key)
        async with world.gateway() as house:
            await world.settled()
            for person in (PERSON, "bo-of-the-south"):
                visit = await world.visit(world.carer(person))
                assert visit.receipts[-1].code is Code.DONE
                world.relock()
                await world.settled()
            await story(world, house)

    run_virtual(main_story())


async def erase_person(house: House) -> list[int]:
    leaves = await StoreLog(house.base.seams.store).leaves(0, 500, 10**6)
    indexes = sorted(look_for(leaves, PERSON).indexes)
    erased = await StoreEraser(house.base.recorder).erase(indexes)
    assert (erased.count, erased.waiting_count) == (len(indexes), 0)
    return indexes


@pytest.mark.parametrize("key", [None, PrivateKey(bytes(range(32)))], ids=["plain", "sealed"])
def test_an_empty_central_log_gets_the_whole_tree_again_with_hashes_where_words_were_erased(
    tmp_path: Path, key: PrivateKey | None
) -> None:
    async def story(world: MemoryWorld, house: House) -> None:
        indexes = await erase_person(house)
        await world.settled()
        (before,) = world.central_store.logs()
        was = world.central_store.last_lock_record(world.home.lock_id)
        store = anew(world)
        visit = await world.visit(world.carer("cia"))
        assert visit.receipts[-1].code is Code.DONE
        await world.settled()
        (after,) = store.logs()
        assert after.frontier.size > before.frontier.size
        leaves = store.leaves(after.gateway_id, after.log_id)
        assert [index for index, leaf in enumerate(leaves) if not leaf] == indexes
        assert not [leaf for leaf in leaves if PERSON.encode() in leaf]
        assert (problems(store), store.alarms()) == ([], ())
        marks = await house.ledger.marks()
        assert (marks.received, after.frontier.size) == (marks.size, marks.size)
        # The lock's own chain is followed across the holes, to the same hash that the log before had come to.
        assert was is not None
        held = store.lock_record(was.lock_id, was.log_id, was.seq)
        assert held is not None
        assert held.head == was.head

    with_two_visits(tmp_path, 195, story, unsealing_key=key)


def test_attack_entries_that_were_emptied_on_the_card_and_not_erased_are_told(tmp_path: Path) -> None:
    async def story(world: MemoryWorld, house: House) -> None:
        await house.base.seams.store.run(lambda tx: tx.execute("UPDATE entries SET leaf = x'' WHERE idx = 1"))
        store = anew(world)
        await world.visit(world.carer("cia"))
        await world.settled()
        assert [alarm.code for alarm in store.alarms()] == ["entry.withheld"]
        assert problems(store) == [
            f"{store.logs()[0].log_id.hex()}: 1 entries came as hashes, the gateway accounts for 0"
        ]

    with_two_visits(tmp_path, 196, story)


class Forger:
    """A gateway's key in the wrong hands, and a central log that is new."""

    def __init__(self, *, former_keys: tuple[bytes, ...] = ()) -> None:
        office = Office(b"seed")
        self.home = office.home("home-1")
        self.receipt_key = office.role_keys[Role.RECEIPT]
        self.key = self.home.gateway_signing_key
        self.journal = SmallJournal(self.home)
        self.origin = origin_of(self.home.gateway_id.hex(), self.journal.log_id.hex())
        self.store = CentralStore()
        self.log = CentralLog(
            store=self.store,
            directory=Directory(
                gateway_keys={self.home.gateway_id: bytes(self.key.verify_key)},
                lock_log_keys={self.home.lock_id: bytes(self.home.lock_log_key.verify_key)},
                receipt_keys=former_keys,
            ),
            receipt_key=self.receipt_key,
        )
        for _ in range(4):
            self.journal.beat()

    def receipt(self, size: int, *, key: SigningKey | None = None, leaves: Sequence[bytes] | None = None) -> bytes:
        hashes = [leaf_hash(leaf) for leaf in (self.journal.leaves if leaves is None else leaves)[:size]]
        checkpoint = Checkpoint(origin=self.origin, size=size, root=root_of(hashes))
        note = sign_checkpoint(checkpoint, key=self.key, name=self.origin)
        key = self.receipt_key if key is None else key
        return cosign(note, key=key, name=f"carelock/receipt/{kid_of(bytes(key.verify_key)).hex()}", time_s=1)

    def hash_of(
        self, index: int, *, key: SigningKey | None = None, receipt: bytes | None = None, of: int = -1
    ) -> bytes:
        """What stands for entry `index`, as this gateway would send it; `of`: the number that it signs."""
        entry = ErasedEntry(
            origin=self.origin,
            index=index if of < 0 else of,
            leaf_hash=leaf_hash(self.journal.leaves[index]),
            accounted_size=len(self.journal.leaves),
        )
        note = entry.sign(self.key if key is None else key).decode()
        data: dict[str, Any] = {"note": note, "receipt": (self.receipt(4) if receipt is None else receipt).decode()}
        event = {
            "data": data,
            "id": f"{self.journal.log_id.hex()}/{index}",
            "source": f"/gateways/{self.home.gateway_id.hex()}",
            "type": ERASED_TYPE,
        }
        return json.dumps(event).encode()

    def told(self, *entries: bytes) -> list[str]:
        """Hand the entries over and a checkpoint over all; return the alarms."""
        answers = [self.log.take_entry(self.home.gateway_id, entry, NOW) for entry in entries]
        answers.append(self.log.take_checkpoint(self.home.gateway_id, self.journal.checkpoint(), NOW))
        self.answers = [answer for answer in answers if answer is not None]
        return [alarm.code for alarm in self.store.alarms()]

    @property
    def size(self) -> int:
        return sum(held.frontier.size for held in self.store.logs())


def test_a_hash_under_a_receipt_and_accounted_for_is_taken() -> None:
    gateway = Forger()
    shown = gateway.receipt(4)
    gateway.journal.append(LogErased(entry_count=1))
    leaves = gateway.journal.leaves
    assert gateway.told(leaves[0], gateway.hash_of(1, receipt=shown), *leaves[2:]) == []
    assert (gateway.size, problems(gateway.store)) == (5, [])
    assert shown in gateway.store.notes(gateway.store.logs()[0])


def test_a_receipt_by_a_key_that_the_keyset_still_names_is_one_of_ours() -> None:
    former = SigningKey(bytes(range(32)))
    gateway = Forger(former_keys=(bytes(former.verify_key),))
    shown = gateway.receipt(4, key=former)
    gateway.journal.append(LogErased(entry_count=1))
    leaves = gateway.journal.leaves
    assert gateway.told(leaves[0], gateway.hash_of(1, receipt=shown), *leaves[2:]) == []
    assert gateway.size == 5


@pytest.mark.parametrize(
    "forge",
    [
        lambda gateway: gateway.hash_of(1, receipt=gateway.receipt(1)),
        lambda gateway: gateway.hash_of(1, receipt=gateway.receipt(4, key=SigningKey(bytes(32)))),
        lambda gateway: gateway.hash_of(1, key=SigningKey(bytes(32))),
        lambda gateway: gateway.hash_of(1, of=2),
        lambda gateway: gateway.hash_of(1).replace(b'"receipt": "', b'"other": "'),
    ],
    ids=["never received", "a receipt of somebody else", "signed by a broker", "of another entry", "without a receipt"],
)
def test_attack_an_entry_withheld_behind_a_hash_is_told_and_not_signed_for(forge: Callable[[Forger], bytes]) -> None:
    gateway = Forger()
    leaves = gateway.journal.leaves
    assert gateway.told(leaves[0], forge(gateway), *leaves[2:]) == ["entry.withheld"]
    (asked,) = gateway.answers
    again = open_signed(Conflict, asked, bytes(gateway.receipt_key.verify_key))
    assert (gateway.size, again.size) == (0, 1)  # for the words


@pytest.mark.parametrize("at_once", [True, False], ids=["in one stride", "in two"])
def test_attack_a_second_history_told_under_the_receipts_of_the_first_is_a_fork(*, at_once: bool) -> None:
    gateway = Forger()
    shown = gateway.receipt(4)
    gateway.journal.leaves.clear()
    for tier in ("fresh", "stale", "stale", "stale"):
        gateway.journal.beat(tier)
    leaves, replaced = gateway.journal.leaves, gateway.hash_of(1, receipt=shown)
    if not at_once:
        gateway.told(leaves[0], replaced)
        gateway.log.take_checkpoint(gateway.home.gateway_id, gateway.journal.checkpoint(2), NOW)
        assert gateway.size == 2
    assert "log.forked" in gateway.told(leaves[0], replaced, *leaves[2:])
    assert gateway.size == (0 if at_once else 2)


def records_with_one_erased(gateway: Forger, lock: SmallLockLog) -> list[bytes]:
    """Journal a lock's records 1 and 2, erase the second, and return what is sent for all entries until then."""
    first, second = (gateway.journal.append(lock.event(kind)) for kind in (RecordType.BOOT, RecordType.UNLOCKED))
    shown = gateway.receipt(len(gateway.journal.leaves))
    gateway.journal.append(LogErased(entry_count=1))
    sent = list(gateway.journal.leaves)
    place = sent.index(second)
    assert sent[place - 1] == first
    sent[place] = gateway.hash_of(place, receipt=shown)
    return sent


def test_a_locks_chain_goes_on_behind_a_record_that_was_erased_and_meets_the_head_that_it_signed() -> None:
    gateway = Forger()
    lock = SmallLockLog(gateway.home)
    sent = records_with_one_erased(gateway, lock)
    # The lock may sign its head, twice, before it writes anything more.
    sent += [gateway.journal.append(event) for event in (lock.head(), lock.head(), lock.event(RecordType.DOOR_OPENED))]
    sent.append(gateway.journal.append(lock.head()))
    assert gateway.told(*sent) == []
    last = gateway.store.last_lock_record(gateway.home.lock_id)
    assert last is not None
    assert (last.seq, last.head) == (3, lock.position.head)


def test_attack_one_erased_entry_hides_no_two_records_of_a_lock() -> None:
    gateway = Forger()
    lock = SmallLockLog(gateway.home)
    sent = records_with_one_erased(gateway, lock)
    lock.record(RecordType.UNLOCKED)  # withheld
    sent.append(gateway.journal.append(lock.event(RecordType.DOOR_OPENED)))
    assert gateway.told(*sent) == ["lock.gap"]


def test_attack_one_erased_entry_excuses_no_second_hole_after_it() -> None:
    gateway = Forger()
    lock = SmallLockLog(gateway.home)
    sent = records_with_one_erased(gateway, lock)
    sent.append(gateway.journal.append(lock.event(RecordType.DOOR_OPENED)))
    lock.record(RecordType.UNLOCKED)  # withheld
    sent.append(gateway.journal.append(lock.event(RecordType.DOOR_CLOSED)))
    assert gateway.told(*sent) == ["lock.gap"]


def test_attack_another_record_than_the_erased_one_shows_by_the_head_that_the_lock_signs() -> None:
    gateway = Forger()
    lock = SmallLockLog(gateway.home)
    sent = records_with_one_erased(gateway, lock)
    invented = lock.event(RecordType.DOOR_OPENED).model_copy(update={"previous": "00" * 32})
    sent += [gateway.journal.append(invented), gateway.journal.append(lock.head())]
    assert gateway.told(*sent) == ["lock.altered"]


def test_attack_words_for_which_only_a_hash_is_held_do_not_come_back() -> None:
    gateway = Forger()
    shown = gateway.receipt(4)
    gateway.journal.append(LogErased(entry_count=1))
    leaves = gateway.journal.leaves
    gateway.told(leaves[0], gateway.hash_of(1, receipt=shown), *leaves[2:])
    assert gateway.told(*leaves) == []
    held = gateway.store.logs()[0]
    assert gateway.store.leaf(held.gateway_id, held.log_id, 1) == b""
