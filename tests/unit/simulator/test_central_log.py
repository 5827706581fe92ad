from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.checkpoint import cosign, verify_cosignature
from firmware_protocol.cose import kid_of
from firmware_protocol.lock_log import RecordType
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import Conflict
from firmware_protocol.vocabulary import Role
from gatewayd.journal.events import GatewayHeartbeat, GatewayStarted
from simulator.central_log import CONFLICT_INTERVAL_MS, GRACE_S, CentralLog, Directory, Now
from simulator.central_store import CentralStore
from simulator.office import Home, Office
from tests.support.small_journal import SmallJournal, SmallLockLog

if TYPE_CHECKING:
    from pathlib import Path

NOW = Now(utc_s=1_800_000_000, monotonic_ms=0)


@dataclass
class Centre:
    """A central log that knows one home, and whatever it said last."""

    office: Office = field(default_factory=lambda: Office(b"seed"))
    store: CentralStore = field(default_factory=CentralStore)

    def __post_init__(self) -> None:
        self.home: Home = self.office.home("home-1")
        self.key = self.office.role_keys[Role.RECEIPT]
        self.next_home: Home = replace(self.office.home("home-2"), lock_log_key=self.home.lock_log_key)
        """Another gateway, to which the lock of the first may move."""
        directory = Directory(
            gateway_keys={
                home.gateway_id: bytes(home.gateway_signing_key.verify_key) for home in (self.home, self.next_home)
            },
            lock_log_keys={self.home.lock_id: bytes(self.home.lock_log_key.verify_key)},
        )
        self.log = CentralLog(store=self.store, directory=directory, receipt_key=self.key)

    def entries(self, *leaves: bytes, now: Now = NOW) -> list[bytes | None]:
        return [self.log.take_entry(self.home.gateway_id, leaf, now) for leaf in leaves]

    def checkpoint(self, note: bytes, now: Now = NOW) -> bytes | None:
        return self.log.take_checkpoint(self.home.gateway_id, note, now)

    def conflict(self, answer: bytes | None) -> Conflict:
        assert answer is not None
        return open_signed(Conflict, answer, bytes(self.key.verify_key))

    @property
    def alarms(self) -> list[str]:
        return [alarm.code for alarm in self.store.alarms()]

    @property
    def size(self) -> int:
        return sum(held.frontier.size for held in self.store.logs())


@pytest.fixture
def centre() -> Centre:
    return Centre()


@pytest.fixture
def journal(centre: Centre) -> SmallJournal:
    journal = SmallJournal(centre.home)
    for _ in range(5):
        journal.beat()
    return journal


def test_a_checkpoint_over_all_entries_is_cosigned(centre: Centre, journal: SmallJournal) -> None:
    assert centre.entries(*journal.leaves) == [None] * 5
    receipt = centre.checkpoint(journal.checkpoint())
    assert receipt is not None
    public = bytes(centre.key.verify_key)
    stated = verify_cosignature(receipt, name=f"carelock/receipt/{kid_of(public).hex()}", public=public)
    assert (stated.checkpoint.size, stated.time_s) == (5, NOW.utc_s)
    assert receipt.startswith(journal.checkpoint())
    assert (centre.size, centre.alarms) == (5, [])


def test_the_same_checkpoint_again_is_cosigned_again(centre: Centre, journal: SmallJournal) -> None:
    centre.entries(*journal.leaves)
    assert centre.checkpoint(journal.checkpoint()) == centre.checkpoint(journal.checkpoint())


def test_an_entry_that_comes_twice_is_held_once(centre: Centre, journal: SmallJournal) -> None:
    centre.entries(*journal.leaves, *journal.leaves)
    centre.checkpoint(journal.checkpoint())
    centre.entries(*journal.leaves)
    assert (centre.size, centre.store.counts()["entries.repeated"], centre.alarms) == (5, 10, [])


def test_entries_above_the_checkpoint_wait_for_the_next(centre: Centre, journal: SmallJournal) -> None:
    centre.entries(*journal.leaves)
    assert centre.checkpoint(journal.checkpoint(3)) is not None
    assert centre.size == 3
    assert centre.checkpoint(journal.checkpoint(5)) is not None
    assert centre.size == 5


def test_a_jump_is_answered_with_how_far_the_log_is_held(centre: Centre, journal: SmallJournal) -> None:
    centre.entries(*journal.leaves[:2])
    conflict = centre.conflict(centre.entries(journal.leaves[3])[0])
    assert (conflict.size, conflict.checkpoint, conflict.gateway_id) == (2, None, centre.home.gateway_id)


