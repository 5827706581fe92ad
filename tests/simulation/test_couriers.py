"""A home without internet: phones carry rights and time in, and the journal out."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest
from nacl.public import PrivateKey

from firmware_protocol.codes import Code
from firmware_protocol.courier import CourierDesk, pieces
from firmware_protocol.errands import Courier, CourierAck
from firmware_protocol.fragments import Fragmenter, FragmentKind, Reassembler
from firmware_protocol.hello import TO_PHONE_PLAIN, PhoneHello, decode_plain
from firmware_protocol.noise import KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer, RelayPhone
from firmware_protocol.sealed import SealedBody, seal
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import CommandReceipt
from firmware_protocol.vocabulary import Parcel, Tier
from simulator.central_log import Now
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.office import Holder


class CourierPhone:
    """A carer's phone that stays at the door for as long as it has something to carry."""

    def __init__(self, world: MemoryWorld) -> None:
        self._world = world
        self._link = world.radio.connect_phone()
        self._fragmenter = Fragmenter(self._link.value_size_max)
        self._reassembler = Reassembler()
        self._relay: RelayPhone | None = None

    async def ask(self, holder: Holder) -> Code:
        """Ask for the door; return the decision."""
        hello = decode_plain((await self._message())[1], TO_PHONE_PLAIN)
        assert isinstance(hello, PhoneHello)
        self._relay = RelayPhone(
            decider_key=self._world.home.gateway_link_keys.public,
            challenge=hello.challenge,
            ephemeral=KeyPair.from_private(self._world.entropy.token(32)),
        )
        message = self._relay.open(self._world.unlock_bundle(holder, hello.challenge))
        await self._write(FragmentKind.HANDSHAKE, message)
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

    async def leave(self) -> None:
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


async def offline_home(world: MemoryWorld) -> None:
    """Start a gateway that no central log hears and that has no trusted time."""
    world.disconnect_central()
    await world.provision()
    house = await world.start_gateway()
    await house.links[world.home.lock_id].wait_ready()
    assert house.statements.tier() is Tier.COLD


@pytest.mark.parametrize("key", [None, PrivateKey(bytes(range(32)))], ids=["open", "sealed"])
def test_a_phone_ends_the_cold_and_its_carer_gets_in(tmp_path: Path, key: PrivateKey | None) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 1, unsealing_key=key)
        await offline_home(world)
        assert world.house is not None
        phone = CourierPhone(world)
        assert await phone.ask(world.carer()) is Code.TIER
        # With coverage at the door the phone sends the journal on, and brings what the centre answers.
        (note,) = await phone.fetch(Parcel.CHECKPOINT)
        entries = await phone.fetch(Parcel.ENTRY)
        assert any(b"carelock.command.decided" in leaf for leaf in entries) is (key is None)
        for leaf in entries:
            world.central.take_entry(world.home.gateway_id, leaf, now(world))
        receipt = world.central.take_checkpoint(world.home.gateway_id, note, now(world))
        assert receipt is not None
        assert await phone.bring(Parcel.RECEIPT, receipt) is Code.DONE
        state = world.office.state(world.home, now_s=world.utc_s(), seq=5)
        if key is not None:  # then not even the phone that carries it can tell who is revoked
            ephemeral = KeyPair.from_private(world.entropy.token(32))
            state = seal(SealedBody(payload=state), to=world.home.gateway_link_keys.public, ephemeral=ephemeral)
        assert await phone.bring(Parcel.STATE, state) is Code.DONE
        await phone.leave()
        assert world.house.statements.tier() is Tier.FRESH
        assert (await world.visit(world.carer())).final is Code.DONE
        await world.kill_gateway()

    run_virtual(story())


@pytest.mark.parametrize("kind", [Parcel.STATE, Parcel.KEYSET, Parcel.RECEIPT, Parcel.ENTRY])
def test_attack_a_phone_brings_what_nobody_signed(tmp_path: Path, kind: Parcel) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 2)
        await offline_home(world)
        assert world.house is not None
        phone = CourierPhone(world)
        await phone.ask(world.carer())
        assert await phone.bring(kind, b"forged") is not Code.DONE
        assert await phone.bring(kind, b"\xa1\x00\x40") is not Code.DONE  # no more is a seal that does not open
        assert world.house.statements.tier() is Tier.COLD
        await world.kill_gateway()

    run_virtual(story())


def now(world: MemoryWorld) -> Now:
    return Now(utc_s=world.utc_s(), monotonic_ms=int(asyncio.get_running_loop().time() * 1_000))
