from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest

from gatewayd.uplink import broker as module
from gatewayd.uplink.broker import PACKET_SIZE_MAX, PahoBroker, PahoSession
from gatewayd.uplink.seam import (
    INCOMING_COUNT_MAX,
    PAYLOAD_SIZE_MAX,
    PUBLISH_WINDOW_COUNT,
    BrokerCode,
    BrokerError,
    BrokerSettings,
    Incoming,
    Outgoing,
    PublishOutcome,
    TlsSettings,
)
from tests.support.frame_broker import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PUBLISH,
    SUBSCRIBE,
    Frame,
    FrameBroker,
    Peer,
    frame,
    length,
)
from tests.support.small_ca import SmallCa
from tests.support.uplink_bench import UplinkBench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[4]
WILL = Outgoing(topic="carelock/state", payload=b"offline", retain=True)
HELLO = Outgoing(topic="a/b", payload=b"hello")


def settings(broker: FrameBroker, **changes: object) -> BrokerSettings:
    chosen = {"host": "127.0.0.1", "port": broker.port, "client_id": "gateway", "keepalive_s": 10} | changes
    return BrokerSettings(**chosen)  # type: ignore[arg-type]  # as given


@asynccontextmanager
async def connected(
    protocol: str = "5", connack: bytes = b"", **changes: object
) -> AsyncIterator[tuple[PahoSession, Peer, FrameBroker]]:
    async with FrameBroker(protocol) as broker:
        connecting = asyncio.ensure_future(PahoBroker(settings(broker, protocol=protocol, **changes)).connect(WILL))
        peer = await broker.next_peer()
        await peer.receive()
        peer.accept(connack)
        session = cast("PahoSession", await connecting)
        try:
            yield session, peer, broker
        finally:
            await session.close()


async def end_of(session: PahoSession) -> BrokerError:
    async with asyncio.timeout(5):
        while True:
            try:
                await session.next_message()
            except BrokerError as error:
                return error


protocols = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


async def test_connect_asks_for_a_clean_start_and_leaves_a_retained_will() -> None:
    async with FrameBroker() as broker:
        connecting = asyncio.ensure_future(PahoBroker(settings(broker, username="gw", password="pw")).connect(WILL))
        peer = await broker.next_peer()
        sent = await peer.receive()
        properties = b"\x11\x00\x00\x00\x00" + b"\x21\x00\x14" + b"\x27" + PACKET_SIZE_MAX.to_bytes(4, "big")
        assert sent.head == CONNECT
        assert sent.body == (
            b"\x00\x04MQTT\x05"
            b"\xee"  # user name, password, will at QoS 1 and retained, clean start
            b"\x00\x0a"
            + length(len(properties))
            + properties
            + b"\x00\x07gateway\x00\x00\x0ecarelock/state\x00\x07offline\x00\x02gw\x00\x02pw"
        )
        peer.accept(session_present=True)  # wrong after a clean start: nothing is assumed from it
        await (await connecting).close()


async def test_connect_over_3_1_1_asks_for_a_clean_session() -> None:
    async with FrameBroker("3.1.1") as broker:
        connecting = asyncio.ensure_future(PahoBroker(settings(broker, protocol="3.1.1")).connect(WILL))
        peer = await broker.next_peer()
        assert (await peer.receive()).body == (
            b"\x00\x04MQTT\x04\x2e\x00\x0a\x00\x07gateway\x00\x0ecarelock/state\x00\x07offline"
        )
        peer.accept()
        await (await connecting).close()


async def test_close_says_goodbye_so_that_no_will_is_published() -> None:
    async with connected() as (session, peer, _):
        await session.close()
        await session.close()
        assert (await peer.receive()).head == DISCONNECT
        assert (await end_of(session)).code == BrokerCode.CLOSED