def test_a_conflict_carries_the_newest_verified_checkpoint(centre: Centre, journal: SmallJournal) -> None:
    centre.entries(*journal.leaves[:2])
    centre.checkpoint(journal.checkpoint(2))
    conflict = centre.conflict(centre.entries(journal.leaves[4])[0])
    assert (conflict.size, conflict.checkpoint) == (2, journal.checkpoint(2))


@pytest.mark.parametrize(("later_ms", "asked"), [(CONFLICT_INTERVAL_MS - 1, False), (CONFLICT_INTERVAL_MS, True)])
def test_the_same_question_is_asked_at_most_once_a_second(
    centre: Centre, journal: SmallJournal, later_ms: int, *, asked: bool
) -> None:
    assert centre.entries(journal.leaves[3])[0] is not None
    again = centre.entries(journal.leaves[4], now=Now(utc_s=NOW.utc_s, monotonic_ms=later_ms))[0]
    assert (again is not None) is asked


def test_a_checkpoint_beyond_what_is_held_is_answered_with_a_conflict(centre: Centre, journal: SmallJournal) -> None:
    centre.entries(*journal.leaves[:4])
    assert centre.conflict(centre.checkpoint(journal.checkpoint())).size == 4
    assert centre.store.receipts() == ()


def test_after_a_restart_unverified_entries_are_asked_for_again(tmp_path: Path, journal: SmallJournal) -> None:
    before = Centre(store=CentralStore(tmp_path / "central.sqlite"))
    before.entries(*journal.leaves)
    before.checkpoint(journal.checkpoint(2))
    before.store.close()
    after = Centre(store=CentralStore(tmp_path / "central.sqlite"))
    ((gateway_id, greeting),) = after.log.greetings()
    assert (gateway_id, after.conflict(greeting).size) == (after.home.gateway_id, 2)
    after.entries(*journal.leaves[2:])
    assert after.checkpoint(journal.checkpoint()) is not None


def test_attack_a_forged_entry_costs_an_alarm_and_a_resend_but_no_event(centre: Centre, journal: SmallJournal) -> None:
    forger = SmallJournal(centre.home)
    forger.beat("suspect")
    centre.entries(*forger.leaves, *journal.leaves[1:])
    assert centre.conflict(centre.checkpoint(journal.checkpoint())).size == 0
    assert centre.alarms == ["log.inconsistent"]
    centre.entries(*journal.leaves)
    assert centre.checkpoint(journal.checkpoint()) is not None
    assert centre.store.leaves(centre.home.gateway_id, journal.log_id) == tuple(journal.leaves)


def test_attack_a_truncated_log_gets_an_alarm_and_evidence_and_no_receipt(
    centre: Centre, journal: SmallJournal
) -> None:
    centre.entries(*journal.leaves)
    centre.checkpoint(journal.checkpoint())
    conflict = centre.conflict(centre.checkpoint(journal.checkpoint(4)))
    assert (conflict.size, conflict.checkpoint) == (5, journal.checkpoint())
    assert (centre.alarms, len(centre.store.receipts())) == (["log.shrunk"], 1)


def test_attack_a_forked_log_gets_an_alarm_and_no_receipt(centre: Centre, journal: SmallJournal) -> None:
    centre.entries(*journal.leaves)
    centre.checkpoint(journal.checkpoint())
    fork = SmallJournal(centre.home)
    for _ in range(5):
        fork.beat("stale")
    assert centre.conflict(centre.checkpoint(fork.checkpoint())).checkpoint == journal.checkpoint()
    assert (centre.alarms, len(centre.store.receipts())) == (["log.forked"], 1)


def test_attack_an_entry_rewritten_after_its_receipt_raises_an_alarm(centre: Centre, journal: SmallJournal) -> None:
    centre.entries(*journal.leaves)
    centre.checkpoint(journal.checkpoint())
    forger = SmallJournal(centre.home)
    centre.entries(forger.beat("stale"))
    assert centre.alarms == ["entry.contradicted"]
    assert centre.store.leaves(centre.home.gateway_id, journal.log_id) == tuple(journal.leaves)


