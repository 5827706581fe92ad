"""One target for each way into the contract: any bytes are read as what they are, or refused with RemoteProtocolError.

A target raises anything else where two ends could disagree: bytes that are read as a value must be the one encoding of
that value, and what is signed or sealed is only taken from whoever holds the key (the oracle's second opinion says who
signed). Targets share no state, so that one input is enough to see a finding again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol import cbor, chains, checkpoint, cose
from firmware_protocol.commands import Command
from firmware_protocol.constants import (
    BUNDLE_SIZE_MAX,
    COURIER_OBJECT_SIZE_MAX,
    LARGE_OBJECT_SIZE_MAX,
    MESSAGE_SIZE_MAX,
    OBJECT_SIZE_MAX,
)
from firmware_protocol.courier import CourierDesk
from firmware_protocol.directions import FROM_GATEWAY, FROM_LOCK
from firmware_protocol.erased import ErasedEntry
from firmware_protocol.errands import Courier
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.fragments import Fragmenter, FragmentKind, Message, Reassembler
from firmware_protocol.hello import GatewayHello, LockHello, PhoneHello, PlainClose, decode_plain, encode_plain
from firmware_protocol.lock_log import LogPosition, LogRecord, verify_batch
from firmware_protocol.messages import LogBatch, decode_record, encode_record
from firmware_protocol.noise import KeyPair
from firmware_protocol.orders import DecommissionOrder, PairingOrder
from firmware_protocol.ownership import open_order
from firmware_protocol.pairing import LockLabel
from firmware_protocol.relay import RelayDecider, RelayPhone
from firmware_protocol.sealed import Sealed, unseal
from firmware_protocol.tokens import Authority, Grant, Keyset, OperatorGrant
from firmware_protocol.vectors.example_records import OTHERS
from firmware_protocol.vectors.examples import GATEWAY_LINK, PUBLIC, VALUES
from firmware_protocol.vectors.session_side import START_MS, act, make
from tests.oracle import envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from firmware_protocol.schema import WireMap

ROOT: Final = Path(__file__).resolve().parents[2]
PIECE_HEAD_SIZE: Final = 2
"""Several values in one input: each behind its length, big-endian."""
PLAIN: Final = {kind.TYPE: kind for kind in (GatewayHello, LockHello, PhoneHello, PlainClose)}
RECORDS: Final = {**FROM_GATEWAY, **FROM_LOCK}
MAPS: Final[tuple[type[WireMap], ...]] = tuple(
    sorted({*VALUES, *OTHERS, *RECORDS.values()}, key=lambda kind: kind.__name__)
)


class BrokenLawError(AssertionError):
    """The contract was broken by these bytes."""


@dataclass(frozen=True, slots=True)
class Target:
    """One way in."""

    name: str
    size_max: int
    """Longest input that the fuzzer tries: a little more than is ever read."""
    read: Callable[[bytes], None]
    """Raises BrokenLawError, or whatever else it was never meant to raise."""

    def try_bytes(self, data: bytes) -> None:
        """Read `data`; a refusal is a fine answer."""
        try:
            self.read(data)
        except RemoteProtocolError:
            return


def vectors(name: str) -> dict[str, Any]:
    """Return a document of the committed vectors."""
    document: dict[str, Any] = json.loads((ROOT / "docs" / "vectors" / f"{name}.json").read_text(encoding="utf-8"))
    return document


def join(values: Sequence[bytes]) -> bytes:
    """Return several values as one input."""
    return b"".join(len(value).to_bytes(PIECE_HEAD_SIZE, "big") + value for value in values)


def split(data: bytes) -> Iterator[bytes]:
    """Yield the values of one input; the last one may be short."""
    while data:
        size = int.from_bytes(data[:PIECE_HEAD_SIZE], "big")
        yield data[PIECE_HEAD_SIZE : PIECE_HEAD_SIZE + size]
        data = data[PIECE_HEAD_SIZE + size :]


def require(holds: bool, law: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise where a law is broken."""
    if not holds:
        raise BrokenLawError(law)


