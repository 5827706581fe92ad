"""Who tries the door at every stage of a lock's life: a stranger with keys of their own, and who once had a right.

Each attempt is made with all that such a person can have: the label's secret, an eavesdropper's tape of the link, a
former gateway's whole card, and every paper that was ever valid.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import SERVICE_UUID
from firmware_protocol.errands import OwnerCommit, OwnerOrder, OwnerResult
from firmware_protocol.messages import CommandAccepted, LockCommand
from firmware_protocol.vocabulary import Action, OfflineClass
from gatewayd.errors import GatewayError
from gatewayd.identity import Identity
from gatewayd.link import commissioning
from gatewayd.link.commissioning import Bond, Tools
from gatewayd.link.faults import LinkLost, RequestRefused
from gatewayd.link.ports import LockTarget
from gatewayd.link.radio import RadioError
from gatewayd.provisioning.installation import Site, pair_lock
from gatewayd.provisioning.papers import Papers
from gatewayd.store.store import Store
from gatewayd.timekeeping import TimeInterval
from simulator.demo_stage import command_in
from simulator.flash import Flash
from simulator.flash_media import MemoryMedium
from simulator.lock import SimulatedLock
from simulator.mechanics import Mechanics
from simulator.office import Holder, Home, Office, unlock_at_door
from simulator.seams import LoopScheduler
from tests.support.inline_executor import InlineExecutor
from tests.support.memory_radio import ADDRESS
from tests.support.memory_world import PROVIDER
from tests.support.nonsense import BadInput, LyingBroker

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.noise import KeyPair
    from simulator.phone import Visit
    from tests.support.life_world import LifeWorld

IMPOSTOR: Final = "F0:00:00:00:00:0E"
"""A lock of the stranger's own, which advertises as all locks do."""
FAULTS: Final = (GatewayError, RadioError, TimeoutError)
SHIFT_S: Final = 10 * 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerOwner:
    """Whoever has kept all that a gateway, its carers and its installer once had."""

    home: Home
    link_keys: KeyPair
    papers: Papers
    carer: Holder
    """With a grant that is still in force, for that home."""


