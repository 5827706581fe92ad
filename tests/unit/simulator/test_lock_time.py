"""TIME_SET: a lock's floor rises by what the central log has signed over its owner's journal, and by nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol.checkpoint import Checkpoint, cosign, origin_of, sign_checkpoint
from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.errands import TimeGet, TimeSet, TimeState
from firmware_protocol.lock_log import LogRecord, RecordType
from firmware_protocol.messages import ErrorRecord
from firmware_protocol.vocabulary import Role
from simulator.office import Office
from tests.support.owner_bench import NOW_S, OwnerBench, code_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from nacl.signing import SigningKey

    from tests.support.owner_bench import Owner

LATER_S: Final = NOW_S + 86_400


def receipt(bench: OwnerBench, time_s: int, *, gateway_id: bytes | None = None, key: SigningKey | None = None) -> bytes:
    """Return the central log's word, or somebody else's, over an empty journal of a gateway's."""
    origin = origin_of((gateway_id or bench.home.gateway_id).hex(), bytes(16).hex())
    note = sign_checkpoint(
        Checkpoint(origin=origin, size=1, root=bytes(32)), key=bench.home.gateway_signing_key, name=origin
    )
    key = key or bench.office.role_keys[Role.RECEIPT]
    return cosign(note, key=key, name=f"carelock/receipt/{kid_of(bytes(key.verify_key)).hex()}", time_s=time_s)


@pytest.fixture
def bench() -> OwnerBench:
    made = OwnerBench()
    made.pair(made.home)
    return made


@pytest.fixture
def owner(bench: OwnerBench) -> Owner:
    return bench.live_owner(bench.home, 1)


def test_a_receipt_raises_the_floor_and_is_in_the_log(bench: OwnerBench, owner: Owner) -> None:
    answer = owner.ask(TimeSet(receipt=receipt(bench, LATER_S)))
    assert isinstance(answer, TimeState)
    assert (answer.utc_lo_s, answer.utc_hi_s) == (LATER_S, None)
    assert owner.ask(TimeGet()) == answer
    assert bench.flash.values.time_floor_s == LATER_S
    assert LogRecord.from_bytes(bench.flash.records_from(bench.flash.last_seq, 1)[0]).type is RecordType.TIME


ATTACKS: Final[dict[str, tuple[Callable[[OwnerBench], bytes], Code]]] = {
    "a receipt that nobody of the role has signed": (
        lambda bench: receipt(bench, LATER_S, key=Office(b"eve").role_keys[Role.RECEIPT]),
        Code.UNKNOWN_SIGNER,
    ),
    "a receipt by another role's key": (
        lambda bench: receipt(bench, LATER_S, key=bench.office.role_keys[Role.STATUS]),
        Code.UNKNOWN_SIGNER,
    ),
    "a receipt whose checkpoint is another gateway's": (
        lambda bench: receipt(bench, LATER_S, gateway_id=bench.other.gateway_id),
        Code.WRONG_AUDIENCE,
    ),
    "a receipt whose text was altered": (
        lambda bench: receipt(bench, LATER_S).replace(b"\n1\n", b"\n2\n", 1),
        Code.UNKNOWN_SIGNER,
    ),
    "the gateway's own checkpoint, which bears no time": (
        lambda bench: receipt(bench, LATER_S).rpartition("\n\u2014 ".encode())[0] + b"\n",
        Code.UNKNOWN_SIGNER,
    ),
    "a state of the status role": (
        lambda bench: bench.office.state(bench.home, now_s=LATER_S, seq=9),
        Code.UNKNOWN_SIGNER,
    ),
    "no object at all": (lambda _: b"\xff" * 64, Code.UNKNOWN_SIGNER),
}


@pytest.mark.parametrize(("make", "code"), ATTACKS.values(), ids=ATTACKS)
def test_attack_time_that_the_central_log_has_not_signed_for_this_home(
    bench: OwnerBench, owner: Owner, make: Callable[[OwnerBench], bytes], code: Code
) -> None:
    before = bench.everything()
    answer = owner.ask(TimeSet(receipt=make(bench)))
    assert isinstance(answer, ErrorRecord)
    assert code_of(answer) is code
    assert bench.everything() == before


@pytest.mark.parametrize(
    "time_s", [LATER_S, LATER_S - 1, 0], ids=["the same again", "an older one", "the first second"]
)
def test_attack_a_receipt_replayed_turns_no_clock_back(bench: OwnerBench, owner: Owner, time_s: int) -> None:
    owner.ask(TimeSet(receipt=receipt(bench, LATER_S)))
    before = bench.everything()
    answer = owner.ask(TimeSet(receipt=receipt(bench, time_s)))
    assert isinstance(answer, TimeState)
    assert answer.utc_lo_s == LATER_S
    assert bench.everything() == before


def test_a_confirm_that_ends_before_the_floor_gives_no_interval(bench: OwnerBench, owner: Owner) -> None:
    owner.ask(TimeSet(receipt=receipt(bench, LATER_S)))
    owner.pipe.disconnect()
    behind = bench.live_owner(bench.home, 2, utc_s=(NOW_S, NOW_S))
    answer = behind.ask(TimeGet())
    assert isinstance(answer, TimeState)
    assert (answer.utc_lo_s, answer.utc_hi_s) == (LATER_S, None)


def test_attack_a_former_owner_sets_no_time(bench: OwnerBench, owner: Owner) -> None:
    order = bench.office.decommission_order(bench.home, now_s=NOW_S, owner_epoch=2)
    owner.hand_over(order)
    before = bench.everything()
    assert code_of(owner.ask(TimeSet(receipt=receipt(bench, LATER_S)))) is Code.RIGHTS
    assert bench.everything() == before


def test_the_floor_outlives_the_batteries(bench: OwnerBench, owner: Owner) -> None:
    owner.ask(TimeSet(receipt=receipt(bench, LATER_S)))
    bench.lock.power_cycle()
    answer = bench.live_owner(bench.home, 2).ask(TimeGet())
    assert isinstance(answer, TimeState)
    assert answer.utc_lo_s == LATER_S
