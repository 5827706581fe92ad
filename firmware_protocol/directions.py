"""Who may send which record (docs/protocol.md §9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.errands import (
    Courier,
    CourierAck,
    OwnerCommit,
    OwnerOrder,
    OwnerResult,
    TimeGet,
    TimeSet,
    TimeState,
)
from firmware_protocol.messages import (
    Bye,
    CommandAccepted,
    CommandQuery,
    CommandResult,
    Confirm,
    ErrorRecord,
    EventNotification,
    LockCommand,
    LogAck,
    LogBatch,
    LogHeadRecord,
    LogRead,
    Message,
    Ping,
    Pong,
    RelayClose,
    RelayData,
    RelayOpen,
    State,
    StateEvent,
    StateGet,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def _by_type(*kinds: type[Message]) -> Mapping[int, type[Message]]:
    return {kind.TYPE: kind for kind in kinds}


FROM_GATEWAY: Final = _by_type(
    Confirm,
    Ping,
    Pong,
    Bye,
    StateGet,
    LockCommand,
    CommandQuery,
    LogRead,
    LogAck,
    LogHeadRecord,
    RelayData,
    RelayClose,
    Courier,
    TimeGet,
    TimeSet,
    OwnerOrder,
    OwnerCommit,
    ErrorRecord,
)
"""What a lock accepts."""
FROM_LOCK: Final = _by_type(
    Ping,
    Pong,
    Bye,
    State,
    StateEvent,
    CommandAccepted,
    CommandResult,
    LogBatch,
    LogHeadRecord,
    EventNotification,
    RelayOpen,
    RelayData,
    RelayClose,
    CourierAck,
    TimeState,
    OwnerResult,
    ErrorRecord,
)
"""What a gateway accepts."""
PAIRING_FROM_GATEWAY: Final = _by_type(Ping, Pong, Bye, Courier, OwnerOrder, OwnerCommit, ErrorRecord)
"""What a lock accepts of whoever pairs it."""
PAIRING_FROM_LOCK: Final = _by_type(Ping, Pong, Bye, CourierAck, OwnerResult, ErrorRecord)
"""What whoever pairs a lock accepts of it."""
