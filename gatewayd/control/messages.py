"""What is asked and answered on the control socket: one JSON object a line, versioned, bounded."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Any, Final, Protocol

from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayd.journal.copies import LeafCopy
    from gatewayd.journal.journal import SignedCheckpoint
    from gatewayd.store.erasure import Erased
    from gatewayd.store.inspection import LogHeader, StoredTrust

VERSION: Final = 1
"""Of these messages; a daemon answers no other."""
REQUEST_SIZE_MAX: Final = 4_096
"""Longest request, in bytes, with its line feed."""
ERRAND_SIZE_MAX: Final = 524_288
"""Longest request of an errand, which brings signed papers, in bytes: as many as a file of papers may hold."""
ANSWER_SIZE_MAX: Final = 1_048_576
"""Longest answer, in bytes, with its line feed."""
PAGE_COUNT_MAX: Final = 500
"""Most entries in one answer."""
PAGE_SIZE_MAX: Final = 262_144
"""Most bytes of entries in one answer; base64 makes a third more of them."""
ERASE_COUNT_MAX: Final = 180
"""Most entries that one request names: as many as it has room for."""
CHECKPOINT_PAGE_COUNT: Final = 64
"""Most checkpoints in one answer: two notes each, of at most 4 KiB."""


@unique
class ControlCode(StrEnum):
    """What can go wrong on the socket."""

    UNREACHABLE = "control.unreachable"
    """Nobody listens there, or nobody answers."""
    NOT_PERMITTED = "control.not_permitted"
    """The asker is neither root nor of the daemon's user or group."""
    MALFORMED = "control.malformed"
    """Not a message of this protocol."""
    TOO_LONG = "control.too_long"
    """A message beyond its bound."""
    VERSION = "control.version"
    """Another version of the messages."""
    UNKNOWN_REQUEST = "control.unknown_request"
    """Nobody answers this."""
    BUSY = "control.busy"
    """Too many are connected."""
    IN_USE = "control.in_use"
    """Another daemon listens there."""
    FAULT = "control.fault"
    """The daemon could not answer; its log says why."""


