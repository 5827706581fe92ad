"""Unlocks by the two ways that lead to a door: the alarm centre over MQTT, and a carer's phone through the lock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Phase
from simulator.demo_online import emergency_bundle
from simulator.demo_stage import command_in
from simulator.mqtt_client import MqttError
from simulator.phone_radio import PhoneRadioError

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.alarm_centre import AlarmCentre, Reply
    from simulator.phone import Visit
    from tests.support.real_home import RealHome

PATIENCE_MS: Final = 1_200
"""How long the alarm centre waits: less than the time after which it would send the same bytes again."""
GLANCE_MS: Final = 300
"""How long it waits when it asks how a command has ended."""


@dataclass(slots=True, kw_only=True)
class Errand:
    """One command that was sent, and what its sender was told."""

    bundle: bytes
    told: list[bytes] = field(default_factory=list)
    """Different receipts, in the order in which they came, over all attempts."""
    final: Code | None = None
    """The code of the last one."""

    @property
    def is_over(self) -> bool:
        """Whether it is known how the command has ended."""
        return self.final not in {None, Code.PERMITTED}

    @property
    def command_id(self) -> bytes:
        """16 bytes."""
        return command_in(self.bundle).command_id

    def take(self, answers: Reply | Visit) -> None:
        """Take what an attempt has brought: after a decision comes its outcome, and after the end only the same again.

        Durable before visible: whoever has been told of a decision is never told of another one.
        """
        assert answers.unverified_count == 0
        for raw, receipt in zip(answers.raw_receipts, answers.receipts, strict=True):
            if raw in self.told:
                continue
            assert not self.told or (self.final is Code.PERMITTED and receipt.phase is Phase.OUTCOME), receipt
            self.told.append(raw)
            self.final = receipt.code


class Sender(Protocol):
    """Somebody who unlocks."""

    async def prepare(self) -> None:
        """Do all that comes before the command, so that nothing but the command is on its way when it is."""

    async def unlock(self) -> Errand | None:
        """Send one new command and wait for its end; None where it did not get as far as being sent."""

    async def ask_again(self, errand: Errand) -> None:
        """Send the same bytes once more."""


class Operator:
    """At the alarm centre; raises an alarm for each command."""

    def __init__(self, home: RealHome, centre: AlarmCentre) -> None:
        self._home = home
        self._centre = centre
        self._bundle: bytes | None = None

    async def prepare(self) -> None:
        """See `Sender.prepare`."""
        self._bundle = await emergency_bundle(self._home.people, self._centre)
        # Messages are taken one after the other: with this answer the alarm is on disk.
        await self._centre.ask_info()

    async def unlock(self) -> Errand | None:
        """See `Sender.unlock`."""
        bundle, self._bundle = self._bundle, None
        if bundle is None:
            return None
        errand = Errand(bundle=bundle)
        errand.take(await self._centre.command(bundle, patience_ms=PATIENCE_MS))
        return errand

    async def ask_again(self, errand: Errand) -> None:
        """See `Sender.ask_again`."""
        errand.take(await self._centre.command(errand.bundle, patience_ms=GLANCE_MS))


class Carer:
    """Anna, at the door."""

    def __init__(self, home: RealHome) -> None:
        self._home = home

    async def prepare(self) -> None:
        """See `Sender.prepare`; there is nothing to do before the lock gives its challenge."""

    async def unlock(self) -> Errand | None:
        """See `Sender.unlock`."""
        make = self._home.people.unlock(self._home.people.anna)
        errands: list[Errand] = []

        def keep(challenge: bytes) -> bytes:
            errands.append(Errand(bundle=make(challenge)))
            return errands[-1].bundle

        visit = await self._visit(keep)
        for errand in errands:
            if visit is not None:
                errand.take(visit)
        return errands[-1] if errands else None

    async def ask_again(self, errand: Errand) -> None:
        """See `Sender.ask_again`."""
        visit = await self._visit(lambda _challenge: errand.bundle)
        if visit is not None:
            errand.take(visit)

    async def _visit(self, make_bundle: Callable[[bytes], bytes]) -> Visit | None:
        try:
            return await self._home.phones.visit(make_bundle)
        except PhoneRadioError:
            return None


async def settle(home: RealHome, sender: Sender, errand: Errand) -> None:
    """Ask until the record says how the command has ended."""

    async def ask() -> bool:
        if not await home.is_connected():
            return False
        try:
            await sender.ask_again(errand)
        except MqttError:
            return False
        return errand.is_over

    await home.wait(ask, f"the end of {errand.command_id.hex()}")
