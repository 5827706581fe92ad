"""The whole decision against a plain model: real signatures, a real store, the real reservation.

Power is cut in the middle of transactions, the process starts anew, the clock jumps forward or is no longer known,
bytes are replayed, ids are reused, phones are blocked, and old cards are put back. Whatever happens, code and paper
must give the same verdict, and no command may ever move the bolt twice.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Action
from gatewayd.access.verdicts import Denied, Permitted, Repeated
from gatewayd.settings import LimitSettings
from gatewayd.store import alarms
from gatewayd.timekeeping import TimeInterval
from tests.support.decision_bench import DecisionBench, PowerCutError
from tests.support.decision_paper import ALARM, HOME, HOUR_MS, MINUTE_MS, PEOPLE, Ledger, Paper, Person
from tests.support.homes import BOOTTIME_MS, NOW_S

if TYPE_CHECKING:
    from firmware_protocol.chains import VerifiedBundle

LOCK_ID: Final = HOME.home.lock_id
LIMITS: Final = LimitSettings(
    lock_burst=4,
    provider_burst=6,
    global_burst=7,
    emergency_burst=3,
    motor_burst=8,
    motor_reserve=2,
    interval_ms=MINUTE_MS,
)
"""As `Paper.costs` has them."""
FOLDER: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""In memory where that can be had: what SQLite asks of a disk is tested elsewhere."""
OFTEN: Final = (*PEOPLE, *PEOPLE[:3], PEOPLE[0], PEOPLE[0])


