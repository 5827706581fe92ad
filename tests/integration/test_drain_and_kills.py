"""A long outage ends badly: while the gateway hands over what it has kept, broker and daemon are killed all the time.

Real processes with the broker of docs/operations.md, TLS and client certificates: `gatewayd run`, mosquitto, and the
central log's own process with its own store, which is all that is looked at afterwards.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from sqlite3 import OperationalError
from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol.checkpoint import parse_note
from firmware_protocol.vocabulary import Role
from gatewayd import exits
from gatewayd.cli.app import main
from gatewayd.control.client import ControlClient
from gatewayd.control.messages import ControlError
from gatewayd.journal.events import CommandOutcome, TimeStamp
from gatewayd.store.database import Database
from gatewayd.store.log import load_journal, read_log
from simulator.central import CentralCredentials
from simulator.central_store import CentralStore
from simulator.demo_processes import Child
from tests.support.gateway_folder import NOW_S, GatewayFolder
from tests.support.operations_document import documented_mosquitto
from tests.support.small_ca import SmallCa

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gatewayd.store.store import Transaction
    from simulator.central_store import AlarmRow
    from tests.support.mosquitto import Mosquitto

EVENT_COUNT: Final = 20_000
BROKER_KILL_COUNT: Final = 10
DAEMON_KILL_COUNT: Final = 5
WAIT_S_MAX: Final = 240

MQTT: Final = """\
[gateway]
state_directory = "state"
runtime_directory = "run"

[journal]
retain_count = 1000000

[mqtt]
host = "127.0.0.1"
port = {port}
ca_file = "{ca}"
cert_file = "{cert}"
"""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the central log's file says."""

    size: int = 0
    leaves: tuple[bytes, ...] = ()
    receipt_sizes: tuple[int, ...] = ()
    alarms: tuple[AlarmRow, ...] = ()


class Site:
    """One gateway with its broker and the central log, all of them processes."""

    def __init__(self, folder: Path, ca: SmallCa, mosquitto: Mosquitto) -> None:
        self.gateway = GatewayFolder(folder)
        self.mosquitto = mosquitto
        self._central_store = folder / "central.sqlite"
        home = self.gateway.home
        cert, key = ca.issue(home.gateway_id.hex())
        self.gateway.config.write_text(MQTT.format(port=mosquitto.port, ca=ca.file, cert=cert))
        self.gateway.secret("mqtt-client.key", key.read_bytes())
        assert main(["provision", str(self.gateway.write_papers()), "--config", str(self.gateway.config)]) == exits.OK
        credentials = folder / "central.json"
        CentralCredentials(
            receipt_key=self.gateway.office.role_keys[Role.RECEIPT],
            roots=self.gateway.office.root_public_keys,
            keyset=self.gateway.office.keyset(now_s=NOW_S),
            doors=(self.gateway.office.door(home),),
        ).save(credentials)
        central_cert, central_key = ca.issue("central-log")
        environ = {name: "" for name in os.environ if name.startswith("COVERAGE_")}
        self.daemon = Child(
            "gateway",
            (sys.executable, "-m", "gatewayd", "run", "--config", str(self.gateway.config)),
            log_file=folder / "gateway.log",
            environ=environ,
        )
        self.central = Child(
            "central",
            (
                *(sys.executable, "-m", "simulator", "central", "--port", str(mosquitto.port)),
                *("--credentials", str(credentials), "--store", str(self._central_store)),
                *("--ca-file", str(ca.file), "--cert-file", str(central_cert), "--key-file", str(central_key)),
            ),
            log_file=folder / "central.log",
            environ=environ,
        )

    def live_through_an_outage(self, count: int) -> None:
        """Let events be recorded, as the daemon records them, while nobody can be told."""
        database = Database(self.gateway.store)
        gateway_id, lock_id = self.gateway.home.gateway_id, self.gateway.home.lock_id
        stamp = TimeStamp(lo_ms=NOW_S * 1_000, hi_ms=NOW_S * 1_000 + 500)
        for start in range(0, count, 1_000):

            def work(tx: Transaction, start: int = start) -> None:
                journal = load_journal(tx, gateway_id=gateway_id)
                for number in range(start, min(start + 1_000, count)):
                    name = number.to_bytes(16, "big")
                    event = CommandOutcome(
                        command_id=name, command_sha256=name * 2, code="outcome.done", bolt="locked", lock_id=lock_id
                    )
                    journal.append(tx, event, time=stamp, salt=name)

            database.run(work)
        database.close()

    def held(self, *, whole: bool = False) -> Held:
        """Look into the central log's file."""
        with suppress(OperationalError), CentralStore(self._central_store, read_only=True) as store:
            (log,) = store.logs() or (None,)
            if log is None:
                return Held()
            if not whole:
                return Held(size=log.frontier.size)
            return Held(
                size=log.frontier.size,
                leaves=store.leaves(log.gateway_id, log.log_id),
                receipt_sizes=tuple(size for size, _ in store.receipts()),
                alarms=store.alarms(),
            )
        return Held()

    def is_signed_for(self) -> bool:
        """Tell whether the daemon has receipts for everything."""
        with suppress(ControlError), ControlClient(self.gateway.folder / "run" / "control.sock") as client:
            return client.status().outbox.depth == 0
        return False

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for something to become true."""
        async with asyncio.timeout(WAIT_S_MAX):
            while not await asyncio.to_thread(reached):
                await asyncio.sleep(0.02)


async def stop_all(*stops: Callable[[], Awaitable[object]]) -> None:
    for stop in stops:
        await stop()


@pytest.mark.slow
@pytest.mark.timeout(WAIT_S_MAX + 60)
async def test_a_backlog_survives_every_kill_of_broker_and_daemon_in_order_and_once(tmp_path: Path) -> None:
    ca = SmallCa.make(tmp_path)
    async with documented_mosquitto(tmp_path, ca) as mosquitto:
        site = await asyncio.to_thread(Site, tmp_path, ca, mosquitto)
        await asyncio.to_thread(site.live_through_an_outage, EVENT_COUNT)
        kill_count = BROKER_KILL_COUNT + DAEMON_KILL_COUNT
        await site.central.start()
        await site.daemon.start()
        try:
            for number in range(1, kill_count + 1):
                wanted = number * EVENT_COUNT // (kill_count + 1)
                await site.until(lambda wanted=wanted: site.held().size >= wanted)  # type: ignore[misc]  # a default
                assert site.held().size < EVENT_COUNT, "the drain ended before the last kill"
                if number % 3:
                    await mosquitto.stop()
                    await mosquitto.start()
                else:
                    await site.daemon.kill()
                    await site.daemon.start()
            await site.until(site.is_signed_for)
            await site.daemon.stop()
            copy = read_log(site.gateway.store)
            mine = [each.leaf for each in copy.leaves]
        finally:
            await stop_all(site.daemon.stop, site.central.stop)
    held = site.held(whole=True)
    assert len(held.leaves) >= EVENT_COUNT
    assert list(held.leaves) == mine[: len(held.leaves)]  # in order, and each once
    told = [json.loads(leaf) for leaf in held.leaves]
    outcomes = [each["data"]["command_id"] for each in told if each["type"] == "carelock.command.outcome"]
    assert outcomes == [number.to_bytes(16, "big").hex() for number in range(EVENT_COUNT)]
    assert held.receipt_sizes[-1] == held.size
    assert copy.received == held.size == len(mine)
    assert [alarm.code for alarm in held.alarms] == []
    newest = max((each for each in copy.checkpoints if each.receipt), key=lambda each: each.size)
    assert len(parse_note(newest.receipt or b"").signatures) == 2
