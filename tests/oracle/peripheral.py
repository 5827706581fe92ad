"""The oracle's lock behind a radio: a GATT server has two characteristics, and this is what it calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.oracle.lock import HangUpError, Memory, OracleLock

if TYPE_CHECKING:
    from simulator.wire import Pipe


class OraclePeripheral:
    """A `PeripheralHandler`; phones find nobody."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.links = 0
        self._pipe: Pipe | None = None
        self._lock: OracleLock | None = None

    def info_value(self) -> bytes:
        return b"\x01\x01oracle"

    def gateway_connected(self, pipe: Pipe) -> None:
        self.links += 1
        self._pipe = pipe
        self._lock = OracleLock(
            self.memory,
            ephemeral=bytes([self.links]) * 32,
            boot_nonce=b"\xb2" * 8,
            value_size=pipe.value_size_max,
        )

    def gateway_value(self, value: bytes) -> None:
        if self._lock is None or self._pipe is None:
            return
        try:
            for answer in self._lock.receive(value):
                self._pipe.send_value(answer)
        except HangUpError:
            self.drop()

    def drop(self) -> None:
        """Hang up, as when a battery falls out."""
        if self._pipe is not None:
            self._pipe.disconnect()

    def gateway_disconnected(self) -> None:
        self._pipe = self._lock = None

    def phone_connected(self, _channel: int, pipe: Pipe) -> None:
        pipe.disconnect()

    def phone_value(self, _channel: int, _value: bytes) -> None:
        """Nobody is there."""

    def phone_disconnected(self, _channel: int) -> None:
        """Nobody was there."""
