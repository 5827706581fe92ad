"""What the link hands out and what it asks of the rest of the house. The link imports nothing above itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from firmware_protocol.codes import Code
    from firmware_protocol.lock_log import LogPosition, LogRecord
    from firmware_protocol.vocabulary import Action, Bolt, DoorLeaf, Parcel
    from gatewayd.link.machine import LinkState
    from gatewayd.timekeeping import Instant, TimeInterval


@dataclass(frozen=True, slots=True, kw_only=True)
class LockTarget:
    """Which lock a link is for."""

    lock_id: bytes
    """8 bytes."""
    lock_key: bytes
    """The lock's X25519 public key, 32 bytes, from a signed object: this is what proves the lock."""
    log_key: bytes
    """The lock's Ed25519 public key, 32 bytes, from the same object: it signs the heads of the lock's log."""
    address: str | None
    """Where to connect, upper case with colons; None takes whatever advertises the service. Never evidence."""
    heard_at: str | None = None
    """Where it has proven itself last, for a link without `address`: looked for there first. Never evidence."""
    owner_epoch: int = 0
    """Of the order that we hold; a lock that obeys an earlier one has not been given it yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoltMove:
    """A permitted and durably reserved movement."""

    command_seq: int
    """This lock's next, from 1; never used for another command."""
    action: Action
    command_sha256: bytes
    """Of the signed command, 32 bytes."""
    command_id: bytes
    """16 bytes, chosen by the signer."""
    actor_kid: bytes
    """8 bytes: whose key signed."""
    within_ms: int
    """The lock must refuse to start later than this from now, at most 10 000 (longer is cut)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOutcome:
    """How a movement went, as honestly as it can be known."""

    code: Code
    """DONE, FAILED (it did not move), MAY_HAVE_EXECUTED (nobody can tell), LINK_DOWN (it never left this gateway),
    BUSY (the lock turned it away), or a `motor.*` code."""
    bolt: Bolt
    """Where the bolt was then; UNKNOWN where nobody said."""
    lock_log_seq: int | None = None
    """The record of the lock's log that tells it."""
    asked: bool = True
    """False: the lock could not be asked, and may still tell."""


class BoltMover(Protocol):
    """What the door asks of a link."""

    async def execute(self, move: BoltMove) -> MoveOutcome:
        """Move the bolt at most once. Never raises for faults of link or lock."""

    async def query(self, command_seq: int) -> MoveOutcome:
        """Ask what came of an earlier movement, without moving anything. Never raises for faults of link or lock."""

    async def wait_ready(self) -> None:
        """Wait until the lock is within reach; for ever, if need be."""

    @property
    def last_command_seq(self) -> int:
        """The number of the lock's last command, as it said at the start of its newest session; 0 before any."""

    async def wait_heard(self, within_ms: int) -> None:
        """Hurry, and wait until the lock has said so in this run of the daemon, or until the time is up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatus:
    """One link for people and for status."""

    lock_id: bytes
    state: LinkState
    since: Instant
    """When it came into this state."""
    failure_count: int
    """In a row, since the link last stood for a minute."""
    last_fault: str | None
    """Dotted code of the last fault."""
    rssi_dbm: int | None
    """Of the last advertisement heard."""
    connect_count: int
    """Links brought up since the start."""
    connect_hour_count: int
    """Of these in the last hour."""
    connect_left_count: int
    """Links that the lock's energy budget has left for now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioStep:
    """A rung of the recovery ladder was taken (`code` says why), helped (no `code`), or all have been in vain."""

    rung: str | None
    """Value of a `radio.Rung`; None where there is none left to take, or links came back with none taken."""
    code: str | None
    """Dotted code of the fault; None: links work again."""
    unproven_ms: int
    """For how long no lock has proved itself over this adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioStatus:
    """One adapter for people and for status."""

    failed: bool
    """Every rung has been taken, and nothing answers."""
    unproven_ms: int
    """How long ago a lock last proved itself."""
    taken_counts: Mapping[str, int]
    """How often each rung was taken since the start."""
    helped_counts: Mapping[str, int]
    """How often a link was up again before another one was needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorObserved:
    """How a door stood, by the authenticated word of its lock."""

    lock_id: bytes
    bolt: Bolt
    door: DoorLeaf
    battery_mv: int
    motor_busy: bool
    tampered: bool
    observed_at: Instant
    """When the answer was received: the state's age counts from here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChanged:
    """A link came up or went down."""

    lock_id: bytes
    ready: bool
    code: str | None
    """Dotted reason of a loss; None when it came up."""
    changed_at: Instant


class LinkListener(Protocol):
    """Who is told what happens on the links. None of these may wait for a request on the same link."""

    async def on_lock_clock(self, lock_id: bytes, *, boot: int, up_ms: int, instant: Instant) -> TimeInterval:
        """Take an authenticated lock's uptime as received at `instant`, and return what is known of UTC then.

        Called before CONFIRM, which carries the interval where it is trusted, and for each answer that took
        at most `lock_client.ANSWER_MS_MAX`.
        """

    def on_challenge(self, lock_id: bytes, challenge: bytes, instant: Instant) -> None:
        """Learn the challenge that this lock has just given to a phone."""

    def on_door_observed(self, observed: DoorObserved) -> None:
        """Show how the door stands. Returns at once."""

    def on_link_changed(self, change: LinkChanged) -> None:
        """Show whether the lock is within reach. Returns at once."""

    async def on_parcel(self, kind: Parcel, data: bytes) -> Code:
        """Take an object that a known phone has brought; return DONE, or why it is not taken."""

    async def on_parcel_wanted(self, kind: Parcel, from_index: int) -> tuple[Code, tuple[bytes, ...]]:
        """Return what a known phone may carry away, and DONE, or why there is none."""

    async def on_alert(self, lock_id: bytes, code: Code, detail: str) -> None:
        """Raise an alarm: CLONE_SUSPECT, LOG_GAP, LOG_FORK, or what is wrong with a record of the lock's log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReserved:
    """What a new session may use."""

    session_ctr: int | None
    """None: the disk takes no new block of them; once the lock has proven its own counter, `resume_session` tells."""
    """Never used before, durably so."""
    version_floor: int
    """Lowest protocol version that this lock may be spoken to in: no downgrade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockEntry:
    """One verified record of a lock's log on its way into the journal."""

    record: LogRecord
    raw: bytes
    """The record as the lock hashed it."""
    replayed: bool
    """Made while this link was down."""
    unattributed: bool
    """The door was opened and no command of ours opened it."""


