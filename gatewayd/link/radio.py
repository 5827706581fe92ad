"""The seam between the link and whatever radio there is: what a radio can do, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final, Protocol

VALUE_QUEUE_COUNT_MAX: Final = 128
"""Most received values that wait for `next_value`: the longest message at the smallest MTU is 108 values, which
BlueZ may hand over in one go. A lock that sends more than the gateway reads is broken or hostile: its link drops."""


@unique
class RadioCode(StrEnum):
    """What went wrong with the radio, in the words of logs and status."""

    UNAVAILABLE = "radio.unavailable"
    POWERED_OFF = "radio.powered_off"
    """There is an adapter, and it is switched off or blocked."""
    HOST_HANGS = "radio.host_hangs"
    """BlueZ is there and does not answer."""
    BACKEND_UNUSABLE = "radio.backend_unusable"
    NOT_FOUND = "radio.not_found"
    HELD = "radio.held"
    """Not heard, and when last heard a phone had it: held by a phone."""
    CONNECT_TIMEOUT = "radio.connect_timeout"
    CONNECT_FAILED = "radio.connect_failed"
    IN_PROGRESS = "radio.in_progress"
    """The adapter says that it is busy with an earlier request, which may be one that it has forgotten."""
    NO_SLOT = "radio.no_slot"
    """The adapter has no connection left."""
    GATT_FAILED = "radio.gatt_failed"
    DISCONNECTED = "radio.disconnected"
    FAILED = "radio.failed"
    """Every rung of the recovery ladder has been taken and nothing answers."""


@unique
class Rung(StrEnum):
    """What can be done to a radio that fails, from the mildest on. The value stands in events."""

    FORGET = "forget_device"
    """Have the host forget what it remembers of one lock: its services and a link that may not be there."""
    POWER_CYCLE = "power_cycle"
    """Switch the adapter off and on; where it was off, on."""
    RESET = "reset_adapter"
    """Have the kernel take the adapter down and find it anew."""
    RESTART = "restart_bluetooth"
    """Have the service manager restart the Bluetooth service."""


class RadioError(Exception):
    """The radio, the air or the lock's chip failed. `code` is stable; `detail` is for the log and holds no secret."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


class RadioUnavailable(RadioError):  # noqa: N818 - a state of the world that passes, not a mistake
    """There is no radio to use now: no bus, no BlueZ, no adapter, or it is off. Trying again later is the remedy."""

    def __init__(self, detail: str, code: RadioCode = RadioCode.UNAVAILABLE) -> None:
        super().__init__(code, detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One heard advertisement of a lock. Anyone can send one: it is a hint where to connect, never evidence."""

    address: str
    """Upper case with colons."""
    rssi_dbm: int
    phone_waiting: bool
    """The advertised bit: a phone waits at the lock."""
    installable: bool = False
    """The advertised bit: the lock can be paired."""


class LockLink(Protocol):
    """One connected GATT link to a lock, subscribed to TX."""

    @property
    def value_size_max(self) -> int:
        """Longest value that `write_value` takes, in bytes: min(ATT MTU - 3, 512)."""

    async def write_value(self, value: bytes) -> None:
        """Write `value` to RX without response; it may be lost with the link.

        Raises:
            ValueError: our own fault, `value` is longer than `value_size_max`.
            RadioError: `radio.disconnected` or `radio.gatt_failed`; the remedy for both is `close`.
        """

    async def next_value(self) -> bytes:
        """Return the next notification of TX, in order. Waits for ever; safe to cancel.

        Raises:
            RadioError: `radio.disconnected`, once the link is gone and what came before is read.
        """

    async def close(self) -> None:
        """Drop the link, within seconds. Does nothing the second time and never raises a RadioError."""


class Radio(Protocol):
    """One adapter, or none at the moment."""

    async def find(
        self, service_uuid: str, address: str | None, *, timeout_ms: int, phone_waiting: bool = False
    ) -> Sighting:
        """Listen until a device that advertises `service_uuid`, and has `address` unless None, is heard.

        With `phone_waiting` only an advertisement counts that says that a phone waits. Any number of callers
        may listen at once.

        Raises:
            RadioUnavailable: there is no radio to listen with.
            RadioError: `radio.not_found`, nothing was heard in `timeout_ms`.
        """

    async def connect(self, sighting: Sighting, *, timeout_ms: int) -> LockLink:
        """Connect, verify the service's characteristics and subscribe to TX. On failure no link is left behind.

        Raises:
            RadioUnavailable: there is no radio to connect with.
            RadioError: `radio.not_found` (never heard by this radio), `radio.connect_timeout`, `radio.connect_failed`,
                `radio.in_progress`, `radio.no_slot` or `radio.gatt_failed` (connected, but it is not a lock).
        """

    async def returned(self) -> None:
        """Wait until there is an adapter again, or another host behind it: trying may be worth it at once."""

    async def recover(self, rung: Rung, address: str | None) -> bool:
        """Take one rung, within seconds; `address` is the lock's, for FORGET. Return whether it could be taken.

        Every link of the adapter may drop. Never raises a RadioError.
        """

    async def close(self) -> None:
        """Drop all links and let go of the adapter, within seconds. Never raises a RadioError."""


class SurveyingRadio(Radio, Protocol):
    """A radio with which an installer can look around."""

    async def survey(self, *, duration_ms: int) -> tuple[Sighting, ...]:
        """Listen for so long, and return what was heard last of each lock.

        Raises:
            RadioUnavailable: there is no radio to listen with.
        """
