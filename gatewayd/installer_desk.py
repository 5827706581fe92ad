"""An installer's errands while the daemon runs: one lock is taken aside, every other door is served as ever.

The errands are those of the installer's commands (`provisioning.installation`) on the house's own store, journal, time
and radio. Nothing here moves a bolt, and nothing is believed that is not signed: who may ask decides only who may try.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from firmware_protocol import cose
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.orders import DecommissionOrder, PairingOrder
from firmware_protocol.pairing import LockLabel
from firmware_protocol.vocabulary import Role
from gatewayd.control.messages import ControlCode, ControlError, ErrandDocument
from gatewayd.link.radio import RadioError
from gatewayd.provisioning.installation import Live, Site, pair_lock, release_lock
from gatewayd.provisioning.papers import papers_of
from gatewayd.store.locks import load_lock_homes, load_paired_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gatewayd.house import House
    from gatewayd.link.radio import LockLink, Sighting, SurveyingRadio
    from gatewayd.provisioning.installation import Outcome

SLOT: Final = b"installer"
"""The errand's name among those that want one of the adapter's connections: no lock's id has nine bytes."""
T = TypeVar("T")

_log = structlog.get_logger()


class InstallerDesk:
    """Implements `control.messages.ErrandSource`; one errand at a time."""

    def __init__(self, house: House, radio: SurveyingRadio) -> None:
        self._house = house
        self._radio = _SparingRadio(house, radio)
        self._is_busy = False

    async def pair(
        self, papers: dict[str, Any], label: str, address: str | None, progress: Callable[[str], None]
    ) -> ErrandDocument:
        """See `ErrandSource.pair`."""

        async def errand() -> Outcome:
            wanted, lock_label = papers_of(papers), LockLabel.from_text(label)
            async with self._aside(lock_label.lock_id):
                outcome = await pair_lock(self._site(progress), wanted, lock_label, address=address)
                self._radio.known = outcome.address
                return outcome

        return await self._done("pair", errand())

    async def decommission(self, order: bytes, address: str | None, progress: Callable[[str], None]) -> ErrandDocument:
        """See `ErrandSource.decommission`."""

        async def errand() -> Outcome:
            # Which lock it is about is looked at before anybody has verified it: that costs that lock's link a moment.
            envelope = cose.parse(order, size_max=DecommissionOrder.SIZE_MAX)
            async with self._aside(DecommissionOrder.from_bytes(envelope.payload).lock_id):
                return await release_lock(self._site(progress), order, address=address)

        return await self._done("decommission", errand())

    async def _done(self, name: str, errand: Awaitable[Outcome]) -> ErrandDocument:
        try:
            outcome = await errand
        except RadioError as error:
            raise ControlError(error.code, error.detail) from error
        except RemoteProtocolError as error:
            raise ControlError(error.code.dotted, error.detail) from error
        _log.info("installer.done", errand=name, lock=outcome.lock_id.hex(), owner_epoch=outcome.owner_epoch)
        return ErrandDocument(lock_id=outcome.lock_id.hex(), owner_epoch=outcome.owner_epoch, was_done=outcome.was_done)

    @contextlib.asynccontextmanager
    async def _aside(self, lock_id: bytes) -> AsyncIterator[None]:
        """Let a lock's link rest, keep a connection of the adapter free, and go on with the lock as it then is."""
        if self._is_busy:
            raise ControlError(ControlCode.BUSY, "another installer's errand is under way here; wait for its end")
        self._is_busy = True
        house = self._house
        link = house.links.get(lock_id)
        self._radio.known = None if link is None else link.address
        try:
            await house.roster.rest(lock_id)
            await house.adapter.slots.take(SLOT, urgent=True)
            try:
                yield
            finally:
                house.adapter.slots.give_back(SLOT)
                await self._resettle(lock_id)
        finally:
            house.roster.resume(lock_id)  # also where the store fails just now: a lock without its link is a shut door
            self._is_busy = False

    async def _resettle(self, lock_id: bytes) -> None:
        """Go on with a lock as the store has it now: paired, given a newer order, let go, or as it was."""
        house, store = self._house, self._house.base.seams.store
        homes, paired_at = await store.run(load_lock_homes), await store.run(load_paired_at)
        await house.base.trust.load()
        for home in homes:
            if home.lock_id == lock_id:
                order = house.base.trust.open_held(PairingOrder, home.pairing_order, Role.PAIRING)
                house.base.timekeeper.take_floor(order.iat_s, Role.PAIRING)
                house.note_pairing(home, paired_at[lock_id])
                house.roll.add(lock_id)
                house.roster.join(home, heard_at=self._radio.known)
                break
        else:
            await self._let_go(lock_id)
        await house.base.suspicion.load()
        if house.announcements is not None:
            house.announcements.show(sorted(house.roll.lock_ids))
        house.changed.set()

    async def _let_go(self, lock_id: bytes) -> None:
        house = self._house
        if lock_id not in house.roll.lock_ids:
            return
        house.roll.strike(lock_id)
        house.pairings.pop(lock_id, None)
        await house.roster.leave(lock_id)
        house.watch.forget(lock_id)
        if house.announcements is not None:
            house.announcements.withdraw(lock_id)

    def _site(self, progress: Callable[[str], None]) -> Site:
        base = self._house.base
        return Site(
            store=base.seams.store,
            radio=self._radio,
            identity=base.plan.identity,
            roots=base.plan.roots,
            clock=base.seams.clock,
            entropy=base.seams.entropy,
            progress=progress,
            machine_boot=base.seams.machine_boot,
            live=Live(recorder=base.recorder, timekeeper=base.timekeeper),
        )


class _SparingRadio:
    """The daemon's radio, on which an installer does not see the locks that others are talking to.

    Asking one of those whether it is the one that is looked for would cost it the link that it has.
    """

    def __init__(self, house: House, radio: SurveyingRadio) -> None:
        self._house = house
        self._radio = radio
        self.known: str | None = None
        """Where the lock of the errand was last heard: if it is heard there again, nobody else is asked."""
        self.find, self.returned, self.recover, self.close = radio.find, radio.returned, radio.recover, radio.close

    async def survey(self, *, duration_ms: int) -> tuple[Sighting, ...]:
        """See `SurveyingRadio.survey`."""
        heard = await self._radio.survey(duration_ms=duration_ms)
        taken = {link.connected_to for link in self._house.links.values()}
        known = tuple(sighting for sighting in heard if sighting.address == self.known)
        return known or tuple(sighting for sighting in heard if sighting.address not in taken)

    async def connect(self, sighting: Sighting, *, timeout_ms: int) -> LockLink:
        """See `Radio.connect`."""
        return await self._radio.connect(sighting, timeout_ms=timeout_ms)
