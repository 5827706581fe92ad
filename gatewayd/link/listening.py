"""One scan for everybody who listens: BlueZ has one discovery a client, and a second one is refused."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from gatewayd.link.radio import RadioCode, RadioError, RadioUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from gatewayd.link.radio import Sighting

SCAN_MS: Final = 2_000
"""So long a scan lasts at most, in milliseconds; then it is begun anew. A controller reports each address once a scan:
what the host was not ready to take is never repeated, and that a phone has come to wait is no news to it. BlueZ besides
rests 5 s after each 10 s, and can believe that it scans while its controller has long stopped. A lock advertises at
least once a second, and a waiting phone is to be known within three."""

_log = structlog.get_logger()


class Listening:
    """The scan of one adapter: runs while somebody listens."""

    def __init__(self, open_scan: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        """`open_scan` scans for the length of a block, hands what is heard to `hear`, and raises RadioUnavailable."""
        self._open_scan = open_scan
        self._waiting: dict[asyncio.Future[Sighting], Callable[[Sighting], bool]] = {}
        self._changed = asyncio.Event()
        self._scanning: asyncio.Task[None] | None = None

    async def find(self, wanted: Callable[[Sighting], bool], *, timeout_ms: int) -> Sighting:
        """Listen until something `wanted` is heard.

        Raises:
            RadioUnavailable: there is no radio to listen with.
            RadioError: `radio.not_found`, nothing was heard in `timeout_ms`.
        """
        found: asyncio.Future[Sighting] = asyncio.get_running_loop().create_future()
        self._waiting[found] = wanted
        if self._scanning is None:
            self._scanning = asyncio.create_task(self._scan())
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                sighting = await found
        except TimeoutError:
            raise RadioError(RadioCode.NOT_FOUND, f"no lock heard in {timeout_ms} ms") from None
        finally:
            del self._waiting[found]
            self._changed.set()
            if found.done() and not found.cancelled():
                found.exception()  # somebody has asked
        if not self._waiting and self._scanning is not None:
            # Who connects next does so on a quiet adapter.
            await asyncio.wait({self._scanning})
        return sighting

    async def survey(self, *, duration_ms: int) -> tuple[Sighting, ...]:
        """Listen for so long, and return what was heard last of each device.

        Raises:
            RadioUnavailable: there is no radio to listen with.
        """
        heard: dict[str, Sighting] = {}

        def note(sighting: Sighting) -> bool:
            heard[sighting.address] = sighting
            return False

        try:
            await self.find(note, timeout_ms=duration_ms)
        except RadioUnavailable:
            raise
        except RadioError:
            pass  # the time is over
        return tuple(heard.values())

    def hear(self, sighting: Sighting) -> None:
        """Take what the scan has heard."""
        for found, wanted in self._waiting.items():
            if not found.done() and wanted(sighting):
                found.set_result(sighting)

    def fail(self, fault: RadioUnavailable) -> None:
        """The adapter is no more: nobody need wait for what it hears."""
        self._end(fault)
        if self._scanning is not None:
            self._scanning.cancel()

    async def close(self) -> None:
        """Stop."""
        scanning = self._scanning
        if scanning is not None:
            scanning.cancel()
            await asyncio.wait({scanning})

    async def _scan(self) -> None:
        try:
            while self._waiting:
                async with self._open_scan():
                    await self._stay()
        except RadioUnavailable as fault:
            self._end(fault)
        except Exception:  # noqa: BLE001 - a bug of the radio's must neither pass unseen nor end the listening for good
            _log.exception("radio.scan_fault")
        finally:
            self._scanning = None
            self._end(RadioUnavailable("the scan was ended"))

    def _end(self, fault: RadioUnavailable) -> None:
        for found in self._waiting:
            if not found.done():
                found.set_exception(fault)

    async def _stay(self) -> None:
        """Return when nobody listens any more, or the scan has lasted."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SCAN_MS / 1_000):
                while self._waiting:
                    self._changed.clear()
                    await self._changed.wait()
