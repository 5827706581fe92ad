"""A gateway's link before it is known what it is for: until its HELLO is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_protocol.codes import Code
from firmware_protocol.constants import HANDSHAKE_MS_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.fragments import Fragmenter, FragmentKind
from firmware_protocol.hello import PlainClose, encode_plain
from firmware_protocol.pairing import Doorstep
from simulator.lock_link import LINGER_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulator.boot_clock import BootClock
    from simulator.seams import Timer
    from simulator.wire import Pipe


class Arrival:
    """One link on the doorstep; `on_known(pairs, values)` is called once, and the session gets the values again."""

    def __init__(self, *, pipe: Pipe, clock: BootClock, on_known: Callable[[bool, Sequence[bytes]], None]) -> None:
        self.pipe = pipe
        self.began_ms = clock.up_ms()
        self._clock = clock
        self._on_known = on_known
        self._doorstep = Doorstep()
        self._is_open = True
        self._timer: Timer = clock.call_later(HANDSHAKE_MS_MAX, lambda: self.turn_away(Code.LINK_DOWN))

    def receive(self, value: bytes) -> None:
        """Take a value of the gateway's."""
        if not self._is_open:
            return
        try:
            pairs = self._doorstep.wants_pairing(value, self._clock.up_ms())
        except RemoteProtocolError as error:
            self.turn_away(error.code)
            return
        if pairs is not None:
            self.forget()
            self._on_known(pairs, self._doorstep.values)

    def turn_away(self, code: Code) -> None:
        """Say why, and hang up."""
        self.forget()
        for value in Fragmenter(self.pipe.value_size_max).fragment(
            FragmentKind.PLAIN, encode_plain(PlainClose(code=code))
        ):
            self.pipe.send_value(value)
        self._clock.call_later(LINGER_MS, self.pipe.disconnect)

    def forget(self) -> None:
        """Stop: the link is gone, or has become a session."""
        self._is_open = False
        self._timer.cancel()
