"""Why a bundle would be permitted or refused, from the live house or from the store of a stopped one.

What decides is what decides at the door (`access.decide`); only nothing is reserved, burnt or counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from firmware_protocol.chains import Known, verify_keyset
from firmware_protocol.codes import Code
from firmware_protocol.commands import ChallengeFreshness
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.orders import Door
from firmware_protocol.vocabulary import Role
from gatewayd.access.checks import Check
from gatewayd.access.explaining import Reasons, judge_aloud, verify_aloud
from gatewayd.access.freshness import Epoch, FreshnessFacts
from gatewayd.access.tiers import tier_of
from gatewayd.access.trust import held_state, newer_keyset, open_held
from gatewayd.access.verdicts import Denied, Permitted, Repeated
from gatewayd.channel import Channel, Submission
from gatewayd.control.messages import CheckLine, ClockStatus, Explanation
from gatewayd.reservation import Asked, Premises, Standing, read_facts
from gatewayd.roll import Roll
from gatewayd.store import locks, meta, suspicions
from gatewayd.store import trust as trust_rows
from gatewayd.timekeeping import BUILD_TIME_MS, TimeInterval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from firmware_protocol.chains import VerifiedBundle
    from firmware_protocol.statements import AuthorityState
    from firmware_protocol.tokens import Keyset
    from gatewayd.access.verdicts import Verdict
    from gatewayd.house import House
    from gatewayd.settings import LimitSettings
    from gatewayd.store.store import Transaction


class Explainer:
    """Asks the running house (implements `control.messages.ExplanationSource`)."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def explain(self, bundle: bytes, at_s: int | None) -> Explanation:
        """See `ExplanationSource.explain`.

        Raises:
            StoreError: the store does not answer.
        """
        house, trust = self._house, self._house.base.trust
        await trust.prefetch(bundle)
        verified = verify_aloud(bundle, trust.known)
        time = _time(house.base.timekeeper.interval(), at_s)
        if isinstance(verified, Reasons):
            return _document("daemon", verified, None, time)
        tier = tier_of(time=time, state=trust.fresh_state, suspect=house.base.suspicion.active)
        asked = Asked(
            bundle=verified,
            submission=_submission(verified, bundle),
            freshness=self._freshness(verified),
            standing=Standing(
                keyset=trust.require_keyset(),
                state=trust.state,
                tier=tier,
                installer_ctis=house.installers.open_at(house.base.seams.clock.now().boottime_ms),
            ),
        )
        reasons = await house.base.seams.store.run(
            lambda tx: judge_aloud(verified, lambda _: house.reservations.facts(tx, time, asked))
        )
        return _document("daemon", reasons, asked, time)

    def _freshness(self, bundle: VerifiedBundle) -> FreshnessFacts:
        freshness, learned_ms = bundle.command.freshness, None
        if isinstance(freshness, ChallengeFreshness):
            learned_ms = self._house.challenges.learned_boottime_ms(bundle.command.lock_id, freshness.challenge)
        return FreshnessFacts(
            boottime_ms=self._house.base.seams.clock.now().boottime_ms,
            epoch=self._house.epoch,
            challenge_learned_ms=learned_ms,
            last_issued_s=None,
        )


