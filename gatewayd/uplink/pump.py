"""When to read, write and ping on one connection to the broker, from the running loop.

No thread, no poll: the loop wakes it when the socket is ready, when a packet was queued, and once a keepalive.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from gatewayd.uplink.seam import BrokerCode

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

READS_PER_TURN_COUNT: Final = 8
"""Packets that are handled before the rest of the daemon has a turn."""

log = structlog.get_logger(__name__)


class PacketMachine(Protocol):
    """What parses, builds and answers packets; paho's client is one."""

    @property
    def keepalive(self) -> int:
        """Seconds between pings."""

    @property
    def has_unread(self) -> bool:
        """Whether bytes wait that the socket no longer shows as readable."""

    def loop_read(self) -> object:
        """Read and handle a packet or more."""

    def loop_write(self) -> object:
        """Write what is queued, as far as the socket takes it."""

    def loop_misc(self) -> object:
        """Ping."""

    @property
    def has_unsent(self) -> bool:
        """Whether something is queued that the socket has not taken."""


class Pump:
    """Runs one machine over one connected socket until it is stopped."""

    def __init__(
        self,
        machine: PacketMachine,
        connection: socket.socket,
        *,
        is_full: Callable[[], bool],
        on_tick: Callable[[], None],
        on_fault: Callable[[BrokerCode, str], None],
    ) -> None:
        """Begin reading; `is_full` tells that nobody takes what is read, `on_fault` must call `stop`."""
        self._machine = machine
        self._socket = connection
        self._descriptor = connection.fileno()  # the machine may have closed the socket before it is let go of here
        self._is_full = is_full
        self._tick_hook = on_tick
        self._on_fault = on_fault
        self._loop = asyncio.get_running_loop()
        self._answer_s = 0.0
        self._stopped = False
        self._flush_planned = False
        self._tick_timer: asyncio.TimerHandle | None = None
        self._silence_timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._descriptor, self._read)

    def begin_pings(self, *, answer_s_min: float) -> None:
        """Start the clock: the broker has accepted us and said which keepalive it wants.

        The answer to a ping is waited for during half a keepalive, and at least for `answer_s_min`.
        """
        self._answer_s = max(self._machine.keepalive / 2, answer_s_min)
        self._tick_timer = self._loop.call_later(self._machine.keepalive, self._tick)

    def plan_flush(self) -> None:
        """Write what is queued, once for all that is queued in this turn of the loop."""
        if not self._flush_planned and not self._stopped:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def resume(self) -> None:
        """Read again after `is_full` was true."""
        if not self._stopped:
            self._loop.add_reader(self._descriptor, self._read)
            self._loop.call_soon(self._read_on)

    def guarded(self, step: Callable[[], object]) -> bool:
        """Run a step and tell whether the connection goes on; what it raises ends the connection and nothing else."""
        try:
            step()
        except Exception as error:
            log.exception("broker.fault")
            self._on_fault(BrokerCode.FAULT, type(error).__name__)
        return not self._stopped

    def stop(self) -> None:
        """Let go of the loop and close the socket, after whoever still uses it has returned."""
        if self._stopped:
            return
        self._stopped = True
        for timer in (self._tick_timer, self._silence_timer):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        self._loop.call_soon(self._socket.close)

    def _read(self) -> None:
        if self._silence_timer is not None:
            self._silence_timer.cancel()
            self._silence_timer = None
        for _ in range(READS_PER_TURN_COUNT):
            if not self.guarded(self._machine.loop_read):
                return
            if self._is_full():
                self._loop.remove_reader(self._descriptor)
                return
            if not self._has_unread():
                return
        self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if not self._stopped and not self._is_full():
            self._read()

    def _has_unread(self) -> bool:
        pending = getattr(self._socket, "pending", None)  # TLS decrypts a record as a whole
        return self._machine.has_unread or (pending is not None and pending() > 0)

    def _flush(self) -> None:
        self._flush_planned = False
        if self._stopped or not self.guarded(self._machine.loop_write):
            return
        if self._machine.has_unsent:
            self._loop.add_writer(self._descriptor, self._flush)
        else:
            self._loop.remove_writer(self._descriptor)

    def _tick(self) -> None:
        if not self.guarded(self._machine.loop_misc) or not self.guarded(self._tick_hook):
            return
        self._tick_timer = self._loop.call_later(self._machine.keepalive, self._tick)
        if not self._is_full() and self._silence_timer is None:
            self._silence_timer = self._loop.call_later(self._answer_s, self._give_up)

    def _give_up(self) -> None:
        self._on_fault(BrokerCode.SILENT, f"no answer to a ping within {self._answer_s:.1f} s")
