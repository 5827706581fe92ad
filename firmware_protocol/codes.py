"""The one table of codes: wire number, dotted name, class (docs/protocol.md §15).

There is no second vocabulary: records, receipts, log events, the control socket and the sentences
for people all start from a row of this table.
"""

from __future__ import annotations

from enum import Enum, StrEnum, unique

from firmware_protocol.errors import ProtocolError


@unique
class CodeClass(StrEnum):
    """What the receiver of a code should do."""

    RETRY = "retry"
    """The same request may be sent again, later."""
    RESYNC = "resync"
    """Fetch the state (or a fresh GatewayInfo) first."""
    DENY = "deny"
    """Do not send this again."""
    FATAL = "fatal"
    """Drop the link."""
    OUTCOME = "outcome"
    """Not an error: how a permitted command went."""


class UnknownCodeError(ProtocolError):
    """A number or a name that the table does not have."""


@unique
class Code(Enum):
    """One row: wire number, dotted name, class, and whether the bolt may have moved."""

    wire: int
    dotted: str
    code_class: CodeClass
    may_have_executed: bool

    BUSY = (0x01, "link.busy", CodeClass.RETRY, False)
    MALFORMED = (0x02, "link.malformed", CodeClass.FATAL, False)
    TOO_LARGE = (0x03, "link.too_large", CodeClass.DENY, False)
    UNSUPPORTED_TYPE = (0x04, "link.unsupported_type", CodeClass.DENY, False)
    VERSION = (0x05, "link.version", CodeClass.FATAL, False)
    NOT_CONFIRMED = (0x06, "link.not_confirmed", CodeClass.FATAL, False)
    MOTOR_BLOCKED = (0x10, "motor.blocked", CodeClass.DENY, True)
    MOTOR_TIMEOUT = (0x11, "motor.timeout", CodeClass.RESYNC, True)
    LOW_VOLTAGE = (0x12, "motor.low_voltage", CodeClass.DENY, True)
    POSITION_UNKNOWN = (0x13, "motor.position_unknown", CodeClass.RESYNC, True)
    NOT_CALIBRATED = (0x14, "motor.not_calibrated", CodeClass.DENY, False)
    TOO_LATE = (0x15, "motor.too_late", CodeClass.DENY, False)
    LOG_GAP = (0x20, "log.gap", CodeClass.RESYNC, False)
    LOG_FORK = (0x21, "log.fork", CodeClass.RESYNC, False)
    PERMITTED = (0x30, "outcome.permitted", CodeClass.OUTCOME, False)
    DONE = (0x31, "outcome.done", CodeClass.OUTCOME, True)
    FAILED = (0x32, "outcome.failed", CodeClass.OUTCOME, False)
    MAY_HAVE_EXECUTED = (0x33, "outcome.may_have_executed", CodeClass.OUTCOME, True)
    BAD_SIGNATURE = (0x40, "command.bad_signature", CodeClass.DENY, False)
    UNKNOWN_SIGNER = (0x41, "command.unknown_signer", CodeClass.DENY, False)
    WRONG_AUDIENCE = (0x42, "command.wrong_audience", CodeClass.DENY, False)
    NOT_YET_VALID = (0x43, "command.not_yet_valid", CodeClass.DENY, False)
    EXPIRED = (0x44, "command.expired", CodeClass.DENY, False)
    TTL_TOO_LONG = (0x45, "command.ttl_too_long", CodeClass.DENY, False)
    WRONG_EPOCH = (0x46, "command.wrong_epoch", CodeClass.RESYNC, False)
    SUPERSEDED = (0x47, "command.superseded", CodeClass.DENY, False)
    ID_REUSED = (0x48, "command.id_reused", CodeClass.DENY, False)
    CHALLENGE_UNKNOWN = (0x49, "command.challenge_unknown", CodeClass.RESYNC, False)
    REVOKED = (0x4A, "command.revoked", CodeClass.DENY, False)
    RIGHTS = (0x4B, "command.rights", CodeClass.DENY, False)
    OUTSIDE_WINDOW = (0x4C, "command.outside_window", CodeClass.DENY, False)
    USES_SPENT = (0x4D, "command.uses_spent", CodeClass.DENY, False)
    RATE_LIMITED = (0x4E, "command.rate_limited", CodeClass.RETRY, False)
    TIER = (0x4F, "command.tier", CodeClass.DENY, False)
    LINK_DOWN = (0x50, "command.link_down", CodeClass.RETRY, False)
    DUPLICATE = (0x51, "command.duplicate", CodeClass.RETRY, False)
    STORE_UNAVAILABLE = (0x52, "command.store_unavailable", CodeClass.RETRY, False)
    SECOND_OPERATOR_NEEDED = (0x53, "command.second_operator_needed", CodeClass.DENY, False)
    ALARM_NOT_OPEN = (0x54, "command.alarm_not_open", CodeClass.DENY, False)
    LOCKED_OUT = (0x55, "command.locked_out", CodeClass.RETRY, False)
    MISSING_GRANT = (0x56, "command.missing_grant", CodeClass.DENY, False)
    CLONE_SUSPECT = (0x57, "link.clone_suspect", CodeClass.FATAL, False)
    OWNER_EPOCH = (0x60, "owner.epoch", CodeClass.DENY, False)
    NOT_INSTALLING = (0x61, "owner.not_installing", CodeClass.DENY, False)
    NO_ORDER = (0x62, "owner.no_order", CodeClass.DENY, False)
    DENIED = (0x7F, "denied", CodeClass.DENY, False)

    def __init__(self, wire: int, dotted: str, code_class: CodeClass, may_have_executed: bool) -> None:  # noqa: FBT001 - a table row
        self.wire = wire
        self.dotted = dotted
        self.code_class = code_class
        self.may_have_executed = may_have_executed

    @classmethod
    def from_wire(cls, number: int) -> Code:
        """Return the row with this wire number.

        Raises:
            UnknownCodeError: no row has it.
        """
        try:
            return _BY_WIRE[number]
        except KeyError:
            raise UnknownCodeError(f"no code has the wire number {number:#04x}") from None

    @classmethod
    def from_dotted(cls, dotted: str) -> Code:
        """Return the row with this dotted name.

        Raises:
            UnknownCodeError: no row has it.
        """
        try:
            return _BY_DOTTED[dotted]
        except KeyError:
            raise UnknownCodeError("no code has this dotted name") from None


_BY_WIRE = {code.wire: code for code in Code}
_BY_DOTTED = {code.dotted: code for code in Code}
