"""Vectors of the relay: a phone's message 1 with its bundle, and the decider's answers (docs/protocol.md §11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.chains import make_bundle
from firmware_protocol.codes import Code
from firmware_protocol.courier import pieces
from firmware_protocol.errands import Courier
from firmware_protocol.messages import RELAY_DATA_SIZE_MAX
from firmware_protocol.noise import KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer, RelayDecider, RelayPhone
from firmware_protocol.statements import AuthorityState, CommandReceipt, GatewayInfo
from firmware_protocol.tokens import Authority
from firmware_protocol.vectors.case import Case, document, error_of
from firmware_protocol.vectors.examples import (
    CHALLENGE,
    GATEWAY_EPHEMERAL,
    GATEWAY_LINK,
    PHONE_EPHEMERAL,
    SIGNED_COMMAND,
    SIGNED_GRANT,
    STRANGER_LINK,
    signed_example,
)
from firmware_protocol.vectors.tally import Tally
from firmware_protocol.vocabulary import Parcel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KIND: Final = "relay"
_BUNDLE: Final = make_bundle(SIGNED_COMMAND, SIGNED_GRANT, signed_example(Authority))
_COURIERS: Final = (
    *pieces(Parcel.STATE, signed_example(AuthorityState)),
    Courier(kind=Parcel.ENTRY, offset=7),
)
"""What a phone has to say after an answer: an AuthorityState that it brings, and entries that it asks for from 7 on."""
_ANSWERS: Final = (
    RelayAnswer(kind=AnswerKind.INFO, body=signed_example(GatewayInfo)),
    RelayAnswer(kind=AnswerKind.RECEIPT, body=signed_example(CommandReceipt)),
    RelayAnswer(kind=AnswerKind.DENIED),
)


def documents() -> Iterator[tuple[str, Case]]:
    """Yield the one file of the relay."""
    about = (
        "Good: message 1, every answer, and the couriers of the phone behind them, byte for byte. Bad, by `reader`: "
        "the decider is given `message_1` or, before it has answered, `courier`; the phone, who sent the good "
        "`message_1`, is given `answers`, of which the last is refused."
    )
    keys = {
        "challenge": CHALLENGE.hex(),
        "decider_static": GATEWAY_LINK.private.hex(),
        "decider_ephemeral": GATEWAY_EPHEMERAL.private.hex(),
        "phone_ephemeral": PHONE_EPHEMERAL.private.hex(),
        "bundle": _BUNDLE.hex(),
        "plaintexts": [answer.to_bytes().hex() for answer in _ANSWERS],
        "courier_plaintexts": [piece.to_bytes().hex() for piece in _COURIERS],
    }
    yield "relay", document(KIND, "11", about, **keys, cases=list(_cases()))


def judge(given: Case) -> Tally:
    """Say everything again, and read what must be refused."""
    tally = Tally()
    for case in given["cases"]:
        if case["error"] is None:
            whole = [case["message_1"], *case["answers"], *case["couriers"]]
            tally.judge(case["name"], is_right=_said(given) == whole)
        else:
            tally.judge(case["name"], is_right=_refusal(given, case) == case["error"])
    return tally


def _ends(given: Case) -> tuple[RelayPhone, RelayDecider]:
    static, far, near = (
        KeyPair.from_private(bytes.fromhex(given[name]))
        for name in ("decider_static", "decider_ephemeral", "phone_ephemeral")
    )
    challenge = bytes.fromhex(given["challenge"])
    phone = RelayPhone(decider_key=static.public, challenge=challenge, ephemeral=near)
    return phone, RelayDecider(keys=static, challenge=challenge, ephemeral=far)


def _said(given: Case) -> list[str]:
    phone, decider = _ends(given)
    first = phone.open(bytes.fromhex(given["bundle"]))
    decider.read_bundle(first)
    answers = [RelayAnswer.from_bytes(bytes.fromhex(text)) for text in given["plaintexts"]]
    said = [decider.answer(answer) for answer in answers]
    for answer in said:
        phone.read(answer)
    couriers = [phone.courier(Courier.from_bytes(bytes.fromhex(text))) for text in given["courier_plaintexts"]]
    heard = [decider.read_courier(message).to_bytes().hex() for message in couriers]
    return [message.hex() for message in (first, *said, *couriers)] if heard == given["courier_plaintexts"] else []


def _refusal(given: Case, case: Case) -> str | None:
    phone, decider = _ends(given)
    if case["reader"] == "decider" and "courier" in case:
        return error_of(decider.read_courier, bytes.fromhex(case["courier"]))
    if case["reader"] == "decider":
        return error_of(decider.read_bundle, bytes.fromhex(case["message_1"]))
    phone.open(bytes.fromhex(given["bundle"]))
    *before, last = (bytes.fromhex(answer) for answer in case["answers"])
    for answer in before:
        phone.read(answer)
    return error_of(lambda: phone.read(last))


def _cases() -> Iterator[Case]:
    phone = RelayPhone(decider_key=GATEWAY_LINK.public, challenge=CHALLENGE, ephemeral=PHONE_EPHEMERAL)
    decider = RelayDecider(keys=GATEWAY_LINK, challenge=CHALLENGE, ephemeral=GATEWAY_EPHEMERAL)
    first = phone.open(_BUNDLE)
    decider.read_bundle(first)
    second, *further = (decider.answer(answer) for answer in _ANSWERS)
    yield {
        "name": "a bundle and three answers",
        "error": None,
        "message_1": first.hex(),
        "answers": [answer.hex() for answer in (second, *further)],
        "couriers": [message.hex() for message in _couriers(phone, (second, *further))],
    }
    for name, message, code in (
        ("message 1 with a flipped bit", first[:40] + bytes((first[40] ^ 1,)) + first[41:], Code.DENIED),
        ("message 1 cut short", first[:47], Code.DENIED),
        ("message 1 of another visit", _of_another_visit(), Code.DENIED),
        ("message 1 for another decider", _for_another_decider(), Code.DENIED),
        ("message 1 above its cap", first + bytes(RELAY_DATA_SIZE_MAX + 1 - len(first)), Code.TOO_LARGE),
    ):
        yield {"name": name, "error": code.name, "reader": "decider", "message_1": message.hex()}
    yield {
        "name": "a courier before the first answer",
        "error": Code.DENIED.name,
        "reader": "decider",
        "courier": bytes(48).hex(),
    }
    yield _phone("message 2 with a flipped bit", [second[:-1] + bytes((second[-1] ^ 1,))])
    yield _phone("message 2 twice", [second, second])
    yield _phone("a lost answer", [second, further[1]])
    yield _phone("an answer twice", [second, further[0], further[0]])


def _couriers(phone: RelayPhone, answers: Sequence[bytes]) -> list[bytes]:
    for answer in answers:
        phone.read(answer)
    return [phone.courier(piece) for piece in _COURIERS]


def _of_another_visit() -> bytes:
    phone = RelayPhone(decider_key=GATEWAY_LINK.public, challenge=bytes(16), ephemeral=PHONE_EPHEMERAL)
    return phone.open(_BUNDLE)


def _for_another_decider() -> bytes:
    phone = RelayPhone(decider_key=STRANGER_LINK.public, challenge=CHALLENGE, ephemeral=PHONE_EPHEMERAL)
    return phone.open(_BUNDLE)


def _phone(name: str, answers: Sequence[bytes]) -> Case:
    return {"name": name, "error": Code.DENIED.name, "reader": "phone", "answers": [one.hex() for one in answers]}
