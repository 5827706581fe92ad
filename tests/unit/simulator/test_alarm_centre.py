from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.relay import AnswerKind, RelayAnswer
from firmware_protocol.vocabulary import Phase, Tier
from simulator.alarm_centre import RESEND_MS, AlarmCentre
from simulator.mqtt_client import MqttVersion
from simulator.office import unlock_over_mqtt
from simulator.phone import verify_door
from tests.support.homes import NOW_S, TestHome
from tests.support.scripted_gateway import EPOCH, ScriptedGateway
from tests.support.seeded_entropy import SeededEntropy
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
BOTH = pytest.mark.parametrize("version", list(MqttVersion))


@pytest.fixture(scope="module")
def home() -> TestHome:
    return TestHome.make()


def bundle_of(home: TestHome) -> bytes:
    operator = home.office.operator("operator-1", now_s=NOW_S)
    command_id = home.office.token("id")
    return unlock_over_mqtt(operator, home.home, epoch=EPOCH, issued_s=100, command_id=command_id, now_s=NOW_S)


def at_the_centre(home: TestHome, gateway: ScriptedGateway, work: Callable[[AlarmCentre], Awaitable[T]]) -> T:
    async def main() -> T:
        door = verify_door(home.office.door(home.home), keyset=home.keyset)
        async with AlarmCentre(gateway, door=door, entropy=SeededEntropy(1)) as centre:
            return await work(centre)

    return run_virtual(main())


@BOTH
def test_a_command_ends_with_its_outcome(home: TestHome, version: MqttVersion) -> None:
    def script(gateway: ScriptedGateway, bundle: bytes) -> list[RelayAnswer]:
        return [gateway.receipt(bundle, Code.PERMITTED), gateway.receipt(bundle, Code.DONE, phase=Phase.OUTCOME)]

    gateway = ScriptedGateway(home.home, script, version=version)
    reply = at_the_centre(home, gateway, lambda centre: centre.command(bundle_of(home), patience_ms=9_000))
    assert [receipt.code for receipt in reply.receipts] == [Code.PERMITTED, Code.DONE]
    assert (reply.final, reply.sent_count, reply.unverified_count) == (Code.DONE, 1, 0)
    assert gateway.asked == [bundle_of(home)]


@BOTH
def test_denied_ends_a_command(home: TestHome, version: MqttVersion) -> None:
    gateway = ScriptedGateway(home.home, lambda _g, _b: [RelayAnswer(kind=AnswerKind.DENIED)], version=version)
    reply = at_the_centre(home, gateway, lambda centre: centre.command(bundle_of(home), patience_ms=9_000))
    assert (reply.denied, reply.receipts, reply.sent_count) == (True, (), 1)


@pytest.mark.parametrize(("patience_ms", "sent_count"), [(2 * RESEND_MS - 1, 2), (2 * RESEND_MS + 1, 3)])
def test_the_same_bytes_are_sent_again_until_patience_ends(home: TestHome, patience_ms: int, sent_count: int) -> None:
    gateway = ScriptedGateway(home.home)
    reply = at_the_centre(home, gateway, lambda centre: centre.command(bundle_of(home), patience_ms=patience_ms))
    assert gateway.asked == [bundle_of(home)] * sent_count
    assert (reply.final, reply.sent_count, reply.decided_ms) == (None, sent_count, None)


def test_attack_a_receipt_by_another_key_is_silence_and_the_command_goes_on(home: TestHome) -> None:
    def script(gateway: ScriptedGateway, bundle: bytes) -> list[RelayAnswer]:
        if len(gateway.asked) == 1:
            mallory = home.office.signing_key("mallory")
            return [gateway.receipt(bundle, Code.DONE, phase=Phase.OUTCOME, key=mallory)]
        return [gateway.receipt(bundle, Code.DONE, phase=Phase.OUTCOME)]

    gateway = ScriptedGateway(home.home, script)
    reply = at_the_centre(home, gateway, lambda centre: centre.command(bundle_of(home), patience_ms=9_000))
    assert (reply.final, reply.unverified_count, reply.sent_count) == (Code.DONE, 1, 2)


