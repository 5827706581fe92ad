"""What the lock sees of its radio. Bumble's GATT server serves it, and so does the in-memory radio of the tests."""

from __future__ import annotations

from typing import Protocol


class Pipe(Protocol):
    """The notifying half of one connected link: lock to gateway, or lock to one phone."""

    @property
    def value_size_max(self) -> int:
        """Longest value that one notification carries, in bytes: min(ATT MTU - 3, 512). Fixed from `*_connected` on."""

    def send_value(self, value: bytes) -> None:
        """Notify `value` after all values queued before it. Dropped without a word when the link is gone.

        Raises:
            ValueError: our own fault, `value` is longer than `value_size_max`.
        """

    def disconnect(self) -> None:
        """Drop the link; `*_disconnected` follows. Does nothing the second time."""


class PeripheralHandler(Protocol):
    """The lock behind the GATT server. Called from the event loop, never re-entered by a link that is gone."""

    def info_value(self) -> bytes:
        """The value of INFO, read by anyone."""

    def gateway_connected(self, pipe: Pipe) -> None:
        """A central has subscribed to TX. At most one at a time; `gateway_disconnected` comes before the next."""

    def gateway_value(self, value: bytes) -> None:
        """The gateway's central wrote `value`, at most 512 bytes, to RX."""

    def gateway_disconnected(self) -> None:
        """The gateway's link is gone, whoever dropped it."""

    def phone_connected(self, channel: int, pipe: Pipe) -> None:
        """A central has subscribed to PHONE_TX. `channel` is 1 to 255 and no other living phone has it."""

    def phone_value(self, channel: int, value: bytes) -> None:
        """The phone's central wrote `value`, at most 512 bytes, to PHONE_RX."""

    def phone_disconnected(self, channel: int) -> None:
        """The phone's link is gone, whoever dropped it."""


class Beacon(Protocol):
    """The lock's advertisement."""

    def set_phone_waiting(self, waiting: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """Advertise from now on whether a phone waits at the lock for the gateway."""

    def set_installable(self, installable: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """Advertise from now on whether the lock can be paired."""
