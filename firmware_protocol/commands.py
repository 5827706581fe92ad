"""What is asked for, and that it is asked now: Alarm, Command, Request (docs/protocol.md §4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from firmware_protocol.constants import CHALLENGE_SIZE, ID_SIZE
from firmware_protocol.schema import Choice, Name, Truth, octets, uint, wire, wire_field
from firmware_protocol.signed import SignedMap
from firmware_protocol.vocabulary import COMMAND_ID_SIZE, CTI_SIZE, HASH_SIZE, Action


@wire
class Alarm(SignedMap):
    """An alarm is open, or closed, for a home; signed by the intake role."""

    DOMAIN: ClassVar[str] = "alarm"

    gateway_id: bytes = octets(0, ID_SIZE)
    lock_id: bytes = octets(1, ID_SIZE)
    alarm_ref: bytes = octets(2, CTI_SIZE)
    """Commands name it."""
    epoch: bytes = octets(3, CHALLENGE_SIZE)
    exp_s: int = uint(4)
    """On the epoch's clock, at most 60 s ahead."""
    opens: bool = wire_field(5, Truth())


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochFreshness:
    """Asked for now, on the gateway's own clock (MQTT)."""

    epoch: bytes
    issued_s: int
    """Seconds since the epoch was drawn, as the signer reckoned them."""
    exp_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeFreshness:
    """Asked for now, over a challenge of the lock's (at the door)."""

    challenge: bytes


@wire
class Command(SignedMap):
    """Move this bolt now; signed by the device key, or by one operator key or two (COSE_Sign, in the grants' order)."""

    DOMAIN: ClassVar[str] = "command"

    lock_id: bytes = octets(1, ID_SIZE)
    gateway_id: bytes = octets(2, ID_SIZE)
    action: Action = wire_field(3, Choice(Action))
    command_id: bytes = octets(4, COMMAND_ID_SIZE)
    """16 random bytes, chosen by the signer."""
    challenge: bytes | None = octets(5, CHALLENGE_SIZE, default=None)
    epoch: bytes | None = octets(6, CHALLENGE_SIZE, default=None)
    exp_s: int | None = uint(7, default=None)
    issued_s: int | None = uint(11, default=None)
    grant_sha256: bytes = octets(8, HASH_SIZE)
    second_grant_sha256: bytes | None = octets(12, HASH_SIZE, default=None)
    """Of the second operator's grant, where two sign."""
    alarm_ref: bytes | None = octets(9, CTI_SIZE, default=None)
    signer_clock_s: int = uint(10)
    """For the audit only; no decision reads it."""

    @property
    def freshness(self) -> ChallengeFreshness | EpochFreshness:
        """What makes this command one of now."""
        if self.challenge is not None:
            return ChallengeFreshness(challenge=self.challenge)
        if self.epoch is None or self.exp_s is None or self.issued_s is None:
            raise ValueError("a command with no freshness was built by hand")
        return EpochFreshness(epoch=self.epoch, issued_s=self.issued_s, exp_s=self.exp_s)

    def problem(self) -> str | None:
        """Either a challenge or an epoch with its two seconds, never both, never half."""
        parts = [self.epoch is not None, self.exp_s is not None, self.issued_s is not None]
        has_challenge = self.challenge is not None
        if any(parts) is has_challenge or all(parts) is has_challenge:
            return "neither a challenge alone nor a whole epoch"
        return None


@wire
class Request(SignedMap):
    """What an operator may ask of a gateway beside movement; signed by the role that the verb needs."""

    DOMAIN: ClassVar[str] = "request"

    gateway_id: bytes = octets(0, ID_SIZE)
    verb: str = wire_field(1, Name())
    arguments_sha256: bytes = octets(2, HASH_SIZE)
    epoch: bytes = octets(3, CHALLENGE_SIZE)
    exp_s: int = uint(4)
    """On the epoch's clock."""
    request_id: bytes = octets(5, COMMAND_ID_SIZE)