class Intruders:
    """All of them. `try_everything` leaves the lock as it was, or fails."""

    def __init__(self, world: LifeWorld) -> None:
        self._world = world
        self._eve = Office(b"eve")
        self._home = replace(
            self._eve.home("eve"), lock_log_key=world.home.lock_log_key, lock_link_keys=world.home.lock_link_keys
        )
        self.former: list[FormerOwner] = []
        self.recorded: list[bytes] = []
        """Bundles that have opened this door, as an eavesdropper at the carer's phone would have them."""
        self.refused: list[tuple[bytes, Code]] = []
        """Commands of theirs with a valid signature, and why a gateway did not obey."""
        self.refused_alone: list[tuple[bytes, Code]] = []
        """The same, by the lock itself."""
        self.attempts: list[str] = []
        """What was tried, with the stage."""
        self._impostor = self._make_impostor()
        self._broker = LyingBroker(world, self._eve)
        self._bad_input = BadInput(world)

    async def come(self) -> None:
        """Put the stranger's own lock into the air, where it stays."""
        await self._world.put_on_air(self._impostor, IMPOSTOR)

    async def try_everything(self, stage: str) -> None:
        """Let everybody try, and check that nothing has changed in the lock but what its log tells of it."""
        before = self._standing()
        for name, attempt in (
            ("a stranger's own papers", self._visit_of_a_stranger),
            ("a carer's bytes again", self._visit_with_a_recording),
            ("an expired shift", self._visit_after_the_shift),
            ("former carers", self._visits_of_former_carers),
            ("the gateway's bytes again", self._replay_the_link),
            ("a gateway of the stranger's", self._session_of_a_stranger),
            ("the stranger's pairing", self._pairing_of_a_stranger),
            ("former gateways", self._sessions_of_former_owners),
            ("former orders", self._pairings_with_former_orders),
            ("a broker that lies", self._lies),
            ("nonsense everywhere", self._bad_input.everywhere),
        ):
            self.attempts.append(f"{stage}: {name}")
            await attempt()
            await asyncio.sleep(1)
            assert self._standing() == before, f"{stage}: {name} have changed the lock"
        assert self._impostor.mechanics.movements == [], stage
        assert self._impostor.flash.values.session_ctr == 0, f"{stage}: a session with the impostor"

    def _standing(self) -> tuple[object, ...]:
        """Return what nobody of these may change.

        Authorities are none of it: a carer's visit brings a newer one, true whoever carries it, and a minute later it
        is handed on. That nobody else's is held, law 8's keeper sees.
        """
        world = self._world
        values = world.lock.flash.values
        return (
            tuple(world.mechanics.movements),
            *(values.owner_epoch, values.gateway_id, values.gateway_key, values.former_key, values.former_id),
            *(values.keyset, values.state, values.log_id, values.received_seq),
        )

    # At the door.

    async def _visit_of_a_stranger(self) -> None:
        now_s = self._world.utc_s()
        for stranger in (
            self._eve.carer(self._world.home, PROVIDER, "eve", now_s=now_s),
            # A stolen grant without the phone that it names.
            replace(self._world.carer("anna"), key=self._eve.signing_key("device-eve")),
        ):
            assert (await self._visit(stranger)).receipts == ()

    async def _visit_with_a_recording(self) -> None:
        for bundle in self.recorded[-2:]:
            await self._present(bundle)

    async def _visit_after_the_shift(self) -> None:
        start_s = self._world.utc_s() - 2 * SHIFT_S
        await self._visit(self._world.carer("late", nbf_s=start_s, exp_s=start_s + SHIFT_S))

    async def _visits_of_former_carers(self) -> None:
        for owner in self.former:
            if owner.home.gateway_id != self._world.home.gateway_id:
                await self._visit(owner.carer, owner.home)

    async def _visit(self, holder: Holder, home: Home | None = None) -> Visit:
        return await self._present(
            lambda challenge: unlock_at_door(
                holder,
                home or self._world.home,
                challenge=challenge,
                command_id=self._world.entropy.token(16),
                now_s=self._world.utc_s(),
            )
        )

    async def _present(self, bundle: bytes | Callable[[bytes], bytes]) -> Visit:
        """Bring a bundle to the door; the same bytes again may be told what became of them, and nothing more."""
        made: list[bytes] = []

        def make(challenge: bytes) -> bytes:
            made.append(bundle if isinstance(bundle, bytes) else bundle(challenge))
            return made[-1]

        visit = await self._world.visit_with(make)
        if visit.final is not None and visit.final is not Code.DONE:
            answered = self.refused_alone if self._world.house is None else self.refused
            answered.append((command_in(made[-1]).command_id, visit.final))
        assert visit.final is not Code.DONE or isinstance(bundle, bytes), visit
        return visit

    async def _lies(self) -> None:
        await self._broker.lie(self.recorded)

    # At the link.

    async def _replay_the_link(self) -> None:
        radio = self._world.stranger_radio()
        tape = list(self._world.tape.values)
        with suppress(*FAULTS):
            link = await radio.connect(await radio.find(SERVICE_UUID, ADDRESS, timeout_ms=3_000), timeout_ms=3_000)
            try:
                for value in tape:
                    await link.write_value(value)
                await asyncio.sleep(2)
            finally:
                await link.close()

    async def _session_of_a_stranger(self) -> None:
        assert await commissioning.look(self._tools(), self._target(), self._home.gateway_link_keys) is None

    async def _pairing_of_a_stranger(self) -> None:
        """Pair by the true label with orders of an office of the stranger's own, also with the button pressed."""
        now_s, eve, home = self._world.utc_s(), self._eve, self._home
        order = eve.pairing_order(home, now_s=now_s, owner_epoch=50)
        papers = Papers.model_construct(
            keyset=eve.keyset(now_s=now_s, version=9),
            authorities=(eve.authority(home, PROVIDER, now_s=now_s),),
            state=eve.state(home, now_s=now_s, keyset_version=9),
            doors=(eve.door(home),),
            pairing_orders=(order,),
        )
        identity = Identity(signing_key=home.gateway_signing_key, link_keys=home.gateway_link_keys)
        await self._pair(identity, eve.root_public_keys, papers)

    async def _sessions_of_former_owners(self) -> None:
        values = self._world.lock.flash.values
        for owner in self.former:
            session_ctr = max(values.session_ctr, values.former_session_ctr) + 1
            bond = Bond(target=self._target(), keys=owner.link_keys, session_ctr=session_ctr)
            with suppress(*FAULTS):
                # In its slot the owner before may read the log of its own time; it is obeyed in nothing.
                async with commissioning.session_with(self._tools(), bond) as (client, status, _):
                    assert not values.gateway_id, "the key of an owner before still opens a session"
                    command = LockCommand(
                        command_seq=2**40,
                        action=Action.UNLOCK,
                        command_hash=bytes(16),
                        command_id=self._world.entropy.token(16),
                        actor_kid=bytes(8),
                        before_up_ms=status.up_ms + 10_000,
                    )
                    for kind, message in (
                        (CommandAccepted, (command,)),
                        (OwnerResult, (OwnerOrder(order=owner.papers.pairing_orders[0]), OwnerCommit())),
                    ):
                        with suppress(RequestRefused, LinkLost):
                            await client.ask(kind, *message)

    async def _pairings_with_former_orders(self) -> None:
        for owner in self.former:
            identity = Identity(signing_key=owner.home.gateway_signing_key, link_keys=owner.link_keys)
            await self._pair(identity, self._world.office.root_public_keys, owner.papers)

    async def _pair(self, identity: Identity, roots: tuple[bytes, ...], papers: Papers) -> None:
        """Run the installer's command from a unit of one's own, somebody inside having pressed the button."""
        world = self._world
        world.lock.press_install_button()
        store = Store.create(world.store_folder / "intruder.sqlite", log_id=bytes(16), executor=InlineExecutor())
        site = Site(
            store=store,
            radio=world.stranger_radio(),
            identity=identity,
            roots=roots,
            clock=world.clock,
            entropy=world.entropy,
            progress=lambda _line: None,
        )
        try:
            refusal = None
            try:
                await pair_lock(site, papers, world.lock.keys.label, address=ADDRESS)
            except FAULTS as error:
                refusal = error
            assert refusal is not None, "a lock that was paired by somebody who may not"
        finally:
            await store.close()
            for path in world.store_folder.glob("intruder.sqlite*"):
                path.unlink()

    def _target(self) -> LockTarget:
        keys = self._world.lock.keys
        return LockTarget(
            lock_id=keys.lock_id,
            lock_key=keys.link.public,
            log_key=bytes(keys.log_key.verify_key),
            address=ADDRESS,
        )

    def _tools(self) -> Tools:
        world = self._world
        return Tools(
            radio=world.stranger_radio(),
            clock=world.clock,
            entropy=world.entropy,
            time=TimeInterval(lo_ms=world.utc_s() * 1_000),
            progress=lambda _line: None,
        )

    def _make_impostor(self) -> SimulatedLock:
        keys = self._eve.lock_keys(self._eve.home("impostor"))
        keys = replace(keys, owner_epoch=1, gateway_key=self._home.gateway_link_keys.public, gateway_id=b"eve-eve-")
        mechanics = Mechanics(LoopScheduler(), motor_ms=800)
        return SimulatedLock(keys, Flash(MemoryMedium()), mechanics, LoopScheduler(), self._world.entropy)


def former_carer(world: LifeWorld) -> Holder:
    """Return a responder of the home as it is now, with a grant for a month."""
    now_s = world.utc_s()
    return world.carer("former", offline_class=OfflineClass.RESPONDER, exp_s=now_s + 28 * 86_400)
