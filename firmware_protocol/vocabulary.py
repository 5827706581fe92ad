"""The words that signed objects and records share: actions, rights, roles, classes, sizes (docs/protocol.md §4)."""

from __future__ import annotations

import hashlib
from enum import IntEnum, IntFlag, unique
from typing import TYPE_CHECKING, Final

from firmware_protocol.constants import ID_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_SIZE: Final = 32
HASH_SIZE: Final = 32
CTI_SIZE: Final = 16
COMMAND_ID_SIZE: Final = 16
LOG_ID_SIZE: Final = 16
NONCE_SIZE: Final = 16


@unique
class Action(IntEnum):
    """What a command asks of the lock."""

    UNLOCK = 1
    LOCK = 2
    UNLOCK_UNDER_DURESS = 3
    """As UNLOCK for everybody at the door; the centre hears that the signer was forced."""

    @property
    def movement(self) -> Action:
        """What the motor is told: nobody who looks at the lock or its answers can tell duress from a visit."""
        return Action.UNLOCK if self is Action.UNLOCK_UNDER_DURESS else self


class Rights(IntFlag):
    """What a grant permits; a chain permits the intersection."""

    UNLOCK = 1
    LOCK = 2
    SERVICE = 4


RIGHT_FOR: Final[Mapping[Action, Rights]] = {
    Action.UNLOCK: Rights.UNLOCK,
    Action.LOCK: Rights.LOCK,
    Action.UNLOCK_UNDER_DURESS: Rights.UNLOCK,
}


@unique
class OfflineClass(IntEnum):
    """How much evidence of the present a grant needs (docs/security.md, tiers)."""

    ONLINE = 0
    """Only while AuthorityState is fresh."""
    SHIFT = 1
    """While time is trusted."""
    RESPONDER = 2
    """Always; unlock only."""


@unique
class Role(IntEnum):
    """A duty that the Keyset gives keys to."""

    ROOT = 1
    AUTHORITY = 2
    ALARM = 3
    INTAKE = 4
    STATUS = 5
    PAIRING = 6
    RECEIPT = 7


@unique
class Tier(IntEnum):
    """How much of the present the gateway can prove (docs/security.md, tiers)."""

    FRESH = 0
    STALE = 1
    COLD = 2
    SUSPECT = 3


@unique
class Phase(IntEnum):
    """Which half of a command's story a receipt tells."""

    DECIDED = 1
    OUTCOME = 2


@unique
class Bolt(IntEnum):
    """Where the bolt is."""

    UNKNOWN = 0
    LOCKED = 1
    LOCKING = 2
    UNLOCKED = 3
    UNLOCKING = 4
    JAMMED = 5


@unique
class DoorLeaf(IntEnum):
    """What the door sensor says."""

    UNKNOWN = 0
    CLOSED = 1
    OPEN = 2


def blinded_lock(cti: bytes, lock_id: bytes) -> bytes:
    """Name a lock inside one grant: a reader of another grant cannot link the same door."""
    return hashlib.sha256(cti + lock_id).digest()[:ID_SIZE]


@unique
class Parcel(IntEnum):
    """What a Courier carries."""

    KEYSET = 1
    AUTHORITY = 2
    STATE = 3
    """An AuthorityState."""
    CHECKPOINT = 4
    """The gateway's newest signed checkpoint."""
    RECEIPT = 5
    """The central log's cosignature under a checkpoint."""
    ENTRY = 6
    """An entry of the gateway's journal."""
    GRANT = 7
    """A grant, perhaps somebody else's, whose own phone may then come without it."""


@unique
class Decider(IntEnum):
    """Who answers a phone at the door."""

    GATEWAY = 0
    LOCK = 1
