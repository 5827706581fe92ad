from __future__ import annotations

from typing import Any

import pytest

from firmware_protocol.orders import DecommissionOrder, Door, PairingOrder
from firmware_protocol.vectors.examples import VALUES
from tests.support.payloads import Tree, assert_malformed, assert_read, changed, read, tree_of

ORDERS: dict[str, tuple[type[Any], Tree]] = {
    kind.__name__: (kind, tree_of(VALUES[kind][0])) for kind in (PairingOrder, DecommissionOrder, Door)
}
FIELDS = {f"{name} key {key}": (kind, tree, key) for name, (kind, tree) in ORDERS.items() for key in tree}


@pytest.mark.parametrize(("kind", "tree"), ORDERS.values(), ids=ORDERS)
def test_each_comes_back(kind: type[Any], tree: Tree) -> None:
    assert read(kind, tree) == VALUES[kind][0]


@pytest.mark.parametrize(("kind", "tree", "key"), FIELDS.values(), ids=FIELDS)
def test_no_field_may_be_missing_or_of_another_type(kind: type[Any], tree: Tree, key: int) -> None:
    others: tuple[object, ...] = (..., None, (), {}, True)
    for value in others:
        assert_malformed(kind, changed(tree, (key,), value))


@pytest.mark.parametrize(("kind", "tree", "key"), FIELDS.values(), ids=FIELDS)
def test_bytes_have_one_size_and_numbers_a_bound(kind: type[Any], tree: Tree, key: int) -> None:
    match tree[key]:
        case bytes() as octets:
            assert_malformed(kind, changed(tree, (key,), octets[:-1]))
            assert_malformed(kind, changed(tree, (key,), octets + b"\0"))
        case int():
            assert_read(kind, changed(tree, (key,), 2**53 - 1))
            assert_malformed(kind, changed(tree, (key,), 2**53))
            assert_malformed(kind, changed(tree, (key,), -1))
        case other:
            assert isinstance(other, str)


@pytest.mark.parametrize(("kind", "tree"), ORDERS.values(), ids=ORDERS)
def test_a_field_of_a_later_version_is_refused(kind: type[Any], tree: Tree) -> None:
    assert_malformed(kind, tree | {len(tree): 0})


@pytest.mark.parametrize(("kind", "key"), [(PairingOrder, 5), (DecommissionOrder, 2)])
def test_the_first_owner_epoch_is_one(kind: type[Any], key: int) -> None:
    tree = tree_of(VALUES[kind][0])
    assert read(kind, changed(tree, (key,), 1)).owner_epoch == 1
    assert_malformed(kind, changed(tree, (key,), 0))


def test_a_doors_label_is_one_printable_line() -> None:
    tree = ORDERS["Door"][1]
    assert read(Door, changed(tree, (6,), "å" * 32)).label == "å" * 32
    for label in ("", "å" * 32 + "a", "Storgatan\n1", "\x1b[31m", b"Storgatan"):
        assert_malformed(Door, changed(tree, (6,), label))
