"""transparency-dev's Merkle vectors: one inclusion or consistency proof a file."""

from __future__ import annotations

from base64 import b64decode
from typing import Any, Final

from firmware_protocol import merkle
from firmware_protocol.vectors.tally import Tally
from firmware_protocol.vocabulary import HASH_SIZE

_ROOTS: Final = ("root", "root1", "root2")


def judge(document: dict[str, Any]) -> Tally:
    """Verify the one proof in the document."""
    tally = Tally()
    if not document["wantErr"] and any(len(_hash(document.get(name))) not in {0, HASH_SIZE} for name in _ROOTS):
        tally.skipped["a root that is no SHA-256 hash: refused here before the proof is looked at"] += 1
        return tally
    is_accepted = _inclusion(document) if "leafIdx" in document else _consistency(document)
    tally.judge(document["desc"], is_right=is_accepted != document["wantErr"])
    return tally


def _inclusion(document: dict[str, Any]) -> bool:
    return merkle.verify_inclusion(
        index=document["leafIdx"],
        size=document["treeSize"],
        leaf=_hash(document["leafHash"]),
        proof=_proof(document),
        root=_hash(document["root"]),
    )


def _consistency(document: dict[str, Any]) -> bool:
    return merkle.verify_consistency(
        size1=document["size1"],
        size2=document["size2"],
        root1=_hash(document["root1"]),
        root2=_hash(document["root2"]),
        proof=_proof(document),
    )


def _proof(document: dict[str, Any]) -> list[bytes]:
    return [_hash(each) for each in document["proof"] or ()]


def _hash(text: str | None) -> bytes:
    return b64decode(text or "", validate=True)
