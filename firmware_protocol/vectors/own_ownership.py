"""Vectors of labels, and of orders as a lock judges them when they are committed (docs/protocol.md §18)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol import cose
from firmware_protocol.chains import verify_keyset
from firmware_protocol.codes import Code
from firmware_protocol.commands import Alarm
from firmware_protocol.constants import OWNER_EPOCH_STEP_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.orders import DecommissionOrder, PairingOrder
from firmware_protocol.ownership import Ownership, judge_order, open_order
from firmware_protocol.pairing import LockLabel
from firmware_protocol.signed import sign
from firmware_protocol.tokens import Keyset
from firmware_protocol.vectors.case import Case, document, error_of
from firmware_protocol.vectors.examples import (
    GATEWAY_ID,
    GATEWAY_LINK,
    LABEL,
    LOCK_ID,
    LOCK_LINK,
    NOW_S,
    PUBLIC,
    SIGNERS,
    STRANGER_LINK,
    VALUES,
    signed_example,
)
from firmware_protocol.vectors.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

KIND: Final = "ownership"
_PAIRING: Final = {"owner_epoch": 0, "gateway_id": None, "peer_key": GATEWAY_LINK.public.hex()}
_SESSION: Final = {"owner_epoch": 1, "gateway_id": GATEWAY_ID.hex(), "peer_key": None}


def documents() -> Iterator[tuple[str, Case]]:
    """Yield the one file of labels and orders."""
    about = (
        "A case with `label` is the text of a QR code. One with `order` is an order that is committed: the lock has "
        "`lock_id` and the X25519 key `link_key`, holds the Keyset, and knows `known`: `peer_key` is of whoever "
        "pairs, and null in a session of the owner's."
    )
    members: dict[str, Any] = {
        "lock_id": LOCK_ID.hex(),
        "link_key": LOCK_LINK.public.hex(),
        "roots": [PUBLIC[name].hex() for name in ("root 1", "root 2", "root 3")],
        "keyset": signed_example(Keyset).hex(),
        "cases": [*_label_cases(), *_order_cases()],
    }
    yield "ownership", document(KIND, "18", about, **members)


def judge(given: Case) -> Tally:
    """Read every label and judge every order."""
    tally = Tally()
    keyset = verify_keyset(bytes.fromhex(given["keyset"]), roots=[bytes.fromhex(root) for root in given["roots"]])
    for case in given["cases"]:
        if "label" in case:
            error = error_of(LockLabel.from_text, case["label"])
        else:
            error = _judged(bytes.fromhex(case["order"]), _ownership(given, case["known"]), keyset)
        tally.judge(case["name"], is_right=error == case["error"])
    return tally


def _ownership(given: Case, known: Case) -> Ownership:
    ids = {name: None if known[name] is None else bytes.fromhex(known[name]) for name in ("gateway_id", "peer_key")}
    return Ownership(
        lock_id=bytes.fromhex(given["lock_id"]),
        link_key=bytes.fromhex(given["link_key"]),
        owner_epoch=known["owner_epoch"],
        utc_lo_s=known["utc_lo_s"],
        **ids,
    )


def _judged(signed: bytes, known: Ownership, keyset: Keyset) -> str | None:
    try:
        code = judge_order(open_order(signed, keyset=keyset), known)
    except RemoteProtocolError as error:
        code = error.code
    return None if code is None else code.name


def _label_cases() -> Iterator[Case]:
    text = LABEL.to_text()
    yield {"name": "a label", "error": None, "label": text}
    for name, wrong in (
        ("another version", text.replace(":1:", ":2:")),
        ("small letters", text.lower()),
        ("small letters behind the prefix", text[:11] + text[11:].lower()),
        ("with padding", f"{text}===="),
        ("cut short", text[:-1]),
        ("a character more", f"{text}A"),
        ("a character that base32 has not", f"{text[:-1]}1"),
        ("nothing behind the prefix", text[:11]),
        ("a secret of 31 bytes", text[:11] + "QNEFEFUKTQWG2FKYD4"),
    ):
        yield {"name": f"label: {name}", "error": Code.MALFORMED.name, "label": wrong}


def _order_cases() -> Iterator[Case]:
    pairing, release = VALUES[PairingOrder][0], VALUES[DecommissionOrder][0]
    assert isinstance(pairing, PairingOrder)  # noqa: S101 - the table is by class
    assert isinstance(release, DecommissionOrder)  # noqa: S101
    yield _case("a new lock is paired", pairing, _PAIRING, None)
    yield _case("the largest step", replace(pairing, owner_epoch=OWNER_EPOCH_STEP_MAX), _PAIRING, None)
    yield _case("a lock changes its owner", replace(pairing, owner_epoch=8), _PAIRING | {"owner_epoch": 7}, None)
    rotation = replace(pairing, owner_epoch=2, gateway_link_key=STRANGER_LINK.public)
    yield _case("the owner changes its own key", rotation, _SESSION, None)
    yield _case("the owner gives the lock back", release, _SESSION, None)
    elsewhere, stranger = {"gateway_id": "00" * 8}, {"peer_key": STRANGER_LINK.public.hex()}
    of_another_key = replace(pairing, lock_link_key_fingerprint=bytes(16))
    for name, order, known, code in (
        ("of the owner epoch that there is", pairing, _PAIRING | {"owner_epoch": 1}, Code.OWNER_EPOCH),
        ("that leaps", replace(pairing, owner_epoch=OWNER_EPOCH_STEP_MAX + 1), _PAIRING, Code.OWNER_EPOCH),
        ("for another lock", replace(pairing, lock_id=bytes(8)), _PAIRING, Code.WRONG_AUDIENCE),
        ("for another lock's key", of_another_key, _PAIRING, Code.WRONG_AUDIENCE),
        ("whose gateway id is not its key's", replace(pairing, gateway_id=bytes(8)), _PAIRING, Code.WRONG_AUDIENCE),
        ("that somebody else brings", pairing, _PAIRING | stranger, Code.WRONG_AUDIENCE),
        ("for another gateway, in a session", rotation, _SESSION | elsewhere, Code.WRONG_AUDIENCE),
        ("that is over", replace(pairing, exp_s=NOW_S), _PAIRING, Code.EXPIRED),
    ):
        yield _case(f"a PairingOrder {name}", order, known, code)
    for name, leave, known, code in (
        ("in a pairing", release, _SESSION | {"peer_key": GATEWAY_LINK.public.hex()}, Code.WRONG_AUDIENCE),
        ("of another owner", release, _SESSION | elsewhere, Code.WRONG_AUDIENCE),
        ("for another lock", replace(release, lock_id=bytes(8)), _SESSION, Code.WRONG_AUDIENCE),
        ("of an epoch that is over", release, _SESSION | {"owner_epoch": 2}, Code.OWNER_EPOCH),
        ("that is over", replace(release, exp_s=NOW_S), _SESSION, Code.EXPIRED),
    ):
        yield _case(f"a DecommissionOrder {name}", leave, known, code)
    yield _case("an order of another role", pairing, _PAIRING, Code.UNKNOWN_SIGNER, signer="status")
    presented = signed_example(PairingOrder)
    flipped = presented[:-1] + bytes((presented[-1] ^ 1,))
    yield _raw("an order with a flipped bit in its signature", flipped, _PAIRING, Code.BAD_SIGNATURE)
    swapped = cose.sign1(pairing.to_bytes(), key=SIGNERS["pairing"], domain=DecommissionOrder.DOMAIN)
    yield _raw("a PairingOrder signed as a DecommissionOrder", swapped, _SESSION, Code.MALFORMED)
    swapped = cose.sign1(release.to_bytes(), key=SIGNERS["pairing"], domain=PairingOrder.DOMAIN)
    yield _raw("a DecommissionOrder signed as a PairingOrder", swapped, _SESSION, Code.MALFORMED)
    yield _raw("an Alarm presented as an order", signed_example(Alarm), _PAIRING, Code.UNKNOWN_SIGNER)


def _case(
    name: str, order: PairingOrder | DecommissionOrder, known: Case, error: Code | None, *, signer: str = "pairing"
) -> Case:
    return _raw(name, sign(order, SIGNERS[signer]), known, error)


def _raw(name: str, signed: bytes, known: Case, error: Code | None) -> Case:
    facts = known | {"utc_lo_s": NOW_S}
    return {"name": name, "error": None if error is None else error.name, "known": facts, "order": signed.hex()}
