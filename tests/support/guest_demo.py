"""The story of `make demo` in a guest of its own: the shipped service on the stock kernel, systemd and BlueZ."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulator.demo import play
from simulator.demo_home import HomeFiles
from simulator.demo_report import Teller
from simulator.demo_stage import People
from simulator.demo_world import find_mosquitto
from simulator.mqtt_client import MqttVersion
from simulator.office import Office
from simulator.seams import SystemEntropy
from tests.support.guest_world import GuestWorld

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.demo_promises import Ledger
    from tests.support.guest import Guest
    from tests.support.guest_phases import Phases

STORY_S_MAX: Final = 400.0
"""Longest time for the whole story, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestDemo:
    """How the story went."""

    ledger: Ledger
    last_words: str
    """The end of the gateway's journal."""


async def play_in_guest(guest: Guest, folder: Path, phases: Phases) -> GuestDemo:
    """Play it, with the counterparts on this machine and their files in `folder`."""
    office = Office(SystemEntropy().token(32))
    people = People(office, office.home("Oak Street 12"), now_s=int(time.time()))
    mosquitto = find_mosquitto()
    mqtt = MqttVersion.V311 if mosquitto is None else MqttVersion.V5
    world = GuestWorld(HomeFiles(root=folder), office, people.home, mosquitto=mosquitto, mqtt=mqtt, guest=guest)
    teller = Teller(as_json=False, now_ms=lambda: time.monotonic_ns() // 1_000_000)
    try:
        with phases("make demo, provisioning included"):
            ledger, summary = await play(world, people, teller, story_s_max=STORY_S_MAX)
    finally:
        await world.tear_down()
    for label, elapsed_ms in summary.latencies_ms.items():
        phases.note(f"{elapsed_ms / 1_000:11.1f} s    {label}")
    return GuestDemo(ledger=ledger, last_words=guest.journal_file.read_text()[-4_000:])
