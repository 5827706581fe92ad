"""Faults of BlueZ and of the message bus, named by their rows of the fault table: real bleak on a fake BlueZ."""

from __future__ import annotations

import asyncio
import gc
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.constants import SERVICE_UUID
from gatewayd.link import bluez as bluez_module
from gatewayd.link import listening as listening_module
from gatewayd.link.bleak_faults import REFUSED_COUNT_MAX
from gatewayd.link.bleak_radio import ABORT_RETRY_COUNT_MAX, BleakRadio
from gatewayd.link.bluez import RESET_UNIT, RESTART_UNIT
from gatewayd.link.radio import LockLink, RadioCode, RadioError, RadioUnavailable, Rung
from tests.support.echo_lock import EchoLock
from tests.support.fake_bluez import (
    ADAPTER_ADDRESS,
    LOCK,
    FakeBlueZ,
    bluez_on_a_private_bus,
    open_descriptor_count,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.private_bus import PrivateBus

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="dbus-daemon is not installed")

PATIENCE_MS = 20_000
"""For what should work: a busy machine is no fault."""
FAILED = "org.bluez.Error.Failed"
ABSENT = "F0:00:00:00:00:99"


class Bench:
    """BlueZ, its bus, a lock and a radio."""

    def __init__(self, bluez: FakeBlueZ, bus: PrivateBus, lock: EchoLock, radio: BleakRadio) -> None:
        self.bluez = bluez
        self.bus = bus
        self.lock = lock
        self.radio = radio

    async def connect(self, *, timeout_ms: int = PATIENCE_MS) -> LockLink:
        """Find the lock and connect to it."""
        sighting = await self.radio.find(SERVICE_UUID, LOCK, timeout_ms=PATIENCE_MS)
        return await self.radio.connect(sighting, timeout_ms=timeout_ms)

    async def connect_again(self) -> LockLink:
        """Try until it works, as the supervisor does."""
        async with asyncio.timeout(PATIENCE_MS / 1_000):
            while True:
                try:
                    return await self.connect()
                except RadioError:
                    await asyncio.sleep(0.05)

    def fail(self, member: str, *errors: tuple[str, str]) -> None:
        """Let the next calls of a member fail."""
        self.bluez.errors[member] = list(errors)


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with make_bench(tmp_path, monkeypatch) as made:
        yield made


@asynccontextmanager
async def make_bench(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, adapter: str | None = None, connection_count_max: int = 256
) -> AsyncIterator[Bench]:
    lock = EchoLock()
    async with bluez_on_a_private_bus(folder, monkeypatch, lock, connection_count_max=connection_count_max) as (
        bluez,
        bus,
    ):
        radio = BleakRadio(adapter=adapter)
        try:
            yield Bench(bluez, bus, lock, radio)
        finally:
            await radio.close()


async def gone(link: LockLink) -> str:
    """Wait for the end of a link and return its code."""
    async with asyncio.timeout(PATIENCE_MS / 1_000):
        while True:
            try:
                await link.next_value()
            except RadioError as lost:
                return lost.code


async def reached(what: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_MS / 1_000):
        while not what():
            await asyncio.sleep(0.01)


async def test_a_lock_is_found_connected_and_spoken_with(bench: Bench) -> None:
    link = await bench.connect()
    assert link.value_size_max == 244
    await link.write_value(b"hello")
    assert await link.next_value() == b"hello"
    await link.close()
    await bench.lock.wait_for("gateway disconnected")


# What the host answers to Connect.


async def test_b1_a_connect_in_progress_is_cleared_by_a_disconnect_and_told_as_such(bench: Bench) -> None:
    bench.fail("Connect", ("org.bluez.Error.InProgress", "Operation already in progress"))
    with pytest.raises(RadioError) as failed:
        await bench.connect()
    assert failed.value.code == RadioCode.IN_PROGRESS
    assert bench.bluez.calls.count("Disconnect") == 1
    await bench.connect_again()


