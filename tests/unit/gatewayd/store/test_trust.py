"""Signed objects: kept as received, never replaced by older ones, bounded."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from gatewayd.store import buckets, locks, trust
from gatewayd.store.faults import StoreCode
from gatewayd.store.trust import Kept, StoredGrant
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


def test_an_authority_takes_the_place_only_of_the_one_that_it_was_judged_by(rows: Rows) -> None:
    def replace(raw: bytes, instead_of: bytes | None) -> bytes:
        return rows.run(lambda tx: trust.replace_authority(tx, KID, raw, instead_of=instead_of))

    assert replace(b"first", None) == b"first"
    assert replace(b"second", b"first") == b"second"
    assert replace(b"between", b"first") == b"second"
    assert replace(b"second", b"first") == b"second"
    assert rows.run(trust.load_authorities) == {KID: b"second"}


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


def grant(number: int, *, issuer: bytes = KID, exp_s: int = 500) -> StoredGrant:
    return StoredGrant(sha256=number.to_bytes(32, "big"), issuer_kid=issuer, cti=bytes(16), exp_s=exp_s, raw=b"raw")


def test_a_grant_is_found_by_its_hash_and_kept_once(rows: Rows) -> None:
    assert rows.run(lambda tx: trust.save_grant(tx, grant(1), now_s=0)) is Kept.NEW
    assert rows.run(lambda tx: trust.save_grant(tx, grant(1), now_s=0)) is Kept.HELD
    rows.restart()
    assert rows.run(lambda tx: trust.find_grant(tx, grant(1).sha256)) == b"raw"
    assert rows.run(lambda tx: trust.find_grant(tx, bytes(32))) is None
    assert rows.run(trust.count_grants) == 1


def test_attack_one_signers_flood_fills_its_own_share_and_nobody_elses(rows: Rows) -> None:
    share = trust.GRANT_COUNT_PER_ISSUER_MAX

    def flood(tx: Transaction) -> set[Kept]:
        return {trust.save_grant(tx, grant(number), now_s=0) for number in range(share)}

    assert rows.run(flood) == {Kept.NEW}
    assert rows.run(lambda tx: trust.save_grant(tx, grant(share), now_s=0)) is Kept.FULL
    assert rows.run(lambda tx: trust.save_grant(tx, grant(share, issuer=OTHER_KID), now_s=0)) is Kept.NEW


@pytest.mark.parametrize(("now_s", "count"), [(499, 2), (500, 1)], ids=["its last second", "over"])
def test_what_has_ended_makes_room(rows: Rows, now_s: int, count: int) -> None:
    rows.run(lambda tx: trust.save_grant(tx, grant(1, exp_s=500), now_s=0))
    rows.run(lambda tx: trust.save_grant(tx, grant(2, exp_s=900, issuer=OTHER_KID), now_s=now_s))
    assert rows.run(trust.count_grants) == count


def test_grants_are_listed_page_by_page(rows: Rows) -> None:
    for number in (3, 1, 2):
        rows.run(partial(trust.save_grant, grant=grant(number), now_s=0))
    first = rows.run(lambda tx: trust.list_grants(tx, b"", 2))
    assert first == (grant(1), grant(2))
    assert rows.run(lambda tx: trust.list_grants(tx, first[-1].sha256, 2)) == (grant(3),)


def test_keysets_that_were_in_force_are_kept_newest_first_and_bounded(rows: Rows) -> None:
    for version in range(1, trust.KEYSET_COUNT_MAX + 2):
        rows.run(partial(trust.save_keyset, raw=bytes([version]), version=version))
    held = rows.run(trust.load_keysets)
    assert len(held) == trust.KEYSET_COUNT_MAX
    assert held[0] == bytes([trust.KEYSET_COUNT_MAX + 1])
    assert bytes([1]) not in held


def test_retained_objects_that_come_again_at_each_reconnect_are_not_written_again(rows: Rows) -> None:
    def save(tx: Transaction) -> None:
        trust.save_keyset(tx, b"keyset", 4)
        trust.save_authority_state(tx, b"state", 4, 17)
        trust.save_authority(tx, KID, b"authority")
        trust.save_grant(tx, grant(9), now_s=0)
        buckets.save_buckets(tx, {"a": 1})
        locks.save_lock_home(tx, HOME)
        locks.raise_version_floor(tx, LOCK, 1)

    assert rows.written(save)
    assert not rows.written(save)
