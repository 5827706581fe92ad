"""A world whose lock comes from the factory, and the installer who works in it with the daemon stopped."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self, TypeVar

from firmware_protocol.cose import id_of
from firmware_protocol.topics import Topics
from firmware_protocol.vocabulary import Action
from gatewayd.identity import Identity
from gatewayd.provisioning.installation import Outcome, Site, pair_lock, release_lock
from gatewayd.provisioning.papers import Papers
from gatewayd.store.locks import load_lock_homes
from gatewayd.store.store import Store
from simulator.central_log import Directory
from simulator.demo_stage import command_in
from simulator.flash import Flash
from simulator.flash_media import FragileMedium, MemoryMedium
from simulator.lock import SimulatedLock
from simulator.seams import LoopScheduler
from tests.support.inline_executor import InlineExecutor
from tests.support.memory_radio import ADDRESS
from tests.support.memory_world import NOW_S, PROVIDER, MemoryWorld
from tests.support.tape import Tape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from nacl.public import PrivateKey

    from firmware_protocol.noise import KeyPair
    from firmware_protocol.pairing import LockLabel
    from gatewayd.link.radio import SurveyingRadio
    from gatewayd.store.database import Transaction
    from simulator.office import Holder, Home
    from tests.support.life_unit import LifeUnit

T = TypeVar("T")
PSEUDONYM: Final = b"person-"
"""Every pseudonym of this world begins so: what a reader of the broker looks for."""


class PowerCut(Exception):  # noqa: N818 - what happens, not what is wrong
    """The gateway's power went."""


class CutStore:
    """A store under which the power goes at the n-th transaction, before it or after it."""

    def __init__(self, store: Store, *, at: int | None, after: bool = False, on_cut: Callable[[], None]) -> None:
        self.count = 0
        self.is_dead = False
        """Nothing is written any more, whatever still runs."""
        self._store = store
        self._at = at
        self._after = after
        self._on_cut = on_cut

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """See `Store.run`."""
        self.count += 1
        is_fatal = self.count == self._at
        if self.is_dead or (is_fatal and not self._after):
            raise self._power_cut()
        try:
            return await self._store.run(work)
        finally:
            if is_fatal:
                raise self._power_cut()

    def _power_cut(self) -> PowerCut:
        if not self.is_dead:
            self.is_dead = True
            self._on_cut()
        return PowerCut()


