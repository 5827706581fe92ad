"""What makes a command act at most once, over restarts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from gatewayd.access.uses import SINGLE, Uses
from gatewayd.store import commands
from gatewayd.store.faults import StoreCode
from tests.support.store_rows import KID, LOCK, OTHER_KID, OTHER_LOCK, SEEN

if TYPE_CHECKING:
    from gatewayd.store.commands import SeenCommand
    from tests.support.store_rows import Rows


REFUSED = replace(SEEN, command_seq=None)


def numbered(seen: SeenCommand, number: int) -> SeenCommand:
    return replace(seen, command_id=number.to_bytes(16, "big"), journal_index=number)


def find(rows: Rows, kid: bytes = KID, command_id: bytes = SEEN.command_id) -> SeenCommand | None:
    return rows.run(lambda tx: commands.find_seen(tx, kid, command_id))


def reserve(rows: Rows, seen: SeenCommand) -> None:
    rows.run(lambda tx: commands.reserve(tx, seen))


def test_a_reserved_command_is_found_after_a_restart(rows: Rows) -> None:
    reserve(rows, SEEN)
    rows.restart()
    assert find(rows) == SEEN


def test_another_signer_may_use_the_same_command_id(rows: Rows) -> None:
    reserve(rows, SEEN)
    assert find(rows, kid=OTHER_KID) is None
    reserve(rows, replace(SEEN, kid=OTHER_KID))


def test_attack_a_command_id_is_reserved_once(rows: Rows) -> None:
    reserve(rows, SEEN)
    again = replace(SEEN, command_sha256=bytes(32))
    assert rows.refusal(lambda tx: commands.reserve(tx, again)) == StoreCode.MISUSE
    assert find(rows) == SEEN


def test_a_permitted_command_is_open_until_its_outcome_is_known(rows: Rows) -> None:
    reserve(rows, SEEN)
    rows.restart()
    assert rows.run(commands.open_intents) == (SEEN,)
    rows.run(lambda tx: commands.record_receipt(tx, KID, SEEN.command_id, b"outcome", 0x31, closed=True))
    assert rows.run(commands.open_intents) == ()
    assert find(rows) == replace(SEEN, receipt=b"outcome", code=0x31)


def test_a_refused_command_is_never_open(rows: Rows) -> None:
    reserve(rows, REFUSED)
    assert rows.run(commands.open_intents) == ()


def test_open_intents_come_in_the_order_of_the_journal(rows: Rows) -> None:
    for number in (3, 1, 2):
        reserve(rows, numbered(SEEN, number))
    assert [each.journal_index for each in rows.run(commands.open_intents)] == [1, 2, 3]


def test_a_late_receipt_does_not_open_a_closed_command_again(rows: Rows) -> None:
    reserve(rows, SEEN)
    for closed in (True, False):
        rows.run(
            partial(commands.record_receipt, kid=KID, command_id=SEEN.command_id, receipt=b"r", code=1, closed=closed)
        )
    assert rows.run(commands.open_intents) == ()


def test_uses_outlive_the_pruning_of_their_commands_and_a_restart(rows: Rows) -> None:
    uses = Uses(count=3, episode_ms=5, movement_count=2)
    rows.run(lambda tx: commands.save_uses(tx, SEEN.grant_cti, uses, SEEN.reserved_utc_s))
    rows.run(lambda tx: commands.prune_seen(tx, SEEN.reserved_utc_s + 1))
    rows.restart()
    assert rows.run(lambda tx: commands.load_uses(tx, SEEN.grant_cti)) == uses
    assert rows.run(lambda tx: commands.load_uses(tx, b"other")) == Uses()


def test_a_use_is_given_back_once(rows: Rows) -> None:
    reserve(rows, replace(SEEN, use_name=SINGLE))
    rows.run(lambda tx: commands.save_uses(tx, SEEN.grant_cti, Uses(count=3), SEEN.reserved_utc_s))
    for _ in range(2):
        rows.run(lambda tx: commands.give_back_use(tx, KID, SEEN.command_id))
    assert rows.run(lambda tx: commands.load_uses(tx, SEEN.grant_cti)) == Uses(count=2)


def test_a_command_without_a_use_gives_none_back(rows: Rows) -> None:
    reserve(rows, SEEN)
    rows.run(lambda tx: commands.save_uses(tx, SEEN.grant_cti, Uses(count=3), SEEN.reserved_utc_s))
    rows.run(lambda tx: commands.give_back_use(tx, KID, SEEN.command_id))
    rows.run(lambda tx: commands.give_back_use(tx, KID, b"another command's"))
    assert rows.run(lambda tx: commands.load_uses(tx, SEEN.grant_cti)) == Uses(count=3)


@pytest.mark.parametrize(("days", "count"), [(31, 1), (32, 0)])
def test_uses_are_forgotten_when_the_longest_grant_has_ended(rows: Rows, days: int, count: int) -> None:
    rows.run(lambda tx: commands.save_uses(tx, SEEN.grant_cti, Uses(count=1), SEEN.reserved_utc_s))
    rows.run(lambda tx: commands.prune_seen(tx, SEEN.reserved_utc_s + days * 24 * 3_600))
    assert rows.run(lambda tx: commands.load_uses(tx, SEEN.grant_cti)).count == count


@pytest.mark.parametrize(("before_s", "is_kept"), [(0, True), (1, False)], ids=["that second", "the next one"])
def test_what_was_decided_before_a_second_is_pruned(rows: Rows, before_s: int, is_kept: bool) -> None:  # noqa: FBT001 - a table column
    reserve(rows, REFUSED)
    rows.run(lambda tx: commands.prune_seen(tx, REFUSED.reserved_utc_s + before_s))
    assert (find(rows) is not None) is is_kept


def test_an_open_intent_is_never_pruned(rows: Rows) -> None:
    reserve(rows, SEEN)
    rows.run(lambda tx: commands.prune_seen(tx, 2**40))
    assert rows.run(commands.open_intents) == (SEEN,)


def test_seen_commands_are_bounded_and_the_oldest_go(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "SEEN_COUNT_MAX", 5)
    for number in range(7):
        reserve(rows, replace(numbered(REFUSED, number), reserved_utc_s=number))
    rows.run(lambda tx: commands.prune_seen(tx, 0))
    kept = [number for number in range(7) if find(rows, command_id=number.to_bytes(16, "big"))]
    assert kept == [2, 3, 4, 5, 6]


def issued(rows: Rows, *, kid: bytes = KID, lock_id: bytes = LOCK, epoch: bytes = b"e1") -> int | None:
    return rows.run(lambda tx: commands.last_issued(tx, kid, lock_id, epoch))


def test_the_last_issue_second_belongs_to_signer_lock_and_epoch_and_only_rises(rows: Rows) -> None:
    assert issued(rows) is None
    for second in (5, 9, 7):
        rows.run(partial(commands.note_issued, kid=KID, lock_id=LOCK, epoch=b"e1", issued=second))
    assert issued(rows) == 9
    assert [issued(rows, kid=OTHER_KID), issued(rows, lock_id=OTHER_LOCK), issued(rows, epoch=b"e2")] == [None] * 3


def test_a_new_epoch_begins_anew_and_earlier_ones_go(rows: Rows) -> None:
    for kid, epoch, second in ((KID, b"e1", 9), (OTHER_KID, b"e1", 8), (KID, b"e2", 1)):
        rows.run(partial(commands.note_issued, kid=kid, lock_id=LOCK, epoch=epoch, issued=second))
    assert issued(rows, epoch=b"e2") == 1
    assert rows.run(lambda tx: tx.execute("SELECT count(*) FROM issued")) == [(1,)]


def test_issue_seconds_are_bounded_and_the_earliest_goes(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "ISSUED_COUNT_MAX", 3)
    for number in range(4):
        rows.run(partial(commands.note_issued, kid=bytes([number]), lock_id=LOCK, epoch=b"e", issued=number))
    assert issued(rows, kid=b"\x00", epoch=b"e") is None
    assert issued(rows, kid=b"\x01", epoch=b"e") == 1
