"""An explanation as text: the verdict with its sentence and next step, then one line a check."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.sentences import SENTENCES, Phrase
from gatewayd.access.checks import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from firmware_protocol.sentences import Language
    from gatewayd.control.messages import CheckLine, ClockStatus, Explanation

COLUMN_COUNT: Final = 80
CHECKS: Final[Mapping[Check, Phrase]] = {
    Check.SIZE: Phrase("not too long", "inte för lång"),
    Check.FORM: Phrase("well formed", "rätt utformad"),
    Check.CHAIN: Phrase("every signature up to the root", "alla signaturer upp till roten"),
    Check.AUDIENCE: Phrase("for this gateway and lock", "för den här gatewayen och låset"),
    Check.SEEN: Phrase("not decided before", "inte avgjord tidigare"),
    Check.FRESHNESS: Phrase("asked for now", "begärd nu"),
    Check.LIFE: Phrase("no longer a life than allowed", "inte längre giltighet än tillåtet"),
    Check.TIER: Phrase("admitted by what can be proven", "släpps fram av det som kan bevisas"),
    Check.TIME: Phrase("begun, and not over", "har börjat och inte gått ut"),
    Check.KEYSET: Phrase("under a valid keyset", "under en giltig nyckelförteckning"),
    Check.REVOCATION: Phrase("not blocked", "inte spärrad"),
    Check.LOCKOUT: Phrase("no waiting after refusals", "ingen väntan efter nekanden"),
    Check.RIGHTS: Phrase("the right is granted", "behörigheten finns"),
    Check.EMERGENCY: Phrase("an alarm is open (operators)", "ett larm är öppet (operatörer)"),
    Check.WINDOW: Phrase("within the visit", "inom besökstiden"),
    Check.USES: Phrase("uses are left", "användningar finns kvar"),
    Check.RATE: Phrase("not too often", "inte för ofta"),
}
_VERDICTS: Final[Mapping[str, Phrase]] = {
    "permitted": Phrase("permitted", "tillåtet"),
    "denied": Phrase("denied", "nekat"),
    "repeated": Phrase("answered before", "redan besvarat"),
}
_RESULTS: Final[Mapping[str, Phrase]] = {
    "passed": Phrase("yes", "ja"),
    "refused": Phrase("NO", "NEJ"),
    "repeated": Phrase("NO", "NEJ"),
    "not_asked": Phrase("-", "-"),
}
_NEXT: Final = Phrase("next", "gör så här")
_HEARS_DENIED: Final = Phrase("the sender hears no more than DENIED", "avsändaren får inte veta mer än DENIED")
_RETRY: Final = Phrase("try again in {} s", "försök igen om {} s")
_STORE: Final = Phrase(
    "from the store of a stopped gateway: nothing asked of the earlier run is fresh",
    "från en stoppad gateways lager: inget som begärdes av den förra körningen är färskt",
)
_UNTRUSTED: Final = Phrase("not before {} (not trusted)", "inte före {} (ej betrodd)")
_CLOCK: Final = Phrase("time", "tid")


def explanation_text(explained: Explanation, language: Language) -> str:
    """Return it, no line longer than 80 columns."""
    return "\n".join(_lines(explained, language))


def _lines(explained: Explanation, language: Language) -> Iterator[str]:
    sentence = SENTENCES[Code.from_dotted(explained.code)]
    yield f"{_VERDICTS[explained.verdict].text(language)} ({explained.code})"
    yield _wrapped(sentence.meaning.text(language))
    yield _wrapped(f"{_NEXT.text(language)}: {sentence.next_step.text(language)}")
    if explained.retry_after_s is not None:
        yield f"  {_RETRY.text(language).format(explained.retry_after_s)}"
    if explained.detail is not None:
        yield _wrapped(explained.detail)
    if not explained.authenticated:
        yield _wrapped(_HEARS_DENIED.text(language))
    if explained.source == "store":
        yield _wrapped(_STORE.text(language))
    yield f"  {_CLOCK.text(language)}: {_clock(explained.clock, language)}"
    yield ""
    for line in explained.checks:
        yield _check(line, language)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, COLUMN_COUNT, initial_indent="  ", subsequent_indent="    ")


def _check(line: CheckLine, language: Language) -> str:
    try:
        label = CHECKS[Check(line.check)].text(language)
    except ValueError:  # a daemon newer than this command
        label = ""
    result = _RESULTS.get(line.result, Phrase(line.result, line.result)).text(language)
    return f"  {line.check:<11} {label:<33} {result:<3}  {line.code or ''}".rstrip()


def _clock(clock: ClockStatus, language: Language) -> str:
    text = datetime.fromtimestamp(clock.lo_ms / 1_000, UTC).isoformat(timespec="seconds")
    return text if clock.trusted else _UNTRUSTED.text(language).format(text)
