"""Commands that were refused because the disk failed, or did not answer in time, and that it may yet have kept.

Nothing ever moves for one of them: it was refused. What the disk has kept would still stand there as permitted, and
whoever sends the same bytes again would be told so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatewayd.store import commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from firmware_protocol.chains import VerifiedBundle
    from gatewayd.recorder import Page, Recorder
    from gatewayd.reservation import Attempt
    from gatewayd.store.commands import SeenCommand

DOUBT_COUNT_MAX: Final = 256
"""Most remembered; of one that is forgotten the next start asks the lock."""


class Doubts:
    """Used on the loop. A transaction of its own stands behind whatever is in doubt: the store has one writer."""

    def __init__(self, *, recorder: Recorder, conclude: Callable[[Page, SeenCommand], object]) -> None:
        """`conclude` writes, in a transaction, that a command whose permission was kept never moved anything."""
        self._recorder = recorder
        self._conclude = conclude
        self._attempts: dict[tuple[bytes, bytes], Attempt] = {}

    def note(self, attempt: Attempt) -> None:
        """Remember a reservation that failed, and its command was refused."""
        while len(self._attempts) >= DOUBT_COUNT_MAX:
            del self._attempts[next(iter(self._attempts))]
        self._attempts[_key(attempt.asked.bundle)] = attempt

    def take(self, bundle: VerifiedBundle) -> tuple[Attempt, ...]:
        """Return and forget the one of this command, which is about to be decided anew.

        Whoever decides it has `settle` run first, in the same transaction: what is kept from then on is in no doubt.
        """
        attempt = self._attempts.pop(_key(bundle), None)
        return () if attempt is None else (attempt,)

    def settle(self, page: Page, attempts: Iterable[Attempt]) -> None:
        """Conclude those that were kept, in the page's transaction."""
        for attempt in attempts:
            seen = commands.find_seen(page.tx, *_key(attempt.asked.bundle))
            if seen is not None and attempt.is_row(seen):
                self._conclude(page, seen)

    async def settle_all(self) -> None:
        """Conclude all that were kept, now that the disk works again.

        Raises:
            StoreError: it does not; they are still in doubt.
        """
        attempts = dict(self._attempts)
        if not attempts:
            return
        await self._recorder.run(lambda page: self.settle(page, attempts.values()))
        for key, attempt in attempts.items():
            if self._attempts.get(key) is attempt:
                del self._attempts[key]


def _key(bundle: VerifiedBundle) -> tuple[bytes, bytes]:
    return bundle.signer_kid, bundle.command.command_id
