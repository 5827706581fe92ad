"""Emergencies while the disk takes nothing: decided here, made durable by the lock.

The lock writes a command's id into its own log before it moves, and refuses its last 256. So a rescue goes on with
a full, read-only or dead disk, and still acts at most once (laws 1 and 2); what was decided meanwhile is journaled when
the disk is back, and stands in the lock's log in any case. Everything else is refused.

Used on the loop only. Between the reading of facts and the note of the decision nothing waits, so that two copies of a
command cannot both be new.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Action, Phase
from gatewayd.access.decide import Facts, decide
from gatewayd.access.lockout import NEVER_REFUSED
from gatewayd.access.seen import Seen
from gatewayd.access.uses import NEVER_USED
from gatewayd.access.verdicts import Denied, Permitted, Repeated
from gatewayd.alarm_desk import keep_alarm
from gatewayd.reservation import Decided, note_events, read_facts, seen_command
from gatewayd.store import commands, locks
from gatewayd.store.faults import StoreCode
from gatewayd.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from firmware_protocol.chains import VerifiedBundle
    from firmware_protocol.commands import Alarm, Command
    from gatewayd.access.freshness import Epoch
    from gatewayd.access.uses import Uses
    from gatewayd.access.verdicts import Verdict
    from gatewayd.journal.events import CommandOutcome
    from gatewayd.recorder import Page, Recorder
    from gatewayd.reservation import Asked, Attempt, Premises
    from gatewayd.statements import Statements
    from gatewayd.store.store import Store, Transaction
    from gatewayd.timekeeper import TimeKeeper
    from gatewayd.timekeeping import Clock, TimeInterval

DISK_GONE: Final = frozenset({StoreCode.FULL, StoreCode.READ_ONLY, StoreCode.IO, StoreCode.DAMAGED, StoreCode.STALLED})
"""Faults that no second try mends soon."""
CLOSED_MS: Final = 0
"""CLOCK_BOOTTIME has passed it: of an alarm that is over."""
UNHEARD_COUNT_MAX: Final = 1_024
"""Numbers left out where the disk's count cannot be read: what earlier runs gave out and no lock has heard of, and what
the transaction that hangs gives out. A number that two commands had would tell of one what became of the other."""
RESCUE_COUNT_MAX: Final = 256
"""Most decisions remembered: as many ids as the lock refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """One command that was decided without the disk."""

    asked: Asked
    verdict: Verdict
    receipt: bytes
    """The newest one."""
    command_seq: int | None
    attempt: Attempt | None = None
    """The reservation that failed before, and may have been kept all the same."""
    outcome: CommandOutcome | None = None


