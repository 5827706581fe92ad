from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from firmware_protocol import cbor
from firmware_protocol.codes import Code
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.lock_log import (
    IMPORTANCE,
    Importance,
    LogPosition,
    LogRecord,
    RecordType,
    chain,
    genesis,
    verify_batch,
)
from firmware_protocol.messages import RECORD_SIZE_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOG_ID = bytes(range(16))
START = LogPosition.start(LOG_ID)
KID, COMMAND_ID = b"kid-kid-", b"command-command-"
UINT_MAX = 2**53 - 1


def record(seq: int, kind: RecordType = RecordType.KNOB_LOCKED) -> LogRecord:
    return LogRecord(
        seq=seq, boot=3, up_s=1_000 + seq, wall_s=1_800_000_000, type=kind, actor=None, cmd_id=None, result=None
    )


def written(*seqs: int) -> list[bytes]:
    return [record(seq).to_bytes() for seq in seqs]


def after(position: LogPosition, records: Sequence[bytes]) -> LogPosition:
    return verify_batch(position, from_seq=position.seq + 1, previous=position.head, records=records)[1]


def code_of(refused: Callable[[], object]) -> Code:
    with pytest.raises(RemoteProtocolError) as caught:
        refused()
    return caught.value.code


# --------------------------------------------------------------------------------------------------------- the record


def test_a_record_is_an_array_of_eight_in_order() -> None:
    full = LogRecord(
        seq=1,
        boot=2,
        up_s=3,
        wall_s=4,
        type=RecordType.COMMAND_RESULT,
        actor=KID,
        cmd_id=COMMAND_ID,
        result=Code.DONE.wire,
    )
    assert full.to_bytes().hex() == "880102" + "0304" + "0d" + "48" + KID.hex() + "50" + COMMAND_ID.hex() + "1831"
    assert LogRecord.from_bytes(full.to_bytes()) == full


def test_what_a_record_does_not_know_is_null() -> None:
    boot = LogRecord(seq=1, boot=0, up_s=0, wall_s=None, type=RecordType.BOOT, actor=None, cmd_id=None, result=None)
    assert boot.to_bytes().hex() == "88010000f601f6f6f6"
    assert LogRecord.from_bytes(boot.to_bytes()) == boot


def test_the_longest_record_fits_a_batch() -> None:
    longest = LogRecord(
        seq=UINT_MAX,
        boot=UINT_MAX,
        up_s=UINT_MAX,
        wall_s=UINT_MAX,
        type=RecordType.REFUSED,
        actor=KID,
        cmd_id=COMMAND_ID,
        result=0xFFFF,
    )
    assert len(longest.to_bytes()) == 68
    assert len(longest.to_bytes()) <= RECORD_SIZE_MAX
    assert LogRecord.from_bytes(longest.to_bytes()) == longest


VALID: tuple[cbor.Value, ...] = (1, 0, 0, None, 1, None, None, None)


def row(**changed: cbor.Value) -> bytes:
    names = ("seq", "boot", "up_s", "wall_s", "type", "actor", "cmd_id", "result")
    return cbor.encode(tuple({**dict(zip(names, VALID, strict=True)), **changed}.values()))


MALFORMED = {
    "nothing": b"",
    "no array": cbor.encode(7),
    "seven fields": cbor.encode(VALID[:7]),
    "nine fields": cbor.encode((*VALID, None)),
    "bytes after it": cbor.encode(VALID) + b"\x00",
    "long form": b"\x98\x08" + cbor.encode(VALID)[1:],
    "seq 0": row(seq=0),
    "seq negative": row(seq=-1),
    "seq null": row(seq=None),
    "seq true": row(seq=True),
    "seq 2^53": row(seq=UINT_MAX + 1),
    "boot null": row(boot=None),
    "up_s text": row(up_s="1"),
    "wall_s negative": row(wall_s=-1),
    "type unknown": row(type=7),
    "type null": row(type=None),
    "actor of 7 bytes": row(actor=bytes(7)),
    "actor of 9 bytes": row(actor=bytes(9)),
    "actor as text": row(actor="kid-kid-"),
    "cmd_id of 15 bytes": row(cmd_id=bytes(15)),
    "cmd_id of 17 bytes": row(cmd_id=bytes(17)),
    "result 2^16": row(result=0x1_0000),
    "result negative": row(result=-1),
    "intent without a command": row(type=int(RecordType.COMMAND_INTENT)),
    "result without a command": row(type=int(RecordType.COMMAND_RESULT), result=0),
    "result without a result": row(type=int(RecordType.COMMAND_RESULT), cmd_id=bytes(16)),
    "refusal without a result": row(type=int(RecordType.REFUSED)),
    "gap without a count": row(type=int(RecordType.GAP)),
}


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in MALFORMED.items()])
def test_a_record_of_another_form_is_malformed(data: bytes) -> None:
    assert code_of(lambda: LogRecord.from_bytes(data)) is Code.MALFORMED


