from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from firmware_protocol import cbor
from firmware_protocol.constants import OBJECT_SIZE_MAX
from firmware_protocol.errors import LocalProtocolError
from firmware_protocol.tokens import Authority, Grant, Keyset, OperatorGrant, RoleKeys
from firmware_protocol.vectors.examples import AUTHORITY, GRANT, KEYSET, OPERATOR_GRANT
from firmware_protocol.vocabulary import OfflineClass, Rights, Role
from tests.support.payloads import Tree, assert_malformed, assert_read, changed, read, tree_of

PRIVATE = -70_001
KEY_A, KEY_B = b"\x0a" * 32, b"\x0b" * 32

# ------------------------------------------------------------------------------------------------------------- Keyset

KEYSET_TREE = tree_of(KEYSET)


def with_role(number: int, listed: object) -> Tree:
    return changed(KEYSET_TREE, (2, number), listed)


def test_a_keyset_comes_back() -> None:
    assert read(Keyset, KEYSET_TREE) == KEYSET


def test_a_keyset_may_leave_a_role_to_nobody() -> None:
    keyset = read(Keyset, changed(KEYSET_TREE, (2,), {}))
    assert not keyset.roles


@pytest.mark.parametrize("threshold", [1, 2])
def test_a_threshold_up_to_the_number_of_keys_is_read(threshold: int) -> None:
    keyset = read(Keyset, with_role(3, (threshold, (KEY_A, KEY_B))))
    assert keyset.roles[Role.ALARM] == RoleKeys(threshold, (KEY_A, KEY_B))


def test_sixteen_keys_may_hold_a_role() -> None:
    keys = tuple(bytes([number]) * 32 for number in range(100, 116))
    assert read(Keyset, with_role(3, (16, keys))).roles[Role.ALARM] == RoleKeys(16, keys)


BAD_ROLES: dict[str, tuple[int, object]] = {
    "no threshold": (3, (0, (KEY_A,))),
    "a threshold beyond the keys": (3, (2, (KEY_A,))),
    "true as the threshold": (3, (True, (KEY_A,))),
    "no keys": (3, (1, ())),
    "seventeen keys": (3, (1, tuple(bytes([number]) * 32 for number in range(100, 117)))),
    "a key twice, to reach the threshold": (3, (2, (KEY_A, KEY_A))),
    "a key of 31 bytes": (3, (1, (KEY_A[:31],))),
    "a key of 33 bytes": (3, (1, (KEY_A + b"\0",))),
    "a kid for a key": (3, (1, (KEY_A[:8],))),
    "a third part": (3, (1, (KEY_A,), 0)),
    "a role that there is not": (8, (1, (KEY_A,))),
    "role zero": (0, (1, (KEY_A,))),
    "a negative role": (-1, (1, (KEY_A,))),
}


@pytest.mark.parametrize(("number", "listed"), BAD_ROLES.values(), ids=BAD_ROLES)
def test_a_role_of_another_shape_is_refused(number: int, listed: object) -> None:
    assert_malformed(Keyset, with_role(number, listed))


@pytest.mark.parametrize("roles", [(), 0, None, b""], ids=["array", "number", "null", "bytes"])
def test_roles_that_are_no_map_are_refused(roles: object) -> None:
    assert_malformed(Keyset, changed(KEYSET_TREE, (2,), roles))


@pytest.mark.parametrize("first", list(Role), ids=lambda role: role.name)
@pytest.mark.parametrize("second", list(Role), ids=lambda role: role.name)
def test_attack_one_key_in_two_roles(first: Role, second: Role) -> None:
    if first is not second:
        roles = {int(first): (1, (KEY_A,)), int(second): (1, (KEY_B, KEY_A))}
        assert_malformed(Keyset, changed(KEYSET_TREE, (2,), roles))


def test_version_zero_is_none() -> None:
    assert read(Keyset, changed(KEYSET_TREE, (0,), 2)).version == 2
    assert_malformed(Keyset, changed(KEYSET_TREE, (0,), 0))


# ------------------------------------------------------------------------------------------------- Authority and grants

AUTHORITY_TREE, GRANT_TREE, OPERATOR_TREE = tree_of(AUTHORITY), tree_of(GRANT), tree_of(OPERATOR_GRANT)
CONFIRMED: dict[str, tuple[type[Any], Tree]] = {
    "Authority": (Authority, AUTHORITY_TREE),
    "Grant": (Grant, GRANT_TREE),
    "OperatorGrant": (OperatorGrant, OPERATOR_TREE),
}