async def test_b1_a_discovery_that_the_host_remembers_of_a_dead_client_is_shed_with_its_connection(
    bench: Bench,
) -> None:
    bench.fail("StartDiscovery", ("org.bluez.Error.InProgress", "Operation already in progress"))
    with pytest.raises(RadioUnavailable):
        await bench.connect()
    objects_asked = bench.bluez.calls.count("GetManagedObjects")
    await bench.connect_again()
    assert bench.bluez.calls.count("GetManagedObjects") == objects_asked + 1  # bleak has a new connection


async def test_b1_a_scan_that_is_refused_now_and_then_costs_no_other_lock_its_link(bench: Bench) -> None:
    link = await bench.connect()
    bench.fail("StartDiscovery", *[("org.bluez.Error.InProgress", "Operation already in progress")] * 5)
    for _ in range(REFUSED_COUNT_MAX - 1):
        with pytest.raises(RadioUnavailable):
            await bench.radio.find(SERVICE_UUID, LOCK, timeout_ms=PATIENCE_MS)
    await link.write_value(b"hello")
    assert await link.next_value() == b"hello"
    with pytest.raises(RadioUnavailable):
        await bench.radio.find(SERVICE_UUID, LOCK, timeout_ms=PATIENCE_MS)
    assert await gone(link) == RadioCode.DISCONNECTED


@pytest.mark.parametrize("text", ["Software caused connection abort", "le-connection-abort-by-remote"])
async def test_b2_b3_what_the_air_aborts_is_tried_again_at_once(bench: Bench, text: str) -> None:
    bench.fail("Connect", *[(FAILED, text)] * ABORT_RETRY_COUNT_MAX)
    await bench.connect()
    assert bench.bluez.calls.count("Connect") == ABORT_RETRY_COUNT_MAX + 1


async def test_b2_b3_what_the_air_aborts_for_ever_is_given_up_after_nine_more(bench: Bench) -> None:
    bench.fail("Connect", *[(FAILED, "Software caused connection abort")] * 50)
    with pytest.raises(RadioError) as failed:
        await bench.connect()
    assert failed.value.code == RadioCode.CONNECT_FAILED
    assert bench.bluez.calls.count("Connect") == ABORT_RETRY_COUNT_MAX + 1


async def test_b2_an_abort_after_which_bleak_waits_for_ever_ends_in_time(bench: Bench) -> None:
    bench.fail("Connect", (FAILED, "le-connection-abort-by-local"))
    with pytest.raises(RadioError) as failed:
        await bench.connect(timeout_ms=500)
    assert failed.value.code == RadioCode.CONNECT_TIMEOUT


async def test_b4_a_connect_that_never_returns_is_cancelled_and_disconnected(bench: Bench) -> None:
    bench.bluez.silent = {"Connect"}
    async with asyncio.timeout(10):
        with pytest.raises(RadioError) as failed:
            await bench.connect(timeout_ms=300)
    assert failed.value.code == RadioCode.CONNECT_TIMEOUT
    await reached(lambda: "Disconnect" in bench.bluez.calls)
    bench.bluez.silent = set()
    await bench.connect_again()


async def test_b5_a_write_that_never_returns_is_a_fault_in_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayd.link.bleak_radio.WRITE_MS_MAX", 300)
    link = await bench.connect()
    bench.bluez.silent = {"WriteValue"}
    async with asyncio.timeout(5):
        with pytest.raises(RadioError) as failed:
            await link.write_value(b"never")
    assert failed.value.code == RadioCode.GATT_FAILED


async def test_b7_b8_notifications_are_asked_for_before_a_word_is_said_and_without_a_descriptor(bench: Bench) -> None:
    link = await bench.connect()
    assert "WriteValue" not in bench.bluez.calls
    assert "StartNotify" in bench.bluez.calls
    bench.bluez.send_value(b"the first of all")
    assert await link.next_value() == b"the first of all"
    await link.write_value(b"word")
    assert await link.next_value() == b"word"
    assert "AcquireNotify" not in bench.bluez.calls


@pytest.mark.parametrize(("mtu", "size"), [(23, 20), (None, 20), (185, 182), (517, 512)])
async def test_b19_values_are_as_long_as_the_characteristic_carries(bench: Bench, mtu: int | None, size: int) -> None:
    bench.bluez.mtu = mtu
    link = await bench.connect()
    assert link.value_size_max == size
    await link.write_value(bytes(size))
    assert await link.next_value() == bytes(size)


