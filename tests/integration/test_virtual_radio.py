"""The virtual radio end to end: an air process, the lock's GATT server, and the gateway's radio through bleak."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakError, BleakGATTProtocolError

from firmware_protocol.constants import INFO_UUID, PHONE_RX_UUID, RX_UUID, SERVICE_UUID, TX_UUID
from gatewayd.link.bleak_radio import BleakRadio
from gatewayd.link.radio import VALUE_QUEUE_COUNT_MAX, RadioCode, RadioError, RadioUnavailable
from simulator import peripheral as peripheral_module
from simulator.bleak_backend import backend
from simulator.hci import HciHost
from simulator.peripheral import Peripheral, advertising_data
from simulator.phone_radio import PhoneRadio, PhoneRadioError
from tests.support.echo_lock import INFO, EchoLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from gatewayd.link.radio import LockLink

BACKEND: Final = "simulator.bleak_backend:backend"
LOCK_ADDRESS: Final = "F0:00:00:00:00:01"
FIND_MS: Final = 3_000
CONNECT_MS: Final = 3_000
LOST_S: Final = 1.0
"""A link whose other end was killed is noticed within this, in seconds."""
RADIO_COUNT: Final = 4


@dataclass(kw_only=True)
class AirProcess:
    """`python -m simulator air`, and the transports of its radios: lock, gateway, two phones."""

    process: subprocess.Popen[bytes]
    ports: list[int]

    @classmethod
    def start(cls, ports: list[int]) -> AirProcess:
        """Start it and wait until it is ready; port 0 is any."""
        arguments = [argument for port in ports for argument in ("--port", str(port))]
        process = subprocess.Popen([sys.executable, "-m", "simulator", "air", *arguments], stdout=subprocess.PIPE)
        assert process.stdout is not None
        return cls(process=process, ports=json.loads(process.stdout.readline())["ports"])

    def hci(self, radio: int) -> str:
        """Return the transport of one radio."""
        return f"tcp-client:127.0.0.1:{self.ports[radio]}"

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def air() -> Iterator[AirProcess]:
    """One air for all tests: each finds clean controllers, because that is what a new HCI client gets."""
    air = AirProcess.start([0] * RADIO_COUNT)
    yield air
    air.kill()


@pytest.fixture
async def lock() -> EchoLock:
    """The firmware behind `peripheral`."""
    return EchoLock()


@pytest.fixture
async def peripheral(air: AirProcess, lock: EchoLock) -> AsyncIterator[Peripheral]:
    """A lock on the air."""
    async with Peripheral(hci=air.hci(0), handler=lock, address=LOCK_ADDRESS) as peripheral:
        yield peripheral


@pytest.fixture
async def radio(air: AirProcess, peripheral: Peripheral) -> AsyncIterator[BleakRadio]:
    """The gateway's radio, with a lock in reach."""
    radio = BleakRadio.from_settings(BACKEND, {"hci": air.hci(1)}, None)
    yield radio
    await radio.close()
    del peripheral


async def connect(radio: BleakRadio) -> LockLink:
    """Find the lock and connect to it."""
    return await radio.connect(await radio.find(SERVICE_UUID, None, timeout_ms=FIND_MS), timeout_ms=CONNECT_MS)


async def test_values_pass_both_ways_in_order_at_the_negotiated_mtu(radio: BleakRadio) -> None:
    link = await connect(radio)
    assert link.value_size_max == 244
    sent = [bytes([index]) * (link.value_size_max - index) for index in range(50)]
    for value in sent:
        await link.write_value(value)
    async with asyncio.timeout(LOST_S):
        assert [await link.next_value() for _ in sent] == sent
    with pytest.raises(ValueError, match="245 bytes"):
        await link.write_value(bytes(245))


async def test_the_smallest_mtu_leaves_twenty_bytes_a_value(air: AirProcess, lock: EchoLock) -> None:
    radio = BleakRadio.from_settings(BACKEND, {"hci": air.hci(1)}, None)
    async with Peripheral(hci=air.hci(0), handler=lock, att_mtu_max=23):
        link = await connect(radio)
        assert link.value_size_max == 20
        await link.write_value(bytes(20))
        assert await link.next_value() == bytes(20)
        await radio.close()


async def test_the_largest_mtu_is_capped_at_512_bytes_a_value(air: AirProcess, lock: EchoLock) -> None:
    radio = BleakRadio.from_settings(BACKEND, {"hci": air.hci(1)}, None)
    async with Peripheral(hci=air.hci(0), handler=lock, att_mtu_max=517):
        link = await connect(radio)
        assert link.value_size_max == 512
        await link.write_value(bytes(512))
        assert await link.next_value() == bytes(512)
        await radio.close()


