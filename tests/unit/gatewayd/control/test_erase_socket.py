"""Erasure over the control socket: by the daemon in its open store, for root and its own user alone."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import exits
from gatewayd.cli.app import main
from gatewayd.control.messages import ERASE_COUNT_MAX, ControlCode, to_line
from gatewayd.control.server import ControlServer
from gatewayd.control.store_eraser import StoreEraser
from gatewayd.control.store_log import StoreLog
from gatewayd.journal.events import CommandDecided, LogErased
from gatewayd.recorder import Recorder
from gatewayd.store.log import load_journal
from gatewayd.store.store import Store
from gatewayd.system_clock import SystemEntropy
from gatewayd.timekeeper import TimeKeeper
from tests.support.control_bench import FixedStatus, exchange
from tests.support.gateway_folder import GatewayFolder
from tests.support.manual_clock import ManualClock
from tests.support.other_user import as_nobody, let_through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Daemon:
    """What of a running daemon has to do with erasing: its open store, its recorder, its socket."""

    def __init__(self, folder: GatewayFolder) -> None:
        self.folder = folder
        self.path = folder.folder / "run" / "control.sock"
        self.store = Store.open(folder.store)

    async def begin(self) -> None:
        journal = await self.store.run(lambda tx: load_journal(tx, gateway_id=self.folder.home.gateway_id))
        keeper = TimeKeeper(clock=ManualClock(), stored=None)
        self.recorder = Recorder(store=self.store, journal=journal, timekeeper=keeper, entropy=SystemEntropy())
        self.server = ControlServer(
            self.path, status=FixedStatus(), journal=StoreLog(self.store), eraser=StoreEraser(self.recorder)
        )
        await self.server.open()

    async def visits(self, subject: str, count: int) -> None:
        for number in range(count):
            await self.recorder.record(
                CommandDecided(
                    lock_id=self.folder.home.lock_id,
                    command_id=f"{subject:>12}{number:4}".encode(),
                    command_sha256=bytes(32),
                    channel="relay",
                    action="unlock",
                    code="outcome.permitted",
                    signer=f"{subject:>8}".encode(),
                    subject=subject,
                    role="carer",
                    tier="fresh",
                )
            )

    async def receive(self) -> None:
        """Let the central log have signed for everything."""
        await self.store.run(lambda tx: tx.execute("UPDATE gateway SET received = log_size, sent = log_size"))

    def on_disk(self) -> bytes:
        files = self.folder.store.parent.glob(f"{self.folder.store.name}*")
        return b"".join(file.read_bytes() for file in files if file.suffix != ".ballast")

    async def end(self) -> None:
        await self.server.close()
        await self.store.close()


@pytest.fixture
async def daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Daemon]:
    folder = GatewayFolder(tmp_path)
    assert await asyncio.to_thread(main, ["provision", str(folder.write_papers()), "--config", str(folder.config)]) == 0
    daemon = Daemon(folder)
    await daemon.begin()
    capsys.readouterr()
    yield daemon
    await daemon.end()


async def erase(daemon: Daemon, subject: str = "anna") -> int:
    words = ["log", "erase", "--subject", subject, "--config", str(daemon.folder.config)]
    return await asyncio.to_thread(main, words)


async def test_the_running_daemon_erases_and_says_so_in_the_journal(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    count = ERASE_COUNT_MAX + 5  # two requests
    await daemon.visits("anna", count)
    await daemon.visits("bo", 3)
    await daemon.receive()
    assert await erase(daemon) == exits.OK
    assert capsys.readouterr().out == f"{count} entries erased\n"
    assert b"anna" not in daemon.on_disk()
    assert daemon.on_disk().count(b'"bo"') >= 3
    leaves = await StoreLog(daemon.store).leaves(0, 500, 10**6)
    told = [json.loads(each.leaf) for each in leaves if each.leaf]
    erased = [event["data"] for event in told if event["type"] == LogErased.TYPE]
    assert [event["entry_count"] for event in erased] == [ERASE_COUNT_MAX, 5]
    words = ["log", "verify", "--json", "--config", str(daemon.folder.config)]
    assert await asyncio.to_thread(main, words) == exits.OK
    document = json.loads(capsys.readouterr().out)
    assert (document["whole"], document["erased_count"]) == (True, count)


async def test_what_waits_for_its_receipt_is_kept_and_told(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    await daemon.visits("anna", 2)
    assert await erase(daemon) == exits.FAILED
    assert "2 entries wait for the central log's receipt" in capsys.readouterr().err
    assert b"anna" in daemon.on_disk()
    assert not [each for each in await StoreLog(daemon.store).leaves(0, 500, 10**6) if b"log.erased" in each.leaf]


@pytest.mark.parametrize(
    "indexes",
    [None, "1 2", [-1], [True], [1.5], [2**63], list(range(ERASE_COUNT_MAX + 1))],
    ids=["none", "a text", "negative", "a truth", "a fraction", "too high", "too many"],
)
async def test_attack_a_list_that_is_none_erases_nothing(daemon: Daemon, indexes: Any) -> None:
    await daemon.visits("anna", 1)
    await daemon.receive()
    (answer,) = await exchange(daemon.path, to_line({"version": 1, "ask": "erase", "indexes": indexes}))
    assert answer["error"]["code"] == ControlCode.MALFORMED
    assert b"anna" in daemon.on_disk()


async def test_attack_whoever_may_only_look_takes_nothing_away(daemon: Daemon) -> None:
    await daemon.visits("anna", 1)
    await daemon.receive()
    let_through(daemon.path.parent)

    def ask() -> str:
        with socket.socket(socket.AF_UNIX) as one_of_the_group:
            one_of_the_group.settimeout(5)
            one_of_the_group.connect(str(daemon.path))
            lines = one_of_the_group.makefile("rb")
            said = []
            for line in ({"version": 1, "ask": "status"}, {"version": 1, "ask": "erase", "indexes": [2]}):
                one_of_the_group.sendall(to_line(line))
                said.append(lines.readline().decode())
        return "".join(said)

    status, refused = (await asyncio.to_thread(as_nobody, ask, gid=os.getegid())).splitlines()
    assert "answer" in json.loads(status)
    assert json.loads(refused)["error"]["code"] == ControlCode.NOT_PERMITTED
    assert b"anna" in daemon.on_disk()