@pytest.mark.parametrize("text", ["le-connection-concurrent-connection-limit", "Too many links"])
async def test_b20_no_connection_left_is_told_as_such_and_none_is_kept(bench: Bench, text: str) -> None:
    bench.fail("Connect", (FAILED, text))
    with pytest.raises(RadioError) as failed:
        await bench.connect()
    assert failed.value.code == RadioCode.NO_SLOT
    assert not bench.bluez.connected


# BlueZ, its bus and its adapters come and go.


async def test_b10_a_bluez_that_dies_is_noticed_within_a_second_and_its_successor_serves(bench: Bench) -> None:
    link = await bench.connect()
    bench.bluez.stop()
    async with asyncio.timeout(1):
        assert await gone(link) == RadioCode.DISCONNECTED
    returned = asyncio.create_task(bench.radio.returned())
    await asyncio.sleep(0.2)
    assert not returned.done()
    bench.bluez.service_name = "service0010"  # the lock has got new firmware meanwhile
    await bench.bluez.start()
    async with asyncio.timeout(PATIENCE_MS / 1_000):
        await returned
    calls = len(bench.bluez.calls)
    again = await bench.connect_again()
    assert "Connect" in bench.bluez.calls[calls:]  # and not what bleak remembers of the first one's links
    await again.write_value(b"alive")
    assert await again.next_value() == b"alive"


async def test_b10_who_listens_while_bluez_dies_need_not_wait_for_it(bench: Bench) -> None:
    bench.bluez.discovers = False
    listening = asyncio.create_task(bench.radio.find(SERVICE_UUID, LOCK, timeout_ms=60_000))
    await reached(lambda: "StartDiscovery" in bench.bluez.calls)
    bench.bluez.stop()
    async with asyncio.timeout(PATIENCE_MS / 1_000):
        with pytest.raises(RadioUnavailable, match="BlueZ has gone"):
            await listening


async def test_b11_a_bluez_that_hangs_is_told_apart_from_an_adapter_that_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await bench.connect()).close()
    monkeypatch.setattr("gatewayd.link.bleak_radio.SCAN_SWITCH_MS_MAX", 300)
    monkeypatch.setattr(bluez_module, "CALL_MS_MAX", 300)
    bench.bluez.silent = {"StartDiscovery"}
    with pytest.raises(RadioUnavailable) as stuck:
        await bench.radio.find(SERVICE_UUID, LOCK, timeout_ms=PATIENCE_MS)
    assert stuck.value.code == RadioCode.UNAVAILABLE
    bench.bluez.silent = {"*"}
    with pytest.raises(RadioUnavailable) as hung:
        await bench.radio.find(SERVICE_UUID, LOCK, timeout_ms=PATIENCE_MS)
    assert hung.value.code == RadioCode.HOST_HANGS


async def test_b12_a_bus_that_dies_ends_the_link_and_a_new_one_is_used(bench: Bench) -> None:
    link = await bench.connect()
    bench.bus.kill()
    assert await gone(link) == RadioCode.DISCONNECTED
    await link.close()
    bench.bluez.stop()
    await bench.bus.start()
    await bench.bluez.start()
    again = await bench.connect_again()
    await again.write_value(b"alive")
    assert await again.next_value() == b"alive"
    assert unheard_errors() == []


async def test_b12_who_listens_while_the_bus_dies_need_not_wait_for_it(bench: Bench) -> None:
    bench.bluez.discovers = False
    listening = asyncio.create_task(bench.radio.find(SERVICE_UUID, LOCK, timeout_ms=60_000))
    await reached(lambda: "StartDiscovery" in bench.bluez.calls)
    bench.bus.kill()
    async with asyncio.timeout(10):
        with pytest.raises(RadioUnavailable, match="the message bus is gone"):
            await listening