class ControlError(GatewayError):
    """A request that got no answer; `code` is one of `ControlCode`, or what the daemon said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStatus:
    """What the gateway knows of UTC."""

    trusted: bool
    lo_ms: int
    """UTC is not before this, in milliseconds since 1970."""
    hi_ms: int | None
    """UTC is not after this; None: nothing bounds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockStatus:
    """One lock. What it said last is shown with its age."""

    lock_id: str
    """16 hex digits."""
    ready: bool
    """Whether authenticated answers arrive."""
    link: str
    """State of the link's machine, in small letters."""
    link_age_ms: int
    """For how long it has been in this state."""
    last_fault: str | None
    """Dotted code of the last fault of the link."""
    rssi_dbm: int | None
    bolt: str
    """`unknown` until the lock has said."""
    door: str
    battery_mv: int | None
    observed_age_ms: int | None
    """How old bolt, door and battery are; None: never seen."""
    connect_hour_count: int
    """Links brought up in the last hour: what they cost is the lock's battery."""
    connect_left_count: int
    """Links that its energy budget has left for now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioStatus:
    """The Bluetooth adapter, and what was done to it since the start."""

    failed: bool
    """Every rung of the recovery ladder has been taken, and no lock answers."""
    unproven_ms: int
    """For how long no lock has answered over it; 0 while one does."""
    taken_counts: dict[str, int]
    """How often each rung was taken."""
    helped_counts: dict[str, int]
    """How often it was the last one before a lock answered again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerStatus:
    """The broker."""

    connected: bool
    age_ms: int | None
    """For how long it has been so; None: since the start."""
    last_fault: str | None
    """Dotted code of the last failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStatus:
    """What the central log has not signed for yet."""

    depth: int
    oldest_age_ms: int | None
    """How old the oldest such entry is, by the gateway's own time; None: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityStatus:
    """What the gateway knows of rights."""

    keyset_version: int | None
    """None: nothing has been provisioned."""
    state_seq: int | None
    """None: no AuthorityState has arrived yet."""
    state_age_s: int | None
    """How old it is at least, by the gateway's own time."""
    authority_count: int
    grant_count: int
    """Grants kept for use without internet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusDocument:
    """The whole of `gatewayd status --json`."""

    gateway_id: str
    """16 hex digits."""
    version: str
    boot: int
    """Starts on this store, this one included."""
    up_ms: int
    """Since the start."""
    tier: str
    """fresh, stale, cold or suspect."""
    clock: ClockStatus
    locks: tuple[LockStatus, ...]
    radio: RadioStatus
    broker: BrokerStatus
    outbox: OutboxStatus
    authority: AuthorityStatus

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLine:
    """What one check says."""

    check: str
    """Its stable name (`access.checks`)."""
    result: str
    """passed, refused, repeated, or not_asked where the verification had failed before."""
    code: str | None
    """Dotted code of a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The whole of `gatewayd explain --json`. Nobody's name is in it."""

    source: str
    """daemon or store."""
    verdict: str
    """permitted, denied or repeated."""
    code: str
    """Dotted; command.duplicate where the recorded answer is given again."""
    authenticated: bool
    """Whether the sender hears this code; everybody else hears DENIED."""
    retry_after_s: int | None
    detail: str | None
    """What exactly failed in the verification."""
    checks: tuple[CheckLine, ...]
    """In the order in which they are asked; the first that is not passed gives the verdict."""
    action: str | None
    lock_id: str | None
    channel: str | None
    signer: str | None
    """Key id, 16 hex digits."""
    provider: str | None
    grant: str | None
    tier: str | None
    clock: ClockStatus
    """What was taken for the time."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class ExplanationSource(Protocol):
    """Whoever can say why without doing it."""

    async def explain(self, bundle: bytes, at_s: int | None) -> Explanation:
        """Run the real verification and decision; nothing is kept, burnt, counted or moved.

        `at_s` judges rights as at that second of UTC in place of now.

        Raises:
            GatewayError: it cannot be had now.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrandDocument:
    """How an installer's errand has ended."""

    lock_id: str
    """16 hex digits."""
    owner_epoch: int
    was_done: bool
    """An earlier try had come as far as the lock."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class ErrandSource(Protocol):
    """Whoever runs an installer's errands while the daemon runs; `progress` is told each step in words for people.

    Each raises GatewayError where it came to nothing, with what to do next; the same errand again goes on.
    """

    async def pair(
        self, papers: dict[str, Any], label: str, address: str | None, progress: Callable[[str], None]
    ) -> ErrandDocument:
        """Make the lock of the label this gateway's, or give it a newer order."""

    async def decommission(self, order: bytes, address: str | None, progress: Callable[[str], None]) -> ErrandDocument:
        """Let a lock go by its order."""


class StatusSource(Protocol):
    """Whoever knows how the daemon does."""

    async def status(self) -> StatusDocument:
        """Return a snapshot.

        Raises:
            GatewayError: it cannot be had now.
        """


class LogSource(Protocol):
    """Whoever can read the journal while the daemon has it. Each raises GatewayError where the store fails."""

    async def header(self) -> LogHeader:
        """Return where the journal stands."""

    async def leaves(self, from_index: int, count: int, size_max: int) -> tuple[LeafCopy, ...]:
        """Return entries in order: at most `count`, and `size_max` bytes, but always one if there is one."""

    async def checkpoints(self, above_size: int, count: int) -> tuple[SignedCheckpoint, ...]:
        """Return remembered checkpoints of more than `above_size` entries, by size."""

    async def trust(self) -> StoredTrust:
        """Return the signed objects that name keys."""


class Eraser(Protocol):
    """Whoever can erase what entries say."""

    async def erase(self, indexes: Sequence[int]) -> Erased:
        """Erase the words of received entries, and say in the journal how many; raises GatewayError."""


def to_line(message: dict[str, Any]) -> bytes:
    """Return a message as its line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes, *, size_max: int) -> dict[str, Any]:
    """Return the message in a line.

    Raises:
        ControlError: MALFORMED, TOO_LONG.
    """
    if len(line) > size_max:
        raise ControlError(ControlCode.TOO_LONG, f"a line of more than {size_max} bytes")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError(ControlCode.MALFORMED, "a line that is not JSON") from None
    if not isinstance(message, dict):
        raise ControlError(ControlCode.MALFORMED, "a line that is not a JSON object")
    return message


def request(ask: str, **parameters: object) -> dict[str, Any]:
    """Return a request."""
    return {"version": VERSION, "ask": ask, **parameters}


def refusal(error: GatewayError) -> dict[str, Any]:
    """Return the answer that there is none."""
    return {"error": {"code": str(error.code), "detail": error.detail}}
