"""The lock towards its gateway: sessions, state, log, power."""

from __future__ import annotations

from typing import Final

import pytest

from firmware_protocol import link_session
from firmware_protocol.codes import Code
from firmware_protocol.constants import (
    HANDSHAKE_MS_MAX,
    MESSAGE_SIZE_MAX,
    SESSION_AGE_MS_MAX,
    SESSION_CTR_STEP_MAX,
    SESSION_SILENCE_MS_MAX,
)
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.fragments import Fragmenter, FragmentKind
from firmware_protocol.lock_log import LogPosition, LogRecord, RecordType, verify_batch
from firmware_protocol.messages import (
    LOG_BATCH_COUNT_MAX,
    RECORD_SIZE_MAX,
    Bye,
    Confirm,
    ErrorRecord,
    EventNotification,
    LogAck,
    LogBatch,
    LogHeadRecord,
    LogRead,
    Pong,
    State,
    StateEvent,
    StateGet,
    encode_record,
)
from firmware_protocol.noise import TAG_SIZE, KeyPair
from firmware_protocol.session import PeerClosing, SessionState
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import LogHead
from firmware_protocol.vocabulary import Bolt, DoorLeaf
from simulator.lock_link import LINGER_MS, RENEWAL_GRACE_MS
from tests.support.lock_bench import MOTOR_MS, Bench, BenchGateway, BenchPipe

CORR: Final = 7
UTC_S: Final = (1_700_000_000, 1_700_000_010)


def records(bench: Bench) -> list[LogRecord]:
    return [LogRecord.from_bytes(each) for each in bench.flash.records_from(bench.flash.first_seq, 9_999)]


def kinds(bench: Bench) -> list[RecordType]:
    return [record.type for record in records(bench)]


def read_log(gateway: BenchGateway, position: LogPosition, *, count_max: int = LOG_BATCH_COUNT_MAX) -> LogPosition:
    more = True
    while more:
        batch = gateway.ask(LogRead(from_seq=position.seq + 1, count_max=count_max))
        assert isinstance(batch, LogBatch)
        assert batch.log_id == position.log_id
        _, position = verify_batch(position, from_seq=batch.from_seq, previous=batch.previous, records=batch.records)
        more = batch.more
    return position


# Sessions.


def test_a_lock_says_where_it_stands_and_goes_live_on_confirm() -> None:
    bench = Bench()
    gateway = bench.live()
    assert bench.lock.is_live
    status = gateway.status
    assert (status.session_ctr, status.boot, status.log_next_seq, status.command_seq) == (0, 1, 3, 0)
    assert status.command_code is Code.FAILED
    assert bench.flash.values.session_ctr == 1


def test_attack_before_confirm_the_lock_obeys_nothing() -> None:
    bench = Bench()
    gateway = bench.connect()
    gateway.exchange()
    gateway.session.state = SessionState.READY  # a gateway that spares itself the CONFIRM
    gateway.session.send(gateway.command(1), corr=CORR)
    gateway.exchange()
    assert not bench.lock.is_live
    assert [closing.code for closing in gateway.closings()] == [Code.NOT_CONFIRMED]
    assert (bench.mechanics.movements, bench.flash.last_command) == ([], None)


def test_the_session_number_is_durable_before_anything_is_obeyed() -> None:
    bench = Bench()
    bench.medium.lose_power_at_write(1, kept_size=3)
    gateway = bench.connect()
    gateway.exchange()
    gateway.session.confirm(utc_lo_s=None, utc_hi_s=None)
    gateway.session.send(gateway.command(1), corr=CORR)
    gateway.exchange()
    bench.scheduler.advance(MOTOR_MS)
    assert (bench.lock.is_powered, bench.mechanics.movements) == (False, [])
    bench.restart()
    assert bench.flash.values.session_ctr == 0


@pytest.mark.parametrize(
    ("session_ctr", "is_taken"),
    [(6, True), (5 + SESSION_CTR_STEP_MAX, True), (6 + SESSION_CTR_STEP_MAX, False)],
    ids=["the next", "the longest step", "a leap"],
)
def test_a_session_number_may_step_and_not_leap(session_ctr: int, is_taken: bool) -> None:  # noqa: FBT001 - a table
    bench = Bench()
    bench.connect(session_ctr=5).confirm()
    bench.lock.drop_gateway()
    gateway = bench.connect(session_ctr=session_ctr)
    gateway.confirm()
    assert bench.lock.is_live is is_taken
    assert [closing.code for closing in gateway.closings()] == ([] if is_taken else [Code.CLONE_SUSPECT])
    assert bench.flash.values.session_ctr == (session_ctr if is_taken else 5)