# --------------------------------------------------------------------------------------------------- plain encodings


def _cbor(data: bytes) -> None:
    require(cbor.encode(cbor.decode(data, size_max=OBJECT_SIZE_MAX)) == data, "a value has one encoding")


def _map(data: bytes) -> None:
    """The first byte says which map."""
    kind = MAPS[data[0] % len(MAPS)] if data else MAPS[0]
    require(kind.from_bytes(data[1:]).to_bytes() == data[1:], f"a {kind.__name__} has one encoding")


def _envelope(data: bytes) -> None:
    payload = cose.parse(data, size_max=LARGE_OBJECT_SIZE_MAX).payload
    require(payload in data, "what an envelope holds stands in it")


def _record(data: bytes) -> None:
    corr, message = decode_record(data, RECORDS)
    require(encode_record(message, corr) == data, "a record has one encoding")


def _plain(data: bytes) -> None:
    require(encode_plain(decode_plain(data, PLAIN)) == data, "a plain message has one encoding")


def _log_record(data: bytes) -> None:
    require(LogRecord.from_bytes(data).to_bytes() == data, "a record of the log has one encoding")


def _label(data: bytes) -> None:
    text = data.decode("latin-1")
    require(LockLabel.from_text(text).to_text() == text, "a label has one spelling")


def _fragments(data: bytes) -> None:
    reassembler = Reassembler()
    for value in split(data):
        message = reassembler.receive_value(value, START_MS)
        if message is not None:
            again, whole = Reassembler(), None
            for piece in Fragmenter(512).fragment(message.kind, message.data):
                whole = again.receive_value(piece, START_MS)
            require(whole == message, "a message comes back from its fragments")


# --------------------------------------------------------------------------------------- what is signed or in a chain

_BUNDLES: Final = vectors("bundles")
_KEYSET: Final = chains.verify_keyset(
    bytes.fromhex(_BUNDLES["keyset"]), roots=[bytes.fromhex(root) for root in _BUNDLES["roots"]]
)
_KNOWN: Final = chains.Known(keyset=_KEYSET, find_grant=lambda _: None, find_authority=lambda _: None)


_DOMAINS: Final = tuple(
    sorted(
        {kind.DOMAIN for kind in (Keyset, Authority, Grant, OperatorGrant, Command, PairingOrder, DecommissionOrder)}
    )
)


def _is_signed(data: bytes) -> bool:
    """Ask the second opinion: is this signed by keys that anybody may have in the examples? Two where two must sign."""
    return any(_is_signed_for(data, domain, several=several) for domain in _DOMAINS for several in (False, True))


def _is_signed_for(data: bytes, domain: str, *, several: bool) -> bool:
    threshold, keys = 2 if several else 1, list(PUBLIC.values())
    try:
        envelope.payload_of(
            data,
            keys,
            domain.removeprefix("carelock/1/"),
            threshold=threshold,
            size_max=LARGE_OBJECT_SIZE_MAX,
            several=several,
        )
    except envelope.RefusedError:
        return False
    return True


def _bundle(data: bytes) -> None:
    objects = chains.parse_bundle(data)
    require(chains.make_bundle(*objects) == data, "a bundle has one encoding")
    chains.verify_bundle(data, known=_KNOWN)
    require(all(map(_is_signed, objects)), "a bundle was believed that nobody signed")


def _grant(data: bytes) -> None:
    chains.verify_grant(data, None, known=_KNOWN)
    require(_is_signed(data), "a grant was believed that nobody signed")


def _keyset(data: bytes) -> None:
    chains.verify_keyset(data, roots=[bytes.fromhex(root) for root in _BUNDLES["roots"]])
    require(_is_signed(data), "a keyset was believed that nobody signed")


def _order(data: bytes) -> None:
    open_order(data, keyset=_KEYSET)
    require(_is_signed(data), "an order was believed that nobody signed")


