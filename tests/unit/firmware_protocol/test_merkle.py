from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.merkle import (
    EMPTY_ROOT,
    TREE_SIZE_MAX,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "vectors" / "tlog" / "merkle" / "inclusion"

# The eight entries that the implementations of RFC 6962 share as their example, and the root after each.
ENTRIES = [
    bytes.fromhex(text)
    for text in ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [leaf_hash(entry) for entry in ENTRIES]
SEVEN = [leaf_hash(bytes([number])) for number in range(7)]


def consistent(size1: int, size2: int, proof: tuple[bytes, ...], root1: bytes, root2: bytes) -> bool:
    return verify_consistency(size1=size1, size2=size2, root1=root1, root2=root2, proof=proof)


# ----------------------------------------------------------------------------------------------------------- the tree


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_the_known_ones_of_rfc_6962(size: int) -> None:
    assert root_of(HASHES[:size]).hex() == ROOTS[size]


def test_an_inner_node_cannot_pass_as_an_entry() -> None:
    left, right = HASHES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)


def test_a_frontier_grown_leaf_by_leaf_has_the_known_roots() -> None:
    frontier = Frontier.EMPTY
    for size, leaf in enumerate(HASHES):
        assert frontier.size == size
        assert frontier.root().hex() == ROOTS[size]
        frontier = frontier.append(leaf)
    assert frontier == Frontier(size=8, hashes=(bytes.fromhex(ROOTS[8]),))


def test_the_empty_frontier_has_the_empty_root() -> None:
    assert Frontier.empty() is Frontier.EMPTY
    assert Frontier.EMPTY.root() == EMPTY_ROOT


def test_appending_leaves_the_earlier_frontier_as_it_was() -> None:
    one = Frontier.EMPTY.append(HASHES[0])
    one.append(HASHES[1])
    assert one == Frontier(size=1, hashes=(HASHES[0],))


def test_a_frontier_is_written_as_its_size_and_its_hashes_left_to_right() -> None:
    three = Frontier.EMPTY.append(HASHES[0]).append(HASHES[1]).append(HASHES[2])
    assert three.to_bytes() == (3).to_bytes(8, "big") + bytes.fromhex(ROOTS[2]) + HASHES[2]
    assert Frontier.from_bytes(three.to_bytes()) == three


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(7), id="half a size"),
        pytest.param(bytes(9), id="size 0 and one byte more"),
        pytest.param(bytes(7) + b"\x01", id="size 1 without its hash"),
        pytest.param(bytes(7) + b"\x01" + bytes(31), id="a hash of 31 bytes"),
        pytest.param(bytes(7) + b"\x01" + bytes(33), id="a hash of 33 bytes"),
        pytest.param(bytes(7) + b"\x03" + bytes(32), id="size 3 with one hash"),
        pytest.param(b"\x80" + bytes(7) + bytes(32), id="size 2^63"),
    ],
)
def test_a_frontier_whose_length_does_not_fit_its_size_is_malformed(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        Frontier.from_bytes(data)
    assert caught.value.code is Code.MALFORMED


def test_a_frontier_of_the_largest_size_is_read_and_cannot_grow() -> None:
    largest = Frontier.from_bytes(b"\x7f" + b"\xff" * 7 + bytes(63 * 32))
    assert largest.size == TREE_SIZE_MAX
    with pytest.raises(LocalProtocolError):
        largest.append(HASHES[0])


@pytest.mark.parametrize(("size", "hash_count"), [(-1, 0), (0, 1), (1, 0), (3, 1), (TREE_SIZE_MAX + 1, 1)])
def test_a_frontier_has_one_hash_per_set_bit_of_its_size(size: int, hash_count: int) -> None:
    with pytest.raises(LocalProtocolError):
        Frontier(size=size, hashes=(bytes(32),) * hash_count)


# ------------------------------------------------------------------------------------------------ proofs, by RFC 6962


def test_the_inclusion_proofs_of_rfc_6962_section_2_1_3() -> None:
    a, b, c, d, e, f, j = SEVEN
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, left = node_hash(g, h), node_hash(i, j)
    assert inclusion_proof(SEVEN, 0) == (b, h, left)
    assert inclusion_proof(SEVEN, 3) == (c, g, left)
    assert inclusion_proof(SEVEN, 4) == (f, j, k)
    assert inclusion_proof(SEVEN, 6) == (i, k)


def test_the_consistency_proofs_of_rfc_6962_section_2_1_3() -> None:
    a, b, c, d, e, f, j = SEVEN
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, left = node_hash(g, h), node_hash(i, j)
    assert consistency_proof(SEVEN, 3) == (c, d, g, left)
    assert consistency_proof(SEVEN, 4) == (left,)
    assert consistency_proof(SEVEN, 6) == (i, j, k)


@pytest.mark.parametrize("index", [-1, 7])
def test_there_is_no_proof_for_a_leaf_beyond_the_tree(index: int) -> None:
    with pytest.raises(LocalProtocolError):
        inclusion_proof(SEVEN, index)


@pytest.mark.parametrize("size1", [-1, 8])
def test_there_is_no_proof_for_a_tree_beyond_the_tree(size1: int) -> None:
    with pytest.raises(LocalProtocolError):
        consistency_proof(SEVEN, size1)


def test_consistency_holds_for_all_pairs_of_sizes_up_to_40() -> None:
    hashes = [leaf_hash(bytes([number])) for number in range(40)]
    roots = [root_of(hashes[:size]) for size in range(41)]
    for size2 in range(41):
        for size1 in range(size2 + 1):
            proof = consistency_proof(hashes[:size2], size1)
            assert consistent(size1, size2, proof, roots[size1], roots[size2]), (size1, size2)
            assert not consistent(size1, size2, (*proof, bytes(32)), roots[size1], roots[size2]), (size1, size2)
            assert not consistent(size1, size2, proof, bytes(32), roots[size2]), (size1, size2)
            if proof:
                assert not consistent(size1, size2, proof[:-1], roots[size1], roots[size2]), (size1, size2)


def test_inclusion_holds_for_every_leaf_of_every_size_up_to_40() -> None:
    hashes = [leaf_hash(bytes([number])) for number in range(40)]
    for size in range(1, 41):
        root = root_of(hashes[:size])
        for index in range(size):
            proof = inclusion_proof(hashes[:size], index)
            assert verify_inclusion(index=index, size=size, leaf=hashes[index], proof=proof, root=root), (index, size)


# --------------------------------------------------------------------------------------------------------- the attacks


def test_attack_a_truncated_log_is_not_consistent_with_what_it_was() -> None:
    assert not consistent(7, 6, (), root_of(SEVEN), root_of(SEVEN[:6]))


def test_attack_a_rewritten_entry_has_no_consistency_proof() -> None:
    forged = [*SEVEN[:2], leaf_hash(b"it was locked all night"), *SEVEN[3:]]
    assert not consistent(5, 7, consistency_proof(forged, 5), root_of(SEVEN[:5]), root_of(forged))


def test_attack_two_roots_for_one_size_are_never_consistent() -> None:
    assert not consistent(7, 7, (), root_of(SEVEN), root_of([*SEVEN[:6], bytes(32)]))


def test_attack_nothing_is_said_of_a_larger_tree_without_a_proof() -> None:
    assert not consistent(4, 7, (), root_of(SEVEN[:4]), root_of(SEVEN))


def test_attack_the_empty_tree_has_one_root_only() -> None:
    assert consistent(0, 7, (), EMPTY_ROOT, root_of(SEVEN))
    assert not consistent(0, 7, (), bytes(32), root_of(SEVEN))
    assert consistent(0, 0, (), EMPTY_ROOT, EMPTY_ROOT)
    assert not consistent(0, 0, (), bytes(32), bytes(32))


def test_attack_an_endless_proof_is_refused_unhashed() -> None:
    endless = (bytes(32),) * 1_000_000
    assert not verify_inclusion(index=0, size=TREE_SIZE_MAX, leaf=bytes(32), proof=endless, root=bytes(32))
    assert not consistent(1, TREE_SIZE_MAX, endless, bytes(32), bytes(32))


@pytest.mark.parametrize(("index", "size"), [(-1, 7), (7, 7), (0, 0), (0, -1), (0, TREE_SIZE_MAX + 1), (0, 10**400)])
def test_attack_impossible_numbers_prove_nothing(index: int, size: int) -> None:
    assert not verify_inclusion(index=index, size=size, leaf=SEVEN[0], proof=(), root=SEVEN[0])


@pytest.mark.parametrize(("size1", "size2"), [(-1, 7), (8, 7), (1, TREE_SIZE_MAX + 1), (-(10**400), 10**400)])
def test_attack_impossible_sizes_are_not_consistent(size1: int, size2: int) -> None:
    assert not consistent(size1, size2, (SEVEN[0],), SEVEN[0], SEVEN[0])


@pytest.mark.parametrize("size", [0, 31, 33])
def test_attack_a_hash_of_another_length_proves_nothing(size: int) -> None:
    short, root = bytes(size), root_of(SEVEN[:2])
    assert not verify_inclusion(index=0, size=2, leaf=SEVEN[0], proof=(short,), root=root)
    assert not verify_inclusion(index=0, size=1, leaf=short, proof=(), root=short)
    assert not consistent(1, 2, (short,), SEVEN[0], root)
    assert not consistent(1, 1, (), short, short)


def test_attack_an_entry_moved_across_a_node_boundary_is_not_included() -> None:
    """Without prefixes, the two hashes below a node would pass as an entry of 64 bytes."""
    left, right = SEVEN[:2]
    fake = leaf_hash(left + right)
    assert not verify_inclusion(index=0, size=1, leaf=fake, proof=(), root=root_of(SEVEN[:2]))


# ---------------------------------------------------------------------------------------------------- published vectors


def published_inclusions() -> list[Any]:
    files = sorted(PUBLISHED.rglob("*.json"))
    return [pytest.param(json.loads(file.read_text()), id=str(file.relative_to(PUBLISHED))) for file in files]


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="published vectors are not beside the checkout: tlog/merkle")
@pytest.mark.parametrize("vector", published_inclusions())
def test_the_published_inclusion_proofs_are_judged_as_published(vector: dict[str, Any]) -> None:
    is_included = verify_inclusion(
        index=vector["leafIdx"],
        size=vector["treeSize"],
        leaf=base64.b64decode(vector["leafHash"] or ""),
        proof=[base64.b64decode(each) for each in vector["proof"] or ()],
        root=base64.b64decode(vector["root"] or ""),
    )
    assert is_included is not vector["wantErr"]