def test_attack_a_cloned_card_that_is_behind_sees_that_it_is() -> None:
    bench = Bench()
    bench.connect(session_ctr=5).confirm()
    bench.lock.drop_gateway()
    with pytest.raises(RemoteProtocolError) as caught:
        bench.connect(session_ctr=5).confirm()
    assert caught.value.code is Code.CLONE_SUSPECT


def test_attack_a_stranger_without_the_gateways_key_gets_no_further_than_hello() -> None:
    bench = Bench()
    bench.gateway_keys = KeyPair.from_private(bytes(range(32)))
    gateway = bench.connect()
    gateway.exchange()
    assert [closing.code for closing in gateway.closings()] == [Code.DENIED]
    bench.scheduler.advance(LINGER_MS)
    assert not gateway.pipe.is_open


@pytest.mark.parametrize("value", [b"", b"\xff" * 20, b"\xb0\x00\x01\x01", bytes(600), b"\x20\xff\xff\x00"])
def test_attack_garbage_ends_that_link_only(value: bytes) -> None:
    bench = Bench()
    pipe = BenchPipe(bench.lock.gateway_disconnected)
    bench.lock.gateway_connected(pipe)
    bench.lock.gateway_value(value)
    bench.lock.gateway_value(value)
    bench.scheduler.advance(LINGER_MS)
    assert not pipe.is_open
    assert bench.live().ask(StateGet()) is not None


def test_attack_random_bytes_at_every_stage_never_crash_the_lock() -> None:
    bench = Bench()
    for _ in range(300):
        gateway = bench.connect()
        gateway.session.take_values() if bench.entropy.token(1)[0] & 1 else gateway.exchange()
        data = bench.entropy.token(1 + bench.entropy.token(1)[0] % 100)
        kind = FragmentKind(bench.entropy.token(1)[0] % 3)
        for value in Fragmenter(244).fragment(kind, data):
            bench.lock.gateway_value(value)
        bench.lock.drop_gateway()
    assert bench.live().ask(StateGet()) is not None


def test_attack_a_bit_flipped_on_the_way_is_noticed_by_the_gateway() -> None:
    bench = Bench()
    gateway = bench.live()
    bench.lock.garble_next_value()
    with pytest.raises(RemoteProtocolError):
        gateway.ask(StateGet())


def test_a_gateway_that_says_nothing_is_dropped_after_the_handshakes_time() -> None:
    bench = Bench()
    gateway = bench.connect()
    bench.scheduler.advance(HANDSHAKE_MS_MAX - 1)
    assert gateway.pipe.values == []
    bench.scheduler.advance(1 + LINGER_MS)
    assert not gateway.pipe.is_open


def test_a_silent_session_is_dropped_and_a_speaking_one_lives_for_hours() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.wait(3 * 3_600_000, step_ms=5_000)
    was_live = bench.lock.is_live
    bench.scheduler.advance(SESSION_SILENCE_MS_MAX + LINGER_MS)
    assert (was_live, bench.lock.is_live, gateway.pipe.is_open) == (True, False, False)


def test_a_session_that_nobody_renews_is_ended_with_a_goodbye() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.wait(SESSION_AGE_MS_MAX, step_ms=5_000)
    assert bench.lock.is_live
    gateway.wait(RENEWAL_GRACE_MS + 30_000, step_ms=5_000)
    assert gateway.closings() == [PeerClosing(code=Code.LINK_DOWN, authenticated=True)]
    assert not gateway.pipe.is_open


def test_a_goodbye_ends_the_session() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.session.send(Bye(code=Code.LINK_DOWN))
    gateway.exchange()
    bench.scheduler.advance(LINGER_MS)
    assert (bench.lock.is_live, gateway.pipe.is_open) == (False, False)


def test_attack_a_second_confirm_ends_the_session() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.session.send(Confirm(session_ctr=9))
    gateway.exchange()
    assert not bench.lock.is_live
    assert bench.flash.values.session_ctr == 1


# State and hands.


def test_state_is_told_when_asked_and_when_it_changes() -> None:
    bench = Bench()
    gateway = bench.live()
    state = gateway.ask(StateGet())
    assert state == State(
        bolt=Bolt.LOCKED, door=DoorLeaf.CLOSED, battery_mv=6_000, motor_busy=False, tampered=False, up_ms=0
    )
    bench.mechanics.hand_turns_knob()
    bench.mechanics.door_opens()
    bench.mechanics.door_closes()
    bench.mechanics.hand_turns_knob()
    bench.mechanics.tamper()
    gateway.exchange()
    told = [(event.bolt, event.door, event.tampered) for event in gateway.heard(StateEvent)]
    assert told == [
        (Bolt.UNLOCKED, DoorLeaf.CLOSED, False),
        (Bolt.UNLOCKED, DoorLeaf.OPEN, False),
        (Bolt.UNLOCKED, DoorLeaf.CLOSED, False),
        (Bolt.LOCKED, DoorLeaf.CLOSED, False),
        (Bolt.LOCKED, DoorLeaf.CLOSED, True),
    ]
    assert kinds(bench)[-5:] == [
        RecordType.KNOB_UNLOCKED,
        RecordType.DOOR_OPENED,
        RecordType.DOOR_CLOSED,
        RecordType.KNOB_LOCKED,
        RecordType.TAMPER,
    ]
    assert gateway.heard(EventNotification)[-1].log_seq == bench.flash.last_seq


