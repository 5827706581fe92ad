"""Phones at the door: what they may ask of the gateway, how much, and for how long."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.constants import RELAY_AGE_MS_MAX, RELAY_BUNDLE_MS_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.messages import Message, RelayClose, RelayData, RelayOpen
from firmware_protocol.noise import KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer, RelayPhone
from gatewayd.channel import Channel, Submission
from gatewayd.errors import GatewayError
from gatewayd.link.faults import LinkLost
from gatewayd.link.relay_channel import DENIED_GAP_MS, STORY_COUNT_MAX, RelayChannels
from tests.support.link_home import Desk, Diary
from tests.support.manual_clock import ManualClock
from tests.support.seeded_entropy import SeededEntropy
from tests.support.session_pair import GATEWAY_KEYS
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd.channel import Responder

LOCK_ID = b"lockid-8"


class Doorstep:
    """Channels, and the lock's end of the session as a list."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.diary = Diary()
        self.desk = Desk()
        self.sent: list[Message] = []
        self.channels = RelayChannels(
            lock_id=LOCK_ID,
            keys=GATEWAY_KEYS,
            submit=self.desk,
            listener=self.diary,
            clock=self.clock,
            entropy=SeededEntropy(1),
        )
        self.channels.attach(self.sent.append)

    def open(self, number: int) -> DoorPhone:
        """Let the lock announce a phone."""
        challenge = number.to_bytes(16, "big")
        self.take(RelayOpen(channel=number, challenge=challenge, up_ms=1))
        return DoorPhone(self, number, challenge)

    def take(self, message: RelayOpen | RelayData | RelayClose) -> None:
        """Let the lock say something."""
        self.channels.take(message, self.clock.now())

    def closes(self) -> list[tuple[int, Code]]:
        """Return the channels that the gateway has closed, and why."""
        return [(message.channel, message.code) for message in self.sent if isinstance(message, RelayClose)]


class DoorPhone:
    """A phone on one channel."""

    def __init__(self, doorstep: Doorstep, number: int, challenge: bytes) -> None:
        self.number = number
        self.challenge = challenge
        self._doorstep = doorstep
        self._relay = RelayPhone(
            decider_key=GATEWAY_KEYS.public,
            challenge=challenge,
            ephemeral=KeyPair.from_private(bytes([number]) * 32),
        )

    def say(self, bundle: bytes) -> None:
        """Send a bundle."""
        self.say_raw(self._relay.open(bundle))

    def say_raw(self, data: bytes) -> None:
        """Send bytes."""
        self._doorstep.take(RelayData(channel=self.number, data=data))

    def answers(self) -> list[RelayAnswer]:
        """Read what has come on this channel."""
        mine = [message for message in self._doorstep.sent if isinstance(message, RelayData)]
        return [self._relay.read(message.data) for message in mine if message.channel == self.number]


@asynccontextmanager
async def doorstep() -> AsyncIterator[Doorstep]:
    step = Doorstep()
    task = asyncio.create_task(step.channels.run())
    yield step
    assert not task.done(), task
    task.cancel()
    await asyncio.wait({task})


async def settle() -> None:
    await asyncio.sleep(0.001)


async def say_all(_submission: Submission, responder: Responder) -> None:
    await responder.receipt(b"decided")
    await asyncio.sleep(2)
    await responder.receipt(b"outcome")
    await responder.info(b"info")


def test_a_bundle_is_submitted_with_its_lock_and_challenge_and_each_answer_goes_back_in_order() -> None:
    async def story() -> None:
        async with doorstep() as step:
            step.desk.story = say_all
            phone = step.open(1)
            assert step.diary.challenges == [phone.challenge]
            phone.say(b"bundle")
            await settle()
            assert step.desk.submissions == [
                Submission(channel=Channel.RELAY, bundle=b"bundle", lock_id=LOCK_ID, challenge=phone.challenge)
            ]
            assert len(step.sent) == 1
            await asyncio.sleep(3)
            assert phone.answers() == [
                RelayAnswer(kind=AnswerKind.RECEIPT, body=b"decided"),
                RelayAnswer(kind=AnswerKind.RECEIPT, body=b"outcome"),
                RelayAnswer(kind=AnswerKind.INFO, body=b"info"),
            ]
            assert step.sent[-1] == RelayClose(channel=1, code=Code.DONE)

    run_virtual(story())