@pytest.mark.parametrize(
    ("protocol", "connack", "detail"),
    [
        ("5", b"\x20\x03\x00\x87\x00", "Not authorized"),
        ("5", b"\x20\x03\x00\x88\x00", "Server unavailable"),
        ("5", b"\x20\x05\x00\x00\x02\x24\x00", "QoS 1"),
        ("5", b"\x20\x05\x00\x00\x02\x25\x00", "retained"),
        ("3.1.1", b"\x20\x02\x00\x05", "Not authorized"),
        ("3.1.1", b"\x20\x02\x00\x01", "no answer to CONNECT"),
    ],
)
async def test_a_broker_that_will_not_have_us_or_lacks_what_we_need_is_refused(
    protocol: str, connack: bytes, detail: str
) -> None:
    async with FrameBroker(protocol) as broker:
        connecting = asyncio.ensure_future(PahoBroker(settings(broker, protocol=protocol)).connect(WILL))
        peer = await broker.next_peer()
        peer.send(connack)
        with pytest.raises(BrokerError, match=detail) as caught:
            await connecting
        assert caught.value.code == BrokerCode.REFUSED
        await peer.at_end()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n", b"\x00" * 64])
async def test_whatever_else_answers_there_is_no_session(answer: bytes) -> None:
    async with FrameBroker() as broker:
        connecting = asyncio.ensure_future(PahoBroker(settings(broker)).connect(WILL))
        peer = await broker.next_peer()
        await peer.receive()
        peer.send(answer)
        await asyncio.sleep(0.01)
        peer.reset()
        with pytest.raises(BrokerError):
            await connecting


async def test_a_broker_that_never_answers_connect_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_S_MAX", 0.2)
    async with FrameBroker() as broker:
        with pytest.raises(BrokerError) as caught:
            await PahoBroker(settings(broker)).connect(WILL)
        assert caught.value.code == BrokerCode.TIMEOUT
        peer = await broker.next_peer()
        await peer.at_end()  # nothing is left behind


async def test_nobody_listening_is_unreachable() -> None:
    async with FrameBroker() as broker:
        free = settings(broker)
    with pytest.raises(BrokerError) as caught:
        await PahoBroker(free).connect(WILL)
    assert caught.value.code == BrokerCode.UNREACHABLE


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        (0x00, PublishOutcome.DELIVERED),
        (0x10, PublishOutcome.NO_SUBSCRIBERS),
        (0x80, PublishOutcome.REFUSED),
        (0x87, PublishOutcome.REFUSED),
        (0x97, PublishOutcome.REFUSED),
        (0x99, PublishOutcome.REFUSED),
    ],
)
async def test_a_publish_is_judged_by_its_acknowledgement(reason: int, outcome: PublishOutcome) -> None:
    async with connected() as (session, peer, _):
        answered = session.publish(HELLO)
        sent = await peer.receive()
        assert sent.head == PUBLISH | 0x02
        peer.acknowledge(b"\xff\xff")  # for something that was never sent
        peer.acknowledge(sent.packet_id, reason)
        peer.acknowledge(sent.packet_id, 0x87)  # and once more
        assert await answered is outcome


async def test_publishes_keep_their_order_and_acknowledgements_need_not() -> None:
    async with connected() as (session, peer, _):
        answered = [session.publish(Outgoing(topic="t", payload=bytes([number]))) for number in range(3)]
        sent = [await peer.receive() for _ in range(3)]
        assert [each.body[-1] for each in sent] == [0, 1, 2]
        for each in reversed(sent):
            peer.acknowledge(each.packet_id)
        assert await asyncio.gather(*answered) == [PublishOutcome.DELIVERED] * 3


