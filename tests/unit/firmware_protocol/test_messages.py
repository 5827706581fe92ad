"""Records: every type there and back, and what is no record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from firmware_protocol import cbor
from firmware_protocol.codes import Code
from firmware_protocol.constants import COURIER_CHUNK_SIZE_MAX, OBJECT_SIZE_MAX
from firmware_protocol.directions import FROM_GATEWAY, FROM_LOCK
from firmware_protocol.errands import (
    Courier,
    CourierAck,
    OwnerCommit,
    OwnerOrder,
    OwnerResult,
    TimeGet,
    TimeSet,
    TimeState,
)
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.messages import (
    LOG_BATCH_COUNT_MAX,
    RECORD_SIZE_MAX,
    RELAY_DATA_SIZE_MAX,
    Bye,
    CommandAccepted,
    CommandQuery,
    CommandResult,
    Confirm,
    ErrorRecord,
    EventNotification,
    LockCommand,
    LogAck,
    LogBatch,
    LogHeadRecord,
    LogRead,
    Message,
    Ping,
    Pong,
    RelayClose,
    RelayData,
    RelayOpen,
    State,
    StateEvent,
    StateGet,
    decode_record,
    encode_record,
)
from firmware_protocol.vocabulary import Action, Bolt, DoorLeaf, Parcel

if TYPE_CHECKING:
    from firmware_protocol.cbor import Value

COMMAND = LockCommand(
    command_seq=1,
    action=Action.UNLOCK,
    command_hash=bytes(16),
    command_id=bytes(16),
    actor_kid=bytes(8),
    before_up_ms=2**53 - 1,
)
STATE = State(bolt=Bolt.JAMMED, door=DoorLeaf.OPEN, battery_mv=65_535, motor_busy=True, tampered=False, up_ms=0)
STATE_EVENT = StateEvent(
    bolt=Bolt.LOCKED, door=DoorLeaf.CLOSED, battery_mv=0, motor_busy=False, tampered=True, up_ms=2**53 - 1
)
RESULT = CommandResult(command_seq=3, code=Code.DONE, bolt=Bolt.UNLOCKED, log_seq=9, up_ms=4)
BATCH = LogBatch(
    log_id=bytes(16),
    from_seq=1,
    previous=bytes(32),
    records=(b"r" * RECORD_SIZE_MAX,) * LOG_BATCH_COUNT_MAX,
    more=True,
)
GATEWAYS = [
    Confirm(session_ctr=1, utc_lo_s=5, utc_hi_s=6),
    Confirm(session_ctr=1),
    StateGet(),
    COMMAND,
    CommandQuery(command_seq=1),
    LogRead(from_seq=1, count_max=LOG_BATCH_COUNT_MAX),
    LogAck(copied_seq=5, received_seq=5),
    Courier(kind=Parcel.STATE, sha256=bytes(32), offset=896, total=1_792, chunk=b"c" * COURIER_CHUNK_SIZE_MAX),
    Courier(kind=Parcel.ENTRY, offset=17),
    TimeGet(),
    TimeSet(receipt=b"r" * OBJECT_SIZE_MAX),
    OwnerOrder(order=b"o" * OBJECT_SIZE_MAX),
    OwnerCommit(),
]
LOCKS = [
    STATE,
    STATE_EVENT,
    CommandAccepted(command_seq=1, up_ms=2),
    RESULT,
    BATCH,
    EventNotification(log_seq=4),
    RelayOpen(channel=1, challenge=bytes(16), up_ms=3),
    CourierAck(sha256=bytes(32), code=Code.DONE),
    TimeState(utc_lo_s=5, up_ms=6),
    TimeState(utc_lo_s=5, utc_hi_s=5, age_s=0, up_ms=6),
    OwnerResult(code=Code.PERMITTED, owner_epoch=0),
    OwnerResult(code=Code.DONE, owner_epoch=2, log_seq=9, head=b"h" * OBJECT_SIZE_MAX),
]
BOTHS = [
    Ping(),
    Pong(up_ms=7),
    Bye(code=Code.LINK_DOWN),
    RelayData(channel=1, data=b"d" * RELAY_DATA_SIZE_MAX),
    RelayClose(channel=1, code=Code.DENIED),
    ErrorRecord(code=Code.BUSY, may_have_executed=False),
    LogHeadRecord(),
    LogHeadRecord(head=b"h" * OBJECT_SIZE_MAX),
]


def name(message: object) -> str:
    return type(message).__name__


def batch(records: tuple[bytes, ...]) -> LogBatch:
    return LogBatch(log_id=bytes(16), from_seq=1, previous=bytes(32), records=records, more=False)


def batch_fields(records: tuple[bytes, ...]) -> dict[int, Value]:
    return {0: bytes(16), 1: 1, 2: bytes(32), 3: records, 4: 0}


@pytest.mark.parametrize("message", GATEWAYS + BOTHS, ids=name)
def test_what_a_gateway_may_say_arrives_as_it_was_said(message: Message) -> None:
    assert decode_record(encode_record(message, 513), FROM_GATEWAY) == (513, message)


@pytest.mark.parametrize("message", LOCKS + BOTHS, ids=name)
def test_what_a_lock_may_say_arrives_as_it_was_said(message: Message) -> None:
    assert decode_record(encode_record(message, 0xFFFF), FROM_LOCK) == (0xFFFF, message)


def test_attack_the_lock_is_never_told_that_somebody_is_forced() -> None:
    fields = {**cbor.decode(COMMAND.to_bytes(), size_max=512), 1: 3}  # type: ignore[dict-item]  # a record is a map
    with pytest.raises(RemoteProtocolError, match="malformed"):
        LockCommand.from_bytes(cbor.encode(fields))


@pytest.mark.parametrize("message", LOCKS, ids=name)
def test_attack_a_gateway_cannot_speak_as_a_lock(message: Message) -> None:
    with pytest.raises(RemoteProtocolError, match="unsupported_type"):
        decode_record(encode_record(message, 1), FROM_GATEWAY)


@pytest.mark.parametrize("message", GATEWAYS, ids=name)
def test_attack_a_lock_cannot_speak_as_a_gateway(message: Message) -> None:
    with pytest.raises(RemoteProtocolError, match="unsupported_type"):
        decode_record(encode_record(message, 1), FROM_LOCK)


def test_each_type_has_its_own_number_and_its_own_side() -> None:
    both = {type(message) for message in BOTHS}
    assert set(FROM_GATEWAY.values()) == {type(message) for message in GATEWAYS} | both
    assert set(FROM_LOCK.values()) == {type(message) for message in LOCKS} | both
    kinds = {*FROM_GATEWAY.values(), *FROM_LOCK.values()}
    assert len({kind.TYPE for kind in kinds}) == len(kinds) == 28


def test_the_header_is_type_and_corr_big_endian() -> None:
    assert encode_record(CommandQuery(command_seq=7), 0x0102) == bytes.fromhex("230102a10007")


@pytest.mark.parametrize("corr", [-1, 0x1_0000])
def test_a_corr_that_does_not_fit_is_our_own_fault(corr: int) -> None:
    with pytest.raises(LocalProtocolError):
        encode_record(StateGet(), corr)


@pytest.mark.parametrize("data", [b"", b"\x10", b"\x10\x00\x01", b"\x10\x00\x01\x80", b"\x10\x00\x01\xa0\xa0"])
def test_attack_what_is_shorter_or_longer_than_a_record_is_malformed(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_record(data, FROM_GATEWAY)


@pytest.mark.parametrize("data", [b"\x00\x00\x01\xa0", b"\x40\x00\x01\xa0", b"\xff\x00\x01\xa0"])
def test_attack_an_unknown_type_is_refused(data: bytes) -> None:
    for accepted in (FROM_GATEWAY, FROM_LOCK):
        with pytest.raises(RemoteProtocolError, match="unsupported_type"):
            decode_record(data, accepted)


def lock_command(**changes: object) -> bytes:
    fields: dict[int, object] = {0: 1, 1: 1, 2: bytes(16), 3: bytes(16), 4: bytes(8), 5: 9}
    keys = {"seq": 0, "action": 1, "hash": 2, "id": 3, "kid": 4, "before": 5, "extra": 6}
    for key, value in changes.items():
        if value is None:
            del fields[keys[key]]
        else:
            fields[keys[key]] = value
    return b"\x20\x00\x01" + cbor.encode(fields)  # type: ignore[arg-type]  # wrong shapes are the point


@pytest.mark.parametrize(
    "data",
    [
        lock_command(seq=0),
        lock_command(action=0),
        lock_command(action=3),
        lock_command(hash=bytes(15)),
        lock_command(id=bytes(17)),
        lock_command(kid=bytes(7)),
        lock_command(kid="eightltr"),
        lock_command(before=None),
        lock_command(before=2**53),
        lock_command(before=-1),
        lock_command(extra=1),
    ],
    ids=["seq 0", "no action", "action", "hash", "id", "kid", "text", "missing", "too late", "negative", "unknown"],
)
def test_attack_a_command_with_a_field_out_of_shape_is_malformed(data: bytes) -> None:
    decode_record(lock_command(), FROM_GATEWAY)
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_record(data, FROM_GATEWAY)


RULES = [
    (Confirm(session_ctr=1, utc_lo_s=5), {0: 1, 1: 5}),
    (Confirm(session_ctr=1, utc_hi_s=5), {0: 1, 2: 5}),
    (LogAck(copied_seq=4, received_seq=5), {0: 4, 1: 5}),
    (LogRead(from_seq=0, count_max=1), {0: 0, 1: 1}),
    (LogRead(from_seq=1, count_max=0), {0: 1, 1: 0}),
    (LogRead(from_seq=1, count_max=LOG_BATCH_COUNT_MAX + 1), {0: 1, 1: LOG_BATCH_COUNT_MAX + 1}),
    (RelayData(channel=1, data=b""), {0: 1, 1: b""}),
    (RelayData(channel=1, data=b"d" * (RELAY_DATA_SIZE_MAX + 1)), {0: 1, 1: b"d" * (RELAY_DATA_SIZE_MAX + 1)}),
    (batch((b"r",) * (LOG_BATCH_COUNT_MAX + 1)), batch_fields((b"r",) * (LOG_BATCH_COUNT_MAX + 1))),
    (batch((b"",)), batch_fields((b"",))),
    (batch((b"r" * (RECORD_SIZE_MAX + 1),)), batch_fields((b"r" * (RECORD_SIZE_MAX + 1),))),
]


@pytest.mark.parametrize(("message", "fields"), RULES, ids=lambda value: name(value)[:9])
def test_attack_fields_that_contradict_each_other_or_their_bounds_are_malformed(
    message: Message, fields: dict[int, Value]
) -> None:
    data = bytes([message.TYPE, 0, 1]) + cbor.encode(fields)
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_record(data, {**FROM_GATEWAY, **FROM_LOCK})


@pytest.mark.parametrize(("message", "fields"), RULES, ids=lambda value: name(value)[:9])
def test_what_would_be_refused_cannot_be_said(message: Message, fields: dict[int, Value]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_record(message, 1)


def test_a_default_that_is_spelled_out_is_malformed() -> None:
    spelled = b"\x22\x00\x01" + cbor.encode({0: 3, 1: Code.DONE.wire, 2: 3, 3: None, 4: 4})
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_record(spelled, FROM_LOCK)
    left_out = b"\x22\x00\x01" + cbor.encode({0: 3, 1: Code.DONE.wire, 2: 3, 4: 4})
    _, message = decode_record(left_out, FROM_LOCK)
    assert message == CommandResult(command_seq=3, code=Code.DONE, bolt=Bolt.UNLOCKED, up_ms=4)


def test_attack_an_unknown_code_is_malformed() -> None:
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_record(b"\x0f\x00\x00" + cbor.encode({0: 0xEE}), FROM_LOCK)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({0: 1, 3: 5, 4: b"chunk"}, id="a piece without the object's hash"),
        pytest.param({0: 1, 3: 5}, id="a length without the object's hash"),
        pytest.param({0: 1, 1: bytes(32), 3: 5}, id="a hash without a piece"),
        pytest.param({0: 1, 1: bytes(32), 3: 4, 4: b"chunk"}, id="a piece longer than its object"),
        pytest.param({0: 1, 1: bytes(32), 2: 1, 3: 5, 4: b"chunk"}, id="a piece beyond the end of its object"),
        pytest.param({0: 8, 1: bytes(32), 3: 5, 4: b"chunk"}, id="an unknown kind"),
    ],
)
def test_a_courier_that_carries_no_piece_of_an_object_is_malformed(fields: dict[int, Value]) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_record(b"\x53\x00\x00" + cbor.encode(fields), FROM_GATEWAY)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({0: 5, 1: 6, 3: 7}, id="an interval without its age"),
        pytest.param({0: 5, 2: 6, 3: 7}, id="an age without an interval"),
        pytest.param({0: 6, 1: 5, 2: 0, 3: 7}, id="an interval that ends before it begins"),
    ],
)
def test_half_a_time_is_malformed(fields: dict[int, Value]) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_record(b"\x62\x00\x00" + cbor.encode(fields), FROM_LOCK)


def test_an_order_that_took_effect_without_its_proof_is_malformed() -> None:
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_record(b"\x7a\x00\x00" + cbor.encode({0: Code.DONE.wire, 1: 2, 2: 9}), FROM_LOCK)
