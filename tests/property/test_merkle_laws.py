from __future__ import annotations

import hashlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

ENTRIES = st.lists(st.binary(max_size=8), max_size=200, unique=True)
HASH = st.binary(min_size=32, max_size=32)


def naive_root(entries: list[bytes]) -> bytes:
    """RFC 6962 §2.1 word for word: MTH by recursion over the entries."""
    if not entries:
        return EMPTY_ROOT
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(entries[:split]) + naive_root(entries[split:])).digest()


def grown(entries: list[bytes]) -> Frontier:
    frontier = Frontier.EMPTY
    for entry in entries:
        frontier = frontier.append(leaf_hash(entry))
    return frontier


def unless_malformed(data: bytes) -> Frontier | None:
    try:
        return Frontier.from_bytes(data)
    except RemoteProtocolError as error:
        if error.code is not Code.MALFORMED:
            raise
        return None


@st.composite
def mutated(draw: st.DrawFn, proof: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return `proof` with one bit turned, one hash dropped, doubled, added or moved."""
    hashes = list(proof)
    kind = draw(st.sampled_from(["turn", "drop", "double", "move"] if hashes else ["add"]))
    at = draw(st.integers(0, max(0, len(hashes) - 1)))
    match kind:
        case "turn":
            bit = draw(st.integers(0, 255))
            hashes[at] = (int.from_bytes(hashes[at], "big") ^ 1 << bit).to_bytes(32, "big")
        case "drop":
            del hashes[at]
        case "double":
            hashes.insert(at, hashes[at])
        case "move":
            hashes.insert(draw(st.integers(0, len(hashes) - 1)), hashes.pop(at))
        case _:
            hashes.insert(at, draw(HASH))
    assume(tuple(hashes) != proof)
    return tuple(hashes)


@given(ENTRIES)
def test_frontier_levels_and_definition_give_one_root(entries: list[bytes]) -> None:
    frontier = grown(entries)
    assert frontier.root() == root_of([leaf_hash(entry) for entry in entries]) == naive_root(entries)
    assert Frontier.from_bytes(frontier.to_bytes()) == frontier


@given(ENTRIES, ENTRIES)
def test_a_stored_frontier_goes_on_as_if_it_had_never_stopped(before: list[bytes], later: list[bytes]) -> None:
    resumed = Frontier.from_bytes(grown(before).to_bytes())
    for entry in later:
        resumed = resumed.append(leaf_hash(entry))
    assert resumed == grown(before + later)


@given(st.binary(max_size=200))
def test_any_bytes_are_one_frontier_or_malformed(data: bytes) -> None:
    frontier = unless_malformed(data)
    assert frontier is None or frontier.to_bytes() == data


@given(st.data())
def test_every_inclusion_proof_holds_and_every_mutated_one_fails(data: st.DataObject) -> None:
    hashes = [leaf_hash(entry) for entry in data.draw(ENTRIES.filter(bool))]
    size, root = len(hashes), root_of(hashes)
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(hashes, index)
    assert verify_inclusion(index=index, size=size, leaf=hashes[index], proof=proof, root=root)

    wrong_proof = data.draw(mutated(proof))
    assert not verify_inclusion(index=index, size=size, leaf=hashes[index], proof=wrong_proof, root=root)
    wrong_index = data.draw(st.integers(-1, size).filter(lambda other: other != index))
    assert not verify_inclusion(index=wrong_index, size=size, leaf=hashes[index], proof=proof, root=root)
    wrong_hash = data.draw(HASH.filter(lambda other: other not in {hashes[index], root}))
    assert not verify_inclusion(index=index, size=size, leaf=wrong_hash, proof=proof, root=root)
    assert not verify_inclusion(index=index, size=size, leaf=hashes[index], proof=proof, root=wrong_hash)


@given(st.data())
def test_every_consistency_proof_holds_and_every_mutated_one_fails(data: st.DataObject) -> None:
    hashes = [leaf_hash(entry) for entry in data.draw(ENTRIES)]
    size2 = len(hashes)
    size1 = data.draw(st.integers(0, size2))
    root1, root2 = root_of(hashes[:size1]), root_of(hashes)
    proof = consistency_proof(hashes, size1)
    assert verify_consistency(size1=size1, size2=size2, root1=root1, root2=root2, proof=proof)

    wrong_proof = data.draw(mutated(proof))
    assert not verify_consistency(size1=size1, size2=size2, root1=root1, root2=root2, proof=wrong_proof)
    wrong_root = data.draw(HASH.filter(lambda other: other not in {root1, root2}))
    assert not verify_consistency(size1=size1, size2=size2, root1=wrong_root, root2=root2, proof=proof)
    if size1 > 0:
        assert not verify_consistency(size1=size1, size2=size2, root1=root1, root2=wrong_root, proof=proof)


@given(st.data())
def test_no_log_is_consistent_with_one_in_which_an_old_entry_changed(data: st.DataObject) -> None:
    hashes = [leaf_hash(entry) for entry in data.draw(ENTRIES.filter(bool))]
    size1 = data.draw(st.integers(1, len(hashes)))
    index = data.draw(st.integers(0, size1 - 1))
    forged = [*hashes[:index], leaf_hash(b"a lie that is too long"), *hashes[index + 1 :]]
    for proof in (consistency_proof(hashes, size1), consistency_proof(forged, size1)):
        assert not verify_consistency(
            size1=size1, size2=len(hashes), root1=root_of(hashes[:size1]), root2=root_of(forged), proof=proof
        )


@pytest.mark.parametrize("big", [2**63 - 1, 2**63, 2**64, 2**2_000])
@given(numbers=st.tuples(st.integers(), st.integers()), proof=st.lists(st.binary(max_size=40), max_size=140))
def test_hostile_input_is_answered_no(big: int, numbers: tuple[int, int], proof: list[bytes]) -> None:
    low, high = numbers
    for size in (high, big):
        assert not verify_inclusion(index=low, size=size, leaf=b"\x01" * 32, proof=proof, root=b"\x02" * 32)
        assert not verify_consistency(size1=low, size2=size, root1=b"\x01" * 32, root2=b"\x02" * 32, proof=proof)
