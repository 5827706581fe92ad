"""The closed list of events, and the bytes that they become."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gatewayd.journal.events import (
    DETAIL_LENGTH_MAX,
    EVENT_TYPES,
    AlertRaised,
    CommandDecided,
    CommandDenied,
    Event,
    GatewayHeartbeat,
    LockRecorded,
    TimeStamp,
)
from gatewayd.journal.leaves import LEAF_SIZE_MAX, LeafError, read_leaf, to_leaf
from tests.support.journal_bench import GATEWAY_ID, LOCK_ID, LOG_ID, SALT, TIME, heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DECIDED = CommandDecided(
    lock_id=LOCK_ID,
    priority=True,
    command_id=b"i" * 16,
    command_sha256=b"h" * 32,
    channel="relay",
    action="unlock",
    code="outcome.permitted",
    signer=b"k" * 8,
    subject="anna",
    role="carer",
    provider="north-care",
    grant=b"g" * 16,
    tier="fresh",
    keyset_version=1,
)


def leaf(event: Event, *, index: int = 17, time: TimeStamp = TIME) -> bytes:
    return to_leaf(event, gateway_id=GATEWAY_ID, log_id=LOG_ID, index=index, salt=SALT, time=time)


def test_every_type_names_a_noun_and_what_happened_to_it_once() -> None:
    assert len(EVENT_TYPES) == len(Event.__subclasses__())
    assert all(name.startswith("carelock.") and name.count(".") == 2 for name in EVENT_TYPES)


def test_an_event_is_a_structured_cloud_event_with_its_time_and_salt() -> None:
    assert json.loads(leaf(DECIDED)) == {
        "specversion": "1.0",
        "id": "000102030405060708090a0b0c0d0e0f/17",
        "source": f"/gateways/{GATEWAY_ID.hex()}/locks/{LOCK_ID.hex()}",
        "type": "carelock.command.decided",
        "datacontenttype": "application/json",
        "time": "2026-05-28T20:26:40.000Z",
        "timelo": "2026-05-28T20:26:40.000Z",
        "timehi": "2026-05-28T20:27:40.000Z",
        "salt": "MDEyMzQ1Njc4OWFiY2RlZg==",
        "priority": True,
        "data": {
            "command_id": "69" * 16,
            "command_sha256": "68" * 32,
            "channel": "relay",
            "action": "unlock",
            "code": "outcome.permitted",
            "signer": "6b" * 8,
            "subject": "anna",
            "role": "carer",
            "provider": "north-care",
            "grant": "67" * 16,
            "tier": "fresh",
            "keyset_version": 1,
            "state_seq": None,
            "alarm_ref": None,
            "second_signer": None,
            "second_subject": None,
        },
    }


def test_the_same_event_is_the_same_bytes_compact_and_sorted() -> None:
    data = leaf(heartbeat())
    assert data == leaf(heartbeat())
    assert data == json.dumps(json.loads(data), separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def test_an_event_of_the_gateway_itself_has_no_lock_in_its_source() -> None:
    assert json.loads(leaf(heartbeat()))["source"] == f"/gateways/{GATEWAY_ID.hex()}"


def test_untrusted_time_has_no_upper_end() -> None:
    assert "timehi" not in json.loads(leaf(heartbeat(), time=TimeStamp(lo_ms=TIME.lo_ms, hi_ms=None)))


@pytest.mark.parametrize(
    ("lo_ms", "text"),
    [
        (-1, "1970-01-01T00:00:00.000Z"),
        (999, "1970-01-01T00:00:00.999Z"),
        (253_402_300_799_000, "9999-12-31T23:59:59.000Z"),
        (2**62, "9999-12-31T23:59:59.000Z"),
    ],
    ids=["before 1970", "milliseconds", "the last second", "far beyond it"],
)
def test_a_clock_that_is_wrong_by_ages_keeps_no_event_out(lo_ms: int, text: str) -> None:
    assert json.loads(leaf(heartbeat(), time=TimeStamp(lo_ms=lo_ms, hi_ms=None)))["timelo"] == text


ZONES = ("UTC", "Europe/Stockholm", "XXX-14", "America/St_Johns", "right/Europe/Stockholm")


@pytest.fixture
def zone() -> Iterator[Callable[[str], None]]:
    """Puts this process into another time zone for a test."""
    before = os.environ.get("TZ")

    def enter(name: str) -> None:
        os.environ["TZ"] = name
        time.tzset()

    yield enter
    os.environ.pop("TZ") if before is None else os.environ.__setitem__("TZ", before)
    time.tzset()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(ms=st.integers(0, 253_402_300_799_000), name=st.sampled_from(ZONES))
@example(ms=(2**31 - 1) * 1_000, name="UTC")  # the last second of a 32-bit time_t
@example(ms=2**31 * 1_000, name="Europe/Stockholm")
@example(ms=1_774_746_000_000, name="Europe/Stockholm")  # 2026-03-29T01:00Z: an hour that the clocks there skip
@example(ms=1_792_890_000_000, name="Europe/Stockholm")  # 2026-10-25T01:00Z: one that they have twice
@example(ms=1_483_228_799_999, name="right/Europe/Stockholm")  # 2016-12-31: a leap second follows
@example(ms=4_102_444_800_001, name="America/St_Johns")
def test_an_entrys_moment_is_utc_to_the_millisecond_in_any_zone_and_any_year(
    zone: Callable[[str], None], ms: int, name: str
) -> None:
    zone(name)
    written = json.loads(leaf(heartbeat(), time=TimeStamp(lo_ms=ms, hi_ms=ms)))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert datetime.fromisoformat(written["timelo"]) - epoch == timedelta(milliseconds=ms)
    assert written["timehi"] == written["timelo"]


def test_an_entry_is_read_back() -> None:
    read = read_leaf(leaf(DECIDED))
    assert (read.gateway_id, read.log_id, read.index, read.lock_id) == (GATEWAY_ID, LOG_ID, 17, LOCK_ID)
    assert (read.type, read.time_lo, read.time_hi) == (
        DECIDED.TYPE,
        "2026-05-28T20:26:40.000Z",
        "2026-05-28T20:27:40.000Z",
    )
    assert read.data["subject"] == "anna"
    assert read_leaf(leaf(heartbeat())).lock_id is None


def test_a_long_text_is_cut_rather_than_lost() -> None:
    alert = AlertRaised(code="x", detail="å" * (DETAIL_LENGTH_MAX + 1))
    assert len(alert.detail) == DETAIL_LENGTH_MAX
    assert len(leaf(alert)) < LEAF_SIZE_MAX


def test_attack_a_name_with_line_breaks_and_escapes_stays_inside_its_string() -> None:
    data = leaf(CommandDenied(channel='a"\n\x1b[31m', code="x", suppressed_count=0))
    assert b"\n" not in data
    assert b"\x1b" not in data
    assert read_leaf(data).data["channel"] == 'a"\n\x1b[31m'


def test_the_longest_event_still_fits() -> None:
    record = LockRecorded(
        lock_id=LOCK_ID,
        log_id=b"\xff" * 16,
        seq=2**63,
        record=b"\xff" * 96,
        previous=b"\xff" * 32,
        kind="COMMAND_RESULT",
        up_s=2**63,
        boot=2**63,
        actor=b"\xff" * 8,
        command_id=b"\xff" * 16,
        result=2**16,
        replayed=True,
        unattributed=True,
    )
    assert len(leaf(record)) < 2_000


@pytest.mark.parametrize(
    "wrong",
    [{"tier": "x" * 65}, {"state_seq": -1}, {"keyset_version": None}, {"surprise": 1}, {"lock_id": bytes(7)}],
    ids=["too long", "negative", "missing", "a field too many", "half a lock id"],
)
def test_an_event_of_another_shape_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GatewayHeartbeat(**({"tier": "fresh", "state_seq": 0, "keyset_version": 1} | wrong))


@pytest.mark.parametrize("record", ["A", "AAA", "AA=A", "AAAAA===", "å", "AA AA"])
def test_base64_that_does_not_decode_is_refused(record: str) -> None:
    with pytest.raises(ValidationError):
        LockRecorded(log_id="00" * 16, seq=1, record=record, kind="BOOT", up_s=0, boot=0)


def altered(**changes: object) -> bytes:
    envelope = {key: value for key, value in (json.loads(leaf(heartbeat())) | changes).items() if value != "drop"}
    return json.dumps(envelope).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 8_000,
        b" " * (LEAF_SIZE_MAX + 1),
        altered(specversion="2.0"),
        altered(id="x/1"),
        altered(id=f"{LOG_ID.hex()}/01"),
        altered(id=f"{LOG_ID.hex()}/1\n"),
        altered(id=1),
        altered(source="/gateways/.."),
        altered(type="carelock.door.invented"),
        altered(type="drop"),
        altered(timelo="drop"),
        altered(data={}),
        altered(data="drop"),
        altered(data=[1]),
    ],
    ids=[
        "empty",
        "not text",
        "a list",
        "deeply nested",
        "too long",
        "another version",
        "an id of another form",
        "an index of another form",
        "a line break",
        "a number as id",
        "a source of another form",
        "an unknown type",
        "no type",
        "no time",
        "no fields",
        "no data",
        "data of another kind",
    ],
)
def test_attack_bytes_that_are_no_entry_are_refused(data: bytes) -> None:
    with pytest.raises(LeafError) as refused:
        read_leaf(data)
    assert refused.value.code == "journal.leaf_malformed"


def test_the_longest_entry_that_is_read_is_exactly_the_bound() -> None:
    data = leaf(heartbeat())
    assert read_leaf(data + b" " * (LEAF_SIZE_MAX - len(data))).index == 17
