"""One durable transaction: what is known of a command, the verdict on it, and its reservation.

The reading, the decision and the writing are one transaction on the store's only writer, so that two
copies of a command that arrive together cannot both be new (law 2), and the reservation is on disk
before anything moves (law 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from firmware_protocol.codes import Code
from firmware_protocol.commands import EpochFreshness
from firmware_protocol.vocabulary import Phase
from gatewayd.access.decide import Facts, decide
from gatewayd.access.limits import buckets_for, lockout_bucket
from gatewayd.access.seen import Seen
from gatewayd.access.verdicts import Permitted, Repeated
from gatewayd.journal.events import CommandDecided
from gatewayd.store import alarms, buckets, commands, locks
from gatewayd.store.commands import SeenCommand

if TYPE_CHECKING:
    from firmware_protocol.chains import VerifiedBundle
    from gatewayd.access.freshness import FreshnessFacts
    from gatewayd.access.verdicts import Denied, Verdict
    from gatewayd.channel import Submission
    from gatewayd.identity import Identity
    from gatewayd.recorder import Recorder
    from gatewayd.settings import LimitSettings
    from gatewayd.statements import Statements
    from gatewayd.store.store import Transaction
    from gatewayd.timekeeper import TimeKeeper
    from gatewayd.trust_keeper import TrustKeeper


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A verdict that is durable, with the receipt that says so."""

    verdict: Verdict
    receipt: bytes
    journal_index: int | None = None
    """The entry that records it; None for a repeated command, which has one already."""
    command_seq: int | None = None
    """What the lock will know the movement by; None where nothing moves."""


class Reservations:
    """Decides commands inside store transactions."""

    def __init__(
        self,
        *,
        identity: Identity,
        lock_ids: frozenset[bytes],
        limits: LimitSettings,
        trust: TrustKeeper,
        timekeeper: TimeKeeper,
        statements: Statements,
        recorder: Recorder,
    ) -> None:
        self._identity = identity
        self._lock_ids = lock_ids
        self._limits = limits
        self._trust = trust
        self._timekeeper = timekeeper
        self._statements = statements
        self._recorder = recorder

    def decide(
        self, tx: Transaction, bundle: VerifiedBundle, submission: Submission, freshness: FreshnessFacts
    ) -> Decided:
        """Return the verdict, with everything that it changes written in `tx`."""
        verdict = decide(bundle, self._facts(tx, bundle, submission, freshness))
        match verdict:
            case Repeated(receipt=receipt):
                return Decided(verdict=verdict, receipt=receipt)
            case Permitted():
                return self._permit(tx, bundle, submission, verdict)
            case _:
                return self._deny(tx, bundle, submission, verdict)

    def _facts(
        self, tx: Transaction, bundle: VerifiedBundle, submission: Submission, freshness: FreshnessFacts
    ) -> Facts:
        command = bundle.command
        seen = commands.find_seen(tx, bundle.signer_kid, command.command_id)
        keys = [bucket.key for bucket in (*buckets_for(bundle, self._limits), lockout_bucket(bundle))]
        return Facts(
            gateway_id=self._identity.gateway_id,
            lock_ids=self._lock_ids,
            came_through=submission.lock_id,
            keyset=self._trust.require_keyset(),
            time=self._timekeeper.interval(),
            tier=self._statements.tier(),
            state=self._trust.state,
            freshness=replace(freshness, last_issued_s=self._last_issued_s(tx, bundle)),
            seen=None if seen is None else Seen(command_sha256=seen.command_sha256, receipt=seen.receipt),
            use_count=commands.use_count(tx, bundle.proof.grant.cti),
            alarm_open=alarms.is_open(tx, command.lock_id, command.alarm_ref, freshness.boottime_ms),
            bucket_states=buckets.load_buckets(tx, keys),
            limits=self._limits,
        )

    def _last_issued_s(self, tx: Transaction, bundle: VerifiedBundle) -> int | None:
        freshness = bundle.command.freshness
        if not isinstance(freshness, EpochFreshness):
            return None
        return commands.last_issued(tx, bundle.signer_kid, bundle.command.lock_id, freshness.epoch)

    def _permit(self, tx: Transaction, bundle: VerifiedBundle, submission: Submission, verdict: Permitted) -> Decided:
        buckets.save_buckets(tx, verdict.buckets)
        freshness = bundle.command.freshness
        if isinstance(freshness, EpochFreshness):
            commands.note_issued(tx, bundle.signer_kid, bundle.command.lock_id, freshness.epoch, freshness.issued_s)
        command_seq = locks.next_command_seq(tx, bundle.command.lock_id)
        receipt, index = self._write(tx, bundle, submission, Code.PERMITTED, None, command_seq)
        return Decided(verdict=verdict, receipt=receipt, journal_index=index, command_seq=command_seq)

    def _deny(self, tx: Transaction, bundle: VerifiedBundle, submission: Submission, verdict: Denied) -> Decided:
        buckets.save_buckets(tx, verdict.buckets)
        receipt, index = self._write(tx, bundle, submission, verdict.code, verdict.retry_after_s, None)
        return Decided(verdict=verdict, receipt=receipt, journal_index=index)

    def _write(
        self,
        tx: Transaction,
        bundle: VerifiedBundle,
        submission: Submission,
        code: Code,
        retry_after_s: int | None,
        command_seq: int | None,
    ) -> tuple[bytes, int]:
        command, proof = bundle.command, bundle.proof
        index = self._recorder.append(tx, self._event(bundle, submission, code))
        receipt = self._statements.receipt(
            lock_id=command.lock_id,
            command_sha256=bundle.command_sha256,
            phase=Phase.DECIDED,
            code=code,
            journal_index=index,
            retry_after_s=retry_after_s,
        )
        if code is not Code.ID_REUSED:  # the row of the first bytes under this id stands
            commands.reserve(
                tx,
                SeenCommand(
                    kid=bundle.signer_kid,
                    command_id=command.command_id,
                    command_sha256=bundle.command_sha256,
                    lock_id=command.lock_id,
                    grant_cti=proof.grant.cti,
                    action=int(command.action),
                    reserved_utc_s=self._timekeeper.interval().lo_s,
                    command_seq=command_seq,
                    receipt=receipt,
                    code=code.wire,
                    journal_index=index,
                ),
            )
        return receipt, index

    def _event(self, bundle: VerifiedBundle, submission: Submission, code: Code) -> CommandDecided:
        command, proof = bundle.command, bundle.proof
        return CommandDecided(
            lock_id=command.lock_id,
            priority=proof.is_operator or code is Code.ID_REUSED,
            channel=submission.channel.value,
            action=command.action.name.lower(),
            code=code.dotted,
            command_id=command.command_id.hex(),
            command_sha256=bundle.command_sha256.hex(),
            signer=bundle.signer_kid.hex(),
            subject=proof.grant.subject,
            role="operator" if proof.is_operator else "carer",
            provider=proof.provider,
            grant=proof.grant.cti.hex(),
            tier=self._statements.tier().name.lower(),
        )
