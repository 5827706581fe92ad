"""What the uplink asks of the rest of the house. It imports neither the door nor the link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from firmware_protocol.checkpoint import Checkpoint


class SignedObjects(Protocol):
    """Takes signed objects in. Each verifies what it is given: the broker proves nothing."""

    async def take_keyset(self, data: bytes) -> None:
        """Take a Keyset.

        Raises:
            RemoteProtocolError: it is not what it claims to be.
            GatewayError: it could not be kept.
        """

    async def take_authority(self, data: bytes) -> None:
        """Take a provider's Authority; raises as `take_keyset` does."""

    async def take_state(self, data: bytes) -> None:
        """Take an AuthorityState; raises as `take_keyset` does."""

    async def take_grant(self, data: bytes) -> None:
        """Take a grant; raises as `take_keyset` does."""


class AlarmIntake(Protocol):
    """Takes the word of the alarm intake that an alarm is open or closed."""

    async def take_alarm(self, data: bytes) -> None:
        """Take a signed Alarm; raises as `SignedObjects.take_keyset` does."""


class InfoSource(Protocol):
    """States where this gateway stands."""

    def info(self, nonce: bytes) -> bytes:
        """Return a signed GatewayInfo over the asker's 16 bytes."""


class LogMail(Protocol):
    """Takes what the central log answers."""

    async def take_log_mail(self, data: bytes) -> None:
        """Take a receipt or a conflict answer; never raises for what is in it."""


class ReceiptSink(Protocol):
    """Hears of the central log's receipts."""

    async def receipt_accepted(self, *, time_s: int, checkpoint: Checkpoint) -> None:
        """A receipt over `checkpoint` was verified and marked; the central log's clock said `time_s`, UTC."""


class Alerts(Protocol):
    """Raises what a person must hear of."""

    async def alert(self, code: str, detail: str) -> None:
        """Journal an alert, at most a few of a kind; never raises."""


class Heartbeat(Protocol):
    """Lets the journal say that the gateway lives."""

    async def __call__(self) -> None:
        """Append a heartbeat entry; the drain is woken by its commit."""
