"""Signed objects: kept as received, never replaced by older ones, bounded."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from gatewayd.store import buckets, locks, trust
from gatewayd.store.faults import StoreCode
from tests.support.store_rows import HOME, KID, LOCK, OTHER_KID

if TYPE_CHECKING:
    from gatewayd.store.database import Transaction
    from tests.support.store_rows import Rows


def test_the_newest_keyset_and_state_outlive_a_restart(rows: Rows) -> None:
    rows.run(lambda tx: trust.save_keyset(tx, b"keyset", 4))
    rows.run(lambda tx: trust.save_authority_state(tx, b"state", 4, 17))
    rows.restart()
    assert rows.run(trust.load_keyset) == b"keyset"
    assert rows.run(trust.load_authority_state) == b"state"


def test_before_any_there_is_no_keyset_and_no_state(rows: Rows) -> None:
    assert rows.run(trust.load_keyset) is None
    assert rows.run(trust.load_authority_state) is None


@pytest.mark.parametrize(
    ("version", "seq", "kept"),
    [(4, 18, b"new"), (5, 1, b"new"), (4, 17, b"held")],
    ids=["the next seq", "a new keyset begins anew", "the same number again"],
)
def test_a_later_state_takes_the_place_of_an_earlier_one(rows: Rows, version: int, seq: int, kept: bytes) -> None:
    rows.run(lambda tx: trust.save_authority_state(tx, b"held", 4, 17))
    rows.run(lambda tx: trust.save_authority_state(tx, b"new", version, seq))
    assert rows.run(trust.load_authority_state) == kept


@pytest.mark.parametrize(("version", "seq"), [(4, 16), (3, 99)], ids=["seq", "keyset version"])
def test_attack_an_older_state_never_takes_the_place_of_a_later_one(rows: Rows, version: int, seq: int) -> None:
    rows.run(lambda tx: trust.save_authority_state(tx, b"held", 4, 17))
    older = partial(trust.save_authority_state, raw=b"old", keyset_version=version, seq=seq)
    assert rows.refusal(older) == StoreCode.OUTDATED
    assert rows.run(trust.load_authority_state) == b"held"


def test_attack_an_older_keyset_never_takes_the_place_of_a_later_one(rows: Rows) -> None:
    rows.run(lambda tx: trust.save_keyset(tx, b"held", 4))
    assert rows.refusal(lambda tx: trust.save_keyset(tx, b"old", 3)) == StoreCode.OUTDATED
    assert rows.run(trust.load_keyset) == b"held"


def test_one_authority_a_provider_is_kept(rows: Rows) -> None:
    for kid, raw in ((KID, b"1"), (OTHER_KID, b"2"), (KID, b"3")):
        rows.run(partial(trust.save_authority, kid=kid, raw=raw))
    assert rows.run(trust.load_authorities) == {KID: b"3", OTHER_KID: b"2"}


def test_authorities_are_bounded_and_the_one_saved_longest_ago_goes(rows: Rows) -> None:
    for number in range(trust.AUTHORITY_COUNT_MAX + 1):
        rows.run(partial(trust.save_authority, kid=bytes([number]) * 8, raw=b"raw"))
    held = rows.run(trust.load_authorities)
    assert len(held) == trust.AUTHORITY_COUNT_MAX
    assert bytes(8) not in held


def fill_with_grants(rows: Rows) -> None:
    rows.run(
        lambda tx: tx.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO grants SELECT CAST(i AS BLOB), x'', i FROM n",
            (trust.GRANT_COUNT_MAX,),
        )
    )


def test_grants_are_bounded_and_the_one_that_expires_first_goes(rows: Rows) -> None:
    fill_with_grants(rows)
    rows.run(lambda tx: trust.save_grant(tx, b"new", b"raw", 500))
    held = rows.run(trust.load_grants)
    assert len(held) == trust.GRANT_COUNT_MAX
    assert held[b"new"] == b"raw"
    assert b"1" not in held
    assert b"2" in held


def test_attack_a_grant_that_expires_before_all_others_evicts_none_of_them(rows: Rows) -> None:
    fill_with_grants(rows)
    rows.run(lambda tx: trust.save_grant(tx, b"new", b"raw", 0))
    held = rows.run(trust.load_grants)
    assert len(held) == trust.GRANT_COUNT_MAX
    assert b"new" not in held


def test_retained_objects_that_come_again_at_each_reconnect_are_not_written_again(rows: Rows) -> None:
    def save(tx: Transaction) -> None:
        trust.save_keyset(tx, b"keyset", 4)
        trust.save_authority_state(tx, b"state", 4, 17)
        trust.save_authority(tx, KID, b"authority")
        trust.save_grant(tx, b"sha256", b"grant", 9)
        buckets.save_buckets(tx, {"a": 1})
        locks.save_lock_home(tx, HOME)
        locks.raise_version_floor(tx, LOCK, 1)

    assert rows.written(save)
    assert not rows.written(save)
