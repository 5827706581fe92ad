from __future__ import annotations

from functools import reduce
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.lock_log import RESULT_MAX, LogPosition, LogRecord, RecordType, chain, genesis, verify_batch

LOG_ID = bytes(range(16))
NUMBERS = st.integers(0, 2**53 - 1)


@st.composite
def records(draw: st.DrawFn, seq: int) -> bytes:
    kind = draw(st.sampled_from(RecordType))
    command_ids = st.binary(min_size=16, max_size=16)
    results = st.integers(0, RESULT_MAX)
    has_command = kind in {RecordType.COMMAND_INTENT, RecordType.COMMAND_RESULT}
    has_result = kind in {RecordType.COMMAND_RESULT, RecordType.REFUSED, RecordType.GAP}
    record = LogRecord(
        seq=seq,
        boot=draw(NUMBERS),
        up_s=draw(NUMBERS),
        wall_s=draw(st.none() | NUMBERS),
        type=kind,
        actor=draw(st.none() | st.binary(min_size=8, max_size=8)),
        cmd_id=draw(command_ids if has_command else st.none() | command_ids),
        result=draw(results if has_result else st.none() | results),
    )
    data = record.to_bytes()
    assert LogRecord.from_bytes(data) == record
    return data


@st.composite
def logs(draw: st.DrawFn) -> list[bytes]:
    return [draw(records(seq)) for seq in range(1, draw(st.integers(1, 8)) + 1)]


def unless_refused(data: bytes) -> LogRecord | None:
    try:
        return LogRecord.from_bytes(data)
    except RemoteProtocolError as error:
        if error.code not in {Code.MALFORMED, Code.TOO_LARGE}:
            raise
        return None


def read(position: LogPosition, batch: list[bytes]) -> LogPosition:
    return verify_batch(position, from_seq=position.seq + 1, previous=position.head, records=batch)[1]


@given(logs(), st.data())
def test_a_log_reads_the_same_however_it_is_cut_into_batches(log: list[bytes], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(log)))) | {0, len(log)})
    position = LogPosition.start(LOG_ID)
    for start, end in pairwise(cuts):
        position = read(position, log[start:end])
    assert position == LogPosition(log_id=LOG_ID, seq=len(log), head=reduce(chain, log, genesis(LOG_ID)))


@given(logs(), st.data())
def test_no_record_can_be_left_out_or_moved(log: list[bytes], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(log) - 1))
    shortened = [*log[:at], *log[at + 1 :], data.draw(records(len(log) + 1))]
    with pytest.raises(RemoteProtocolError) as caught:
        read(LogPosition.start(LOG_ID), shortened)
    assert caught.value.code is Code.LOG_GAP


@given(logs(), st.data())
def test_no_record_can_be_altered_without_the_next_batch_showing_it(log: list[bytes], data: st.DataObject) -> None:
    honest = read(LogPosition.start(LOG_ID), log)
    at = data.draw(st.integers(0, len(log) - 1))
    altered = data.draw(records(at + 1).filter(lambda other: other != log[at]))
    misled = read(LogPosition.start(LOG_ID), [*log[:at], altered, *log[at + 1 :]])
    with pytest.raises(RemoteProtocolError) as caught:
        verify_batch(misled, from_seq=misled.seq + 1, previous=honest.head, records=[])
    assert caught.value.code is Code.LOG_FORK


@given(st.binary(max_size=120))
def test_any_bytes_are_a_record_in_its_one_encoding_or_refused(data: bytes) -> None:
    for each in (data, b"\x88" + data):
        record = unless_refused(each)
        assert record is None or record.to_bytes() == each
