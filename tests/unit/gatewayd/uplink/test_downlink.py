from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.relay import AnswerKind, RelayAnswer
from gatewayd.channel import Channel, Submission
from gatewayd.errors import GatewayError
from gatewayd.uplink.downlink import SUBMISSION_COUNT_MAX, Drop
from gatewayd.uplink.seam import Incoming
from tests.support.inline_executor import InlineExecutor
from tests.support.uplink_bench import UplinkBench
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gatewayd.channel import Responder

BUNDLE = b"\x83bundle"
NONCE = bytes(range(16))


class Post:
    """A sender at the other side of the broker."""

    def __init__(self, bench: UplinkBench) -> None:
        self.answers: list[Incoming] = []
        for name in (bench.topics.response, bench.topics.response_to("+")):
            bench.broker.listen(name, self.answers.append)
        bench.broker.listen("elsewhere/#", self.answers.append)


def online(folder: Path, story: Callable[[UplinkBench, Post], Awaitable[None]]) -> None:
    async def main() -> None:
        async with UplinkBench(folder, executor=InlineExecutor()) as bench:
            post = Post(bench)
            bench.start()
            await bench.until(lambda: bench.uplink.status.connected)
            await story(bench, post)

    run_virtual(main())


async def answer_receipt(_submission: Submission, responder: Responder) -> None:
    await responder.receipt(b"decided")


async def deny(_submission: Submission, responder: Responder) -> None:
    await responder.denied()


def test_a_bare_command_is_submitted_and_answered_where_the_sender_wants(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, post: Post) -> None:
        bench.ears.story = answer_receipt
        where = bench.topics.response_to("centre-7")
        bench.send(bench.topics.command, BUNDLE, response_topic=where, correlation=b"c" * 64)
        await asyncio.sleep(1)
        assert bench.ears.submissions == [Submission(channel=Channel.MQTT, bundle=BUNDLE)]
        expected = RelayAnswer(kind=AnswerKind.RECEIPT, body=b"decided").to_bytes()
        assert post.answers == [Incoming(topic=where, payload=expected, retained=False, correlation=b"c" * 64)]

    online(tmp_path, story)


def test_a_json_command_is_answered_in_json(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, post: Post) -> None:
        bench.ears.story = answer_receipt
        bench.send(bench.topics.command, b'{"bundle":"g2J1bmRsZQ","correlation":"abc"}')
        await asyncio.sleep(1)
        assert bench.ears.submissions[0].bundle == b"\x83bundle"
        assert json.loads(post.answers[0].payload) == {"correlation": "abc", "receipt": "ZGVjaWRlZA"}
        assert post.answers[0].topic == bench.topics.response

    online(tmp_path, story)


def test_attack_a_response_topic_elsewhere_is_not_written_to(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, post: Post) -> None:
        bench.ears.story = answer_receipt
        bench.send(bench.topics.command, BUNDLE, response_topic="elsewhere/alarm", correlation=b"c")
        await asyncio.sleep(1)
        assert [each.topic for each in post.answers] == [bench.topics.response]

    online(tmp_path, story)


def test_attack_an_overlong_correlation_is_not_echoed(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, post: Post) -> None:
        bench.ears.story = answer_receipt
        bench.send(bench.topics.command, BUNDLE, correlation=b"c" * 65)
        await asyncio.sleep(1)
        assert post.answers[0].correlation is None

    online(tmp_path, story)


def test_attack_a_retained_command_is_dropped_and_answered_with_rejected(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, post: Post) -> None:
        bench.send(bench.topics.command, b'{"bundle":"AAAA","correlation":"x"}', retained=True)
        await bench.until(lambda: len(bench.ears.submissions) == 1)  # live it counts, once
        bench.broker.drop("gateway")
        await asyncio.sleep(30)
        assert len(bench.ears.submissions) == 1
        assert json.loads(post.answers[-1].payload) == {"correlation": "x", "rejected": "retained"}
        assert bench.downlink.dropped == {"retained": 1}

    online(tmp_path, story)


