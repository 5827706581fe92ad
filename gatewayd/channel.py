"""The ways in which a signed command reaches the door, and the way in which its sender is answered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Protocol


@unique
class Channel(StrEnum):
    """Where a command came from."""

    MQTT = "mqtt"
    RELAY = "relay"
    """A phone at the door, through the lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Bytes that claim to be a command. They prove nothing yet."""

    channel: Channel
    bundle: bytes
    lock_id: bytes | None = None
    """Relay only: the lock that it came through."""
    challenge: bytes | None = None
    """Relay only: the challenge that this lock gave to this phone."""


class Responder(Protocol):
    """How to answer one sender. A sender that has gone is not an error: the journal has the answer."""

    async def receipt(self, raw: bytes) -> None:
        """Send a signed CommandReceipt: `decided` first, `outcome` later."""

    async def info(self, raw: bytes) -> None:
        """Send a signed GatewayInfo, so that the sender can ask again rightly."""

    async def denied(self) -> None:
        """Say no to somebody who has proved nothing, at most once a second over the channel."""


class Submit(Protocol):
    """What a channel hands its submissions to."""

    async def __call__(self, submission: Submission, responder: Responder) -> None:
        """Verify, decide, act, record and answer; returns when the story of this command is over."""


class Entropy(Protocol):
    """Where secrets and nonces come from; never the generator that jitters timers."""

    def token(self, size: int) -> bytes:
        """Return `size` unpredictable bytes."""