async def test_b12_a_scan_that_the_bus_dies_under_leaves_no_error_that_nobody_hears(bench: Bench) -> None:
    listening = asyncio.create_task(bench.radio.find(SERVICE_UUID, ABSENT, timeout_ms=60_000))
    await bench.radio.find(SERVICE_UUID, LOCK, timeout_ms=PATIENCE_MS)  # so it scans
    bench.bus.kill()
    async with asyncio.timeout(10):
        with pytest.raises(RadioUnavailable, match="the message bus is gone"):
            await listening
    bench.bluez.stop()
    await bench.bus.start()
    await bench.bluez.start()
    await (await bench.connect_again()).close()
    assert unheard_errors() == []


def unheard_errors() -> list[asyncio.Future[object]]:
    """Return the futures of this test whose error asyncio would print, with a traceback, once they are freed."""
    loop = asyncio.get_running_loop()
    futures = [each for each in gc.get_objects() if isinstance(each, asyncio.Future) and each.get_loop() is loop]
    return [each for each in futures if each._log_traceback]  # noqa: SLF001 - asyncio has no other word


@pytest.mark.parametrize(
    "cycle_count", [120, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(0)], id="soak")]
)
async def test_b13_no_connection_to_the_bus_is_left_behind_by_a_link_however_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cycle_count: int
) -> None:
    # A bus that has room for a few connections refuses the rest: a leak shows at once.
    async with make_bench(tmp_path, monkeypatch, connection_count_max=12) as bench:
        await (await bench.connect()).close()
        held, refused = open_descriptor_count(), list[str]()
        for cycle in range(cycle_count):
            try:
                await one_cycle(bench, cycle)
            except RadioError as error:
                refused.append(str(error))
        gc.collect()
        assert refused == []
        await reached(lambda: open_descriptor_count() <= held)
        assert len(asyncio.all_tasks()) < 20


async def one_cycle(bench: Bench, cycle: int) -> None:
    """Connect and end: by us, by the lock, before it came up."""
    if cycle % 4 == 3:
        bench.fail("Connect", (FAILED, "le-connection-busy"))
        with pytest.raises(RadioError):
            await bench.connect()
        return
    link = await bench.connect()
    if cycle % 4 == 2:
        bench.bluez.disconnect()
        await gone(link)
    await link.close()


async def test_b15_an_adapter_that_is_switched_off_is_told_as_such_and_switched_on(bench: Bench) -> None:
    link = await bench.connect()
    bench.bluez.switch(on=False)
    assert await gone(link) == RadioCode.DISCONNECTED
    with pytest.raises(RadioUnavailable) as off:
        await bench.radio.find(SERVICE_UUID, LOCK, timeout_ms=PATIENCE_MS)
    assert off.value.code == RadioCode.POWERED_OFF
    assert await bench.radio.recover(Rung.POWER_CYCLE, LOCK)
    assert bench.bluez.powered
    await bench.connect_again()


async def test_b15_a_blocked_adapter_cannot_be_switched_on_and_that_is_said(bench: Bench) -> None:
    await (await bench.connect()).close()
    bench.bluez.blocked = True
    bench.bluez.switch(on=False)
    await asyncio.sleep(0.1)
    assert not await bench.radio.recover(Rung.POWER_CYCLE, LOCK)


async def test_b16_an_adapter_that_comes_back_under_another_index_is_found_by_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_bench(tmp_path, monkeypatch, adapter="hci0") as bench:
        link = await bench.connect()
        bench.bluez.remove_adapter()
        async with asyncio.timeout(1):
            assert await gone(link) == RadioCode.DISCONNECTED
        # bleak may hear of it first, over its own connection: what watches BlueZ has the word.
        host = bench.radio._host  # noqa: SLF001 - nothing else can be waited for that is not the test itself
        await reached(lambda: host is not None and host.adapter is None)
        with pytest.raises(RadioUnavailable, match=f"the Bluetooth adapter {ADAPTER_ADDRESS} is not there"):
            await bench.radio.find(SERVICE_UUID, LOCK, timeout_ms=PATIENCE_MS)
        returned = asyncio.create_task(bench.radio.returned())
        await asyncio.sleep(0.05)
        bench.bluez.add_adapter(3)
        async with asyncio.timeout(PATIENCE_MS / 1_000):
            await returned
        await bench.connect_again()
        assert bench.bluez.connected


async def test_b16_another_adapter_is_not_taken_for_the_one_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_bench(tmp_path, monkeypatch, adapter="00:1a:7d:da:71:99") as bench:
        with pytest.raises(RadioUnavailable, match="00:1A:7D:DA:71:99 is not there"):
            await bench.connect()