def test_what_happens_with_no_gateway_near_is_recorded_all_the_same() -> None:
    bench = Bench()
    bench.mechanics.hand_turns_knob()
    gateway = bench.live()
    assert RecordType.KNOB_UNLOCKED in kinds(bench)
    assert gateway.heard(EventNotification) == [EventNotification(log_seq=bench.flash.last_seq)]


# The log.


@pytest.mark.parametrize("count_max", [1, LOG_BATCH_COUNT_MAX])
def test_the_log_is_read_in_batches_that_chain_up_to_the_signed_head(count_max: int) -> None:
    bench = Bench()
    gateway = bench.live()
    for _ in range(20):
        bench.mechanics.hand_turns_knob()
    position = read_log(gateway, LogPosition.start(bench.flash.values.log_id), count_max=count_max)
    answer = gateway.ask(LogHeadRecord())
    assert isinstance(answer, LogHeadRecord)
    assert answer.head is not None
    head = open_signed(LogHead, answer.head, bytes(bench.keys.log_key.verify_key))
    assert head == LogHead(
        lock_id=bench.keys.lock_id, log_id=position.log_id, from_seq=1, to_seq=position.seq, head=position.head
    )


def test_the_longest_batch_fits_one_message_with_its_tag() -> None:
    batch = LogBatch(
        log_id=bytes(16),
        from_seq=2**53 - 1,
        previous=bytes(32),
        records=(bytes(RECORD_SIZE_MAX),) * LOG_BATCH_COUNT_MAX,
        more=True,
    )
    assert len(encode_record(batch, 65_535)) + TAG_SIZE <= MESSAGE_SIZE_MAX


def test_a_reader_that_is_up_to_date_gets_an_empty_batch_and_one_that_is_ahead_a_gap() -> None:
    bench = Bench()
    gateway = bench.live()
    last_seq = bench.flash.last_seq
    empty = gateway.ask(LogRead(from_seq=last_seq + 1, count_max=16))
    assert isinstance(empty, LogBatch)
    assert (empty.records, empty.previous, empty.more) == ((), bench.flash.head, False)
    gap = ErrorRecord(code=Code.LOG_GAP, may_have_executed=False)
    assert gateway.ask(LogRead(from_seq=last_seq + 2, count_max=16)) == gap


def test_acknowledgements_are_durable_and_never_go_back() -> None:
    bench = Bench()
    gateway = bench.live()
    for copied_seq, received_seq in [(3, 2), (2, 1)]:
        gateway.session.send(LogAck(copied_seq=copied_seq, received_seq=received_seq))
        gateway.exchange()
    bench.lock.power_cycle()
    status = bench.live().status
    assert (status.log_copied_seq, status.log_received_seq) == (3, 2)


def test_an_acknowledgement_that_says_nothing_new_wears_nothing_out() -> None:
    bench = Bench()
    gateway = bench.live()
    before = bench.medium.write_count
    gateway.session.send(LogAck(copied_seq=0, received_seq=0))
    gateway.exchange()
    assert bench.medium.write_count == before


@pytest.mark.parametrize("beyond", [0, 1], ids=["the last record", "one that does not exist"])
def test_attack_acknowledging_what_does_not_exist_ends_the_link(beyond: int) -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.session.send(LogAck(copied_seq=bench.flash.last_seq + beyond, received_seq=0))
    gateway.exchange()
    assert bench.lock.is_live is not bool(beyond)


def test_a_head_sent_to_the_lock_ends_the_link() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.session.send(LogHeadRecord(head=b"head"))
    gateway.exchange()
    assert not bench.lock.is_live


def test_records_have_the_middle_of_the_gateways_interval_as_their_time_and_none_before() -> None:
    bench = Bench()
    bench.scheduler.advance(10_000)
    gateway = bench.live(utc_s=UTC_S)
    bench.scheduler.advance(2_500)
    bench.mechanics.hand_turns_knob()
    boot, owner, session, time, knob = records(bench)
    assert [each.wall_s for each in (boot, owner, session, time)] == [None, None, 1_700_000_005, 1_700_000_005]
    assert (knob.wall_s, knob.up_s, knob.boot) == (1_700_000_007, 12, 1)
    assert session.actor == bench.keys.gateway_id
    assert gateway.status.up_ms == 10_000


