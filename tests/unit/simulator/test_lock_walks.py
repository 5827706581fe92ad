"""Seeded walks: commands, repeats, hands, lost links and power cuts in any order never move the bolt twice."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Final

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.lock_log import LogPosition, verify_batch
from firmware_protocol.messages import CommandQuery, CommandResult, LogBatch, LogRead
from firmware_protocol.vocabulary import Action, Bolt
from tests.support.lock_bench import MOTOR_MS, Bench, BenchGateway, command_id, lock_command

SEEDS: Final = range(40)
STEP_COUNT: Final = 60


class Walk:
    """One bench, and one who does whatever the dice say."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._bench = Bench()
        self._gateway: BenchGateway | None = None
        self._last_seq = 0

    def run(self) -> None:
        deeds = [self.command, self.command, self.repeat, self.knob, self.jam, self.drop, self.cut_power, self.wait]
        for _ in range(STEP_COUNT):
            self._random.choice(deeds)()
        self._bench.mechanics.free()
        self._bench.scheduler.advance(MOTOR_MS)
        self.check()

    def live(self) -> BenchGateway:
        """Return a gateway with a live session; power and link come back first, where they are gone."""
        while not (self._bench.lock.is_live and self._gateway is not None and self._gateway.pipe.is_open):
            self._bench.lock.power_on()
            if not self._bench.lock.is_powered:
                continue  # the power went in a write of the start
            if self._gateway is not None and self._gateway.pipe.is_open:
                self._bench.lock.drop_gateway()
            self._gateway = self._bench.connect()
            self._gateway.exchange()
            self._gateway.session.confirm(utc_lo_s=None, utc_hi_s=None)
            self._gateway.exchange()
        return self._gateway

    def command(self) -> None:
        self._last_seq += 1
        self.send(self._last_seq, self._last_seq)

    def repeat(self) -> None:
        """Attack: what was said before is said again, as it was or under a fresh number."""
        if self._last_seq:
            old = self._random.randint(1, self._last_seq)
            self.send(self._random.choice([old, self._last_seq + 1]), old)

    def send(self, seq: int, id_seq: int) -> None:
        gateway = self.live()
        action = self._random.choice([Action.UNLOCK, Action.LOCK])
        before_up_ms = self._bench.lock.up_ms + 1_000
        gateway.session.send(lock_command(seq, action=action, before_up_ms=before_up_ms, id_seq=id_seq), corr=1)
        gateway.exchange()
        self._bench.scheduler.advance(self._random.choice([0, 1, MOTOR_MS // 2, MOTOR_MS]))

    def knob(self) -> None:
        self._bench.mechanics.hand_turns_knob()

    def jam(self) -> None:
        self._random.choice([self._bench.mechanics.jam, self._bench.mechanics.free])()

    def drop(self) -> None:
        self._bench.lock.drop_gateway()

    def cut_power(self) -> None:
        if self._random.random() < 0.5:
            self._bench.lock.power_cycle()
        else:
            number, kept_size = self._random.randint(1, 3), self._random.choice([None, 0, 9, 30])
            self._bench.medium.lose_power_at_write(number, kept_size=kept_size)

    def wait(self) -> None:
        self._bench.scheduler.advance(self._random.randint(1, 2 * MOTOR_MS))

    def check(self) -> None:
        moved = Counter(each.command_id for each in self._bench.mechanics.movements if each.command_id is not None)
        assert max(moved.values(), default=0) <= 1
        for seq in range(1, self._last_seq + 1):
            result = self.live().ask(CommandQuery(command_seq=seq), corr=2)
            assert isinstance(result, CommandResult)
            memory = self._bench.flash.command(seq)
            if result.code is Code.FAILED:
                assert memory is None
            elif result.code is Code.MOTOR_BLOCKED:
                assert memory is not None
                assert moved[memory.command_id] == 1
            else:
                assert result.code in {Code.DONE, Code.MAY_HAVE_EXECUTED}
        for seq in range(1, self._last_seq + 1):
            if moved[command_id(seq)]:
                assert command_id(seq) in self._bench.flash.values.command_ids
        self.check_log()
        assert self._bench.mechanics.bolt not in {Bolt.LOCKING, Bolt.UNLOCKING}

    def check_log(self) -> None:
        position, more = LogPosition.start(self._bench.flash.values.log_id), True
        while more:
            batch = self.live().ask(LogRead(from_seq=position.seq + 1, count_max=16), corr=3)
            assert isinstance(batch, LogBatch)
            _, position = verify_batch(
                position, from_seq=batch.from_seq, previous=batch.previous, records=batch.records
            )
            more = batch.more
        assert position.head == self._bench.flash.head


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_in_whatever_order_no_command_moves_the_bolt_twice(seed: int) -> None:
    Walk(seed).run()
