"""The lock's log on its way into the journal: nothing is acknowledged before it is durable, nothing is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.lock_log import LogPosition, RecordType, chain, genesis
from firmware_protocol.messages import ErrorRecord, EventNotification, LogAck, LogBatch, LogHeadRecord, LogRead, Message
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import LogHead
from gatewayd.link.log_transfer import READ_GAP_MS, RETRY_MS
from tests.support.link_home import LinkHome, move
from tests.support.scripted_home import ScriptedHome
from tests.support.session_pair import LOG_ID
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from gatewayd.link.ports import LockEntry


def kinds(home: LinkHome) -> list[RecordType]:
    return [entry.record.type for entry in home.ledger.entries]


def entry_of(home: LinkHome, kind: RecordType) -> LockEntry:
    [entry] = [entry for entry in home.ledger.entries if entry.record.type is kind]
    return entry


async def caught_up(home: LinkHome) -> None:
    await home.until(
        lambda: (
            home.ledger.position is not None
            and home.ledger.position.seq == home.flash.last_seq == home.flash.values.copied_seq
        )
    )


def test_every_record_is_held_in_order_with_its_bytes_and_acknowledged() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            await link.execute(move(1))
            home.mechanics.hand_turns_knob()
            await caught_up(home)
            entries = home.ledger.entries
            assert [entry.record.seq for entry in entries] == list(range(1, home.flash.last_seq + 1))
            head = genesis(home.flash.values.log_id)
            for entry in entries:
                head = chain(head, entry.raw)
            assert home.ledger.position is not None
            assert head == home.ledger.position.head == home.flash.head
            assert home.flash.values.received_seq == 0

    run_virtual(story())


def test_a_batch_is_durable_before_it_is_acknowledged() -> None:
    async def story() -> None:
        home = LinkHome()
        copied_at_commit: list[tuple[int, int]] = []
        home.ledger.on_commit = lambda: copied_at_commit.append(
            (len(home.ledger.entries), home.flash.values.copied_seq)
        )
        home.ledger.commit_s = 2  # a card that collects its garbage
        async with home.running():
            for _ in range(5):
                home.mechanics.hand_turns_knob()
                await caught_up(home)
        assert len(copied_at_commit) >= 5
        assert all(copied <= held for held, copied in copied_at_commit)

    run_virtual(story())


def test_a_long_log_comes_in_batches_and_its_head_is_signed_by_the_lock() -> None:
    async def story() -> None:
        home = LinkHome()
        for _ in range(60):
            home.mechanics.hand_turns_knob()
        async with home.running():
            await home.until(lambda: home.ledger.heads)
            assert len(home.ledger.entries) >= 62
            head = open_signed(LogHead, home.ledger.heads[-1], bytes(home.keys.log_key.verify_key))
            assert home.ledger.position is not None
            assert (head.log_id, head.to_seq, head.head) == (
                home.ledger.position.log_id,
                home.ledger.position.seq,
                home.ledger.position.head,
            )

    run_virtual(story())


def test_what_happened_while_the_link_was_down_is_replayed_and_what_happens_now_is_not() -> None:
    async def story() -> None:
        home = LinkHome()
        home.mechanics.hand_turns_knob()
        async with home.running() as link:
            await caught_up(home)
            home.mechanics.door_opens()
            await caught_up(home)
            home.radio.set_reachable(False)
            await home.until(lambda: not link.ready)
            home.mechanics.door_closes()
            home.radio.set_reachable(True)
            await home.until_ready()
            await caught_up(home)
            assert entry_of(home, RecordType.BOOT).replayed
            sessions = [entry for entry in home.ledger.entries if entry.record.type is RecordType.SESSION]
            assert [session.replayed for session in sessions] == [False, False]
            assert entry_of(home, RecordType.KNOB_UNLOCKED).replayed
            assert not entry_of(home, RecordType.DOOR_OPENED).replayed
            assert entry_of(home, RecordType.DOOR_CLOSED).replayed

    run_virtual(story())


def test_an_opening_without_a_command_is_nobodys_and_one_with_a_command_is_its_signers() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            await link.execute(move(1))
            home.mechanics.hand_turns_knob()
            home.mechanics.hand_turns_knob()
            await caught_up(home)
            assert entry_of(home, RecordType.KNOB_UNLOCKED).unattributed
            assert not entry_of(home, RecordType.KNOB_LOCKED).unattributed
            opened = entry_of(home, RecordType.UNLOCKED)
            assert (opened.unattributed, opened.record.cmd_id) == (False, move(1).command_id)

    run_virtual(story())


def test_the_lock_hears_what_the_central_log_has_signed_for_and_never_more_than_is_held() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            await caught_up(home)
            home.ledger.received = 2
            link.note_received()
            await home.until(lambda: home.flash.values.received_seq == 2)
            home.ledger.received = 10_000
            link.note_received()
            await home.until(lambda: home.flash.values.received_seq == home.flash.last_seq)
            assert link.status.connect_count == 1

    run_virtual(story())


def test_a_receipt_costs_no_reading() -> None:
    async def story() -> None:
        home = ScriptedHome()
        async with home.running() as link:
            await asyncio.sleep(1)
            home.lock.heard.clear()
            home.ledger.received = 9
            link.note_received()
            await asyncio.sleep(1)
            assert home.lock.heard == []  # 9 is what the lock has said itself
            home.ledger.position = None

    run_virtual(story())


def test_a_full_disk_leaves_the_log_with_the_lock_until_there_is_room() -> None:
    async def story() -> None:
        home = LinkHome()
        home.ledger.full = True
        async with home.running() as link:
            await asyncio.sleep(3 * RETRY_MS / 1_000)
            assert (home.flash.values.copied_seq, home.ledger.entries) == (0, [])
            assert link.ready
            home.ledger.full = False
            await caught_up(home)
            assert home.ledger.restarts == [LogPosition.start(home.flash.values.log_id)]

    run_virtual(story())


def test_a_batch_that_the_disk_refuses_is_not_acknowledged() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running():
            await caught_up(home)
            held = len(home.ledger.entries)
            home.ledger.full = True
            home.mechanics.hand_turns_knob()
            await asyncio.sleep(2 * RETRY_MS / 1_000 + 5)
            assert (home.flash.values.copied_seq, len(home.ledger.entries)) == (held, held)
            home.ledger.full = False
            await caught_up(home)
            assert len(home.ledger.entries) == held + 1

    run_virtual(story())


def test_a_link_lost_between_commit_and_acknowledgement_loses_and_repeats_nothing() -> None:
    async def story() -> None:
        home = LinkHome()
        home.ledger.on_commit = home.radio.drop_link
        async with home.running(ready=False):
            await home.until(lambda: home.ledger.entries)
            home.ledger.on_commit = lambda: None
            await caught_up(home)
            seqs = [entry.record.seq for entry in home.ledger.entries]
            assert seqs == list(range(1, home.flash.last_seq + 1))

    run_virtual(story())


def test_a_restarted_gateway_goes_on_where_it_ended() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running():
            await caught_up(home)
        home.mechanics.hand_turns_knob()
        home.link = home.make_link()
        async with home.running():
            await caught_up(home)
        seqs = [entry.record.seq for entry in home.ledger.entries]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(home.ledger.restarts) == 1

    run_virtual(story())


# Logs that do not continue what is held.


async def fault_told_once(home: LinkHome, code: Code) -> None:
    """Expect one alert over several reconnections, nothing acknowledged, and a door that still opens."""
    async with home.running() as link:
        await home.until(lambda: home.diary.alerts)
        for _ in range(3):
            home.radio.drop_link()
            await home.until(lambda: not link.ready)
            await home.until_ready()
            await asyncio.sleep(5)
        assert home.diary.alerts == [code]
        assert home.ledger.entries == []
        assert home.flash.values.copied_seq == 0
        assert (await link.execute(move(1))).code is Code.DONE


def test_attack_a_rewritten_history_is_a_fork_told_once_and_never_acknowledged() -> None:
    async def story() -> None:
        home = LinkHome()
        home.ledger.position = LogPosition(log_id=home.flash.values.log_id, seq=1, head=bytes(32))
        await fault_told_once(home, Code.LOG_FORK)

    run_virtual(story())


def test_attack_a_lock_that_has_forgotten_records_is_a_fork() -> None:
    async def story() -> None:
        home = LinkHome()
        home.ledger.position = LogPosition(log_id=home.flash.values.log_id, seq=1_000, head=bytes(32))
        await fault_told_once(home, Code.LOG_FORK)

    run_virtual(story())


def test_another_log_id_begins_a_new_log_and_says_so() -> None:
    async def story() -> None:
        home = LinkHome()
        home.ledger.position = LogPosition(log_id=bytes(16), seq=7, head=bytes(32))
        async with home.running():
            await caught_up(home)
            assert home.ledger.restarts == [LogPosition.start(home.flash.values.log_id)]
            assert home.ledger.entries[0].record.seq == 1

    run_virtual(story())


def test_a_gateway_without_a_past_goes_on_where_the_central_log_has_signed() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            await caught_up(home)
            home.ledger.received = 2
            link.note_received()
            await home.until(lambda: home.flash.values.received_seq == 2)
        head_at_2 = home.flash.head_at(2)
        home.ledger.position, home.ledger.entries, home.ledger.received = None, [], 0
        home.link = home.make_link()
        async with home.running():
            await caught_up(home)
            assert home.ledger.restarts[-1] == LogPosition(log_id=home.flash.values.log_id, seq=2, head=head_at_2)
            assert home.ledger.entries[0].record.seq == 3
            assert home.flash.values.received_seq == 2

    run_virtual(story())


def scripted(home: ScriptedHome, batch: Message) -> None:
    def on_message(message: Message, corr: int) -> None:
        if isinstance(message, LogRead) and message.from_seq > 10:
            home.lock.say(batch, corr)
        else:
            home.lock.answer(message, corr)

    home.lock.on_message = on_message
    home.ledger.position = LogPosition(log_id=LOG_ID, seq=10, head=bytes(32))


def batch(
    *, log_id: bytes = LOG_ID, from_seq: int = 11, records: tuple[bytes, ...] = (), more: bool = False
) -> LogBatch:
    return LogBatch(log_id=log_id, from_seq=from_seq, previous=bytes(32), records=records, more=more)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (batch(from_seq=12), Code.LOG_GAP),
        (batch(from_seq=10), Code.LOG_FORK),
        (batch(log_id=bytes(16)), Code.LOG_FORK),
        (batch(records=(b"\xff",)), Code.MALFORMED),
        (ErrorRecord(code=Code.LOG_GAP, may_have_executed=False), Code.LOG_GAP),
        (ErrorRecord(code=Code.LOG_FORK, may_have_executed=False), Code.LOG_FORK),
    ],
    ids=["gap", "already held", "another log", "no record", "says gap", "says fork"],
)
def test_attack_a_log_that_does_not_fit_raises_an_alarm_and_the_link_stays(answer: Message, code: Code) -> None:
    async def story() -> None:
        home = ScriptedHome()
        scripted(home, answer)
        async with home.running() as link:
            await home.until(lambda: home.diary.alerts)
            home.lock.say(EventNotification(log_seq=99))
            await asyncio.sleep(120)
            assert home.diary.alerts == [code]
            assert link.status.connect_count == 1
            assert not any(isinstance(message, LogAck) and message.copied_seq > 10 for message in home.lock.heard)

    run_virtual(story())


def test_attack_a_lock_that_hints_without_end_is_read_at_a_bounded_pace_and_still_moves() -> None:
    async def story() -> None:
        home = ScriptedHome()

        def answer(message: Message, corr: int) -> None:
            home.lock.answer(message, corr)
            if isinstance(message, LogRead):
                home.lock.say(EventNotification(log_seq=1))

        home.lock.on_message = answer
        async with home.running() as link:
            home.lock.heard.clear()
            await asyncio.sleep(10)
            assert link.ready
            read_count = len([each for each in home.lock.heard if isinstance(each, LogRead)])
            assert 100 < read_count <= 10_000 // READ_GAP_MS

    run_virtual(story())


def test_a_busy_lock_is_asked_again_later() -> None:
    async def story() -> None:
        home = ScriptedHome()
        scripted(home, ErrorRecord(code=Code.BUSY, may_have_executed=False))
        async with home.running() as link:
            await asyncio.sleep(RETRY_MS / 1_000 * 2 + 1)
            assert len([message for message in home.lock.heard if isinstance(message, LogRead)]) == 3
            assert (home.diary.alerts, link.ready) == ([], True)

    run_virtual(story())


def test_attack_a_lock_that_promises_more_and_brings_nothing_does_not_keep_us_reading() -> None:
    async def story() -> None:
        home = ScriptedHome()
        scripted(home, batch(more=True))
        async with home.running():
            await asyncio.sleep(120)
            assert len([message for message in home.lock.heard if isinstance(message, LogRead)]) == 1

    run_virtual(story())


def test_attack_a_head_without_a_head_ends_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            client = link._client  # noqa: SLF001 - to answer in the lock's place
            assert client is not None
            firmware = home.lock._firmware  # noqa: SLF001 - the same
            assert firmware is not None
            on_message = firmware._on_message  # noqa: SLF001 - the same

            def headless(message: Message, answer: object) -> None:
                if isinstance(message, LogHeadRecord):
                    answer(LogHeadRecord())  # type: ignore[operator]  # a callable
                else:
                    on_message(message, answer)  # type: ignore[arg-type]  # handed through

            monkeypatch.setattr(firmware, "_on_message", headless)
            home.mechanics.hand_turns_knob()
            await home.until(lambda: link.status.last_fault == Code.MALFORMED.dotted)

    run_virtual(story())
