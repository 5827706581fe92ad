"""A carer's phone that stays at the door for as long as it has something to carry (docs/protocol.md §20)."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from firmware_protocol.codes import Code
from firmware_protocol.courier import CourierDesk, pieces
from firmware_protocol.errands import Courier, CourierAck
from firmware_protocol.fragments import Fragmenter, FragmentKind, Reassembler
from firmware_protocol.hello import TO_PHONE_PLAIN, PhoneHello, decode_plain
from firmware_protocol.noise import KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer, RelayPhone
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import CommandReceipt
from firmware_protocol.vocabulary import Parcel

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.office import Holder
    from simulator.phone import LockLink as PhoneLink
    from tests.support.memory_world import MemoryWorld


class CourierPhone:
    """One such phone, connected."""

    def __init__(self, world: MemoryWorld, link: PhoneLink) -> None:
        self._world = world
        self._link = link
        self._fragmenter = Fragmenter(self._link.value_size_max)
        self._reassembler = Reassembler()
        self._relay: RelayPhone | None = None

    @classmethod
    async def come(cls, world: MemoryWorld) -> CourierPhone:
        """Connect to the lock."""
        return cls(world, await world.connect_phone())

    async def ask(self, holder: Holder) -> Code:
        """Ask for the door; return the decision."""
        return await self._ask(lambda challenge: self._world.unlock_bundle(holder, challenge))

    async def replay(self, bundle: bytes) -> Code:
        """Send what somebody else signed at some other time; return the decision."""
        return await self._ask(lambda _: bundle)

    async def _ask(self, make_bundle: Callable[[bytes], bytes]) -> Code:
        hello = decode_plain((await self._message())[1], TO_PHONE_PLAIN)
        assert isinstance(hello, PhoneHello)
        self._relay = RelayPhone(
            decider_key=self._world.identity.link_keys.public,
            challenge=hello.challenge,
            ephemeral=KeyPair.from_private(self._world.entropy.token(32)),
        )
        await self._write(FragmentKind.HANDSHAKE, self._relay.open(make_bundle(hello.challenge)))
        answer = await self._answer(AnswerKind.RECEIPT)
        return open_signed(CommandReceipt, answer.body, bytes(self._world.home.gateway_signing_key.verify_key)).code

    async def bring(self, kind: Parcel, data: bytes) -> Code:
        """Hand an object over."""
        for piece in pieces(kind, data):
            await self._send(piece)
        ack = CourierAck.from_bytes((await self._answer(AnswerKind.COURIER_ACK)).body)
        assert ack.sha256 == hashlib.sha256(data).digest()
        return ack.code

    async def fetch(self, kind: Parcel, from_index: int = 0) -> list[bytes]:
        """Take away what there is."""
        await self._send(Courier(kind=kind, offset=from_index))
        desk = CourierDesk(size_max=10**6)
        found: list[bytes] = []
        while True:
            answer = await self._next()
            if answer.kind is AnswerKind.COURIER_ACK:
                assert CourierAck.from_bytes(answer.body).code is Code.DONE
                return found
            if answer.kind is AnswerKind.COURIER:
                delivery = desk.take(Courier.from_bytes(answer.body))
                found += [] if delivery is None else [delivery.data]

    async def carry_journal(self) -> Code:
        """Send the journal on to the central log, over the phone's own network, and bring back the receipt."""
        world = self._world
        (note,) = await self.fetch(Parcel.CHECKPOINT)
        for leaf in await self.fetch(Parcel.ENTRY):
            world.central.take_entry(world.home.gateway_id, leaf, world.central_now())
        receipt = world.central.take_checkpoint(world.home.gateway_id, note, world.central_now())
        assert receipt is not None
        return await self.bring(Parcel.RECEIPT, receipt)

    async def leave(self) -> None:
        """Hang up."""
        await self._link.close()

    async def _send(self, piece: Courier) -> None:
        assert self._relay is not None
        await self._write(FragmentKind.RECORD, self._relay.courier(piece))

    async def _write(self, kind: FragmentKind, data: bytes) -> None:
        for value in self._fragmenter.fragment(kind, data):
            await self._link.write_value(value)

    async def _answer(self, kind: AnswerKind) -> RelayAnswer:
        while True:
            answer = await self._next()
            if answer.kind is kind:
                return answer

    async def _next(self) -> RelayAnswer:
        assert self._relay is not None
        while True:
            kind, data = await self._message()

            if kind is not FragmentKind.PLAIN:
                return self._relay.read(data)

    async def _message(self) -> tuple[FragmentKind, bytes]:
        async with asyncio.timeout(30):
            while True:
                message = self._reassembler.receive_value(await self._link.next_value(), 0)
                if message is not None:
                    return message.kind, message.data
