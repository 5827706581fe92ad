"""Moves the bolt over links that come and go: sent once at most, then only asked about (laws 1 to 3)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from firmware_protocol.codes import Code
from firmware_protocol.constants import WITHIN_MS_MAX
from firmware_protocol.vocabulary import Bolt
from gatewayd.link.faults import LinkLost, NotSent, OutcomeUnknown, RequestRefused
from gatewayd.link.ports import MoveOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from firmware_protocol.messages import CommandResult
    from gatewayd.link.lock_client import LockClient
    from gatewayd.link.ports import BoltMove
    from gatewayd.timekeeping import Clock

INQUIRY_MS_MAX: Final = 45_000
"""Longest search for the truth after a movement was sent and the link lost, in milliseconds: two of the longest
back-offs and a connection. The sender waits for it, and the journal can be corrected later."""
INQUIRY_PAUSE_MS: Final = 500
"""Between two questions while the motor still runs, or the lock is busy."""
NOBODY_KNOWS: Final = MoveOutcome(code=Code.MAY_HAVE_EXECUTED, bolt=Bolt.UNKNOWN)
NOT_ASKED: Final = MoveOutcome(code=Code.MAY_HAVE_EXECUTED, bolt=Bolt.UNKNOWN, asked=False)

_log = structlog.get_logger()


class Hurry:
    """Whether somebody permitted waits for a link now: no back-off holds it up then, and no budget."""

    def __init__(self) -> None:
        self._waiting_count = 0
        self._event = asyncio.Event()

    @property
    def active(self) -> bool:
        """Whether it does."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until it does."""
        await self._event.wait()

    def call(self) -> None:
        """One back-off is to end."""
        self._event.set()

    def note_heeded(self) -> None:
        """A back-off has ended for it."""
        if not self._waiting_count:
            self._event.clear()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """No back-off is to begin within the block."""
        self._waiting_count += 1
        self._event.set()
        try:
            yield
        finally:
            self._waiting_count -= 1
            self.note_heeded()


class Moves:
    """Implements `ports.BoltMover` for one lock. Movements are taken one after the other."""

    def __init__(self, *, clock: Clock, hurry: Hurry, moved: Callable[[], None], why_down: Callable[[], Code]) -> None:
        """Wait for a link.

        `moved` is called where the door may have changed; `why_down` tells why a movement could not be sent.
        """
        self._clock = clock
        self._hurry = hurry
        self._moved = moved
        self._why_down = why_down
        self._client: LockClient | None = None
        self._attached = asyncio.Event()
        self._turn = asyncio.Lock()

    def attach(self, client: LockClient) -> None:
        """Use this link from now on."""
        self._client = client
        self._attached.set()

    def detach(self) -> None:
        """Use no link until the next one is attached."""
        self._client = None
        self._attached.clear()

    async def execute(self, move: BoltMove) -> MoveOutcome:
        """See `BoltMover.execute`."""
        deadline_ms = self._clock.now().boottime_ms + min(move.within_ms, WITHIN_MS_MAX)
        try:
            async with asyncio.timeout(self._left_ms(deadline_ms) / 1_000):
                await self._turn.acquire()
        except TimeoutError:
            return self._never_sent()
        try:
            return await self._move(move, deadline_ms)
        finally:
            self._turn.release()

    async def wait_attached(self, within_ms: int) -> None:
        """Hurry, and wait for a link for so long at most."""
        await self._client_before(self._clock.now().boottime_ms + within_ms)

    async def query(self, command_seq: int) -> MoveOutcome:
        """See `BoltMover.query`; MAY_HAVE_EXECUTED where the lock can't be asked in `INQUIRY_MS_MAX`."""
        async with self._turn:
            return await self._inquire(command_seq)

    async def _move(self, move: BoltMove, deadline_ms: int) -> MoveOutcome:
        while (client := await self._client_before(deadline_ms)) is not None:
            try:
                return _outcome(await client.execute(move, deadline_ms=deadline_ms))
            except LinkLost:
                # Nothing was sent: the next link may still come in time.
                self._forget(client)
            except NotSent:
                return self._never_sent()
            except RequestRefused as refused:
                return _refused(refused)
            except OutcomeUnknown as fault:
                _log.warning("move.outcome_unknown", code=fault.code, command_seq=move.command_seq)
                self._forget(client)
                return await self._inquire(move.command_seq)
            finally:
                self._moved()
        return self._never_sent()

    def _never_sent(self) -> MoveOutcome:
        return MoveOutcome(code=self._why_down(), bolt=Bolt.UNKNOWN)

    async def _client_before(self, deadline_ms: int) -> LockClient | None:
        if self._client is not None:
            return self._client
        try:
            with self._hurry.waiting():
                async with asyncio.timeout(self._left_ms(deadline_ms) / 1_000):
                    return await self._next_client()
        except TimeoutError:
            return None

    async def _next_client(self) -> LockClient:
        while self._client is None:
            await self._attached.wait()
        return self._client

    def _forget(self, client: LockClient) -> None:
        if self._client is client:
            self.detach()

    def _left_ms(self, deadline_ms: int) -> int:
        return max(0, deadline_ms - self._clock.now().boottime_ms)

    async def _inquire(self, command_seq: int) -> MoveOutcome:
        """Ask until the lock knows; never send the movement again."""
        if self._client is None:
            self._hurry.call()
        try:
            async with asyncio.timeout(INQUIRY_MS_MAX / 1_000):
                while True:
                    outcome = await self._ask(await self._next_client(), command_seq)
                    if outcome is not None:
                        return outcome
        except TimeoutError:
            return NOT_ASKED
        finally:
            self._moved()

    async def _ask(self, client: LockClient, command_seq: int) -> MoveOutcome | None:
        """Return the answer, or None where asking again may bring one."""
        try:
            result = await client.query(command_seq)
        except LinkLost:
            self._forget(client)
            return None
        except RequestRefused as refused:
            if refused.row is not Code.BUSY:
                return NOBODY_KNOWS
        else:
            if result.code is not Code.PERMITTED:
                return _outcome(result)
        await asyncio.sleep(INQUIRY_PAUSE_MS / 1_000)
        return None


def _outcome(result: CommandResult) -> MoveOutcome:
    return MoveOutcome(code=result.code, bolt=result.bolt, lock_log_seq=result.log_seq)


def _refused(refused: RequestRefused) -> MoveOutcome:
    """Believe the more cautious of what the lock says and what its code means."""
    if refused.may_have_executed and not refused.row.may_have_executed:
        return NOBODY_KNOWS
    if refused.row is Code.LINK_DOWN:
        return MoveOutcome(code=Code.FAILED, bolt=Bolt.UNKNOWN)
    return MoveOutcome(code=refused.row, bolt=Bolt.UNKNOWN)
