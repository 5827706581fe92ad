from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.errors import LocalProtocolError
from firmware_protocol.signed import sign
from firmware_protocol.statements import (
    CHECKPOINT_SIZE_MAX,
    GATEWAY_LOCK_COUNT_MAX,
    PROVIDER_CUT_COUNT_MAX,
    REVOKED_COUNT_MAX,
    AuthorityState,
    CommandReceipt,
    Conflict,
    GatewayInfo,
    LockEpoch,
    LogHead,
)
from firmware_protocol.vectors.examples import SIGNERS, VALUES
from firmware_protocol.vocabulary import Phase, Tier
from tests.support.payloads import Tree, assert_malformed, assert_read, changed, read, tree_of

PRIVATE = -70_001
INFO, STATE, RECEIPT, HEAD, CONFLICT = (
    tree_of(VALUES[kind][0]) for kind in (GatewayInfo, AuthorityState, CommandReceipt, LogHead, Conflict)
)


def bad(kind: type[Any], tree: Tree, path: tuple[int, ...], value: object) -> None:
    assert_malformed(kind, changed(tree, path, value))


@pytest.mark.parametrize("kind", [GatewayInfo, AuthorityState, CommandReceipt, LogHead, Conflict])
def test_each_comes_back(kind: type[Any]) -> None:
    assert read(kind, tree_of(VALUES[kind][0])) == VALUES[kind][0]


# -------------------------------------------------------------------------------------------------------- GatewayInfo


@pytest.mark.parametrize("size", [0, 16])
def test_a_nonce_is_absent_or_whole(size: int) -> None:
    assert read(GatewayInfo, changed(INFO, (0,), bytes(size))).nonce == bytes(size)


@pytest.mark.parametrize("size", [1, 15, 17])
def test_half_a_nonce_is_refused(size: int) -> None:
    bad(GatewayInfo, INFO, (0,), bytes(size))


def test_an_absent_nonce_is_written_as_no_bytes_and_not_left_out() -> None:
    bad(GatewayInfo, INFO, (0,), ...)


@pytest.mark.parametrize("count", [0, 1, GATEWAY_LOCK_COUNT_MAX])
def test_a_gateway_tells_of_up_to_16_locks(count: int) -> None:
    locks = tuple((bytes([number]) * 8, bytes(16), number) for number in range(count))
    assert read(GatewayInfo, changed(INFO, (2,), locks)).locks == tuple(LockEpoch(*lock) for lock in locks)


BAD_LOCKS: dict[str, object] = {
    "65 locks": tuple((bytes(8), bytes(16), 0) for _ in range(GATEWAY_LOCK_COUNT_MAX + 1)),
    "no second": ((bytes(8), bytes(16)),),
    "a fourth part": ((bytes(8), bytes(16), 0, 0),),
    "a short id": ((bytes(7), bytes(16), 0),),
    "a short epoch": ((bytes(8), bytes(15), 0),),
    "a negative second": ((bytes(8), bytes(16), -1),),
}


@pytest.mark.parametrize("locks", BAD_LOCKS.values(), ids=BAD_LOCKS)
def test_locks_of_another_shape_are_refused(locks: object) -> None:
    bad(GatewayInfo, INFO, (2,), locks)


def test_a_tier_is_one_of_four() -> None:
    assert [read(GatewayInfo, changed(INFO, (5,), number)).tier for number in range(4)] == list(Tier)
    bad(GatewayInfo, INFO, (5,), 4)


# ----------------------------------------------------------------------------------------------------- AuthorityState


@pytest.mark.parametrize("audience", [(), (bytes(8), bytes(8)), bytes(8), (bytes(7),)])
def test_a_state_is_for_exactly_one_gateway(audience: object) -> None:
    bad(AuthorityState, STATE, (3,), audience)


REVOCATIONS: dict[str, tuple[int, Any, Any]] = {
    "kids": (2, bytes(8), bytes(7)),
    "ctis": (3, bytes(16), bytes(17)),
    "providers": (4, ("care-north", 5), ("Care North", 5)),
}


