"""What the uplink asks of the rest of the house. It imports neither the door nor the link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from firmware_protocol.checkpoint import Checkpoint
    from firmware_protocol.relay import AnswerKind
    from gatewayd.journal.journal import SignedAt


class RefusedError(GatewayError):
    """A message is not what it claims to be, or nothing is done about it: dropped, counted and logged."""


class SignedObjects(Protocol):
    """Takes signed objects in. Each verifies what it is given: the broker proves nothing."""

    async def take_keyset(self, data: bytes) -> None:
        """Take a Keyset.

        Raises:
            RemoteProtocolError, RefusedError: it is not what it claims to be.
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


class Requests(Protocol):
    """Does what operators may ask beside movement."""

    @property
    def verbs(self) -> Collection[str]:
        """What may be asked."""

    async def take_request(self, verb: str, bundle: bytes) -> tuple[AnswerKind, bytes]:
        """Return the kind and the body of the answer; raises as `SignedObjects.take_keyset` does."""


class InfoSource(Protocol):
    """States where this gateway stands."""

    def info(self, nonce: bytes) -> bytes:
        """Return a signed GatewayInfo over the asker's 16 bytes."""


class LogMail(Protocol):
    """Takes what the central log answers."""

    async def take_log_mail(self, data: bytes) -> None:
        """Take a receipt or a conflict answer; raises as `SignedObjects.take_keyset` does."""


class LogWatcher(Protocol):
    """Hears what the central log has proved to know of us."""

    async def receipt_accepted(self, *, time_s: int, checkpoint: Checkpoint, signed_at: SignedAt | None) -> None:
        """A receipt over `checkpoint` was verified and marked.

        The central log's clock said `time_s`, UTC seconds, some time after `signed_at`, when we first signed it.
        """

    async def rolled_back(self, checkpoint: Checkpoint) -> None:
        """The central log holds a checkpoint that our key signed and our journal does not bear out."""

    async def doubted(self, code: str, detail: str) -> None:
        """The journal does not bear itself out: an entry has rotted, is missing, or was signed otherwise."""


class ReceiptKeys(Protocol):
    """Knows the central log."""

    @property
    def receipt_keys(self) -> Sequence[bytes]:
        """The Ed25519 public keys of the receipt role, as the Keyset names them now."""


class Alerts(Protocol):
    """Raises what a person must hear of."""

    async def alert(self, code: str, detail: str) -> None:
        """Journal an alert, at most a few of a kind; never raises."""


class Heartbeat(Protocol):
    """Lets the journal say that the gateway lives."""

    async def __call__(self) -> None:
        """Append a heartbeat entry; the drain is woken by its commit."""
