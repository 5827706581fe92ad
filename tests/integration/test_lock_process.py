"""The lock as a process on the virtual radio: real ATT, a real file, and SIGKILL for a power cut."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.constants import SERVICE_UUID
from firmware_protocol.fragments import Fragmenter, FragmentKind, Reassembler
from firmware_protocol.hello import TO_PHONE_PLAIN, PhoneHello, PlainClose, decode_plain
from firmware_protocol.lock_log import LogPosition, verify_batch
from firmware_protocol.messages import (
    CommandAccepted,
    CommandQuery,
    CommandResult,
    LogBatch,
    LogRead,
    Message,
    RelayData,
    RelayOpen,
    State,
    StateGet,
)
from firmware_protocol.noise import KeyPair
from firmware_protocol.session import GatewaySession, LinkAuthenticated, RecordReceived
from firmware_protocol.vocabulary import Bolt
from gatewayd.link.bleak_radio import BleakRadio
from simulator.lock_keys import LockKeys
from simulator.phone_radio import PhoneRadio
from simulator.seams import SystemEntropy
from tests.support.lock_bench import command_id, lock_command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from gatewayd.link.radio import LockLink

BACKEND: Final = "simulator.bleak_backend:backend"
RADIO_MS: Final = 5_000
ANSWER_S: Final = 5.0
MOTOR_MS: Final = 1_000
GATEWAY_KEYS: Final = KeyPair.from_private(bytes(range(32)))
M = TypeVar("M", bound=Message)


@dataclass(kw_only=True)
class Child:
    """A process of the simulated world, and the line that it said when it was ready."""

    process: subprocess.Popen[bytes]
    ready: dict[str, Any]

    @classmethod
    def start(cls, *arguments: str) -> Self:
        """Start `python -m simulator …` and wait until it is ready."""
        process = subprocess.Popen([sys.executable, "-m", "simulator", *arguments], stdout=subprocess.PIPE)
        assert process.stdout is not None
        return cls(process=process, ready=json.loads(process.stdout.readline()))

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        self.process.kill()
        self.reap()

    def reap(self) -> int:
        """Wait for its end and return its exit code."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(10)


class World:
    """An air, and one lock that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._air = Child.start("air", "--controllers", "3")
        self._session_ctr = 0
        self.keys = LockKeys.generate(
            SystemEntropy(), name="test", gateway_key=GATEWAY_KEYS.public, gateway_id=b"gateway1"
        )
        self.keys.save(folder / "home.json")
        self.lock = self.start_lock()

    def hci(self, radio: int) -> str:
        return f"tcp-client:127.0.0.1:{self._air.ready['ports'][radio]}"

    def start_lock(self) -> Child:
        files = [f"--{name}={self._folder / file}" for name, file in [("home", "home.json"), ("flash", "flash")]]
        control = f"--control={self._folder / 'control'}"
        self.lock = Child.start("lock", f"--transport={self.hci(0)}", *files, control, f"--motor-ms={MOTOR_MS}")
        return self.lock

    async def ask(self, **request: str) -> dict[str, Any]:
        """Ask the lock's control socket."""
        reader, writer = await asyncio.open_unix_connection(self._folder / "control")
        writer.write(json.dumps(request).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await reader.readline())
        writer.close()
        return answer

    async def connect(self, radio: BleakRadio) -> Gateway:
        """Connect and make the session live."""
        self._session_ctr += 1
        link = await radio.connect(await radio.find(SERVICE_UUID, None, timeout_ms=RADIO_MS), timeout_ms=RADIO_MS)
        gateway = Gateway(link, self.keys.link.public, self._session_ctr)
        await gateway.confirm()
        return gateway

    def close(self) -> None:
        if self.lock.process.poll() is None:
            self.lock.kill()
        self._air.kill()


class Gateway:
    """A session of the gateway's over a real link."""

    def __init__(self, link: LockLink, lock_key: bytes, session_ctr: int) -> None:
        self._link = link
        self._records: list[RecordReceived] = []
        self._session = GatewaySession(
            keys=GATEWAY_KEYS,
            lock_key=lock_key,
            ephemeral=KeyPair.from_private(SystemEntropy().token(32)),
            nonce=SystemEntropy().token(8),
            session_ctr=session_ctr,
            version_floor=1,
            value_size_max=link.value_size_max,
            now_ms=0,
        )

    async def confirm(self) -> None:
        async with asyncio.timeout(ANSWER_S):
            await self._flush()
            while not any(isinstance(event, LinkAuthenticated) for event in await self._next_events()):
                pass
            self._session.confirm(utc_lo_s=None, utc_hi_s=None)
            await self._flush()

    async def ask(self, message: Message, kind: type[M]) -> M:
        """Send a request and return the first record of `kind` that comes."""
        self._session.send(message, corr=1)
        await self._flush()
        return await self.next(kind)

    async def next(self, kind: type[M]) -> M:
        """Return the next record of `kind`, dropping others that come before."""
        async with asyncio.timeout(ANSWER_S):
            while True:
                while self._records:
                    message = self._records.pop(0).message
                    if type(message) is kind:
                        return message
                await self._next_events()

    async def send(self, message: Message) -> None:
        self._session.send(message)
        await self._flush()

    async def close(self) -> None:
        await self._link.close()

    async def _next_events(self) -> list[object]:
        events = list(self._session.receive_value(await self._link.next_value(), 0))
        self._records += [event for event in events if isinstance(event, RecordReceived)]
        await self._flush()
        return list(events)

    async def _flush(self) -> None:
        for value in self._session.take_values():
            await self._link.write_value(value)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
