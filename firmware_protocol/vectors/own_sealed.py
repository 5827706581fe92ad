"""Vectors of sealed messages: a request to a gateway, its answer, and what must not open (docs/protocol.md §21)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.chains import make_bundle
from firmware_protocol.codes import Code
from firmware_protocol.noise import KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer
from firmware_protocol.sealed import Sealed, SealedBody, seal, unseal
from firmware_protocol.statements import CommandReceipt
from firmware_protocol.tokens import Authority
from firmware_protocol.vectors.case import Case, document, error_of
from firmware_protocol.vectors.examples import (
    GATEWAY_EPHEMERAL,
    GATEWAY_LINK,
    PHONE_EPHEMERAL,
    SIGNED_COMMAND,
    SIGNED_GRANT,
    STRANGER_LINK,
    signed_example,
)
from firmware_protocol.vectors.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

KIND: Final = "sealed"
_ASKER: Final = KeyPair.from_private(b"\x28" * 32)
"""Drawn by a sender for the answers to one request."""
_BUNDLE: Final = make_bundle(SIGNED_COMMAND, SIGNED_GRANT, signed_example(Authority))
_ANSWER: Final = RelayAnswer(kind=AnswerKind.RECEIPT, body=signed_example(CommandReceipt)).to_bytes()
_LOW_ORDER: Final = bytes(32)


def documents() -> Iterator[tuple[str, Case]]:
    """Yield the one file of sealed messages."""
    about = (
        "Good: the holder of `to` opens `sealed` and finds `body`; with `ephemeral` the same bytes are made again. "
        "Bad: whoever has `to` is given `sealed`."
    )
    yield "sealed", document(KIND, "21", about, cases=list(_cases()))


def judge(given: Case) -> Tally:
    """Open everything, and make again what is good."""
    tally = Tally()
    for case in given["cases"]:
        keys = KeyPair.from_private(bytes.fromhex(case["to"]))
        data = bytes.fromhex(case["sealed"])
        is_right = error_of(unseal, data, keys) == case["error"]
        if is_right and case["error"] is None:
            body = SealedBody.from_bytes(bytes.fromhex(case["body"]))
            ephemeral = KeyPair.from_private(bytes.fromhex(case["ephemeral"]))
            is_right = (unseal(data, keys), seal(body, to=keys.public, ephemeral=ephemeral)) == (body, data)
        tally.judge(case["name"], is_right=is_right)
    return tally


def _cases() -> Iterator[Case]:
    request = SealedBody(payload=_BUNDLE, answer_key=_ASKER.public)
    yield _good("a bundle to the gateway", request, GATEWAY_LINK, PHONE_EPHEMERAL)
    yield _good("a retained grant, that wants no answer", SealedBody(payload=SIGNED_GRANT), GATEWAY_LINK, STRANGER_LINK)
    yield _good("an answer to the asker", SealedBody(payload=_ANSWER), _ASKER, GATEWAY_EPHEMERAL)
    box = Sealed.from_bytes(seal(request, to=GATEWAY_LINK.public, ephemeral=PHONE_EPHEMERAL)).box
    for name, wrong in (
        ("the last byte flipped", box[:-1] + bytes((box[-1] ^ 1,))),
        ("the tag flipped", box[:32] + bytes((box[32] ^ 1,)) + box[33:]),
        ("the ephemeral key flipped", bytes((box[0] ^ 1,)) + box[1:]),
        ("cut short", box[:-1]),
        ("longer", box + b"\x00"),
        ("another ephemeral key", STRANGER_LINK.public + box[32:]),
        ("an ephemeral key of low order", _LOW_ORDER + box[32:]),
        ("sealed to another gateway", _box_to(STRANGER_LINK, request)),
    ):
        yield _bad(name, Sealed(box=wrong).to_bytes(), Code.DENIED)
    low = SealedBody(payload=_BUNDLE, answer_key=_LOW_ORDER)
    yield _bad("an answer key of low order", Sealed(box=_box_to(GATEWAY_LINK, low)).to_bytes(), Code.DENIED)
    yield _bad("bytes beyond the cap", Sealed(box=box).to_bytes() + bytes(Sealed.SIZE_MAX), Code.TOO_LARGE)
    yield _bad("a bare bundle", _BUNDLE, Code.MALFORMED)


def _box_to(keys: KeyPair, body: SealedBody) -> bytes:
    return Sealed.from_bytes(seal(body, to=keys.public, ephemeral=PHONE_EPHEMERAL)).box


def _good(name: str, body: SealedBody, to: KeyPair, ephemeral: KeyPair) -> Case:
    return {
        "name": name,
        "error": None,
        "to": to.private.hex(),
        "ephemeral": ephemeral.private.hex(),
        "body": body.to_bytes().hex(),
        "sealed": seal(body, to=to.public, ephemeral=ephemeral).hex(),
    }


def _bad(name: str, data: bytes, code: Code) -> Case:
    return {"name": name, "error": code.name, "to": GATEWAY_LINK.private.hex(), "sealed": data.hex()}
