"""Suspicion in the store: it outlives restarts, and a PairingOrder of a higher owner epoch alone ends it."""

from __future__ import annotations

from dataclasses import replace

from gatewayd.store import locks
from gatewayd.store.suspicions import load_suspicions, suspect, suspect_all
from tests.support.store_rows import HOME, LOCK, OTHER_LOCK, Rows

OTHER_HOME = replace(HOME, lock_id=OTHER_LOCK)


def test_attack_a_restart_forgets_no_suspicion(paired: Rows) -> None:
    paired.run(lambda tx: suspect(tx, LOCK, "link.clone_suspect"))
    paired.restart()
    assert paired.run(load_suspicions) == {LOCK: "link.clone_suspect"}


def test_the_first_reason_stands(paired: Rows) -> None:
    for reason in ("first", "second"):
        paired.run(lambda tx, reason=reason: suspect(tx, LOCK, reason))  # type: ignore[misc]  # bound now
    assert paired.run(load_suspicions) == {LOCK: "first"}


def test_the_same_order_again_ends_nothing_and_one_of_a_higher_epoch_does(paired: Rows) -> None:
    paired.run(lambda tx: suspect(tx, LOCK, "reason"))
    paired.run(lambda tx: locks.save_lock_home(tx, HOME))
    assert LOCK in paired.run(load_suspicions)
    paired.run(lambda tx: locks.save_lock_home(tx, replace(HOME, owner_epoch=HOME.owner_epoch + 1)))
    assert paired.run(load_suspicions) == {}


def test_proof_against_the_journal_needs_an_order_for_every_lock(paired: Rows) -> None:
    paired.run(lambda tx: locks.save_lock_home(tx, OTHER_HOME))
    paired.run(lambda tx: suspect_all(tx, "journal.rolled_back"))
    paired.run(lambda tx: locks.save_lock_home(tx, replace(HOME, owner_epoch=HOME.owner_epoch + 1)))
    assert paired.run(load_suspicions) == {OTHER_LOCK: "journal.rolled_back"}
