"""A verifier of RFC 6962 proofs in transparency-dev's JSON, written from the RFC's recursive definitions alone.

It shares no code with `firmware_protocol.merkle`, whose verifier follows the iterative form of RFC 9162: agreement of
the two says something. A proof is consumed from its end, which is where the root's children are.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from typing import Any


def checks_inclusion(document: dict[str, Any]) -> bool:
    """Tell whether `leafHash` is number `leafIdx` of the tree of `treeSize` with `root`."""
    try:
        proof = [_hash(each) for each in document["proof"]]
        root = _climb(_hash(document["leafHash"]), document["leafIdx"], document["treeSize"], proof)
        return not proof and root == _hash(document["root"])
    except (IndexError, ValueError):
        return False


def checks_consistency(document: dict[str, Any]) -> bool:
    """Tell whether the tree of `size2` with `root2` begins with the one of `size1` with `root1`."""
    size1, size2 = document["size1"], document["size2"]
    root1, root2 = _hash(document["root1"]), _hash(document["root2"])
    proof = [_hash(each) for each in document["proof"]]
    if size1 == size2:
        return root1 == root2 and not proof
    if size1 == 0:
        return root1 == hashlib.sha256(b"").digest() and not proof
    try:
        both = _rebuild(size1, size2, root1, proof, known=True)
    except IndexError:
        return False
    return not proof and both == (root1, root2)


def _climb(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    if size == 1:
        return leaf
    half = _half(size)
    sibling = proof.pop()
    if index < half:
        return _join(_climb(leaf, index, half, proof), sibling)
    return _join(sibling, _climb(leaf, index - half, size - half, proof))


def _rebuild(size1: int, size2: int, root1: bytes, proof: list[bytes], *, known: bool) -> tuple[bytes, bytes]:
    """Return both roots of one subtree, as the proof has them."""
    if size1 == size2:
        shared = root1 if known else proof.pop()
        return shared, shared
    half = _half(size2)
    sibling = proof.pop()
    if size1 <= half:
        old, new = _rebuild(size1, half, root1, proof, known=known)
        return old, _join(new, sibling)
    old, new = _rebuild(size1 - half, size2 - half, root1, proof, known=False)
    return _join(sibling, old), _join(sibling, new)


def _hash(text: str) -> bytes:
    value = b64decode(text)
    if len(value) != hashlib.sha256().digest_size:
        raise ValueError("not a hash")
    return value


def _half(size: int) -> int:
    half = 1
    while half * 2 < size:
        half *= 2
    return half


def _join(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
