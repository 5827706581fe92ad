from __future__ import annotations

import json
from typing import Any

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.lock_log import RecordType
from simulator.journal_leaf import INDEX_MAX, LEAF_SIZE_MAX, read_leaf
from simulator.office import Home, Office
from tests.support.small_journal import LOG_ID, SmallJournal, SmallLockLog


@pytest.fixture(scope="module")
def home() -> Home:
    return Office(b"seed").home("home-1")


def altered(raw: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(raw) | changes).encode()


def test_a_leaf_about_the_gateway_says_which_entry_of_which_log_it_is(home: Home) -> None:
    raw = SmallJournal(home).beat()
    leaf = read_leaf(raw)
    assert (leaf.raw, leaf.gateway_id, leaf.log_id, leaf.index, leaf.lock_id) == (raw, home.gateway_id, LOG_ID, 0, None)
    assert (leaf.type, leaf.data["tier"]) == ("carelock.gateway.heartbeat", "fresh")


def test_a_leaf_about_a_lock_names_it(home: Home) -> None:
    leaf = read_leaf(SmallJournal(home).append(SmallLockLog(home).event(RecordType.BOOT)))
    assert leaf.lock_id == home.lock_id


@pytest.mark.parametrize(
    "index", ["-1", "01", "1.0", " 1", "", "x", str(INDEX_MAX + 1)], ids=lambda text: f"index {text!r}"
)
def test_an_index_has_one_form(home: Home, index: str) -> None:
    raw = SmallJournal(home).beat()
    read_leaf(altered(raw, id=f"{LOG_ID.hex()}/{INDEX_MAX}"))
    with pytest.raises(RemoteProtocolError) as refused:
        read_leaf(altered(raw, id=f"{LOG_ID.hex()}/{index}"))
    assert refused.value.code is Code.MALFORMED


@pytest.mark.parametrize(
    "source",
    [
        "",
        "gateways/0011223344556677",
        "/gateways/00112233445566",
        "/gateways/00112233445566FF",
        "/gateways/0011223344556677/locks",
        "/gateways/0011223344556677/doors/0011223344556677",
        "/gateways/0011223344556677/locks/00",
        "/gateways/0011223344556677/locks/0011223344556677/x",
        7,
    ],
)
def test_a_source_has_one_form(home: Home, source: object) -> None:
    raw = SmallJournal(home).beat()
    read_leaf(altered(raw, source="/gateways/0011223344556677/locks/0011223344556677"))
    with pytest.raises(RemoteProtocolError):
        read_leaf(altered(raw, source=source))


def test_attack_a_leaf_beyond_its_size_is_not_parsed(home: Home) -> None:
    raw = SmallJournal(home).beat()
    read_leaf(raw + b" " * (LEAF_SIZE_MAX - len(raw)))
    with pytest.raises(RemoteProtocolError) as refused:
        read_leaf(raw + b" " * (LEAF_SIZE_MAX - len(raw) + 1))
    assert refused.value.code is Code.TOO_LARGE