class Emergencies:
    """Decides what must not wait for a disk, and remembers it until the disk is back."""

    def __init__(
        self,
        *,
        clock: Clock,
        store: Store,
        premises: Premises,
        statements: Statements,
        timekeeper: TimeKeeper,
        recorder: Recorder,
        unreadable: Callable[[], Awaitable[Epoch]],
    ) -> None:
        """`unreadable` is called once when what has acted cannot be read; it draws a new epoch and returns it."""
        self._clock = clock
        self._store = store
        self._premises = premises
        self._statements = statements
        self._timekeeper = timekeeper
        self._recorder = recorder
        self._unreadable = unreadable
        self._is_blind = False
        self._leapt: set[bytes] = set()
        """Locks whose numbers have been carried beyond `UNHEARD_COUNT_MAX` in this blindness."""
        self._rescues: dict[tuple[bytes, bytes], Rescue] = {}
        self._uses: dict[bytes, Uses] = {}
        self._buckets: dict[str, int] = {}
        self._alarms: dict[tuple[bytes, bytes], int] = {}
        self._owed_alarms: dict[tuple[bytes, bytes], Alarm] = {}
        """Those that the disk did not take."""
        self.command_seqs: dict[bytes, int] = {}
        """By lock: the last number that was given out without the disk; the disk's own count goes on above it."""

    @staticmethod
    def serves(bundle: VerifiedBundle, error: StoreError) -> bool:
        """Tell whether this command goes on although nothing can be kept."""
        opens = bundle.command.action.movement is Action.UNLOCK
        return bundle.is_emergency and opens and error.code in DISK_GONE

    def note_alarm(self, alarm: Alarm, until_ms: int) -> None:
        """Remember an accepted alarm until this reading of CLOCK_BOOTTIME, or that it is closed, disk or no disk."""
        key = (alarm.lock_id, alarm.alarm_ref)
        self._alarms.pop(key, None)
        self._alarms[key] = until_ms if alarm.opens else CLOSED_MS
        self._owed_alarms[key] = alarm
        for held in (self._alarms, self._owed_alarms):
            while len(held) > RESCUE_COUNT_MAX:
                del held[next(iter(held))]

    def note_alarm_kept(self, alarm: Alarm) -> None:
        """The disk has it now; not what was said of the same alarm since."""
        key = (alarm.lock_id, alarm.alarm_ref)
        if self._owed_alarms.get(key) is alarm:
            del self._owed_alarms[key]

    def remembered_alarm(self, command: Command) -> bool | None:
        """Tell whether the command's alarm is open, where the disk did not take the last word of it; None: it did."""
        key = (command.lock_id, command.alarm_ref or b"")
        if key not in self._owed_alarms:
            return None
        return self._clock.now().boottime_ms < self._alarms.get(key, CLOSED_MS)

    def recall(self, bundle: VerifiedBundle) -> Decided | None:
        """Return what was decided here about these very bytes: the disk may be back and not know of it yet."""
        rescue = self._rescues.get((bundle.signer_kid, bundle.command.command_id))
        if rescue is None or rescue.asked.bundle.command_sha256 != bundle.command_sha256:
            return None
        return Decided(verdict=Repeated(receipt=rescue.receipt), receipt=rescue.receipt)

    async def decide(self, asked: Asked, error: StoreError, *, attempt: Attempt | None = None) -> Decided:
        """Return the verdict without writing anything; `error` is why nothing could be kept of the `attempt`."""
        stored = await self._read(asked)
        if stored is not None and error.code not in {StoreCode.FULL, StoreCode.READ_ONLY}:
            # What failed half-way may have left this very command behind as decided. The lock knows better.
            stored = (replace(stored[0], seen=None), stored[1])
        time = self._timekeeper.interval()
        if stored is None:
            asked = await self._note_blindness(asked)
        facts, stored_seq = stored or (self._blind_facts(asked, time), 0)
        facts = self._with_rescues(asked, replace(facts, time=time))
        verdict = decide(asked.bundle, facts)
        if isinstance(verdict, Repeated):
            return Decided(verdict=verdict, receipt=verdict.receipt)
        lock_id = asked.bundle.command.lock_id
        command_seq = None
        if isinstance(verdict, Permitted):
            command_seq = max(asked.command_seq_floor, stored_seq, self.command_seqs.get(lock_id, 0)) + 1
            if stored is None and lock_id not in self._leapt:
                command_seq += UNHEARD_COUNT_MAX
                self._leapt.add(lock_id)
            self.command_seqs[lock_id] = command_seq
            self._buckets |= verdict.buckets
            if verdict.use is not None:
                self._uses[asked.bundle.proof.grant.cti] = verdict.use.after
        return self._note(
            Rescue(asked=asked, verdict=verdict, receipt=b"", command_seq=command_seq, attempt=attempt), time
        )

    def conclude(self, asked: Asked, outcome: CommandOutcome, receipt: bytes) -> None:
        """Remember how it went."""
        key = (asked.bundle.signer_kid, asked.bundle.command.command_id)
        if key in self._rescues:
            self._rescues[key] = replace(self._rescues[key], outcome=outcome, receipt=receipt)

    async def hand_over(self) -> None:
        """Journal what was decided without the disk, now that it takes things again.

        Raises:
            StoreError: it does not; everything is still remembered.
        """
        rescues = dict(self._rescues)
        owed = {key: (alarm, self._alarms.get(key, CLOSED_MS)) for key, alarm in self._owed_alarms.items()}
        if not rescues and not owed and not self.command_seqs:
            return
        seqs, now_ms = dict(self.command_seqs), self._clock.now().boottime_ms

        def keep(page: Page) -> None:
            for alarm, until_ms in owed.values():
                keep_alarm(page, alarm, boottime_ms=now_ms, until_ms=until_ms)
            _hand_over(page, tuple(rescues.values()), seqs)

        await self._recorder.run(keep)
        for key, (alarm, _) in owed.items():
            if self._owed_alarms.get(key) is alarm:
                del self._owed_alarms[key]
        for key, rescue in rescues.items():
            if self._rescues.get(key) is rescue and (rescue.outcome is not None or rescue.command_seq is None):
                del self._rescues[key]

    async def _read(self, asked: Asked) -> tuple[Facts, int] | None:
        def work(tx: Transaction) -> tuple[Facts, int]:
            facts = read_facts(tx, self._timekeeper.interval(), asked, self._premises)
            return facts, locks.last_command_seq(tx, asked.bundle.command.lock_id)

        try:
            stored = await self._store.run(work)
        except StoreError:
            return None  # a dead card: what is known of it is what this run remembers
        self._is_blind = False
        return stored

    async def _note_blindness(self, asked: Asked) -> Asked:
        """Begin a new epoch where what has acted can no longer be read: never a fresh start at zero."""
        if self._is_blind:
            return asked
        self._is_blind = True
        self._leapt.clear()
        epoch = await self._unreadable()
        return replace(asked, freshness=replace(asked.freshness, epoch=epoch, challenge_learned_ms=None))

    def _blind_facts(self, asked: Asked, time: TimeInterval) -> Facts:
        return Facts(
            gateway_id=self._premises.gateway_id,
            lock_ids=self._premises.roll.lock_ids,
            came_through=asked.submission.lock_id,
            keyset=asked.standing.keyset,
            time=time,
            tier=asked.standing.tier,
            state=asked.standing.state,
            freshness=asked.freshness,
            seen=None,
            uses=NEVER_USED,
            lockout=NEVER_REFUSED,
            installer_cti=None,
            alarm_open=False,
            bucket_states={},
            limits=self._premises.limits,
        )

    def _with_rescues(self, asked: Asked, facts: Facts) -> Facts:
        command = asked.bundle.command
        rescue = self._rescues.get((asked.bundle.signer_kid, command.command_id))
        seen = facts.seen
        if rescue is not None:
            seen = Seen(command_sha256=rescue.asked.bundle.command_sha256, receipt=rescue.receipt)
        return replace(
            facts,
            seen=seen,
            uses=self._uses.get(asked.bundle.proof.grant.cti, facts.uses),
            alarm_open=self._is_open(command.lock_id, command.alarm_ref, facts),
            bucket_states=_fuller(facts.bucket_states, self._buckets),
        )

    def _is_open(self, lock_id: bytes, alarm_ref: bytes | None, facts: Facts) -> bool:
        until_ms = None if alarm_ref is None else self._alarms.get((lock_id, alarm_ref))
        return facts.alarm_open if until_ms is None else facts.freshness.boottime_ms < until_ms

    def _note(self, rescue: Rescue, time: TimeInterval) -> Decided:
        verdict, bundle = rescue.verdict, rescue.asked.bundle
        receipt = self._statements.receipt(
            time=time,
            lock_id=bundle.command.lock_id,
            command_sha256=bundle.command_sha256,
            phase=Phase.DECIDED,
            code=_code(verdict),
            journal_index=None,
            retry_after_s=verdict.retry_after_s if isinstance(verdict, Denied) else None,
        )
        key = (bundle.signer_kid, bundle.command.command_id)
        if key not in self._rescues:  # the row of the first bytes under an id stands
            while len(self._rescues) >= RESCUE_COUNT_MAX:
                del self._rescues[next(iter(self._rescues))]
            self._rescues[key] = replace(rescue, receipt=receipt)
        return Decided(verdict=verdict, receipt=receipt, command_seq=rescue.command_seq, without_disk=True)