def test_each_comes_back() -> None:
    assert read(Authority, AUTHORITY_TREE) == AUTHORITY
    assert read(Grant, GRANT_TREE) == GRANT
    assert read(OperatorGrant, OPERATOR_TREE) == OPERATOR_GRANT


def test_a_grants_claims_stand_where_rfc_8392_puts_them() -> None:
    claims = {
        1: "care-north",
        2: "carer-17",
        3: GRANT.locks,
        4: GRANT.exp_s,
        5: GRANT.nbf_s,
        6: GRANT.iat_s,
        7: GRANT.cti,
        8: {1: {1: 1, -1: 6, -2: GRANT.device_key}},
        PRIVATE: {0: 3, 1: GRANT.windows},
    }
    assert dict(GRANT_TREE) == claims


BAD_KEYS: dict[str, object] = {
    "true for the key type, which Python takes for 1": {1: True, -1: 6, -2: KEY_A},
    "another key type": {1: 2, -1: 6, -2: KEY_A},
    "another curve": {1: 1, -1: 4, -2: KEY_A},
    "an algorithm beside it": {1: 1, 3: -8, -1: 6, -2: KEY_A},
    "a private key beside it": {1: 1, -1: 6, -2: KEY_A, -4: KEY_B},
    "no curve": {1: 1, -2: KEY_A},
    "a key too short": {1: 1, -1: 6, -2: KEY_A[:31]},
    "a key too long": {1: 1, -1: 6, -2: KEY_A + b"\0"},
    "a key that is text": {1: 1, -1: 6, -2: "a" * 32},
    "bare bytes": KEY_A,
    "an array": (1, 6, KEY_A),
}


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
@pytest.mark.parametrize(("kind", "tree"), CONFIRMED.values(), ids=CONFIRMED)
def test_a_confirmation_key_has_one_form(kind: type[Any], tree: Tree, key: object) -> None:
    assert_malformed(kind, changed(tree, (8, 1), key))


@pytest.mark.parametrize(("kind", "tree"), CONFIRMED.values(), ids=CONFIRMED)
def test_a_kid_for_the_confirmation_key_is_refused(kind: type[Any], tree: Tree) -> None:
    assert_malformed(kind, changed(tree, (8,), {3: KEY_A[:8]}))
    assert_malformed(kind, changed(tree, (8, 3), KEY_A[:8]))


@pytest.mark.parametrize("count", [1, 32])
def test_a_grant_names_one_to_32_locks(count: int) -> None:
    locks = tuple(number.to_bytes(8, "big") for number in range(count))
    assert read(Grant, changed(GRANT_TREE, (3,), locks)).locks == locks
    assert read(Authority, changed(AUTHORITY_TREE, (PRIVATE, 0), locks)).lock_ids == locks


@pytest.mark.parametrize("count", [0, 33])
def test_no_locks_or_33_are_refused(count: int) -> None:
    locks = tuple(number.to_bytes(8, "big") for number in range(count))
    assert_malformed(Grant, changed(GRANT_TREE, (3,), locks))
    assert_malformed(Authority, changed(AUTHORITY_TREE, (PRIVATE, 0), locks))


@pytest.mark.parametrize("size", [7, 9])
def test_a_lock_id_of_another_size_is_refused(size: int) -> None:
    assert_malformed(Grant, changed(GRANT_TREE, (3,), (bytes(size),)))
    assert_malformed(Authority, changed(AUTHORITY_TREE, (PRIVATE, 0), (bytes(size),)))
    assert_malformed(Authority, changed(AUTHORITY_TREE, (3,), bytes(size)))


@pytest.mark.parametrize("count", [0, 1, 32])
def test_a_grant_has_up_to_32_windows(count: int) -> None:
    windows = tuple((number, number + 1) for number in range(count))
    assert read(Grant, changed(GRANT_TREE, (PRIVATE, 1), windows)).windows == windows


BAD_WINDOWS: dict[str, object] = {
    "33 of them": tuple((number, number + 1) for number in range(33)),
    "one end only": ((1,),),
    "three ends": ((1, 2, 3),),
    "before 1970": ((-1, 2),),
    "flat": (1, 2),
}