def test_attack_who_proves_nothing_is_denied_once_a_second_and_otherwise_only_hung_up_on() -> None:
    async def story() -> None:
        async with doorstep() as step:
            phones = []
            for number, wait_ms in enumerate((0, DENIED_GAP_MS - 1, 1, DENIED_GAP_MS), start=1):
                await asyncio.sleep(wait_ms / 1_000)
                phones.append(step.open(number))
                phones[-1].say(b"a stranger's")
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            denied = RelayAnswer(kind=AnswerKind.DENIED)
            assert [phone.answers() for phone in phones] == [[denied], [], [denied], [denied]]
            assert step.closes() == [(number, Code.DENIED) for number in range(1, 5)]

    run_virtual(story())


@pytest.mark.parametrize("data", [b"x", bytes(48), b"g" * 1_980], ids=["short", "zeros", "garbage"])
def test_attack_garbage_is_hung_up_on_and_never_submitted(data: bytes) -> None:
    async def story() -> None:
        async with doorstep() as step:
            step.open(1).say_raw(data)
            await settle()
            assert step.sent == [RelayClose(channel=1, code=Code.DENIED)]
            assert step.desk.submissions == []

    run_virtual(story())


def test_attack_a_bundle_recorded_on_another_channel_is_worth_nothing() -> None:
    async def story() -> None:
        async with doorstep() as step:
            first, second = step.open(1), step.open(2)
            recorded = first._relay.open(b"bundle")  # noqa: SLF001 - an ear in the lock
            second.say_raw(recorded)
            await settle()
            assert step.closes() == [(2, Code.DENIED)]
            assert step.desk.submissions == []

    run_virtual(story())


def test_a_phone_says_one_thing() -> None:
    async def story() -> None:
        async with doorstep() as step:
            step.desk.story = say_all
            phone = step.open(1)
            phone.say(b"bundle")
            phone.say_raw(b"and another thing")
            await asyncio.sleep(5)
            assert step.closes() == [(1, Code.DENIED)]
            assert len(step.desk.submissions) == 1
            assert phone.answers() == []

    run_virtual(story())


@pytest.mark.parametrize(("wait_ms", "closed"), [(RELAY_BUNDLE_MS_MAX - 1, False), (RELAY_BUNDLE_MS_MAX, True)])
def test_a_phone_that_says_nothing_has_eight_seconds(wait_ms: int, *, closed: bool) -> None:
    async def story() -> None:
        async with doorstep() as step:
            step.open(1)
            await asyncio.sleep(wait_ms / 1_000)
            await asyncio.sleep(0)
            assert step.closes() == ([(1, Code.EXPIRED)] if closed else [])

    run_virtual(story())


def test_a_channel_has_fifteen_seconds_and_the_story_that_it_began_goes_on() -> None:
    async def story() -> None:
        ended: list[str] = []

        async def slow(_submission: Submission, responder: Responder) -> None:
            await responder.receipt(b"decided")
            await asyncio.sleep(RELAY_AGE_MS_MAX / 1_000 + 5)
            await responder.receipt(b"outcome")
            ended.append("recorded")

        async with doorstep() as step:
            step.desk.story = slow
            phone = step.open(1)
            phone.say(b"bundle")
            await asyncio.sleep(RELAY_AGE_MS_MAX / 1_000 - 0.001)
            assert step.closes() == []
            await asyncio.sleep(0.002)
            assert step.closes() == [(1, Code.EXPIRED)]
            await asyncio.sleep(10)
            assert ended == ["recorded"]
            assert len(phone.answers()) == 1
            assert len(step.closes()) == 1

    run_virtual(story())