@pytest.mark.parametrize("encrypted", [False, True])
async def test_what_a_slow_reader_lets_through_in_pieces_arrives_whole_and_in_order(
    tmp_path: Path, *, encrypted: bool
) -> None:
    ca = SmallCa.make(tmp_path)
    context = ca.server_context(*ca.issue("broker")) if encrypted else None
    tls = TlsSettings(ca_file=ca.file) if encrypted else None
    async with FrameBroker(tls=context) as broker:
        connecting = asyncio.ensure_future(PahoBroker(settings(broker, tls=tls)).connect(WILL))
        peer = await broker.next_peer()
        await peer.receive()
        peer.accept()
        session = await connecting
        payloads = [bytes([number]) * 1_000_000 for number in range(PUBLISH_WINDOW_COUNT)]
        answered = [session.publish(Outgoing(topic="t", payload=payload)) for payload in payloads]
        await asyncio.sleep(0.2)  # as much as the sockets hold has gone, and no more goes
        for payload in payloads:
            sent = await peer.receive()
            assert sent.body.endswith(payload)
            peer.acknowledge(sent.packet_id)
        assert set(await asyncio.gather(*answered)) == {PublishOutcome.DELIVERED}
        await session.close()


async def test_a_full_window_leaves_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected() as (session, peer, _):
        writes: list[int] = []

        class Watched:
            def __init__(self, sock: Any) -> None:
                self._sock = sock

            def __getattr__(self, name: str) -> Any:
                return getattr(self._sock, name)

            def send(self, data: bytes) -> int:
                writes.append(len(data))
                return int(self._sock.send(data))

        monkeypatch.setattr(session._client, "_sock", Watched(session._client._sock))  # noqa: SLF001 - paho's socket
        for _ in range(PUBLISH_WINDOW_COUNT):
            _ = session.publish(HELLO)
        for _ in range(PUBLISH_WINDOW_COUNT):
            await peer.receive()
        assert len(writes) == 1


async def test_correlation_and_expiry_travel_with_a_publish() -> None:
    async with connected() as (session, peer, _):
        _ = session.publish(Outgoing(topic="t", payload=b"p", correlation=b"c", expiry_s=120, retain=True))
        sent = await peer.receive()
        assert sent.head == PUBLISH | 0x03
        assert sent.body == b"\x00\x01t\x00\x01\x09\x02\x00\x00\x00\x78\x09\x00\x01cp"


async def test_a_receive_maximum_of_one_is_obeyed() -> None:
    async with connected(connack=b"\x21\x00\x01") as (session, peer, _):
        _ = session.publish(HELLO)
        _ = session.publish(HELLO)
        first = await peer.receive()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await peer.receive()
        peer.acknowledge(first.packet_id)
        assert (await peer.receive()).packet_id != first.packet_id


async def test_no_more_than_the_window_is_unanswered_at_a_broker_that_would_take_more() -> None:
    async with connected(connack=b"\x21\xff\xff") as (session, peer, _):
        for _ in range(PUBLISH_WINDOW_COUNT + 1):
            _ = session.publish(HELLO)
        for _ in range(PUBLISH_WINDOW_COUNT):
            await peer.receive()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await peer.receive()


@pytest.mark.parametrize(("size", "sent"), [(50, True), (51, False)])
async def test_a_packet_that_the_broker_would_not_take_is_refused_here(size: int, *, sent: bool) -> None:
    overhead = len(HELLO.topic) + 32
    async with connected(connack=b"\x27" + (50 + overhead).to_bytes(4, "big")) as (session, peer, _):
        answered = session.publish(Outgoing(topic=HELLO.topic, payload=bytes(size)))
        assert answered.done() is not sent
        if sent:
            await peer.receive()
        else:
            assert await answered is PublishOutcome.REFUSED


@protocols
async def test_all_subscriptions_granted_is_success(protocol: str) -> None:
    async with connected(protocol) as (session, peer, _):
        subscribing = asyncio.ensure_future(session.subscribe(["a/+", "b"]))
        sent = await peer.receive()
        assert sent.head == SUBSCRIBE
        assert sent.body.endswith(b"\x00\x03a/+\x01\x00\x01b\x01")
        peer.grant(sent.packet_id, b"\x01\x01")
        await subscribing


