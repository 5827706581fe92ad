"""One end of a session with everything that is done to it written down, so that it can be done again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.directions import FROM_GATEWAY, FROM_LOCK
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.hello import LockStatus
from firmware_protocol.messages import decode_record, encode_record
from firmware_protocol.noise import KeyPair
from firmware_protocol.session import GatewaySession, LockSession, PeerClosing, RecordReceived

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_protocol.session import Event
    from firmware_protocol.vectors.case import Case

START_MS: Final = 1_000


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


def make(role: str, facts: Case) -> GatewaySession | LockSession:
    """Return a session with these keys and counters."""
    keys, ephemeral = (KeyPair.from_private(bytes.fromhex(facts[name])) for name in ("static", "ephemeral"))
    shared: dict[str, Any] = {
        "keys": keys,
        "ephemeral": ephemeral,
        "session_ctr": facts["session_ctr"],
        "version_floor": facts["version_floor"],
        "value_size_max": facts["value_size"],
        "now_ms": START_MS,
    }
    remote, nonce = bytes.fromhex(facts["remote_static"]), bytes.fromhex(facts["nonce"])
    if role == "gateway":
        return GatewaySession(lock_key=remote, nonce=nonce, **shared)
    return LockSession(gateway_key=remote, boot_nonce=nonce, firmware=facts["firmware"], **shared)


def act(session: GatewaySession | LockSession, step: Case) -> list[str]:
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
