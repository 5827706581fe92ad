"""Laws 1 to 3 at the link: sent once at most, then only asked about, and never late. The mechanics keep the truth."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.constants import WITHIN_MS_MAX
from firmware_protocol.messages import (
    CommandAccepted,
    CommandQuery,
    CommandResult,
    ErrorRecord,
    LockCommand,
    Message,
    StateGet,
)
from firmware_protocol.vocabulary import Action, Bolt
from gatewayd.link.lock_client import ANSWER_MS_MAX, MOTOR_MS_MAX
from gatewayd.link.log_transfer import READ_GAP_MS
from gatewayd.link.moves import INQUIRY_MS_MAX
from gatewayd.link.ports import MoveOutcome
from tests.support.link_home import LinkHome, move
from tests.support.memory_radio import ADDRESS
from tests.support.scripted_home import ScriptedHome
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable


def now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1_000)


# A lock that works.


def test_a_movement_is_done_once_and_told_with_its_record_and_the_door_is_shown() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            outcome = await link.execute(move(1))
            assert (outcome.code, outcome.bolt) == (Code.DONE, Bolt.UNLOCKED)
            assert outcome.lock_log_seq == home.flash.last_seq
            assert home.movement_count == 1
            await asyncio.sleep(1)
            assert (home.diary.doors[-1].bolt, home.diary.doors[-1].motor_busy) == (Bolt.UNLOCKED, False)
            assert (await link.query(1)).code is Code.DONE
            assert home.movement_count == 1

    run_virtual(story())


def test_two_movements_at_once_are_taken_one_after_the_other() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            outcomes = await asyncio.gather(link.execute(move(1)), link.execute(move(2, action=Action.LOCK)))
            assert [(outcome.code, outcome.bolt) for outcome in outcomes] == [
                (Code.DONE, Bolt.UNLOCKED),
                (Code.DONE, Bolt.LOCKED),
            ]
            assert home.movement_count == 2

    run_virtual(story())


@pytest.mark.parametrize(
    ("within_ms", "code", "count"), [(500, Code.LINK_DOWN, 1), (10_000, Code.DONE, 2)], ids=["too short", "enough"]
)
def test_a_movement_that_waits_for_another_is_dead_when_its_time_is_over(
    within_ms: int, code: Code, count: int
) -> None:
    async def story() -> None:
        home = LinkHome()
        home.mechanics.motor_ms = 3_000
        async with home.running() as link:
            first = asyncio.create_task(link.execute(move(1)))
            await asyncio.sleep(0.1)
            outcome = await link.execute(move(2, action=Action.LOCK, within_ms=within_ms))
            assert outcome.code is code
            assert (await first).code is Code.DONE
            await asyncio.sleep(60)
            assert home.movement_count == count

    run_virtual(story())


def test_what_the_mechanics_say_is_what_is_told() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            home.mechanics.jam()
            outcome = await link.execute(move(1))
            assert (outcome.code, outcome.bolt) == (Code.MOTOR_BLOCKED, Bolt.JAMMED)
            home.mechanics.free()
            home.mechanics.drain_battery(3_000)
            assert (await link.execute(move(2))).code is Code.LOW_VOLTAGE

    run_virtual(story())


# No link.


@pytest.mark.parametrize("within_ms", [0, -5, 1, 2_000])
def test_without_a_link_a_movement_is_dead_after_its_time_and_does_not_come_back_to_life(within_ms: int) -> None:
    async def story() -> None:
        home = LinkHome()
        home.radio.set_reachable(False)
        async with home.running(ready=False) as link:
            begun_ms = now_ms()
            outcome = await link.execute(move(1, within_ms=within_ms))
            assert outcome == MoveOutcome(code=Code.LINK_DOWN, bolt=Bolt.UNKNOWN)
            assert now_ms() - begun_ms == max(0, within_ms)
            home.radio.set_reachable(True)
            await home.until_ready()
            await asyncio.sleep(60)
            assert home.movement_count == 0
            assert (await link.query(1)).code is Code.FAILED

    run_virtual(story())


def test_a_link_that_comes_in_time_serves_the_movement_that_waits() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running(ready=False) as link:
            assert not link.ready
            assert (await link.execute(move(1))).code is Code.DONE
            assert home.movement_count == 1

    run_virtual(story())


def test_a_longer_time_than_the_protocol_has_is_cut() -> None:
    async def story() -> None:
        home = LinkHome()
        home.radio.set_reachable(False)
        async with home.running(ready=False) as link:
            begun_ms = now_ms()
            assert (await link.execute(move(1, within_ms=10**9))).code is Code.LINK_DOWN
            assert now_ms() - begun_ms == WITHIN_MS_MAX

    run_virtual(story())


def test_a_movement_whose_link_dies_before_it_is_sent_takes_the_next_link() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            await asyncio.sleep(READ_GAP_MS / 1_000)  # the log is being read: the movement has to wait for the line
            home.radio.drop_link()
            assert link.ready  # nobody has noticed yet
            assert (await link.execute(move(1))).code is Code.DONE
            assert home.movement_count == 1
            assert link.status.connect_count == 2

    run_virtual(story())


# A link that is lost in the middle.


def drop_when_the_motor_starts(home: LinkHome) -> None:
    def on_changed() -> None:
        if home.mechanics.is_motor_busy or home.mechanics.bolt is Bolt.UNLOCKING:
            home.mechanics.on_changed = None
            asyncio.get_running_loop().call_soon(home.radio.drop_link)

    home.mechanics.on_changed = on_changed


def test_a_link_lost_while_the_motor_runs_is_asked_about_and_nothing_moves_twice() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            drop_when_the_motor_starts(home)
            outcome = await link.execute(move(1))
            assert (outcome.code, outcome.bolt) == (Code.DONE, Bolt.UNLOCKED)
            assert link.status.connect_count == 2
            await asyncio.sleep(60)
            assert home.movement_count == 1

    run_virtual(story())


def test_a_slow_motor_is_asked_again_until_it_has_stopped() -> None:
    async def story() -> None:
        home = LinkHome()
        home.mechanics.motor_ms = 4_800
        async with home.running() as link:
            drop_when_the_motor_starts(home)
            begun_ms = now_ms()
            assert (await link.execute(move(1))).code is Code.DONE
            assert 4_800 <= now_ms() - begun_ms < 6_000
            assert home.movement_count == 1

    run_virtual(story())


def test_a_command_lost_in_the_air_has_failed_and_is_not_sent_again() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            await asyncio.sleep(5)
            executing = asyncio.create_task(link.execute(move(1)))
            link_in_air = home.radio.locks[ADDRESS].gateway
            assert link_in_air is not None
            while not link_in_air._to_lock._in_flight:  # noqa: SLF001 - the same
                await asyncio.sleep(0)
            home.radio.drop_link()
            assert (await executing).code is Code.FAILED
            await asyncio.sleep(60)
            assert home.movement_count == 0

    run_virtual(story())


def test_a_lock_that_loses_its_power_in_the_middle_tells_what_it_knows() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:

            def on_changed() -> None:
                if home.mechanics.bolt is Bolt.UNLOCKING:
                    home.mechanics.on_changed = None
                    asyncio.get_running_loop().call_later(0.2, home.lock.power_cycle)

            home.mechanics.on_changed = on_changed
            outcome = await link.execute(move(1))
            assert outcome.code.may_have_executed
            assert outcome.code is not Code.DONE
            await asyncio.sleep(60)
            assert home.movement_count == 1

    run_virtual(story())


def test_a_lock_that_never_comes_back_leaves_an_honest_unknown_in_bounded_time() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:

            def on_changed() -> None:
                home.mechanics.on_changed = None
                asyncio.get_running_loop().call_soon(home.radio.set_reachable, False)  # noqa: FBT003 - a setter

            home.mechanics.on_changed = on_changed
            begun_ms = now_ms()
            unknown = MoveOutcome(code=Code.MAY_HAVE_EXECUTED, bolt=Bolt.UNKNOWN, asked=False)
            assert (await link.execute(move(1))) == unknown
            assert INQUIRY_MS_MAX <= now_ms() - begun_ms < INQUIRY_MS_MAX + 1_000
            home.radio.set_reachable(True)
            assert (await link.query(1)).code is Code.DONE
            assert home.movement_count == 1

    run_virtual(story())


def test_a_restarted_gateway_asks_about_what_it_had_sent() -> None:
    async def story() -> None:
        home = LinkHome()
        async with home.running() as link:
            executing = asyncio.create_task(link.execute(move(1)))
            await home.until(lambda: home.mechanics.is_motor_busy)
        executing.cancel()
        await asyncio.wait({executing})
        home.link = home.make_link()
        async with home.running(ready=False) as link:
            assert (await link.query(1)).code is Code.DONE
            assert home.movement_count == 1

    run_virtual(story())


# Delay.


@pytest.mark.parametrize(
    ("delay_ms", "count"),
    [(1_500, 1), (2_500, 0), (3_400, 0)],
    ids=["within its time", "held back beyond it", "held back for long"],
)
def test_attack_a_command_held_back_in_the_air_dies(delay_ms: int, count: int) -> None:
    async def story() -> None:
        home = LinkHome(latency_ms=(1, 1))
        async with home.running() as link:
            await asyncio.sleep(1)
            home.radio._latency_ms = (delay_ms, delay_ms)  # noqa: SLF001 - somebody in the air between
            outcome = await link.execute(move(1, within_ms=2_000))
            home.radio._latency_ms = (1, 1)  # noqa: SLF001 - and gone again
            assert outcome.code is (Code.DONE if count else Code.TOO_LATE)
            await asyncio.sleep(120)
            assert home.movement_count == count

    run_virtual(story())


def test_attack_answers_held_back_only_shorten_the_time() -> None:
    async def story() -> None:
        home = ScriptedHome()
        commands: list[tuple[int, LockCommand]] = []

        def obey(message: Message, corr: int) -> None:
            if isinstance(message, LockCommand):
                commands.append((home.lock.up_ms, message))
                home.lock.say(_result(home, message.command_seq), corr)
            else:
                home.lock.answer(message, corr)

        home.lock.on_message = obey
        async with home.running() as link:
            for seq, delay_ms in enumerate((1, 200, 900, 2_000), start=1):
                home.radio._latency_ms = (delay_ms, delay_ms)  # noqa: SLF001 - somebody in the air between
                await asyncio.sleep(20)  # a ping goes by, and tells an uptime that is that much older
                sent_ms = now_ms()
                outcome = await link.execute(move(seq, within_ms=5_000))
                arrived_ms, command = commands[-1]
                assert outcome.code is Code.DONE
                assert command.before_up_ms <= sent_ms + 5_000
                assert command.before_up_ms >= sent_ms + 5_000 - delay_ms - 10
                assert arrived_ms >= sent_ms + delay_ms

    run_virtual(story())


def test_after_a_sleep_of_the_machine_the_uptime_is_asked_for_anew() -> None:
    async def story() -> None:
        home = ScriptedHome()

        def obey(message: Message, corr: int) -> None:
            if isinstance(message, LockCommand):
                home.lock.say(_result(home, message.command_seq), corr)
            else:
                home.lock.answer(message, corr)

        home.lock.on_message = obey
        async with home.running() as link:
            await asyncio.sleep(5)
            home.lock.heard.clear()
            assert (await link.execute(move(1))).code is Code.DONE
            assert type(home.lock.heard[0]) is LockCommand
            home.clock.sleep_machine(41_000)
            home.lock.heard.clear()
            assert (await link.execute(move(2))).code is Code.DONE
            assert [type(message) for message in home.lock.heard[:2]] == [StateGet, LockCommand]

    run_virtual(story())


def test_a_lock_that_will_not_tell_its_uptime_is_sent_no_movement() -> None:
    async def story() -> None:
        home = ScriptedHome()
        async with home.running() as link:
            home.lock.on_message = lambda _message, corr: home.lock.say(
                ErrorRecord(code=Code.BUSY, may_have_executed=False), corr
            )
            home.clock.sleep_machine(41_000)
            assert (await link.execute(move(1))).code is Code.LINK_DOWN
            assert not any(isinstance(message, LockCommand) for message in home.lock.heard)

    run_virtual(story())


def test_a_machine_that_sleeps_while_the_uptime_is_asked_for_sends_nothing_late() -> None:
    async def story() -> None:
        home = ScriptedHome()

        def answer(message: Message, corr: int) -> None:
            home.clock.sleep_machine(20_000)
            home.lock.answer(message, corr)

        async with home.running() as link:
            home.clock.sleep_machine(41_000)
            home.lock.on_message = answer
            assert (await link.execute(move(1))).code is Code.LINK_DOWN
            assert not any(isinstance(message, LockCommand) for message in home.lock.heard)

    run_virtual(story())


# A lock that answers oddly.


def _result(home: ScriptedHome, seq: int, code: Code = Code.DONE) -> CommandResult:
    return CommandResult(command_seq=seq, code=code, bolt=Bolt.UNLOCKED, up_ms=home.lock.up_ms)


def _answers(home: ScriptedHome, *messages: Callable[[], Message]) -> None:
    """Answer the next command with these, and each query with `FAILED`."""

    def on_message(message: Message, corr: int) -> None:
        match message:
            case LockCommand():
                for make in messages:
                    home.lock.say(make(), corr)
            case CommandQuery(command_seq=seq):
                home.lock.say(replace(_result(home, seq), code=Code.FAILED, bolt=Bolt.LOCKED), corr)
            case _:
                home.lock.answer(message, corr)

    home.lock.on_message = on_message


@pytest.mark.parametrize(
    ("code", "may_have_executed", "told"),
    [
        (Code.BUSY, False, Code.BUSY),
        (Code.TOO_LATE, False, Code.TOO_LATE),
        (Code.SUPERSEDED, False, Code.SUPERSEDED),
        (Code.MOTOR_BLOCKED, True, Code.MOTOR_BLOCKED),
        (Code.MOTOR_BLOCKED, False, Code.MOTOR_BLOCKED),
        (Code.DUPLICATE, True, Code.MAY_HAVE_EXECUTED),
        (Code.BUSY, True, Code.MAY_HAVE_EXECUTED),
        (Code.LINK_DOWN, False, Code.FAILED),
    ],
)
def test_of_a_refusal_the_more_cautious_reading_is_told(code: Code, told: Code, *, may_have_executed: bool) -> None:
    async def story() -> None:
        home = ScriptedHome()
        _answers(home, lambda: ErrorRecord(code=code, may_have_executed=may_have_executed))
        async with home.running() as link:
            assert (await link.execute(move(1))).code is told
            assert link.status.connect_count == 1

    run_virtual(story())


ODD: dict[str, list[Callable[[ScriptedHome], Message]]] = {
    "another command accepted": [lambda home: CommandAccepted(command_seq=9, up_ms=home.lock.up_ms)],
    "another command's result": [lambda home: _result(home, 9)],
    "a result that is none": [lambda home: _result(home, 1, Code.PERMITTED)],
    "attack: our own word for not sent": [lambda home: _result(home, 1, Code.LINK_DOWN)],
    "a state": [lambda home: home.lock.state()],
    "accepted twice": [lambda home: CommandAccepted(command_seq=1, up_ms=home.lock.up_ms)] * 2,
    "accepted, then a fatal error": [
        lambda home: CommandAccepted(command_seq=1, up_ms=home.lock.up_ms),
        lambda _home: ErrorRecord(code=Code.MALFORMED, may_have_executed=False),
    ],
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_attack_a_lock_that_answers_oddly_is_dropped_and_asked(odd: list[Callable[[ScriptedHome], Message]]) -> None:
    async def story() -> None:
        home = ScriptedHome()
        _answers(home, *(lambda make=make: make(home) for make in odd))
        async with home.running() as link:
            outcome = await link.execute(move(1))
            assert outcome == MoveOutcome(code=Code.FAILED, bolt=Bolt.LOCKED)
            assert link.status.connect_count == 2
            assert Counter(type(message) for message in home.lock.heard)[LockCommand] == 1

    run_virtual(story())


@pytest.mark.parametrize(
    ("accepts", "wait_ms"), [(False, WITHIN_MS_MAX + ANSWER_MS_MAX), (True, MOTOR_MS_MAX)], ids=["silent", "no result"]
)
def test_a_lock_that_ignores_a_command_is_dropped_and_asked_in_bounded_time(wait_ms: int, *, accepts: bool) -> None:
    async def story() -> None:
        home = ScriptedHome()
        _answers(home, *([lambda: CommandAccepted(command_seq=1, up_ms=home.lock.up_ms)] if accepts else []))
        async with home.running() as link:
            begun_ms = now_ms()
            assert (await link.execute(move(1))).code is Code.FAILED
            assert wait_ms <= now_ms() - begun_ms < wait_ms + 3_000
            assert Counter(type(message) for message in home.lock.heard)[LockCommand] == 1

    run_virtual(story())


def test_a_busy_lock_is_asked_again_and_one_that_will_not_say_leaves_an_unknown() -> None:
    async def story() -> None:
        home = ScriptedHome()
        errors = [Code.BUSY, Code.BUSY, Code.STORE_UNAVAILABLE]

        def on_message(message: Message, corr: int) -> None:
            if isinstance(message, CommandQuery):
                home.lock.say(ErrorRecord(code=errors.pop(0), may_have_executed=False), corr)
            else:
                home.lock.answer(message, corr)

        home.lock.on_message = on_message
        async with home.running() as link:
            assert (await link.query(1)).code is Code.MAY_HAVE_EXECUTED
            assert errors == []

    run_virtual(story())


@pytest.mark.parametrize("seq", [2, 1], ids=["another command", "a code that is none"])
def test_attack_a_query_answered_about_something_else_proves_nothing(seq: int) -> None:
    async def story() -> None:
        home = ScriptedHome()

        def on_message(message: Message, corr: int) -> None:
            if isinstance(message, CommandQuery):
                home.lock.say(_result(home, seq, Code.DONE if seq == 2 else Code.EXPIRED), corr)
            else:
                home.lock.answer(message, corr)

        home.lock.on_message = on_message
        async with home.running() as link:
            assert (await link.query(1)).code is Code.MAY_HAVE_EXECUTED
            assert link.status.connect_count > 1

    run_virtual(story())


# Seeded: links that are lost at any moment, again and again.


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_lost_whenever_no_movement_happens_twice_and_none_is_misreported(seed: int) -> None:
    async def story() -> None:
        home = LinkHome(seed=seed, value_size_max=home_sizes[seed % len(home_sizes)])
        chance = home.random
        async with home.running(ready=False) as link:
            breaking = asyncio.create_task(break_links(home))
            for seq in range(1, 13):
                action = chance.choice([Action.UNLOCK, Action.LOCK])
                moved_before = home.movement_count
                bolt_before = home.mechanics.bolt
                outcome = await link.execute(move(seq, action=action, within_ms=chance.choice([100, 2_000, 10_000])))
                check(home, outcome, moved=home.movement_count - moved_before, bolt_before=bolt_before, action=action)
                await asyncio.sleep(chance.uniform(0, 20))
            breaking.cancel()
        ids = Counter(movement.command_id for movement in home.mechanics.movements if movement.command_id)
        assert max(ids.values(), default=0) <= 1

    home_sizes = (20, 182, 244, 512)
    run_virtual(story())


async def break_links(home: LinkHome) -> None:
    while True:
        await asyncio.sleep(home.random.choice([0.3, 1.5, 6]) * home.random.random())
        match home.random.randrange(6):
            case 0:
                home.radio.set_reachable(False)
                await asyncio.sleep(home.random.uniform(0, 12))
                home.radio.set_reachable(True)
            case 1:
                home.lock.power_off()
                await asyncio.sleep(home.random.uniform(0, 3))
                home.lock.power_on()
            case 2:
                home.lock.garble_next_value()
            case _:
                home.radio.drop_link()


def check(home: LinkHome, outcome: MoveOutcome, *, moved: int, bolt_before: Bolt, action: Action) -> None:
    target = Bolt.UNLOCKED if action is Action.UNLOCK else Bolt.LOCKED
    assert moved <= 1
    if outcome.code is Code.DONE:
        assert moved == 1 or bolt_before is target
    if not outcome.code.may_have_executed:
        assert moved == 0, outcome
