"""Faults of the Bluetooth stack, named by their rows of the fault table, on virtual time.

What bleak and BlueZ themselves do is in tests/integration/test_bluez_faults.py.
"""

from __future__ import annotations

import asyncio
import itertools

import pytest

from firmware_protocol.codes import Code
from gatewayd.link.budget import CONNECT_BURST
from gatewayd.link.ladder import RUNG_GAP_MS
from gatewayd.link.machine import LinkState
from gatewayd.link.patience import NO_SLOT_MS_MIN
from gatewayd.link.radio import RadioCode, RadioError, Rung
from tests.support.link_home import LinkHome, move
from tests.support.virtual_loop import run_virtual

FRESH_S = 30
"""A fresh connect that could succeed has succeeded by then."""


def now_s() -> float:
    return asyncio.get_running_loop().time()


def rungs(home: LinkHome) -> list[Rung]:
    return [rung for rung, _ in home.radio.recoveries]


@pytest.mark.parametrize("code", [RadioCode.IN_PROGRESS, RadioCode.CONNECT_FAILED, RadioCode.CONNECT_TIMEOUT])
def test_b1_b4_a_connection_that_the_host_refuses_for_minutes_is_cleared_once_and_tried_again(code: RadioCode) -> None:
    async def story() -> None:
        home = LinkHome()
        home.radio.connect_errors.extend(RadioError(code) for _ in range(6))
        async with home.running() as link:
            assert link.status.failure_count == 6
            assert rungs(home).count(Rung.FORGET) == 1

    run_virtual(story())


def test_b6_services_that_are_not_the_locks_are_forgotten_at_once_and_nothing_is_written_to_them() -> None:
    async def story() -> None:
        home = LinkHome()
        home.radio.set_stale()
        begun_s = now_s()
        async with home.running() as link:
            assert home.radio.recoveries == [(Rung.FORGET, home.radio.locks.copy().popitem()[0])]
            assert (link.status.connect_count, link.status.failure_count) == (1, 1)
            assert now_s() - begun_s < 5

    run_virtual(story())


@pytest.mark.parametrize(
    ("cure", "within_s"),
    [(Rung.POWER_CYCLE, 90), (Rung.RESET, 90 + RUNG_GAP_MS / 1_000), (Rung.RESTART, 90 + 2 * RUNG_GAP_MS / 1_000)],
)
def test_b14_an_adapter_that_hangs_is_recovered_rung_by_rung_and_each_is_told(cure: Rung, within_s: float) -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            hung_s = now_s()
            home.radio.hang(cure)
            await home.until(lambda: not link.ready)
            await home.until_ready()
            assert now_s() - hung_s < within_s + FRESH_S
            taken = [step.rung for step in home.ledger.steps if step.code is not None]
            assert taken == [rung.value for rung in rungs(home)]
            assert taken[-1] == cure.value
            assert (home.ledger.steps[-1].rung, home.ledger.steps[-1].code) == (cure.value, None)
            assert home.adapter.status.helped_counts == {cure.value: 1}

    run_virtual(story())


def test_b14_what_helped_once_is_tried_first_the_next_time() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            for _ in range(2):
                home.radio.hang(Rung.RESET)
                await home.until(lambda: not link.ready)
                await home.until_ready()
            adapter_rungs = [rung for rung in rungs(home) if rung is not Rung.FORGET]
            assert adapter_rungs == [Rung.POWER_CYCLE, Rung.RESET, Rung.RESET]

    run_virtual(story())


def test_b14_an_adapter_that_nothing_helps_is_told_once_and_tried_for_ever() -> None:
    async def story() -> None:
        home = LinkHome()
        home.radio.missing = set(Rung)
        home.radio.hang(Rung.POWER_CYCLE)
        async with home.running(ready=False) as link:
            await asyncio.sleep(4 * 3_600)
            assert [step.code for step in home.ledger.steps] == [RadioCode.FAILED]
            assert (home.adapter.status.failed, link.status.failure_count > 500) == (True, True)
            home.radio.missing = set()
            await home.until_ready()
            assert home.adapter.status.failed is False
            assert home.ledger.steps[-1].code is None

    run_virtual(story())


def test_b14_a_rung_that_hangs_itself_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        home = LinkHome()
        calls: list[Rung] = []

        async def hang(rung: Rung, _address: str | None) -> bool:
            calls.append(rung)
            await asyncio.sleep(10**9)
            return True

        monkeypatch.setattr(home.radio, "recover", hang)
        home.radio.set_reachable(False)
        async with home.running(ready=False) as link:
            await asyncio.sleep(600)
            assert set(calls) == set(Rung)
            home.radio.set_reachable(True)
            await home.until_ready()
            assert link.ready

    run_virtual(story())


def test_b15_an_adapter_that_was_switched_off_is_switched_on_at_once() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            home.radio.switch_off()
            off_s = now_s()
            await home.until(lambda: not link.ready)
            await home.until_ready()
            assert rungs(home) == [Rung.POWER_CYCLE]
            assert now_s() - off_s < 10

    run_virtual(story())


