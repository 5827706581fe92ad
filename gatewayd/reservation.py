"""One durable transaction: what is known of a command, the verdict on it, and its reservation.

The reading, the decision and the writing are one transaction on the store's only writer, so that two
copies of a command that arrive together cannot both be new (law 2), and the reservation is on disk
before anything moves (law 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from firmware_protocol import cose
from firmware_protocol.codes import Code
from firmware_protocol.commands import EpochFreshness
from firmware_protocol.tokens import Grant
from firmware_protocol.vocabulary import Phase
from gatewayd.access.decide import Facts, decide, is_call_for_help
from gatewayd.access.limits import Exhausted, buckets_for, refusals_bucket, take
from gatewayd.access.lockout import NEVER_REFUSED
from gatewayd.access.seen import Seen
from gatewayd.access.uses import NEVER_USED
from gatewayd.access.verdicts import Denied, Permitted, Repeated
from gatewayd.journal.events import AlertRaised, CommandDecided, DuressSignalled
from gatewayd.store import alarms, buckets, commands, lockouts, locks
from gatewayd.store.commands import SeenCommand
from gatewayd.trust_keeper import keep_paper

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from firmware_protocol.chains import VerifiedBundle
    from firmware_protocol.statements import AuthorityState
    from firmware_protocol.tokens import Keyset, OperatorGrant
    from firmware_protocol.vocabulary import Tier
    from gatewayd.access.freshness import FreshnessFacts
    from gatewayd.access.uses import Uses
    from gatewayd.access.verdicts import Verdict
    from gatewayd.channel import Submission
    from gatewayd.journal.events import Event
    from gatewayd.recorder import Page
    from gatewayd.roll import Roll
    from gatewayd.settings import LimitSettings
    from gatewayd.statements import Statements
    from gatewayd.store.store import Transaction
    from gatewayd.timekeeping import TimeInterval
    from gatewayd.trust_keeper import Paper


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the gateway trusted when a command was verified; taken on the loop, read by the writer."""

    keyset: Keyset
    state: AuthorityState | None
    tier: Tier
    installer_ctis: Mapping[bytes, bytes]
    """By lock: the grant that its installer may use although time is not trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A verified command with what it is judged by."""

    bundle: VerifiedBundle
    submission: Submission
    freshness: FreshnessFacts
    standing: Standing
    paper: Paper | None = None
    """What it brought that is to be kept, if it is permitted."""
    alarm_open: bool | None = None
    """What this run remembers of its alarm where the disk did not take it; None: the store knows."""
    command_seq_floor: int = 0
    """The highest number that the lock is known to have used: its next command is above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A verdict that is durable, with the receipt that says so."""

    verdict: Verdict
    receipt: bytes
    journal_index: int | None = None
    """The entry that records it; None for a repeated command, which has one already."""
    command_seq: int | None = None
    """What the lock will know the movement by; None where nothing moves."""
    without_disk: bool = False
    """An emergency's: it is not durable here but in the lock, before it moves."""


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One try to make a decision durable. The writer's thread notes what it decided; the loop reads it afterwards.

    Of a disk that has failed, or has not answered in time, nobody knows whether it has kept what it was given.
    """

    asked: Asked
    decided: Decided | None = None
    """What its transaction would make durable; None where it was never run, or not yet."""

    def is_row(self, seen: SeenCommand) -> bool:
        """Tell whether a command's row is the permission that this very transaction gave: no number is given twice."""
        decided = self.decided
        return (
            decided is not None
            and decided.command_seq is not None
            and (seen.command_seq, seen.command_sha256) == (decided.command_seq, self.asked.bundle.command_sha256)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """What is settled for this home, whoever asks."""

    gateway_id: bytes
    roll: Roll
    limits: LimitSettings


class Reservations:
    """Decides commands inside store transactions."""

    def __init__(self, *, premises: Premises, statements: Statements) -> None:
        self._premises = premises
        self._statements = statements

    def attempt(self, page: Page, attempt: Attempt) -> Decided:
        """Decide, and note the decision beside the page's transaction."""
        attempt.decided = self.decide(page, attempt.asked)
        return attempt.decided

    def decide(self, page: Page, asked: Asked) -> Decided:
        """Return the verdict, with everything that it changes written in the page's transaction."""
        facts = self.facts(page.tx, page.time, asked)
        verdict = decide(asked.bundle, facts)
        match verdict:
            case Repeated(receipt=receipt):
                return Decided(verdict=verdict, receipt=receipt)
            case Permitted():
                return self._permit(page, asked, facts, verdict)
            case _:
                return self._deny(page, asked, verdict)

    def facts(self, tx: Transaction, time: TimeInterval, asked: Asked) -> Facts:
        """Read what the command is judged by; writes nothing, so that `explain` can ask without asking for it."""
        return read_facts(tx, time, asked, self._premises)

    def _permit(self, page: Page, asked: Asked, facts: Facts, verdict: Permitted) -> Decided:
        tx, bundle, freshness = page.tx, asked.bundle, asked.bundle.command.freshness
        buckets.save_buckets(tx, verdict.buckets, known=facts.bucket_states)
        if verdict.use is not None:
            commands.save_uses(tx, bundle.proof.grant.cti, verdict.use.after, page.time.lo_s)
        if asked.paper is not None:
            keep_paper(tx, asked.paper, now_s=page.time.lo_s)
        if facts.lockout != NEVER_REFUSED:
            lockouts.clear_lockout(tx, bundle.signer_kid, bundle.command.lock_id)
        if isinstance(freshness, EpochFreshness):
            commands.note_issued(tx, bundle.signer_kid, bundle.command.lock_id, freshness.epoch, freshness.issued_s)
        command_seq = locks.next_command_seq(tx, bundle.command.lock_id, above=asked.command_seq_floor)
        use_name = None if verdict.use is None else verdict.use.name
        return self._reserve(page, asked, verdict, Code.PERMITTED, command_seq=command_seq, use_name=use_name)

    def _deny(self, page: Page, asked: Asked, verdict: Denied) -> Decided:
        refusals = refusals_bucket(asked.bundle)
        known = buckets.load_buckets(page.tx, (refusals.key,))
        taken = take((refusals,), known, page.time.lo_ms)
        if isinstance(taken, Exhausted):
            return self._deny_unrecorded(page, asked, verdict)
        buckets.save_buckets(page.tx, taken, known=known)
        # Not where it goes unrecorded: whoever sends those bytes again would be counted against their signer.
        if verdict.lockout is not None:
            lockouts.save_lockout(page.tx, asked.bundle.signer_kid, asked.bundle.command.lock_id, verdict.lockout)
        return self._reserve(page, asked, verdict, verdict.code, retry_after_s=verdict.retry_after_s)

    def _deny_unrecorded(self, page: Page, asked: Asked, verdict: Denied) -> Decided:
        """Refuse without writing: a holder who is refused all the time has had an entry for each of the first ones."""
        receipt = self._statements.receipt(
            time=page.time,
            lock_id=asked.bundle.command.lock_id,
            command_sha256=asked.bundle.command_sha256,
            phase=Phase.DECIDED,
            code=verdict.code,
            journal_index=None,
            retry_after_s=verdict.retry_after_s,
        )
        return Decided(verdict=verdict, receipt=receipt)

    def _reserve(
        self,
        page: Page,
        asked: Asked,
        verdict: Verdict,
        code: Code,
        *,
        command_seq: int | None = None,
        retry_after_s: int | None = None,
        use_name: int | None = None,
    ) -> Decided:
        bundle, command = asked.bundle, asked.bundle.command
        index = note_events(page, asked, verdict)
        receipt = self._statements.receipt(
            time=page.time,
            lock_id=command.lock_id,
            command_sha256=bundle.command_sha256,
            phase=Phase.DECIDED,
            code=code,
            journal_index=index,
            retry_after_s=retry_after_s,
        )
        if code is not Code.ID_REUSED:  # the row of the first bytes under this id stands
            row = seen_command(page, asked, receipt, code, index, command_seq=command_seq, use_name=use_name)
            commands.reserve(page.tx, row)
        return Decided(verdict=verdict, receipt=receipt, journal_index=index, command_seq=command_seq)


def read_facts(tx: Transaction, time: TimeInterval, asked: Asked, home: Premises) -> Facts:
    """Read what a command is judged by, from a store that may be nobody's at the moment."""
    bundle, command = asked.bundle, asked.bundle.command
    seen = commands.find_seen(tx, bundle.signer_kid, command.command_id)
    keys = [bucket.key for bucket in buckets_for(bundle, home.limits)]
    return Facts(
        gateway_id=home.gateway_id,
        lock_ids=home.roll.lock_ids,
        came_through=asked.submission.lock_id,
        keyset=asked.standing.keyset,
        time=time,
        tier=asked.standing.tier,
        state=asked.standing.state,
        freshness=_freshness(tx, asked),
        seen=None if seen is None else Seen(command_sha256=seen.command_sha256, receipt=seen.receipt),
        uses=_uses(tx, bundle.proof.grant),
        lockout=lockouts.load_lockout(tx, bundle.signer_kid, command.lock_id),
        installer_cti=asked.standing.installer_ctis.get(command.lock_id),
        alarm_open=_is_alarm_open(tx, asked),
        bucket_states=buckets.load_buckets(tx, keys),
        limits=home.limits,
    )


def _uses(tx: Transaction, grant: Grant | OperatorGrant) -> Uses:
    is_counted = isinstance(grant, Grant) and grant.use_count_max is not None
    return commands.load_uses(tx, grant.cti) if is_counted else NEVER_USED


def _is_alarm_open(tx: Transaction, asked: Asked) -> bool:
    command = asked.bundle.command
    if asked.alarm_open is not None:
        return asked.alarm_open
    return alarms.is_open(tx, command.lock_id, command.alarm_ref, asked.freshness.boottime_ms)


def _freshness(tx: Transaction, asked: Asked) -> FreshnessFacts:
    bundle, freshness = asked.bundle, asked.bundle.command.freshness
    if not isinstance(freshness, EpochFreshness):
        return asked.freshness
    issued_s = commands.last_issued(tx, bundle.signer_kid, bundle.command.lock_id, freshness.epoch)
    return replace(asked.freshness, last_issued_s=issued_s)


def _alarms(asked: Asked, verdict: Verdict) -> Iterator[Event]:
    """Yield what a person must hear of beside the decision itself."""
    bundle, lock_id = asked.bundle, asked.bundle.command.lock_id
    if is_call_for_help(bundle, asked.freshness, verdict):
        subject, command_id = bundle.proof.grant.subject, bundle.command.command_id.hex()
        yield DuressSignalled(lock_id=lock_id, subject=subject, command_id=command_id, priority=True)
    if isinstance(verdict, Denied) and verdict.code is Code.ID_REUSED:
        detail = f"signer {bundle.signer_kid.hex()} signed two commands with one id: a broken phone, or a copied key"
        yield AlertRaised(lock_id=lock_id, code=Code.ID_REUSED.dotted, detail=detail, priority=True)


def note_events(page: Page, asked: Asked, verdict: Verdict) -> int:
    """Append what a decision tells, and return the index of the decision's own entry."""
    code = verdict.code if isinstance(verdict, Denied) else Code.PERMITTED
    index = page.append(_event(asked, code))
    for event in _alarms(asked, verdict):
        page.append(event)
    return index


def seen_command(
    page: Page,
    asked: Asked,
    receipt: bytes,
    code: Code,
    index: int,
    *,
    command_seq: int | None = None,
    use_name: int | None = None,
) -> SeenCommand:
    """Return the row of a command that has been decided; without a number it does not move."""
    bundle, command = asked.bundle, asked.bundle.command
    return SeenCommand(
        kid=bundle.signer_kid,
        command_id=command.command_id,
        command_sha256=bundle.command_sha256,
        lock_id=command.lock_id,
        grant_cti=bundle.proof.grant.cti,
        action=int(command.action),
        reserved_utc_s=page.time.lo_s,
        command_seq=command_seq,
        receipt=receipt,
        code=code.wire,
        journal_index=index,
        use_name=use_name,
    )


def _event(asked: Asked, code: Code) -> CommandDecided:
    bundle, command, proof = asked.bundle, asked.bundle.command, asked.bundle.proof
    second = bundle.second
    return CommandDecided(
        lock_id=command.lock_id,
        priority=bundle.is_emergency or code is Code.ID_REUSED,
        channel=asked.submission.channel.value,
        action=command.action.movement.name.lower(),
        code=code.dotted,
        command_id=command.command_id.hex(),
        command_sha256=bundle.command_sha256.hex(),
        signer=bundle.signer_kid.hex(),
        subject=proof.grant.subject,
        role="operator" if proof.is_operator else "carer",
        provider=proof.provider,
        grant=proof.grant.cti.hex(),
        tier=asked.standing.tier.name.lower(),
        keyset_version=asked.standing.keyset.version,
        state_seq=None if asked.standing.state is None else asked.standing.state.seq,
        alarm_ref=None if command.alarm_ref is None else command.alarm_ref.hex(),
        second_signer=None if second is None else cose.kid_of(second.holder_key).hex(),
        second_subject=None if second is None else second.grant.subject,
    )
