"""The closed list of what the journal may tell. Field names are the words of docs/glossary.md.

Binary values may be given as bytes; they are published as hex, signed and logged records as base64.
Nothing here is secret, and nobody is named: a subject is a pseudonym.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping  # noqa: TC003 - beside pydantic models, whose annotations are read at run time
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from firmware_protocol.constants import ID_SIZE

DETAIL_LENGTH_MAX: Final = 512
"""Longest free text of an event, in characters; what is longer is cut, because an event must not fail."""


def _hex(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _base64(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _cut(value: object) -> object:
    return value[:DETAIL_LENGTH_MAX] if isinstance(value, str) else value


_BASE64: Final = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

Hex = Annotated[str, BeforeValidator(_hex), Field(pattern=r"^([0-9a-f]{2})*$", max_length=64)]
Base64 = Annotated[str, BeforeValidator(_base64), Field(pattern=_BASE64, max_length=2_048)]
Word = Annotated[str, Field(max_length=64)]
"""A stable word: a code, a tier, a channel, a pseudonym."""
Detail = Annotated[str, BeforeValidator(_cut)]
"""Text for people."""
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeStamp:
    """When it was: UTC was in `[lo_ms, hi_ms]`, in milliseconds."""

    lo_ms: int
    hi_ms: int | None
    """None where nothing bounds it: time is not trusted."""


class Event(BaseModel):
    """Base of every event."""

    # Built when the first event of a type is made: a start makes one of them and would pay for all.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    TYPE: ClassVar[str]
    """`carelock.<noun>.<past tense>`, never reused with another meaning."""

    lock_id: Annotated[bytes, Field(min_length=ID_SIZE, max_length=ID_SIZE)] | None = Field(default=None, exclude=True)
    """The lock that it is about; stands in the event's source."""
    priority: bool = Field(default=False, exclude=True)
    """Somebody should look at it now; stands beside the event's data."""


class GatewayStarted(Event):
    """The daemon has started."""

    TYPE: ClassVar[str] = "carelock.gateway.started"

    boot: Count
    """Starts on this store, from 1."""
    version: Word
    unclean: bool
    """The run before did not come to its end."""
    supervision_s: Count | None = None
    """Seconds within which the next entry of whatever kind is made; silence beyond it is an alarm."""


class GatewayHeartbeat(Event):
    """An idle gateway lives, and its next receipt proves time and freshness."""

    TYPE: ClassVar[str] = "carelock.gateway.heartbeat"

    tier: Word
    state_seq: Count
    keyset_version: Count
    supervision_s: Count | None = None
    """See `GatewayStarted`."""


class LogBegun(Event):
    """The journal has begun anew, because the one before could not be borne out any more."""

    TYPE: ClassVar[str] = "carelock.log.begun"

    reason: Word
    """A stable code: `journal.rolled_back`, `journal.forked`, `journal.damaged`, `store.damaged`."""
    former_log_id: Hex | None = None
    """None where even that could not be read."""
    former_size: Count | None = None
    former_root: Hex | None = None
    """Of the tree over so many entries, as far as this gateway knew it."""


class LogErased(Event):
    """Words of entries were erased at the wish of whom they were about; their hashes stand."""

    TYPE: ClassVar[str] = "carelock.log.erased"

    entry_count: Count


class CommandDecided(Event):
    """A signed command was permitted or refused."""

    TYPE: ClassVar[str] = "carelock.command.decided"

    command_id: Hex
    command_sha256: Hex
    channel: Word
    action: Word
    code: Word
    """`outcome.permitted`, or why not."""
    signer: Hex
    """Kid of the key that signed it."""
    subject: Word
    role: Literal["carer", "operator"]
    provider: Word | None = None
    grant: Hex | None = None
    """Cti of the grant that it was decided under."""
    tier: Word
    """What was in force when it was decided: the tier, the Keyset, the AuthorityState."""
    keyset_version: Count | None = None
    state_seq: Count | None = None
    alarm_ref: Hex | None = None
    second_signer: Hex | None = None
    """Where two operators signed: the other one."""
    second_subject: Word | None = None


class DuressSignalled(Event):
    """Somebody signed under duress. Nobody at the door can tell: bolt, receipts and shown state are as ever."""

    TYPE: ClassVar[str] = "carelock.duress.signalled"

    subject: Word
    command_id: Hex


