"""Lock-outs in the store: kept over restarts, bounded, forgotten when they are forgiven."""

from __future__ import annotations

import pytest

from gatewayd.access.lockout import FORGIVEN_MS, NEVER_REFUSED, Lockout
from gatewayd.store import lockouts
from gatewayd.store.lockouts import clear_lockout, load_lockout, save_lockout
from tests.support.store_rows import KID, LOCK, OTHER_KID, OTHER_LOCK, Rows

HELD = Lockout(refusal_count=6, last_ms=10**12, until_ms=10**12 + 20_000)


def test_attack_pulling_the_plug_ends_no_lock_out(rows: Rows) -> None:
    rows.run(lambda tx: save_lockout(tx, KID, LOCK, HELD))
    rows.restart()
    assert rows.run(lambda tx: load_lockout(tx, KID, LOCK)) == HELD


def test_a_lock_out_is_of_one_signer_at_one_lock(rows: Rows) -> None:
    rows.run(lambda tx: save_lockout(tx, KID, LOCK, HELD))
    assert rows.run(lambda tx: load_lockout(tx, OTHER_KID, LOCK)) == NEVER_REFUSED
    assert rows.run(lambda tx: load_lockout(tx, KID, OTHER_LOCK)) == NEVER_REFUSED


def test_who_was_let_in_starts_anew(rows: Rows) -> None:
    rows.run(lambda tx: save_lockout(tx, KID, LOCK, HELD))
    rows.run(lambda tx: clear_lockout(tx, KID, LOCK))
    assert rows.run(lambda tx: load_lockout(tx, KID, LOCK)) == NEVER_REFUSED


@pytest.mark.parametrize(("age_ms", "kept"), [(FORGIVEN_MS - 1, HELD), (FORGIVEN_MS, NEVER_REFUSED)])
def test_what_is_forgiven_is_forgotten(rows: Rows, age_ms: int, kept: Lockout) -> None:
    rows.run(lambda tx: save_lockout(tx, KID, LOCK, HELD))
    later = Lockout(refusal_count=1, last_ms=HELD.last_ms + age_ms)
    rows.run(lambda tx: save_lockout(tx, OTHER_KID, LOCK, later))
    assert rows.run(lambda tx: load_lockout(tx, KID, LOCK)) == kept


def test_the_table_is_bounded_and_the_oldest_refusal_goes(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockouts, "LOCKOUT_COUNT_MAX", 1)
    rows.run(lambda tx: save_lockout(tx, KID, LOCK, HELD))
    later = Lockout(refusal_count=1, last_ms=HELD.last_ms + 1)
    rows.run(lambda tx: save_lockout(tx, OTHER_KID, LOCK, later))
    assert rows.run(lambda tx: load_lockout(tx, KID, LOCK)) == NEVER_REFUSED
    assert rows.run(lambda tx: load_lockout(tx, OTHER_KID, LOCK)) == later