class LinkLedger(Protocol):
    """What the link keeps durably. Every method is durable when it returns.

    Raises:
        GatewayError: `store.*`; nothing was kept.
    """

    async def reserve_session(self, lock_id: bytes) -> SessionReserved:
        """Use up the next session counter."""

    async def resume_session(self, lock_id: bytes, lock_ctr: int) -> int | None:
        """Return the counter after the lock's own `lock_ctr`, where the block that is durable already covers it."""

    async def raise_version_floor(self, lock_id: bytes, version: int) -> None:
        """Never again speak a lower version to this lock."""

    async def raise_command_seq(self, lock_id: bytes, command_seq: int) -> None:
        """Number commands above what the lock has seen: on a new or restored card it would refuse them as old."""

    async def log_position(self, lock_id: bytes) -> LogPosition | None:
        """Return how far this lock's log is held; None before any of it."""

    async def parcels(self, lock_id: bytes) -> tuple[tuple[Parcel, bytes], ...]:
        """Return the signed objects that a lock needs to decide alone, in the order in which it must get them."""

    async def newest_receipt(self) -> bytes | None:
        """Return the central log's newest cosignature over a checkpoint of this gateway's, which bears its time."""

    async def received_seq(self, lock_id: bytes, log_id: bytes) -> int:
        """Return up to which record the central log has signed for; 0 before any."""

    async def restart_log(self, lock_id: bytes, position: LogPosition) -> None:
        """Journal that the lock's log begins anew (another log id, or the first one), and hold `position`."""

    async def commit_records(self, lock_id: bytes, entries: Sequence[LockEntry], after: LogPosition) -> None:
        """Journal the records and hold `after`, both or neither."""

    async def commit_head(self, lock_id: bytes, head: bytes) -> None:
        """Journal a signed LogHead."""

    async def record_link_raised(self, lock_id: bytes, *, session_ctr: int, outage_ms: int) -> None:
        """Journal that the lock is within reach again."""

    async def record_link_lost(self, lock_id: bytes, code: str) -> None:
        """Journal that the lock has been out of reach for a while, and why."""

    async def record_radio_step(self, step: RadioStep) -> None:
        """Journal what was done to a radio that fails, or that it works again."""