class CommandOutcome(Event):
    """How a permitted command went."""

    TYPE: ClassVar[str] = "carelock.command.outcome"

    command_id: Hex
    command_sha256: Hex
    code: Word
    bolt: Word
    lock_log_seq: Count | None = None
    """The record of the lock's own log that tells it."""
    late: bool = False
    """Learned by asking after a restart or a reconnect."""


class CommandDenied(Event):
    """Bytes that proved nothing were refused."""

    TYPE: ClassVar[str] = "carelock.command.denied"

    channel: Word
    code: Word
    suppressed_count: Count
    """Refusals of the same kind since the last such event."""


class LockRecorded(Event):
    """A record of a lock's own log has been copied."""

    TYPE: ClassVar[str] = "carelock.lock.recorded"

    log_id: Hex
    seq: Count
    record: Base64
    """As the lock chained it."""
    previous: Hex | None = None
    """The chain's hash that it continues: shows a record that was left out before it."""
    kind: Word
    """Name of its `lock_log.RecordType`."""
    up_s: Count
    boot: Count
    actor: Hex | None = None
    command_id: Hex | None = None
    result: int | None = None
    replayed: bool = False
    """Read after an outage: it happened earlier."""
    unattributed: bool = False
    """An opening without a command; who it was is not guessed."""


class LockHeadSigned(Event):
    """A lock has signed how far its log reaches."""

    TYPE: ClassVar[str] = "carelock.lock.head_signed"

    head: Base64
    """The signed LogHead, as received."""


class LockLogRestarted(Event):
    """A lock shows another log than before: reset or swapped."""

    TYPE: ClassVar[str] = "carelock.lock.log_restarted"

    log_id: Hex
    previous_log_id: Hex | None = None
    """None where no log of this lock had been copied before."""
    previous_seq: Count | None = None
    """The last record copied of the previous one."""


class LinkRaised(Event):
    """An authenticated session with the lock is up."""

    TYPE: ClassVar[str] = "carelock.link.raised"

    session_ctr: Count
    outage_ms: Count | None = None
    """How long there was none, as far as this run of the daemon knows."""


class LinkLost(Event):
    """The session with the lock has ended."""

    TYPE: ClassVar[str] = "carelock.link.lost"

    code: Word


class RadioRecovering(Event):
    """A rung of the recovery ladder was taken, or all of them in vain: no lock answers over the adapter."""

    TYPE: ClassVar[str] = "carelock.radio.recovering"

    rung: Word | None = None
    """None: there is none left, and reconnecting goes on."""
    code: Word
    """The fault that it was taken for; `radio.failed` where none is left."""
    unproven_ms: Count
    """For how long no lock had proved itself."""


class RadioRecovered(Event):
    """A lock answers again over an adapter that had to be seen to."""

    TYPE: ClassVar[str] = "carelock.radio.recovered"

    rung: Word | None = None
    """What helped: the last rung that was taken."""
    unproven_ms: Count


class AuthorityUpdated(Event):
    """Newer evidence of who may do what has been taken in."""

    TYPE: ClassVar[str] = "carelock.authority.updated"

    kind: Word
    keyset_version: Count
    seq: Count | None = None


class AlarmOpened(Event):
    """The alarm intake says that somebody needs help."""

    TYPE: ClassVar[str] = "carelock.alarm.opened"

    ref: Hex


class AlarmClosed(Event):
    """The alarm is over."""

    TYPE: ClassVar[str] = "carelock.alarm.closed"

    ref: Hex


class AlertRaised(Event):
    """Somebody should find out why."""

    TYPE: ClassVar[str] = "carelock.alert.raised"

    code: Word
    detail: Detail


EVENT_TYPES: Final[Mapping[str, type[Event]]] = MappingProxyType(
    {
        kind.TYPE: kind
        for kind in (
            GatewayStarted,
            GatewayHeartbeat,
            LogBegun,
            LogErased,
            CommandDecided,
            DuressSignalled,
            CommandOutcome,
            CommandDenied,
            LockRecorded,
            LockHeadSigned,
            LockLogRestarted,
            LinkRaised,
            LinkLost,
            RadioRecovering,
            RadioRecovered,
            AuthorityUpdated,
            AlarmOpened,
            AlarmClosed,
            AlertRaised,
        )
    }
)
