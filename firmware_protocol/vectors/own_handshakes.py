"""Vectors of the three handshakes: whole ones in the form of cacophony, and messages that must be refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import PAIRING_PROLOGUE_LABEL, PROLOGUE_LABEL, RELAY_PROLOGUE_LABEL
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.hello import encode_plain, link_prologue
from firmware_protocol.noise import KK, NK, XXPSK3, HandshakeState, KeyPair
from firmware_protocol.vectors import noise_file
from firmware_protocol.vectors.case import Case, document
from firmware_protocol.vectors.example_records import PLAIN
from firmware_protocol.vectors.examples import (
    CHALLENGE,
    GATEWAY_EPHEMERAL,
    GATEWAY_LINK,
    LOCK_EPHEMERAL,
    LOCK_LINK,
    PAIRING_SECRET,
    PHONE_EPHEMERAL,
    STRANGER_LINK,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from firmware_protocol.noise import Pattern
    from firmware_protocol.vectors.tally import Tally

    Sides = tuple[dict[str, Any], dict[str, Any]]

KIND: Final = "handshakes"
_LOW_ORDER: Final = bytes(32)
"""A point with which every shared secret is zero."""


def _sides(pattern: Pattern) -> Sides:
    hellos = [encode_plain(hello) for hello in list(PLAIN.values())[:2]]
    if pattern is KK:
        prologue = link_prologue(*hellos)
        initiator = {"s": GATEWAY_LINK, "e": GATEWAY_EPHEMERAL, "rs": LOCK_LINK.public, "psk": None}
        responder = {"s": LOCK_LINK, "e": LOCK_EPHEMERAL, "rs": GATEWAY_LINK.public, "psk": None}
    elif pattern is NK:
        prologue = RELAY_PROLOGUE_LABEL + CHALLENGE
        initiator = {"s": None, "e": PHONE_EPHEMERAL, "rs": GATEWAY_LINK.public, "psk": None}
        responder = {"s": GATEWAY_LINK, "e": GATEWAY_EPHEMERAL, "rs": None, "psk": None}
    else:
        prologue = link_prologue(*hellos, label=PAIRING_PROLOGUE_LABEL)
        initiator = {"s": GATEWAY_LINK, "e": GATEWAY_EPHEMERAL, "rs": None, "psk": PAIRING_SECRET}
        responder = {"s": LOCK_LINK, "e": LOCK_EPHEMERAL, "rs": None, "psk": PAIRING_SECRET}
    shared: dict[str, Any] = {"prologue": prologue}
    return {**shared, "initiator": True, **initiator}, {**shared, "initiator": False, **responder}


def documents() -> Iterator[tuple[str, Case]]:
    """Yield the one file of handshakes."""
    about = (
        "`vectors` are whole handshakes and some records after them, in cacophony's format. In `cases` the reader "
        "has the keys of its side, has written what it writes itself with empty payloads, and is given `messages`; "
        "the last of them is refused."
    )
    vectors = [_vector(pattern) for pattern in (KK, NK, XXPSK3)]
    cases = [case for pattern in (KK, NK, XXPSK3) for case in _bad(pattern)]
    yield "handshakes", document(KIND, "8.2, 11", about, vectors=vectors, cases=cases)


def judge(given: Case) -> Tally:
    """Run the whole ones as any published vector, and then the others."""
    tally = noise_file.judge(given["vectors"])
    for case in given["cases"]:
        tally.judge(case["name"], is_right=_refusal(case) == (len(case["messages"]) - 1, case["error"]))
    return tally


def _vector(pattern: Pattern) -> Case:
    sides = _sides(pattern)
    initiator, responder = (HandshakeState(pattern, **side) for side in sides)
    messages: list[Case] = []
    writer, reader = initiator, responder
    while not initiator.finished:
        payload = f"payload {len(messages) + 1}".encode()
        message = writer.write_message(payload)
        reader.read_message(message)
        messages.append({"payload": payload.hex(), "ciphertext": message.hex()})
        writer, reader = reader, writer
    handshake_hash = initiator.handshake_hash.hex()
    out, back = initiator.split()
    sending = (out, back) if writer is initiator else (back, out)
    for index in range(4):
        payload = f"record {index}".encode()
        messages.append({"payload": payload.hex(), "ciphertext": sending[index % 2].encrypt(b"", payload).hex()})
    vector: Case = {"protocol_name": f"Noise_{pattern.name}_25519_ChaChaPoly_SHA256"}
    for prefix, side in zip(("init", "resp"), sides, strict=True):
        vector |= _as_json(prefix, side)
    return vector | {"handshake_hash": handshake_hash, "messages": messages}


def _as_json(prefix: str, side: dict[str, Any]) -> dict[str, Any]:
    written: dict[str, Any] = {
        f"{prefix}_prologue": side["prologue"].hex(),
        f"{prefix}_ephemeral": side["e"].private.hex(),
    }
    if side["s"] is not None:
        written[f"{prefix}_static"] = side["s"].private.hex()
    if side["rs"] is not None:
        written[f"{prefix}_remote_static"] = side["rs"].hex()
    if side["psk"] is not None:
        written[f"{prefix}_psks"] = [side["psk"].hex()]
    return written


def _bad(pattern: Pattern) -> Iterator[Case]:
    for index in range(len(pattern.messages)):
        good = _messages(pattern, *_sides(pattern))[: index + 1]
        last = good[-1]
        for name, changed in (
            ("cut short", last[:-1]),
            ("cut in its ephemeral key", last[:31]),
            ("empty", b""),
            ("with a byte more", last + b"\x00"),
            ("with a flipped bit at its end", last[:-1] + bytes((last[-1] ^ 1,))),
            ("with a key of low order", _LOW_ORDER + last[32:]),
        ):
            yield _case(pattern, index, f"message {index + 1} {name}", [*good[:-1], changed])
    for name, is_initiators, change in _beliefs(pattern):
        sides = _sides(pattern)
        sides[0 if is_initiators else 1].update(change)
        yield from _misbelief(pattern, name, sides)


def _beliefs(pattern: Pattern) -> Iterator[tuple[str, bool, dict[str, Any]]]:
    """Yield what a liar has otherwise than the good side."""
    yield "another prologue", True, {"prologue": PROLOGUE_LABEL + b"\x00"}
    if pattern is KK:
        yield "a stranger's static key", True, {"s": STRANGER_LINK}
        yield "another lock in mind", True, {"rs": STRANGER_LINK.public}
    if pattern is NK:
        yield "another decider in mind", True, {"rs": STRANGER_LINK.public}
    if pattern is XXPSK3:
        yield "another secret", True, {"psk": bytes(32)}


def _misbelief(pattern: Pattern, name: str, sides: Sides) -> Iterator[Case]:
    """Yield the case of the message at which the good side notices."""
    liar, good = (HandshakeState(pattern, **side) for side in sides)
    sent = []
    writer, reader = liar, good
    while True:
        message = writer.write_message(b"")
        sent.append(message)
        try:
            reader.read_message(message)
        except RemoteProtocolError:
            break
        writer, reader = reader, writer
    yield _case(pattern, len(sent) - 1, f"the other side has {name}", sent)


def _messages(pattern: Pattern, *sides: dict[str, Any]) -> list[bytes]:
    states = [HandshakeState(pattern, **side) for side in sides]
    messages = []
    for index in range(len(pattern.messages)):
        messages.append(states[index % 2].write_message(b""))
        states[(index + 1) % 2].read_message(messages[-1])
    return messages


def _case(pattern: Pattern, index: int, name: str, messages: Sequence[bytes]) -> Case:
    reader = "responder" if index % 2 == 0 else "initiator"
    side = _sides(pattern)[1 if reader == "responder" else 0]
    return {
        "name": f"{pattern.name}: {name}",
        "error": Code.DENIED.name,
        "pattern": pattern.name,
        "reader": reader,
        **_as_json("reader", side),
        "messages": [message.hex() for message in messages],
    }


def _refusal(case: Case) -> tuple[int, str] | None:
    (pattern,) = [pattern for pattern in (KK, NK, XXPSK3) if pattern.name == case["pattern"]]
    is_initiator = case["reader"] == "initiator"

    def pair(name: str) -> KeyPair | None:
        private = case.get(f"reader_{name}")
        return None if private is None else KeyPair.from_private(bytes.fromhex(private))

    psks, remote = case.get("reader_psks"), case.get("reader_remote_static")
    e = pair("ephemeral")
    assert e is not None  # noqa: S101 - every side of these patterns speaks
    state = HandshakeState(
        pattern,
        initiator=is_initiator,
        prologue=bytes.fromhex(case["reader_prologue"]),
        s=pair("static"),
        e=e,
        rs=None if remote is None else bytes.fromhex(remote),
        psk=bytes.fromhex(psks[0]) if psks else None,
    )
    for index, message in enumerate(bytes.fromhex(each) for each in case["messages"]):
        is_own = (index % 2 == 0) == is_initiator
        act: Callable[[], object] = (
            (lambda: state.write_message(b"")) if is_own else (lambda message=message: state.read_message(message))  # type: ignore[misc]
        )
        try:
            act()
        except RemoteProtocolError as error:
            return index, error.code.name
    return None