class DecisionModel(RuleBasedStateMachine):
    """The bench is the code, `paper` is the model; each rule does the same to both."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="gatewayd-model-", dir=FOLDER)
        self.bench = DecisionBench(Path(self.folder.name) / "store.sqlite", HOME, limits=LIMITS)
        self.paper = Paper(
            now_ms=NOW_S * 1_000,
            boottime_ms=BOOTTIME_MS,
            epoch=self.bench.epoch.value,
            epoch_began_ms=self.bench.epoch.drawn_boottime_ms,
        )
        self.sent: list[tuple[Person, VerifiedBundle]] = []
        self.cards: list[tuple[bytes, Ledger]] = []
        self.moved: Counter[bytes] = Counter()
        self.number = 0
        self.set_state(age_s=0)

    def teardown(self) -> None:
        self.bench.close()
        self.folder.cleanup()

    # What happens to the home.

    @rule(ms=st.sampled_from([1, 999, 20_000, MINUTE_MS, MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS]))
    def time_goes_by(self, ms: int) -> None:
        self.bench.advance(ms)
        self.paper.now_ms += ms
        self.paper.boottime_ms += ms

    @rule(known=st.sampled_from([True, True, False]), jump_s=st.sampled_from([0, 0, 0, 1, 60, 3_600, 7 * 3_600]))
    def time_is_lost_or_found_or_jumps_forward(self, known: bool, jump_s: int) -> None:  # noqa: FBT001 - drawn
        """Signed evidence raises the floor; CLOCK_BOOTTIME does not follow."""
        self.paper.now_ms += jump_s * 1_000
        self.paper.time_known = known
        now_ms = self.paper.now_ms
        self.bench.time = TimeInterval(lo_ms=now_ms, hi_ms=now_ms if known else None)

    @rule(
        person=st.sampled_from(PEOPLE),
        deed=st.sampled_from(["block", "block", "unblock", "news"]),
        age_s=st.sampled_from([0, 0, 7 * 3_600]),
    )
    def the_state_changes(self, person: Person, deed: str, age_s: int) -> None:
        if deed == "block":
            self.paper.revoked |= {person.kid}
        elif deed == "unblock":
            self.paper.revoked -= {person.kid}
        self.set_state(age_s)

    def set_state(self, age_s: int) -> None:
        issued_s = self.paper.now_s() - age_s
        self.bench.state = HOME.state(now_s=issued_s, seq=2, revoked_kids=tuple(sorted(self.paper.revoked)))
        self.paper.state_until_s = issued_s + 6 * 3_600

    @rule(suspect=st.sampled_from([False, False, True]))
    def a_second_holder_is_suspected_or_not(self, suspect: bool) -> None:  # noqa: FBT001 - drawn
        self.paper.suspect = suspect

    @rule(opens=st.sampled_from([True, True, False]))
    def an_alarm_is_opened_or_closed(self, opens: bool) -> None:  # noqa: FBT001 - drawn
        until_ms = self.paper.boottime_ms + HOUR_MS
        if opens:
            self.bench.run(lambda tx: alarms.open_alarm(tx, LOCK_ID, ALARM, until_ms))
        else:
            self.bench.run(lambda tx: alarms.close_alarm(tx, LOCK_ID, ALARM))
        self.paper.ledger.alarm_until_ms = until_ms if opens else None

    @rule(copies=st.booleans())
    def the_process_starts_anew_and_perhaps_the_card_is_copied(self, copies: bool) -> None:  # noqa: FBT001 - drawn
        if copies:
            self.cards.append((self.bench.card(), copy.deepcopy(self.paper.ledger)))
        self.bench.restart()
        self.paper.forget_the_process(self.bench.epoch.value)

    @precondition(lambda self: self.cards)
    @rule(data=st.data())
    def an_old_card_is_put_back(self, data: st.DataObject) -> None:
        card, ledger = data.draw(st.sampled_from(self.cards))
        self.bench.put_card(card)
        self.paper.ledger = copy.deepcopy(ledger)
        self.paper.forget_the_process(self.bench.epoch.value)

    # What people do.

    @rule(
        person=st.sampled_from(OFTEN),
        action=st.sampled_from([Action.UNLOCK, Action.UNLOCK, Action.LOCK, Action.UNLOCK_UNDER_DURESS]),
        asked=st.sampled_from([True, True, True, False]),
        count=st.sampled_from([1, 1, 2, 4, 7]),
        power_fails=st.sampled_from([False] * 9 + [True]),
    )
    def commands_at_the_door(  # what is drawn
        self,
        person: Person,
        action: Action,
        asked: bool,  # noqa: FBT001
        count: int,
        power_fails: bool,  # noqa: FBT001
    ) -> None:
        for _ in range(1 if power_fails else count):
            self.number += 1
            challenge = f"challenge-{self.number}"
            if asked:
                self.bench.challenges.learn(LOCK_ID, HOME.office.token(challenge), self.paper.boottime_ms)
                self.paper.learn(HOME.office.token(challenge))
            command = f"command-{self.number}"
            bundle = HOME.at_door(person.holder, challenge=challenge, command=command, action=action)
            self.sent.append((person, bundle))
            self.submit(person, bundle, power_fails=power_fails)

    @rule(
        person=st.sampled_from(OFTEN),
        action=st.sampled_from([Action.UNLOCK, Action.UNLOCK, Action.LOCK]),
        age_s=st.sampled_from([-2, -1, 0, 0, 10, 29, 30]),
        ttl_s=st.sampled_from([30, 30, 60, 61, 300]),
        names_alarm=st.sampled_from([True, True, False]),
        reuses_id=st.sampled_from([False, False, False, True]),
    )
    def a_command_over_mqtt(  # what is drawn
        self,
        person: Person,
        action: Action,
        age_s: int,
        ttl_s: int,
        names_alarm: bool,  # noqa: FBT001
        reuses_id: bool,  # noqa: FBT001
    ) -> None:
        self.number += 0 if reuses_id else 1
        bundle = HOME.over_mqtt(
            person.holder,
            command=f"command-{self.number}",
            epoch=self.bench.epoch.value,
            issued_s=max(0, self.paper.epoch_now_s() - age_s),
            ttl_s=ttl_s,
            action=action,
            alarm_ref=ALARM if names_alarm and person.kind == "operator" else None,
        )
        self.sent.append((person, bundle))
        self.submit(person, bundle)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), power_fails=st.sampled_from([False, False, True]))
    def anything_is_sent_again(self, data: st.DataObject, power_fails: bool) -> None:  # noqa: FBT001 - drawn
        person, bundle = data.draw(st.sampled_from(self.sent))
        self.submit(person, bundle, power_fails=power_fails)

    def submit(self, person: Person, bundle: VerifiedBundle, *, power_fails: bool = False) -> None:
        self.bench.tier = self.paper.tier()
        if power_fails:
            with pytest.raises(PowerCutError):
                self.bench.ask(bundle, power_fails=True)
            self.bench.restart()
            self.paper.forget_the_process(self.bench.epoch.value)
            return
        expected = self.paper.expect(person, bundle)
        got = Code.DUPLICATE
        match self.bench.ask(bundle).verdict:
            case Permitted():
                got = Code.PERMITTED
                self.moved[bundle.command_sha256] += 1
            case Denied(code=code):
                got = code
            case Repeated():
                pass
        assert got is expected, (person.name, bundle.command)
        self.paper.note(person, bundle, expected)
        self.paper.burn(bundle)

    # What must hold whatever happens.

    @invariant()
    def no_command_ever_moves_the_bolt_twice(self) -> None:
        assert not self.moved or max(self.moved.values()) == 1


def run_model(*, runs: int, steps: int) -> None:
    DecisionModel.TestCase.settings = settings(
        max_examples=runs, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    DecisionModel.TestCase("runTest").runTest()


@pytest.mark.slow
def test_the_decision_is_what_the_paper_says_over_power_cuts_jumping_clocks_replays_and_old_cards() -> None:
    run_model(runs=60, steps=50)


@pytest.mark.soak
def test_the_decision_is_what_the_paper_says_for_2000_runs_of_50_steps() -> None:
    run_model(runs=2_000, steps=50)
