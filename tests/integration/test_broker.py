"""The uplink against real brokers on loopback."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

import pytest

from gatewayd.uplink.broker import PACKET_SIZE_MAX, PahoBroker
from gatewayd.uplink.seam import (
    BrokerCode,
    BrokerError,
    BrokerSession,
    BrokerSettings,
    Incoming,
    Outgoing,
    PublishOutcome,
    TlsSettings,
)
from simulator.embedded_broker import EmbeddedBroker
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.small_ca import SmallCa
from tests.support.uplink_bench import UplinkBench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from simulator.central_log import CentralLog

Protocol = Literal["5", "3.1.1"]
WILL = Outgoing(topic="carelock/will", payload=b"gone", retain=True)


def settings(port: int, protocol: Protocol, client_id: str = "gateway", **more: object) -> BrokerSettings:
    return BrokerSettings(host="127.0.0.1", port=port, protocol=protocol, client_id=client_id, **more)  # type: ignore[arg-type]  # as given


@asynccontextmanager
async def connected(
    port: int, protocol: Protocol, client_id: str = "gateway", **more: object
) -> AsyncIterator[BrokerSession]:
    session = await PahoBroker(settings(port, protocol, client_id, **more)).connect(WILL)
    try:
        yield session
    finally:
        await session.close()


@asynccontextmanager
async def running(kind: str, folder: Path) -> AsyncIterator[int]:
    if kind == "mosquitto":
        async with Mosquitto(folder) as mosquitto:
            yield mosquitto.port
        return
    port = free_port()
    embedded = EmbeddedBroker(port)
    await embedded.start()
    try:
        yield port
    finally:
        await embedded.stop()


brokers = pytest.mark.parametrize(
    ("kind", "protocol"), [("mosquitto", "5"), ("mosquitto", "3.1.1"), ("embedded", "3.1.1")]
)
protocols = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


async def next_of(session: BrokerSession) -> Incoming:
    async with asyncio.timeout(5):
        return await session.next_message()


async def end_of(session: BrokerSession) -> BrokerError:
    while True:
        try:
            await next_of(session)
        except BrokerError as error:
            return error


@brokers
async def test_messages_travel_live_and_retained(tmp_path: Path, kind: str, protocol: Protocol) -> None:
    async with running(kind, tmp_path) as port, connected(port, protocol) as one:
        await one.publish(Outgoing(topic="a/kept", payload=b"kept", retain=True))
        async with connected(port, protocol, "other") as two:
            await two.subscribe(["a/+", "b"])
            assert await next_of(two) == Incoming(topic="a/kept", payload=b"kept", retained=True)
            assert await one.publish(Outgoing(topic="b", payload=b"live", correlation=b"c")) is PublishOutcome.DELIVERED
            message = await next_of(two)
            assert (message.topic, message.payload, message.retained) == ("b", b"live", False)
            assert message.correlation == (b"c" if protocol == "5" else None)


@brokers
async def test_a_session_that_is_closed_leaves_no_will_and_one_that_is_lost_does(
    tmp_path: Path, kind: str, protocol: Protocol
) -> None:
    async with running(kind, tmp_path) as port, connected(port, protocol, "watcher") as watcher:
        await watcher.subscribe([WILL.topic])
        async with connected(port, protocol):
            pass
        lost = await PahoBroker(settings(port, protocol)).connect(WILL)
        lost._end(BrokerCode.LOST, "cut by the test")  # type: ignore[attr-defined]  # noqa: SLF001 - no goodbye
        assert (await next_of(watcher)).payload == b"gone"


async def test_mosquitto_says_in_mqtt_5_that_nobody_listens(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, connected(broker.port, "5") as session:
        assert await session.publish(Outgoing(topic="void", payload=b"")) is PublishOutcome.NO_SUBSCRIBERS


async def test_a_publish_that_the_access_list_forbids_is_refused_in_mqtt_5(tmp_path: Path) -> None:
    access = tmp_path / "acl"
    access.write_text("topic readwrite a/#\n")
    more = f"allow_anonymous true\nacl_file {access}\n"
    async with Mosquitto(tmp_path, more) as broker, connected(broker.port, "5") as session:
        assert await session.publish(Outgoing(topic="secret/d", payload=b"")) is PublishOutcome.REFUSED


@protocols
async def test_a_second_client_with_our_id_throws_us_out(tmp_path: Path, protocol: Protocol) -> None:
    async with Mosquitto(tmp_path) as broker, connected(broker.port, protocol) as one, connected(broker.port, protocol):
        # mosquitto 2.0.11 drops the older session without the reason that MQTT 5 has for it.
        assert (await end_of(one)).code in {BrokerCode.TAKEN_OVER, BrokerCode.LOST}


async def test_attack_a_huge_message_is_held_back_by_a_broker_that_knows_our_limit(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, connected(broker.port, "5") as session:
        await session.subscribe(["a"])
        async with connected(broker.port, "5", "attacker") as attacker:
            await attacker.publish(Outgoing(topic="a", payload=bytes(PACKET_SIZE_MAX + 1)))
            await attacker.publish(Outgoing(topic="a", payload=b"small"))
        assert (await next_of(session)).payload == b"small"


async def test_attack_a_huge_message_over_3_1_1_ends_the_session_before_its_body(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, connected(broker.port, "3.1.1") as session:
        await session.subscribe(["a"])
        async with connected(broker.port, "3.1.1", "attacker") as attacker:
            await attacker.publish(Outgoing(topic="a", payload=bytes(20_000_000)))
            assert (await end_of(session)).code == BrokerCode.OVERSIZE


@protocols
async def test_our_certificate_lets_us_in_and_without_it_there_is_no_session(
    tmp_path: Path, protocol: Protocol
) -> None:
    ca = SmallCa.make(tmp_path)
    certificate, key = ca.issue("broker")
    more = f"cafile {ca.file}\ncertfile {certificate}\nkeyfile {key}\nrequire_certificate true\n"
    more += "use_identity_as_username true\n"
    ours, our_key = ca.issue("gateway")
    async with Mosquitto(tmp_path, more) as broker:
        tls = TlsSettings(ca_file=ca.file, cert_file=ours, key_file=our_key)
        async with connected(broker.port, protocol, tls=tls) as session:
            await session.subscribe(["a"])
            numbers = range(200)
            sent = [session.publish(Outgoing(topic="a", payload=bytes([number]))) for number in numbers]
            # Many packets come in one TLS record; all must be read though the socket shows only the first.
            assert [(await next_of(session)).payload[0] for _ in numbers] == list(numbers)
            assert await asyncio.gather(*sent) == [PublishOutcome.DELIVERED] * len(sent)
        with pytest.raises(BrokerError) as caught:
            await PahoBroker(settings(broker.port, protocol, tls=TlsSettings(ca_file=ca.file))).connect(WILL)
        assert caught.value.code == BrokerCode.REFUSED
        assert "certificate" in caught.value.detail.lower()


class CentralClient:
    """The office's central log as a client of a real broker."""

    def __init__(self, bench: UplinkBench, session: BrokerSession, log: CentralLog) -> None:
        self._bench = bench
        self._session = session
        self._log = log

    async def run(self) -> None:
        """Take entries and checkpoints, publish what it answers."""
        topics, gateway_id = self._bench.topics, self._bench.home.gateway_id
        await self._session.subscribe([topics.log_entries, topics.log_checkpoint])
        while True:
            message = await self._session.next_message()
            take = self._log.take_entry if message.topic == topics.log_entries else self._log.take_checkpoint
            answer = take(gateway_id, message.payload, self._bench.central_now())
            if answer is not None:
                _ = self._session.publish(Outgoing(topic=topics.log_receipt, payload=answer))


