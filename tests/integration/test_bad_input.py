"""Bad input costs nothing: the daemon as a process among hostile bytes, broken files and things that are missing."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.topics import Topics
from gatewayd import exits
from tests.support.errands import Carer, Errand
from tests.support.gateway_folder import GatewayFolder
from tests.support.home_audit import audit
from tests.support.real_home import RealHome

if TYPE_CHECKING:
    from pathlib import Path

SEED: Final = 2_026
FIVE_MISTAKES: Final = """\
[gateway]
state_directory = "state"
runtime_directory = "run"
colour = "red"

[mqtt]
port = "x"
protocol = "4"
tls = false

[limits]
lock_burst = 1000
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def garbage() -> list[bytes]:
    """Nonsense of every kind, the same in each run."""
    chance = random.Random(SEED)
    noise = [chance.randbytes(size) for size in (1, 2, 16, 64, 500, 1_900, 5_000, 60_000)]
    shaped = [b"\xd2\x84", b"\xd8\x62\x84\x40", b"\x83\x41\x00\x41\x00\x41\x00", b"\x9f" * 200, b"\x81" * 500]
    return [*noise, *shaped, b"{", b'{"bundle": 7}', b'{"bundle": "%%%"}', b"[" * 3_000, b"\xff\xfe"]


async def unlocked(home: RealHome) -> Errand:
    """Let the carer in, as if nothing had happened."""
    await home.wait_connected()
    await home.wait_clock()
    await home.lock_again()
    errand = await Carer(home).unlock()
    assert errand is not None
    assert errand.final is Code.DONE
    return errand


async def test_garbage_on_every_topic_and_from_the_lock_costs_nothing(tmp_path: Path) -> None:
    async with RealHome(tmp_path) as home, home.stranger() as stranger:
        await home.start_gateway()
        topics = Topics.of(home.people.home.gateway_id)
        for topic in topics.subscriptions:
            for payload in garbage():
                await stranger.publish(topic.replace("+", "x"), payload)
        await stranger.publish(topics.command, b"\x81\x41\x00", retain=True)
        await home.hears("downlink.dropped")
        errands = [await unlocked(home)]
        pid = home.world.gateway.pid
        for _ in range(3):
            lost_count = len(home.said("link.lost"))
            await home.world.hand("garble")
            await home.world.hand("knob")  # the event that it tells of is what gets garbled
            await home.hears_again("link.lost", lost_count)
            errands.append(await unlocked(home))
        assert home.world.gateway.pid == pid
        await audit(home, errands)


async def test_a_missing_broker_is_waited_for(tmp_path: Path) -> None:
    async with RealHome(tmp_path) as home:
        await home.world.stop_broker()
        await home.world.gateway.start()
        await home.hears("uplink.lost", code="broker.unreachable")
        await home.hears("daemon.ready")
        await home.world.start_broker()
        await home.wait_connected()
        await audit(home, [await unlocked(home)])


async def test_a_second_daemon_on_the_same_store_refuses_and_the_first_goes_on(tmp_path: Path) -> None:
    async with RealHome(tmp_path) as home:
        await home.start_gateway()
        second = run_gateway(home.world.files.config)
        assert second.returncode == exits.SOFTWARE
        assert "store.locked" in second.stderr
        assert "Traceback" not in second.stderr
        await audit(home, [await unlocked(home)])


async def test_a_stop_during_an_unlock_ends_in_time_and_the_next_start_knows_how_it_went(tmp_path: Path) -> None:
    async with RealHome(tmp_path) as home, home.alarm_centre():
        await home.start_gateway()
        before = await home.motor_count()
        os.kill(home.world.gateway.pid, signal.SIGTERM)
        errand = await Carer(home).unlock()
        assert await home.world.gateway.ended() == exits.OK
        await home.start_gateway()
        assert await home.motor_count() - before <= 1
        await audit(home, [] if errand is None or not errand.told else [errand])


def test_five_mistakes_in_a_configuration_are_five_lines_and_exit_78(tmp_path: Path) -> None:
    folder = GatewayFolder(tmp_path)
    folder.config.write_text(FIVE_MISTAKES)
    told = run_gateway(folder.config)
    assert told.returncode == exits.CONFIG
    assert "Traceback" not in told.stderr
    for line, key in ((4, "colour"), (7, "port"), (8, "protocol"), (12, "lock_burst")):
        assert f"config.toml:{line}: " in told.stderr, told.stderr
        assert key in told.stderr
    assert "host" in told.stderr


def test_a_key_that_others_can_read_and_one_that_is_missing_are_refused_with_78(tmp_path: Path) -> None:
    folder = GatewayFolder(tmp_path)
    (folder.credentials / "gateway-link.key").chmod(0o644)
    (folder.credentials / "gateway-identity.key").unlink()
    told = run_gateway(folder.config)
    assert told.returncode == exits.CONFIG
    for name in ("gateway-link.key", "gateway-identity.key"):
        assert name in told.stderr


def test_somebody_elses_database_is_left_alone_with_78(tmp_path: Path) -> None:
    folder = GatewayFolder(tmp_path)
    other = sqlite3.connect(folder.store)
    other.execute("CREATE TABLE photos (name)")
    other.close()
    before = folder.store.read_bytes()
    told = run_gateway(folder.config)
    assert told.returncode == exits.CONFIG
    assert "store.foreign" in told.stderr
    assert folder.store.read_bytes() == before


def run_gateway(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gatewayd", "run", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