_NOTES: Final = vectors("notes")


def _texts_by(signer: str, verify: Callable[..., object], note: bytes) -> set[bytes]:
    """Return the text of `note` where this signer's key is under it."""
    name, public = _NOTES[signer]["name"], bytes.fromhex(_NOTES[signer]["public_key"])
    try:
        verify(note, name, public)
    except RemoteProtocolError:
        return set()
    return {checkpoint.parse_note(note).text}


_STATEMENTS: Final[tuple[tuple[str, Callable[..., object]], ...]] = (
    ("log", lambda note, name, public: checkpoint.verify_checkpoint(note, name=name, public=public)),
    ("cosigner", lambda note, name, public: checkpoint.verify_cosignature(note, name=name, public=public)),
    ("log", lambda note, name, public: ErasedEntry.verify(note, origin=name, public=public)),
)
_TEXTS: Final = [
    {text for case in _NOTES["cases"] for text in _texts_by(signer, verify, bytes.fromhex(case["note"]))}
    for signer, verify in _STATEMENTS
]


def _note(data: bytes) -> None:
    """Signatures of others may come and go; the text under this signer's may not change."""
    checkpoint.parse_note(data)
    for (signer, verify), texts in zip(_STATEMENTS, _TEXTS, strict=True):
        require(_texts_by(signer, verify, data) <= texts, f"a note was believed that the {signer} never signed")


_LOG_ID: Final = bytes.fromhex(vectors("log")["log_id"])


def _log_batch(data: bytes) -> None:
    batch = LogBatch.from_bytes(data)
    before = LogPosition.start(_LOG_ID)
    records, after = verify_batch(before, from_seq=batch.from_seq, previous=batch.previous, records=batch.records)
    require([record.to_bytes() for record in records] == list(batch.records), "a record of the log has one encoding")
    require(after.seq == len(records), "a chain has no gap")


# ---------------------------------------------------------------------------------------------------- the link's ends

_SESSIONS: Final = [*vectors("sessions")["cases"], *vectors("pairings")["cases"]]
AUTHENTICATED: Final = {
    "gateway": "LinkAuthenticated",
    "lock": "Confirmed",
    "pairing gateway": "PairingOpened",
    "pairing lock": "PairingOpened",
}
"""By role: the event that only somebody with the other end's key can bring about."""


def good_session(role: str) -> dict[str, Any]:
    """Return the recorded session of one end that the target replays and changes."""
    found: dict[str, Any] = next(
        case
        for case in _SESSIONS
        if case["role"] == role and case["error"] is None and case["facts"]["value_size"] == 244
    )
    return found


def heard(role: str) -> list[bytes]:
    """Return the values that the good session of one end was given."""
    return [bytes.fromhex(step["receive"]) for step in good_session(role)["steps"] if "receive" in step]


def _messages(values: Sequence[bytes]) -> list[Message]:
    reassembler = Reassembler()
    joined = (reassembler.receive_value(value, START_MS) for value in values)
    return [message for message in joined if message is not None]


def _binding(messages: Sequence[Message]) -> list[Message]:
    """Return the hello and what only a holder of keys can make; goodbyes in plain are hints from anybody."""
    return [message for index, message in enumerate(messages) if index == 0 or message.kind != FragmentKind.PLAIN]


def _end_of_link(role: str) -> Callable[[bytes], None]:
    case = good_session(role)
    theirs = _binding(_messages(heard(role)))
    own = [step for step in case["steps"] if step.keys() & {"answer", "confirm"}]

    def read(data: bytes) -> None:
        session, given = make(role, case["facts"]), list[bytes]()
        for value in split(data):
            given.append(value)
            for event in session.receive_value(value, START_MS):
                name = type(event).__name__
                if name in {AUTHENTICATED[role], "RecordReceived"}:
                    said = _binding(_messages(given))
                    require(said == theirs[: len(said)], f"{name} without the key of the other end")
                if name in {"StatusWanted", "LinkAuthenticated"}:
                    act(session, own[0])

    return read


