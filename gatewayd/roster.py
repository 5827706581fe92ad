"""Every lock's link while the gateway lives: one more or one less while the others go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.orders import Door
from firmware_protocol.vocabulary import Role
from gatewayd.link.adapter import Adapter
from gatewayd.link.ports import LockTarget
from gatewayd.link.supervisor import LinkSupervisor
from gatewayd.lock_ledger import LockLedger
from gatewayd.stopping import PartEndedError, until_one_ends

if TYPE_CHECKING:
    from gatewayd.channel import Submit
    from gatewayd.foundation import Foundation
    from gatewayd.link.ports import LinkListener
    from gatewayd.store.locks import LockHome


class Roster:
    """Makes the links, and runs them in the house's group of tasks from `run` to `stop`."""

    def __init__(
        self, base: Foundation, *, links: dict[bytes, LinkSupervisor], listener: LinkListener, submit: Submit
    ) -> None:
        """Make a link to each of our locks. `links` is filled, by lock id: whoever moves bolts holds it already.

        Raises:
            RemoteProtocolError: what the store holds was not signed by the pinned roots, or for another home.
        """
        seams = base.seams
        self._base = base
        self._links = links
        self._listener = listener
        self._submit = submit
        self._ledger = LockLedger(store=seams.store, recorder=base.recorder)
        self.adapter = Adapter(radio=seams.radio, ledger=self._ledger, clock=seams.clock)
        self._group: asyncio.TaskGroup | None = None
        self._running: dict[bytes, asyncio.Task[None]] = {}
        for home in base.homes:
            self.join(home)

    def run(self, group: asyncio.TaskGroup) -> None:
        """Start every link, and from here on each that joins."""
        self._group = group
        for lock_id in self._links:
            self._start(lock_id)

    def stop(self) -> None:
        """End every link; whoever waits for the group waits for them."""
        self._group = None
        for task in self._running.values():
            task.cancel()

    def join(self, home: LockHome, *, heard_at: str | None = None) -> None:
        """Take a lock in, in the place of the link to it that rests; `heard_at` is where it was last heard.

        Raises:
            RemoteProtocolError: see `__init__`.
        """
        self._links[home.lock_id] = self._link(home, heard_at)
        self._start(home.lock_id)

    async def rest(self, lock_id: bytes) -> None:
        """Take a lock's link down, if it has one; it stays on the roster, and movements find it down."""
        task = self._running.pop(lock_id, None)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def resume(self, lock_id: bytes) -> None:
        """Bring a link up again that rests; does nothing for one that lives, or is on the roster no more."""
        if lock_id in self._links and lock_id not in self._running:
            self._start(lock_id)

    async def leave(self, lock_id: bytes) -> None:
        """Take a lock's link down for good."""
        await self.rest(lock_id)
        self._links.pop(lock_id, None)
        self.adapter.slots.leave(lock_id)

    def _start(self, lock_id: bytes) -> None:
        if self._group is not None:
            self._running[lock_id] = living = self._group.create_task(self._links[lock_id].run())
            self._group.create_task(self._watch(lock_id, living))

    async def _watch(self, lock_id: bytes, living: asyncio.Task[None]) -> None:
        """Hear of a link that ends without having been told to.

        Raises:
            PartEndedError: it has.
        """
        try:
            await until_one_ends({living})
        except PartEndedError:
            if self._group is not None and self._running.get(lock_id) is living:
                raise

    def _link(self, home: LockHome, heard_at: str | None) -> LinkSupervisor:
        base, seams = self._base, self._base.seams
        # Verified again at each start: a card can be written to elsewhere.
        door = base.trust.open_held(Door, home.door, Role.STATUS)
        if door.lock_id != home.lock_id or door.gateway_id != base.plan.identity.gateway_id:
            raise RemoteProtocolError(Code.WRONG_AUDIENCE, "a door of another home in the store")
        return LinkSupervisor(
            target=LockTarget(
                lock_id=home.lock_id,
                lock_key=door.lock_link_key,
                log_key=door.lock_log_key,
                address=base.plan.addresses.get(home.lock_id),
                heard_at=heard_at,
                owner_epoch=home.owner_epoch,
            ),
            keys=base.plan.identity.link_keys,
            adapter=self.adapter,
            ledger=self._ledger,
            listener=self._listener,
            submit=self._submit,
            clock=seams.clock,
            entropy=seams.entropy,
            random=seams.random,
        )