def test_b15_an_adapter_that_is_blocked_is_told_and_waited_for_without_a_storm() -> None:
    async def story() -> None:
        home = LinkHome()
        home.radio.missing = {Rung.POWER_CYCLE}
        home.radio.switch_off()
        async with home.running(ready=False) as link:
            await asyncio.sleep(3_600)
            assert link.status.last_fault == RadioCode.POWERED_OFF
            assert rungs(home) == []
            assert 150 < link.status.failure_count < 800

    run_virtual(story())


@pytest.mark.parametrize("away_s", [3, 60, 900])
def test_b16_an_adapter_that_was_pulled_out_serves_as_soon_as_it_is_back(away_s: float) -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            home.radio.set_available(False)
            await home.until(lambda: not link.ready)
            await asyncio.sleep(away_s)
            home.radio.set_available(True)
            back_s = now_s()
            await home.until_ready()
            assert now_s() - back_s < 3

    run_virtual(story())


def test_b17_no_adapter_at_the_start_is_waited_for() -> None:
    async def story() -> None:
        home = LinkHome()
        home.radio.set_available(False)
        async with home.running(ready=False) as link:
            await asyncio.sleep(3_600)
            assert link.status.connect_count == 0
            home.radio.set_available(True)
            back_s = now_s()
            await home.until_ready()
            assert now_s() - back_s < 3

    run_virtual(story())


def test_b20_where_no_connection_is_left_four_seconds_pass_before_the_next_try() -> None:
    async def story() -> None:
        home = LinkHome()
        home.radio.connect_errors.extend(RadioError(RadioCode.NO_SLOT) for _ in range(3))
        tries_s: list[float] = []
        connect = home.radio.connect

        async def watch(*args: object, **options: object) -> object:
            tries_s.append(now_s())
            return await connect(*args, **options)  # type: ignore[arg-type]  # handed through

        home.radio.connect = watch  # type: ignore[method-assign,assignment]  # to look on
        async with home.running():
            gaps = [later - earlier for earlier, later in itertools.pairwise(tries_s)]
            assert len(gaps) == 3
            assert all(gap >= NO_SLOT_MS_MIN / 1_000 for gap in gaps)
            assert home.adapter.slots.held_count == 1

    run_virtual(story())


def test_a_link_that_comes_and_goes_is_not_forgotten_and_journaled_each_time() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            for _ in range(20):
                await asyncio.sleep(5)
                home.radio.drop_link()
                await home.until(lambda: not link.ready)
                await home.until_ready()
            assert len(home.ledger.steps) <= 2
            assert rungs(home) == [Rung.FORGET]

    run_virtual(story())


# What the ladder leaves alone, and who is served first.


def test_a_lock_that_is_gone_among_others_that_answer_costs_them_nothing() -> None:
    async def story() -> None:
        home, gone = LinkHome(), LinkHome(seed=2)
        gone.radio = home.radio
        gone.adapter = home.adapter
        home.radio.add(gone.lock, "F0:00:00:00:00:02")
        gone.link = gone.make_link(address="F0:00:00:00:00:02")
        home.radio.set_reachable(False, address="F0:00:00:00:00:02")
        async with home.running() as link, gone.running(ready=False):
            await asyncio.sleep(3_600)
            assert set(rungs(home)) == {Rung.FORGET}
            assert link.status.connect_count == 1
            assert gone.link.status.last_fault == RadioCode.NOT_FOUND

    run_virtual(story())


def test_a_phone_that_waits_is_served_within_three_seconds_whatever_the_back_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        home = LinkHome()
        monkeypatch.setattr("gatewayd.link.patience.backoff_ms_max", lambda _count: 600_000)
        home.radio.connect_errors.extend(RadioError(RadioCode.CONNECT_FAILED) for _ in range(2))
        async with home.running(ready=False) as link:
            await home.until(lambda: link.status.state is LinkState.BACKING_OFF)
            await asyncio.sleep(5)
            home.radio.connect_errors.clear()
            home.radio.set_phone_waiting(True)
            asked_s = now_s()
            await home.until_ready()
            assert now_s() - asked_s <= 3

    run_virtual(story())


def test_a_lock_that_drops_every_link_is_left_alone_once_its_budget_is_spent_but_not_by_who_may_come_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        home = LinkHome()
        monkeypatch.setattr("gatewayd.link.patience.backoff_ms_max", lambda _count: 500)
        connected = home.lock.gateway_connected
        monkeypatch.setattr(home.lock, "gateway_connected", lambda pipe: pipe.disconnect())
        async with home.running(ready=False) as link:
            await asyncio.sleep(1_000)
            assert link.status.connect_count <= CONNECT_BURST + 11
            assert link.status.connect_left_count == 0
            home.radio.set_phone_waiting(True)  # anyone can advertise that
            await asyncio.sleep(1_000)
            assert link.status.connect_count <= CONNECT_BURST + 21
            monkeypatch.setattr(home.lock, "gateway_connected", connected)
            asked_s = now_s()
            assert (await link.execute(move(1))).code is Code.DONE
            assert now_s() - asked_s < 5

    run_virtual(story())
