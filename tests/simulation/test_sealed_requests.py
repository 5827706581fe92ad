"""Commands, alarms and grants sealed to the gateway: the broker can read neither them nor the answers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.chains import verify_keyset
from firmware_protocol.codes import Code
from firmware_protocol.noise import KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer
from firmware_protocol.sealed import Sealed, SealedBody, is_sealed, seal, unseal
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import BugReport, CommandReceipt
from gatewayd.rights_view import RightsView
from gatewayd.uplink.downlink import Drop
from gatewayd.uplink.seam import Incoming
from simulator.alarm_centre import AlarmCentre
from simulator.mqtt_client import Mail, MqttVersion
from simulator.office import unlock_over_mqtt
from simulator.phone import verify_door
from simulator.sealed_post import SealedPost
from tests.support.memory_world import PROVIDER, MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from firmware_protocol.orders import Door
    from gatewayd.house import House

ASKER = KeyPair.from_private(bytes(range(32)))


class SealedWorld(MemoryWorld):
    """A world in which somebody writes down all that the broker carries to the gateway and back from it."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self.carried: list[Incoming] = []
        for topic in ("command", "alarm", "response", "response/+", "authority/grants/+", "authority/state"):
            self.broker.listen(f"carelock/v1/+/{topic}", self.carried.append)

    @property
    def verified_door(self) -> Door:
        keyset = verify_keyset(self.keyset, roots=self.office.root_public_keys)
        return verify_door(self.door, keyset=keyset)

    def sealed(self, payload: bytes, *, answer_key: bytes = ASKER.public) -> bytes:
        ephemeral = KeyPair.from_private(self.entropy.token(32))
        body = SealedBody(payload=payload, answer_key=answer_key)
        return seal(body, to=self.home.gateway_link_keys.public, ephemeral=ephemeral)

    def answered(self) -> list[bytes]:
        """The payloads on the response topics so far."""
        return [message.payload for message in self.carried if "/response" in message.topic]

    def _take_answer(self, message: Incoming) -> None:
        """Nobody asks by the means of `MemoryWorld`."""


class MemoryPost:
    """A `Postman` of the broker in memory."""

    def __init__(self, world: MemoryWorld, version: MqttVersion) -> None:
        self.version = version
        self._world = world
        self._mail: asyncio.Queue[Mail] = asyncio.Queue()

    async def subscribe(self, filters: Sequence[str]) -> None:
        for each in filters:
            self._world.broker.listen(each, self._take)

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> None:
        if self.version is not MqttVersion.V5:
            response_topic = correlation = None
        message = Incoming(
            topic=topic, payload=payload, retained=False, response_topic=response_topic, correlation=correlation
        )
        self._world.broker.send(message, retain=retain)

    async def next_mail(self) -> Mail:
        return await self._mail.get()

    def _take(self, message: Incoming) -> None:
        self._mail.put_nowait(
            Mail(
                topic=message.topic,
                payload=message.payload,
                retained=message.retained,
                correlation=message.correlation if self.version is MqttVersion.V5 else None,
            )
        )


def in_a_home(folder: Path, seed: int, story: Callable[[SealedWorld, House], Awaitable[None]]) -> None:
    async def main() -> None:
        world = SealedWorld(folder, seed)
        async with world.gateway() as house:
            await world.settled()
            await story(world, house)

    run_virtual(main())


async def operators_bundle(world: SealedWorld, centre: AlarmCentre) -> bytes:
    """Open an alarm and return an operator's command under it."""
    standing = await centre.ask_info()
    assert standing is not None
    lock_id, alarm_ref = world.home.lock_id, world.entropy.token(16)
    epoch, now_s = standing.epoch_of(lock_id), standing.now_s(lock_id, centre.now_ms())
    await centre.raise_alarm(world.office.alarm(world.home, alarm_ref=alarm_ref, epoch=epoch, exp_s=now_s + 30))
    return unlock_over_mqtt(
        world.office.operator("olga-of-the-night", now_s=world.utc_s()),
        world.home,
        epoch=epoch,
        issued_s=now_s,
        command_id=world.entropy.token(16),
        now_s=world.utc_s(),
        alarm_ref=alarm_ref,
    )


@pytest.mark.parametrize("version", list(MqttVersion))
def test_an_operator_opens_and_the_broker_reads_neither_command_nor_answer(
    tmp_path: Path, version: MqttVersion
) -> None:
    async def story(world: SealedWorld, _house: House) -> None:
        post = SealedPost(MemoryPost(world, version), door=world.verified_door, entropy=world.entropy)
        async with AlarmCentre(post, door=world.verified_door, entropy=world.entropy) as centre:
            bundle = await operators_bundle(world, centre)
            reply = await centre.command(bundle, patience_ms=9_000)
        assert [receipt.code for receipt in reply.receipts] == [Code.PERMITTED, Code.DONE]
        assert len(world.command_movements) == 1
        in_the_clear = [message.payload for message in world.carried if not is_sealed(message.payload)]
        assert len(world.carried) - len(in_the_clear) >= 4  # alarm, command, decision, outcome
        # Where the gateway stands is asked and told in the open: it names nobody and nothing that happened.
        if version is MqttVersion.V5:
            assert {RelayAnswer.from_bytes(payload).kind for payload in in_the_clear} == {AnswerKind.INFO}
        else:
            assert {*map(frozenset, map(json.loads, in_the_clear))} == {frozenset({"info", "correlation"})}
        everything = b"".join(message.payload for message in world.carried)
        for word in (b"olga", bundle[:64], reply.raw_receipts[0], world.home.lock_id + b"\x03"):
            assert word not in everything

    in_a_home(tmp_path, 80, story)