@protocols
@pytest.mark.parametrize("codes", [b"\x01\x80", b"\x80\x80", b"\x01"])
async def test_a_subscription_that_is_not_granted_is_an_error(protocol: str, codes: bytes) -> None:
    async with connected(protocol) as (session, peer, _):
        subscribing = asyncio.ensure_future(session.subscribe(["a/+", "b"]))
        peer.grant((await peer.receive()).packet_id, codes)
        with pytest.raises(BrokerError) as caught:
            await subscribing
        assert caught.value.code == BrokerCode.NOT_PERMITTED


@protocols
async def test_messages_come_out_in_order_with_what_mqtt_5_adds(protocol: str) -> None:
    async with connected(protocol) as (session, peer, _):
        extra = b"\x08\x00\x03r/1\x09\x00\x02\x00\xff" if protocol == "5" else b""
        peer.publish(b"a", b"1", properties=extra)
        peer.publish(b"b", b"2", head=PUBLISH | 0x01)
        peer.publish(b"c", b"3", head=PUBLISH | 0x02)
        added = {"response_topic": "r/1", "correlation": b"\x00\xff"} if protocol == "5" else {}
        assert await session.next_message() == Incoming(topic="a", payload=b"1", retained=False, **added)  # type: ignore[arg-type]  # as given
        assert await session.next_message() == Incoming(topic="b", payload=b"2", retained=True)
        assert await session.next_message() == Incoming(topic="c", payload=b"3", retained=False)
        assert await peer.receive() == Frame(0x40, b"\x00\x01")


async def test_a_packet_split_at_every_byte_is_read() -> None:
    async with connected() as (session, peer, _):
        for byte in frame(PUBLISH, b"\x00\x03a/b\x00" + bytes(200)):
            peer.send(bytes([byte]))
            await asyncio.sleep(0.001)
        assert (await session.next_message()).payload == bytes(200)


async def test_attack_a_topic_that_is_not_utf_8_is_dropped_and_the_session_goes_on() -> None:
    async with connected() as (session, peer, _):
        peer.publish(b"\xff\xfe", b"1")
        peer.publish(b"a", b"2")
        assert (await session.next_message()).payload == b"2"


async def test_a_payload_up_to_the_bound_is_read_and_one_beyond_is_dropped() -> None:
    async with connected() as (session, peer, _):
        peer.publish(b"a", bytes(PAYLOAD_SIZE_MAX + 1))
        peer.publish(b"b", bytes(PAYLOAD_SIZE_MAX))
        message = await session.next_message()
        assert (message.topic, len(message.payload)) == ("b", PAYLOAD_SIZE_MAX)


@pytest.mark.parametrize("size", [PACKET_SIZE_MAX + 1, 200_000_000, 268_435_455])
async def test_attack_a_huge_packet_ends_the_session_before_its_body(size: int) -> None:
    async with connected() as (session, peer, _):
        peer.send(bytes([PUBLISH]) + length(size))  # and never a byte of it
        peer.send(b"x")
        assert (await end_of(session)).code == BrokerCode.OVERSIZE


VICTIM = """
import asyncio, sys
from pathlib import Path
from benchmarks.memory import resident_kib
from gatewayd.uplink.broker import PahoBroker
from gatewayd.uplink.seam import BrokerError, BrokerSettings, Outgoing

async def main():
    settings = BrokerSettings(host="127.0.0.1", port=int(sys.argv[1]), client_id="victim")
    session = await PahoBroker(settings).connect(Outgoing(topic="w", payload=b""))
    before_kib = resident_kib()
    try:
        while True:
            await session.next_message()
    except BrokerError as error:
        print(error.code, resident_kib() - before_kib)

asyncio.run(main())
"""