def test_the_unauthenticated_get_at_most_one_denial_a_second(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, post: Post) -> None:
        bench.ears.story = deny
        for _ in range(100):
            bench.send(bench.topics.command, BUNDLE)
            await asyncio.sleep(0.1)
        assert 9 <= len(post.answers) <= 11
        assert post.answers[0].payload == RelayAnswer(kind=AnswerKind.DENIED).to_bytes()

    online(tmp_path, story)


def test_attack_a_flood_of_slow_commands_is_bounded_and_what_is_beyond_is_dropped(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, _post: Post) -> None:
        async def slow(_submission: Submission, _responder: Responder) -> None:
            await asyncio.sleep(10)

        bench.ears.story = slow
        for _ in range(SUBMISSION_COUNT_MAX + 5):
            bench.send(bench.topics.command, BUNDLE)
        await asyncio.sleep(1)
        assert len(bench.ears.submissions) == SUBMISSION_COUNT_MAX
        assert bench.downlink.dropped == {"flood": 5}
        await bench.downlink.finish()
        bench.send(bench.topics.command, BUNDLE)
        await asyncio.sleep(1)
        assert len(bench.ears.submissions) == SUBMISSION_COUNT_MAX + 1

    online(tmp_path, story)


def test_an_exception_in_the_story_of_one_command_does_not_reach_the_next(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, _post: Post) -> None:
        async def broken(_submission: Submission, _responder: Responder) -> None:
            raise ZeroDivisionError

        bench.ears.story = broken
        bench.send(bench.topics.command, BUNDLE)
        bench.send(bench.topics.command, BUNDLE)
        await asyncio.sleep(1)
        assert len(bench.ears.submissions) == 2
        assert bench.downlink.dropped == {"fault": 2}
        assert bench.broker.connect_count == 1

    online(tmp_path, story)


def test_a_request_for_info_is_answered_over_the_askers_nonce(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, post: Post) -> None:
        bench.send(bench.topics.request("info"), NONCE)
        await asyncio.sleep(1)
        expected = RelayAnswer(kind=AnswerKind.INFO, body=b"info over " + NONCE).to_bytes()
        assert post.answers == [Incoming(topic=bench.topics.response_to("info"), payload=expected, retained=False)]

    online(tmp_path, story)


def test_requests_for_info_are_answered_at_most_five_times_a_second(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, post: Post) -> None:
        for _ in range(1_000):
            bench.send(bench.topics.request("info"), NONCE)
            await asyncio.sleep(0.01)
        assert 50 <= len(post.answers) <= 55

    online(tmp_path, story)


def test_a_retained_request_for_info_is_not_answered(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, post: Post) -> None:
        await bench.stop()
        bench.broker.retained[bench.topics.request("info")] = NONCE
        bench.start()
        await asyncio.sleep(1)
        assert post.answers == []
        assert bench.downlink.dropped == {"retained": 1}

    online(tmp_path, story)


def test_a_sender_who_must_ask_again_gets_an_info_with_the_refusal(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, post: Post) -> None:
        async def refuse(_submission: Submission, responder: Responder) -> None:
            await responder.receipt(b"wrong epoch")
            await responder.info(b"now")

        bench.ears.story = refuse
        bench.send(bench.topics.command, b'{"bundle":"AAAA"}')
        await asyncio.sleep(1)
        assert [list(json.loads(each.payload)) for each in post.answers] == [["receipt"], ["info"]]

    online(tmp_path, story)


@pytest.mark.parametrize("size", [15, 17])
def test_a_nonce_of_another_size_is_not_answered(tmp_path: Path, size: int) -> None:
    async def story(bench: UplinkBench, post: Post) -> None:
        bench.send(bench.topics.request("info"), bytes(size))
        await asyncio.sleep(1)
        assert post.answers == []
        assert bench.downlink.dropped == {"unreadable": 1}

    online(tmp_path, story)


