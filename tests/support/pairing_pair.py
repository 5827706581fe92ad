"""A gateway that pairs and a lock that is paired, with real bytes between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.noise import KeyPair
from firmware_protocol.pairing import GatewayPairing, LockLabel, LockPairing, link_key_fingerprint

if TYPE_CHECKING:
    from firmware_protocol.session import Event

GATEWAY_KEYS: Final = KeyPair.from_private(bytes([1]) * 32)
LOCK_KEYS: Final = KeyPair.from_private(bytes([2]) * 32)
LABEL: Final = LockLabel(
    lock_id=b"lock-id.", secret=bytes([3]) * 32, link_key_fingerprint=link_key_fingerprint(LOCK_KEYS.public)
)
START_MS: Final = 1_000


class PairingPair:
    """Nothing moves until a test says so; `now_ms` is both ends' clock."""

    def __init__(
        self,
        *,
        read: LockLabel = LABEL,
        lock_keys: KeyPair = LOCK_KEYS,
        version_floors: tuple[int, int] = (1, 1),
        value_size_max: int = 20,
    ) -> None:
        """`read` is the label as the installer has read it."""
        self.now_ms = START_MS
        self.gateway_events: list[Event] = []
        self.lock_events: list[Event] = []
        self.gateway = GatewayPairing(
            keys=GATEWAY_KEYS,
            label=read,
            ephemeral=KeyPair.from_private(bytes([10]) * 32),
            nonce=bytes(8),
            version_floor=version_floors[0],
            value_size_max=value_size_max,
            now_ms=self.now_ms,
        )
        self.lock = LockPairing(
            keys=lock_keys,
            label=LABEL,
            ephemeral=KeyPair.from_private(bytes([20]) * 32),
            boot_nonce=bytes(8),
            firmware="test 1.0",
            capabilities=0,
            version_floor=version_floors[1],
            value_size_max=value_size_max,
            now_ms=self.now_ms,
        )

    def to_lock(self, *values: bytes) -> tuple[bytes, ...]:
        """Hand values to the lock and return what it says."""
        for value in values:
            self.lock_events.extend(self.lock.receive_value(value, self.now_ms))
        return self.lock.take_values()

    def to_gateway(self, *values: bytes) -> tuple[bytes, ...]:
        """Hand values to the gateway and return what it says."""
        for value in values:
            self.gateway_events.extend(self.gateway.receive_value(value, self.now_ms))
        return self.gateway.take_values()

    def carry(self) -> PairingPair:
        """Carry values to and fro until both are silent."""
        values, back = self.gateway.take_values(), self.lock.take_values()
        while values or back:
            back += self.to_lock(*values)
            values, back = self.to_gateway(*back), ()
        return self
