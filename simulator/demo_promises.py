"""What the demo promises: a closed list of names, each shown or broken by the story, and never silently skipped."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@unique
class Promise(StrEnum):
    """A stable name for something that must hold; what breaks one is reported under this name."""

    LINK_UP = "link-up"
    STATE_HAS_AGE = "state-has-age"
    TIME_PROVEN = "time-proven-by-receipt"
    EMERGENCY_UNLOCK = "emergency-unlock-moves-once"
    RECEIPT_VERIFIED = "receipt-verified"
    OFFLINE_UNLOCK = "offline-unlock-moves-once"
    EXPIRY = "expiry"
    AUDIENCE = "audience"
    UNKNOWN_SIGNER = "unknown-signer-denied"
    WINDOW = "window"
    FLIPPED_BIT = "flipped-bit-denied"
    DENIED_PACE = "denied-at-most-once-a-second"
    LIMIT = "limit"
    REPLAY = "replay-moves-nothing"
    REPLAY_ANSWERED = "replay-answered-from-the-record"
    REFUSALS_STILL = "refusals-move-nothing"
    RESERVE_FIRST = "reserve-before-act"
    NO_RESEND = "no-resend-after-reconnect"
    TIER_RESTORED = "tier-restored-by-lock-clock"
    SAME_CARER = "same-carer-opens-again"
    LIMITS_SURVIVE = "limits-survive-restart"
    PUBACK_KEEPS = "only-receipts-empty-the-outbox"
    FORGERY_KEEPS = "forged-receipt-empties-nothing"
    EVENTS = "every-event-once-in-order"
    REASONS = "each-reason-in-the-log"
    REPLAYED = "outage-events-marked-replayed"
    TREE = "tree-verified"
    LOCK_CHAIN = "lock-chain-verified"
    RECEIPT_EMPTIES = "receipt-empties-the-outbox"
    RESEND_AFTER_RECEIPT = "resend-after-receipt-answered"
    NO_ALARM = "central-log-has-no-alarm"


SENTENCES: Final[Mapping[Promise, str]] = {
    Promise.LINK_UP: "an encrypted session with the lock is up",
    Promise.STATE_HAS_AGE: "a shown door state says how old it is",
    Promise.TIME_PROVEN: "the central log's receipt proves the time; the gateway is fresh",
    Promise.EMERGENCY_UNLOCK: "one operator with an open alarm unlocks, and the bolt moves once",
    Promise.RECEIPT_VERIFIED: "every answer is the gateway's signature over the very command",
    Promise.OFFLINE_UNLOCK: "without a broker a carer unlocks, and the bolt moves once",
    Promise.EXPIRY: "an expired grant opens nothing",
    Promise.AUDIENCE: "a command or a grant for another lock opens nothing",
    Promise.UNKNOWN_SIGNER: "an unknown key is told nothing but no",
    Promise.WINDOW: "outside its window a grant opens nothing",
    Promise.FLIPPED_BIT: "one flipped bit makes a stranger of the sender",
    Promise.DENIED_PACE: "strangers are told no at most once a second",
    Promise.LIMIT: "one command too many is refused, with a time to come back",
    Promise.REPLAY: "the same bytes again move nothing",
    Promise.REPLAY_ANSWERED: "the same bytes again get the receipt that is on record",
    Promise.REFUSALS_STILL: "no refusal moved the bolt",
    Promise.RESERVE_FIRST: "every movement was durably decided before it began",
    Promise.NO_RESEND: "after a crash in mid-movement the gateway asks, and never moves again",
    Promise.TIER_RESTORED: "after a crash the lock's clock brings trusted time back",
    Promise.SAME_CARER: "after a crash, still offline, the same carer opens again",
    Promise.LIMITS_SURVIVE: "a crash refills nobody's limit",
    Promise.PUBACK_KEEPS: "the broker's word empties no outbox",
    Promise.FORGERY_KEEPS: "a forged receipt empties no outbox",
    Promise.EVENTS: "every decision, outcome and lock record arrives once, in order",
    Promise.REASONS: "the log has the reason of each refusal",
    Promise.REPLAYED: "what happened in the outage is marked so",
    Promise.TREE: "the tree is the one that the gateway has signed",
    Promise.LOCK_CHAIN: "the lock's own chain is whole up to what the lock has signed",
    Promise.RECEIPT_EMPTIES: "the central log's receipt empties the outbox",
    Promise.RESEND_AFTER_RECEIPT: "an honest resend is still answered after the receipt",
    Promise.NO_ALARM: "an honest gateway gives the central log nothing to complain of",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """How a promise was broken."""

    promise: Promise
    detail: str


@dataclass(slots=True)
class Ledger:
    """Which promises were shown and which were broken. One that is broken once stays broken."""

    on_broken: Callable[[Broken], None] = lambda _: None
    shown: set[Promise] = field(default_factory=set)
    broken: dict[Promise, str] = field(default_factory=dict)

    def check(self, promise: Promise, *, held: bool, detail: str) -> bool:
        """Note whether a promise held here; `detail` says what was found instead. Returns `held`."""
        self.shown.add(promise)
        if not held and promise not in self.broken:
            self.broken[promise] = detail
            self.on_broken(Broken(promise=promise, detail=detail))
        return held

    @property
    def missing(self) -> tuple[Promise, ...]:
        """What the story never came to show."""
        return tuple(promise for promise in Promise if promise not in self.shown)

    @property
    def all_held(self) -> bool:
        """Whether every promise was shown and none broken."""
        return not self.broken and not self.missing