@pytest.mark.parametrize("windows", BAD_WINDOWS.values(), ids=BAD_WINDOWS)
def test_windows_of_another_shape_are_refused(windows: object) -> None:
    assert_malformed(Grant, changed(GRANT_TREE, (PRIVATE, 1), windows))


def test_windows_cannot_be_left_out_to_mean_always() -> None:
    assert_malformed(Grant, changed(GRANT_TREE, (PRIVATE, 1), ...))


DEFAULTS: dict[str, tuple[int, object, object]] = {
    "offline class": (3, 1, OfflineClass.SHIFT),
    "state seq": (4, 0, 0),
}


@pytest.mark.parametrize(("key", "spelled_out", "default"), DEFAULTS.values(), ids=DEFAULTS)
def test_a_grants_default_is_written_by_leaving_it_out(key: int, spelled_out: object, default: object) -> None:
    assert key not in GRANT_TREE[PRIVATE]
    assert default in {GRANT.offline_class, GRANT.state_seq_min}
    assert_malformed(Grant, changed(GRANT_TREE, (PRIVATE, key), spelled_out))


def test_a_grants_other_values_are_written() -> None:
    grant = replace(GRANT, use_count_max=2, offline_class=OfflineClass.RESPONDER, state_seq_min=9)
    assert tree_of(grant)[PRIVATE] == {0: 3, 1: GRANT.windows, 2: 2, 3: 2, 4: 9}
    assert read(Grant, tree_of(grant)) == grant


def test_no_limit_of_uses_is_no_number_and_not_null() -> None:
    assert GRANT.use_count_max is None
    assert read(Grant, changed(GRANT_TREE, (PRIVATE, 2), 0)).use_count_max == 0
    assert_malformed(Grant, changed(GRANT_TREE, (PRIVATE, 2), None))


@pytest.mark.parametrize(
    ("kind", "tree", "key"),
    [(Authority, AUTHORITY_TREE, 1), (Grant, GRANT_TREE, 0), (OperatorGrant, OPERATOR_TREE, 0)],
    ids=["Authority", "Grant", "OperatorGrant"],
)
def test_a_right_of_a_later_version_is_refused(kind: type[Any], tree: Tree, key: int) -> None:
    every = Rights.UNLOCK | Rights.LOCK | Rights.SERVICE
    assert read(kind, changed(tree, (PRIVATE, key), 7)) == replace(
        read(kind, tree), **{"rights_max" if key else "rights": every}
    )
    assert_malformed(kind, changed(tree, (PRIVATE, key), 8))


@pytest.mark.parametrize("offline_class", [3, -1, True], ids=["unknown", "negative", "true"])
def test_an_offline_class_that_there_is_not_is_refused(offline_class: object) -> None:
    assert_malformed(Grant, changed(GRANT_TREE, (PRIVATE, 3), offline_class))
    assert_malformed(Authority, changed(AUTHORITY_TREE, (PRIVATE, 3), offline_class))


@pytest.mark.parametrize("claim", [1, 2])
@pytest.mark.parametrize(("kind", "tree"), CONFIRMED.values(), ids=CONFIRMED)
def test_names_are_pseudonyms_that_fit_a_topic(kind: type[Any], tree: Tree, claim: int) -> None:
    for name in ("", "Anna Berg", "a/b", "#", "å", "a" * 33, b"carer-17"):
        assert_malformed(kind, changed(tree, (claim,), name))
    assert_read(kind, changed(tree, (claim,), "a" * 32))


@pytest.mark.parametrize("size", [15, 17])
@pytest.mark.parametrize(("kind", "tree"), CONFIRMED.values(), ids=CONFIRMED)
def test_a_cti_has_16_bytes(kind: type[Any], tree: Tree, size: int) -> None:
    assert_malformed(kind, changed(tree, (7,), bytes(size)))


def test_a_time_is_a_whole_number_of_seconds() -> None:
    data = cbor.encode(changed(GRANT_TREE, (4,), 0)).replace(b"\x04\x00", b"\x04\xf9\x3c\x00")
    with pytest.raises(Exception, match="float"):
        Grant.from_bytes(data)
    assert len(data) < OBJECT_SIZE_MAX


def test_a_keyset_that_no_reader_would_take_is_not_written() -> None:
    with pytest.raises(LocalProtocolError):
        replace(KEYSET, roles={Role.ALARM: RoleKeys(2, (KEY_A,))}).to_bytes()
