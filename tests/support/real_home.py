"""One home of real processes, with the people who use its door: air, lock, broker, central log, and the daemon."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final, Self

from simulator.demo_audit import holdings_of
from simulator.demo_home import HomeFiles
from simulator.demo_online import alarm_centre
from simulator.demo_stage import People, Phones, door_for
from simulator.demo_world import World, find_mosquitto, poll
from simulator.mqtt_client import MqttClient, MqttVersion
from simulator.office import Office
from simulator.seams import SystemEntropy

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from simulator.alarm_centre import AlarmCentre
    from simulator.demo_audit import Holdings

MOTOR_MS: Final = 100
"""One stroke: short, so that many fit into a test, and long enough to be killed in the middle of."""
WAIT_S_MAX: Final = 30.0
"""Longest wait for anything, in seconds; much more than a busy machine needs."""
CONFIG: Final = """\
[limits]
lock_burst = 100
emergency_burst = 100
interval_ms = 1000
"""
"""So many unlocks that no test reaches a limit by chance."""


class RealHome:
    """`async with RealHome(folder) as home`: everything runs but the gateway, which is provisioned."""

    wait_s_max = WAIT_S_MAX

    def __init__(self, folder: Path, *, config: str = CONFIG, make_world: Callable[..., World] = World) -> None:
        office = Office(SystemEntropy().token(32))
        mosquitto = find_mosquitto()
        self.people = People(office, office.home("Oak Street 12"), now_s=int(time.time()))
        self.world = make_world(
            HomeFiles(root=folder),
            office,
            self.people.home,
            mosquitto=mosquitto,
            mqtt=MqttVersion.V311 if mosquitto is None else MqttVersion.V5,
            motor_ms=MOTOR_MS,
        )
        self.door = door_for(office, self.people.home, now_s=self.people.now_s)
        self._config = config
        self._knob = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Start it."""
        drop_in = self.world.files.config.parent / "conf.d" / "50-test.toml"
        drop_in.parent.mkdir(parents=True)
        drop_in.write_text(self._config)
        try:
            await self.world.set_up(now_s=self.people.now_s)
        except BaseException:
            await self.world.tear_down()
            raise
        self.phones = Phones(self.world, self.door)  # the radios are known from here on
        return self

    async def __aexit__(self, *_: object) -> None:
        """End every process that was started, and nothing else."""
        await self.phones.__aexit__()
        await self.world.tear_down()

    def alarm_centre(self) -> contextlib.AbstractAsyncContextManager[AlarmCentre]:
        """Connect the alarm centre, which leaves the signed objects at the broker."""
        return alarm_centre(self.world, self.people, self.door)

    def stranger(self) -> MqttClient:
        """Return a client that anybody could be."""
        return MqttClient(port=self.world.broker_port, client_id="stranger", version=self.world.mqtt)

    # The gateway.

    async def start_gateway(self) -> None:
        """Start the daemon on the store that is there, and wait until lock and broker are connected."""
        await self.world.gateway.start()
        await self.wait_connected()

    async def is_connected(self) -> bool:
        """Tell whether the daemon has a link to its lock and a session with its broker."""
        status = await self.world.status()
        return status is not None and status["broker"]["connected"] and status["locks"][0]["ready"]

    async def wait_connected(self) -> None:
        """Wait until the daemon has a link to its lock and a session with its broker."""
        await self.wait(self.is_connected, "link and broker")

    async def wait_clock(self) -> None:
        """Wait until the daemon knows the time: until then it admits no shift grant."""
        await self.wait(self._is_clock_trusted, "a trusted clock")

    async def wait_quiet(self) -> None:
        """Wait until the central log has signed for everything, and the lock has been told so."""
        await self.wait(self._is_quiet, "everything signed for")

    async def wait(self, look: Callable[[], Awaitable[object]], wanted: str) -> None:
        """Wait until `look` finds something true; the test fails where it does not in `wait_s_max`."""
        if not await poll(look, timeout_s=self.wait_s_max):
            raise AssertionError(f"never seen: {wanted}; the gateway's last words:\n{self.world.gateway.tail()}")

    def said(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Return the lines of the daemon's log with this event name and these fields, of all its lives."""
        path = self.world.files.log("gateway")
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        documents = [json.loads(line) for line in lines if line.startswith("{")]
        return [each for each in documents if each.get("event") == event and fields.items() <= each.items()]

    async def hears(self, event: str, **fields: object) -> dict[str, Any]:
        """Wait until the daemon's log has such a line, and return the newest one."""
        return await self.hears_again(event, 0, **fields)

    async def hears_again(self, event: str, said_count: int, **fields: object) -> dict[str, Any]:
        """Wait until the daemon's log has more than `said_count` such lines, and return the newest one."""

        async def look() -> bool:
            return len(self.said(event, **fields)) > said_count

        await self.wait(look, f"{event} {fields}, more than {said_count} times")
        return self.said(event, **fields)[-1]

    # The lock.

    async def motor_count(self, command_id: bytes | None = None) -> int:
        """Return how often the motor has moved the bolt, for one command or at all: the lock's own truth."""
        movements = (await self.world.truth())["movements"]
        wanted = None if command_id is None else command_id.hex()
        return sum(each["cause"] == "motor" and wanted in {None, each["command_id"]} for each in movements)

    async def lock_again(self) -> None:
        """Wait until the bolt rests, and throw it by hand where it is withdrawn: another movement would show.

        One hand at a time: of two that see a withdrawn bolt the second would withdraw it again.
        """
        async with self._knob:
            await self.wait(self._rests, "a bolt that rests")
            if (await self.world.truth())["bolt"] == "unlocked":
                await self.world.hand("knob")

    # The central log.

    def holdings(self) -> Holdings:
        """Return what the central log holds."""
        held = self.world.look_at_central(lambda store: holdings_of(store, self.people.home.lock_id))
        assert held is not None, "the central log holds nothing"
        return held

    # Details.

    async def _is_clock_trusted(self) -> bool:
        status = await self.world.status()
        return status is not None and status["tier"] != "cold"

    async def _rests(self) -> bool:
        return (await self.world.truth())["bolt"] not in {"locking", "unlocking"}

    async def _is_quiet(self) -> bool:
        status, log = await self.world.status(), (await self.world.truth())["log"]
        told = log["last_seq"] == log["copied_seq"] == log["received_seq"]
        return status is not None and status["outbox"]["depth"] == 0 and told