def test_attack_a_checkpoint_by_another_key_is_not_cosigned(centre: Centre, journal: SmallJournal) -> None:
    centre.entries(*journal.leaves)
    assert centre.checkpoint(journal.checkpoint(key=centre.office.signing_key("mallory"))) is None
    assert (centre.alarms, centre.size) == (["checkpoint.unverified"], 0)


def test_attack_a_checkpoint_on_another_gateways_topic_is_not_cosigned(centre: Centre, journal: SmallJournal) -> None:
    centre.entries(*journal.leaves)
    assert centre.log.take_checkpoint(bytes(8), journal.checkpoint(), NOW) is None
    assert centre.store.receipts() == ()


def test_attack_a_note_that_carries_a_cosignature_already_is_not_cosigned(
    centre: Centre, journal: SmallJournal
) -> None:
    centre.entries(*journal.leaves)
    name = f"carelock/receipt/{kid_of(bytes(centre.key.verify_key)).hex()}"
    assert centre.checkpoint(cosign(journal.checkpoint(), key=centre.key, name=name, time_s=1)) is None
    assert centre.store.receipts() == ()


@pytest.mark.parametrize("noise", [b"", b"{}", b"\xff\x00", b"[" * 5_000, b'{"id":"x/0","source":"/gateways/00"}'])
def test_noise_in_the_place_of_an_entry_raises_an_alarm_and_nothing_else(centre: Centre, noise: bytes) -> None:
    assert centre.entries(noise) == [None]
    assert centre.alarms == ["entry.unreadable"]


def test_noise_in_the_place_of_a_checkpoint_raises_an_alarm_and_nothing_else(centre: Centre) -> None:
    assert centre.checkpoint(b"\xff" * 100) is None
    assert centre.alarms == ["checkpoint.unverified"]


def test_a_second_log_of_one_gateway_raises_an_alarm_and_is_taken(centre: Centre, journal: SmallJournal) -> None:
    centre.entries(*journal.leaves)
    centre.checkpoint(journal.checkpoint())
    other = SmallJournal(centre.home, log_id=bytes(16))
    centre.entries(other.beat())
    assert centre.checkpoint(other.checkpoint()) is not None
    assert centre.alarms == ["log.replaced"]


def journal_of(centre: Centre, *kinds: RecordType) -> tuple[SmallJournal, SmallLockLog]:
    journal, lock = SmallJournal(centre.home), SmallLockLog(centre.home)
    for kind in kinds:
        journal.append(lock.event(kind))
    return journal, lock


def take(centre: Centre, journal: SmallJournal) -> None:
    centre.entries(*journal.leaves)
    assert centre.checkpoint(journal.checkpoint()) is not None


def test_a_locks_records_are_followed_to_the_head_that_it_signed(centre: Centre) -> None:
    journal, lock = journal_of(centre, RecordType.BOOT, RecordType.KNOB_UNLOCKED, RecordType.DOOR_OPENED)
    journal.append(lock.head())
    take(centre, journal)
    last = centre.store.last_lock_record(centre.home.lock_id)
    assert last is not None
    assert (last.seq, last.head, centre.alarms) == (3, lock.position.head, [])
    assert centre.store.signed_lock_seq(centre.home.lock_id, lock.position.log_id) == 3


def test_attack_a_withheld_record_shows(centre: Centre) -> None:
    journal, lock = journal_of(centre, RecordType.BOOT)
    lock.record(RecordType.DOOR_OPENED)
    journal.append(lock.event(RecordType.DOOR_CLOSED))
    take(centre, journal)
    assert centre.alarms == ["lock.gap"]


def test_a_head_may_run_ahead_of_the_records_that_follow_it(centre: Centre) -> None:
    journal, lock = journal_of(centre, RecordType.BOOT)
    ahead = lock.event(RecordType.DOOR_OPENED)
    journal.append(lock.head())
    journal.append(ahead)
    journal.append(lock.head())
    take(centre, journal)
    assert centre.alarms == []


def test_attack_a_withheld_end_of_the_log_shows_by_the_next_signed_head(centre: Centre) -> None:
    journal, lock = journal_of(centre, RecordType.BOOT)
    lock.record(RecordType.DOOR_OPENED)
    journal.append(lock.head())
    take(centre, journal)
    assert centre.alarms == []
    journal.append(lock.head())
    take(centre, journal)
    assert centre.alarms == ["lock.withheld"]