async def test_a_sighting_carries_the_address_and_the_waiting_bit(radio: BleakRadio, peripheral: Peripheral) -> None:
    before = await radio.find(SERVICE_UUID, LOCK_ADDRESS.lower(), timeout_ms=FIND_MS)
    assert (before.address, before.phone_waiting) == (LOCK_ADDRESS, False)
    peripheral.set_phone_waiting(True)
    async with asyncio.timeout(LOST_S):
        while not (await radio.find(SERVICE_UUID, None, timeout_ms=FIND_MS)).phone_waiting:
            pass


async def test_a_lock_with_another_address_is_not_found(radio: BleakRadio) -> None:
    with pytest.raises(RadioError) as caught:
        await radio.find(SERVICE_UUID, "F0:00:00:00:00:02", timeout_ms=300)
    assert caught.value.code == RadioCode.NOT_FOUND


async def test_two_phones_talk_while_the_gateway_is_connected(
    air: AirProcess, radio: BleakRadio, lock: EchoLock
) -> None:
    link = await connect(radio)
    async with PhoneRadio(hci=air.hci(2)) as first_radio, PhoneRadio(hci=air.hci(3)) as second_radio:
        first = await first_radio.connect(await first_radio.find(timeout_ms=FIND_MS), timeout_ms=CONNECT_MS)
        second = await second_radio.connect(LOCK_ADDRESS, timeout_ms=CONNECT_MS)
        assert first.value_size_max == 182
        await link.write_value(b"gateway")
        await first.write_value(b"first")
        await second.write_value(bytes(182))
        assert await link.next_value() == b"gateway"
        assert await first.next_value() == b"first"
        assert await second.next_value() == bytes(182)
        await first.close()
        await lock.wait_for("phone 1 disconnected")
        with pytest.raises(PhoneRadioError):
            await first.next_value()
        await link.write_value(b"still here")
        assert await link.next_value() == b"still here"


async def test_a_phone_that_comes_back_has_a_new_channel(
    air: AirProcess, peripheral: Peripheral, lock: EchoLock
) -> None:
    async with PhoneRadio(hci=air.hci(2)) as phone:
        async with await phone.connect(peripheral.address, timeout_ms=CONNECT_MS):
            pass
        await lock.wait_for("phone 1 disconnected")
        async with await phone.connect(peripheral.address, timeout_ms=CONNECT_MS):
            await lock.wait_for("phone 2 connected")


async def test_values_before_a_disconnect_are_read_and_then_the_loss_is_reported(
    radio: BleakRadio, lock: EchoLock
) -> None:
    link = await connect(radio)
    assert lock.gateway is not None
    lock.gateway.send_value(b"last words")
    lock.gateway.disconnect()
    assert await link.next_value() == b"last words"
    async with asyncio.timeout(LOST_S):
        with pytest.raises(RadioError) as caught:
            await link.next_value()
    assert caught.value.code == RadioCode.DISCONNECTED
    with pytest.raises(RadioError):
        await link.write_value(b"")
    await link.close()


async def test_closing_twice_drops_the_link_once_and_the_lock_is_found_again(radio: BleakRadio, lock: EchoLock) -> None:
    link = await connect(radio)
    await link.close()
    await link.close()
    await lock.wait_for("gateway disconnected")
    await connect(radio)
    assert lock.diary == ["gateway connected", "gateway disconnected", "gateway connected"]


