"""Vectors of checkpoints, receipts and erased entries: what is signed, and what is not that (docs/protocol.md §13)."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from firmware_protocol.checkpoint import (
    COSIGNATURE_V1,
    ED25519,
    NOTE_SIZE_MAX,
    SIGNATURE_COUNT_MAX,
    Checkpoint,
    cosign,
    note_key_id,
    origin_of,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)
from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.erased import ErasedEntry
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.merkle import TREE_SIZE_MAX
from firmware_protocol.vectors.case import Case, document
from firmware_protocol.vectors.examples import GATEWAY_ID, LOG_ID, NOW_S, PUBLIC, SIGNERS
from firmware_protocol.vectors.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

KIND: Final = "notes"
CHECKPOINT: Final = "checkpoint"
RECEIPT: Final = "receipt"
ERASED: Final = "erased"
_ORIGIN: Final = origin_of(GATEWAY_ID.hex(), LOG_ID.hex())
_COSIGNER: Final = f"carelock/receipt/{kid_of(PUBLIC['receipt']).hex()}"
_ROOT: Final = hashlib.sha256(b"root").digest()
_SIZE: Final = 80


def documents() -> Iterator[tuple[str, Case]]:
    """Yield the one file of notes."""
    about = (
        "`log` is the gateway's journal, by its key name (which is the origin too) and its public key; `cosigner` is "
        "the central log. `as` says whose statement `note` is taken for: a `checkpoint` must be signed by the log, a "
        "`receipt` by the cosigner, an `erased` entry by the log under its name and `/erased`. Good: `origin`, `size`, "
        "`root` and, of a receipt, `time_s` are what was stated; of an erased entry `origin`, `index`, `leaf_hash` and "
        "`accounted_size`. "
        "Signatures by other keys are no business of the reader. The notes are UTF-8 in hex."
    )
    log = {"name": _ORIGIN, "public_key": PUBLIC["gateway"].hex()}
    cosigner = {"name": _COSIGNER, "public_key": PUBLIC["receipt"].hex()}
    cases = [*_good(), *_bad_checkpoints(), *_bad_receipts(), *_erased(), *_bad_notes()]
    yield "notes", document(KIND, "13", about, log=log, cosigner=cosigner, cases=cases)


def judge(given: Case) -> Tally:
    """Take every note for what its case says."""
    tally = Tally()
    for case in given["cases"]:
        expected = {name: value for name, value in case.items() if name not in {"name", "as", "note"}}
        tally.judge(case["name"], is_right=_verdict(case, given) == expected)
    return tally


def _verdict(case: Case, given: Case) -> Case:
    signer = given["cosigner" if case["as"] == RECEIPT else "log"]
    name, public, note = signer["name"], bytes.fromhex(signer["public_key"]), bytes.fromhex(case["note"])
    try:
        return {"error": None} | _READERS[case["as"]](note, name, public)
    except RemoteProtocolError as error:
        return {"error": error.code.name}


def _of_checkpoint(stated: Checkpoint) -> Case:
    return {"origin": stated.origin, "size": stated.size, "root": stated.root.hex()}


def _read_checkpoint(note: bytes, name: str, public: bytes) -> Case:
    return _of_checkpoint(verify_checkpoint(note, name=name, public=public))


def _read_receipt(note: bytes, name: str, public: bytes) -> Case:
    stated = verify_cosignature(note, name=name, public=public)
    return _of_checkpoint(stated.checkpoint) | {"time_s": stated.time_s}


def _read_erased(note: bytes, name: str, public: bytes) -> Case:
    return _of_erased(ErasedEntry.verify(note, origin=name, public=public))


def _of_erased(stated: ErasedEntry) -> Case:
    return {
        "origin": stated.origin,
        "index": stated.index,
        "leaf_hash": stated.leaf_hash.hex(),
        "accounted_size": stated.accounted_size,
    }


_READERS: Final = {CHECKPOINT: _read_checkpoint, RECEIPT: _read_receipt, ERASED: _read_erased}


def _case(name: str, kind: str, note: bytes, error: Code | None) -> Case:
    return {"name": name, "error": None if error is None else error.name, "as": kind, "note": note.hex()}


def _checkpoint(*, origin: str = _ORIGIN, size: int = _SIZE, extensions: tuple[str, ...] = ()) -> bytes:
    made = Checkpoint(origin=origin, size=size, root=_ROOT, extensions=extensions)
    return sign_checkpoint(made, key=SIGNERS["gateway"], name=origin)


def _receipt(note: bytes, *, signer: str = "receipt", name: str = _COSIGNER, time_s: int = NOW_S) -> bytes:
    return cosign(note, key=SIGNERS[signer], name=name, time_s=time_s)


def _good() -> Iterator[Case]:
    note, of_nothing, extended = _checkpoint(), _checkpoint(size=0), _checkpoint(extensions=("a line without meaning",))
    stated = {"origin": _ORIGIN, "size": _SIZE, "root": _ROOT.hex()}
    yield _case("a checkpoint", CHECKPOINT, note, None) | stated
    yield _case("a checkpoint of nothing", CHECKPOINT, of_nothing, None) | stated | {"size": 0}
    yield _case("a checkpoint with an extension line", CHECKPOINT, extended, None) | stated
    yield _case("a checkpoint that was cosigned", CHECKPOINT, _receipt(note), None) | stated
    yield _case("a receipt", RECEIPT, _receipt(note), None) | stated | {"time_s": NOW_S}
    of_two = _receipt(_receipt(note, signer="intake", name="another-witness"))
    yield _case("a receipt beside another's cosignature", RECEIPT, of_two, None) | stated | {"time_s": NOW_S}
    last = _receipt(note, time_s=2**63 - 1)
    yield _case("a receipt of the last second", RECEIPT, last, None) | stated | {"time_s": 2**63 - 1}


def _signed(body: bytes, *, signer: str = "gateway", name: str = _ORIGIN) -> bytes:
    """Sign whatever it is, as nobody who keeps to the contract would."""
    return body + b"\n" + _line(name, ED25519, signer, SIGNERS[signer].sign(body).signature)


def _line(name: str, algorithm: int, signer: str, signature: bytes) -> bytes:
    encoded = base64.b64encode(note_key_id(name, algorithm, PUBLIC[signer]) + signature)
    return f"\N{EM DASH} {name} ".encode() + encoded + b"\n"


def _body(size: str = str(_SIZE), root: bytes = _ROOT, *, origin: str = _ORIGIN) -> bytes:
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n".encode()


def _with_stray_bits(body: bytes) -> bytes:
    """Return the body with another last digit of the root: to a lenient reader the same bytes."""
    last = body[-3:-2]
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return body[:-3] + alphabet[alphabet.index(last) + 1 :][:1] + b"=\n"


def _bad_checkpoints() -> Iterator[Case]:
    good = _checkpoint()
    bad_signature = {
        "a size that was changed after signing": good.replace(b"\n80\n", b"\n81\n"),
        "signed by a stranger under the log's name": _signed(_body(), signer="device"),
        "of the gateway's earlier log": _checkpoint(origin=origin_of(GATEWAY_ID.hex(), "a1" * 16)),
        "of the earlier log, under this log's name": _signed(_body(origin=origin_of(GATEWAY_ID.hex(), "a1" * 16))),
        "with the cosigner's signature only": _body() + b"\n" + _receipt(good).splitlines(keepends=True)[-1],
        "a signature of 63 bytes": _body() + b"\n" + _line(_ORIGIN, ED25519, "gateway", bytes(63)),
    }
    malformed = {
        "a size with a leading zero": _signed(_body("080")),
        "a size below nothing": _signed(_body("-1")),
        "a size of 2^63": _signed(_body(str(2**63))),
        "a root of 31 bytes": _signed(_body(root=_ROOT[:31])),
        "a root without its padding": _signed(_body().replace(b"=\n", b"\n")),
        "a root whose base64 has stray bits": _signed(_with_stray_bits(_body())),
        "two lines": _signed(f"{_ORIGIN}\n{_SIZE}\n".encode()),
        "an empty line inside": _signed(_body() + b"\n" + b"x\n"),
        "the log's signature twice": good + good.splitlines(keepends=True)[-1],
    }
    for name, note in bad_signature.items():
        yield _case(f"checkpoint: {name}", CHECKPOINT, note, Code.BAD_SIGNATURE)
    for name, note in malformed.items():
        yield _case(f"checkpoint: {name}", CHECKPOINT, note, Code.MALFORMED)


def _bad_receipts() -> Iterator[Case]:
    note = _checkpoint()
    good = _receipt(note)
    cosigned = good.splitlines(keepends=True)[-1]
    forged = _receipt(note, signer="device", name=_COSIGNER)
    signature = SIGNERS["receipt"].sign(note.partition(b"\n\n")[0] + b"\n").signature
    untimed = note + _line(_COSIGNER, COSIGNATURE_V1, "receipt", NOW_S.to_bytes(8, "big") + signature)
    late = note + _line(_COSIGNER, COSIGNATURE_V1, "receipt", (2**63).to_bytes(8, "big") + signature)
    bad_signature = {
        "the checkpoint alone": note,
        "signed by a stranger under the cosigner's name": forged,
        "of another checkpoint, moved to this one": _checkpoint(size=_SIZE + 1) + cosigned,
        "under another name": _receipt(note, name="carelock/receipt/0000000000000000"),
        "over the note without its time": untimed,
        "a signature of the log's type by the cosigner": note
        + _line(_COSIGNER, ED25519, "receipt", SIGNERS["receipt"].sign(_body()).signature),
    }
    for name, made in bad_signature.items():
        yield _case(f"receipt: {name}", RECEIPT, made, Code.BAD_SIGNATURE)
    yield _case("receipt: twice by the cosigner", RECEIPT, good + cosigned, Code.MALFORMED)
    yield _case("receipt: a time of 2^63", RECEIPT, late, Code.MALFORMED)


def _erased() -> Iterator[Case]:
    entry = ErasedEntry(origin=_ORIGIN, index=_SIZE, leaf_hash=_ROOT, accounted_size=_SIZE + 3)
    name, key = f"{_ORIGIN}/erased", SIGNERS["gateway"]
    good = entry.sign(key)
    of_all = ErasedEntry(origin=_ORIGIN, index=0, leaf_hash=_ROOT, accounted_size=TREE_SIZE_MAX)
    yield _case("an erased entry", ERASED, good, None) | _of_erased(entry)
    yield _case("the first entry, erased, of the longest log", ERASED, of_all.sign(key), None) | _of_erased(of_all)

    def body(*extensions: str) -> bytes:
        return _body(origin=name) + b"".join(f"{line}\n".encode() for line in extensions)

    bad_signature = {
        "by the broker on the way": _signed(body("accounted 83"), signer="device", name=name),
        "of the gateway's earlier log": replace(entry, origin=origin_of(GATEWAY_ID.hex(), "a1" * 16)).sign(key),
        "a checkpoint with the same lines": _checkpoint(extensions=("accounted 83",)),
        "a hash that was changed after signing": good.replace(b"\n80\n", b"\n81\n"),
    }
    malformed = {
        "not accounted for": body(),
        "accounted for twice": body("accounted 83", "accounted 84"),
        "accounted for up to a number with a leading zero": body("accounted 083"),
        "accounted for up to less than nothing": body("accounted -1"),
        "accounted for up to 2^63": body(f"accounted {2**63}"),
    }
    for title, note in bad_signature.items():
        yield _case(f"erased entry: {title}", ERASED, note, Code.BAD_SIGNATURE)
    for title, text in malformed.items():
        yield _case(f"erased entry: {title}", ERASED, _signed(text, name=name), Code.MALFORMED)
    yield _case("checkpoint: an erased entry", CHECKPOINT, good, Code.BAD_SIGNATURE)


def _bad_notes() -> Iterator[Case]:
    good, signature = _checkpoint(), _checkpoint().splitlines(keepends=True)[-1]
    malformed = {
        "nothing": b"",
        "no signature": _body(),
        "no blank line": _body() + signature,
        "no newline at the end": good[:-1],
        "a carriage return": good.replace(b"\n80\n", b"\r\n80\n"),
        "a hyphen for the dash": good.replace("\N{EM DASH} ".encode(), b"- "),
        "a signature that is no base64": good[:-3] + b"!\n",
        "a signature of a key id only": _body()
        + f"\n\N{EM DASH} {_ORIGIN} ".encode()
        + base64.b64encode(note_key_id(_ORIGIN, ED25519, PUBLIC["gateway"]))
        + b"\n",
        "bytes that are not UTF-8": b"\xff" + good,
        f"{SIGNATURE_COUNT_MAX + 1} signatures": good
        + b"".join(_line(f"w{number}", ED25519, "device", bytes(64)) for number in range(SIGNATURE_COUNT_MAX)),
        f"more than {NOTE_SIZE_MAX} bytes": _signed(_body() + b"x" * NOTE_SIZE_MAX + b"\n"),
    }
    for name, note in malformed.items():
        yield _case(f"note: {name}", CHECKPOINT, note, Code.MALFORMED)