async def test_b17_no_adapter_is_a_sentence_and_one_that_comes_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_bench(tmp_path, monkeypatch) as bench:
        bench.bluez.remove_adapter()
        with pytest.raises(RadioUnavailable, match="no Bluetooth adapter"):
            await bench.connect()
        bench.bluez.add_adapter(0)
        await bench.connect_again()


async def test_b17_an_adapter_that_bleak_has_missed_while_bluez_came_up_is_used_all_the_same(bench: Bench) -> None:
    bench.bluez.hides = [False, True]  # what watches BlueZ asks first, and bleak second
    with pytest.raises(RadioUnavailable, match="no Bluetooth adapter"):
        await bench.connect()
    await bench.connect()


async def test_b18_a_scan_that_hears_nothing_at_all_is_begun_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening_module, "SCAN_MS", 300)
    bench.bluez.discovers = False
    listening = asyncio.create_task(bench.radio.find(SERVICE_UUID, LOCK, timeout_ms=PATIENCE_MS))
    await reached(lambda: bench.bluez.calls.count("StartDiscovery") >= 3)
    bench.bluez.discovers = True
    assert (await listening).address == LOCK


# The rungs.


async def test_a_forgotten_lock_is_gone_from_the_host_and_forgetting_it_again_is_no_fault(bench: Bench) -> None:
    link = await bench.connect()
    assert await bench.radio.recover(Rung.FORGET, LOCK)
    assert await gone(link) == RadioCode.DISCONNECTED
    assert await bench.radio.recover(Rung.FORGET, LOCK)
    assert bench.bluez.calls.count("RemoveDevice") == 2
    await bench.connect_again()


@pytest.mark.parametrize(
    ("rung", "unit"), [(Rung.RESET, RESET_UNIT.format("hci0")), (Rung.RESTART, RESTART_UNIT)], ids=["reset", "restart"]
)
async def test_what_needs_root_is_a_unit_of_the_service_manager_by_its_name(
    bench: Bench, rung: Rung, unit: str
) -> None:
    await (await bench.connect()).close()

    def bring_back(_unit: str) -> None:
        bench.bluez.remove_adapter()
        bench.bluez.add_adapter(1)

    bench.bluez.on_unit = bring_back
    assert await bench.radio.recover(rung, LOCK)
    assert bench.bluez.units == {unit: 1}
    await bench.connect_again()


async def test_a_unit_that_may_not_be_started_is_a_rung_that_is_not_there(bench: Bench) -> None:
    await (await bench.connect()).close()
    bench.fail("StartUnit", ("org.freedesktop.DBus.Error.AccessDenied", "polkit says no"))
    assert not await bench.radio.recover(Rung.RESTART, LOCK)


@pytest.mark.parametrize("member", ["StartDiscovery", "Connect"])
async def test_who_may_not_talk_to_bluez_is_told_about_the_policy_and_let_in_once_it_is_mended(
    bench: Bench, member: str
) -> None:
    bench.fail(member, *[("org.freedesktop.DBus.Error.AccessDenied", "Rejected send message")] * 3)
    with pytest.raises(RadioUnavailable, match=r"its policy for org\.bluez"):
        await bench.connect()
    await bench.connect_again()


async def test_a_phone_that_comes_to_wait_is_heard_though_the_scan_has_reported_its_lock(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening_module, "SCAN_MS", 300)
    waiting = asyncio.create_task(bench.radio.find(SERVICE_UUID, LOCK, timeout_ms=PATIENCE_MS, phone_waiting=True))
    assert not (await bench.radio.find(SERVICE_UUID, LOCK, timeout_ms=PATIENCE_MS)).phone_waiting
    assert not waiting.done()
    bench.bluez.phone_waiting = True
    assert (await waiting).phone_waiting
    scans = [call for call in bench.bluez.calls if call in {"StartDiscovery", "StopDiscovery"}]
    assert scans[::2] == ["StartDiscovery"] * len(scans[::2])
    assert scans[1::2] == ["StopDiscovery"] * len(scans[1::2])