async def test_attack_a_huge_packet_costs_less_than_a_megabyte_of_memory() -> None:
    async with FrameBroker() as broker:
        command = (sys.executable, "-c", VICTIM, str(broker.port))
        victim = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        peer = await broker.next_peer()
        await peer.receive()
        peer.accept()
        peer.send(bytes([PUBLISH]) + length(200_000_000))
        for _ in range(320):
            peer.send(bytes(65_536))
            await asyncio.sleep(0)
        said, _ = await victim.communicate()
        code, grown_kib = said.decode().split()
        assert code == BrokerCode.OVERSIZE
        assert int(grown_kib) < 1_024


async def test_attack_a_topic_alias_that_was_never_allowed_ends_the_session() -> None:
    async with connected() as (session, peer, _):
        peer.publish(b"", b"1", properties=b"\x23\x00\x01")
        assert (await end_of(session)).code == BrokerCode.MALFORMED


async def test_attack_a_message_at_qos_2_ends_the_session() -> None:
    async with connected() as (session, peer, _):
        peer.publish(b"a", b"1", head=PUBLISH | 0x04)
        assert (await end_of(session)).code == BrokerCode.MALFORMED


async def test_a_session_that_the_broker_claims_to_have_kept_is_subscribed_anew(tmp_path: Path) -> None:
    async with FrameBroker() as broker, UplinkBench(tmp_path, client=PahoBroker(settings(broker))) as bench:
        bench.start()
        for _ in range(2):
            peer = await broker.next_peer()
            connect = await peer.receive()
            assert connect.body[7] & 0x02, "a clean start"
            peer.accept(session_present=True)
            assert (await peer.receive()).head == SUBSCRIBE
            peer.reset()


async def test_a_session_taken_over_says_so() -> None:
    async with connected() as (session, peer, _):
        peer.send(b"\xe0\x02\x8e\x00")
        assert (await end_of(session)).code == BrokerCode.TAKEN_OVER


@pytest.mark.parametrize("reason", [0x89, 0x8B, 0x9C, 0x9D])
async def test_a_broker_that_sends_us_elsewhere_is_not_followed(reason: int) -> None:
    async with connected() as (session, peer, broker):
        reference = b"\x1c\x00\x09evil:8883"
        body = bytes([reason]) + length(len(reference)) + reference
        peer.send(frame(DISCONNECT, body))
        assert (await end_of(session)).code == BrokerCode.LOST
        await asyncio.sleep(0.05)
        assert broker.connection_count == 1


async def test_an_answer_to_a_subscription_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SUBSCRIBE_S_MAX", 0.1)
    async with connected() as (session, peer, _):
        with pytest.raises(BrokerError) as caught:
            await session.subscribe(["a"])
        assert caught.value.code == BrokerCode.TIMEOUT
        peer.grant((await peer.receive()).packet_id, b"\x01")  # too late
        peer.publish(b"a", b"1")
        assert (await session.next_message()).payload == b"1"


async def test_attack_a_broker_that_withholds_one_acknowledgement_for_ever_is_given_up() -> None:
    async with connected() as (session, peer, _):
        _ = session.publish(HELLO)
        session._client._last_mid = 0  # noqa: SLF001 - as after 65,535 publishes
        with pytest.raises(BrokerError) as caught:
            await session.publish(HELLO)
        assert caught.value.code == BrokerCode.STALLED
        await peer.at_end()


async def test_the_end_of_a_session_ends_everything_that_waits_on_it() -> None:
    async with connected() as (session, peer, _):
        answered = session.publish(HELLO)
        subscribing = asyncio.ensure_future(session.subscribe(["a"]))
        await peer.receive()
        await peer.receive()
        peer.publish(b"a", b"last")
        await asyncio.sleep(0.05)
        peer.reset()
        assert (await session.next_message()).payload == b"last"
        assert (await end_of(session)).code == BrokerCode.LOST
        for waiting in (answered, subscribing, session.publish(HELLO), session.subscribe(["b"])):
            with pytest.raises(BrokerError):
                await waiting


