"""The daemon is killed where it hurts most, and as often as it takes: no door opens twice, and nothing is lost.

Homes of real processes run at the same time: in one the daemon dies at each system call behind an unlock over MQTT,
in one the same through the lock's relay, and in one at random moments. Only the daemon dies, and comes back to its
store; the lock's own control socket tells what has moved, and the central log's file what has arrived.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.errands import Carer, Errand, Operator, Sender
from tests.support.home_audit import audit
from tests.support.killing import Aim, Threads, kill_at_each, kill_at_random
from tests.support.real_home import RealHome
from tests.support.strace_trap import require_strace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from simulator.alarm_centre import AlarmCentre

RUN_S_MAX: Final = 900
"""When a campaign is given up, in seconds: one that hangs, not one on a busy machine. Quiet, all take 85 s together."""
SYSCALLS: Final = ("fdatasync", "fsync", "sendto", "sendmsg")
"""What makes something durable, and what tells somebody of it."""
SEED: Final = 2_026


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """One home whose daemon is killed again and again."""

    name: str
    by: tuple[type[Operator | Carer], ...]
    """Who unlocks, in turn."""
    syscalls: tuple[str, ...] = ()
    random_count: int = 0
    run_s_max: float | None = RUN_S_MAX - 20
    """Then it is given up; None: it takes as long as it takes."""


@dataclass(frozen=True, kw_only=True)
class Toll:
    """What a campaign came to."""

    kills: dict[Aim, int] = field(default_factory=dict)
    errands: list[Errand] = field(default_factory=list)

    def at(self, syscall: str, threads: Threads) -> int:
        """Return the kills at one kind of system call."""
        return self.kills[Aim(syscall=syscall, threads=threads)]


CAMPAIGNS: Final = (
    Campaign(name="at-each-call-over-mqtt", by=(Operator,), syscalls=SYSCALLS),
    Campaign(name="at-each-call-through-the-relay", by=(Carer,), syscalls=SYSCALLS),
    Campaign(name="at-random-moments", by=(Operator, Carer), random_count=50),
)
# Each write to the file is one more place to die at, between two of which SQLite has to find its way back.
SOAK: Final = (
    Campaign(name="at-each-write-over-mqtt", by=(Operator,), syscalls=("pwrite64",), run_s_max=None),
    Campaign(name="at-each-write-through-the-relay", by=(Carer,), syscalls=("pwrite64",), run_s_max=None),
    Campaign(name="at-2000-random-moments", by=(Operator, Carer), random_count=2_000, run_s_max=None),
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(RUN_S_MAX)]


async def fight(campaign: Campaign, folder: Path) -> Toll:
    """Run one campaign, and check at its end that nothing was lost."""
    toll = Toll()
    async with asyncio.timeout(campaign.run_s_max), RealHome(folder) as home, home.alarm_centre() as centre:
        senders = [make_sender(kind, home, centre) for kind in campaign.by]
        await home.start_gateway()
        for aim in (Aim(syscall=syscall, threads=threads) for syscall in campaign.syscalls for threads in Threads):
            toll.kills[aim] = await kill_at_each(home, senders[0], aim, toll.errands)
        if campaign.random_count:
            await kill_at_random(home, senders, Random(SEED), campaign.random_count, toll.errands)
        await home.wait_connected()
        await audit(home, toll.errands)
    return toll


def make_sender(kind: type[Operator | Carer], home: RealHome, centre: AlarmCentre) -> Sender:
    return Operator(home, centre) if kind is Operator else Carer(home)


@pytest.fixture(scope="module")
def tolls(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Toll]]]:
    """The campaigns that the tests of this session ask for, at the same time: each of them mostly waits."""
    wanted: dict[str, Campaign] = {}
    for item in request.session.items:
        campaign = getattr(item, "callspec", None) and item.callspec.params.get("campaign")  # type: ignore[attr-defined]
        if isinstance(campaign, Campaign):
            wanted[campaign.name] = campaign
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(wanted)) as pool:
        for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
            patch.delenv(name)  # what is killed measures nothing, and starts more slowly
        yield {
            name: pool.submit(asyncio.run, fight(campaign, tmp_path_factory.mktemp("home")))
            for name, campaign in wanted.items()
        }


@pytest.mark.parametrize(
    "campaign",
    [
        *CAMPAIGNS,
        *(pytest.param(campaign, marks=[pytest.mark.soak, pytest.mark.timeout(0)]) for campaign in SOAK),
    ],
    ids=lambda campaign: campaign.name,
)
def test_a_killed_daemon_moves_no_bolt_twice_and_loses_nothing(
    tolls: Mapping[str, Future[Toll]], campaign: Campaign
) -> None:
    if campaign.syscalls:
        require_strace()
    toll = tolls[campaign.name].result()
    assert len(toll.errands) >= campaign.random_count
    if "sendto" in campaign.syscalls:
        # The decision, the lock's answers and the outcome are made durable one after the other, and each is told.
        assert toll.at("fdatasync", Threads.WORKERS) >= 3
        assert toll.at("sendto", Threads.LOOP) >= 6
        assert toll.at("sendto", Threads.WORKERS) >= 6
        # Nothing syncs in the event loop.
        assert toll.at("fdatasync", Threads.LOOP) == 0
