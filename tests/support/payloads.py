"""Payload trees of signed objects, so that a test can change one field as an attacker would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from firmware_protocol import cbor
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError

if TYPE_CHECKING:
    from firmware_protocol.schema import WireMap

W = TypeVar("W", bound="WireMap")
Tree = dict[int, Any]


def tree_of(value: WireMap) -> Tree:
    """Return the decoded payload of `value`, free to change."""
    tree = cbor.decode(value.to_bytes(), size_max=value.SIZE_MAX)
    assert isinstance(tree, dict)
    return dict(tree)


def changed(tree: Tree, path: tuple[int, ...], value: object) -> Tree:
    """Return `tree` with another value at `path`; `...` takes the field away."""
    key, *rest = path
    if rest:
        return tree | {key: changed(tree[key], tuple(rest), value)}
    return {k: v for k, v in tree.items() if k != key} if value is ... else tree | {key: value}


def read(kind: type[W], tree: object) -> W:
    """Return what the strict reader makes of `tree`."""
    return kind.from_bytes(cbor.encode(tree))  # type: ignore[arg-type]  # any shape is the point


def assert_read(kind: type[WireMap], tree: object) -> None:
    """The strict reader takes `tree`, and writes the same bytes again."""
    assert read(kind, tree).to_bytes() == cbor.encode(tree)  # type: ignore[arg-type]  # as above


def assert_malformed(kind: type[WireMap], tree: object) -> None:
    """The strict reader refuses `tree` as MALFORMED."""
    with pytest.raises(RemoteProtocolError) as caught:
        read(kind, tree)
    assert caught.value.code is Code.MALFORMED
