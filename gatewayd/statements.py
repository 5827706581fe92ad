"""What the gateway states over its own signature: receipts and infos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.constants import UNLOCK_TTL_S_MAX
from firmware_protocol.signed import sign
from firmware_protocol.statements import (
    GATEWAY_LOCK_COUNT_MAX,
    REPORTED_AUTHORITY_COUNT_MAX,
    BugReport,
    CommandReceipt,
    DriftReport,
    GatewayInfo,
    LockEpoch,
)
from gatewayd.access.tiers import tier_of

if TYPE_CHECKING:
    from firmware_protocol.codes import Code
    from firmware_protocol.vocabulary import Phase, Tier
    from gatewayd.access.freshness import Epochs
    from gatewayd.identity import Identity
    from gatewayd.roll import Roll
    from gatewayd.suspicion import Suspicion
    from gatewayd.timekeeper import TimeKeeper
    from gatewayd.timekeeping import Clock, TimeInterval
    from gatewayd.trust_keeper import TrustKeeper

NO_NONCE: Final = b""


class Statements:
    """Signs what the gateway says about commands and about itself."""

    def __init__(  # noqa: PLR0913 - everything that it states something of
        self,
        *,
        identity: Identity,
        log_id: bytes,
        roll: Roll,
        epochs: Epochs,
        clock: Clock,
        timekeeper: TimeKeeper,
        trust: TrustKeeper,
        suspicion: Suspicion,
    ) -> None:
        self._identity = identity
        self._log_id = log_id
        self._roll = roll
        self._epochs = epochs
        self._clock = clock
        self._timekeeper = timekeeper
        self._trust = trust
        self._suspicion = suspicion

    def tier(self) -> Tier:
        """Return how much of the present can be proven now."""
        return tier_of(time=self._timekeeper.interval(), state=self._trust.fresh_state, suspect=self._suspicion.active)

    def info(self, nonce: bytes = NO_NONCE, *, at: bytes | None = None) -> bytes:
        """Return a signed GatewayInfo over the asker's nonce: of every lock, or for a phone of the one that it is `at`.

        What a phone is told has to fit into a message of the link, and that of 64 locks does not.
        """
        epoch = self._epochs.current
        lock_ids = sorted(self._roll.lock_ids) if at is None else [at]
        now_s = epoch.now_s(self._clock.now().boottime_ms)
        info = GatewayInfo(
            nonce=nonce,
            gateway_id=self._identity.gateway_id,
            locks=tuple(LockEpoch(lock_id, epoch.value, now_s) for lock_id in lock_ids[:GATEWAY_LOCK_COUNT_MAX]),
            state_seq=0 if self._trust.state is None else self._trust.state.seq,
            keyset_version=0 if self._trust.keyset is None else self._trust.keyset.version,
            tier=self.tier(),
            ttl_s_max=UNLOCK_TTL_S_MAX,
        )
        return sign(info, self._identity.signing_key)

    def drift(self, request_id: bytes) -> bytes:
        """Return a signed DriftReport: which revocations this home has."""
        trust, time = self._trust, self._timekeeper.interval()
        state = trust.state
        ctis = tuple(sorted(authority.cti for authority in trust.authorities()))
        report = DriftReport(
            request_id=request_id,
            gateway_id=self._identity.gateway_id,
            keyset_version=0 if trust.keyset is None else trust.keyset.version,
            state_keyset_version=None if state is None else state.keyset_version,
            state_seq=None if state is None else state.seq,
            state_sha256=None if state is None else trust.state_sha256,
            authority_ctis=ctis[:REPORTED_AUTHORITY_COUNT_MAX],
            grant_count=trust.grant_count,
            tier=self.tier(),
            utc_lo_s=time.lo_s,
            utc_hi_s=time.hi_s if time.trusted else None,
        )
        return sign(report, self._identity.signing_key)

    def bug_report(self, request_id: bytes, report_id: str, facts: tuple[tuple[str, str], ...]) -> bytes:
        """Return a signed BugReport: how this gateway does."""
        report = BugReport(
            request_id=request_id, gateway_id=self._identity.gateway_id, report_id=report_id, facts=facts
        )
        return sign(report, self._identity.signing_key)

    def receipt(  # noqa: PLR0913 - the fields of a receipt
        self,
        *,
        time: TimeInterval,
        lock_id: bytes,
        command_sha256: bytes,
        phase: Phase,
        code: Code,
        journal_index: int | None,
        lock_log_seq: int | None = None,
        retry_after_s: int | None = None,
    ) -> bytes:
        """Return a signed CommandReceipt. Touches nothing that changes, so that any thread may call it."""
        receipt = CommandReceipt(
            gateway_id=self._identity.gateway_id,
            log_id=self._log_id,
            lock_id=lock_id,
            command_sha256=command_sha256,
            phase=phase,
            code=code,
            lock_log_seq=lock_log_seq,
            journal_index=journal_index,
            utc_lo_s=time.lo_s,
            utc_hi_s=time.hi_s if time.trusted else None,
            retry_after_s=retry_after_s,
        )
        return sign(receipt, self._identity.signing_key)
