"""What a party states over its signature: GatewayInfo, AuthorityState, CommandReceipt, LogHead, Conflict.

docs/protocol.md §4 and §13. Times are UTC seconds unless a name says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from firmware_protocol.constants import CHALLENGE_SIZE, ID_SIZE, KID_SIZE, LARGE_OBJECT_SIZE_MAX
from firmware_protocol.schema import (
    Choice,
    CodeNumber,
    Many,
    Name,
    Octets,
    Row,
    Text,
    Uint,
    octets,
    uint,
    wire,
    wire_field,
)
from firmware_protocol.signed import SignedMap
from firmware_protocol.vocabulary import COMMAND_ID_SIZE, CTI_SIZE, HASH_SIZE, LOG_ID_SIZE, NONCE_SIZE, Phase, Tier

if TYPE_CHECKING:
    from firmware_protocol.codes import Code

GATEWAY_LOCK_COUNT_MAX: Final = 64
REVOKED_COUNT_MAX: Final = 128
PROVIDER_CUT_COUNT_MAX: Final = 64
"""Every list full, with names of up to 4 letters, fits both 512 CBOR items and 4,096 bytes."""
REPORTED_AUTHORITY_COUNT_MAX: Final = 32
FACT_COUNT_MAX: Final = 40
FACT_SIZE_MAX: Final = 32
REPORT_ID_SIZE_MAX: Final = 16
CHECKPOINT_SIZE_MAX: Final = 600
_AUD, _EXP, _IAT, _CTI = 3, 4, 6, 7
_PRIVATE: Final = -70_001


class LockEpoch(NamedTuple):
    """Where a lock's freshness clock stands."""

    lock_id: bytes
    epoch: bytes
    """16 bytes, drawn at the start of whoever decides for this lock."""
    now_s: int
    """Whole seconds of BOOTTIME since the draw."""


@wire
class GatewayInfo(SignedMap):
    """Where a gateway stands; signed by the gateway."""

    DOMAIN: ClassVar[str] = "info"
    SIZE_MAX: ClassVar[int] = LARGE_OBJECT_SIZE_MAX

    nonce: bytes = wire_field(0, Octets(0, NONCE_SIZE))
    """The asker's 16 bytes, or none where it was published unasked (then it proves no time)."""
    gateway_id: bytes = octets(1, ID_SIZE)
    locks: tuple[LockEpoch, ...] = wire_field(
        2,
        Many(
            Row(LockEpoch, (Octets(ID_SIZE, ID_SIZE), Octets(CHALLENGE_SIZE, CHALLENGE_SIZE), Uint())),
            count_max=GATEWAY_LOCK_COUNT_MAX,
        ),
    )
    state_seq: int = uint(3)
    keyset_version: int = uint(4)
    tier: Tier = wire_field(5, Choice(Tier))
    ttl_s_max: int = uint(6)

    def problem(self) -> str | None:
        """A nonce is whole or absent."""
        return None if len(self.nonce) in {0, NONCE_SIZE} else "half a nonce"


@wire
class AuthorityState(SignedMap):
    """What has been revoked, for one gateway; signed by the status role."""

    DOMAIN: ClassVar[str] = "state"
    SIZE_MAX: ClassVar[int] = LARGE_OBJECT_SIZE_MAX

    audience: tuple[bytes, ...] = wire_field(_AUD, Many(Octets(ID_SIZE, ID_SIZE), count_max=1, count_min=1))
    """The one gateway that it is for."""
    exp_s: int = uint(_EXP)
    """The next update is due."""
    iat_s: int = uint(_IAT)
    cti: bytes = octets(_CTI, CTI_SIZE)
    seq: int = uint((_PRIVATE, 0))
    keyset_version: int = uint((_PRIVATE, 1))
    revoked_kids: tuple[bytes, ...] = wire_field(
        (_PRIVATE, 2), Many(Octets(KID_SIZE, KID_SIZE), count_max=REVOKED_COUNT_MAX)
    )
    revoked_ctis: tuple[bytes, ...] = wire_field(
        (_PRIVATE, 3), Many(Octets(CTI_SIZE, CTI_SIZE), count_max=REVOKED_COUNT_MAX)
    )
    provider_iat_min_s: tuple[tuple[str, int], ...] = wire_field(
        (_PRIVATE, 4),
        Many(Row(lambda provider, iat: (provider, iat), (Name(), Uint())), count_max=PROVIDER_CUT_COUNT_MAX),
    )
    """Grants of this provider issued before this second are void."""


