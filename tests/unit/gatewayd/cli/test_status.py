"""`gatewayd status`: every state with its age, for people and for machines."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gatewayd import exits
from gatewayd.cli import status
from gatewayd.cli.app import main
from gatewayd.cli.status_text import duration, status_text
from gatewayd.control.messages import (
    AuthorityStatus,
    BrokerStatus,
    ClockStatus,
    OutboxStatus,
    RadioStatus,
    StatusDocument,
)
from gatewayd.control.server import ControlServer
from gatewayd.store.faults import StoreCode, StoreError
from tests.support.control_bench import STATUS, FixedStatus, NoLog
from tests.support.gateway_folder import GatewayFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def test_a_gateway_that_is_well() -> None:
    assert status_text(STATUS).splitlines() == [
        "gateway               0011223344556677, version 0.1.0",
        "running               for 2 h, start 3",
        "tier                  fresh",
        "clock                 trusted: 2027-01-15 08:00:00 UTC, at most 2 s later",
        "rights                keyset 1, state 12 (5 min old), 1 provider, 2 grants",
        "radio                 a lock answers",
        "broker                connected for 1 h",
        "outbox                empty: the central log has signed for everything",
        "lock 8899aabbccddeeff ready for 1 min, -61 dBm",
        "                      bolt locked, door closed, battery 5.90 V, 2 s ago",
    ]


def test_a_gateway_that_is_not() -> None:
    lock = replace(
        STATUS.locks[0],
        ready=False,
        link="backing_off",
        rssi_dbm=None,
        battery_mv=None,
        observed_age_ms=None,
        connect_hour_count=36,
        connect_left_count=0,
    )
    document = replace(
        STATUS,
        tier="cold",
        locks=(
            lock,
            replace(
                lock, link="scanning", connect_hour_count=0, last_fault=None, observed_age_ms=90_000_000, bolt="unknown"
            ),
        ),
        clock=ClockStatus(trusted=False, lo_ms=1_800_000_000_000, hi_ms=None),
        radio=RadioStatus(failed=True, unproven_ms=300_000, taken_counts={"power_cycle": 2}, helped_counts={}),
        broker=BrokerStatus(connected=False, age_ms=None, last_fault="broker.unreachable"),
        outbox=OutboxStatus(depth=7, oldest_age_ms=3_000),
        authority=AuthorityStatus(keyset_version=1, state_seq=None, state_age_s=None, authority_count=0, grant_count=0),
    )
    assert status_text(document).splitlines()[3:] == [
        "clock                 not trusted: not before 2027-01-15 08:00:00 UTC",
        "rights                keyset 1, no state yet, 0 providers, 0 grants",
        "radio                 no lock has answered for 5 min, and nothing helps",
        "                      tried since the start: power 2",
        "broker                not connected, last fault broker.unreachable",
        "outbox                7 not signed for, the oldest 3 s old",
        "lock 8899aabbccddeeff backing_off for 1 min, last fault radio.disconnected",
        "                      never seen",
        "                      36 connections in the last hour, 0 more allowed now",
        "lock 8899aabbccddeeff scanning for 1 min",
        "                      bolt unknown, door closed, 1 d ago",
    ]


def lines_of(document: StatusDocument) -> str:
    return status_text(document)


def test_nothing_provisioned_is_said() -> None:
    none = AuthorityStatus(keyset_version=None, state_seq=None, state_age_s=None, authority_count=0, grant_count=0)
    assert "none: nothing has been provisioned" in lines_of(replace(STATUS, authority=none))


def test_a_wide_interval_is_not_called_trusted() -> None:
    clock = ClockStatus(trusted=False, lo_ms=1_800_000_000_000, hi_ms=1_800_000_600_000)
    assert "not trusted: 2027-01-15 08:00:00 UTC, at most 10 min later" in lines_of(replace(STATUS, clock=clock))


def test_a_time_beyond_the_calendar_does_not_crash() -> None:
    clock = ClockStatus(trusted=False, lo_ms=2**62, hi_ms=None)
    assert f"not before {2**62} ms" in lines_of(replace(STATUS, clock=clock))


def test_a_status_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in lines_of(replace(STATUS, tier="\x1b[2Jfresh"))


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [(0, "0 s"), (999, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (3_599_999, "59 min"), (3_600_000, "1 h"),
     (86_399_999, "23 h"), (86_400_000, "1 d")],
)  # fmt: skip
def test_a_time_span_is_shown_in_its_largest_unit(span_ms: int, text: str) -> None:
    assert duration(span_ms) == text


async def test_the_command_shows_text_or_the_very_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = GatewayFolder(tmp_path)
    server = ControlServer(tmp_path / "run" / "control.sock", status=FixedStatus(), journal=NoLog())
    await server.open()
    assert await asyncio.to_thread(main, ["status", "--config", str(folder.config)]) == exits.OK
    assert capsys.readouterr().out == status_text(STATUS) + "\n"
    socket = str(tmp_path / "run" / "control.sock")
    assert await asyncio.to_thread(main, ["status", "--socket", socket, "--json"]) == exits.OK
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads(json.dumps(STATUS.to_json()))
    await server.close()


def test_a_stopped_daemon_exits_1_and_says_where_it_was_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = GatewayFolder(tmp_path)
    assert main(["status", "--config", str(folder.config)]) == exits.FAILED
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{tmp_path}/run/control.sock" in told.err
    assert "is gatewayd running?" in told.err


class Elsewhere:
    """A daemon's socket in a thread of its own, because the command that watches it blocks."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.source = FixedStatus()
        self._server = ControlServer(path, status=self.source, journal=NoLog())

    def starts(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.open(), self._loop).result()

    def stops(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result()

    def close(self) -> None:
        self.stops()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Elsewhere]:
    elsewhere = Elsewhere(tmp_path / "control.sock")
    elsewhere.starts()
    yield elsewhere
    elsewhere.close()


def interrupt() -> None:
    raise KeyboardInterrupt


def nothing() -> None:
    pass


def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: list[Callable[[], None]], *options: str) -> int:
    """Watch; what is to happen between two looks, in order, in place of the time that passes."""
    acts = iter(between)

    async def passes(_seconds: float) -> None:
        next(acts)()

    monkeypatch.setattr(status, "wait", passes)
    return main(["status", "--socket", str(tmp_path / "control.sock"), "--watch", *options])


def test_watching_outlives_a_restart_of_the_daemon_and_shows_no_old_state_meanwhile(
    daemon: Elsewhere, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    def note() -> None:
        shown.append("".join(capsys.readouterr()))

    def goes() -> None:
        note()
        daemon.stops()

    def comes() -> None:
        note()
        daemon.starts()

    assert watch(tmp_path, monkeypatch, [goes, note, comes, interrupt]) == exits.OK
    note()
    assert ["tier" in each for each in shown] == [True, False, False, True]
    assert all(each.startswith("\x1b[2J") for each in shown)
    assert shown[1].splitlines()[-1].startswith(f"gatewayd: not running, waiting: {tmp_path}/control.sock")


def test_watching_what_never_came_exits_1(
    daemon: Elsewhere, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.stops()
    assert watch(tmp_path, monkeypatch, [nothing, nothing, interrupt], "--json") == exits.FAILED
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("not running, waiting") == 1


def test_watching_ends_where_waiting_does_not_help(
    daemon: Elsewhere, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks() -> None:
        daemon.source.error = StoreError(StoreCode.DAMAGED, "the store")

    assert watch(tmp_path, monkeypatch, [breaks]) == exits.FAILED
    assert capsys.readouterr().err == "gatewayd: the store (store.damaged)\n"