def test_signed_objects_go_to_whom_they_are_for_also_retained(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, _post: Post) -> None:
        topics = bench.topics
        for topic in (
            topics.authority_keyset,
            topics.authority_state,
            topics.authority_provider("north-care"),
            topics.authority_grant("ab12"),
        ):
            bench.send(topic, topic.encode(), retained=True)
        bench.send(topics.alarm, b"alarm")
        await asyncio.sleep(1)
        live = [kind for kind, _ in bench.ears.objects]
        assert sorted(live) == ["alarm", "authority", "grant", "keyset", "state"]
        bench.ears.objects.clear()
        bench.broker.drop("gateway")
        await asyncio.sleep(30)
        assert [kind for kind, _ in bench.ears.objects] == ["keyset", "state", "authority", "grant"]

    online(tmp_path, story)


def test_attack_a_retained_alarm_or_receipt_is_dropped(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, _post: Post) -> None:
        await bench.stop()
        bench.broker.retained |= {bench.topics.alarm: b"alarm", bench.topics.log_receipt: b"receipt"}
        bench.start()
        await asyncio.sleep(1)
        assert bench.ears.objects == []
        assert bench.downlink.dropped == {"retained": 2}

    online(tmp_path, story)


@pytest.mark.parametrize(
    ("refusal", "drop"),
    [
        (RemoteProtocolError(Code.BAD_SIGNATURE, "not theirs"), "refused"),
        (GatewayError("store.full", "no room"), "fault"),
        (ZeroDivisionError("a bug"), "fault"),
    ],
)
def test_an_object_that_is_refused_is_counted_and_the_next_one_is_taken(
    tmp_path: Path, refusal: Exception, drop: str
) -> None:
    async def story(bench: UplinkBench, _post: Post) -> None:
        bench.ears.refusal = refusal
        bench.send(bench.topics.authority_keyset, b"bad")
        bench.send(bench.topics.authority_keyset, b"good")
        await asyncio.sleep(1)
        assert bench.ears.objects == [("keyset", b"good")]
        assert bench.downlink.dropped == {drop: 1}

    online(tmp_path, story)


def test_attack_garbage_on_every_topic_is_counted_and_changes_nothing(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, _post: Post) -> None:
        garbage = (b"\x00", b"\xff" * 2_000, b"{", b'{"bundle":7}', b"[" * 4_000, b"\xd2\x84", "é\n\x1b[31m".encode())
        verbs = [bench.topics.request(verb) for verb in ("info", "resend", "é")]
        for payload in garbage:
            for topic in (bench.topics.log_receipt, *verbs):
                bench.send(topic, payload)
        await asyncio.sleep(1)
        assert bench.uplink.status.connected
        assert bench.broker.connect_count == 1
        assert bench.downlink.dropped == {"refused": 7, "unreadable": 7, "topic": 14}
        assert (await bench.marks()).received == 0

    online(tmp_path, story)


def test_a_request_is_answered_in_its_own_encoding_and_a_retained_or_empty_one_is_not(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, post: Post) -> None:
        bench.send(bench.topics.request("drift"), b"signed")
        bench.send(bench.topics.request("drift"), b"")
        await bench.downlink.route(Incoming(topic=bench.topics.request("drift"), payload=b"old", retained=True))
        await asyncio.sleep(1)
        assert bench.ears.objects == [("request drift", b"signed")]
        assert bench.downlink.dropped == {"unreadable": 1, "retained": 1}
        (answered,) = (
            message.payload for message in post.answers if message.topic == bench.topics.response_to("drift")
        )
        assert RelayAnswer.from_bytes(answered) == RelayAnswer(kind=AnswerKind.REPORT, body=b"report of signed")

    online(tmp_path, story)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(Code.UNKNOWN_SIGNER, AnswerKind.DENIED), (Code.WRONG_EPOCH, AnswerKind.INFO), (Code.EXPIRED, AnswerKind.INFO)],
)
def test_a_refused_request_hears_denied_or_how_to_ask_rightly(tmp_path: Path, code: Code, kind: AnswerKind) -> None:
    async def story(bench: UplinkBench, post: Post) -> None:
        bench.ears.refusal = RemoteProtocolError(code, "no")
        bench.send(bench.topics.request("drift"), b"signed")
        await asyncio.sleep(1)
        (answered,) = (
            message.payload for message in post.answers if message.topic == bench.topics.response_to("drift")
        )
        assert RelayAnswer.from_bytes(answered).kind is kind
        assert bench.downlink.dropped == {"refused": 1}

    online(tmp_path, story)