@wire
class DriftReport(SignedMap):
    """What of its rights a gateway has in force, as the answer to a Request `drift`; signed by the gateway."""

    DOMAIN: ClassVar[str] = "drift"

    request_id: bytes = octets(0, COMMAND_ID_SIZE)
    """Of the request that it answers."""
    gateway_id: bytes = octets(1, ID_SIZE)
    keyset_version: int = uint(2)
    state_keyset_version: int | None = uint(3, default=None)
    """Of the AuthorityState in force; none of the three where there is no state."""
    state_seq: int | None = uint(4, default=None)
    state_sha256: bytes | None = octets(5, HASH_SIZE, default=None)
    """Of the signed AuthorityState: it names every revocation that is in force."""
    authority_ctis: tuple[bytes, ...] = wire_field(
        6, Many(Octets(CTI_SIZE, CTI_SIZE), count_max=REPORTED_AUTHORITY_COUNT_MAX)
    )
    """Of the Authorities held, in their order; the first 32."""
    grant_count: int = uint(7)
    tier: Tier = wire_field(8, Choice(Tier))
    utc_lo_s: int = uint(9)
    utc_hi_s: int | None = uint(10, default=None)
    """The time lies in `[utc_lo_s, utc_hi_s]`; no upper bound where time is not trusted."""

    def problem(self) -> str | None:
        """A state is named whole or not at all."""
        named = {self.state_keyset_version is None, self.state_seq is None, self.state_sha256 is None}
        return None if len(named) == 1 else "half a state"


@wire
class BugReport(SignedMap):
    """How a gateway does, as the answer to a Request `bugreport`; signed by the gateway. No door's state is in it."""

    DOMAIN: ClassVar[str] = "bugreport"

    request_id: bytes = octets(0, COMMAND_ID_SIZE)
    """Of the request that it answers."""
    gateway_id: bytes = octets(1, ID_SIZE)
    report_id: str = wire_field(2, Text(REPORT_ID_SIZE_MAX))
    """Stands in the gateway's log too."""
    facts: tuple[tuple[str, str], ...] = wire_field(
        3, Many(Row(lambda name, value: (name, value), (Name(), Text(FACT_SIZE_MAX))), count_max=FACT_COUNT_MAX)
    )
    """What is known, by name, the most telling first; a reader skips names that it does not know."""


@wire
class CommandReceipt(SignedMap):
    """What was decided, or what came of it; signed by the gateway (or a lock that decides)."""

    DOMAIN: ClassVar[str] = "receipt"

    gateway_id: bytes = octets(0, ID_SIZE)
    log_id: bytes = octets(1, LOG_ID_SIZE)
    lock_id: bytes = octets(2, ID_SIZE)
    command_sha256: bytes = octets(3, HASH_SIZE)
    """Of the signed command as it was received."""
    phase: Phase = wire_field(4, Choice(Phase))
    code: Code = wire_field(5, CodeNumber())
    lock_log_seq: int | None = uint(6, default=None)
    journal_index: int | None = uint(7, default=None)
    """The entry of the gateway's journal that records this; none where the gateway could not write one."""
    utc_lo_s: int = uint(8)
    utc_hi_s: int | None = uint(9, default=None)
    """The time lies in `[utc_lo_s, utc_hi_s]`; no upper bound where time is not trusted."""
    retry_after_s: int | None = uint(10, default=None)


@wire
class LogHead(SignedMap):
    """How far a lock's log reaches; signed by the lock's log key."""

    DOMAIN: ClassVar[str] = "lockhead"

    lock_id: bytes = octets(0, ID_SIZE)
    log_id: bytes = octets(1, LOG_ID_SIZE)
    from_seq: int = uint(2)
    """Oldest record that the lock still holds."""
    to_seq: int = uint(3)
    """Newest record; the head covers it."""
    head: bytes = octets(4, HASH_SIZE)
    receipt_sha256: bytes | None = octets(5, HASH_SIZE, default=None)
    """Of the newest receipt of the central log that the lock has seen."""


@wire
class Conflict(SignedMap):
    """The central log has another size than a checkpoint needs; signed by the receipt role.

    It is evidence only where it carries a checkpoint that this gateway signed; without one it may
    cause a rate-limited resend and nothing else.
    """

    DOMAIN: ClassVar[str] = "conflict"

    gateway_id: bytes = octets(0, ID_SIZE)
    log_id: bytes = octets(1, LOG_ID_SIZE)
    size: int = uint(2)
    """How many entries the central log holds, from index 0 without a gap."""
    checkpoint: bytes | None = wire_field(3, Octets(1, CHECKPOINT_SIZE_MAX), default=None)
    """The newest signed checkpoint of this gateway that the central log has verified."""