@pytest.mark.parametrize(("shift_s", "count"), [(5, 1), (6, 2)], ids=["a small correction", "a step"])
def test_a_step_of_the_clock_is_recorded(shift_s: int, count: int) -> None:
    bench = Bench()
    bench.live(utc_s=UTC_S)
    bench.lock.drop_gateway()
    bench.live(utc_s=(UTC_S[0] + shift_s, UTC_S[1] + shift_s))
    assert kinds(bench).count(RecordType.TIME) == count


# Power.


def test_a_power_cycle_counts_boots_forgets_the_time_and_drops_the_link() -> None:
    bench = Bench()
    gateway = bench.live(utc_s=UTC_S)
    bench.scheduler.advance(60_000)
    bench.lock.power_cycle()
    assert not gateway.pipe.is_open
    assert bench.lock.up_ms == 0
    last = records(bench)[-1]
    assert (last.type, last.boot, last.up_s, last.wall_s) == (RecordType.BOOT, 2, 0, None)


def test_a_lock_without_power_hears_and_says_nothing_but_the_knob_works() -> None:
    bench = Bench()
    bench.lock.power_off()
    pipe = BenchPipe(bench.lock.gateway_disconnected)
    bench.lock.gateway_connected(pipe)
    phone = bench.phone()
    assert (pipe.is_open, phone.pipe.is_open) == (False, False)
    bench.lock.gateway_value(b"\x00")
    bench.mechanics.hand_turns_knob()
    assert bench.mechanics.bolt is Bolt.UNLOCKED
    bench.lock.power_on()
    assert kinds(bench) == [RecordType.BOOT, RecordType.OWNER, RecordType.BOOT]
    assert bench.live().ask(StateGet()) is not None


def test_a_value_that_was_under_way_when_the_power_went_reaches_nobody() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.session.send(gateway.command(1))
    values = gateway.session.take_values()
    bench.lock.power_cycle()
    for value in values:
        bench.lock.gateway_value(value)
    assert bench.flash.last_command is None


@pytest.mark.parametrize("write", [1, 2, 3])
@pytest.mark.parametrize("kept_size", [0, 9, None], ids=["nothing", "a torn entry", "all of it"])
def test_a_power_loss_in_the_very_first_start_is_made_good_by_the_next(write: int, kept_size: int | None) -> None:
    bench = Bench(is_powered=False)
    bench.medium.lose_power_at_write(write, kept_size=kept_size)
    bench.lock.power_on()
    assert not bench.lock.is_powered
    bench.restart()
    assert kinds(bench).count(RecordType.OWNER) == 1
    assert kinds(bench)[0] is RecordType.BOOT
    assert read_log(bench.live(), LogPosition.start(bench.flash.values.log_id)).head == bench.flash.head


def test_a_higher_owner_epoch_starts_the_counters_anew() -> None:
    bench = Bench()
    gateway = bench.connect(session_ctr=50)
    gateway.confirm()
    gateway.ask(gateway.command(9))
    gateway.wait(MOTOR_MS)
    bench.pair_again()
    status = bench.connect(session_ctr=1)
    status.confirm()
    assert (status.status.session_ctr, status.status.command_seq) == (0, 0)
    assert kinds(bench).count(RecordType.OWNER) == 2
    answer = status.ask(status.command(9))
    assert answer == ErrorRecord(code=Code.DUPLICATE, may_have_executed=True)


def test_info_names_no_lock() -> None:
    bench = Bench()
    value = bench.lock.info_value()
    assert value[:2] == b"\x01\x01"
    assert bench.keys.lock_id not in value


def test_a_session_whose_records_are_used_up_ends_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    gateway = bench.live()
    monkeypatch.setattr(link_session, "SESSION_RECORD_COUNT_MAX", 3)
    for _ in range(3):
        bench.mechanics.hand_turns_knob()
    gateway.exchange()
    assert gateway.closings() == [PeerClosing(code=Code.LINK_DOWN, authenticated=False)]
    bench.scheduler.advance(LINGER_MS)
    assert (bench.lock.is_live, gateway.pipe.is_open) == (False, False)


def test_faults_on_a_link_that_is_not_there_do_nothing() -> None:
    bench = Bench()
    bench.lock.drop_gateway()
    bench.lock.garble_next_value()
    assert bench.live().ask(StateGet()) is not None


def test_the_pong_of_a_gateway_needs_no_answer() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.events.clear()
    gateway.session.send(Pong(up_ms=0))
    gateway.exchange()
    assert gateway.events == []
