from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.checkpoint import Checkpoint, cosign, origin_of, sign_checkpoint, verify_checkpoint
from firmware_protocol.cose import kid_of
from firmware_protocol.signed import sign
from firmware_protocol.statements import Conflict
from gatewayd.journal.journal import Journal
from gatewayd.uplink.outbox import ALERT_AFTER_S, PATIENCE_S_MAX, PATIENCE_S_MIN, WINDOW_COUNT
from gatewayd.uplink.seam import Incoming, Outgoing, PublishOutcome
from gatewayd.uplink.stride import COUNT_MAX
from tests.support.inline_executor import InlineExecutor
from tests.support.uplink_bench import BOOT, UTC_S, UplinkBench
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from firmware_protocol.merkle import Frontier
    from gatewayd.store.database import Transaction


def on_bench(folder: Path, story: Callable[[UplinkBench], Awaitable[None]]) -> None:
    async def main() -> None:
        async with UplinkBench(folder, executor=InlineExecutor()) as bench:
            await story(bench)

    run_virtual(main())


def conflict(bench: UplinkBench, size: int) -> bytes:
    return sign(Conflict(gateway_id=bench.home.gateway_id, log_id=bench.log_id, size=size), bench.receipt_key)


def test_entries_reach_the_central_log_in_order_and_a_receipt_moves_the_received_mark(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        await bench.append(100)
        bench.start()
        await bench.until_received(100)
        marks = await bench.marks()
        assert (marks.sent, marks.received) == (100, 100)
        assert bench.central.entries == await bench.leaves()

    on_bench(tmp_path, story)


def test_a_receipt_tells_its_time_and_when_the_checkpoint_was_signed(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        bench.start()
        await asyncio.sleep(5)
        before = bench.clock.now().boottime_ms
        await bench.append(1)
        await bench.until_received(1)
        time_s, size, signed_at = bench.ears.receipts[-1]
        assert size == 1
        assert time_s == UTC_S + 1_005
        assert signed_at is not None
        assert signed_at.boot == BOOT
        assert before <= signed_at.boottime_ms <= bench.clock.now().boottime_ms

    on_bench(tmp_path, story)


def test_an_appended_entry_is_sent_at_once(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        bench.start()
        await asyncio.sleep(3_600)
        await bench.append(1)
        assert await bench.until_received(1) < 0.2

    on_bench(tmp_path, story)


def test_an_idle_outbox_sends_nothing_once_everything_is_received(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        await bench.append(3)
        bench.start()
        await bench.until_received(3)
        sent = bench.central.checkpoint_count
        await asyncio.sleep(24 * 3_600)
        assert bench.central.checkpoint_count == sent

    on_bench(tmp_path, story)


def test_nobody_listening_keeps_the_entries_and_asks_with_one_at_a_time(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        await bench.append(100)
        bench.start()
        await asyncio.sleep(600)
        assert (await bench.marks()).sent == 0
        bench.central.connect()
        await bench.until_received(100, within_s=PATIENCE_S_MAX + 1)
        assert bench.central.entries == await bench.leaves()

    on_bench(tmp_path, story)


def test_a_log_that_does_not_listen_raises_one_alert_within_a_minute(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        await bench.append(1)
        bench.start()
        await asyncio.sleep(ALERT_AFTER_S)
        assert bench.ears.alerts == []
        await asyncio.sleep(60 - ALERT_AFTER_S)
        assert bench.ears.alerts == ["log.no_subscribers"]
        await asyncio.sleep(3_600)
        assert bench.ears.alerts == ["log.no_subscribers"]

    on_bench(tmp_path, story)


def test_a_refused_entry_is_not_sent_and_is_tried_again(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        bench.broker.refused_topics.add(bench.topics.log_entries)
        await bench.append(5)
        bench.start()
        await asyncio.sleep(120)
        assert (await bench.marks()).sent == 0
        assert bench.ears.alerts == ["log.refused"]
        bench.broker.refused_topics.clear()
        await bench.until_received(5)

    on_bench(tmp_path, story)


def test_a_checkpoint_that_is_refused_raises_an_alert_though_entries_are_taken(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        bench.broker.refused_topics.add(bench.topics.log_checkpoint)
        bench.start()
        for _ in range(6):
            await bench.append(1)
            await asyncio.sleep(10)
        assert bench.ears.alerts == ["log.refused"]
        assert "checkpoints" in bench.ears.alert_details["log.refused"]
        bench.broker.refused_topics.clear()
        await bench.until_received(6)

    on_bench(tmp_path, story)


@pytest.mark.parametrize("what", ["entries", "checkpoint"])
def test_a_slip_of_the_pen_in_the_brokers_access_list_is_told_within_a_minute(tmp_path: Path, what: str) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        topic = bench.topics.log_entries if what == "entries" else bench.topics.log_checkpoint
        bench.broker.refused_topics.add(topic)
        await bench.append(1)
        bench.start()
        await asyncio.sleep(60)
        assert bench.ears.alerts == ["log.refused"]
        assert what in bench.ears.alert_details["log.refused"]

    on_bench(tmp_path, story)


def test_appending_does_not_shorten_the_wait_after_a_refusal(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        await bench.append(1)
        bench.start()
        await asyncio.sleep(120)
        before = bench.broker.publish_counts[bench.topics.log_entries]
        for _ in range(60):
            await bench.append(1)
            await asyncio.sleep(1)
        assert bench.broker.publish_counts[bench.topics.log_entries] - before <= 2

    on_bench(tmp_path, story)


def test_a_central_log_that_comes_later_asks_for_what_it_missed(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.broker.reports_no_subscribers = False  # MQTT 3.1.1: acknowledged, and gone
        await bench.append(50)
        bench.start()
        await asyncio.sleep(300)
        assert (await bench.marks()).sent == 50
        bench.central.connect()
        await bench.until_received(50, within_s=PATIENCE_S_MAX + 5)
        assert bench.central.entries[-50:] == await bench.leaves()

    on_bench(tmp_path, story)


def test_an_entry_lost_on_the_way_is_sent_again_from_there(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        bench.start()
        await bench.append(10)
        await bench.until_received(10)
        bench.central.loses_entries = 1
        await bench.append(10)
        await bench.until_received(20)
        leaves = await bench.leaves()
        assert bench.central.entries[:10] == leaves[:10]
        assert bench.central.entries[-10:] == leaves[10:]

    on_bench(tmp_path, story)


@pytest.mark.parametrize("count", [40, 85, 90])
def test_what_is_asked_for_in_mid_drain_is_sent_at_once_and_nothing_before_it_twice(tmp_path: Path, count: int) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        await bench.append(100)
        bench.start()
        await bench.until(lambda: len(bench.central.entries) >= count)
        bench.central.loses_entries = 1
        assert await bench.until_received(100) < PATIENCE_S_MIN
        assert all(bench.central.entries.count(leaf) == 1 for leaf in (await bench.leaves())[:count])

    on_bench(tmp_path, story)


def test_after_a_refusal_nothing_is_sent_before_the_rest_of_the_window_is_answered(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        session = CountingSession()
        await bench.append(100)
        task = asyncio.ensure_future(bench.outbox.run(session))
        await asyncio.sleep(1)
        session.answer_oldest(PublishOutcome.REFUSED)
        await asyncio.sleep(600)
        assert len(session.published) == WINDOW_COUNT
        for _ in range(WINDOW_COUNT - 1):
            session.answer_oldest()
        await asyncio.sleep(PATIENCE_S_MIN + 1)
        assert [message.payload for message in session.published[WINDOW_COUNT:]] == [(await bench.leaves())[0]]
        task.cancel()

    on_bench(tmp_path, story)


def test_a_broker_that_dies_with_what_it_acknowledged_loses_nothing(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        bench.start()
        await bench.append(20)
        await bench.until_received(20)
        bench.central.loses_entries = 30
        await bench.append(30)
        await asyncio.sleep(0.01)
        bench.broker.stop()
        await asyncio.sleep(60)
        bench.broker.start()
        await bench.until_received(50, within_s=120)

    on_bench(tmp_path, story)


def test_a_connection_cut_in_mid_drain_loses_nothing_and_keeps_the_order(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        await bench.append(300)
        bench.start()
        for _ in range(5):
            await asyncio.sleep(0.2)
            bench.broker.drop("gateway")
        await bench.until_received(300, within_s=120)

    on_bench(tmp_path, story)


def test_a_restart_goes_on_from_the_received_mark(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        await bench.append(40)
        bench.start()
        await bench.until_received(40)
        await bench.stop()
        await bench.append(10)
        bench.build()
        bench.start()
        await bench.until_received(50)
        assert bench.central.entries[40:] == (await bench.leaves())[40:]

    on_bench(tmp_path, story)


def test_a_backlog_is_offered_a_checkpoint_at_a_time(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        await bench.append(2 * COUNT_MAX + 1)
        bench.start()
        await bench.until_received(2 * COUNT_MAX + 1)
        sizes = [size for _, size, _ in bench.ears.receipts]
        assert sizes == [COUNT_MAX, 2 * COUNT_MAX, 2 * COUNT_MAX + 1]

    on_bench(tmp_path, story)


def test_a_backlog_of_exactly_one_checkpoint_is_offered_once(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        await bench.append(COUNT_MAX)
        bench.start()
        await bench.until_received(COUNT_MAX)
        await asyncio.sleep(60)
        assert bench.central.checkpoint_count == 1

    on_bench(tmp_path, story)


def test_a_new_empty_central_log_is_brought_up_from_what_was_received_before(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        await bench.append(COUNT_MAX + 10)
        bench.start()
        await bench.until_received(COUNT_MAX + 10)
        bench.central.log = bench.new_central()
        await bench.append(1)
        await bench.until_received(COUNT_MAX + 11)
        assert bench.central.entries[-COUNT_MAX - 11 :] == [
            leaf for _, leaf in await bench.ledger.entries(0, 1_000, 10_000_000)
        ] + [leaf for _, leaf in await bench.ledger.entries(1_000, 1_000, 10_000_000)]

    on_bench(tmp_path, story)


def test_a_new_central_log_need_not_hold_more_than_a_few_entries_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.central_log.PENDING_COUNT_MAX", COUNT_MAX)

    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        await bench.append(3 * COUNT_MAX)
        bench.start()
        await bench.until_received(3 * COUNT_MAX)
        bench.central.log = bench.new_central()
        await bench.append(1)
        await bench.until_received(3 * COUNT_MAX + 1)

    on_bench(tmp_path, story)


def test_a_broker_that_drops_what_its_queue_does_not_hold_is_drained_through_in_strides_that_fit(
    tmp_path: Path,
) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.queue_count_max = 100
        bench.central.connect()
        await bench.append(3_000)
        bench.start()
        await bench.until_received(3_000, within_s=120)
        sent = bench.broker.publish_counts[bench.topics.log_entries]
        assert sent < 2 * 3_000, "the queue was overrun again and again"

    on_bench(tmp_path, story)


def test_after_a_loss_an_entry_still_goes_out_at_once(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        bench.start()
        await bench.append(20)
        await bench.until_received(20)
        bench.central.loses_entries = 1
        await bench.append(2)
        await bench.until_received(22)
        bench.central.disconnect()
        bench.broker.reports_no_subscribers = False
        for number in range(10):
            before = bench.broker.publish_counts[bench.topics.log_entries]
            await bench.append(1)
            await asyncio.sleep(0.2)
            assert bench.broker.publish_counts[bench.topics.log_entries] == before + 1, number

    on_bench(tmp_path, story)


def test_a_log_that_asks_for_pruned_entries_is_an_alert_and_not_an_endless_resend(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        await bench.append(20)
        bench.start()
        await bench.until_received(20)
        await bench.store.run(lambda tx: bench.journal.prune(tx, 5))
        bench.central.log = bench.new_central()
        before = len(bench.central.entries)
        await bench.append(1)
        await asyncio.sleep(300)
        assert set(bench.ears.alerts) == {"log.pruned"}
        assert len(bench.central.entries) == before + 1

    on_bench(tmp_path, story)


def test_attack_a_replayed_conflict_rewinds_at_most_once_a_second(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        bench.start()
        await bench.append(30)
        await bench.until_received(30)
        await asyncio.sleep(10)
        bench.central.entries.clear()
        asked = conflict(bench, 0)
        for _ in range(290):
            bench.send(bench.topics.log_receipt, asked)
            await asyncio.sleep(0.01)
        await asyncio.sleep(10)
        assert 30 < len(bench.central.entries) <= 3 * 30

    on_bench(tmp_path, story)


def test_attack_a_conflict_signed_by_somebody_else_rewinds_nothing(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        bench.start()
        await bench.append(30)
        await bench.until_received(30)
        bench.central.entries.clear()
        forged = Conflict(gateway_id=bench.home.gateway_id, log_id=bench.log_id, size=0)
        bench.send(bench.topics.log_receipt, sign(forged, bench.office.signing_key("stranger")))
        await asyncio.sleep(10)
        assert bench.central.entries == []
        assert bench.downlink.dropped == {"refused": 1}

    on_bench(tmp_path, story)


def test_attack_a_forged_receipt_frees_nothing(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        notes: list[bytes] = []
        bench.broker.listen(bench.topics.log_entries, lambda _: None)
        bench.broker.listen(bench.topics.log_checkpoint, lambda message: notes.append(message.payload))
        bench.start()
        await bench.append(3)
        await bench.until(lambda: bool(notes))
        bench.send(bench.topics.log_receipt, notes[0])  # signed by us, cosigned by nobody
        await asyncio.sleep(1)
        assert (await bench.marks()).received == 0
        assert bench.ears.receipts == []

    on_bench(tmp_path, story)


@pytest.mark.parametrize("what", ["stranger", "ahead", "another log"])
def test_attack_an_answer_that_the_central_log_never_gave_frees_nothing_and_is_told(tmp_path: Path, what: str) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.start()
        await bench.append(30)
        await asyncio.sleep(1)
        origin = origin_of(bench.home.gateway_id.hex(), bench.log_id.hex())
        size = 31 if what == "ahead" else 30
        if what == "another log":
            origin = origin_of(bench.home.gateway_id.hex(), bytes(16).hex())
        checkpoint = Checkpoint(origin=origin, size=size, root=bytes(32))
        note = sign_checkpoint(checkpoint, key=bench.home.gateway_signing_key, name=origin)
        key = bench.office.signing_key("stranger") if what == "stranger" else bench.receipt_key
        name = f"carelock/receipt/{kid_of(bytes(key.verify_key)).hex()}"
        bench.send(bench.topics.log_receipt, cosign(note, key=key, name=name, time_s=UTC_S))
        await asyncio.sleep(1)
        assert (await bench.marks()).received == 0
        code = {"stranger": "receipt.unknown_signer", "ahead": "", "another log": "receipt.not_ours"}[what]
        assert bench.ears.alerts == ([code] if code else [])
        assert bench.ears.rolled_back_to == ([31] if what == "ahead" else [])  # our own key, over what we do not have

    on_bench(tmp_path, story)


def test_a_checkpoint_of_ours_ahead_of_our_journal_is_told_as_a_rollback(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.central.connect()
        bench.start()
        await bench.append(10)
        await bench.until_received(10)
        _, conflict_of_ten = bench.central.log.greetings()[0]
        await bench.stop()
        async with UplinkBench(
            make_folder(tmp_path, "restored"), executor=InlineExecutor()
        ) as restored:  # the card as it was before the ten
            restored.start()
            await asyncio.sleep(1)
            restored.send(restored.topics.log_receipt, conflict_of_ten)
            await asyncio.sleep(1)
            assert restored.ears.rolled_back_to == [10]

    on_bench(tmp_path, story)


def make_folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


def test_a_checkpoint_offered_again_is_the_same_bytes_and_comes_ever_more_seldom(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        loop = asyncio.get_running_loop()
        offers: list[tuple[float, bytes]] = []
        bench.broker.listen(bench.topics.log_entries, lambda _: None)
        bench.broker.listen(bench.topics.log_checkpoint, lambda message: offers.append((loop.time(), message.payload)))
        bench.start()
        await bench.append(2)
        await asyncio.sleep(200)
        gaps = [round(later[0] - earlier[0]) for earlier, later in itertools.pairwise(offers)]
        assert gaps[:7] == [1, 2, 4, 8, 16, 30, 30]
        assert len({note for _, note in offers}) == 1
        origin = bench.journal.origin
        key = bytes(bench.home.gateway_signing_key.verify_key)
        assert verify_checkpoint(offers[0][1], name=origin, public=key).size == 2

    on_bench(tmp_path, story)


def test_no_more_than_a_window_of_entries_is_in_flight(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        session = CountingSession()
        await bench.append(100)
        task = asyncio.ensure_future(bench.outbox.run(session))
        for _ in range(100):
            await asyncio.sleep(0.1)
            session.answer_oldest()
        task.cancel()
        assert session.in_flight_max == WINDOW_COUNT
        assert [message.payload for message in session.published[:100]] == await bench.leaves()

    on_bench(tmp_path, story)


class CountingSession:
    """A session whose broker answers when told to."""

    def __init__(self) -> None:
        self.published: list[Outgoing] = []
        self.in_flight_max = 0
        self._open: list[asyncio.Future[PublishOutcome]] = []

    async def subscribe(self, _filters: object) -> None:
        raise AssertionError

    def publish(self, message: Outgoing) -> asyncio.Future[PublishOutcome]:
        answered: asyncio.Future[PublishOutcome] = asyncio.get_running_loop().create_future()
        self.published.append(message)
        self._open.append(answered)
        self.in_flight_max = max(self.in_flight_max, len(self._open))
        return answered

    def answer_oldest(self, outcome: PublishOutcome = PublishOutcome.DELIVERED) -> None:
        if self._open:
            self._open.pop(0).set_result(outcome)

    async def next_message(self) -> Incoming:
        raise AssertionError

    async def close(self) -> None:
        raise AssertionError


def test_attack_conflicts_replayed_in_turn_do_not_have_the_journal_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown: list[int] = []
    tree_towards = Journal.tree_towards

    def counted(journal: Journal, tx: Transaction, *, size: int, known: Frontier) -> Frontier:
        tree = tree_towards(journal, tx, size=size, known=known)
        grown.append(tree.size - known.size)
        return tree

    def showing(bench: UplinkBench, size: int) -> bytes:
        elsewhere = Checkpoint(origin=bench.journal.origin, size=size, root=bytes(32))
        note = sign_checkpoint(elsewhere, key=bench.home.gateway_signing_key, name=bench.journal.origin)
        made = Conflict(gateway_id=bench.home.gateway_id, log_id=bench.log_id, size=size, checkpoint=note)
        return sign(made, bench.receipt_key)

    async def story(bench: UplinkBench) -> None:
        await bench.append(30)
        answers = [showing(bench, size) for size in (11, 23)]
        for answer in answers * 5:
            await bench.ledger.take_mail(answer)
        assert sum(grown) == 23

    monkeypatch.setattr(Journal, "tree_towards", counted)
    on_bench(tmp_path, story)