async def radio(world: World) -> AsyncIterator[BleakRadio]:
    radio = BleakRadio.from_settings(BACKEND, {"hci": world.hci(1)}, None)
    yield radio
    await radio.close()


async def test_a_lock_killed_in_mid_stroke_tells_the_truth_and_never_moves_again(
    world: World, radio: BleakRadio
) -> None:
    gateway = await world.connect(radio)
    state = await gateway.ask(StateGet(), State)
    assert state.bolt is Bolt.LOCKED
    await gateway.ask(lock_command(1, before_up_ms=state.up_ms + 5_000), CommandAccepted)
    world.lock.kill()
    await gateway.close()

    world.start_lock()
    gateway = await world.connect(radio)
    result = await gateway.ask(CommandQuery(command_seq=1), CommandResult)
    assert (result.code, result.bolt) == (Code.MAY_HAVE_EXECUTED, Bolt.UNKNOWN)
    truth = await world.ask(get="truth")
    assert (truth["boot"], truth["connected"], truth["command_code"]) == (2, True, "outcome.may_have_executed")
    assert [movement["command_id"] for movement in truth["movements"]] == [command_id(1).hex()]

    batch = await gateway.ask(LogRead(from_seq=1, count_max=16), LogBatch)
    _, position = verify_batch(
        LogPosition.start(batch.log_id), from_seq=1, previous=batch.previous, records=batch.records
    )
    assert position.head.hex() == truth["log"]["head"]


async def test_hands_and_commands_move_the_same_bolt(world: World, radio: BleakRadio) -> None:
    assert (await world.ask(do="door_open")) == {"done": False}
    gateway = await world.connect(radio)
    state = await gateway.ask(StateGet(), State)
    await gateway.ask(lock_command(1, before_up_ms=state.up_ms + 5_000), CommandAccepted)
    assert (await gateway.next(CommandResult)).code is Code.DONE
    assert (await world.ask(do="door_open")) == {"done": True}
    truth = await world.ask(get="truth")
    assert (truth["bolt"], truth["door"], len(truth["movements"])) == ("unlocked", "open", 1)


async def test_a_phone_reaches_the_gateway_through_the_lock(world: World, radio: BleakRadio) -> None:
    gateway = await world.connect(radio)
    async with PhoneRadio(hci=world.hci(2)) as phone_radio:
        address = await phone_radio.find(timeout_ms=RADIO_MS)
        async with await phone_radio.connect(address, timeout_ms=RADIO_MS) as phone:
            reassembler, fragmenter = Reassembler(), Fragmenter(phone.value_size_max)
            hello = reassembler.receive_value(await phone.next_value(), 0)
            assert hello is not None
            said = decode_plain(hello.data, TO_PHONE_PLAIN)
            opened = await gateway.next(RelayOpen)
            assert isinstance(said, PhoneHello)
            assert said.challenge == opened.challenge
            for value in fragmenter.fragment(FragmentKind.HANDSHAKE, bytes(1_900)):
                await phone.write_value(value)
            carried = await gateway.next(RelayData)
            assert carried == RelayData(channel=opened.channel, data=bytes(1_900))
            await gateway.send(RelayData(channel=opened.channel, data=b"answer" * 100))
            answer = None
            while answer is None:
                answer = reassembler.receive_value(await phone.next_value(), 0)
            assert (answer.kind, answer.data) == (FragmentKind.HANDSHAKE, b"answer" * 100)


async def test_a_phone_at_a_lock_without_a_gateway_is_told_so_and_seen_in_the_advertisement(
    world: World, radio: BleakRadio
) -> None:
    async with PhoneRadio(hci=world.hci(2)) as phone_radio:
        address = await phone_radio.find(timeout_ms=RADIO_MS)
        async with await phone_radio.connect(address, timeout_ms=RADIO_MS) as phone:
            message = Reassembler().receive_value(await phone.next_value(), 0)
            assert message is not None
            assert decode_plain(message.data, TO_PHONE_PLAIN) == PlainClose(code=Code.LINK_DOWN)
            async with asyncio.timeout(ANSWER_S):
                while not (await radio.find(SERVICE_UUID, None, timeout_ms=RADIO_MS)).phone_waiting:
                    pass


async def test_a_lock_that_is_asked_to_stop_exits_cleanly(world: World) -> None:
    world.lock.process.terminate()
    assert await asyncio.to_thread(world.lock.reap) == 0