def explain_stored(
    tx: Transaction, bundle: bytes, *, roots: Sequence[bytes], limits: LimitSettings, at_s: int | None
) -> Explanation:
    """Return what a daemon that starts on this store now would say.

    Its epoch is not drawn yet and no lock has told it a challenge or the time, so a command that was made
    for the stopped daemon is never fresh, and without `at_s` the time is not trusted.

    Raises:
        StoreError: the store cannot be read.
        RemoteProtocolError: what it holds was not signed by the pinned roots.
    """
    held = _Held.of(tx, roots)
    stored = meta.load_time(tx)
    time = _time(TimeInterval(lo_ms=max(BUILD_TIME_MS, 0 if stored is None else stored.floor_ms)), at_s)
    verified = verify_aloud(bundle, held.known)
    if isinstance(verified, Reasons):
        return _document("store", verified, None, time)
    asked = Asked(
        bundle=verified,
        submission=_submission(verified, bundle),
        freshness=FreshnessFacts(
            boottime_ms=0,
            epoch=Epoch(value=b"", drawn_boottime_ms=0),
            challenge_learned_ms=None,
            last_issued_s=None,
        ),
        standing=held.standing(time),
    )
    home = Premises(gateway_id=held.gateway_id, roll=Roll(held.lock_ids), limits=limits)
    # No alarm outlives a boot of the machine, and whether this store has seen one since is not known here.
    reasons = judge_aloud(verified, lambda _: replace(read_facts(tx, time, asked, home), alarm_open=False))
    return _document("store", reasons, asked, time)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What a store holds of other people's signed objects, verified up to the pinned roots."""

    keyset: Keyset | None
    state: AuthorityState | None
    is_current: bool
    """Whether the Keyset in force bears the state out."""
    doors: tuple[Door, ...]
    authorities: Mapping[bytes, bytes]
    find_grant: Callable[[bytes], bytes | None]
    suspect: bool

    @classmethod
    def of(cls, tx: Transaction, roots: Sequence[bytes]) -> _Held:
        raw_keyset, raw_state = trust_rows.load_keyset(tx), trust_rows.load_authority_state(tx)
        keyset = None if raw_keyset is None else newer_keyset(raw_keyset, held=None, roots=roots)
        if keyset is None:
            return cls(
                keyset=None,
                state=None,
                is_current=False,
                doors=(),
                authorities={},
                find_grant=lambda _: None,
                suspect=False,
            )
        keysets = [verify_keyset(raw, roots=roots) for raw in trust_rows.load_keysets(tx)]
        doors = tuple(
            open_held(Door, home.door, keysets=keysets, role=Role.STATUS) for home in locks.load_lock_homes(tx)
        )
        state, is_current = None, False
        if raw_state is not None and doors:
            state, is_current = held_state(raw_state, keysets=keysets, gateway_id=doors[0].gateway_id)
        return cls(
            keyset=keyset,
            state=state,
            is_current=is_current,
            doors=doors,
            authorities=trust_rows.load_authorities(tx),
            find_grant=lambda sha256: trust_rows.find_grant(tx, sha256),
            suspect=bool(suspicions.load_suspicions(tx)),
        )

    @property
    def gateway_id(self) -> bytes:
        return self.doors[0].gateway_id if self.doors else b""

    @property
    def lock_ids(self) -> frozenset[bytes]:
        return frozenset(door.lock_id for door in self.doors)

    def known(self) -> Known:
        return Known(keyset=self._keyset(), find_grant=self.find_grant, find_authority=self.authorities.get)

    def standing(self, time: TimeInterval) -> Standing:
        tier = tier_of(time=time, state=self.state if self.is_current else None, suspect=self.suspect)
        # The machine's boot is not known here, and with it whether an installer's hour still runs.
        return Standing(keyset=self._keyset(), state=self.state, tier=tier, installer_ctis={})

    def _keyset(self) -> Keyset:
        if self.keyset is None:
            raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "no keyset has been provisioned")
        return self.keyset


def _time(now: TimeInterval, at_s: int | None) -> TimeInterval:
    return now if at_s is None else TimeInterval(lo_ms=at_s * 1_000, hi_ms=at_s * 1_000)


def _submission(verified: VerifiedBundle, bundle: bytes) -> Submission:
    freshness = verified.command.freshness
    if isinstance(freshness, ChallengeFreshness):
        lock_id, challenge = verified.command.lock_id, freshness.challenge
        return Submission(channel=Channel.RELAY, bundle=bundle, lock_id=lock_id, challenge=challenge)
    return Submission(channel=Channel.MQTT, bundle=bundle)


def _document(source: str, reasons: Reasons, asked: Asked | None, time: TimeInterval) -> Explanation:
    name, code, retry_after_s = _told(reasons.verdict)
    bundle = None if asked is None else asked.bundle
    return Explanation(
        source=source,
        verdict=name,
        code=code.dotted,
        authenticated=asked is not None,
        retry_after_s=retry_after_s,
        detail=reasons.detail,
        checks=tuple(_lines(reasons)),
        action=None if bundle is None else bundle.command.action.movement.name.lower(),
        lock_id=None if bundle is None else bundle.command.lock_id.hex(),
        channel=None if asked is None else asked.submission.channel.value,
        signer=None if bundle is None else bundle.signer_kid.hex(),
        provider=None if bundle is None else bundle.proof.provider,
        grant=None if bundle is None else bundle.proof.grant.cti.hex(),
        tier=None if asked is None else asked.standing.tier.name.lower(),
        clock=ClockStatus(trusted=time.trusted, lo_ms=time.lo_ms, hi_ms=time.hi_ms),
    )


def _told(verdict: Verdict) -> tuple[str, Code, int | None]:
    match verdict:
        case Permitted():
            return "permitted", Code.PERMITTED, None
        case Repeated():
            return "repeated", Code.DUPLICATE, None
        case Denied(code=code, retry_after_s=retry_after_s):
            return "denied", code, retry_after_s


def _lines(reasons: Reasons) -> Iterator[CheckLine]:
    for result in reasons.results:
        if result.verdict is None or isinstance(result.verdict, Permitted):
            yield CheckLine(check=result.check.value, result="passed", code=None)
        else:
            name, code, _ = _told(result.verdict)
            yield CheckLine(check=result.check.value, result=_RESULTS[name], code=code.dotted)
    asked = {result.check for result in reasons.results}
    for check in Check:
        if check not in asked:
            yield CheckLine(check=check.value, result="not_asked", code=None)


_RESULTS: Final = {"denied": "refused", "repeated": "repeated"}
