"""Proofs of the journal's tree, checked by a verifier that shares no code with it."""

from __future__ import annotations

import json

import pytest

from firmware_protocol.merkle import Frontier, leaf_hash, root_of
from gatewayd.journal.journal import JournalError
from gatewayd.journal.proofs import ProvableTree
from tests.support.published_vectors import published_folder
from tests.support.rfc6962 import checks_consistency, checks_inclusion

HASHES = [leaf_hash(bytes([number])) for number in range(23)]


def pruned_tree(oldest: int, size: int = 23) -> ProvableTree:
    before = Frontier.empty()
    for hashed in HASHES[:oldest]:
        before = before.append(hashed)
    return ProvableTree(before, HASHES[oldest:size])


@pytest.mark.parametrize("oldest", [0, 1, 6, 7, 8, 13, 22])
def test_every_entry_that_is_left_is_proved_in_every_tree_that_has_it(oldest: int) -> None:
    tree = pruned_tree(oldest)
    for size in range(oldest + 1, tree.size + 1):
        for index in range(oldest, size):
            proof = tree.inclusion(index, size)
            assert checks_inclusion(proof)
            assert not checks_inclusion(
                proof | {"leafIdx": (index + 1) % size} if size > 1 else proof | {"treeSize": 2}
            )


def test_every_tree_is_proved_to_begin_with_every_earlier_one() -> None:
    tree = pruned_tree(0)
    for size2 in range(tree.size + 1):
        for size1 in range(size2 + 1):
            assert checks_consistency(tree.consistency(size1, size2)), (size1, size2)


def test_a_tree_whose_beginning_was_pruned_is_proved_from_there_on() -> None:
    tree = pruned_tree(8)
    for size1 in range(8, 24):
        assert checks_consistency(tree.consistency(size1, 23))


def test_the_roots_are_those_of_the_protocol() -> None:
    tree = pruned_tree(7)
    assert [tree.root(size) for size in range(7, 24)] == [root_of(HASHES[:size]) for size in range(7, 24)]
    assert tree.root(0) == root_of([])


@pytest.mark.parametrize(("index", "size", "code"), [(5, 23, "pruned"), (23, 23, "beyond_end"), (8, 24, "beyond_end")])
def test_what_is_not_here_is_said_to_be_pruned_or_never_to_have_been(index: int, size: int, code: str) -> None:
    with pytest.raises(JournalError) as caught:
        pruned_tree(8).inclusion(index, size)
    assert caught.value.code == f"journal.{code}"


def test_an_earlier_tree_that_takes_pruned_entries_is_refused() -> None:
    with pytest.raises(JournalError, match="pruned"):
        pruned_tree(8).consistency(5, 23)
    with pytest.raises(JournalError, match="no beginning"):
        pruned_tree(8).consistency(12, 11)


def test_the_verifier_that_the_proofs_are_held_to_judges_the_published_ones_rightly() -> None:
    judged = 0
    for path in (published_folder() / "tlog" / "merkle" / "inclusion").rglob("*.json"):
        document = json.loads(path.read_text())
        document["proof"] = document["proof"] or []  # Go's empty list
        accepted = document["leafIdx"] < document["treeSize"] and checks_inclusion(document)
        assert accepted != document["wantErr"], path
        judged += 1
    assert judged > 50
