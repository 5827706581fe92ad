"""The story of `make demo`, told with the shipped service on the stock kernel, systemd and BlueZ."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

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

    from tests.bluez.conftest import Phases
    from tests.support.guest import Guest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]


async def test_every_promise_of_the_demo_holds_on_the_real_stack(guest: Guest, tmp_path: Path, phases: Phases) -> None:
    office = Office(SystemEntropy().token(32))
    people = People(office, office.home("Oak Street 12"), now_s=int(time.time()))
    mosquitto = find_mosquitto()
    mqtt = MqttVersion.V311 if mosquitto is None else MqttVersion.V5
    world = GuestWorld(HomeFiles(root=tmp_path), office, people.home, mosquitto=mosquitto, mqtt=mqtt, guest=guest)
    teller = Teller(as_json=False, now_ms=lambda: time.monotonic_ns() // 1_000_000)
    try:
        with phases("make demo, provisioning included"):
            ledger, summary = await play(world, people, teller, story_s_max=400.0)
    finally:
        await world.tear_down()
    assert ledger.all_held, f"{ledger}\n{guest.journal_file.read_text()[-4_000:]}"
    for label, elapsed_ms in summary.latencies_ms.items():
        phases.note(f"{elapsed_ms / 1_000:11.1f} s    {label}")