def test_the_third_phone_takes_the_place_of_the_oldest_silent_one() -> None:
    async def story() -> None:
        async with doorstep() as step:
            step.desk.story = say_all
            speaking = step.open(1)
            speaking.say(b"bundle")
            step.open(2)
            step.open(3)
            assert step.closes() == [(2, Code.BUSY)]
            assert len(step.diary.challenges) == 3

    run_virtual(story())


def test_attack_phones_that_speak_keep_their_places_and_a_refused_newcomers_challenge_is_not_learned() -> None:
    async def story() -> None:
        async with doorstep() as step:
            step.desk.story = say_all
            for number in (1, 2):
                step.open(number).say(b"bundle")
            step.open(3).say(b"bundle")
            assert step.closes() == [(3, Code.BUSY)]
            assert len(step.diary.challenges) == 2
            await asyncio.sleep(5)
            assert len(step.desk.submissions) == 2

    run_virtual(story())


def test_attack_phones_that_come_and_go_do_not_pile_up_stories() -> None:
    async def story() -> None:
        async def endless(_submission: Submission, _responder: Responder) -> None:
            await asyncio.sleep(3_600)

        async with doorstep() as step:
            step.desk.story = endless
            for number in range(1, STORY_COUNT_MAX + 3):
                step.open(number).say(b"bundle")
                await settle()
                step.take(RelayClose(channel=number, code=Code.LINK_DOWN))
            assert len(step.desk.submissions) == STORY_COUNT_MAX
            assert step.closes() == [(STORY_COUNT_MAX + 1, Code.BUSY), (STORY_COUNT_MAX + 2, Code.BUSY)]

    run_virtual(story())


@pytest.mark.parametrize("number", [4, 5])
def test_attack_a_channel_number_used_again_is_the_locks_fault(number: int) -> None:
    async def story() -> None:
        async with doorstep() as step:
            step.open(5)
            with pytest.raises(RemoteProtocolError):
                step.open(number)

    run_virtual(story())


def test_a_new_session_counts_anew_and_the_phones_of_the_old_one_are_gone() -> None:
    async def story() -> None:
        async with doorstep() as step:
            step.desk.story = say_all
            old = step.open(7)
            old.say(b"bundle")
            await settle()
            step.sent.clear()
            step.channels.detach()
            await asyncio.sleep(1)
            step.channels.attach(step.sent.append)
            step.open(1)
            await asyncio.sleep(3)
            assert step.sent == []
            assert step.closes() == []

    run_virtual(story())


def test_a_phone_that_has_gone_is_nobodys_fault() -> None:
    async def story() -> None:
        async with doorstep() as step:
            step.desk.story = say_all
            phone = step.open(1)
            phone.say(b"bundle")
            step.take(RelayClose(channel=1, code=Code.LINK_DOWN))
            step.take(RelayClose(channel=1, code=Code.LINK_DOWN))
            step.take(RelayData(channel=1, data=b"late"))
            await asyncio.sleep(60)
            assert step.sent == []
            assert len(step.desk.submissions) == 1

    run_virtual(story())


def test_a_link_that_is_lost_under_an_answer_stops_no_story() -> None:
    async def story() -> None:
        def lost(_message: Message) -> None:
            raise LinkLost("radio.disconnected", "gone")

        async with doorstep() as step:
            step.desk.story = say_all
            step.channels.attach(lost)
            step.open(1).say(b"bundle")
            await asyncio.sleep(60)
            assert len(step.desk.submissions) == 1

    run_virtual(story())


def test_a_fault_of_the_house_closes_the_channel_and_nothing_else() -> None:
    async def story() -> None:
        async def fail(_submission: Submission, _responder: Responder) -> None:
            raise GatewayError("store.full", "the disk is full")

        async with doorstep() as step:
            step.desk.story = fail
            step.open(1).say(b"bundle")
            await settle()
            assert step.closes() == [(1, Code.STORE_UNAVAILABLE)]
            step.desk.story = say_all
            step.open(2).say(b"bundle")
            await asyncio.sleep(3)
            assert step.closes()[-1] == (2, Code.DONE)

    run_virtual(story())