def test_attack_a_receipt_for_another_command_is_silence(home: TestHome) -> None:
    other = home.office.operator("operator-2", now_s=NOW_S)
    bundle = unlock_over_mqtt(
        other, home.home, epoch=EPOCH, issued_s=1, command_id=home.office.token("other"), now_s=NOW_S
    )
    gateway = ScriptedGateway(home.home, lambda g, _b: [g.receipt(bundle, Code.DONE, phase=Phase.OUTCOME)])
    reply = at_the_centre(home, gateway, lambda centre: centre.command(bundle_of(home), patience_ms=1_000))
    assert (reply.receipts, reply.unverified_count) == ((), 1)


@BOTH
def test_where_the_gateway_stands_comes_with_a_clock_that_goes_on(home: TestHome, version: MqttVersion) -> None:
    gateway = ScriptedGateway(home.home, lambda g, nonce: [g.info(nonce)], version=version)
    standing = at_the_centre(home, gateway, lambda centre: centre.ask_info())
    assert standing is not None
    assert (standing.info.tier, standing.epoch_of(home.home.lock_id)) == (Tier.FRESH, EPOCH)
    assert standing.now_s(home.home.lock_id, standing.heard_ms + 999) == 100
    assert standing.now_s(home.home.lock_id, standing.heard_ms + 1_000) == 101


def test_attack_an_info_over_an_older_nonce_tells_no_time(home: TestHome) -> None:
    gateway = ScriptedGateway(home.home, lambda g, _nonce: [g.info(bytes(16))])
    assert at_the_centre(home, gateway, lambda centre: centre.ask_info(patience_ms=3_000)) is None
    assert len(gateway.asked) == 2


def test_attack_an_info_by_another_key_tells_nothing(home: TestHome) -> None:
    mallory = home.office.signing_key("mallory")
    gateway = ScriptedGateway(home.home, lambda g, nonce: [g.info(nonce, key=mallory)])
    assert at_the_centre(home, gateway, lambda centre: centre.ask_info(patience_ms=1_000)) is None


def test_a_lock_that_the_gateway_does_not_serve_is_a_fault(home: TestHome) -> None:
    gateway = ScriptedGateway(home.home, lambda g, nonce: [g.info(nonce)])
    standing = at_the_centre(home, gateway, lambda centre: centre.ask_info())
    assert standing is not None
    with pytest.raises(LookupError):
        standing.epoch_of(bytes(8))


def test_the_signed_objects_are_left_retained(home: TestHome) -> None:
    gateway = ScriptedGateway(home.home)
    topics = gateway.topics
    at_the_centre(
        home,
        gateway,
        lambda centre: centre.publish_authority(keyset=b"k", state=b"s", authorities={"north-care": b"a"}),
    )
    assert gateway.published == [
        (topics.authority_keyset, b"k", True),
        (topics.authority_state, b"s", True),
        (topics.authority_provider("north-care"), b"a", True),
    ]


def test_what_the_gateway_shows_is_kept_by_topic(home: TestHome) -> None:
    gateway = ScriptedGateway(home.home)

    async def work(centre: AlarmCentre) -> bytes:
        gateway.deliver(centre.topics.state, b"online")
        return (await centre.wait_shown(centre.topics.state)).payload

    assert at_the_centre(home, gateway, work) == b"online"
    assert gateway.topics.lock_state(home.home.lock_id) in gateway.filters


@pytest.mark.parametrize("noise", [b"", b"{}", b"\xff", b'{"correlation":"zz","receipt":"!"}', b"[]"])
@BOTH
def test_noise_in_the_place_of_an_answer_is_silence(home: TestHome, version: MqttVersion, noise: bytes) -> None:
    gateway = ScriptedGateway(home.home, version=version)

    async def work(centre: AlarmCentre) -> object:
        gateway.deliver(centre.topics.response, noise)
        return (await centre.command(bundle_of(home), patience_ms=1_000)).final

    assert at_the_centre(home, gateway, work) is None


def test_a_broker_that_goes_leaves_the_command_unanswered(home: TestHome) -> None:
    gateway = ScriptedGateway(home.home)
    gateway.go()
    reply = at_the_centre(home, gateway, lambda centre: centre.command(bundle_of(home), patience_ms=1_000))
    assert reply.final is None
