"""A lock's owners: paired, rotated, taken down, reset; what each may do, and what nobody can."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.constants import INSTALL_BUTTON_MS, PAIRING_MS_MAX
from firmware_protocol.courier import pieces
from firmware_protocol.errands import CourierAck, OwnerCommit, OwnerOrder, OwnerResult, TimeGet
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.lock_log import LogRecord, RecordType
from firmware_protocol.messages import (
    CommandAccepted,
    ErrorRecord,
    LogAck,
    LogBatch,
    LogHeadRecord,
    LogRead,
    State,
    StateGet,
)
from firmware_protocol.noise import KeyPair
from firmware_protocol.session import PairingOpened
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import LogHead
from firmware_protocol.vocabulary import Parcel
from tests.support.lock_bench import lock_command
from tests.support.owner_bench import NOW_S, OwnerBench, code_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.messages import Message
    from tests.support.owner_bench import Owner

NEW_LINK: Final = KeyPair.from_private(bytes([77]) * 32)


def paired() -> OwnerBench:
    bench = OwnerBench()
    assert code_of(bench.pair(bench.home)) is Code.DONE
    return bench


def unlock(bench: OwnerBench, seq: int = 1) -> Message:
    return lock_command(seq, before_up_ms=bench.lock.up_ms + 10_000)


def records(bench: OwnerBench) -> list[RecordType]:
    return [LogRecord.from_bytes(raw).type for raw in bench.flash.records_from(bench.flash.first_seq, 1_000)]


# ----------------------------------------------------------------------------------------------------------- pairing


def test_a_lock_from_the_factory_can_be_paired_and_belongs_to_whom_the_order_names() -> None:
    bench = OwnerBench()
    installer = bench.installer(bench.home)
    result = installer.hand_over(bench.order(bench.home), bench.parcels(bench.home))
    assert isinstance(result, OwnerResult)
    assert (result.code, result.owner_epoch) == (Code.DONE, 1)
    head = open_signed(LogHead, result.head or b"", bytes(bench.keys.log_key.verify_key))
    assert (head.to_seq, head.head) == (result.log_seq, bench.flash.head)
    installer.pipe.disconnect()
    owner = bench.live_owner(bench.home, 1)
    assert (owner.status.owner_epoch, owner.status.keyset_version, owner.status.state_seq) == (1, 1, 1)
    assert isinstance(owner.ask(unlock(bench)), CommandAccepted)


def test_a_paired_lock_has_no_more_pairings_until_its_button_is_pressed() -> None:
    bench = paired()
    refused = bench.installer(bench.other)
    refused.exchange()
    assert refused.closed is not None
    assert refused.closed.code is Code.NOT_INSTALLING
    bench.scheduler.advance(1_000)
    bench.lock.press_install_button()
    bench.scheduler.advance(INSTALL_BUTTON_MS - 1)
    welcome = bench.installer(bench.other)
    welcome.exchange()
    assert isinstance(welcome.events[0], PairingOpened)
    welcome.pipe.disconnect()
    bench.scheduler.advance(1)
    late = bench.installer(bench.other)
    late.exchange()
    assert late.closed is not None
    assert late.closed.code is Code.NOT_INSTALLING


def test_a_pairing_without_a_keyset_names_nobody() -> None:
    bench = OwnerBench()
    assert code_of(bench.installer(bench.home).hand_over(bench.order(bench.home))) is Code.UNKNOWN_SIGNER
    assert bench.owner_id == b""


def test_a_commit_without_an_order_changes_nothing() -> None:
    bench = OwnerBench()
    installer = bench.installer(bench.home)
    installer.exchange()
    before = bench.everything()
    assert code_of(installer.ask(OwnerCommit())) is Code.NO_ORDER
    assert bench.everything() == before


def test_a_pairing_that_stalls_is_over_after_a_minute() -> None:
    bench = OwnerBench()
    installer = bench.installer(bench.home)
    installer.exchange()
    for _ in range(PAIRING_MS_MAX // 10_000):
        assert installer.closed is None
        bench.scheduler.advance(10_000)
        installer.exchange()
    assert installer.closed is not None
    assert installer.closed.code is Code.LINK_DOWN


# ----------------------------------------------------------------------------------------------------------- attacks


def refused_pairing(bench: OwnerBench, order: bytes, code: Code) -> None:
    """Let an order be refused with this code; nothing of the lock changes, and it can still be paired rightly."""
    installer = bench.installer(bench.home)
    installer.exchange()
    before = bench.everything()
    assert code_of(installer.hand_over(order, bench.parcels(bench.home))) is code
    assert bench.everything() == before
    installer.pipe.disconnect()


def test_attack_wrong_qr_secret() -> None:
    bench = OwnerBench()
    before = bench.everything()
    thief = bench.installer(bench.home, label=replace(bench.keys.label, secret=bytes([1]) * 32))
    thief.exchange()
    assert thief.closed is not None
    assert thief.closed.code is Code.DENIED
    assert bench.everything() == before


def test_attack_expired_order() -> None:
    # The AuthorityState that came before told the lock what time it is.
    bench = paired()
    bench.lock.press_install_button()
    refused_pairing(bench, bench.order(bench.home, epoch=2, life_s=-60), Code.EXPIRED)


def test_attack_order_for_another_lock() -> None:
    bench = OwnerBench()
    stranger = bench.office.home("home-9")
    refused_pairing(bench, bench.office.pairing_order(stranger, now_s=NOW_S), Code.WRONG_AUDIENCE)


def test_attack_somebody_elses_order() -> None:
    bench = OwnerBench()
    refused_pairing(bench, bench.order(bench.other), Code.WRONG_AUDIENCE)


def test_attack_replayed_order() -> None:
    bench = paired()
    bench.lock.press_install_button()
    refused_pairing(bench, bench.order(bench.home), Code.OWNER_EPOCH)


def test_attack_order_that_burns_the_counter() -> None:
    bench = OwnerBench()
    refused_pairing(bench, bench.order(bench.home, epoch=65_537), Code.OWNER_EPOCH)


def test_attack_forged_keyset() -> None:
    bench = OwnerBench()
    forged = bench.office.keyset(now_s=NOW_S, signers=[bench.office.signing_key("thief"), bench.office.roots[0]])
    installer = bench.installer(bench.home)
    installer.exchange()
    before = bench.everything()
    assert code_of(installer.hand_over(bench.order(bench.home), [(Parcel.KEYSET, forged)])) is Code.BAD_SIGNATURE
    assert bench.everything() == before


def test_attack_state_of_another_gateway_in_a_pairing() -> None:
    bench = OwnerBench()
    parcels = [*bench.parcels(bench.home)[:2], (Parcel.STATE, bench.office.state(bench.other, now_s=NOW_S))]
    assert code_of(bench.installer(bench.home).hand_over(bench.order(bench.home), parcels)) is Code.WRONG_AUDIENCE
    assert bench.owner_id == b""


def test_attack_former_gateways_key() -> None:
    bench = paired()
    owner = bench.live_owner(bench.home, 1)
    assert code_of(owner.hand_over(bench.order(bench.home, epoch=2, link=NEW_LINK))) is Code.DONE
    owner.pipe.disconnect()
    bench.live_owner(bench.home, 1, link=NEW_LINK).pipe.disconnect()
    before = bench.everything()
    for session_ctr in (1, 2, 500):
        former = bench.owner(bench.home, session_ctr)
        former.exchange()
        assert former.closed is not None
        assert former.closed.code is Code.DENIED
        former.pipe.disconnect()
    assert bench.everything() == before


def test_attack_copied_card() -> None:
    # A copy of the card knows the keys and old counters: the lock refuses what it has confirmed before.
    bench = paired()
    bench.live_owner(bench.home, 70).pipe.disconnect()
    before = bench.everything()
    copy = bench.owner(bench.home, 65)
    with pytest.raises(RemoteProtocolError, match="clone_suspect"):
        copy.exchange()
    assert bench.everything() == before


def test_attack_the_copied_card_cannot_follow_a_rotation() -> None:
    bench = paired()
    owner = bench.live_owner(bench.home, 1)
    owner.hand_over(bench.order(bench.home, epoch=2, link=NEW_LINK))
    owner.pipe.disconnect()
    copy = bench.live_owner(bench.home, 2)
    assert code_of(copy.ask(unlock(bench))) is Code.RIGHTS
    assert code_of(copy.ask(OwnerOrder(order=bench.order(bench.home, epoch=3)))) is Code.RIGHTS
    assert bench.mechanics.movements == []


# ---------------------------------------------------------------------------------------------------------- rotation


def test_after_a_rotation_the_old_key_hands_over_and_the_new_key_owns() -> None:
    bench = paired()
    owner = bench.live_owner(bench.home, 1)
    owner.hand_over(bench.order(bench.home, epoch=2, link=NEW_LINK))
    assert isinstance(owner.ask(StateGet()), State)
    assert isinstance(owner.ask(LogRead(from_seq=owner.status.log_owner_seq, count_max=16)), LogBatch)
    assert code_of(owner.ask(unlock(bench))) is Code.RIGHTS
    assert code_of(owner.ask(TimeGet())) is Code.RIGHTS
    owner.pipe.disconnect()
    former = bench.live_owner(bench.home, 2)
    assert (former.status.owner_epoch, former.status.session_ctr) == (2, 1)
    former.pipe.disconnect()
    renewed = bench.live_owner(bench.home, 1, link=NEW_LINK)
    assert (renewed.status.owner_epoch, renewed.status.session_ctr) == (2, 0)
    assert renewed.status.log_owner_seq == owner.status.log_owner_seq
    assert isinstance(renewed.ask(unlock(bench)), CommandAccepted)


def test_a_rotation_in_a_session_cannot_give_the_lock_to_another_gateway() -> None:
    bench = paired()
    owner = bench.live_owner(bench.home, 1)
    assert code_of(owner.hand_over(bench.order(bench.other, epoch=2))) is Code.WRONG_AUDIENCE
    assert bench.owner_id == bench.home.gateway_id


def test_a_restored_gateway_that_is_behind_hands_its_order_over_and_owns_again() -> None:
    bench = paired()
    bench.live_owner(bench.home, 900).pipe.disconnect()
    restored = bench.live_owner(bench.home, 5, next_owner_epoch=2)
    assert code_of(restored.hand_over(bench.order(bench.home, epoch=2, link=NEW_LINK))) is Code.DONE
    restored.pipe.disconnect()
    assert bench.live_owner(bench.home, 1, link=NEW_LINK).status.owner_epoch == 2


# ------------------------------------------------------------------------------------------------------ taking down


def test_a_lock_that_is_taken_down_signs_its_end_and_waits_for_the_next_home() -> None:
    bench = paired()
    owner = bench.live_owner(bench.home, 1)
    result = owner.hand_over(bench.office.decommission_order(bench.home, now_s=NOW_S, owner_epoch=2))
    assert isinstance(result, OwnerResult)
    assert result.code is Code.DONE
    head = open_signed(LogHead, result.head or b"", bytes(bench.keys.log_key.verify_key))
    assert (head.to_seq, head.head) == (result.log_seq, bench.flash.head)
    assert records(bench)[-1] is RecordType.RELEASED
    assert (bench.owner_id, bench.flash.values.keyset, bench.flash.values.authorities) == (b"", b"", ())
    last = owner.ask(LogRead(from_seq=result.log_seq or 0, count_max=16))
    assert isinstance(last, LogBatch)
    owner.pipe.disconnect()
    assert code_of(bench.pair(bench.other, epoch=3)) is Code.DONE
    assert bench.owner_id == bench.other.gateway_id


def test_the_end_of_a_time_can_be_fetched_again_after_the_link_was_lost() -> None:
    bench = paired()
    owner = bench.live_owner(bench.home, 1)
    result = owner.hand_over(bench.office.decommission_order(bench.home, now_s=NOW_S, owner_epoch=2))
    owner.pipe.disconnect()
    bench.lock.power_cycle()
    again = bench.live_owner(bench.home, 2)
    assert again.status.owner_epoch == 2
    answer = again.ask(LogHeadRecord())
    assert isinstance(answer, LogHeadRecord)
    assert isinstance(result, OwnerResult)
    assert answer.head == result.head
    again.session.send(LogAck(copied_seq=result.log_seq or 0, received_seq=1))
    again.exchange()
    assert bench.flash.values.copied_seq == result.log_seq
    with pytest.raises(AssertionError):
        again.hand_over(bench.order(bench.home, epoch=3))


def test_the_next_home_cannot_read_what_was_before_it() -> None:
    bench = paired()
    owner = bench.live_owner(bench.home, 1)
    bench.mechanics.hand_turns_knob()
    owner.hand_over(bench.office.decommission_order(bench.home, now_s=NOW_S, owner_epoch=2))
    owner.pipe.disconnect()
    bench.pair(bench.other, epoch=3)
    new = bench.live_owner(bench.other, 1)
    first_seq = new.status.log_owner_seq
    batch = new.ask(LogRead(from_seq=first_seq, count_max=16))
    assert isinstance(batch, LogBatch)
    assert LogRecord.from_bytes(batch.records[0]).type is RecordType.OWNER
    assert code_of(new.ask(LogRead(from_seq=first_seq - 1, count_max=1))) is Code.LOG_GAP


def test_the_earlier_home_cannot_read_what_comes_after_it() -> None:
    bench = paired()
    bench.lock.press_install_button()
    bench.pair(bench.other, epoch=2)
    bench.mechanics.hand_turns_knob()
    former = bench.live_owner(bench.home, 1)
    last_seq = former.status.log_next_seq - 1
    assert LogRecord.from_bytes(bench.flash.records_from(last_seq, 1)[0]).type is RecordType.OWNER
    assert last_seq < bench.flash.last_seq
    first_seq = former.status.log_owner_seq
    batch = former.ask(LogRead(from_seq=first_seq, count_max=16))
    assert isinstance(batch, LogBatch)
    assert (len(batch.records), batch.more) == (last_seq + 1 - first_seq, False)
    assert code_of(former.ask(LogRead(from_seq=last_seq + 2, count_max=1))) is Code.LOG_GAP


@pytest.mark.parametrize("attack", ["another gateway's", "replayed", "expired"])
def test_attack_a_decommission_order_that_is_not_for_this_moment(attack: str) -> None:
    bench = paired()
    owner = bench.live_owner(bench.home, 1)
    order, code = {
        "another gateway's": (
            bench.office.decommission_order(bench.other, now_s=NOW_S, owner_epoch=2),
            Code.WRONG_AUDIENCE,
        ),
        "replayed": (bench.office.decommission_order(bench.home, now_s=NOW_S, owner_epoch=1), Code.OWNER_EPOCH),
        "expired": (
            bench.office.decommission_order(bench.home, now_s=NOW_S, owner_epoch=2, life_s=-60),
            Code.EXPIRED,
        ),
    }[attack]
    before = bench.everything()
    assert code_of(owner.hand_over(order)) is code
    assert bench.everything() == before


def test_a_factory_reset_forgets_everybody_and_keeps_who_the_lock_is() -> None:
    bench = paired()
    log_id = bench.flash.values.log_id
    bench.live_owner(bench.home, 1).pipe.disconnect()
    bench.lock.factory_reset()
    assert records(bench) == [RecordType.RESET]
    assert bench.flash.values.log_id != log_id
    assert (bench.owner_id, bench.flash.values.owner_epoch) == (b"", 1)
    bench.lock.power_cycle()
    before = bench.everything()
    former = bench.owner(bench.home, 2)
    former.exchange()
    assert former.closed is not None
    assert former.closed.code is Code.DENIED
    assert bench.everything() == before
    former.pipe.disconnect()
    assert code_of(bench.pair(bench.home, epoch=1)) is Code.OWNER_EPOCH
    assert code_of(bench.pair(bench.home, epoch=2)) is Code.DONE


# -------------------------------------------------------------------------------------------------------- power cuts


def next_try(bench: OwnerBench, epoch: int, link: KeyPair, hand_over: Callable[[int], Message]) -> None:
    """Do what the next command of the installer does: look whether it has happened, and else do it again."""
    bench.restart()
    if bench.flash.values.owner_epoch < epoch:
        assert code_of(hand_over(epoch)) is Code.DONE
    assert bench.live_owner(bench.home, 1, link=link).status.owner_epoch == epoch


@pytest.mark.parametrize("kept_size", [0, 7, None], ids=["nothing written", "torn", "all written"])
def test_a_power_cut_in_the_write_of_a_pairing_leaves_all_of_it_or_nothing(kept_size: int | None) -> None:
    bench = OwnerBench()
    installer = bench.installer(bench.home)
    installer.exchange()
    bench.medium.lose_power_at_write(1, kept_size=kept_size)
    with pytest.raises(IndexError):  # no answer comes
        installer.hand_over(bench.order(bench.home), bench.parcels(bench.home))
    bench.restart()
    values = bench.flash.values
    assert (values.owner_epoch, bool(values.gateway_key), bool(values.keyset)) in {(0, False, False), (1, True, True)}
    next_try(bench, 1, bench.home.gateway_link_keys, lambda epoch: bench.pair(bench.home, epoch=epoch))


@pytest.mark.parametrize("kept_size", [0, 7, None], ids=["nothing written", "torn", "all written"])
def test_a_power_cut_in_the_write_of_a_rotation_leaves_one_key_that_owns(kept_size: int | None) -> None:
    bench = paired()
    owner = bench.live_owner(bench.home, 1)
    bench.medium.lose_power_at_write(1, kept_size=kept_size)
    with pytest.raises(IndexError):
        owner.hand_over(bench.order(bench.home, epoch=2, link=NEW_LINK))

    def again(epoch: int) -> Message:
        retry = bench.live_owner(bench.home, 2)
        result = retry.hand_over(bench.order(bench.home, epoch=epoch, link=NEW_LINK))
        retry.pipe.disconnect()
        return result

    next_try(bench, 2, NEW_LINK, again)


@pytest.mark.parametrize("kept_size", [0, 7, None], ids=["nothing written", "torn", "all written"])
def test_a_power_cut_in_the_write_of_a_decommission_can_be_finished_by_its_owner(kept_size: int | None) -> None:
    bench = paired()
    owner = bench.live_owner(bench.home, 1)
    order = bench.office.decommission_order(bench.home, now_s=NOW_S, owner_epoch=2)
    bench.medium.lose_power_at_write(1, kept_size=kept_size)
    with pytest.raises(IndexError):
        owner.hand_over(order)
    bench.restart()
    again = bench.live_owner(bench.home, 2)
    if again.status.owner_epoch < 2:
        assert code_of(again.hand_over(order)) is Code.DONE
    assert bench.owner_id == b""
    head = again.ask(LogHeadRecord())
    assert isinstance(head, LogHeadRecord)
    to_seq = open_signed(LogHead, head.head or b"", bytes(bench.keys.log_key.verify_key)).to_seq
    assert LogRecord.from_bytes(bench.flash.records_from(to_seq, 1)[0]).type is RecordType.RELEASED


def test_a_power_cut_between_the_steps_of_an_order_forgets_the_order() -> None:
    bench = OwnerBench()
    installer = bench.installer(bench.home)
    installer.exchange()
    installer.ask(OwnerOrder(order=bench.order(bench.home)))
    bench.lock.power_cycle()
    fresh = bench.installer(bench.home)
    fresh.exchange()
    assert code_of(fresh.ask(OwnerCommit())) is Code.NO_ORDER


# -------------------------------------------------------------------------------------------------- objects and time


def brought(owner: Owner, kind: Parcel, data: bytes) -> Code:
    answer = owner.ask(*pieces(kind, data))
    assert isinstance(answer, (CourierAck, ErrorRecord))
    return answer.code


def test_the_gateway_keeps_the_locks_copies_young() -> None:
    bench = paired()
    owner = bench.live_owner(bench.home, 1)
    assert brought(owner, Parcel.STATE, bench.office.state(bench.home, now_s=NOW_S + 9, seq=7)) is Code.DONE
    assert brought(owner, Parcel.STATE, bench.office.state(bench.home, now_s=NOW_S, seq=2)) is Code.DONE
    assert brought(owner, Parcel.KEYSET, bench.office.keyset(now_s=NOW_S, version=4)) is Code.DONE
    owner.pipe.disconnect()
    status = bench.live_owner(bench.home, 2).status
    assert (status.keyset_version, status.state_seq) == (4, 7)


@pytest.mark.parametrize(
    ("kind", "make", "code"),
    [
        (Parcel.STATE, lambda b: b.office.state(b.other, now_s=NOW_S, seq=9), Code.WRONG_AUDIENCE),
        (Parcel.STATE, lambda b: b.office.state(b.home, now_s=NOW_S, seq=65_538), Code.SUPERSEDED),
        (Parcel.AUTHORITY, lambda b: b.office.authority(b.other, "x", now_s=NOW_S), Code.WRONG_AUDIENCE),
        (Parcel.KEYSET, lambda b: b.office.state(b.home, now_s=NOW_S), Code.BAD_SIGNATURE),
        (Parcel.CHECKPOINT, lambda _: b"checkpoint", Code.UNSUPPORTED_TYPE),
    ],
    ids=["another gateway's state", "a leap", "another gateway's authority", "not a keyset", "not for a lock"],
)
def test_attack_objects_that_are_not_for_this_lock(
    kind: Parcel, make: Callable[[OwnerBench], bytes], code: Code
) -> None:
    bench = paired()
    owner = bench.live_owner(bench.home, 1)
    before = bench.everything()
    assert brought(owner, kind, make(bench)) is code
    assert bench.everything() == before
