"""What systemd hears, and that its watchdog is fed by work and nothing else."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from gatewayd.service_manager import ServiceManager, Watchdog
from gatewayd.timekeeping import Instant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Systemd:
    """The other end of the notification socket."""

    def __init__(self, address: str) -> None:
        self.environ = {"NOTIFY_SOCKET": address.replace("\0", "@")}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(0)

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    address = str(tmp_path / "notify") if request.param == "path" else f"\0gatewayd-test-{os.getpid()}"
    systemd = Systemd(address)
    yield systemd
    systemd.socket.close()


def test_each_state_is_told_in_the_words_of_sd_notify(systemd: Systemd) -> None:
    manager = ServiceManager.from_environment(systemd.environ)
    manager.ready()
    manager.status("1 lock,\ntier fresh\n")
    manager.reloading(1_234)
    manager.stopping()
    assert systemd.heard() == [
        "READY=1",
        "STATUS=1 lock, tier fresh",
        "RELOADING=1\nMONOTONIC_USEC=1235000",
        "STOPPING=1",
    ]


def test_a_status_cannot_smuggle_in_another_message(systemd: Systemd) -> None:
    ServiceManager.from_environment(systemd.environ).status("x\nWATCHDOG=1\r\nSTOPPING=1" + "y" * 1_000)
    (heard,) = systemd.heard()
    assert "\n" not in heard
    assert len(heard) == len("STATUS=") + 256


@pytest.mark.parametrize("address", [None, "", "@", "relative/path"])
def test_without_a_manager_nothing_happens(address: str | None) -> None:
    environ = {} if address is None else {"NOTIFY_SOCKET": address}
    manager = ServiceManager.from_environment(environ)
    assert manager.address is None
    manager.ready()
    manager.stopping()


def test_a_manager_that_has_gone_is_no_fault(tmp_path: Path) -> None:
    ServiceManager(address=str(tmp_path / "gone")).ready()


def test_a_manager_that_does_not_read_does_not_hold_the_daemon(systemd: Systemd) -> None:
    manager = ServiceManager.from_environment(systemd.environ)
    for _ in range(10_000):
        manager.ready()


@pytest.mark.parametrize(
    ("environ", "interval_ms"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "\N{ARABIC-INDIC DIGIT FOUR}"}, None),
        ({}, None),
    ],
)
def test_the_watchdogs_interval_is_read_where_it_is_ours(environ: dict[str, str], interval_ms: int | None) -> None:
    assert ServiceManager.from_environment(environ).watchdog_interval_ms == interval_ms


@dataclass
class HandClock:
    """A clock that stands still until it is set."""

    ms: int = 0

    def now(self) -> Instant:
        return Instant(monotonic_ms=self.ms, boottime_ms=0, utc_ms=0)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def watchdog(systemd: Systemd, clock: HandClock) -> Watchdog:
    manager = ServiceManager.from_environment(systemd.environ | {"WATCHDOG_USEC": "30000000"})
    return Watchdog(manager, ("link", "store"), clock=clock)


def test_one_hanging_part_starves_the_watchdog(systemd: Systemd, watchdog: Watchdog, clock: HandClock) -> None:
    for clock.ms in range(0, 100_000, 1_000):
        watchdog.beat("link")
    assert systemd.heard() == []
    assert watchdog.silent == {"store"}


def test_the_watchdog_is_fed_when_every_part_has_done_something(systemd: Systemd, watchdog: Watchdog) -> None:
    watchdog.beat("link")
    watchdog.beat("store")
    assert systemd.heard() == ["WATCHDOG=1"]
    assert watchdog.silent == {"link", "store"}


def test_each_feeding_needs_new_work_of_every_part(systemd: Systemd, watchdog: Watchdog, clock: HandClock) -> None:
    watchdog.beat("link")
    watchdog.beat("store")
    clock.ms = 20_000
    watchdog.beat("store")
    assert systemd.heard() == ["WATCHDOG=1"]
    watchdog.beat("link")
    assert systemd.heard() == ["WATCHDOG=1"]


@pytest.mark.parametrize(("ms", "count"), [(7_499, 0), (7_500, 1)])
def test_busy_parts_feed_it_at_most_four_times_an_interval(
    systemd: Systemd, watchdog: Watchdog, clock: HandClock, ms: int, count: int
) -> None:
    watchdog.beat("link")
    watchdog.beat("store")
    systemd.heard()
    clock.ms = ms
    watchdog.beat("link")
    watchdog.beat("store")
    assert len(systemd.heard()) == count


def test_nobody_is_told_where_nobody_watches(systemd: Systemd, clock: HandClock) -> None:
    watchdog = Watchdog(ServiceManager.from_environment(systemd.environ), ("loop",), clock=clock)
    watchdog.beat("loop")
    assert systemd.heard() == []


@pytest.mark.parametrize(("watchdog_usec", "feed_s"), [("30000000", 7.5), ("5000000", 1.25), ("", float("inf"))])
def test_parts_beat_four_times_in_the_interval_that_systemd_was_told(
    systemd: Systemd, clock: HandClock, watchdog_usec: str, feed_s: float
) -> None:
    manager = ServiceManager.from_environment(systemd.environ | {"WATCHDOG_USEC": watchdog_usec})
    assert Watchdog(manager, ("loop",), clock=clock).feed_s == feed_s


def test_a_part_that_nobody_expects_is_our_own_mistake(watchdog: Watchdog) -> None:
    with pytest.raises(ValueError, match="no part of the watchdog is called radio"):
        watchdog.beat("radio")
