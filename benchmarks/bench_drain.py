"""A backlog handed to the central log, beside the least: a publisher, mosquitto and a subscriber that only counts.

The same bytes, the same TLS with client certificates, the same broker. The figure is the whole daemon with its store,
checkpoints out and receipts back; the far end signs without looking, so that a slow central log hides nothing.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.home import ROOT, SEED, gatewayd, write_home
from benchmarks.rows import BenchError, Row
from firmware_protocol.vocabulary import Role
from gatewayd.journal.events import CommandOutcome, TimeStamp
from gatewayd.store.database import Database
from gatewayd.store.log import load_journal
from simulator.office import Office
from tests.support.mosquitto import Mosquitto
from tests.support.small_ca import SmallCa

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd.store.store import Transaction

EVENT_COUNT: Final = 20_000
RUN_COUNT: Final = 4
RATIO_MIN: Final = 0.4
RUN_S_MAX: Final = 120
STAMP: Final = TimeStamp(lo_ms=1_800_000_000_000, hi_ms=1_800_000_000_500)
MQTT: Final = """\
[gateway]
state_directory = "state"
runtime_directory = "run"

[mqtt]
host = "127.0.0.1"
port = {port}
ca_file = "../ca.pem"
cert_file = "../ca-peer.pem"

[log]
level = "warning"
"""
BROKER: Final = """\
cafile {folder}/ca.pem
certfile {folder}/ca-broker.pem
keyfile {folder}/ca-broker.key
require_certificate true
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 100000
"""


def fill(store: Path, gateway_id: bytes) -> bytes:
    """Write the backlog and return one of its entries."""
    database = Database(store)

    def work(tx: Transaction) -> bytes:
        journal, last = load_journal(tx, gateway_id=gateway_id), 0
        for number in range(1_000):
            event = CommandOutcome(
                command_id=number.to_bytes(16, "big"),
                command_sha256=bytes(32),
                code="outcome.done",
                bolt="unlocked",
                lock_id=bytes(8),
            )
            last = journal.append(tx, event, time=STAMP, salt=number.to_bytes(16, "big"))
        ((_, leaf),) = journal.entries(tx, last, 1, 1_000_000)
        return leaf

    try:
        return [database.run(work) for _ in range(EVENT_COUNT // 1_000)][-1]
    finally:
        database.close()


async def peer(mode: str, port: int, folder: Path) -> asyncio.subprocess.Process:
    """Start the other end."""
    arguments = ("-m", "benchmarks.drain_peers", mode, str(port), str(folder), str(EVENT_COUNT))
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )


async def lines(process: asyncio.subprocess.Process) -> AsyncIterator[dict[str, float]]:
    """Yield what it says."""
    if process.stdout is None:
        raise BenchError("the far end has no stdout")
    while line := await process.stdout.readline():
        yield json.loads(line)


async def measured(listener: asyncio.subprocess.Process, sender: list[str]) -> float:
    """Start the sender when the listener is ready; return events a second."""
    said = lines(listener)
    try:
        async with asyncio.timeout(RUN_S_MAX):
            await anext(said)
            sending = await asyncio.create_subprocess_exec(*sender, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL)
            try:
                seconds = (await anext(said))["seconds"]
            finally:
                if sending.returncode is None:
                    sending.terminate()
                await sending.wait()
    except (TimeoutError, StopAsyncIteration, ProcessLookupError):
        raise BenchError("the drain did not come to its end") from None
    finally:
        if listener.returncode is None:
            listener.terminate()
        await listener.wait()
    return EVENT_COUNT / seconds


async def compare(folder: Path) -> tuple[list[float], list[float]]:
    """Measure floor and figure in turn."""
    ca = SmallCa.make(folder)
    ca.issue("broker")
    ca.issue("peer")
    office = Office(SEED)
    home = office.home("bench")
    (folder / "receipt.key").write_bytes(bytes(office.role_keys[Role.RECEIPT]))
    (folder / "home").mkdir()
    written = await asyncio.to_thread(write_home, folder / "home")
    store = written / "state" / "gatewayd.sqlite"
    (folder / "entry").write_bytes(fill(store, home.gateway_id))
    shutil.copy(folder / "ca-peer.key", written / "credentials" / "mqtt-client.key")
    (written / "credentials" / "mqtt-client.key").chmod(0o600)
    shutil.copytree(written / "state", folder / "full")
    floors, figures = [], []
    async with Mosquitto(folder, BROKER.format(folder=folder)) as broker:
        (written / "config.toml").write_text(MQTT.format(port=broker.port))
        publisher = [sys.executable, "-m", "benchmarks.drain_peers", "publish", str(broker.port), str(folder)]
        for _ in range(RUN_COUNT):
            floors.append(await measured(await peer("count", broker.port, folder), [*publisher, str(EVENT_COUNT)]))
            shutil.rmtree(written / "state")
            shutil.copytree(folder / "full", written / "state")
            daemon = gatewayd("run", "--config", written / "config.toml")
            figures.append(await measured(await peer("sign", broker.port, folder), daemon))
    return floors, figures


def run() -> list[Row]:
    """Floor and figure in turn, several times; the best of each, because a busy machine only ever takes away."""
    with tempfile.TemporaryDirectory(prefix="gatewayd-bench-") as name:
        floors, figures = asyncio.run(compare(Path(name)))
    row = Row(
        name="draining a backlog over TLS",
        unit="events/s",
        floor=max(floors),
        figure=max(figures),
        ratio_min=RATIO_MIN,
    )
    return [row]
