"""The story of one command: it comes in from a channel, is verified, decided, reserved, acted, recorded.

alarm centre ──MQTT──▶ uplink ─┐                                              ┌▶ link ──BLE──▶ lock
                               ├─▶ verify ▶ decide and reserve ▶ act ▶ record ┤
phone ─BLE─▶ lock ─▶ link ─────┘                                              └▶ journal ▶ uplink ─▶ central log
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from firmware_protocol.chains import verify_bundle
from firmware_protocol.codes import Code
from firmware_protocol.commands import ChallengeFreshness
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.vocabulary import Bolt, Phase
from gatewayd.access.freshness import Challenges, FreshnessFacts, within_ms
from gatewayd.access.verdicts import Denied, Permitted
from gatewayd.doubts import Doubts
from gatewayd.journal.events import CommandOutcome
from gatewayd.link.ports import BoltMove, MoveOutcome
from gatewayd.reservation import Asked, Attempt, Standing
from gatewayd.stopping import until_one_ends
from gatewayd.store import commands
from gatewayd.store.store import StoreError
from gatewayd.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_protocol.chains import VerifiedBundle
    from gatewayd.access.freshness import Epochs
    from gatewayd.access.installers import Installers
    from gatewayd.channel import Responder, Submission
    from gatewayd.denials import Denials
    from gatewayd.emergency import Emergencies
    from gatewayd.link.ports import BoltMover
    from gatewayd.recorder import Page, Recorder
    from gatewayd.reservation import Decided, Reservations
    from gatewayd.statements import Statements
    from gatewayd.store.commands import SeenCommand
    from gatewayd.timekeeper import TimeKeeper
    from gatewayd.timekeeping import Clock, TimeInterval
    from gatewayd.trust_keeper import TrustKeeper

SETTLE_RETRY_S: Final = 60.0
"""How often a store that does not answer is asked for open intents, and which link is a lock's now, in seconds."""
LET_GO: Final = MoveOutcome(code=Code.LINK_DOWN, bolt=Bolt.UNKNOWN)
"""Of a lock that an installer has let go of since the command was decided: nothing was sent to it."""
NEVER_ORDERED: Final = MoveOutcome(code=Code.STORE_UNAVAILABLE, bolt=Bolt.UNKNOWN)
"""Of a command that was refused, and whose reservation the disk has kept after all."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Intent:
    """Which reserved command an outcome belongs to."""

    kid: bytes
    command_id: bytes
    command_sha256: bytes
    lock_id: bytes

    @classmethod
    def of(cls, source: Asked | SeenCommand) -> _Intent:
        if isinstance(source, Asked):
            bundle = source.bundle
            return cls(
                kid=bundle.signer_kid,
                command_id=bundle.command.command_id,
                command_sha256=bundle.command_sha256,
                lock_id=bundle.command.lock_id,
            )
        return cls(
            kid=source.kid,
            command_id=source.command_id,
            command_sha256=source.command_sha256,
            lock_id=source.lock_id,
        )


class Door:
    """Takes submissions from every channel; implements `channel.Submit`."""

    def __init__(  # noqa: PLR0913 - the parts of the house that a command passes through
        self,
        *,
        clock: Clock,
        epochs: Epochs,
        challenges: Challenges,
        timekeeper: TimeKeeper,
        trust: TrustKeeper,
        reservations: Reservations,
        statements: Statements,
        recorder: Recorder,
        installers: Installers,
        emergencies: Emergencies,
        denials: Denials,
        links: Mapping[bytes, BoltMover],
    ) -> None:
        self._clock = clock
        self._epochs = epochs
        self._challenges = challenges
        self._timekeeper = timekeeper
        self._trust = trust
        self._reservations = reservations
        self._statements = statements
        self._recorder = recorder
        self._installers = installers
        self._emergencies = emergencies
        self._denials = denials
        self._links = links
        self._owed: asyncio.Queue[tuple[_Intent, int]] = asyncio.Queue()
        """Commands whose outcome their lock has not told, with the lock's number for them."""
        self._turns = Turns()
        self.doubts = Doubts(recorder=recorder, conclude=self._conclude_never_ordered)
        """Settled when the disk takes things again."""
        self._numbers: dict[bytes, int] = {}
        """By lock: the highest number that the disk has given out in this run."""

    async def __call__(self, submission: Submission, responder: Responder) -> None:
        """Tell the whole story of one command; returns when its last answer has been handed over."""
        try:
            # Attack: forged commands that name grants in plenty. What the disk reads for strangers takes its turn too.
            async with self._turns.turn(submission.channel):
                await self._trust.prefetch(submission.bundle)
                bundle = verify_bundle(submission.bundle, known=self._trust.known())
        except RemoteProtocolError as error:
            await self._denials.note(submission.channel, error)
            await responder.denied()
            return
        asked = Asked(
            bundle=bundle,
            submission=submission,
            freshness=self._take_freshness(bundle, submission),
            standing=self._standing(),
            command_seq_floor=self._command_seq_floor(bundle.command.lock_id),
            paper=self._trust.unheld(bundle),
            alarm_open=self._emergencies.remembered_alarm(bundle.command),
        )
        decided = self._emergencies.recall(bundle)
        if decided is None:
            doubts, attempt = self.doubts.take(bundle), Attempt(asked=asked)
            try:
                decided = await self._recorder.run(partial(self._decide, attempt=attempt, doubts=doubts))
            except StoreError as error:
                (doubt,) = doubts or (attempt,)  # where there is an earlier one, it is the one that may be kept
                if not self._emergencies.serves(bundle, error):
                    self.doubts.note(doubt)
                    await self._refuse_undurable(bundle, responder, error)
                    return
                decided = await self._decide_without_disk(asked, error, doubt)
            else:
                self._note_number(bundle.command.lock_id, decided)
        if asked.paper is not None and isinstance(decided.verdict, Permitted) and not decided.without_disk:
            self._trust.note_kept(asked.paper)
        await self._answer(asked, decided, responder)

    def _command_seq_floor(self, lock_id: bytes) -> int:
        link = self._links.get(lock_id)
        heard = 0 if link is None else link.last_command_seq
        return max(heard, self._numbers.get(lock_id, 0), self._emergencies.command_seqs.get(lock_id, 0))

    def _note_number(self, lock_id: bytes, decided: Decided) -> None:
        # A session may last for months, and what the lock said at its start is then old.
        self._numbers[lock_id] = max(self._numbers.get(lock_id, 0), decided.command_seq or 0)

    def _decide(self, page: Page, attempt: Attempt, doubts: tuple[Attempt, ...]) -> Decided:
        self.doubts.settle(page, doubts)
        return self._reservations.attempt(page, attempt)

    async def _decide_without_disk(self, asked: Asked, error: StoreError, attempt: Attempt) -> Decided:
        """Decide an emergency although nothing can be kept: the lock will keep it, before it moves."""
        _log.error("store.unavailable", code=error.code, lock=asked.bundle.command.lock_id.hex())
        link = self._links.get(asked.bundle.command.lock_id)
        if link is not None:
            # Only a lock that has said which command was its last can be told a number that it has not used.
            await link.wait_heard(within_ms(asked.bundle.command.freshness, asked.freshness))
        asked = replace(asked, command_seq_floor=self._command_seq_floor(asked.bundle.command.lock_id))
        return await self._emergencies.decide(asked, error, attempt=attempt)

    async def settle(self) -> NoReturn:
        """Close the intents that are left open, by an earlier run or by a lock that could not be asked, for ever.

        The lock is asked and never moved again (law 2), for as long as it takes; one that never comes back keeps its
        intents open.
        """
        for intent in await self._open_intents():
            if intent.command_seq is not None:
                self._owe(_Intent.of(intent), intent.command_seq)
        owed_by: dict[bytes, asyncio.Queue[tuple[_Intent, int]]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                owing = await self._owed.get()
                lock_id = owing[0].lock_id
                if lock_id not in owed_by:  # a lock may have joined since the start
                    owed_by[lock_id] = asyncio.Queue()
                    settling = tasks.create_task(self._settle_lock(lock_id, owed_by[lock_id]))
                    tasks.create_task(until_one_ends({settling}))
                owed_by[lock_id].put_nowait(owing)

    def _owe(self, intent: _Intent, command_seq: int) -> None:
        self._owed.put_nowait((intent, command_seq))

    async def _open_intents(self) -> tuple[SeenCommand, ...]:
        while True:
            try:
                return await self._recorder.run(lambda page: commands.open_intents(page.tx))
            except StoreError as error:  # what cannot be read yet is asked for again: it may name a bolt that moved
                _log.error("store.unavailable", code=error.code)
                await asyncio.sleep(SETTLE_RETRY_S)

    async def _settle_lock(self, lock_id: bytes, owed: asyncio.Queue[tuple[_Intent, int]]) -> NoReturn:
        while True:
            intent, command_seq = await owed.get()
            link = await self._ready_link(lock_id)
            if link is None:
                continue  # it is ours no more: the intent stays open in the journal
            outcome = await link.query(command_seq)
            if not outcome.asked:
                self._owe(intent, command_seq)
                continue
            _log.warning("command.settled", code=outcome.code.dotted, command_id=intent.command_id.hex())
            try:
                await self._recorder.run(partial(self._conclude, intent=intent, outcome=outcome, late=True))
            except StoreError as error:
                _log.error("store.unavailable", code=error.code, lock=intent.lock_id.hex())

    async def _ready_link(self, lock_id: bytes) -> BoltMover | None:
        """Wait for the link to a lock, whichever it then is: an installer's errand puts another in its place."""
        while (link := self._links.get(lock_id)) is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_RETRY_S):
                    await link.wait_ready()
                    return link
        return None

    def _take_freshness(self, bundle: VerifiedBundle, submission: Submission) -> FreshnessFacts:
        freshness, learned_ms = bundle.command.freshness, None
        if isinstance(freshness, ChallengeFreshness) and submission.lock_id is not None:
            learned_ms = self._challenges.learned_boottime_ms(submission.lock_id, freshness.challenge)
            # Burnt by the first validly signed command over it, whatever the verdict: it bought one look.
            self._challenges.burn(submission.lock_id, freshness.challenge)
        return FreshnessFacts(
            boottime_ms=self._clock.now().boottime_ms,
            epoch=self._epochs.current,
            challenge_learned_ms=learned_ms,
            last_issued_s=None,
        )

    def _standing(self) -> Standing:
        return Standing(
            keyset=self._trust.require_keyset(),
            state=self._trust.state,
            tier=self._statements.tier(),
            installer_ctis=self._installers.open_at(self._clock.now().boottime_ms),
        )

    async def _answer(self, asked: Asked, decided: Decided, responder: Responder) -> None:
        match decided.verdict:
            case Permitted():
                async with asyncio.TaskGroup() as tasks:
                    # The bolt first, in this very turn of the loop: the receipt of the decision travels while the motor
                    # runs, and nobody at the door waits for a line of log.
                    tasks.create_task(responder.receipt(decided.receipt))
                    asyncio.get_running_loop().call_soon(_log_decision, asked.bundle, decided)
                    receipt = await self._act(asked, decided)
                await responder.receipt(receipt)
            case Denied(code=code):
                _log_decision(asked.bundle, decided)
                await responder.receipt(decided.receipt)
                if code in {Code.WRONG_EPOCH, Code.EXPIRED, Code.WRONG_AUDIENCE}:
                    await responder.info(self._statements.info(at=asked.submission.lock_id))
            case _:
                _log_decision(asked.bundle, decided)
                await responder.receipt(decided.receipt)

    async def _act(self, asked: Asked, decided: Decided) -> bytes:
        """Move the bolt, record how it went, and return the receipt of the outcome."""
        bundle, command, freshness = asked.bundle, asked.bundle.command, asked.freshness
        spent_ms = self._clock.now().boottime_ms - freshness.boottime_ms
        move = BoltMove(
            command_seq=decided.command_seq or 0,
            action=command.action.movement,
            command_sha256=bundle.command_sha256,
            command_id=command.command_id,
            actor_kid=bundle.signer_kid,
            within_ms=max(0, within_ms(command.freshness, freshness) - spent_ms),
        )
        link = self._links.get(command.lock_id)
        outcome = LET_GO if link is None else await link.execute(move)
        intent = _Intent.of(asked)
        if decided.without_disk:
            return await self._conclude_without_disk(asked, intent, outcome)
        if not outcome.asked:
            self._owe(intent, move.command_seq)  # the sender hears the honest unknown, and the journal is corrected
        try:
            return await self._recorder.run(partial(self._conclude, intent=intent, outcome=outcome, late=False))
        except StoreError as error:
            # The bolt has moved and the disk has failed since: the intent stays open for the next start,
            # which asks the lock; the sender still gets the truth.
            _log.error("store.unavailable", code=error.code, lock=command.lock_id.hex())
            return self._outcome_receipt(self._timekeeper.interval(), intent, outcome, decided.journal_index)

    async def _conclude_without_disk(self, asked: Asked, intent: _Intent, outcome: MoveOutcome) -> bytes:
        receipt = self._outcome_receipt(self._timekeeper.interval(), intent, outcome, None)
        self._emergencies.conclude(asked, _outcome_event(intent, outcome, late=False), receipt)
        with contextlib.suppress(StoreError):  # it may be back already
            await self._emergencies.hand_over()
        return receipt

    def _conclude(self, page: Page, *, intent: _Intent, outcome: MoveOutcome, late: bool) -> bytes:
        receipt = self._outcome_receipt(
            page.time, intent, outcome, page.append(_outcome_event(intent, outcome, late=late))
        )
        commands.record_receipt(
            page.tx, intent.kid, intent.command_id, receipt, outcome.code.wire, closed=outcome.asked
        )
        if not outcome.code.may_have_executed:
            commands.give_back_use(page.tx, intent.kid, intent.command_id)
        return receipt

    def _conclude_never_ordered(self, page: Page, seen: SeenCommand) -> None:
        self._conclude(page, intent=_Intent.of(seen), outcome=NEVER_ORDERED, late=True)

    def _outcome_receipt(
        self, time: TimeInterval, intent: _Intent, outcome: MoveOutcome, journal_index: int | None
    ) -> bytes:
        return self._statements.receipt(
            time=time,
            lock_id=intent.lock_id,
            command_sha256=intent.command_sha256,
            phase=Phase.OUTCOME,
            code=outcome.code,
            journal_index=journal_index,
            lock_log_seq=outcome.lock_log_seq,
        )

    async def _refuse_undurable(self, bundle: VerifiedBundle, responder: Responder, error: StoreError) -> None:
        # Nothing can be reserved, so nothing may move; the sender is told over our signature all the same.
        _log.error("store.unavailable", code=error.code, lock=bundle.command.lock_id.hex())
        receipt = self._statements.receipt(
            time=self._timekeeper.interval(),
            lock_id=bundle.command.lock_id,
            command_sha256=bundle.command_sha256,
            phase=Phase.DECIDED,
            code=Code.STORE_UNAVAILABLE,
            journal_index=None,
        )
        await responder.receipt(receipt)


def _outcome_event(intent: _Intent, outcome: MoveOutcome, *, late: bool) -> CommandOutcome:
    return CommandOutcome(
        lock_id=intent.lock_id,
        command_id=intent.command_id.hex(),
        command_sha256=intent.command_sha256.hex(),
        code=outcome.code.dotted,
        bolt=outcome.bolt.name.lower(),
        lock_log_seq=outcome.lock_log_seq,
        late=late,
    )


def _log_decision(bundle: VerifiedBundle, decided: Decided) -> None:
    verdict = decided.verdict
    code = (
        verdict.code
        if isinstance(verdict, Denied)
        else Code.PERMITTED
        if isinstance(verdict, Permitted)
        else Code.DUPLICATE
    )
    _log.info(
        "command.decided",
        code=code.dotted,
        lock=bundle.command.lock_id.hex(),
        action=bundle.command.action.movement.name.lower(),
        command_id=bundle.command.command_id.hex(),
    )
