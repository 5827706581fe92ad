"""One example of every record, plain message and other body that is not signed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
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
from firmware_protocol.hello import MAGIC, GatewayHello, LockHello, LockStatus, PhoneHello, PlainClose
from firmware_protocol.lock_log import LogRecord, RecordType, chain, genesis
from firmware_protocol.messages import (
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
    Ping,
    Pong,
    RelayClose,
    RelayData,
    RelayOpen,
    State,
    StateEvent,
    StateGet,
)
from firmware_protocol.orders import PairingOrder
from firmware_protocol.relay import AnswerKind, RelayAnswer
from firmware_protocol.sealed import Sealed, SealedBody
from firmware_protocol.statements import CommandReceipt, LogHead
from firmware_protocol.tokens import Keyset
from firmware_protocol.vectors.examples import (
    CHALLENGE,
    COMMAND,
    LOCK_LOG_ID,
    NOW_S,
    PUBLIC,
    SIGNED_COMMAND,
    SIGNED_GRANT,
    STRANGER_LINK,
    signed_example,
)
from firmware_protocol.vocabulary import Action, Bolt, Decider, DoorLeaf, Parcel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_protocol.hello import PlainMessage
    from firmware_protocol.messages import Message
    from firmware_protocol.schema import WireMap

CARER_KID: Final = kid_of(PUBLIC["device"])


def _log() -> tuple[LogRecord, ...]:
    def record(seq: int, kind: RecordType, **more: bytes | int) -> LogRecord:
        facts: dict[str, bytes | int | None] = {"actor": None, "cmd_id": None, "result": None, **more}
        wall_s = None if seq < 3 else NOW_S + seq  # noqa: PLR2004 - the wall clock is set by the second record
        return LogRecord(seq=seq, boot=1, up_s=60 + seq, wall_s=wall_s, type=kind, **facts)  # type: ignore[arg-type]

    named: dict[str, bytes | int] = {"actor": CARER_KID, "cmd_id": COMMAND.command_id}
    return (
        record(1, RecordType.BOOT),
        record(2, RecordType.TIME),
        record(3, RecordType.COMMAND_INTENT, **named),
        record(4, RecordType.UNLOCKED, **named),
        record(5, RecordType.COMMAND_RESULT, **named, result=Code.DONE.wire),
        record(6, RecordType.DOOR_OPENED),
        record(7, RecordType.LOW_BATTERY, result=2_400),
        record(8, RecordType.GAP, result=3),
    )


LOG: Final = _log()
"""The example log of the lock, from its first record."""
LOG_RECORDS: Final = tuple(record.to_bytes() for record in LOG)


def heads() -> tuple[bytes, ...]:
    """Return h_0 to h_n of the example log."""
    hashes = [genesis(LOCK_LOG_ID)]
    for record in LOG_RECORDS:
        hashes.append(chain(hashes[-1], record))
    return tuple(hashes)


_COMMAND_HASH: Final = hashlib.sha256(SIGNED_COMMAND).digest()[:16]
RECORDS: Final[Mapping[type[Message], Message]] = {
    type(value): value
    for value in (
        Confirm(session_ctr=8, utc_lo_s=NOW_S, utc_hi_s=NOW_S + 1),
        Ping(),
        Pong(up_ms=75_000),
        Bye(code=Code.LINK_DOWN),
        StateGet(),
        State(bolt=Bolt.LOCKED, door=DoorLeaf.CLOSED, battery_mv=3_000, motor_busy=False, tampered=False, up_ms=61_000),
        StateEvent(
            bolt=Bolt.JAMMED, door=DoorLeaf.OPEN, battery_mv=2_900, motor_busy=True, tampered=True, up_ms=62_000
        ),
        LockCommand(
            command_seq=3,
            action=Action.UNLOCK,
            command_hash=_COMMAND_HASH,
            command_id=COMMAND.command_id,
            actor_kid=CARER_KID,
            before_up_ms=65_000,
        ),
        CommandAccepted(command_seq=3, up_ms=61_100),
        CommandResult(command_seq=3, code=Code.DONE, bolt=Bolt.UNLOCKED, log_seq=5, up_ms=62_400),
        CommandQuery(command_seq=3),
        LogRead(from_seq=1, count_max=16),
        LogBatch(log_id=LOCK_LOG_ID, from_seq=1, previous=genesis(LOCK_LOG_ID), records=LOG_RECORDS[:3], more=True),
        LogAck(copied_seq=5, received_seq=4),
        LogHeadRecord(head=signed_example(LogHead)),
        EventNotification(log_seq=6),
        RelayOpen(channel=1, challenge=CHALLENGE, up_ms=63_000),
        RelayData(channel=1, data=bytes(range(48))),
        RelayClose(channel=1, code=Code.BUSY),
        Courier(
            kind=Parcel.KEYSET,
            sha256=hashlib.sha256(signed_example(Keyset)).digest(),
            total=len(signed_example(Keyset)),
            chunk=signed_example(Keyset),
        ),
        CourierAck(sha256=hashlib.sha256(signed_example(Keyset)).digest(), code=Code.DONE),
        TimeGet(),
        TimeSet(receipt=b"carelock/0123456789abcdef/00\n7\n"),
        TimeState(utc_lo_s=NOW_S, utc_hi_s=NOW_S + 2, age_s=30, up_ms=90_000),
        OwnerOrder(order=signed_example(PairingOrder)),
        OwnerResult(code=Code.DONE, owner_epoch=1, log_seq=9, head=signed_example(LogHead)),
        OwnerCommit(),
        ErrorRecord(code=Code.TOO_LATE, may_have_executed=False),
    )
}
PLAIN: Final[Mapping[type[PlainMessage], PlainMessage]] = {
    type(value): value
    for value in (
        GatewayHello(magic=MAGIC, version_min=1, version_max=1, capabilities=0, nonce=b"\xb1" * 8),
        LockHello(version_min=1, version_max=1, capabilities=0, boot_nonce=b"\xb2" * 8, firmware="1.0.0"),
        PhoneHello(challenge=CHALLENGE, decider=Decider.GATEWAY),
        PlainClose(code=Code.BUSY),
    )
}
STATUS: Final = LockStatus(
    session_ctr=7,
    boot=3,
    up_ms=60_000,
    log_id=LOCK_LOG_ID,
    log_next_seq=6,
    log_copied_seq=5,
    log_received_seq=4,
    command_seq=2,
    command_code=Code.DONE,
)
OTHERS: Final[Mapping[type[WireMap], WireMap]] = {
    type(value): value
    for value in (
        STATUS,
        RelayAnswer(kind=AnswerKind.RECEIPT, body=signed_example(CommandReceipt)),
        Sealed(box=bytes(range(80))),
        SealedBody(payload=SIGNED_GRANT, answer_key=STRANGER_LINK.public),
    )
}
"""Bodies that stand neither in a record nor in a plain message."""
