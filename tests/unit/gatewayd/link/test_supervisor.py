"""One lock's link over days, behind a radio that fails in every way it knows."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, NoReturn

import pytest
from structlog.testing import capture_logs

from firmware_protocol.codes import Code
from firmware_protocol.constants import (
    HANDSHAKE_MS_MAX,
    SESSION_AGE_MS_MAX,
    SESSION_SILENCE_MS_MAX,
)
from firmware_protocol.hello import PlainClose, encode_plain
from firmware_protocol.messages import ErrorRecord, Message, Pong, StateEvent, StateGet
from firmware_protocol.noise import KeyPair
from firmware_protocol.vocabulary import Bolt, DoorLeaf
from gatewayd.errors import GatewayError
from gatewayd.link.attendance import REFRESH_MS
from gatewayd.link.machine import LinkState
from gatewayd.link.outages import OUTAGE_MS
from gatewayd.link.patience import RADIO_SLACK_MS
from gatewayd.link.radio import RadioCode, RadioError
from gatewayd.link.search import REMEMBERED_MS_MAX, SCAN_MS_MAX, look_for
from gatewayd.link.supervisor import CONNECT_MS_MAX, DROP_MS_MAX, STEADY_MS
from gatewayd.timekeeping import TimeInterval
from tests.support.link_home import TRUSTED, LinkHome, move
from tests.support.scripted_home import ScriptedHome
from tests.support.session_pair import status
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from gatewayd.link.radio import LockLink, Rung, Sighting


def now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1_000)


# Coming up.


@pytest.mark.parametrize("value_size_max", [20, 182, 244, 512])
def test_a_lock_in_reach_is_ready_and_its_door_is_shown_with_the_time_of_its_word(value_size_max: int) -> None:
    async def story() -> None:
        home = LinkHome(value_size_max=value_size_max)
        async with home.running() as link:
            assert link.ready
            [observed] = home.diary.doors
            assert (observed.bolt, observed.door) == (Bolt.LOCKED, DoorLeaf.CLOSED)
            assert observed.battery_mv == home.mechanics.battery_mv
            assert home.clock.now().boottime_ms - observed.observed_at.boottime_ms < 1_000
            [change] = home.diary.changes
            assert (change.ready, change.code) == (True, None)
            status = link.status
            assert (status.state, status.failure_count, status.connect_count) == (LinkState.READY, 0, 1)
            assert (status.last_fault, status.rssi_dbm) == (None, -50)
            assert home.ledger.version_floor == 1

    run_virtual(story())


def test_confirm_gives_the_lock_the_time_where_it_is_trusted_and_none_where_it_is_not() -> None:
    async def story() -> None:
        for interval, expected in (
            (TRUSTED, (TRUSTED.lo_ms // 1_000, TRUSTED.lo_ms // 1_000 + 61)),
            (TimeInterval(lo_ms=TRUSTED.lo_ms, hi_ms=None), (None, None)),
            (TimeInterval(lo_ms=TRUSTED.lo_ms, hi_ms=TRUSTED.lo_ms + 120_001), (None, None)),
        ):
            home = ScriptedHome()
            home.diary.interval = interval
            async with home.running():
                [confirm] = home.lock.confirms
                assert (confirm.utc_lo_s, confirm.utc_hi_s) == expected

    run_virtual(story())


def test_the_locks_clock_is_told_before_confirm_and_with_every_prompt_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        home = ScriptedHome()
        seen_at_confirm: list[int] = []
        on_lock_clock = home.diary.on_lock_clock

        async def watch(lock_id: bytes, **words: object) -> TimeInterval:
            seen_at_confirm.append(len(home.lock.confirms))
            return await on_lock_clock(lock_id, **words)  # type: ignore[arg-type]  # handed through

        monkeypatch.setattr(home.diary, "on_lock_clock", watch)
        async with home.running():
            await asyncio.sleep(REFRESH_MS / 1_000 + 1)
        assert seen_at_confirm[0] == 0
        assert len(seen_at_confirm) == 3  # the handshake, the first STATE, the refreshed one
        for boot, up_ms, instant in home.diary.clocks:
            assert boot == 3
            assert 0 <= instant.monotonic_ms - up_ms <= 10

    run_virtual(story())


def test_the_session_is_reserved_before_the_lock_hears_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        home = ScriptedHome()
        reserved_at_first_value: list[int] = []
        gateway_value = home.lock.gateway_value

        def watch(value: bytes) -> None:
            reserved_at_first_value.append(home.ledger.session_ctr)
            gateway_value(value)

        monkeypatch.setattr(home.lock, "gateway_value", watch)
        async with home.running():
            assert reserved_at_first_value[0] == 1
            assert home.lock.confirms[0].session_ctr == 1
            home.radio.drop_link()
            await home.until(lambda: len(home.lock.confirms) == 2)
            assert home.lock.confirms[1].session_ctr == 2

    run_virtual(story())


def test_without_a_durable_reservation_the_lock_hears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        home = ScriptedHome()

        async def fail(_lock_id: bytes) -> NoReturn:
            raise GatewayError("store.full", "the disk is full")

        monkeypatch.setattr(home.ledger, "reserve_session", fail)
        heard: list[bytes] = []
        monkeypatch.setattr(home.lock, "gateway_value", heard.append)
        async with home.running(ready=False) as link:
            await asyncio.sleep(120)
            assert (link.ready, heard) == (False, [])
            assert link.status.last_fault == "store.full"
            assert link.status.connect_count > 3

    run_virtual(story())


def test_ready_needs_an_answer_after_confirm() -> None:
    async def story() -> None:
        home = ScriptedHome()
        home.lock.on_message = lambda _message, _corr: None
        async with home.running(ready=False) as link:
            await home.until(lambda: home.lock.confirms)
            await asyncio.sleep(4)
            assert (link.ready, link.status.state) == (False, LinkState.HANDSHAKING)
            await home.until(lambda: link.status.failure_count == 1)
            assert home.diary.changes == []

    run_virtual(story())


def test_a_lock_that_refuses_to_tell_its_state_has_proved_itself_all_the_same() -> None:
    async def story() -> None:
        home = ScriptedHome()
        busy = ErrorRecord(code=Code.BUSY, may_have_executed=False)
        home.lock.on_message = lambda _message, corr: home.lock.say(busy, corr)
        async with home.running() as link:
            assert link.ready
            assert home.diary.doors == []

    run_virtual(story())


# Going and coming back.


def test_a_dropped_link_comes_back_soon_and_both_are_shown() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            home.radio.drop_link()
            await home.until(lambda: not link.ready)
            lost_ms = now_ms()
            await home.until_ready()
            assert now_ms() - lost_ms < 5_000
            assert [(change.ready, change.code) for change in home.diary.changes] == [
                (True, None),
                (False, RadioCode.DISCONNECTED),
                (True, None),
            ]
            assert home.diary.doors[-1].observed_at.monotonic_ms > lost_ms

    run_virtual(story())


def test_a_phantom_connection_is_down_after_forty_five_seconds_without_an_authentic_word() -> None:
    async def story() -> None:
        home = ScriptedHome()
        async with home.running() as link:
            await asyncio.sleep(REFRESH_MS / 1_000 - 30)  # no request is in flight in the time that follows
            home.lock.mute = True
            muted_ms = now_ms()
            await home.until(lambda: not link.ready)
            # The refresh asks first, and gives up after 5 s; the session by itself would after 45 s.
            assert now_ms() - muted_ms <= SESSION_SILENCE_MS_MAX
            assert link.status.last_fault == "command.link_down"

    run_virtual(story())


def test_an_idle_link_lives_on_pings_and_shows_the_state_anew_each_minute() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            await asyncio.sleep(3_600)
            assert link.status.connect_count == 1
            times_ms = [observed.observed_at.monotonic_ms for observed in home.diary.doors]
            gaps = [later - earlier for earlier, later in itertools.pairwise(times_ms)]
            assert len(gaps) > 55
            assert max(gaps) <= REFRESH_MS + 1_000

    run_virtual(story())


def test_a_door_that_changes_is_shown_at_once() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running():
            home.mechanics.hand_turns_knob()
            await asyncio.sleep(0.1)
            assert home.diary.doors[-1].bolt is Bolt.UNLOCKED
            home.mechanics.door_opens()
            await asyncio.sleep(0.1)
            assert home.diary.doors[-1].door is DoorLeaf.OPEN

    run_virtual(story())


@pytest.mark.no_cover
def test_a_session_is_renewed_after_a_day_without_anybody_being_told_of_a_loss() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            await asyncio.sleep(SESSION_AGE_MS_MAX / 1_000 + 120)
            assert link.ready
            assert (link.status.connect_count, link.status.failure_count) == (2, 0)
            assert len(home.diary.changes) == 1

    run_virtual(story())


@pytest.mark.no_cover
def test_a_session_is_not_renewed_under_a_moving_bolt() -> None:
    async def story() -> None:
        home = LinkHome()
        home.mechanics.motor_ms = 4_500
        async with home.running() as link:
            # Each try begins a little later around the moment at which renewal falls due.
            await asyncio.sleep(SESSION_AGE_MS_MAX / 1_000 - 30)
            for seq in range(1, 9):
                outcome = await link.execute(move(seq, action=[2, 1][seq % 2]))  # type: ignore[arg-type]  # 1 and 2
                assert outcome.code is Code.DONE
                await asyncio.sleep(10)
            assert link.status.connect_count == 2

    run_virtual(story())


@pytest.mark.no_cover
def test_a_lock_out_of_reach_is_looked_for_for_ever_and_found_as_soon_as_it_advertises() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            home.radio.set_reachable(False)
            await asyncio.sleep(24 * 3_600)
            assert not link.ready
            assert link.status.last_fault == RadioCode.NOT_FOUND
            home.radio.set_reachable(True)
            back_ms = now_ms()
            await home.until_ready()
            # The radio in memory hears nothing that appears while it listens, so one listening may have to end first.
            assert now_ms() - back_ms < 25_000

    run_virtual(story())


def test_an_advertisement_ends_the_back_off_of_a_lock_that_was_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        home = ScriptedHome()
        finds: list[int] = []
        find = home.radio.find

        async def find_late(
            service_uuid: str, address: str | None, *, timeout_ms: int, phone_waiting: bool = False
        ) -> Sighting:
            finds.append(timeout_ms)
            if len(finds) == 1:
                await asyncio.sleep(timeout_ms / 1_000)
                raise RadioError(RadioCode.NOT_FOUND)
            return await find(service_uuid, address, timeout_ms=600_000, phone_waiting=phone_waiting)

        monkeypatch.setattr(home.radio, "find", find_late)
        monkeypatch.setattr(home.random, "uniform", lambda _low, high: high)
        monkeypatch.setattr("gatewayd.link.patience.backoff_ms_max", lambda _count: 20_000)
        async with home.running():
            assert finds[0] == SCAN_MS_MAX
            assert now_ms() < 1_000_000 + SCAN_MS_MAX + 2_500

    run_virtual(story())


def test_a_missing_adapter_is_no_reason_to_stop() -> None:
    async def story() -> None:
        home = LinkHome()
        home.radio.set_available(False)
        async with home.running(ready=False) as link:
            await asyncio.sleep(3_600)
            assert link.status.last_fault == RadioCode.UNAVAILABLE
            assert link.status.connect_count == 0
            home.radio.set_available(True)
            await home.until_ready()

    run_virtual(story())


def test_back_offs_are_drawn_from_all_below_a_bound_that_doubles_to_twenty_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        home = ScriptedHome()
        bounds: list[float] = []
        uniform = home.random.uniform

        def draw(low: float, high: float) -> float:
            if high not in (5, 500):  # the air's latency and the radio's own
                bounds.append(high)
            return uniform(low, high)

        monkeypatch.setattr(home.random, "uniform", draw)
        home.radio.set_available(False)
        async with home.running(ready=False):
            await home.until(lambda: len(bounds) == 8)
        assert bounds == [1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000, 20_000]

    run_virtual(story())


def test_only_a_link_that_stood_for_a_minute_makes_the_next_back_off_short_again() -> None:
    async def story() -> None:
        home = ScriptedHome()
        async with home.running() as link:
            for count in range(1, 5):
                await asyncio.sleep(1)
                home.radio.drop_link()
                await home.until(lambda: not link.ready)
                assert link.status.failure_count == count
                await home.until_ready()
            await asyncio.sleep(STEADY_MS / 1_000 + 1)
            home.radio.drop_link()
            await home.until(lambda: not link.ready)
            assert link.status.failure_count == 1

    run_virtual(story())


def test_somebody_at_the_door_ends_the_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        home = LinkHome()
        monkeypatch.setattr(home.random, "uniform", lambda low, high: high if high > 500 else low)
        home.radio.set_available(False)
        async with home.running(ready=False) as link:
            await home.until(lambda: link.status.failure_count == 8)
            await home.until(lambda: link.status.state is LinkState.BACKING_OFF)
            home.radio.set_available(True)
            begun_ms = now_ms()
            assert (await link.execute(move(1))).code is Code.DONE
            assert now_ms() - begun_ms < 5_000

    run_virtual(story())


def test_who_waits_at_the_door_ends_one_back_off_and_not_all_that_follow() -> None:
    async def story() -> None:
        home = LinkHome()
        home.radio.set_available(False)
        async with home.running(ready=False) as link:
            await home.until(lambda: link.status.failure_count == 8)
            assert (await link.execute(move(1))).code is Code.LINK_DOWN
            failure_count = link.status.failure_count
            await asyncio.sleep(600)
            assert 30 < link.status.failure_count - failure_count < 120

    run_virtual(story())


# What is written down.


@pytest.mark.no_cover
def test_short_losses_are_shown_and_long_ones_are_journaled_too() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            assert [row[0] for row in home.ledger.links] == ["raised"]
            home.radio.drop_link()
            await home.until(lambda: not link.ready)
            await home.until_ready()
            assert len(home.ledger.links) == 1
            home.radio.set_reachable(False)
            await asyncio.sleep(OUTAGE_MS / 1_000 + 40)
            assert home.ledger.links[1:] == [("lost", RadioCode.NOT_FOUND)]
            await asyncio.sleep(24 * 3_600)
            assert len(home.ledger.links) == 2
            home.radio.set_reachable(True)
            await home.until_ready()
            await asyncio.sleep(0)
            kind, session_ctr, outage_ms = home.ledger.links[2]
            assert (kind, session_ctr) == ("raised", 3)
            assert isinstance(outage_ms, int)
            assert outage_ms > 24 * 3_600 * 1_000

    run_virtual(story())


def test_a_lock_that_was_never_reached_is_journaled_as_lost() -> None:
    async def story() -> None:
        home = LinkHome()
        home.radio.set_reachable(False)
        async with home.running(ready=False):
            await asyncio.sleep(600)
            assert home.ledger.links == [("lost", RadioCode.NOT_FOUND)]
            assert home.diary.changes == []

    run_virtual(story())


def test_a_full_disk_keeps_no_lock_out_of_reach() -> None:
    async def story() -> None:
        home = LinkHome()
        home.ledger.full = True
        async with home.running() as link:
            await asyncio.sleep(600)
            assert (await link.execute(move(1))).code is Code.DONE
            home.radio.set_reachable(False)
            await asyncio.sleep(600)
            home.radio.set_reachable(True)
            await home.until_ready()
            assert home.ledger.links == []

    run_virtual(story())


# Attacks.


def test_attack_a_lock_without_the_pinned_key_is_never_ready_and_one_alarm() -> None:
    async def story() -> None:
        home = LinkHome()
        home.link = home.make_link(lock_key=KeyPair.from_private(bytes([7]) * 32).public)
        async with home.running(ready=False) as link:
            await asyncio.sleep(600)
            assert (home.diary.doors, home.diary.alerts, home.lock.is_live) == ([], [Code.DENIED], False)
            assert link.status.connect_count > 10

    run_virtual(story())


def test_attack_a_lock_ahead_of_us_is_suspect_once_and_is_not_believed() -> None:
    async def story() -> None:
        home = ScriptedHome()
        home.lock.status = lambda: status(session_ctr=2**40, up_ms=home.lock.up_ms)
        async with home.running(ready=False) as link:
            await asyncio.sleep(600)
            assert home.diary.alerts == [Code.CLONE_SUSPECT]
            assert (home.diary.doors, home.lock.confirms, home.diary.clocks) == ([], [], [])
            assert link.status.connect_count > 10
            home.lock.status = lambda: status(session_ctr=0, up_ms=home.lock.up_ms)
            await home.until_ready()
            home.lock.status = lambda: status(session_ctr=2**40, up_ms=home.lock.up_ms)
            home.radio.drop_link()
            await home.until(lambda: len(home.diary.alerts) == 2)

    run_virtual(story())


def test_attack_a_plain_word_about_a_clone_is_a_hint_and_raises_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        home = ScriptedHome()

        def connected(pipe: object) -> None:
            home.lock.connections += 1
            body = encode_plain(PlainClose(code=Code.CLONE_SUSPECT))
            value = bytes([0b1011_0000, 0, len(body)]) + body
            pipe.send_value(value)  # type: ignore[attr-defined]  # a Pipe

        monkeypatch.setattr(home.lock, "gateway_connected", connected)
        async with home.running(ready=False) as link:
            await home.until(lambda: link.status.failure_count == 3)
            assert link.status.last_fault == Code.CLONE_SUSPECT.dotted
            assert home.diary.alerts == []

    run_virtual(story())


def test_attack_a_plain_goodbye_does_not_end_a_live_session() -> None:
    async def story() -> None:
        home = ScriptedHome()
        async with home.running() as link:
            session = home.lock.session
            assert session is not None
            session._queue(2, encode_plain(PlainClose(code=Code.BUSY)))  # type: ignore[arg-type]  # noqa: SLF001 - PLAIN, from whoever can write into the link
            home.lock.flush()
            await asyncio.sleep(30)
            assert link.ready
            assert link.status.connect_count == 1

    run_virtual(story())


def test_an_authentic_goodbye_and_a_fatal_error_end_the_session() -> None:
    async def story() -> None:
        home = ScriptedHome()
        async with home.running() as link:
            assert home.lock.session is not None
            home.lock.session.close(Code.BUSY)
            home.lock.flush()
            await home.until(lambda: link.status.last_fault == Code.BUSY.dotted)
            await home.until_ready()
            home.lock.say(ErrorRecord(code=Code.NOT_CONFIRMED, may_have_executed=False))
            await home.until(lambda: link.status.last_fault == Code.NOT_CONFIRMED.dotted)
            await home.until_ready()

    run_virtual(story())


def test_attack_a_garbled_value_drops_the_link_and_it_comes_back() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            for _ in range(3):
                home.lock.garble_next_value()
                home.mechanics.hand_turns_knob()
                await home.until(lambda: not link.ready)
                assert link.status.last_fault == Code.DENIED.dotted
                await home.until_ready()

    run_virtual(story())


# Radios and hands that hang.


class HungRadio:
    """Gives up nothing by itself."""

    def __init__(self, home: ScriptedHome, hangs_in: str) -> None:
        self._home = home
        self._hangs_in = hangs_in
        self.calls: list[str] = []

    async def find(
        self, service_uuid: str, address: str | None, *, timeout_ms: int, phone_waiting: bool = False
    ) -> Sighting:
        self.calls.append("find")
        if self._hangs_in == "find":
            await asyncio.sleep(10**9)
        return await self._home.radio.find(service_uuid, address, timeout_ms=timeout_ms, phone_waiting=phone_waiting)

    async def connect(self, sighting: Sighting, *, timeout_ms: int) -> LockLink:
        self.calls.append("connect")
        if self._hangs_in == "connect":
            await asyncio.sleep(10**9)
        link = await self._home.radio.connect(sighting, timeout_ms=timeout_ms)
        if self._hangs_in in {"write_value", "close"}:
            setattr(link, self._hangs_in, lambda *_values: asyncio.sleep(10**9))
        return link

    async def returned(self) -> None:
        await asyncio.sleep(10**9)

    async def recover(self, _rung: Rung, _address: str | None) -> bool:
        self.calls.append("recover")
        if self._hangs_in == "recover":
            await asyncio.sleep(10**9)
        return False

    async def close(self) -> None:
        """Never called here."""


@pytest.mark.parametrize(
    ("hangs_in", "code", "within_ms"),
    [
        ("find", RadioCode.NOT_FOUND, SCAN_MS_MAX + RADIO_SLACK_MS),
        ("connect", RadioCode.CONNECT_TIMEOUT, CONNECT_MS_MAX + RADIO_SLACK_MS + 500),
        ("write_value", RadioCode.GATT_FAILED, 6_500),
    ],
)
def test_a_radio_that_hangs_is_given_up_in_bounded_time(hangs_in: str, code: str, within_ms: int) -> None:
    async def story() -> None:
        home = ScriptedHome()
        radio = HungRadio(home, hangs_in)
        home.link = home.make_link(radio)
        async with home.running(ready=False) as link:
            begun_ms = now_ms()
            await home.until(lambda: link.status.failure_count == 1)
            assert link.status.last_fault == code
            assert now_ms() - begun_ms <= within_ms
            await home.until(lambda: link.status.failure_count == 3)
            assert len(radio.calls) >= 3

    run_virtual(story())


def test_a_link_that_does_not_close_does_not_hold_the_next_one_up_for_ever() -> None:
    async def story() -> None:
        home = ScriptedHome()
        home.link = home.make_link(HungRadio(home, "close"))
        async with home.running() as link:
            home.lock.hang_up()
            await home.until(lambda: not link.ready)
            await home.until_ready()

    run_virtual(story())


def test_a_carrier_that_outlives_its_link_is_told_and_holds_the_next_one_up_for_ten_seconds() -> None:
    class StubbornRadio(HungRadio):
        async def connect(self, sighting: Sighting, *, timeout_ms: int) -> LockLink:
            link = await super().connect(sighting, timeout_ms=timeout_ms)
            next_value = link.next_value

            async def stay() -> bytes:
                try:
                    return await next_value()
                except asyncio.CancelledError:
                    await asyncio.sleep(2 * DROP_MS_MAX / 1_000)  # a bug of the radio's
                    raise

            if self.calls.count("connect") == 1:
                setattr(link, "next_value", stay)  # noqa: B010 - for mypy: a method
            return link

    async def story() -> None:
        home = ScriptedHome()
        home.link = home.make_link(StubbornRadio(home, "nothing"))
        with capture_logs() as said:
            async with home.running() as link:
                home.lock.mute = True
                await home.until(lambda: link.status.state is LinkState.DROPPING)
                begun_ms = now_ms()
                home.lock.mute = False
                await home.until_ready()
                assert DROP_MS_MAX <= now_ms() - begun_ms < 2 * DROP_MS_MAX + SCAN_MS_MAX
        assert [each["log_level"] for each in said if each["event"] == "link.carrier_hangs"] == ["error"]

    run_virtual(story())


def test_a_lock_that_is_not_where_it_answered_last_is_looked_for_anywhere_in_the_same_search() -> None:
    async def story() -> None:
        home = ScriptedHome()
        finds: list[tuple[str | None, int]] = []

        class Deserted(HungRadio):
            async def find(
                self, service_uuid: str, address: str | None, *, timeout_ms: int, phone_waiting: bool = False
            ) -> Sighting:
                finds.append((address, timeout_ms))
                if address is not None:
                    await asyncio.sleep(timeout_ms / 1_000)
                    raise RadioError(RadioCode.NOT_FOUND)
                return await super().find(service_uuid, None, timeout_ms=timeout_ms, phone_waiting=phone_waiting)

        assert (await look_for(Deserted(home, ""), None, heard_at="F0:00:00:00:00:09")).rssi_dbm
        assert finds == [("F0:00:00:00:00:09", REMEMBERED_MS_MAX), (None, SCAN_MS_MAX - REMEMBERED_MS_MAX)]
        with pytest.raises(RadioError):  # what was set by hand is not given up for what anybody can say
            await look_for(Deserted(home, ""), "F0:00:00:00:00:08", heard_at="F0:00:00:00:00:09")
        assert finds[2:] == [("F0:00:00:00:00:08", SCAN_MS_MAX)]

    run_virtual(story())


def test_a_handshake_that_gets_stuck_is_given_ten_seconds() -> None:
    async def story() -> None:
        home = ScriptedHome()
        home.lock.mute = True
        async with home.running(ready=False) as link:
            await home.until(lambda: link.status.state is LinkState.DISCOVERING)
            begun_ms = now_ms()
            await home.until(lambda: link.status.failure_count == 1)
            assert now_ms() - begun_ms <= HANDSHAKE_MS_MAX + 20
            home.lock.mute = False
            await home.until_ready()

    run_virtual(story())


# Stopping.


@pytest.mark.parametrize("moment_s", [0, 0.1, 0.4, 0.6, 0.9, 1, 2, 30])
def test_a_stop_at_any_moment_leaves_no_link_behind(moment_s: float) -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running(ready=False):
            await asyncio.sleep(moment_s)
        assert home.link.status.state is LinkState.IDLE
        await asyncio.sleep(1)
        assert not home.lock.is_live
        assert home.radio.link_count == 0
        if home.diary.changes:
            assert home.diary.changes[-1].ready is False

    run_virtual(story())


def test_a_stop_is_obeyed_when_the_link_is_lost_in_the_same_moment() -> None:
    async def story() -> None:
        home = LinkHome()
        task = asyncio.create_task(home.link.run())
        await home.until_ready(task)
        home.radio.drop_link()
        task.cancel()
        async with asyncio.timeout(60):
            await asyncio.wait({task})
        assert task.cancelled()
        assert home.link.status.state is LinkState.IDLE

    run_virtual(story())


def test_a_bug_of_the_listener_ends_the_link_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        home = ScriptedHome()
        task = asyncio.create_task(home.link.run())
        await home.until_ready(task)

        def fail(_observed: object) -> NoReturn:
            raise KeyError("a bug")

        monkeypatch.setattr(home.diary, "on_door_observed", fail)
        state = home.lock.state()
        home.lock.say(
            StateEvent(
                bolt=state.bolt,
                door=state.door,
                battery_mv=state.battery_mv,
                motor_busy=state.motor_busy,
                tampered=state.tampered,
                up_ms=state.up_ms,
            )
        )
        async with asyncio.timeout(60):
            await asyncio.wait({task})
        assert "KeyError" in repr(task.exception())
        assert home.lock.pipe is None

    run_virtual(story())


def test_a_late_answer_to_a_request_that_was_given_up_is_nobodys() -> None:
    async def story() -> None:
        home = ScriptedHome()
        corrs: list[int] = []

        def answer(message: Message, corr: int) -> None:
            if isinstance(message, StateGet):
                corrs.append(corr)
            home.lock.answer(message, corr)

        home.lock.on_message = answer
        async with home.running() as link:
            home.lock.say(home.lock.state(), corrs[-1])
            home.lock.say(Pong(up_ms=home.lock.up_ms), 9)
            await asyncio.sleep(1)
            assert link.ready
            assert len(home.diary.doors) == 1

    run_virtual(story())
