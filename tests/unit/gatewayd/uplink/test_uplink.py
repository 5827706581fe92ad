from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from firmware_protocol.topics import Topics
from gatewayd.uplink.outlet import Outlet
from gatewayd.uplink.seam import BrokerCode, BrokerError, Incoming, Outgoing
from gatewayd.uplink.uplink import BACKOFF_S_MAX, STEADY_S, UNSTEADY_COUNT, Uplink
from tests.support.inline_executor import InlineExecutor
from tests.support.memory_broker import MemoryBroker
from tests.support.uplink_bench import BOOT, Ears, UplinkBench
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gatewayd.uplink.seam import BrokerSession

ONLINE = json.dumps({"boot": BOOT, "state": "online"}, separators=(",", ":")).encode()
OFFLINE = ONLINE.replace(b"online", b"offline")


def on_bench(folder: Path, story: Callable[[UplinkBench], Awaitable[None]]) -> None:
    async def main() -> None:
        async with UplinkBench(folder, executor=InlineExecutor()) as bench:
            await story(bench)

    run_virtual(main())


def is_online(bench: UplinkBench) -> bool:
    return bench.broker.retained.get(bench.topics.state) == ONLINE


def test_online_is_published_retained_with_the_boot_number(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.start()
        await bench.until(lambda: bench.uplink.status.connected)
        assert is_online(bench)

    on_bench(tmp_path, story)


def test_online_is_not_said_before_every_subscription_is_granted(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        said: list[bytes] = []
        bench.broker.listen(bench.topics.state, lambda message: said.append(message.payload))
        bench.broker.refused_topics.add(bench.topics.command)
        bench.start()
        await asyncio.sleep(120)
        assert ONLINE not in said
        assert not is_online(bench)
        assert bench.uplink.status.code == BrokerCode.NOT_PERMITTED
        assert bench.topics.command in bench.uplink.status.detail
        assert bench.ears.alerts == [BrokerCode.NOT_PERMITTED]
        bench.broker.refused_topics.clear()
        await bench.until(lambda: is_online(bench), within_s=BACKOFF_S_MAX + 1)

    on_bench(tmp_path, story)


def test_a_clean_stop_says_offline_itself_and_leaves_no_will(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        heard: list[bytes] = []
        bench.broker.listen(bench.topics.state, lambda message: heard.append(message.payload))
        bench.start()
        await bench.until(lambda: is_online(bench))
        await bench.stop()
        await asyncio.sleep(1)
        assert heard == [ONLINE, OFFLINE]

    on_bench(tmp_path, story)


def test_a_lost_connection_leaves_the_will_until_it_is_back(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.start()
        await bench.until(lambda: is_online(bench))
        bench.broker.drop("gateway")
        assert bench.broker.retained[bench.topics.state] == OFFLINE
        await bench.until(lambda: is_online(bench), within_s=5)

    on_bench(tmp_path, story)


def test_retained_values_are_written_again_after_every_connect(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.board.put(bench.topics.info, b"old")
        bench.board.put(bench.topics.info, b"new")
        bench.board.put(bench.topics.health, b"well")
        bench.start()
        await bench.until(lambda: len(bench.broker.retained) == 3)
        bench.broker.stop()  # forgets everything
        bench.broker.start()
        await bench.until(lambda: len(bench.broker.retained) == 3)
        assert bench.broker.retained[bench.topics.info] == b"new"

    on_bench(tmp_path, story)


def test_a_changed_value_is_written_and_an_empty_one_taken_away(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        topic = bench.topics.lock_state(bytes(8))
        bench.start()
        await bench.until(lambda: is_online(bench))
        bench.board.put(topic, b"locked")
        await bench.until(lambda: bench.broker.retained.get(topic) == b"locked")
        bench.board.put(topic, b"")
        await bench.until(lambda: topic not in bench.broker.retained)
        await asyncio.sleep(1)
        before = bench.broker.publish_counts[topic]
        bench.broker.drop("gateway")
        await asyncio.sleep(60)
        assert bench.broker.publish_counts[topic] == before

    on_bench(tmp_path, story)


def test_an_answer_of_a_command_that_outlived_its_session_takes_the_next_one(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        answers: list[bytes] = []
        bench.broker.listen(bench.topics.response, lambda message: answers.append(message.payload))

        async def slow(_submission: object, responder: object) -> None:
            await asyncio.sleep(40)
            await responder.receipt(b"done")  # type: ignore[attr-defined]  # a Responder

        bench.ears.story = slow
        bench.start()
        await bench.until(lambda: is_online(bench))
        bench.send(bench.topics.command, b'{"bundle":"AAAA"}')
        await asyncio.sleep(1)
        bench.broker.drop("gateway")
        await asyncio.sleep(60)
        assert answers == [b'{"receipt":"ZG9uZQ"}']

    on_bench(tmp_path, story)


def test_reconnecting_is_quick_at_first_and_never_waits_longer_than_its_cap(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        attempts: list[float] = []
        loop = asyncio.get_running_loop()

        async def refuse(_client_id: str, _will: Outgoing) -> None:
            attempts.append(loop.time())
            raise BrokerError(BrokerCode.UNREACHABLE, "nothing listens")

        bench.broker.accept = refuse  # type: ignore[method-assign, assignment]  # a broker that counts
        bench.start()
        await asyncio.sleep(3_600)
        gaps = [later - earlier for earlier, later in itertools.pairwise(attempts)]
        assert gaps[0] <= 2
        assert max(gaps) <= BACKOFF_S_MAX
        assert max(gaps) > BACKOFF_S_MAX / 2
        assert len(attempts) > 3_600 / BACKOFF_S_MAX
        assert bench.ears.alerts == []

    on_bench(tmp_path, story)


def test_a_steady_session_ends_the_streak_of_failures(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.broker.stop()
        bench.start()
        await asyncio.sleep(300)
        assert bench.uplink.status.attempt_count > 5
        bench.broker.start()
        await bench.until(lambda: is_online(bench), within_s=BACKOFF_S_MAX + 1)
        await asyncio.sleep(STEADY_S + 1)
        bench.broker.drop("gateway")
        await bench.until(lambda: is_online(bench), within_s=2.5)

    on_bench(tmp_path, story)


def test_attack_a_copy_with_our_client_id_makes_us_back_off_and_alert_once(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.start()
        await bench.until(lambda: is_online(bench))
        will = Outgoing(topic="copy", payload=b"")
        for _ in range(100):
            await bench.broker.client("gateway").connect(will)
            await asyncio.sleep(10)
        assert bench.ears.alerts == [BrokerCode.TAKEN_OVER]
        assert bench.broker.connect_count < 180  # the copy's hundred, and ours ever more seldom

    on_bench(tmp_path, story)


def test_sessions_that_keep_ending_without_a_word_raise_one_alert(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.start()
        for count in range(1, 8):
            await bench.until(lambda: bench.uplink.status.connected)
            bench.broker.drop("gateway")
            await asyncio.sleep(0.001)
            assert bench.ears.alerts == ([BrokerCode.UNSTEADY] if count >= UNSTEADY_COUNT else [])

    on_bench(tmp_path, story)


class Idle:
    """A part that does nothing with the session."""

    async def run(self, session: BrokerSession) -> None:
        with suppress(BrokerError):
            await session.next_message()
        raise BrokerError(BrokerCode.LOST)

    async def work(self) -> None:
        await asyncio.Event().wait()


@pytest.mark.no_cover
def test_after_an_outage_a_thousand_gateways_come_back_within_the_cap_and_not_at_once() -> None:
    async def story() -> None:
        broker = MemoryBroker(Random(1))
        broker.stop()
        idle: Any = Idle()
        uplinks = [
            Uplink(
                broker=broker.client(f"gateway-{number}"),
                topics=Topics(f"{number:016x}"),
                boot=1,
                downlink=idle,
                outbox=idle,
                outlet=Outlet(),
                board=idle,
                alerts=Ears(),
                random=Random(number),
            )
            for number in range(1_000)
        ]
        running = [asyncio.ensure_future(uplink.run()) for uplink in uplinks]
        await asyncio.sleep(45)
        broker.start()
        counts = [0]
        for _ in range(int(BACKOFF_S_MAX) + 1):
            await asyncio.sleep(1)
            counts.append(broker.connect_count)
        assert counts[-1] == 1_000
        assert all(uplink.status.connected for uplink in uplinks)
        assert max(later - earlier for earlier, later in itertools.pairwise(counts)) < 1.5 * 1_000 / (
            BACKOFF_S_MAX / 2
        )  # the mean wait is half the cap
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    with capture_logs():  # printing takes longer than all the rest
        run_virtual(story())


def test_a_disk_that_fails_does_not_cost_the_session(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        bench.start()
        await bench.until(lambda: is_online(bench))
        await bench.store.close()
        bench.grown.set()
        await asyncio.sleep(600)
        assert bench.uplink.status.connected
        assert bench.broker.connect_count == 1

    on_bench(tmp_path, story)


def test_a_bug_in_a_part_comes_out_so_that_the_daemon_ends_and_is_restarted(tmp_path: Path) -> None:
    async def story(bench: UplinkBench) -> None:
        async def broken(_session: object) -> None:
            raise ZeroDivisionError

        bench.board.run = broken  # type: ignore[method-assign, assignment]  # a planted bug
        with pytest.raises(ExceptionGroup) as caught:
            await bench.uplink.run()
        assert caught.group_contains(ZeroDivisionError)

    on_bench(tmp_path, story)


async def test_the_broker_in_memory_keeps_the_seams_promises() -> None:
    broker = MemoryBroker(Random(1), latency_ms=(0, 1))
    will = Outgoing(topic="will", payload=b"gone", retain=True)
    one, two = await broker.client("one").connect(will), await broker.client("two").connect(will)
    await two.subscribe(["a/+/c", "deep/#"])
    await one.publish(Outgoing(topic="a/b/c", payload=b"1", correlation=b"x"))
    await one.publish(Outgoing(topic="a/b/d", payload=b"2"))
    await one.publish(Outgoing(topic="deep/down/below", payload=b"3"))
    assert await two.next_message() == Incoming(topic="a/b/c", payload=b"1", retained=False, correlation=b"x")
    assert (await two.next_message()).payload == b"3"
    broker.drop("one")
    assert broker.retained == {"will": b"gone"}
    with pytest.raises(BrokerError):
        await one.publish(Outgoing(topic="a/b/c", payload=b"late"))
