"""One end of a session with everything that is done to it written down, so that it can be done again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.directions import FROM_GATEWAY, FROM_LOCK
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.hello import LockStatus
from firmware_protocol.messages import decode_record, encode_record
from firmware_protocol.noise import KeyPair
from firmware_protocol.pairing import GatewayPairing, LockLabel, LockPairing
from firmware_protocol.session import FormerOwner, GatewaySession, LockSession, PeerClosing, RecordReceived

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_protocol.session import Event
    from firmware_protocol.vectors.case import Case

START_MS: Final = 1_000
Session = GatewaySession | LockSession | GatewayPairing | LockPairing


class Side:
    """One end, with everything that is done to it written down."""

    def __init__(self, role: str, facts: Case) -> None:
        """Begin with the keys and counters of `facts`, at `START_MS`."""
        self.role = role
        self.facts = facts
        self.steps: list[Case] = []
        self._session = make(role, facts)
        self.waiting = self._session.take_values()
        """Values that the other end has not been given yet."""
        self._first = self.waiting

    def receive(self, *values: bytes) -> None:
        """Take values, one by one."""
        for value in values:
            self._step({"at_ms": START_MS, "receive": value.hex()})

    def do(self, **act: Any) -> None:  # noqa: ANN401 - JSON
        """Do something of its own: `answer`, `confirm`, `record` or `tick`."""
        self._step({"at_ms": START_MS} | act)

    def case(self, name: str) -> Case:
        """Return what happened as a case."""
        error = self.steps[-1].pop("error", None) if self.steps else None
        return {
            "name": f"{self.role}: {name}",
            "error": error,
            "role": self.role,
            "facts": self.facts,
            "first": [value.hex() for value in self._first],
            "steps": self.steps,
        }

    def take(self) -> tuple[bytes, ...]:
        """Return what it wants to say, and forget it."""
        values, self.waiting = self.waiting, ()
        return values

    def _step(self, step: Case) -> None:
        try:
            events = act(self._session, step)
        except RemoteProtocolError as error:
            self.steps.append(step | {"error": error.code.name})
            return
        values = self._session.take_values()
        self.waiting += values
        self.steps.append(step | {"events": events, "send": [value.hex() for value in values]})


def make(role: str, facts: Case) -> Session:
    """Return a session or a pairing with these keys and counters."""
    keys, ephemeral = (KeyPair.from_private(bytes.fromhex(facts[name])) for name in ("static", "ephemeral"))
    shared: dict[str, Any] = {
        "keys": keys,
        "ephemeral": ephemeral,
        "version_floor": facts["version_floor"],
        "value_size_max": facts["value_size"],
        "now_ms": START_MS,
    }
    nonce = bytes.fromhex(facts["nonce"])
    if role == "pairing gateway":
        return GatewayPairing(label=LockLabel.from_text(facts["label"]), nonce=nonce, **shared)
    if role == "gateway":
        lock_key = bytes.fromhex(facts["remote_static"])
        return GatewaySession(
            lock_key=lock_key,
            nonce=nonce,
            session_ctr=facts["session_ctr"],
            next_owner_epoch=facts.get("next_owner_epoch", 0),
            **shared,
        )
    shared |= {"boot_nonce": nonce, "firmware": facts["firmware"], "capabilities": facts.get("capabilities", 0)}
    if role == "pairing lock":
        return LockPairing(label=LockLabel.from_text(facts["label"]), **shared)
    return LockSession(
        gateway_key=_key(facts["remote_static"]),
        session_ctr=facts["session_ctr"],
        former=_former(facts.get("former")),
        **shared,
    )


def _key(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def _former(facts: Case | None) -> FormerOwner | None:
    if facts is None:
        return None
    return FormerOwner(gateway_key=bytes.fromhex(facts["remote_static"]), session_ctr=facts["session_ctr"])


def act(session: Session, step: Case) -> list[str]:
    """Do one step and return the events in words.

    Raises:
        RemoteProtocolError: the session is over.
    """
    match step:
        case {"receive": value}:
            return [_in_words(event) for event in session.receive_value(bytes.fromhex(value), step["at_ms"])]
        case {"tick": at_ms}:
            session.tick(at_ms)
        case {"record": plaintext}:
            corr, message = decode_record(bytes.fromhex(plaintext), {**FROM_GATEWAY, **FROM_LOCK})
            session.send(message, corr=corr)
        case {"answer": status} if isinstance(session, LockSession):
            session.answer(LockStatus.from_bytes(bytes.fromhex(status)))
        case {"confirm": [lo, hi]} if isinstance(session, GatewaySession):
            session.confirm(utc_lo_s=lo, utc_hi_s=hi)
        case _:
            raise ValueError(f"a step that is none: {step}")
    return []


def _in_words(event: Event) -> str:
    if isinstance(event, RecordReceived):
        return f"record {encode_record(event.message, event.corr).hex()}"
    if isinstance(event, PeerClosing):
        return f"peer closing: {event.code.name}, {'authenticated' if event.authenticated else 'a hint'}"
    return type(event).__name__


def carry(first: Side, second: Side) -> None:
    """Carry values to and fro until both are silent."""
    sides: Sequence[Side] = (first, second)
    while first.waiting or second.waiting:
        for sender, receiver in (sides, reversed(sides)):
            for value in sender.take():
                receiver.receive(value)
