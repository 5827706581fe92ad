"""What networks do between a gateway and a real broker: nothing is lost, nothing is sent in storms, nothing hangs."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gatewayd.uplink import broker as broker_module
from gatewayd.uplink import dial as dial_module
from gatewayd.uplink import uplink as uplink_module
from gatewayd.uplink.broker import PahoBroker
from gatewayd.uplink.seam import BrokerCode, BrokerError, BrokerSettings, Outgoing
from tests.support.frame_broker import FrameBroker
from tests.support.log_client import LogClient
from tests.support.mosquitto import Mosquitto
from tests.support.tcp_proxy import TcpProxy
from tests.support.uplink_bench import UplinkBench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WILL = Outgoing(topic="carelock/will", payload=b"gone", retain=True)


def settings(port: int, **more: object) -> BrokerSettings:
    return BrokerSettings(**({"host": "127.0.0.1", "port": port, "client_id": "gateway", "keepalive_s": 1} | more))  # type: ignore[arg-type]  # as given


@asynccontextmanager
async def world(folder: Path, **more: object) -> AsyncIterator[tuple[UplinkBench, TcpProxy, LogClient]]:
    """Run a gateway behind a proxy, and a central log beside the broker."""
    async with (
        Mosquitto(folder) as mosquitto,
        TcpProxy(mosquitto.port) as proxy,
        UplinkBench(folder, client=PahoBroker(settings(proxy.port, **more))) as bench,
        LogClient(bench, mosquitto.port) as central,
    ):
        yield bench, proxy, central


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back within a second: how long a gateway waits is another test's matter."""
    monkeypatch.setattr(uplink_module, "BACKOFF_S_MAX", 1.0)


async def test_a_black_hole_is_noticed_and_everything_arrives_once_there_is_a_way_again(tmp_path: Path) -> None:
    async with world(tmp_path) as (bench, proxy, central):
        bench.start()
        await bench.append(50)
        await bench.until_received(50)
        proxy.swallow()
        await bench.append(50)
        await bench.until(lambda: bench.uplink.status.code == BrokerCode.SILENT)
        proxy.forward()
        await bench.until_received(100)
        assert central.indexes() == list(range(100))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_reset_in_the_middle_of_a_packet_costs_a_resend_and_no_entry(tmp_path: Path, protocol: str) -> None:
    async with world(tmp_path, protocol=protocol) as (bench, proxy, central):
        await bench.append(300)
        for size in (20_000, 50_000, 30_000):
            proxy.reset_after = size
            if size == 20_000:
                bench.start()
            await bench.until(lambda: proxy.reset_after is None)
            await bench.until(lambda: bench.uplink.status.connected)
            await bench.append(100)
        await bench.until_received(600)
        assert central.indexes() == list(range(600))
        assert bench.ears.rolled_back_to == []


async def test_a_broker_that_closes_its_half_ends_the_session(tmp_path: Path) -> None:
    async with world(tmp_path) as (bench, proxy, central):
        bench.start()
        await bench.append(10)
        await bench.until_received(10)
        proxy.half_close_all()
        await bench.until(lambda: len(proxy.lines) >= 2)
        await bench.append(10)
        await bench.until_received(20)
        assert central.indexes() == list(range(20))


async def test_a_slow_link_gets_longer_attempts_and_then_everything_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A tenth of the real bounds and of a link with 7 s of round trip: over TCP the first attempts are too short.
    monkeypatch.setattr(broker_module, "CONNECT_S_MAX", 0.4)
    monkeypatch.setattr(broker_module, "SUBSCRIBE_S_MAX", 0.4)
    async with world(tmp_path) as (bench, proxy, central):
        proxy.delay_s = 0.35
        bench.start()
        await bench.append(60)
        await bench.until_received(60)
        assert bench.uplink.status.attempt_count >= 1
        times = Counter(central.received)
        assert times.keys() == set(range(60))
        assert max(times.values()) <= 2  # a machine that is busy itself may ask once more; a storm would ask for ever
        await asyncio.sleep(1.5)  # a ping whose answer takes longer than half a keepalive
        assert bench.uplink.status.connected


async def test_a_link_whose_answers_take_longer_than_any_attempt_is_asked_quickly_again_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broker_module, "CONNECT_S_MAX", 0.01)
    async with FrameBroker() as silent:
        broker = PahoBroker(settings(silent.port))
        waited = []
        for _ in range(5):
            waited.append(broker._patience)  # noqa: SLF001 - how long it is about to wait
            with pytest.raises(BrokerError) as caught:
                await broker.connect(WILL)
            assert caught.value.code == BrokerCode.TIMEOUT
        assert waited == [1, 2, 4, 8, 1]


async def test_an_address_that_swallows_everything_is_a_timeout_and_one_that_refuses_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dial_module, "ADDRESS_S_MAX", 0.0)
    async with FrameBroker() as broker:
        with pytest.raises(BrokerError) as caught:
            await PahoBroker(settings(broker.port)).connect(WILL)
        assert caught.value.code == BrokerCode.TIMEOUT


async def test_a_gateway_with_ipv6_only_is_served(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as mosquitto:
        try:
            proxy = await TcpProxy(mosquitto.port, host="::1").__aenter__()
        except OSError:
            pytest.skip("this machine has no IPv6")
        session = await PahoBroker(settings(proxy.port, host="::1")).connect(WILL)
        await session.subscribe(["a"])
        await session.publish(Outgoing(topic="a", payload=b"6"))
        assert (await session.next_message()).payload == b"6"
        await session.close()
        await proxy.__aexit__(None, None, None)


async def test_a_new_address_behind_the_same_name_is_found_at_the_next_attempt(tmp_path: Path) -> None:
    """Wi-Fi to LTE, or a broker that moved: every attempt looks the name up anew."""
    async with world(tmp_path) as (bench, proxy, central):
        bench.start()
        await bench.append(5)
        await bench.until_received(5)
        proxy.forward()  # every old connection is reset, as after a change of address
        await bench.append(5)
        await bench.until_received(10)
        assert central.indexes() == list(range(10))


async def test_a_broker_whose_queue_for_the_central_log_overflows_silently_loses_nothing(tmp_path: Path) -> None:
    """Mosquitto acknowledges what it then drops: the central log sees the hole and asks for it."""
    more = "max_queued_messages 100\nmax_inflight_messages 5\n"
    async with (
        Mosquitto(tmp_path, more) as mosquitto,
        UplinkBench(tmp_path, client=PahoBroker(settings(mosquitto.port))) as bench,
    ):
        central = LogClient(bench, mosquitto.port, keeps_session=True)
        async with central:
            bench.start()
            await bench.append(5)
            await bench.until_received(5)
        await bench.append(400)  # the broker takes them for a central log that is not there
        await bench.until(lambda: bench.outbox._sent == 405)  # noqa: SLF001 - the broker's word
        async with central:
            await bench.until_received(405)
            assert sorted(set(central.received)) == list(range(405))