def test_attack_an_altered_record_that_comes_after_the_head_shows(centre: Centre) -> None:
    journal, lock = journal_of(centre, RecordType.BOOT)
    ahead = lock.event(RecordType.DOOR_OPENED)
    journal.append(lock.head(head=bytes(32)))
    journal.append(ahead)
    take(centre, journal)
    assert centre.alarms == ["lock.altered"]


def test_attack_an_altered_record_shows_by_the_signed_head(centre: Centre) -> None:
    journal, lock = journal_of(centre, RecordType.BOOT, RecordType.DOOR_OPENED)
    journal.append(lock.head(head=bytes(32)))
    take(centre, journal)
    assert centre.alarms == ["lock.altered"]


def test_a_record_that_is_journaled_twice_shows(centre: Centre) -> None:
    journal, lock = SmallJournal(centre.home), SmallLockLog(centre.home)
    event = lock.event(RecordType.BOOT)
    journal.append(event)
    journal.append(event)
    take(centre, journal)
    assert centre.alarms == ["lock.repeated"]


def test_another_log_of_the_same_lock_raises_an_alarm_and_is_followed(centre: Centre) -> None:
    journal, _ = journal_of(centre, RecordType.BOOT, RecordType.DOOR_OPENED)
    swapped = SmallLockLog(centre.home, log_id=bytes(16))
    journal.append(swapped.event(RecordType.RESET))
    take(centre, journal)
    last = centre.store.last_lock_record(centre.home.lock_id)
    assert last is not None
    assert (centre.alarms, last.log_id, last.seq) == (["lock.log_restarted"], bytes(16), 1)


def test_attack_a_head_signed_by_another_key_raises_an_alarm(centre: Centre) -> None:
    journal, lock = journal_of(centre, RecordType.BOOT)
    stranger = SmallLockLog(centre.office.home("home-2"))
    stranger.position = lock.position
    journal.append(stranger.head().model_copy(update={"lock_id": centre.home.lock_id}))
    take(centre, journal)
    assert centre.alarms == ["lock.forged"]


def test_a_lock_that_no_door_object_names_raises_an_alarm(centre: Centre) -> None:
    journal = SmallJournal(centre.home)
    journal.append(SmallLockLog(centre.office.home("home-2")).event(RecordType.BOOT))
    take(centre, journal)
    assert centre.alarms == ["lock.unknown"]


def test_a_gateway_that_stays_silent_beyond_what_it_promised_raises_one_alarm(
    centre: Centre, journal: SmallJournal
) -> None:
    journal.append(GatewayStarted(boot=1, version="1", unclean=False, supervision_s=3_600))
    centre.entries(*journal.leaves)
    centre.checkpoint(journal.checkpoint())
    longest_s = 3_600 + 900 + GRACE_S
    for late_s, alarms in ((longest_s, []), (longest_s + 1, ["gateway.silent"]), (longest_s + 9, ["gateway.silent"])):
        centre.log.check_silence(Now(utc_s=NOW.utc_s + late_s, monotonic_ms=0))
        assert centre.alarms == alarms


def test_attack_a_gateway_whose_checkpoints_are_held_back_is_as_silent_as_one_that_is_gone(
    centre: Centre, journal: SmallJournal
) -> None:
    """Whoever owns the broker may replay the last checkpoint for ever: it proves nothing new, and is told by time."""
    centre.entries(*journal.leaves)
    centre.checkpoint(journal.checkpoint())
    late = Now(utc_s=NOW.utc_s + 2 * 6 * 3_600, monotonic_ms=0)
    centre.checkpoint(journal.checkpoint(), late)
    centre.log.check_silence(late)
    assert centre.alarms == ["gateway.silent"]


def test_a_promise_outlives_a_restart_of_the_central_log(tmp_path: Path) -> None:
    centre = Centre(store=CentralStore(tmp_path / "central.sqlite"))
    journal = SmallJournal(centre.home)
    journal.append(GatewayHeartbeat(tier="fresh", state_seq=1, keyset_version=1, supervision_s=60))
    centre.entries(*journal.leaves)
    centre.checkpoint(journal.checkpoint())
    centre.store.close()
    again = Centre(store=CentralStore(tmp_path / "central.sqlite"))
    again.log.check_silence(Now(utc_s=NOW.utc_s + 60 + 15 + GRACE_S + 1, monotonic_ms=0))
    assert again.alarms == ["gateway.silent"]
    again.store.close()


