"""What all scenes share: the people with their keys, their phones, the book of what was sent, and the promises."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from firmware_protocol import cose
from firmware_protocol.chains import make_bundle, parse_bundle, verify_keyset
from firmware_protocol.commands import Command
from firmware_protocol.constants import GRANT_LIFE_S_MAX
from firmware_protocol.noise import DH_SIZE, KeyPair
from firmware_protocol.vocabulary import COMMAND_ID_SIZE, Action
from simulator.demo_promises import Promise
from simulator.office import Office, unlock_at_door
from simulator.phone import Phone, verify_door
from simulator.phone_radio import PhoneRadio, PhoneRadioError
from simulator.seams import SystemEntropy

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.codes import Code
    from firmware_protocol.orders import Door
    from simulator.alarm_centre import Reply
    from simulator.demo_promises import Ledger
    from simulator.demo_report import Summary, Teller
    from simulator.demo_world import World
    from simulator.office import Holder, Home
    from simulator.phone import Visit
    from simulator.phone_radio import PhoneLink

PROVIDER: Final = "north-care"
CONNECT_MS_MAX: Final = 5_000
CONNECT_TRY_COUNT: Final = 3
HOUR_S: Final = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A command that was sent and must be in the log, once, with this decision."""

    label: str
    command_id: bytes
    decision: Code
    bundle: bytes


@dataclass(slots=True)
class Book:
    """Every signed command of the story, in the order in which the gateway had to decide them."""

    sent: list[Sent] = field(default_factory=list)

    def note(self, label: str, bundle: bytes, decision: Code) -> Sent:
        """Note that `bundle` was sent, and what must have been decided about it."""
        sent = Sent(label=label, command_id=command_in(bundle).command_id, decision=decision, bundle=bundle)
        self.sent.append(sent)
        return sent


class People:
    """Who takes part, each with keys and grants; everything is issued at `now_s`, UTC."""

    def __init__(self, office: Office, home: Home, *, now_s: int) -> None:
        self.office = office
        self.home = home
        self.now_s = now_s
        self.other_home = office.home("Elm Street 7")
        self.entropy = SystemEntropy()
        self.anna = self._carer("anna")
        self.berit = self._carer("berit")
        self.operator = office.operator("operator-17", now_s=now_s)
        self.stranger = Office(b"stranger").carer(home, PROVIDER, "mallory", now_s=now_s)

    def with_expired_grant(self) -> Holder:
        """Anna with yesterday's grant; its window is open, so that nothing but its end stands in the way."""
        start_s = self.now_s - GRANT_LIFE_S_MAX
        window = (start_s, self.now_s + 8 * HOUR_S)
        return self._carer("anna", nbf_s=start_s, exp_s=start_s + 8 * HOUR_S, windows=(window,))

    def with_later_window(self) -> Holder:
        """Anna with a grant of today whose visit begins in two hours."""
        window = (self.now_s + 2 * HOUR_S, self.now_s + 3 * HOUR_S)
        return self._carer("anna", exp_s=self.now_s + 8 * HOUR_S, windows=(window,))

    def with_grant_elsewhere(self) -> Holder:
        """Anna with a grant for another home's lock."""
        grant = self.office.grant(self.other_home, PROVIDER, "anna", now_s=self.now_s)
        return self.office.carer(self.home, PROVIDER, "anna", now_s=self.now_s, grant=grant)

    def unlock(self, holder: Holder) -> Callable[[bytes], bytes]:
        """Return what makes this person's bundle over a challenge."""
        command_id = self.entropy.token(COMMAND_ID_SIZE)
        return lambda challenge: unlock_at_door(
            holder, self.home, challenge=challenge, command_id=command_id, now_s=self.now_s
        )

    def unlock_elsewhere(self, holder: Holder) -> Callable[[bytes], bytes]:
        """Return what makes a bundle that names another lock of this gateway."""

        def make(challenge: bytes) -> bytes:
            command = Command(
                lock_id=self.other_home.lock_id,
                gateway_id=self.home.gateway_id,
                action=Action.UNLOCK,
                command_id=self.entropy.token(COMMAND_ID_SIZE),
                challenge=challenge,
                grant_sha256=holder.grant_sha256,
                signer_clock_s=self.now_s,
            )
            return holder.bundle(holder.sign(command))

        return make

    def flipped(self, holder: Holder) -> Callable[[bytes], bytes]:
        """Return what makes a good bundle with one bit of the command's signature flipped."""

        def make(challenge: bytes) -> bytes:
            command, *chain = parse_bundle(self.unlock(holder)(challenge))
            return make_bundle(command[:-1] + bytes((command[-1] ^ 1,)), *chain)

        return make

    def _carer(self, person: str, **grant: Any) -> Holder:  # noqa: ANN401 - what `Office.grant` takes
        signed = self.office.grant(self.home, PROVIDER, person, now_s=self.now_s, **grant)
        return self.office.carer(self.home, PROVIDER, person, now_s=self.now_s, grant=signed)