def test_requests_are_answered_at_a_bounded_rate(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, _post: Post) -> None:
        for _ in range(20):
            bench.send(bench.topics.request("drift"), b"signed")
        await asyncio.sleep(0.1)
        assert len(bench.ears.objects) == 5
        assert bench.downlink.dropped == {"flood": 15}

    online(tmp_path, story)


def test_a_retained_object_that_is_taken_away_is_no_fault(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, _post: Post) -> None:
        bench.send(bench.topics.authority_grant("ab12"), b"")
        await asyncio.sleep(1)
        assert bench.ears.objects == []
        assert bench.downlink.dropped == {}

    online(tmp_path, story)


def test_attack_a_flood_of_garbage_writes_a_line_for_each_doubling_only(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, _post: Post) -> None:
        for _ in range(1_000):
            bench.send(bench.topics.request("nothing"), b"x")
        await asyncio.sleep(1)
        assert bench.downlink.dropped == {"topic": 1_000}

    with capture_logs() as lines:
        online(tmp_path, story)
    assert len([line for line in lines if line["log_level"] == "warning"]) == 10


class Flood:
    """A session whose messages are all here already."""

    def __init__(self, topic: str, count: int) -> None:
        self._message = Incoming(topic=topic, payload=b"", retained=False)
        self._left_count = count

    async def next_message(self) -> Incoming:
        if not self._left_count:
            await asyncio.Event().wait()
        self._left_count -= 1
        return self._message


def test_attack_a_flood_that_is_here_already_leaves_everybody_else_a_turn_after_each_message(tmp_path: Path) -> None:
    async def story(bench: UplinkBench, _post: Post) -> None:
        flood, turn_count = Flood(bench.topics.command, 50), 0
        running = asyncio.create_task(bench.downlink.run(flood))  # type: ignore[arg-type]  # all that it asks of a session
        while bench.downlink.dropped[Drop.UNREADABLE] < 50:
            turn_count += 1
            await asyncio.sleep(0)
        running.cancel()
        assert turn_count >= 50

    online(tmp_path, story)


def test_a_command_behind_ten_thousand_grants_is_decided_before_them_and_then_all_of_them_are_taken(
    tmp_path: Path,
) -> None:
    taken_before: list[int] = []

    async def story(bench: UplinkBench, post: Post) -> None:
        async def decide(_submission: Submission, responder: Responder) -> None:
            taken_before.append(len(bench.ears.objects))
            await responder.receipt(b"decided")

        bench.ears.story = decide
        grants = [number.to_bytes(4) for number in range(10_000)]
        for grant in grants:
            bench.send(bench.topics.authority_grant(grant.hex()), grant, retained=True)
        bench.send(bench.topics.authority_state, b"revoked", retained=True)
        bench.send(bench.topics.command, BUNDLE)
        await bench.until(lambda: len(post.answers) == 1)
        assert taken_before[0] <= 3
        await bench.until(lambda: len(bench.ears.objects) == 10_001)
        assert ("state", b"revoked") in bench.ears.objects[:3]
        assert [data for kind, data in bench.ears.objects if kind == "grant"] == grants
        assert bench.downlink.dropped == {}

    online(tmp_path, story)


def test_what_a_session_has_brought_is_taken_also_when_it_has_ended_and_what_comes_again_with_the_next_only_once(
    tmp_path: Path,
) -> None:
    async def story(bench: UplinkBench, _post: Post) -> None:
        grants = [number.to_bytes(4) for number in range(1_000)]
        for grant in grants:
            bench.send(bench.topics.authority_grant(grant.hex()), grant)
        await bench.until(lambda: len(bench.ears.objects) > 0)
        bench.broker.drop("gateway")
        await bench.until(lambda: len(bench.ears.objects) == 1_000)
        assert [data for _, data in bench.ears.objects] == grants

    online(tmp_path, story)
