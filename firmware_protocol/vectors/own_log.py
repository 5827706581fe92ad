"""Vectors of the lock's log: records, the chain, and batches good and bad (docs/protocol.md §12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from firmware_protocol import cbor
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.lock_log import LogPosition, LogRecord, RecordType, genesis, verify_batch
from firmware_protocol.messages import LogBatch
from firmware_protocol.vectors.case import Case, document, error_of
from firmware_protocol.vectors.example_records import LOG_RECORDS, heads
from firmware_protocol.vectors.examples import LOCK_LOG_ID
from firmware_protocol.vectors.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KIND: Final = "log"
_CMD_ID: Final = 6
_RESULT: Final = 7


def documents() -> Iterator[tuple[str, Case]]:
    """Yield the one file of the log."""
    about = (
        "A case with `record` is one record of the log. One with `batch` is the body of a LogBatch that a reader takes "
        "who holds the log up to `seq` with `head`; `after` is where it stands then. `genesis` is h_0."
    )
    cases = [*_record_cases(), *_batch_cases()]
    members = {"log_id": LOCK_LOG_ID.hex(), "genesis": genesis(LOCK_LOG_ID).hex(), "cases": cases}
    yield "log", document(KIND, "12", about, **members)


def judge(given: Case) -> Tally:
    """Read every record and take every batch."""
    tally, log_id = Tally(), bytes.fromhex(given["log_id"])
    tally.judge("genesis", is_right=genesis(log_id).hex() == given["genesis"])
    for case in given["cases"]:
        if "record" in case:
            error = error_of(LogRecord.from_bytes, bytes.fromhex(case["record"]))
            tally.judge(case["name"], is_right=error == case["error"])
        else:
            tally.judge(case["name"], is_right=_taken(log_id, case) == (case["error"], case["after"]))
    return tally


def _taken(log_id: bytes, case: Case) -> tuple[str | None, dict[str, Any] | None]:
    position = LogPosition(log_id=log_id, seq=case["seq"], head=bytes.fromhex(case["head"]))
    try:
        batch = LogBatch.from_bytes(bytes.fromhex(case["batch"]))
        _, after = verify_batch(position, from_seq=batch.from_seq, previous=batch.previous, records=batch.records)
    except RemoteProtocolError as error:
        return error.code.name, None
    return None, {"seq": after.seq, "head": after.head.hex()}


def _record_cases() -> Iterator[Case]:
    for number, data in enumerate(LOG_RECORDS, start=1):
        record = LogRecord.from_bytes(data)
        yield {"name": f"record {number}: {record.type.name}", "error": None, "layer": "good", "record": data.hex()}
    row = cbor.decode(LOG_RECORDS[4], size_max=len(LOG_RECORDS[4]))
    assert isinstance(row, tuple)  # noqa: S101 - a record is an array
    for name, changed in _wrong_rows(row):
        data = cbor.encode(changed)
        yield {"name": name, "error": Code.MALFORMED.name, "layer": "shape", "record": data.hex()}
    for name, data in (("a byte behind the end", LOG_RECORDS[0] + b"\x00"), ("cut short", LOG_RECORDS[0][:-1])):
        yield {"name": name, "error": Code.MALFORMED.name, "layer": "encoding", "record": data.hex()}


def _wrong_rows(row: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    def with_(place: int, value: object) -> tuple[Any, ...]:
        return (*row[:place], value, *row[place + 1 :])

    yield "a place too few", row[:-1]
    yield "a place too many", (*row, None)
    for place, name in enumerate(("seq", "boot", "up_s", "wall_s", "type", "actor", "cmd_id", "result")):
        yield f"{name} is text", with_(place, "x")
    yield "seq 0", with_(0, 0)
    yield "a type that there is not", with_(4, 99)
    yield "an actor of 7 bytes", with_(5, bytes(7))
    yield "a cmd_id of 15 bytes", with_(_CMD_ID, bytes(15))
    yield "a result above 65535", with_(_RESULT, 0x10000)
    yield "COMMAND_RESULT without a cmd_id", with_(_CMD_ID, None)
    yield "COMMAND_RESULT without a result", with_(_RESULT, None)
    intent = with_(4, int(RecordType.COMMAND_INTENT))
    yield "COMMAND_INTENT without a cmd_id", (*intent[:_CMD_ID], None, None)
    for kind in (RecordType.REFUSED, RecordType.GAP):
        yield f"{kind.name} without a result", (*row[:4], int(kind), None, None, None)


def _batch_cases() -> Iterator[Case]:
    head = heads()
    records = list(LOG_RECORDS)
    yield _batch("the first three records", 0, 1, head[0], records[:3])
    yield _batch("the next three", 3, 4, head[3], records[3:6])
    yield _batch("nothing new", 3, 4, head[3], [])
    yield _batch("a hole before it", 2, 4, head[3], records[3:6], Code.LOG_GAP)
    yield _batch("a hole within it", 3, 4, head[3], [records[3], records[5]], Code.LOG_GAP)
    yield _batch("records in another order", 3, 4, head[3], [records[4], records[3]], Code.LOG_GAP)
    yield _batch("records already held", 3, 3, head[2], records[2:5], Code.LOG_FORK)
    yield _batch("another history", 3, 4, head[2], records[3:6], Code.LOG_FORK)
    forged = LogRecord.from_bytes(records[3]).to_bytes()
    yield _batch("a record that is none", 3, 4, head[3], [forged, b"\x80"], Code.MALFORMED)
    yield _batch("a reader who was shown another log", 3, 4, head[3], records[3:6], Code.LOG_FORK, own_head=bytes(32))


def _batch(
    name: str,
    seq: int,
    from_seq: int,
    previous: bytes,
    records: Sequence[bytes],
    error: Code | None = None,
    *,
    own_head: bytes | None = None,
) -> Case:
    batch = LogBatch(log_id=LOCK_LOG_ID, from_seq=from_seq, previous=previous, records=tuple(records), more=False)
    after = seq + len(records)
    return {
        "name": name,
        "error": None if error is None else error.name,
        "seq": seq,
        "head": (own_head or heads()[seq]).hex(),
        "batch": batch.to_bytes().hex(),
        "after": {"seq": after, "head": heads()[after].hex()} if error is None else None,
    }