async def serve(bench: UplinkBench, port: int, protocol: Protocol) -> None:
    """Keep a central log connected for ever."""
    log = bench.new_central()
    while True:
        try:
            async with connected(port, protocol, "central") as session:
                await CentralClient(bench, session, log).run()
        except BrokerError:
            await asyncio.sleep(0.1)


@brokers
async def test_a_journal_is_drained_until_the_central_log_has_signed_for_it(
    tmp_path: Path, kind: str, protocol: Protocol
) -> None:
    async with running(kind, tmp_path) as port:
        client = PahoBroker(settings(port, protocol))
        async with UplinkBench(tmp_path, client=client) as bench:
            serving = asyncio.ensure_future(serve(bench, port, protocol))
            await bench.append(1_500)
            bench.start()
            await bench.until_received(1_500, within_s=60)
            assert (await bench.marks()).received == 1_500
            serving.cancel()
            await asyncio.wait({serving})


@protocols
async def test_a_broker_killed_in_mid_drain_loses_nothing(tmp_path: Path, protocol: Protocol) -> None:
    async with Mosquitto(tmp_path) as broker:
        client = PahoBroker(settings(broker.port, protocol))
        async with UplinkBench(tmp_path, client=client) as bench:
            serving = asyncio.ensure_future(serve(bench, broker.port, protocol))
            await bench.append(20_000)
            bench.start()
            await bench.until(lambda: bool(bench.ears.receipts), within_s=30)
            await broker.stop()
            assert (await bench.marks()).received < 20_000
            await asyncio.sleep(0.2)
            await broker.start()
            await bench.until_received(20_000, within_s=90)
            assert bench.ears.rolled_back_to == []
            serving.cancel()
            await asyncio.wait({serving})