# --------------------------------------------------------------------------------------------------- phones, couriers

_RELAY: Final = vectors("relay")
_VISIT: Final = _RELAY["cases"][0]


def _key_pair(name: str) -> KeyPair:
    return KeyPair.from_private(bytes.fromhex(_RELAY[name]))


def _relay_decider(data: bytes) -> None:
    decider = RelayDecider(
        keys=_key_pair("decider_static"),
        challenge=bytes.fromhex(_RELAY["challenge"]),
        ephemeral=_key_pair("decider_ephemeral"),
    )
    bundle = decider.read_bundle(data)
    require(bundle == bytes.fromhex(_RELAY["bundle"]), "a bundle that was sealed to nobody")


def _relay_phone(data: bytes) -> None:
    phone = RelayPhone(
        decider_key=_key_pair("decider_static").public,
        challenge=bytes.fromhex(_RELAY["challenge"]),
        ephemeral=_key_pair("phone_ephemeral"),
    )
    phone.open(bytes.fromhex(_RELAY["bundle"]))
    for answer, said in zip(split(data), _VISIT["answers"], strict=False):
        phone.read(answer)
        require(answer.hex() == said, "an answer that the decider never gave")


_SEALED: Final = frozenset(case["body"] for case in vectors("sealed")["cases"] if case["error"] is None)


def _sealed(data: bytes) -> None:
    body = unseal(data, GATEWAY_LINK)
    require(body.to_bytes().hex() in _SEALED, "a box was opened that nobody sealed")


def _courier(data: bytes) -> None:
    desk = CourierDesk(size_max=COURIER_OBJECT_SIZE_MAX)
    for piece in split(data):
        delivery = desk.take(Courier.from_bytes(piece))
        if delivery is not None:
            require(len(delivery.data) <= COURIER_OBJECT_SIZE_MAX, "an object longer than couriers carry")


TARGETS: Final = {
    target.name: target
    for target in (
        Target("cbor", OBJECT_SIZE_MAX + 1, _cbor),
        Target("map", OBJECT_SIZE_MAX + 1, _map),
        Target("envelope", LARGE_OBJECT_SIZE_MAX + 1, _envelope),
        Target("record", MESSAGE_SIZE_MAX + 1, _record),
        Target("plain", MESSAGE_SIZE_MAX + 1, _plain),
        Target("log_record", MESSAGE_SIZE_MAX + 1, _log_record),
        Target("log_batch", MESSAGE_SIZE_MAX + 1, _log_batch),
        Target("label", 200, _label),
        Target("fragments", 2 * MESSAGE_SIZE_MAX, _fragments),
        Target("bundle", BUNDLE_SIZE_MAX + 1, _bundle),
        Target("grant", OBJECT_SIZE_MAX + 1, _grant),
        Target("keyset", LARGE_OBJECT_SIZE_MAX + 1, _keyset),
        Target("order", OBJECT_SIZE_MAX + 1, _order),
        Target("note", checkpoint.NOTE_SIZE_MAX + 1, _note),
        Target("gateway_session", 2 * MESSAGE_SIZE_MAX, _end_of_link("gateway")),
        Target("lock_session", 2 * MESSAGE_SIZE_MAX, _end_of_link("lock")),
        Target("gateway_pairing", 2 * MESSAGE_SIZE_MAX, _end_of_link("pairing gateway")),
        Target("lock_pairing", 2 * MESSAGE_SIZE_MAX, _end_of_link("pairing lock")),
        Target("relay_decider", MESSAGE_SIZE_MAX + 1, _relay_decider),
        Target("relay_phone", 2 * MESSAGE_SIZE_MAX, _relay_phone),
        Target("sealed", Sealed.SIZE_MAX + 1, _sealed),
        Target("courier", 2 * COURIER_OBJECT_SIZE_MAX, _courier),
    )
}
"""By name; a folder of this name below `corpus` has its inputs."""