class LifeWorld(MemoryWorld):
    """The lock belongs to nobody; `home` is the first gateway's."""

    def __init__(self, folder: Path, seed: int, *, unsealing_key: PrivateKey | None = None) -> None:
        """Nothing is sealed before somebody says so, even where the central log could open it."""
        self.medium = FragileMedium(MemoryMedium())
        super().__init__(folder, seed, unsealing_key=unsealing_key)
        self.seal_to = None
        self.store_folder = folder
        self.link_keys: KeyPair = self.home.gateway_link_keys
        self.unit: LifeUnit | None = None
        """Whose files say who the gateway is and where its store stands; None: the world itself does."""
        self._identity: Identity | None = None
        self.said: list[str] = []
        self.tape = Tape(self.lock)
        """What an eavesdropper has of the link."""
        self.signed: dict[bytes, float] = {}
        """When somebody who may has signed which command, by its id, in seconds of the loop."""
        self.in_hand: Papers | None = None
        """What the installer has brought: the same at each try."""
        self.on_cut: Callable[[], None] = lambda: None
        """Told when the gateway's power goes: whatever else hangs on the same supply."""

    @property
    def identity(self) -> Identity:
        """The gateway's keys, whichever of its link keys it has now."""
        if self._identity is not None:
            return self._identity
        return Identity(signing_key=self.home.gateway_signing_key, link_keys=self.link_keys)

    @asynccontextmanager
    async def on_air(self) -> AsyncIterator[Self]:
        """Let lock, gateways and phones have radios for the length of a block."""
        self.radio.locks[ADDRESS].handler = self.tape
        yield self

    def stranger_radio(self) -> SurveyingRadio:
        """Return a radio that is not the gateway's."""
        return self.radio

    async def put_on_air(self, lock: SimulatedLock, address: str) -> None:
        """Let another lock advertise."""
        lock.attach_beacon(self.radio.add(lock, address))

    def move_to(self, home: Home) -> None:
        """Let another gateway, with a store of its own, be the one of this world."""
        self.home = replace(home, lock_log_key=self.home.lock_log_key, lock_link_keys=self.home.lock_link_keys)
        self.link_keys = self.home.gateway_link_keys
        self.door = self.office.door(self.home)
        self.topics = Topics.of(home.gateway_id)
        self.store_path = self.store_folder / f"{home.label}.sqlite"

    def plug_in(self, unit: LifeUnit) -> None:
        """Let a unit stand where the gateway of this world stands, with what is in its files now."""
        config = unit.config
        self.unit, self.store_path, self._identity = unit, config.store_path, config.identity()
        self.link_keys = self._identity.link_keys
        self.door = self.office.door(self.home, gateway_link_key=self.link_keys.public)

    def papers(self, *, owner_epoch: int = 1, life_s: int = 86_400, home: Home | None = None) -> Papers:
        """Return what the office gives an installer."""
        home = home or self.home
        now_s = self.utc_s()
        return Papers.model_construct(
            keyset=self.keyset,
            authorities=(self.office.authority(home, PROVIDER, now_s=NOW_S),),
            state=self.fresh_state(home),
            doors=(self.office.door(home, gateway_link_key=self.link_keys.public),),
            pairing_orders=(
                self.office.pairing_order(
                    home,
                    now_s=now_s,
                    owner_epoch=owner_epoch,
                    gateway_link_key=self.link_keys.public,
                    life_s=life_s,
                ),
            ),
        )

    def fresh_state(self, home: Home | None = None) -> bytes:
        """Return the AuthorityState of this minute."""
        now_s = self.utc_s()
        return self.office.state(home or self.home, now_s=now_s, seq=1 + (now_s - NOW_S) // 60)

    async def pair(
        self,
        papers: Papers | None = None,
        *,
        label: LockLabel | None = None,
        address: str | None = None,
        former: KeyPair | None = None,
        cut_at: int | None = None,
        after: bool = False,
    ) -> Outcome:
        """Run `gatewayd pair`; the power may go at its n-th transaction."""

        async def errand(site: Site) -> Outcome:
            chosen = papers or self.papers()
            return await pair_lock(site, chosen, label or self.lock.keys.label, address=address, former_keys=former)

        return await self._errand(errand, cut_at, after=after)

    async def release(self, *, owner_epoch: int = 2, cut_at: int | None = None, after: bool = False) -> Outcome:
        """Run `gatewayd decommission`."""
        order = self.office.decommission_order(self.home, now_s=self.utc_s(), owner_epoch=owner_epoch)
        return await self._errand(lambda site: release_lock(site, order), cut_at, after=after)

    async def home_count(self) -> int:
        """Return how many locks the stopped gateway believes to be its own."""
        store = Store.open(self.store_path, executor=InlineExecutor())
        homes = await store.run(load_lock_homes)
        await store.close()
        return len(homes)

    def carer(self, person: str = "anna", **grant: object) -> Holder:
        """See `MemoryWorld.carer`: under a pseudonym."""
        return super().carer(f"{PSEUDONYM.decode()}{person}", **grant)

    def unlock_bundle(self, holder: Holder, challenge: bytes, *, action: Action = Action.UNLOCK) -> bytes:
        """See `MemoryWorld.unlock_bundle`; this one is noted."""
        bundle = super().unlock_bundle(holder, challenge, action=action)
        self.signed[command_in(bundle).command_id] = asyncio.get_running_loop().time()
        return bundle

    async def _errand(self, errand: Callable[[Site], object], cut_at: int | None, *, after: bool) -> Outcome:
        if not self.store_path.exists():
            await self.make_store()
        store = Store.open(self.store_path, executor=InlineExecutor())
        self.cut = CutStore(store, at=cut_at, after=after, on_cut=self.on_cut)
        try:
            site = Site(
                store=self.cut,  # type: ignore[arg-type]  # it is one, with a fault
                radio=self.gateway_radio(),
                identity=self.identity,
                roots=self.office.root_public_keys,
                clock=self.clock,
                entropy=self.entropy,
                progress=self.said.append,
                machine_boot=self.machine_boot,
            )
            return await errand(site)  # type: ignore[misc,no-any-return]  # every errand is awaitable
        finally:
            await self.lose_radio()
            await store.close()

    def _directory(self) -> Directory:
        gateways = [home.gateway_signing_key.verify_key for home in (self.home, self.office.home("home-2"))]
        return Directory(
            gateway_keys={id_of(bytes(key)): bytes(key) for key in gateways},
            lock_log_keys={self.home.lock_id: bytes(self.home.lock_log_key.verify_key)},
        )

    def _lock(self) -> SimulatedLock:
        return SimulatedLock(
            self.office.lock_keys(self.home), Flash(self.medium), self.mechanics, LoopScheduler(), self.entropy
        )