def test_a_record_beyond_its_size_is_not_even_parsed() -> None:
    assert code_of(lambda: LogRecord.from_bytes(bytes(RECORD_SIZE_MAX + 1))) is Code.TOO_LARGE


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(record(0), id="seq 0"),
        pytest.param(replace(record(1), actor=bytes(7)), id="short kid"),
        pytest.param(record(1, RecordType.COMMAND_INTENT), id="intent without a command"),
    ],
)
def test_we_write_no_record_that_would_be_refused(wrong: LogRecord) -> None:
    with pytest.raises(LocalProtocolError):
        wrong.to_bytes()


def test_every_type_has_an_importance() -> None:
    assert IMPORTANCE.keys() == set(RecordType)


def test_attack_refusals_at_the_door_push_out_nothing_but_routine() -> None:
    """A stranger can cause refusals at will; what commands did is never folded for them."""
    assert IMPORTANCE[RecordType.REFUSED] is Importance.ROUTINE
    assert min(IMPORTANCE[kind] for kind in (RecordType.UNLOCKED, RecordType.KEY_UNLOCKED)) > Importance.ROUTINE
    assert IMPORTANCE[RecordType.COMMAND_INTENT] is IMPORTANCE[RecordType.GAP] is Importance.KEPT


# ---------------------------------------------------------------------------------------------------------- the chain


def test_the_chain_starts_with_its_log_id_and_covers_every_record() -> None:
    first = record(1).to_bytes()
    h0 = hashlib.sha256(b"carelock/ev1" + LOG_ID).digest()
    assert genesis(LOG_ID) == h0
    assert chain(h0, first) == hashlib.sha256(b"carelock/ev1" + h0 + first).digest()


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_log_id_of_another_length_is_our_own_mistake(size: int) -> None:
    with pytest.raises(LocalProtocolError):
        LogPosition.start(bytes(size))


def test_batches_continue_each_other() -> None:
    records = written(1, 2, 3)
    parsed, position = verify_batch(START, from_seq=1, previous=START.head, records=records[:2])
    assert parsed == (record(1), record(2))
    assert position.seq == 2
    parsed, position = verify_batch(position, from_seq=3, previous=position.head, records=records[2:])
    assert parsed == (record(3),)
    head = chain(chain(chain(genesis(LOG_ID), records[0]), records[1]), records[2])
    assert position == LogPosition(log_id=LOG_ID, seq=3, head=head)


def test_an_empty_batch_that_continues_changes_nothing() -> None:
    assert verify_batch(START, from_seq=1, previous=START.head, records=[]) == ((), START)


def test_a_reader_may_start_at_the_record_of_its_own_pairing() -> None:
    whole = after(START, written(1, 2, 3))
    paired = after(START, written(1, 2))
    assert after(paired, written(3)) == whole


# ---------------------------------------------------------------------------------------------------------- the attacks


def test_attack_records_withheld_before_the_batch() -> None:
    held = after(START, written(1))
    skipping = after(held, written(2))
    batch = written(3)
    assert code_of(lambda: verify_batch(held, from_seq=3, previous=skipping.head, records=batch)) is Code.LOG_GAP
    assert code_of(lambda: verify_batch(held, from_seq=3, previous=held.head, records=batch)) is Code.LOG_GAP


@pytest.mark.parametrize("seqs", [(1, 3), (2, 3), (1, 1), (2, 1), (1, 2, 4)])
def test_attack_records_withheld_or_reordered_within_the_batch(seqs: tuple[int, ...]) -> None:
    batch = written(*seqs)
    assert code_of(lambda: verify_batch(START, from_seq=1, previous=START.head, records=batch)) is Code.LOG_GAP


def test_attack_another_history_under_the_same_numbers() -> None:
    held = after(START, written(1))
    other = after(START, [replace(record(1), type=RecordType.KEY_UNLOCKED).to_bytes()])
    assert code_of(lambda: verify_batch(held, from_seq=2, previous=other.head, records=written(2))) is Code.LOG_FORK


def test_attack_the_log_of_another_lock() -> None:
    other = LogPosition.start(bytes(16))
    assert code_of(lambda: verify_batch(START, from_seq=1, previous=other.head, records=written(1))) is Code.LOG_FORK


@pytest.mark.parametrize("from_seq", [0, 1, 2])
def test_attack_records_already_held_are_told_again(from_seq: int) -> None:
    held = after(START, written(1, 2))
    batch = written(from_seq + 1)
    assert code_of(lambda: verify_batch(held, from_seq=from_seq, previous=held.head, records=batch)) is Code.LOG_FORK


def test_attack_an_altered_record_shows_at_the_next_batch() -> None:
    altered = after(START, [replace(record(1), up_s=1).to_bytes()])
    honest = after(START, written(1))
    assert code_of(lambda: verify_batch(altered, from_seq=2, previous=honest.head, records=written(2))) is Code.LOG_FORK


def test_attack_a_record_that_is_none_spoils_the_whole_batch() -> None:
    batch = [*written(1), b"\xff"]
    assert code_of(lambda: verify_batch(START, from_seq=1, previous=START.head, records=batch)) is Code.MALFORMED
