"""The hands and eyes of the test world on a simulated lock: one JSON object a line over a Unix socket.

`{"do": "knob"}` answers `{"done": true}` (false where the door does not let you), `{"get": "truth"}` answers with what
is true of the lock, whatever it may have told a gateway. What can't be understood answers `{"error": "…"}`.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from simulator.door_file import door_document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from simulator.lock import SimulatedLock
    from simulator.peripheral import Peripheral

LINE_SIZE_MAX: Final = 4_096


class LockControl:
    """The answers, without the socket."""

    def __init__(self, lock: SimulatedLock, radio: Peripheral | None = None) -> None:
        self._lock = lock
        mechanics = lock.mechanics
        self._deeds: dict[str, Callable[[], object]] = {
            "knob": mechanics.hand_turns_knob,
            "door_open": mechanics.door_opens,
            "door_close": mechanics.door_closes,
            "jam": mechanics.jam,
            "slip": mechanics.slip,
            "free": mechanics.free,
            "tamper": mechanics.tamper,
            "power_off": lock.power_off,
            "power_on": lock.power_on,
            "power_cycle": lock.power_cycle,
            "install": lock.press_install_button,
            "factory_reset": lock.factory_reset,
            "drop": lock.drop_gateway,
            "garble": lock.garble_next_value,
        }
        if radio is not None:
            self._deeds |= {"hold": radio.hold, "release": radio.release}
        self._views: Mapping[str, Callable[[], dict[str, Any]]] = {"truth": self._truth, "log": self._log}

    def answer(self, line: bytes) -> dict[str, Any]:
        """Do or look up what `line` asks for."""
        try:
            match json.loads(line):
                case {"do": str(name)} if name in self._deeds:
                    return {"done": self._deeds[name]() is not False}
                case {"get": str(name)} if name in self._views:
                    return self._views[name]()
        except ValueError:
            return {"error": "not JSON"}
        return {"error": f"do: {', '.join(self._deeds)}; get: {', '.join(self._views)}"}

    def _truth(self) -> dict[str, Any]:
        flash = self._lock.flash
        last = flash.last_command
        return door_document(self._lock.mechanics) | {
            "connected": self._lock.is_live,
            "powered": self._lock.is_powered,
            "boot": flash.values.boot,
            "up_ms": self._lock.up_ms,
            "session_ctr": flash.values.session_ctr,
            "command_seq": 0 if last is None else last.seq,
            "command_code": None if last is None else last.code.dotted,
            "accepted_ms_max": self._lock.accepted_ms_max,
            "log": {
                "log_id": flash.values.log_id.hex(),
                "first_seq": flash.first_seq,
                "last_seq": flash.last_seq,
                "copied_seq": flash.values.copied_seq,
                "received_seq": flash.values.received_seq,
                "head": flash.head.hex(),
            },
        }

    def _log(self) -> dict[str, Any]:
        flash = self._lock.flash
        records = flash.records_from(flash.first_seq, flash.log_count_max)
        return {"first_seq": flash.first_seq, "records": [record.hex() for record in records]}


async def serve_control(lock: SimulatedLock, path: Path, *, radio: Peripheral | None = None) -> asyncio.Server:
    """Serve on the Unix socket `path`, in the place of one that a killed process left.

    Raises:
        OSError: the socket can't be made.
    """
    control = LockControl(lock, radio)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(control.answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the client went, or wrote a line beyond the limit: nobody is left to answer
        finally:
            writer.close()

    return await asyncio.start_unix_server(serve, path, limit=LINE_SIZE_MAX)
