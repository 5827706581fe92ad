"""Two sessions with real bytes between them, and hands on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.hello import LockStatus
from firmware_protocol.noise import KeyPair
from firmware_protocol.session import GatewaySession, LockSession, StatusWanted

if TYPE_CHECKING:
    from firmware_protocol.session import Event

GATEWAY_KEYS: Final = KeyPair.from_private(bytes([1]) * 32)
LOCK_KEYS: Final = KeyPair.from_private(bytes([2]) * 32)
LOG_ID: Final = b"log-id-16-bytes."
START_MS: Final = 1_000


def status(*, session_ctr: int = 4, up_ms: int = 77_000, owner_epoch: int = 0) -> LockStatus:
    """Return where a lock stands."""
    return LockStatus(
        session_ctr=session_ctr,
        boot=3,
        up_ms=up_ms,
        log_id=LOG_ID,
        log_next_seq=12,
        log_copied_seq=11,
        log_received_seq=9,
        command_seq=2,
        command_code=Code.DONE,
        owner_epoch=owner_epoch,
    )


class SessionPair:
    """A gateway's end and a lock's end. Nothing moves until a test says so; `now_ms` is both ends' clock."""

    def __init__(
        self,
        *,
        value_size_max: int = 244,
        session_ctr: int | None = 5,
        lock_session_ctr: int = 4,
        version_floor: int = 1,
        lock_keys: KeyPair = LOCK_KEYS,
        next_owner_epoch: int = 0,
        owner_epoch: int = 0,
        capabilities: int = 0,
        seed: int = 1,
    ) -> None:
        self.now_ms = START_MS
        self.lock_session_ctr = lock_session_ctr
        self.owner_epoch = owner_epoch
        self.gateway_events: list[Event] = []
        self.lock_events: list[Event] = []
        self.gateway = GatewaySession(
            keys=GATEWAY_KEYS,
            lock_key=LOCK_KEYS.public,
            ephemeral=KeyPair.from_private(bytes([10, seed]) * 16),
            nonce=bytes([seed]) * 8,
            session_ctr=session_ctr,
            version_floor=version_floor,
            value_size_max=value_size_max,
            now_ms=self.now_ms,
            next_owner_epoch=next_owner_epoch,
        )
        self.lock = LockSession(
            keys=lock_keys,
            gateway_key=GATEWAY_KEYS.public,
            ephemeral=KeyPair.from_private(bytes([20, seed]) * 16),
            boot_nonce=bytes([9]) * 8,
            firmware="test 1.0",
            session_ctr=lock_session_ctr,
            version_floor=version_floor,
            value_size_max=value_size_max,
            now_ms=self.now_ms,
            capabilities=capabilities,
        )

    def to_lock(self, *values: bytes) -> tuple[bytes, ...]:
        """Hand values to the lock, answering its wish for a status, and return what it says."""
        for value in values:
            for event in self.lock.receive_value(value, self.now_ms):
                self.lock_events.append(event)
                if isinstance(event, StatusWanted):
                    self.lock.answer(status(session_ctr=self.lock_session_ctr, owner_epoch=self.owner_epoch))
        return self.lock.take_values()

    def to_gateway(self, *values: bytes) -> tuple[bytes, ...]:
        """Hand values to the gateway and return what it says."""
        for value in values:
            self.gateway_events.extend(self.gateway.receive_value(value, self.now_ms))
        return self.gateway.take_values()

    def carry(self) -> None:
        """Carry values to and fro until both are silent."""
        values = self.gateway.take_values()
        back = self.lock.take_values()
        while values or back:
            back += self.to_lock(*values)
            values, back = self.to_gateway(*back), ()

    def until_unconfirmed(self) -> None:
        """Shake hands up to the CONFIRM."""
        self.carry()

    def until_ready(self) -> SessionPair:
        """Make both ends live, and forget the events so far."""
        self.until_unconfirmed()
        self.gateway.confirm(utc_lo_s=None, utc_hi_s=None)
        self.carry()
        self.gateway_events.clear()
        self.lock_events.clear()
        return self
