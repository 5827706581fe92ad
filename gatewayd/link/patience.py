"""How long a link waits before it tries again, and what ends the wait."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.constants import SERVICE_UUID
from gatewayd.link.ladder import NO_RADIO
from gatewayd.link.machine import LinkEvent, backoff_ms_max
from gatewayd.link.radio import RadioCode, RadioError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from random import Random

    from gatewayd.link.budget import ConnectBudget
    from gatewayd.link.moves import Hurry
    from gatewayd.link.radio import Radio, Sighting
    from gatewayd.timekeeping import Clock

RADIO_SLACK_MS: Final = 5_000
"""So much longer the radio may take to give up itself, in milliseconds, before it is given up."""
QUIET_MS: Final = 2_500
"""A lock that was not heard for so long, in milliseconds, and then is, has come back: it advertises once a second."""
LISTEN_MS: Final = 5_000
"""Longest time for one round of listening, in milliseconds."""
NO_SLOT_MS_MIN: Final = 4_000
"""Shortest wait where the adapter had no connection left, in milliseconds: they come free by others' time-outs."""
GAP_MS_MIN: Final = 250
"""Shortest wait, in milliseconds, also for whoever is in a hurry: an adapter that fails at once is not a loop."""


class Patience:
    """One link's."""

    def __init__(
        self,
        *,
        address: str | None,
        radio: Radio,
        budget: ConnectBudget,
        clock: Clock,
        random: Random,
        hurry: Hurry,
        on_sighting: Callable[[Sighting], None],
    ) -> None:
        """`on_sighting` is given what ended a wait by being heard."""
        self._address = address
        self._radio = radio
        self._budget = budget
        self._clock = clock
        self._random = random
        self._hurry = hurry
        self._on_sighting = on_sighting

    async def rest(self, delay_ms: int) -> LinkEvent:
        """Wait `delay_ms` for this lock's next turn, with its last visit in order."""
        return await self._wait(max(delay_ms, self._budget_ms()), {self._phone_waits(): LinkEvent.HEARD})

    async def back_off(self, failure_count: int, code: str | None) -> LinkEvent:
        """Wait after so many failures in a row, the last with this code; none after a session that was worn out."""
        drawn_ms = self._random.uniform(GAP_MS_MIN, max(GAP_MS_MIN, backoff_ms_max(failure_count)))
        delay_ms = max(round(drawn_ms), NO_SLOT_MS_MIN if code == RadioCode.NO_SLOT else 0)
        ends: dict[Any, LinkEvent] = {self._phone_waits(): LinkEvent.HEARD}
        if code in NO_RADIO:
            ends[self._radio.returned()] = LinkEvent.WAITED
        else:
            ends[self._comes_back(known_away=code == RadioCode.NOT_FOUND)] = LinkEvent.HEARD
        return await self._wait(max(delay_ms, self._budget_ms()), ends)

    async def urgency(self) -> None:
        """Wait until somebody is at the door: who has been permitted, or a phone."""
        waits = {asyncio.create_task(self._hurry.wait()), asyncio.create_task(self._phone_waits())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(waits)

    async def _wait(self, delay_ms: int, ends: dict[Any, LinkEvent]) -> LinkEvent:
        waits = {asyncio.create_task(end): event for end, event in ends.items()}
        waits[asyncio.create_task(self._hurries())] = LinkEvent.HURRIED
        try:
            done, _ = await asyncio.wait(waits, timeout=delay_ms / 1_000, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(waits)
        for task in done:
            task.result()  # a bug must not hide
        self._hurry.note_heeded()
        return next((event for task, event in waits.items() if task in done), LinkEvent.WAITED)

    async def _hurries(self) -> None:
        await asyncio.sleep(GAP_MS_MIN / 1_000)
        await self._hurry.wait()

    async def _phone_waits(self) -> None:
        """Return when a phone waits at the lock. Anyone can advertise that, so it stays within the budget."""
        await asyncio.sleep(max(GAP_MS_MIN, self._budget_ms()) / 1_000)
        await self._hear(phone_waiting=True)

    async def _comes_back(self, *, known_away: bool) -> None:
        """Return when the lock is heard after it was not."""
        await asyncio.sleep(max(GAP_MS_MIN, self._budget_ms()) / 1_000)
        away = known_away
        while True:
            begun_ms = self._clock.now().monotonic_ms
            await self._hear(phone_waiting=False)
            now_ms = self._clock.now().monotonic_ms
            if away or now_ms - begun_ms >= QUIET_MS:
                return
            await asyncio.sleep(QUIET_MS / 1_000)

    async def _hear(self, *, phone_waiting: bool) -> None:
        while True:
            try:
                sighting = await self._radio.find(
                    SERVICE_UUID, self._address, timeout_ms=LISTEN_MS, phone_waiting=phone_waiting
                )
            except RadioError as error:
                # Whether there is a radio is the supervisor's to tell, once this is over; here it is waited for.
                await asyncio.sleep((GAP_MS_MIN if error.code == RadioCode.NOT_FOUND else LISTEN_MS) / 1_000)
                continue
            self._on_sighting(sighting)
            return

    def _budget_ms(self) -> int:
        return self._budget.wait_ms(self._clock.now().monotonic_ms)


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@contextlib.asynccontextmanager
async def radio_patience(timeout_ms: int, code: RadioCode) -> AsyncIterator[None]:
    """Give up a radio that does not give up by itself, with `RadioError(code)`."""
    try:
        async with asyncio.timeout((timeout_ms + RADIO_SLACK_MS) / 1_000):
            yield
    except TimeoutError:
        raise RadioError(code, "the radio hangs") from None