class Phones:
    """Two work phones on the virtual radio. `async with Phones(…)`."""

    def __init__(self, world: World, door: Door) -> None:
        entropy = SystemEntropy()
        self._world = world
        self._radios = tuple(PhoneRadio(hci=hci) for hci in world.phone_radios)
        self._phone = Phone(
            door=door,
            new_ephemeral=lambda: KeyPair.from_private(entropy.token(DH_SIZE)),
            link_faults=(PhoneRadioError,),
        )

    async def __aenter__(self) -> Self:
        """Return this."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of the radios."""
        for radio in self._radios:
            await radio.__aexit__(None, None, None)

    async def visit(self, make_bundle: Callable[[bytes], bytes]) -> Visit:
        """Go to the door with the first phone.

        Raises:
            PhoneRadioError: there is no link to the lock.
        """
        return await self._phone.visit(await self._connect(0), make_bundle)

    async def visit_together(
        self, first: Callable[[bytes], bytes], second: Callable[[bytes], bytes]
    ) -> tuple[Visit, Visit]:
        """Go to the door with both phones, connected before either speaks.

        Raises:
            PhoneRadioError: there is no link to the lock.
        """
        links = [await self._connect(0), await self._connect(1)]
        return await asyncio.gather(self._phone.visit(links[0], first), self._phone.visit(links[1], second))

    async def _connect(self, number: int) -> PhoneLink:
        for _ in range(CONNECT_TRY_COUNT - 1):
            with contextlib.suppress(PhoneRadioError):
                return await self._radios[number].connect(self._world.lock_address, timeout_ms=CONNECT_MS_MAX)
        return await self._radios[number].connect(self._world.lock_address, timeout_ms=CONNECT_MS_MAX)


@dataclass(slots=True, kw_only=True)
class Stage:
    """Handed from scene to scene."""

    world: World
    people: People
    door: Door
    phones: Phones
    teller: Teller
    ledger: Ledger
    summary: Summary
    book: Book = field(default_factory=Book)

    def check(self, promise: Promise, *, held: bool, detail: str) -> bool:
        """See `Ledger.check`."""
        return self.ledger.check(promise, held=held, detail=detail)

    async def motor_count(self, command_id: bytes | None = None) -> int:
        """Return how often the motor has moved the bolt, for one command or at all: the lock's own truth."""
        movements = (await self.world.truth())["movements"]
        wanted = None if command_id is None else command_id.hex()
        return sum(each["cause"] == "motor" and wanted in {None, each["command_id"]} for each in movements)

    async def lock_by_hand(self) -> None:
        """Have the one who lives there throw the bolt again."""
        if (await self.world.truth())["bolt"] == "unlocked":
            await self.world.hand("knob")

    def check_answers(self, label: str, answers: Visit | Reply) -> None:
        """Check that every answer was signed by the door's gateway over this very command."""
        held = answers.unverified_count == 0 and bool(answers.receipts)
        detail = f"{label}: {len(answers.receipts)} receipts, {answers.unverified_count} answers that nobody signed"
        self.check(Promise.RECEIPT_VERIFIED, held=held, detail=detail)


def door_for(office: Office, home: Home, *, now_s: int) -> Door:
    """Return the Door object as a phone has verified it."""
    keyset = verify_keyset(office.keyset(now_s=now_s), roots=office.root_public_keys)
    return verify_door(office.door(home), keyset=keyset)


def command_in(bundle: bytes) -> Command:
    """Read the command in a bundle of our own."""
    return Command.from_bytes(cose.parse(parse_bundle(bundle)[0], size_max=Command.SIZE_MAX).payload)