@pytest.mark.parametrize(("key", "good", "wrong"), REVOCATIONS.values(), ids=REVOCATIONS)
def test_each_list_of_what_is_revoked_has_its_bound(key: int, good: object, wrong: object) -> None:
    count_max = PROVIDER_CUT_COUNT_MAX if key == 4 else REVOKED_COUNT_MAX
    assert_read(AuthorityState, changed(STATE, (PRIVATE, key), ()))
    assert_read(AuthorityState, changed(STATE, (PRIVATE, key), (good,) * count_max))
    bad(AuthorityState, STATE, (PRIVATE, key), (good,) * (count_max + 1))
    bad(AuthorityState, STATE, (PRIVATE, key), (good, wrong))
    bad(AuthorityState, STATE, (PRIVATE, key), ...)


def test_a_state_with_every_list_full_still_fits_its_envelope() -> None:
    full = replace(
        read(AuthorityState, STATE),
        revoked_kids=tuple(bytes([number]) * 8 for number in range(REVOKED_COUNT_MAX)),
        revoked_ctis=tuple(bytes([number]) * 16 for number in range(REVOKED_COUNT_MAX)),
        provider_iat_min_s=tuple((f"p{number}", 5) for number in range(PROVIDER_CUT_COUNT_MAX)),
    )
    assert len(sign(full, SIGNERS["status"])) <= AuthorityState.SIZE_MAX


def test_a_state_with_more_than_may_be_revoked_is_not_written() -> None:
    with pytest.raises(LocalProtocolError):
        replace(read(AuthorityState, STATE), revoked_kids=(bytes(8),) * (REVOKED_COUNT_MAX + 1)).to_bytes()


# ------------------------------------------------------------------------------------------- receipts, heads, conflicts


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.name)
def test_a_receipt_carries_any_code_of_the_table(code: Code) -> None:
    assert read(CommandReceipt, changed(RECEIPT, (5,), code.wire)).code is code


@pytest.mark.parametrize("code", [0, 0x07, 0xFF, 0x100, -1, True], ids=str)
def test_a_receipt_carries_no_other_code(code: object) -> None:
    bad(CommandReceipt, RECEIPT, (5,), code)


def test_a_receipt_tells_one_of_two_halves() -> None:
    assert [read(CommandReceipt, changed(RECEIPT, (4,), number)).phase for number in (1, 2)] == list(Phase)
    bad(CommandReceipt, RECEIPT, (4,), 0)
    bad(CommandReceipt, RECEIPT, (4,), 3)


@pytest.mark.parametrize("key", [6, 7, 9, 10])
def test_what_a_receipt_does_not_know_it_leaves_out(key: int) -> None:
    assert_read(CommandReceipt, changed(RECEIPT | {key: 0}, (key,), ...))
    bad(CommandReceipt, RECEIPT, (key,), None)
    assert_read(CommandReceipt, changed(RECEIPT, (key,), 2**40))


@pytest.mark.parametrize("key", [0, 1, 2, 3, 4, 5, 8])
def test_what_every_receipt_must_say_may_not_be_missing(key: int) -> None:
    bad(CommandReceipt, RECEIPT, (key,), ...)


def test_a_head_may_name_the_newest_receipt_of_the_central_log() -> None:
    assert read(LogHead, HEAD).receipt_sha256 is None
    assert read(LogHead, changed(HEAD, (5,), bytes(32))).receipt_sha256 == bytes(32)
    bad(LogHead, HEAD, (5,), bytes(31))
    bad(LogHead, HEAD, (4,), bytes(33))


@pytest.mark.parametrize("size", [1, CHECKPOINT_SIZE_MAX])
def test_a_conflict_may_carry_a_checkpoint(size: int) -> None:
    assert read(Conflict, changed(CONFLICT, (3,), bytes(size))).checkpoint == bytes(size)


@pytest.mark.parametrize("size", [0, CHECKPOINT_SIZE_MAX + 1])
def test_a_checkpoint_that_is_none_or_too_long_is_refused(size: int) -> None:
    bad(Conflict, CONFLICT, (3,), bytes(size))
