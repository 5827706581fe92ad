"""Takes what operators may ask beside movement: signed Requests, each verb for one role (docs/protocol.md §4.8)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import structlog

from firmware_protocol import cbor
from firmware_protocol.chains import open_by_role, open_by_roots, parse_bundle
from firmware_protocol.codes import Code
from firmware_protocol.commands import Request
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.relay import AnswerKind
from firmware_protocol.vocabulary import Role
from gatewayd.journal.events import AlertRaised
from gatewayd.store import meta
from gatewayd.timekeeping import LATEST_MS
from gatewayd.uplink.ports import RefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from gatewayd.access.freshness import Epochs
    from gatewayd.recorder import Page, Recorder
    from gatewayd.statements import Statements
    from gatewayd.timekeeper import TimeKeeper
    from gatewayd.timekeeping import Clock
    from gatewayd.trust_keeper import TrustKeeper

NUMBER_MAX: Final = 2**53 - 1
SPENT_COUNT_MAX: Final = 64
"""Requests that are remembered for as long as they could be asked again; more are not obeyed meanwhile."""
ARGUMENTS_SIZE_MAX: Final = 64
NO_ARGUMENTS: Final = b"\xa0"
"""The empty map: what a verb without arguments is signed over."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """Who may ask, and how far ahead."""

    role: Role
    """ROOT means two of the pinned root keys, as for a Keyset."""
    ttl_s_max: int


VERBS: Final[Mapping[str, Verb]] = MappingProxyType(
    {
        "bugreport": Verb(role=Role.STATUS, ttl_s_max=300),
        "drift": Verb(role=Role.STATUS, ttl_s_max=300),
        "resend": Verb(role=Role.STATUS, ttl_s_max=300),
        # Root keys are fetched out of safes; and the epoch that it is over can be used up only once.
        "time": Verb(role=Role.ROOT, ttl_s_max=24 * 3_600),
    }
)


class RequestDesk:
    """Verifies requests and does what they ask (implements `uplink.ports.Requests`)."""

    def __init__(  # noqa: PLR0913 - everybody whom a verb concerns
        self,
        *,
        gateway_id: bytes,
        roots: Sequence[bytes],
        clock: Clock,
        epochs: Epochs,
        trust: TrustKeeper,
        timekeeper: TimeKeeper,
        statements: Statements,
        recorder: Recorder,
        resend: Callable[[int], None],
        facts: Callable[[], Awaitable[tuple[tuple[str, str], ...]]],
        new_report_id: Callable[[], str],
    ) -> None:
        self._gateway_id = gateway_id
        self._roots = tuple(roots)
        self._clock = clock
        self._epochs = epochs
        self._trust = trust
        self._timekeeper = timekeeper
        self._statements = statements
        self._recorder = recorder
        self._resend = resend
        self._facts = facts
        self._new_report_id = new_report_id
        self._spent: dict[bytes, int] = {}
        """Ids of requests that were obeyed, and until when on the epoch's clock they could be asked again."""
        self._acts: Mapping[str, Callable[[Request, bytes], Awaitable[tuple[AnswerKind, bytes]]]] = {
            "bugreport": self._report_bug,
            "drift": self._report_drift,
            "resend": self._send_again,
            "time": self._lower_time,
        }

    @property
    def verbs(self) -> Collection[str]:
        """See `Requests.verbs`."""
        return VERBS.keys()

    async def take_request(self, verb: str, bundle: bytes) -> tuple[AnswerKind, bytes]:
        """Do what is asked and return the signed answer.

        Raises:
            RemoteProtocolError: UNSUPPORTED_TYPE, there is no such verb; not signed by whom it needs; for another
                gateway, not of now, or with other arguments than were signed.
            StoreError: it could not be kept, and nothing was done.
        """
        row = VERBS.get(verb)
        if row is None:
            raise RemoteProtocolError(Code.UNSUPPORTED_TYPE, "nobody answers this verb here")
        signed, arguments = _parts(bundle)
        if row.role is Role.ROOT:
            request = open_by_roots(Request, signed, roots=self._roots)
        else:
            request = open_by_role(Request, signed, keyset=self._trust.require_keyset(), role=row.role)
        self._check(request, verb, arguments, row)
        answer = await self._acts[verb](request, arguments)
        _log.info("request.done", verb=verb)
        return answer

    def _check(self, request: Request, verb: str, arguments: bytes, row: Verb) -> None:
        if request.gateway_id != self._gateway_id or request.verb != verb:
            raise RemoteProtocolError(Code.WRONG_AUDIENCE, "a request for another gateway, or of another verb")
        if request.arguments_sha256 != hashlib.sha256(arguments).digest():
            raise RemoteProtocolError(Code.BAD_SIGNATURE, "other arguments than were signed")
        epoch = self._epochs.current
        now_s = epoch.now_s(self._clock.now().boottime_ms)
        if request.epoch != epoch.value:
            raise RemoteProtocolError(Code.WRONG_EPOCH, "a request of an earlier epoch")
        if now_s >= request.exp_s:
            raise RemoteProtocolError(Code.EXPIRED, "a request that waited too long")
        if request.exp_s - now_s > row.ttl_s_max:
            raise RemoteProtocolError(Code.TTL_TOO_LONG, "a request for later")

    async def _report_bug(self, request: Request, arguments: bytes) -> tuple[AnswerKind, bytes]:
        if arguments != NO_ARGUMENTS:
            raise RemoteProtocolError(Code.MALFORMED, "bugreport has no arguments")
        self._check_unspent(request)
        self._spent[request.request_id] = request.exp_s
        report_id = self._new_report_id()
        answer = self._statements.bug_report(request.request_id, report_id, await self._facts())
        _log.info("bugreport.made", report=report_id)
        return AnswerKind.REPORT, answer

    async def _report_drift(self, request: Request, arguments: bytes) -> tuple[AnswerKind, bytes]:
        if arguments != NO_ARGUMENTS:
            raise RemoteProtocolError(Code.MALFORMED, "drift has no arguments")
        return AnswerKind.REPORT, self._statements.drift(request.request_id)

    async def _send_again(self, request: Request, arguments: bytes) -> tuple[AnswerKind, bytes]:
        """Let the outbox begin at an entry: a central log that was set back to a backup has lost what it signed for."""
        index = _number(arguments, "resend needs the index of one entry")
        self._check_unspent(request)
        try:
            self._resend(index)
        except RefusedError as error:
            raise RemoteProtocolError(Code.RATE_LIMITED, error.detail) from error
        self._spent[request.request_id] = request.exp_s
        return AnswerKind.INFO, self._statements.info()

    def _check_unspent(self, request: Request) -> None:
        # Attack: a request that was recorded makes a gateway send all of its journal, or count its store, for ever.
        now_s = self._epochs.current.now_s(self._clock.now().boottime_ms)
        self._spent = {spent: exp_s for spent, exp_s in self._spent.items() if now_s < exp_s}
        if request.request_id in self._spent:
            raise RemoteProtocolError(Code.DUPLICATE, "a request that was obeyed already")
        if len(self._spent) >= SPENT_COUNT_MAX:
            raise RemoteProtocolError(Code.RATE_LIMITED, "more requests than are remembered")

    async def _lower_time(self, _request: Request, arguments: bytes) -> tuple[AnswerKind, bytes]:
        """Let time begin anew where root says: a clock that was wrong once must not shut a home until it is right."""
        utc_s = _number(arguments, "time needs one second of UTC")
        if utc_s * 1_000 > LATEST_MS:
            raise RemoteProtocolError(Code.MALFORMED, "no second of this century: is it in milliseconds?")

        def keep(page: Page) -> None:
            meta.lower_floor(page.tx, utc_s * 1_000)
            _log.warning("time.lowered", utc_s=utc_s)

        def tell(page: Page) -> None:
            # Again: what was on its way to the disk when time was lowered has brought the old floor along.
            meta.lower_floor(page.tx, utc_s * 1_000)
            detail = f"the root authority has set the floor of time to {utc_s}"
            page.append(AlertRaised(code="time.lowered", detail=detail, priority=True))

        await self._recorder.run(keep)
        self._timekeeper.lower(utc_s)
        self._epochs.renew()  # the order was over the old one: it is used up
        await self._recorder.run(tell)
        return AnswerKind.INFO, self._statements.info()


def _parts(bundle: bytes) -> tuple[bytes, bytes]:
    signed, *rest = parse_bundle(bundle)
    if len(rest) > 1:
        raise RemoteProtocolError(Code.MALFORMED, "a request is one signed object and its arguments")
    return signed, rest[0] if rest else NO_ARGUMENTS


def _number(arguments: bytes, complaint: str) -> int:
    """Return the one number of `{0: number}`."""
    fields = cbor.decode(arguments, size_max=ARGUMENTS_SIZE_MAX)
    number = fields.get(0) if isinstance(fields, dict) and fields.keys() == {0} else None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= NUMBER_MAX:
        raise RemoteProtocolError(Code.MALFORMED, complaint)
    return number
