"""A lock's bad manners, one by one: what the gateway's end of the link sees of them."""

from __future__ import annotations

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Bolt
from simulator.mechanics import Mechanics
from simulator.quirks import Quirks, QuirkyLock
from tests.support.echo_lock import EchoLock
from tests.support.manual_scheduler import ManualScheduler


class FarEnd:
    """The gateway's end of a link: what was notified, and whether the link is up."""

    value_size_max = 20

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.connected = True

    def send_value(self, value: bytes) -> None:
        self.heard.append(value)

    def disconnect(self) -> None:
        self.connected = False


class Link:
    """A lock that says back what it hears, behind `quirks`."""

    def __init__(self, quirks: Quirks) -> None:
        self.scheduler = ManualScheduler()
        self.echo = EchoLock()
        self.reboot_count = 0
        self.far = FarEnd()
        self.lock = QuirkyLock(self.echo, quirks, self.scheduler, reboot=self._reboot)
        self.lock.gateway_connected(self.far)

    def say(self, *values: bytes) -> list[bytes]:
        for value in values:
            self.lock.gateway_value(value)
        return self.far.heard

    def _reboot(self) -> None:
        self.reboot_count += 1


VALUES = (b"one.", b"two.", b"three.", b"four.")


@pytest.mark.parametrize(
    ("quirks", "heard"),
    [
        (Quirks(), [b"one.", b"two.", b"three.", b"four."]),
        (Quirks(garble_every=2), [b"one.", b"two/", b"three.", b"four/"]),
        (Quirks(cut_every=3), [b"one.", b"two.", b"three", b"four."]),
        (Quirks(double_every=4), [b"one.", b"two.", b"three.", b"four.", b"four."]),
        (Quirks(mute_after=3), [b"one.", b"two."]),
    ],
    ids=["none", "garble", "cut", "double", "mute"],
)
async def test_values_to_the_gateway_suffer_as_asked(quirks: Quirks, heard: list[bytes]) -> None:
    link = Link(quirks)
    assert link.say(*VALUES) == heard
    assert link.far.connected


async def test_a_late_lock_keeps_the_order() -> None:
    link = Link(Quirks(latency_ms=500))
    assert link.say(*VALUES) == []
    link.scheduler.advance(499)
    assert link.far.heard == []
    link.scheduler.advance(1)
    assert link.far.heard == list(VALUES)


async def test_a_link_that_drops_takes_the_answer_with_it_but_not_the_command() -> None:
    link = Link(Quirks(drop_after=2))
    assert link.say(b"one.", b"two.") == [b"one."]
    assert not link.far.connected


async def test_what_was_late_is_not_said_on_the_next_link() -> None:
    link = Link(Quirks(latency_ms=500))
    link.say(b"one.")
    link.lock.gateway_disconnected()
    link.scheduler.advance(1_000)
    assert link.far.heard == []


async def test_counts_begin_anew_with_each_link() -> None:
    link = Link(Quirks(reboot_after=2))
    link.say(b"one.")
    link.lock.gateway_disconnected()
    link.lock.gateway_connected(link.far)
    link.say(b"one.")
    assert link.reboot_count == 0
    link.say(b"two.")
    assert link.reboot_count == 1


def test_a_bolt_that_slips_is_where_it_was_although_the_motor_is_done() -> None:
    scheduler = ManualScheduler()
    mechanics = Mechanics(scheduler, motor_ms=100)
    mechanics.slip()
    said: list[Code] = []
    mechanics.drive(Bolt.UNLOCKED, bytes(16), said.append)
    scheduler.advance(100)
    assert (said, mechanics.bolt) == ([Code.DONE], Bolt.LOCKED)
    mechanics.free()
    mechanics.drive(Bolt.UNLOCKED, bytes(16), said.append)
    scheduler.advance(100)
    assert (said, mechanics.bolt) == ([Code.DONE, Code.DONE], Bolt.UNLOCKED)
