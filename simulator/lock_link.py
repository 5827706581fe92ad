"""The firmware's end of its one link to the gateway: a session over a pipe, and when to look after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.session import SessionState

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.messages import Message
    from firmware_protocol.pairing import LockPairing
    from firmware_protocol.session import Event, LockSession
    from simulator.boot_clock import BootClock
    from simulator.seams import Timer
    from simulator.wire import Pipe

LINGER_MS: Final = 500
"""So long a link stays up after a goodbye, in milliseconds, so that the goodbye is not lost with it."""
RENEWAL_GRACE_MS: Final = 10 * 60 * 1_000
"""A session that is due for renewal is ended after so long: before, the gateway may choose the moment."""


class GatewayLink:
    """One connection. `on_event` may raise RemoteProtocolError; `on_closed` is called once, when this end gives up."""

    def __init__(
        self,
        *,
        pipe: Pipe,
        session: LockSession | LockPairing,
        clock: BootClock,
        on_event: Callable[[Event], None],
        on_closed: Callable[[], None],
    ) -> None:
        self.session = session
        self._pipe = pipe
        self._clock = clock
        self._on_event = on_event
        self._on_closed = on_closed
        self._timer: Timer | None = None
        self._is_open = True
        self.settle()

    @property
    def is_live(self) -> bool:
        """Whether the gateway has confirmed the session, and it goes on."""
        return self._is_open and self.session.state is SessionState.READY

    def receive(self, value: bytes) -> None:
        """Take a value of the gateway's. A breach of the protocol ends the link."""
        if not self._is_open:
            return
        try:
            for event in self.session.receive_value(value, self._clock.up_ms()):
                self._on_event(event)
        except RemoteProtocolError as error:
            self.close(error.code)

    def send(self, message: Message, corr: int = 0) -> None:
        """Send a record; without a live session it goes nowhere, and what it said is in the flash."""
        if not self.is_live:
            return
        try:
            self.session.send(message, corr=corr)
        except LocalProtocolError:  # the session's records are used up
            self.close(Code.LINK_DOWN)

    def settle(self) -> None:
        """Send what is queued and set the timer; due after whatever may have changed the session."""
        for value in self.session.take_values():
            self._pipe.send_value(value)
        self._stop_timer()
        if self._is_open:
            delay_ms = max(1, self.session.next_deadline_ms() - self._clock.up_ms())
            self._timer = self._clock.call_later(delay_ms, self._tick)

    def close(self, code: Code) -> None:
        """Say why, and hang up."""
        if not self._is_open:
            return
        self.session.close(code)
        self._is_open = False
        self.settle()
        self._clock.call_later(LINGER_MS, self._pipe.disconnect)
        self._on_closed()

    def forget(self) -> None:
        """Stop: the link itself is gone."""
        self._is_open = False
        self._stop_timer()

    def _tick(self) -> None:
        now_ms = self._clock.up_ms()
        try:
            self.session.tick(now_ms)
        except RemoteProtocolError as error:
            self.close(error.code)
        if self.is_live and self.session.renewal_due(now_ms - RENEWAL_GRACE_MS):
            self.close(Code.LINK_DOWN)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
