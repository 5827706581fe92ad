"""Why, check by check: the real verification and the real decision, and nothing kept of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.chains import parse_bundle, verify_bundle
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from gatewayd.access.checks import Check, CheckResult
from gatewayd.access.decide import judge_each
from gatewayd.access.verdicts import Denied

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.chains import Known, VerifiedBundle
    from gatewayd.access.decide import Facts
    from gatewayd.access.verdicts import Verdict

VERIFICATION: Final = (Check.SIZE, Check.FORM, Check.CHAIN)
"""What is asked before anybody is known to have sent it, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """The verdict on a bundle, and what every check that could be asked says."""

    verdict: Verdict
    results: tuple[CheckResult, ...]
    """In order; those behind the verification are missing where it failed."""
    facts: Facts | None = None
    detail: str | None = None
    """Where the verification failed: what exactly, for a technician."""

    @property
    def authenticated(self) -> bool:
        """Whether the sender is told the reason; everybody else hears DENIED."""
        return self.facts is not None


def verify_aloud(data: bytes, know: Callable[[], Known]) -> VerifiedBundle | Reasons:
    """Return the verified bundle, or why there is none; `know` may say that nobody is known at all."""
    try:
        parse_bundle(data)  # before anybody is asked for: where nobody is known, nonsense is nonsense all the same
        return verify_bundle(data, known=know())
    except RemoteProtocolError as error:
        failed, refusal = _failed_check(error.code), Denied(code=error.code)
        asked = VERIFICATION[: VERIFICATION.index(failed) + 1]
        results = tuple(CheckResult(check=check, verdict=refusal if check is failed else None) for check in asked)
        return Reasons(verdict=refusal, results=results, detail=error.detail)


def judge_aloud(bundle: VerifiedBundle, read_facts: Callable[[VerifiedBundle], Facts]) -> Reasons:
    """Return the verdict and every check's own."""
    facts = read_facts(bundle)
    judged = tuple(judge_each(bundle, facts))
    verdict = next(result.verdict for result in judged if result.verdict is not None)
    verified = tuple(CheckResult(check=check, verdict=None) for check in VERIFICATION)
    return Reasons(verdict=verdict, results=verified + judged, facts=facts)


def _failed_check(code: Code) -> Check:
    match code:
        case Code.TOO_LARGE:
            return Check.SIZE
        case Code.MALFORMED:
            return Check.FORM
        case _:
            return Check.CHAIN