def test_a_decommission_order_explains_one_new_log_of_its_lock_and_no_second_one() -> None:
    centre = Centre()
    order = frozenset({(centre.home.lock_id, 2)})
    centre.log._locks._decommissions = order  # noqa: SLF001 - as its directory would say
    journal = SmallJournal(centre.home)
    alarms = []
    for log_id in (bytes(16), bytes([1]) * 16, bytes([2]) * 16):
        lock_log = SmallLockLog(centre.home, log_id=log_id)
        centre.entries(journal.append(lock_log.event(RecordType.BOOT)))
        centre.checkpoint(journal.checkpoint())
        alarms.append(list(centre.alarms))
    assert alarms == [[], [], ["lock.log_restarted"]]


def take_from(centre: Centre, journal: SmallJournal) -> None:
    gateway_id = journal.home.gateway_id
    for leaf in journal.leaves:
        centre.log.take_entry(gateway_id, leaf, NOW)
    centre.log.take_checkpoint(gateway_id, journal.checkpoint(), NOW)


def test_the_log_of_a_lock_that_is_paired_begins_with_its_owner(centre: Centre) -> None:
    journal, lock = SmallJournal(centre.home), SmallLockLog(centre.home)
    lock.record(RecordType.BOOT)
    for kind in (RecordType.OWNER, RecordType.DOOR_OPENED):
        journal.append(lock.event(kind))
    journal.append(lock.head())
    take(centre, journal)
    assert centre.alarms == []
    assert centre.store.lock_record(centre.home.lock_id, lock.position.log_id, 1) is None
    last = centre.store.last_lock_record(centre.home.lock_id)
    assert last is not None
    assert (last.seq, last.head) == (3, lock.position.head)


def test_what_a_lock_wrote_between_two_homes_is_missed_by_nobody(centre: Centre) -> None:
    journal, lock = journal_of(centre, RecordType.OWNER, RecordType.RELEASED)
    take(centre, journal)
    lock.record(RecordType.BOOT)
    there = SmallJournal(centre.next_home)
    there.append(lock.event(RecordType.OWNER))
    there.append(lock.head())
    take_from(centre, there)
    assert centre.alarms == []


@pytest.mark.parametrize(
    ("kind", "moves"),
    [
        pytest.param(RecordType.DOOR_OPENED, True, id="not at an owner"),
        pytest.param(RecordType.OWNER, False, id="by the gateway that tells the log already"),
    ],
)
def test_attack_a_hole_is_not_hidden_behind_a_move(centre: Centre, kind: RecordType, *, moves: bool) -> None:
    journal, lock = journal_of(centre, RecordType.OWNER)
    take(centre, journal)
    lock.record(RecordType.DOOR_OPENED)
    there = SmallJournal(centre.next_home if moves else centre.home, log_id=bytes(16))
    there.append(lock.event(kind))
    take_from(centre, there)
    assert "lock.gap" in centre.alarms


def test_attack_a_false_beginning_shows_by_the_next_signed_head(centre: Centre) -> None:
    journal, lock = SmallJournal(centre.home), SmallLockLog(centre.home)
    lock.record(RecordType.BOOT)
    journal.append(lock.event(RecordType.OWNER).model_copy(update={"previous": bytes(32).hex()}))
    journal.append(lock.head())
    take(centre, journal)
    assert centre.alarms == ["lock.altered"]


def test_a_spare_unit_may_tell_again_what_the_dead_one_had_told(centre: Centre) -> None:
    journal, lock = SmallJournal(centre.home), SmallLockLog(centre.home)
    events = [lock.event(RecordType.BOOT), lock.event(RecordType.DOOR_OPENED)]
    spare = SmallJournal(centre.home, log_id=bytes(16))
    for event in events:
        journal.append(event)
        spare.append(event)
    spare.append(lock.event(RecordType.DOOR_CLOSED))
    take(centre, journal)
    take_from(centre, spare)
    assert centre.alarms == ["log.replaced"]
    assert centre.store.counts()["lock_records.repeated"] == len(events)


def test_attack_a_spare_unit_tells_it_otherwise(centre: Centre) -> None:
    journal, lock = SmallJournal(centre.home), SmallLockLog(centre.home)
    journal.append(lock.event(RecordType.DOOR_OPENED))
    spare = SmallJournal(centre.home, log_id=bytes(16))
    spare.append(SmallLockLog(centre.home).event(RecordType.DOOR_CLOSED))
    take(centre, journal)
    take_from(centre, spare)
    assert centre.alarms == ["log.replaced", "lock.repeated"]