@protocols
async def test_a_half_open_connection_is_noticed_within_one_and_a_half_keepalives(protocol: str) -> None:
    loop = asyncio.get_running_loop()
    async with connected(protocol, keepalive_s=1) as (session, peer, _):
        began_s = loop.time()
        assert (await peer.receive()).head == PINGREQ
        assert (await end_of(session)).code == BrokerCode.SILENT
        assert loop.time() - began_s < 1.8


@pytest.mark.parametrize("server_keepalive_s", [0, 600])
async def test_a_longer_keepalive_of_the_server_is_not_taken_over(server_keepalive_s: int) -> None:
    connack = b"\x13" + server_keepalive_s.to_bytes(2, "big")
    async with connected(connack=connack, keepalive_s=1) as (_, peer, _):
        for _ in range(2):
            assert (await peer.receive()).head == PINGREQ
            peer.send(b"\xd0\x00")


async def test_a_shorter_keepalive_of_the_server_is_obeyed() -> None:
    async with connected(connack=b"\x13\x00\x01", keepalive_s=15) as (_, peer, _):
        async with asyncio.timeout(10):
            assert (await peer.receive()).head == PINGREQ


async def test_a_connection_that_answers_pings_stays() -> None:
    async with connected(keepalive_s=1) as (session, peer, _):
        for _ in range(3):
            assert (await peer.receive()).head == PINGREQ
            peer.send(b"\xd0\x00")
        peer.publish(b"a", b"alive")
        assert (await session.next_message()).payload == b"alive"


async def test_a_broker_that_answers_pings_but_no_publish_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACK_S_MAX", 0.5)
    async with connected(keepalive_s=1) as (session, peer, _):
        _ = session.publish(HELLO)
        await peer.receive()
        assert (await end_of(session)).code == BrokerCode.STALLED


async def test_a_bug_in_a_callback_ends_the_session_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with connected() as (session, peer, _):
        monkeypatch.setattr(session._inbox, "put", broken)  # noqa: SLF001 - the planted bug
        peer.publish(b"a", b"1")
        assert (await end_of(session)).code == BrokerCode.FAULT


async def test_a_reader_that_does_not_keep_up_makes_the_broker_hold_the_rest() -> None:
    async with connected() as (session, peer, _):
        total = 20 * INCOMING_COUNT_MAX
        for number in range(total):
            peer.publish(b"a", number.to_bytes(2, "big") + bytes(500))
        await asyncio.sleep(0.2)
        assert len(session._inbox._messages) <= INCOMING_COUNT_MAX + 1  # noqa: SLF001 - the bound itself
        for number in range(total):
            assert (await session.next_message()).payload[:2] == number.to_bytes(2, "big")


async def test_no_thread_is_started_for_a_session() -> None:
    before = set(threading.enumerate())

    def started() -> set[str]:
        return {thread.name.rpartition("_")[0] for thread in set(threading.enumerate()) - before}

    async with connected() as (session, peer, _):
        assert started() <= {"broker-resolve"}
        answered = session.publish(HELLO)
        peer.acknowledge((await peer.receive()).packet_id)
        await answered
        assert started() <= {"broker-resolve"}


@pytest.mark.parametrize("seed", range(8))
async def test_attack_random_frames_end_at_most_the_session(seed: int) -> None:
    random = Random(seed)
    for _ in range(25):
        async with connected(random.choice(["5", "3.1.1"])) as (session, peer, _):
            _ = session.publish(HELLO)
            for _ in range(random.randrange(1, 8)):
                body = random.randbytes(random.randrange(40))
                peer.send(frame(random.randrange(256), body) if random.random() < 0.8 else body)
            await asyncio.sleep(0.001)
            peer.reset()
            error = await end_of(session)
            assert error.code in set(BrokerCode) - {BrokerCode.FAULT}