async def test_a_killed_gateway_is_a_lost_link_and_its_successor_connects(
    air: AirProcess, peripheral: Peripheral, lock: EchoLock
) -> None:
    assert peripheral.address == LOCK_ADDRESS
    for round_number in (1, 2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.radio_client", air.hci(1), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"connected\n"
        process.kill()
        async with asyncio.timeout(LOST_S):
            await lock.wait_for("gateway disconnected", count=round_number)
        await process.wait()


async def test_a_power_cut_of_the_air_is_noticed_and_its_return_is_used(lock: EchoLock) -> None:
    air = AirProcess.start([0, 0])
    radio = BleakRadio.from_settings(BACKEND, {"hci": air.hci(1)}, None)
    async with Peripheral(hci=air.hci(0), handler=lock) as peripheral:
        link = await connect(radio)
        air.kill()
        async with asyncio.timeout(LOST_S):
            await peripheral.wait_lost()
            with pytest.raises(RadioError):
                await link.next_value()
        assert lock.diary[-1] == "gateway disconnected"
        with pytest.raises(RadioUnavailable):
            await radio.find(SERVICE_UUID, None, timeout_ms=FIND_MS)
    air = AirProcess.start(air.ports)
    async with Peripheral(hci=air.hci(0), handler=lock):
        await connect(radio)
    await radio.close()
    air.kill()


async def test_an_abandoned_connect_leaves_no_link_behind(air: AirProcess, radio: BleakRadio, lock: EchoLock) -> None:
    sighting = await radio.find(SERVICE_UUID, None, timeout_ms=FIND_MS)
    # Another Peripheral takes the controller, and with it the only lock that has this address.
    async with Peripheral(hci=air.hci(0), handler=lock, address="F0:00:00:00:00:09"):
        with pytest.raises(RadioError) as caught:
            await radio.connect(sighting, timeout_ms=300)
        assert caught.value.code == RadioCode.CONNECT_TIMEOUT
    async with Peripheral(hci=air.hci(0), handler=lock, address=LOCK_ADDRESS):
        attempt = asyncio.create_task(radio.connect(sighting, timeout_ms=CONNECT_MS))
        await asyncio.sleep(0)
        attempt.cancel()
        await asyncio.wait({attempt})
        assert attempt.cancelled()
        await connect(radio)
        assert lock.diary == ["gateway connected"]


async def test_two_centrals_answering_one_advertisement_both_get_through_in_the_end(
    air: AirProcess, radio: BleakRadio, lock: EchoLock
) -> None:
    sighting = await radio.find(SERVICE_UUID, None, timeout_ms=FIND_MS)
    async with PhoneRadio(hci=air.hci(2)) as phone:

        async def until_connected(attempt: str) -> None:
            async with asyncio.timeout(FIND_MS / 1_000):
                while True:
                    with contextlib.suppress(RadioError, PhoneRadioError):
                        if attempt == "gateway":
                            await radio.connect(sighting, timeout_ms=CONNECT_MS)
                        else:
                            await phone.connect(LOCK_ADDRESS, timeout_ms=CONNECT_MS)
                        return

        await asyncio.gather(until_connected("gateway"), until_connected("phone"))
        assert sorted(lock.diary) == ["gateway connected", "phone 1 connected"]


async def test_attack_a_second_gateway_does_not_push_the_first_out(
    air: AirProcess, radio: BleakRadio, lock: EchoLock
) -> None:
    link = await connect(radio)
    stranger = BleakRadio.from_settings(BACKEND, {"hci": air.hci(2)}, None)
    sighting = await stranger.find(SERVICE_UUID, None, timeout_ms=FIND_MS)
    with pytest.raises(RadioError):
        await (await stranger.connect(sighting, timeout_ms=CONNECT_MS)).next_value()
    await stranger.close()
    await link.write_value(b"mine")
    assert await link.next_value() == b"mine"
    assert lock.diary == ["gateway connected"]


async def test_attack_a_stranger_that_subscribes_to_nothing_is_dropped(
    air: AirProcess, peripheral: Peripheral, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peripheral_module, "UNDECIDED_MS_MAX", 200)
    stranger = HciHost(hci=air.hci(2))
    connection = await stranger.connect(peripheral.address, timeout_ms=CONNECT_MS)
    gone = asyncio.Event()
    connection.on(connection.EVENT_DISCONNECTION, lambda _reason: gone.set())
    async with asyncio.timeout(LOST_S):
        await gone.wait()
    await stranger.close()


async def test_attack_a_link_that_is_not_the_gateways_cannot_write_to_rx(
    air: AirProcess, peripheral: Peripheral, lock: EchoLock
) -> None:
    stranger = backend({"hci": air.hci(2)})
    gone = asyncio.Event()
    async with BleakClient(peripheral.address, lambda _client: gone.set(), backend=stranger.client) as client:
        await client.write_gatt_char(RX_UUID, b"open", response=True)
        async with asyncio.timeout(LOST_S):
            await gone.wait()
    await stranger.adapter_control.close()
    assert lock.diary == []


async def test_attack_a_lock_that_floods_is_dropped(radio: BleakRadio, lock: EchoLock) -> None:
    link = await connect(radio)
    assert lock.gateway is not None
    for index in range(VALUE_QUEUE_COUNT_MAX + 1):
        lock.gateway.send_value(bytes([index]))
    async with asyncio.timeout(LOST_S):
        await lock.wait_for("gateway disconnected")
        with pytest.raises(RadioError):
            await link.next_value()


async def test_what_advertises_the_service_but_is_no_lock_is_refused_and_dropped(
    air: AirProcess,
) -> None:
    impostor = HciHost(hci=air.hci(0))
    device = await impostor.device()
    gone = asyncio.Event()
    device.on(
        device.EVENT_CONNECTION,
        lambda connection: connection.on(connection.EVENT_DISCONNECTION, lambda _reason: gone.set()),
    )
    await device.start_advertising(advertising_data=advertising_data(phone_waiting=False), advertising_interval_min=60)
    radio = BleakRadio.from_settings(BACKEND, {"hci": air.hci(1)}, None)
    with pytest.raises(RadioError) as caught:
        await connect(radio)
    assert caught.value.code == RadioCode.GATT_FAILED
    async with asyncio.timeout(LOST_S):
        await gone.wait()
    await radio.close()
    await impostor.close()


async def test_the_backend_does_what_bleak_promises(air: AirProcess, peripheral: Peripheral, lock: EchoLock) -> None:
    virtual = backend({"hci": air.hci(1), "address": "F0:00:00:00:00:77"})
    device = await BleakScanner.find_device_by_address(peripheral.address, backend=virtual.scanner)
    assert device is not None
    values: asyncio.Queue[bytes] = asyncio.Queue()
    async with BleakClient(device, backend=virtual.client) as client:
        assert client.mtu_size == 247
        rx = client.services.get_characteristic(RX_UUID)
        assert rx is not None
        assert set(rx.properties) == {"write", "write-without-response"}
        assert await client.read_gatt_char(INFO_UUID) == INFO
        with pytest.raises(BleakError, match="not found"):
            await client.read_gatt_char(PHONE_RX_UUID.replace("0005", "9999"))
        with pytest.raises(BleakGATTProtocolError):
            await client.read_gatt_char(TX_UUID)
        await client.start_notify(TX_UUID, lambda _characteristic, value: values.put_nowait(bytes(value)))
        await client.write_gatt_char(rx, b"asked", response=True)
        assert await values.get() == b"asked"
        with pytest.raises(BleakError):
            await client.write_gatt_char(rx, bytes(245), response=False)
        await client.stop_notify(TX_UUID)
        await lock.wait_for("gateway disconnected")
    with pytest.raises(BleakError):
        await client.read_gatt_char(INFO_UUID)
    await virtual.adapter_control.close()


async def test_a_backend_is_found_by_its_entry_point(
    air: AirProcess, peripheral: Peripheral, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "some_radio-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: some-radio\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(f"[gatewayd.ble_backends]\nsome_radio = {BACKEND}\n")
    monkeypatch.syspath_prepend(tmp_path)
    radio = BleakRadio.from_settings("some_radio", {"hci": air.hci(1)}, None)
    assert (await radio.find(SERVICE_UUID, None, timeout_ms=FIND_MS)).address == peripheral.address
    await radio.close()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("nobody", {}, id="no such entry point"),
        pytest.param("nobody:here", {}, id="no such module"),
        pytest.param("simulator.bleak_backend:nothing", {}, id="no such attribute"),
        pytest.param(BACKEND, {}, id="option missing"),
        pytest.param(BACKEND, {"hci": "x", "color": "red"}, id="option unknown"),
    ],
)
def test_an_unusable_backend_is_named_at_once(name: str, options: dict[str, str]) -> None:
    with pytest.raises(RadioError) as caught:
        BleakRadio.from_settings(name, options, None)
    assert caught.value.code == RadioCode.BACKEND_UNUSABLE
    assert name in caught.value.detail


@pytest.mark.parametrize("adapter", [None, "hci7"])
async def test_a_machine_without_a_message_bus_has_no_radio(
    adapter: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/no-bus")
    radio = BleakRadio.from_settings(None, {}, adapter)
    with pytest.raises(RadioUnavailable, match="system message bus cannot be used"):
        await radio.find(SERVICE_UUID, None, timeout_ms=FIND_MS)
    await radio.close()


async def test_a_message_bus_without_bluez_has_no_radio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = shutil.which("dbus-daemon")
    if daemon is None:
        pytest.skip("dbus-daemon is not installed")
    bus = await asyncio.create_subprocess_exec(
        daemon,
        "--session",
        "--nofork",
        "--print-address",
        f"--address=unix:path={tmp_path}/bus",
        stdout=asyncio.subprocess.PIPE,
    )
    assert bus.stdout is not None
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", (await bus.stdout.readline()).decode().strip())
    radio = BleakRadio.from_settings(None, {}, None)
    with pytest.raises(RadioUnavailable, match=r"BlueZ is not running|no Bluetooth adapter"):
        await radio.find(SERVICE_UUID, None, timeout_ms=FIND_MS)
    bus.terminate()
    await bus.wait()