def _code(verdict: Verdict) -> Code:
    return verdict.code if isinstance(verdict, Denied) else Code.PERMITTED


def _fuller(stored: Mapping[str, int], held: Mapping[str, int]) -> dict[str, int]:
    return dict(stored) | {key: max(value, stored.get(key, 0)) for key, value in held.items()}


def _hand_over(page: Page, rescues: tuple[Rescue, ...], command_seqs: Mapping[bytes, int]) -> None:
    for rescue in rescues:
        if rescue.command_seq is not None and rescue.outcome is None:
            continue  # its motor may still be running: it is handed over with its end
        index = note_events(page, rescue.asked, rescue.verdict)
        if rescue.outcome is not None:
            page.append(rescue.outcome)
        _keep_row(page, rescue, index)
    for lock_id, command_seq in command_seqs.items():
        locks.raise_command_seq(page.tx, lock_id, command_seq)


def _keep_row(page: Page, rescue: Rescue, index: int) -> None:
    """Keep what makes the command act at most once; what its failed reservation has left behind says the same then."""
    bundle, code = rescue.asked.bundle, _code(rescue.verdict)
    kid, command_id = bundle.signer_kid, bundle.command.command_id
    seen = commands.find_seen(page.tx, kid, command_id)
    if seen is None:
        commands.reserve(page.tx, seen_command(page, rescue.asked, rescue.receipt, code, index))
    elif rescue.attempt is not None and rescue.attempt.is_row(seen):
        commands.record_receipt(page.tx, kid, command_id, rescue.receipt, code.wire, closed=True)
        if rescue.outcome is None or not Code.from_dotted(rescue.outcome.code).may_have_executed:
            commands.give_back_use(page.tx, kid, command_id)