def test_a_bug_report_that_was_asked_for_under_seal_is_read_by_the_asker_alone(tmp_path: Path) -> None:
    async def story(world: SealedWorld, house: House) -> None:
        exp_s = house.epoch.now_s(world.clock.now().boottime_ms) + 60
        asked = world.office.request(
            world.home, "bugreport", epoch=house.epoch.value, exp_s=exp_s, request_id=bytes(16), arguments=None
        )
        world.send(world.topics.request("bugreport"), world.sealed(asked))
        await asyncio.sleep(1)
        (payload,) = [message.payload for message in world.carried if is_sealed(message.payload)][-1:]
        answer = RelayAnswer.from_bytes(unseal(payload, ASKER).payload)
        assert answer.kind is AnswerKind.REPORT
        report = open_signed(BugReport, answer.body, bytes(world.home.gateway_signing_key.verify_key))
        everything = b"".join(message.payload for message in world.carried)
        assert report.report_id.encode() not in everything

    in_a_home(tmp_path, 86, story)


def test_a_grant_that_lies_sealed_at_the_broker_is_kept_for_the_day_without_internet(tmp_path: Path) -> None:
    async def story(world: SealedWorld, house: House) -> None:
        grant = world.office.grant(world.home, PROVIDER, "anna", now_s=world.utc_s())
        topic = world.topics.authority_grant("17")
        world.broker.send(
            Incoming(topic=topic, payload=world.sealed(grant, answer_key=b""), retained=False), retain=True
        )
        await asyncio.sleep(1)
        (line,) = (await RightsView(house).grants(b"")).grants
        assert line.subject == "anna"
        await world.kill_gateway()
        house = await world.start_gateway()  # the retained one comes again
        await world.settled()
        assert house.downlink.dropped == {}
        assert all(is_sealed(message.payload) for message in world.carried)

    in_a_home(tmp_path, 81, story)


def test_attack_the_same_sealed_command_again_moves_nothing_and_is_answered_sealed(tmp_path: Path) -> None:
    async def story(world: SealedWorld, _house: House) -> None:
        post = MemoryPost(world, MqttVersion.V5)
        async with AlarmCentre(post, door=world.verified_door, entropy=world.entropy) as centre:
            bundle = world.sealed(await operators_bundle(world, centre))
        world.carried.clear()
        for _ in range(2):
            world.send(world.topics.command, bundle)
            await asyncio.sleep(10)
        assert len(world.command_movements) == 1
        answers = [RelayAnswer.from_bytes(unseal(payload, ASKER).payload) for payload in world.answered()]
        key = bytes(world.home.gateway_signing_key.verify_key)
        codes = [open_signed(CommandReceipt, answer.body, key).code for answer in answers]
        assert codes[:2] == [Code.PERMITTED, Code.DONE]
        assert len(codes) >= 3

    in_a_home(tmp_path, 82, story)


def test_attack_nobody_can_tell_a_box_that_was_broken_from_one_that_holds_nonsense(tmp_path: Path) -> None:
    async def story(world: SealedWorld, house: House) -> None:
        whole = Sealed.from_bytes(world.sealed(b"\x83nonsense")).box
        foreign = seal(SealedBody(payload=b"\x83abc"), to=ASKER.public, ephemeral=KeyPair.from_private(bytes(32)))
        for payload in (
            Sealed(box=whole[:-1] + bytes((whole[-1] ^ 1,))).to_bytes(),
            foreign,
            world.sealed(b"{no json"),
            world.sealed(bytes(1_901)),
            world.sealed(b"\x83abc", answer_key=bytes(32)),
            b"\xa1\x00\x40",
            b"\xa1\x00\x59\xff\xff" + bytes(60_000),
        ):
            for topic in (world.topics.command, world.topics.request("drift")):
                world.send(topic, payload)
                await asyncio.sleep(2)  # one DENIED a second
        assert world.answered() == [RelayAnswer(kind=AnswerKind.DENIED).to_bytes()] * 14
        assert house.downlink.dropped == {"unreadable": 14}
        for payload in (foreign, b"\xa1\x00\x40"):
            world.send(world.topics.alarm, payload)
        await asyncio.sleep(2)
        assert len(world.answered()) == 14
        assert house.downlink.dropped[Drop.REFUSED] == 2

    in_a_home(tmp_path, 83, story)


def test_whoever_proves_nothing_inside_of_a_whole_box_is_denied_in_it(tmp_path: Path) -> None:
    async def story(world: SealedWorld, _house: House) -> None:
        world.send(world.topics.command, world.sealed(b"\x83nonsense"))
        await asyncio.sleep(1)
        (answer,) = world.answered()
        assert unseal(answer, ASKER).payload == RelayAnswer(kind=AnswerKind.DENIED).to_bytes()

    in_a_home(tmp_path, 84, story)


def test_attack_a_retained_sealed_command_is_never_opened(tmp_path: Path) -> None:
    async def story(world: SealedWorld, house: House) -> None:
        await world.kill_gateway()
        world.broker.retained[world.topics.command] = world.sealed(b"\x83abc")
        house = await world.start_gateway()
        await world.settled()
        assert house.downlink.dropped == {"retained": 1}
        assert world.answered() == [RelayAnswer(kind=AnswerKind.DENIED).to_bytes()]

    in_a_home(tmp_path, 85, story)
