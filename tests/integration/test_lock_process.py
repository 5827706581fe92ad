"""The lock as a process on the virtual radio: real ATT, a real file, and SIGKILL for a power cut."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tty
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.constants import SERVICE_UUID
from firmware_protocol.errors import RemoteProtocolError
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
from gatewayd.link.radio import RadioCode, RadioError
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
HELD_MS: Final = 1_000
"""Long enough to hear a lock many times: it advertises each 60 ms."""
ANSWER_S: Final = 5.0
MOTOR_MS: Final = 1_000
GATEWAY_KEYS: Final = KeyPair.from_private(bytes(range(32)))
OPEN_CONTROLLER: Final = bytes.fromhex("ff00")
"""What Linux' virtual HCI driver wants first: a vendor packet, and an adapter of the ordinary kind."""
HCI_RESET: Final = bytes.fromhex("01030c00")
RESET_COMPLETE: Final = bytes.fromhex("040e0401030c00")
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

    def start_lock(self, *options: str) -> Child:
        files = [f"--{name}={self._folder / file}" for name, file in [("home", "home.json"), ("flash", "flash")]]
        control = f"--control={self._folder / 'control'}"
        self.lock = Child.start(
            "lock", f"--transport={self.hci(0)}", *files, control, f"--motor-ms={MOTOR_MS}", *options
        )
        return self.lock

    def restart_lock(self, *options: str) -> None:
        """Have the same lock with other `options`."""
        self.lock.kill()
        self.start_lock(*options)

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


@pytest.mark.parametrize(
    ("option", "code", "bolt"),
    [
        ("--jam", Code.MOTOR_BLOCKED, Bolt.JAMMED),
        ("--battery-mv=4000", Code.LOW_VOLTAGE, Bolt.LOCKED),
        ("--slip", Code.DONE, Bolt.LOCKED),
    ],
)
async def test_a_lock_with_bad_mechanics_reports_what_happened_to_the_bolt(
    world: World, radio: BleakRadio, option: str, code: Code, bolt: Bolt
) -> None:
    world.restart_lock(option)
    gateway = await world.connect(radio)
    state = await gateway.ask(StateGet(), State)
    await gateway.ask(lock_command(1, before_up_ms=state.up_ms + 5_000), CommandAccepted)
    result = await gateway.next(CommandResult)
    assert (result.code, result.bolt) == (code, bolt)


async def test_a_lock_that_forgot_its_keys_makes_no_session(world: World, radio: BleakRadio) -> None:
    world.restart_lock("--forget-keys")
    with pytest.raises((RadioError, RemoteProtocolError, TimeoutError)):
        await world.connect(radio)
    assert (await world.ask(get="truth"))["connected"] is False


async def test_a_lock_that_a_phone_holds_is_not_heard_until_it_is_let_go(world: World, radio: BleakRadio) -> None:
    world.restart_lock("--held")
    with pytest.raises(RadioError) as held:
        await radio.find(SERVICE_UUID, None, timeout_ms=HELD_MS)
    assert held.value.code == RadioCode.NOT_FOUND
    await world.ask(do="release")
    gateway = await world.connect(radio)
    await world.ask(do="hold")
    with pytest.raises(RadioError) as lost:
        await gateway.ask(StateGet(), State)
    assert lost.value.code == RadioCode.DISCONNECTED


async def test_a_lock_that_drops_the_link_on_a_command_has_obeyed_it_once(world: World, radio: BleakRadio) -> None:
    world.restart_lock("--att-mtu=247", "--drop-after=5")  # the handshake in three values, StateGet, and the command
    gateway = await world.connect(radio)
    state = await gateway.ask(StateGet(), State)
    with pytest.raises(RadioError):
        await gateway.ask(lock_command(1, before_up_ms=state.up_ms + 5_000), CommandAccepted)
    await gateway.close()
    world.restart_lock()
    gateway = await world.connect(radio)
    result = await gateway.ask(CommandQuery(command_seq=1), CommandResult)
    assert result.code in {Code.DONE, Code.MAY_HAVE_EXECUTED}
    assert len((await world.ask(get="truth"))["movements"]) == 1


async def test_a_capture_of_a_whole_session_decodes_without_a_malformed_packet(
    world: World, radio: BleakRadio, tmp_path: Path
) -> None:
    capture = tmp_path / "session.btsnoop"
    world.restart_lock(f"--capture={capture}")
    gateway = await world.connect(radio)
    for number in range(1, 4):
        state = await gateway.ask(StateGet(), State)
        await gateway.ask(lock_command(number, before_up_ms=state.up_ms + 5_000), CommandAccepted)
        assert (await gateway.next(CommandResult)).code is Code.DONE
    batch = await gateway.ask(LogRead(from_seq=1, count_max=16), LogBatch)
    assert batch.records
    await gateway.close()
    world.lock.kill()  # what was captured is on disk at once: a lock without power ends no file
    assert capture.read_bytes().startswith(b"btsnoop\0")
    assert await decoded(capture, "_ws.malformed or _ws.expert.severity == error") == []
    written, notified = await decoded(capture, "btatt.opcode == 0x52"), await decoded(capture, "btatt.opcode == 0x1b")
    assert len(written) > 8
    assert len(notified) > 8


async def decoded(capture: Path, display_filter: str) -> list[str]:
    """Return what Wireshark finds in `capture`, a line a packet."""
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is missing")
    process = await asyncio.create_subprocess_exec(
        *(tshark, "-r", str(capture), "-Y", display_filter),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode().splitlines()


async def test_a_lock_with_an_adapter_of_the_kernels_answers_the_kernel(world: World, tmp_path: Path) -> None:
    """A pseudo-terminal stands for /dev/vhci: it is opened, told which kind of controller, and a reset is answered."""
    kernel, device = os.openpty()
    tty.setraw(device)
    files = [f"--{name}={tmp_path / file}" for name, file in [("home", "home.json"), ("flash", "f"), ("control", "c")]]
    lock = await asyncio.to_thread(Child.start, "lock", f"--transport=vhci:{os.ttyname(device)}", *files)
    try:
        assert lock.ready["ready"]
        assert await asyncio.to_thread(os.read, kernel, 2) == OPEN_CONTROLLER
        os.write(kernel, HCI_RESET)
        assert await asyncio.to_thread(os.read, kernel, len(RESET_COMPLETE)) == RESET_COMPLETE
    finally:
        lock.process.terminate()
        assert await asyncio.to_thread(lock.reap) == 0
        os.close(kernel)
        os.close(device)
