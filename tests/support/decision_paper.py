"""The decision as a person would keep it on paper: who was let in when, who was refused, what was taken back.

A model to hold the code against. It shares no line with it: rates are purses of credit, uses are counts, and each
reason is one question in the order of docs/security.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.vocabulary import Action, OfflineClass, Rights, Tier
from tests.support.homes import NOW_S, PROVIDER, TestHome

if TYPE_CHECKING:
    from firmware_protocol.chains import VerifiedBundle
    from simulator.office import Holder

HOME: Final = TestHome.make(b"model")
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_S: Final = 86_400
ALARM: Final = bytes(range(16))
REFUSALS: Final = (30, 20_000)
"""So many refusals of one signer are written down, then one each so many milliseconds."""
WAITS_S: Final = (0, 0, 0, 0, 10, 20, 40, 80, 160, 300)
"""After so many refusals in a row."""


@dataclass(frozen=True)
class Person:
    """Somebody with a grant, in the words of the model."""

    name: str
    holder: Holder
    kind: str
    """carer, responder or operator."""
    begins_s: int
    ends_s: int
    issued_s: int
    rights: Rights = Rights.UNLOCK | Rights.LOCK
    windows: tuple[tuple[int, int], ...] = ()
    use_count_max: int | None = None
    online_only: bool = False

    @property
    def kid(self) -> bytes:
        return kid_of(bytes(self.holder.key.verify_key))


def _carer(name: str, *, offline_class: OfflineClass = OfflineClass.SHIFT, **grant: Any) -> Person:
    begins_s, ends_s = grant.get("nbf_s", NOW_S - 60), grant.get("exp_s", NOW_S + 10 * 3_600)
    windows = tuple(grant.get("windows", ((begins_s, ends_s),)))
    options = {"nbf_s": begins_s, "exp_s": ends_s, "windows": windows, "offline_class": offline_class} | grant
    signed = HOME.office.grant(HOME.home, PROVIDER, name, now_s=NOW_S, **options)
    return Person(
        name=name,
        holder=HOME.office.carer(HOME.home, PROVIDER, name, now_s=NOW_S, grant=signed),
        kind="responder" if offline_class is OfflineClass.RESPONDER else "carer",
        begins_s=begins_s,
        ends_s=ends_s,
        issued_s=min(begins_s, NOW_S),
        rights=grant.get("rights", Rights.UNLOCK | Rights.LOCK),
        windows=windows,
        use_count_max=grant.get("use_count_max"),
        online_only=offline_class is OfflineClass.ONLINE,
    )


def _operator(name: str) -> Person:
    return Person(
        name=name,
        holder=HOME.office.operator(name, now_s=NOW_S),
        kind="operator",
        begins_s=NOW_S - 60,
        ends_s=NOW_S - 60 + 10 * 3_600,
        issued_s=NOW_S - 60,
    )


PEOPLE: Final = (
    _carer("anna"),
    _carer("bo", use_count_max=2),
    _carer("cia", windows=((NOW_S + 600, NOW_S + 1_800), (NOW_S + 3_000, NOW_S + 3_600))),
    _carer("dag", rights=Rights.LOCK),
    _carer("eva", nbf_s=NOW_S + 900),
    _carer("fia", exp_s=NOW_S + 1_200, windows=((NOW_S - 60, NOW_S + DAY_S),)),
    _carer("gun", offline_class=OfflineClass.ONLINE),
    _carer("patrol", offline_class=OfflineClass.RESPONDER, exp_s=NOW_S + 20 * DAY_S, use_count_max=1),
    _operator("olga"),
    _operator("otto"),
)


@dataclass
class Uses:
    """How often a grant has been used: movements, or for responders the starts of their episodes."""

    count: int = 0
    last_start_ms: int | None = None


@dataclass
class Refusals:
    """What a signer has been refused in a row."""

    count: int = 0
    last_ms: int = 0
    wait_until_ms: int = 0


@dataclass
class Ledger:
    """Everything that must outlive a power cut."""

    answers: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)
    """By signer and command id: SHA-256 of what was decided."""
    full_at_ms: dict[str, int] = field(default_factory=dict)
    """By purse: when it is full again."""
    uses: dict[str, Uses] = field(default_factory=dict)
    refusals: dict[bytes, Refusals] = field(default_factory=dict)
    issued: dict[tuple[bytes, bytes], int] = field(default_factory=dict)
    """By epoch and signer: the second of the last command that was executed."""
    alarm_until_ms: int | None = None


@dataclass
class Paper:
    """The ledger and what is known at the moment."""

    now_ms: int
    boottime_ms: int
    epoch: bytes
    epoch_began_ms: int
    ledger: Ledger = field(default_factory=Ledger)
    time_known: bool = True
    suspect: bool = False
    state_until_s: int | None = None
    revoked: frozenset[bytes] = frozenset()
    asked_ms: dict[bytes, int] = field(default_factory=dict)
    """Challenges that may still be answered once, by the moment of asking."""

    def tier(self) -> Tier:
        if self.suspect:
            return Tier.SUSPECT
        if not self.time_known:
            return Tier.COLD
        fresh = self.state_until_s is not None and self.now_s() < self.state_until_s
        return Tier.FRESH if fresh else Tier.STALE

    def now_s(self) -> int:
        return self.now_ms // 1_000

    def _latest_s(self) -> int:
        return -(-self.now_ms // 1_000)

    def epoch_now_s(self) -> int:
        return (self.boottime_ms - self.epoch_began_ms) // 1_000

    def expect(self, person: Person, bundle: VerifiedBundle) -> Code:  # noqa: PLR0911 - one line a reason
        key = (person.kid, bundle.command.command_id)
        if key in self.ledger.answers:
            return Code.DUPLICATE if self.ledger.answers[key] == bundle.command_sha256 else Code.ID_REUSED
        if code := self._not_of_now(person, bundle):
            return code
        if person.kind == "carer" and self.tier() in {Tier.COLD, Tier.SUSPECT}:
            return Code.TIER
        if person.online_only and self.tier() is not Tier.FRESH:
            return Code.TIER
        if self.time_known and person.begins_s > self.now_s():
            return Code.NOT_YET_VALID
        if person.ends_s <= (self._latest_s() if self.time_known else self.now_s()):
            return Code.EXPIRED
        if person.kid in self.revoked:
            return Code.REVOKED
        emergency = person.kind in {"responder", "operator"}
        refusals = self.ledger.refusals.get(person.kid, Refusals())
        if not emergency and refusals.wait_until_ms > self.now_ms:
            return Code.LOCKED_OUT
        return self._not_permitted(person, bundle) or Code.PERMITTED

    def _not_of_now(self, person: Person, bundle: VerifiedBundle) -> Code | None:
        command = bundle.command
        if command.challenge is not None:
            asked_ms = self.asked_ms.get(command.challenge)
            fresh = asked_ms is not None and self.boottime_ms - asked_ms < 30_000
            return None if fresh else Code.CHALLENGE_UNKNOWN
        assert command.issued_s is not None
        assert command.exp_s is not None
        if command.epoch != self.epoch:
            return Code.WRONG_EPOCH
        if command.exp_s <= self.epoch_now_s():
            return Code.EXPIRED
        if command.exp_s - command.issued_s > (300 if command.action is Action.LOCK else 60):
            return Code.TTL_TOO_LONG
        if command.issued_s - self.epoch_now_s() > 1:
            return Code.NOT_YET_VALID
        last_s = self.ledger.issued.get((command.epoch, person.kid))
        return Code.SUPERSEDED if last_s is not None and command.issued_s < last_s else None

    def _not_permitted(self, person: Person, bundle: VerifiedBundle) -> Code | None:
        needed = Rights.LOCK if bundle.command.action is Action.LOCK else Rights.UNLOCK
        if needed not in person.rights or (person.kind == "responder" and needed is Rights.LOCK):
            return Code.RIGHTS
        if person.kind == "operator":
            alarm_open = (
                bundle.command.alarm_ref == ALARM
                and self.ledger.alarm_until_ms is not None
                and self.boottime_ms < self.ledger.alarm_until_ms
            )
            if not alarm_open:
                return Code.SECOND_OPERATOR_NEEDED if bundle.command.alarm_ref is None else Code.ALARM_NOT_OPEN
        elif not any(self._is_within(window) for window in person.windows):
            return Code.OUTSIDE_WINDOW
        if self._uses_are_spent(person):
            return Code.USES_SPENT
        return None if self._affordable(person) else Code.RATE_LIMITED

    def _is_within(self, window: tuple[int, int]) -> bool:
        start_s, end_s = window
        if not self.time_known:
            return self.now_s() < end_s
        return start_s <= self.now_s() and self._latest_s() < end_s

    def _uses_are_spent(self, person: Person) -> bool:
        uses = self.ledger.uses.get(person.name, Uses())
        if person.use_count_max is None or uses.count < person.use_count_max:
            return False
        if person.kind != "responder" or uses.last_start_ms is None:
            return True
        since_ms = self.now_ms - uses.last_start_ms
        return not (0 <= since_ms < 15 * MINUTE_MS) and since_ms < HOUR_MS

    def _costs(self, person: Person) -> tuple[tuple[str, int, int, bool], ...]:
        """Return what a movement draws on: name, how many, how long for one, and whether it may say no."""
        if person.kind in {"responder", "operator"}:
            return ((f"own {person.name}", 3, MINUTE_MS, True), ("motor", 8, MINUTE_MS, False))
        return (
            (f"half {person.name}", 2, 2 * MINUTE_MS, True),
            ("lock", 4, MINUTE_MS, True),
            ("provider", 6, MINUTE_MS, True),
            ("all", 7, MINUTE_MS, True),
            ("motor", 6, MINUTE_MS, True),
        )

    def _credit_ms(self, name: str, count: int, each_ms: int) -> int:
        """Return what has come back to a purse of so many since it was last drawn on: never more than it holds.

        A purse is kept as the moment at which it will be full again, so that two views of the motor's, with and
        without its reserve, are one purse.
        """
        owed_ms = max(0, min(self.ledger.full_at_ms.get(name, 0) - self.now_ms, count * each_ms))
        return count * each_ms - owed_ms

    def _draw(self, name: str, count: int, each_ms: int) -> None:
        owed_ms = count * each_ms - self._credit_ms(name, count, each_ms)
        self.ledger.full_at_ms[name] = self.now_ms + min(owed_ms + each_ms, count * each_ms)

    def _affordable(self, person: Person) -> bool:
        return all(
            self._credit_ms(name, count, each_ms) >= each_ms
            for name, count, each_ms, refuses in self._costs(person)
            if refuses
        )

    def note(self, person: Person, bundle: VerifiedBundle, code: Code) -> None:
        if code is Code.DUPLICATE:
            return
        if code is not Code.PERMITTED:
            purse = (f"refused {person.name}", *REFUSALS)
            if self._credit_ms(*purse) < purse[2]:
                return  # refused all the time: nothing more is written of it
            self._draw(*purse)
        if code is not Code.ID_REUSED:
            self.ledger.answers[person.kid, bundle.command.command_id] = bundle.command_sha256
        if code is Code.PERMITTED:
            self._note_movement(person, bundle)
        elif code in {Code.RIGHTS, Code.OUTSIDE_WINDOW, Code.USES_SPENT} and person.kind == "carer":
            self._note_refusal(person)

    def _note_movement(self, person: Person, bundle: VerifiedBundle) -> None:
        for name, count, each_ms, _ in self._costs(person):
            self._draw(name, count, each_ms)
        self.ledger.refusals.pop(person.kid, None)
        if bundle.command.epoch is not None and bundle.command.issued_s is not None:
            key = (bundle.command.epoch, person.kid)
            self.ledger.issued[key] = max(self.ledger.issued.get(key, 0), bundle.command.issued_s)
        if person.use_count_max is None:
            return
        uses = self.ledger.uses.setdefault(person.name, Uses())
        in_episode = uses.last_start_ms is not None and 0 <= self.now_ms - uses.last_start_ms < 15 * MINUTE_MS
        if person.kind != "responder":
            uses.count += 1
        elif not in_episode:
            uses.count, uses.last_start_ms = uses.count + 1, self.now_ms

    def _note_refusal(self, person: Person) -> None:
        refusals = self.ledger.refusals.setdefault(person.kid, Refusals())
        if self.now_ms - refusals.last_ms >= HOUR_MS:
            refusals.count = 0
        refusals.count += 1
        refusals.last_ms = self.now_ms
        refusals.wait_until_ms = self.now_ms + WAITS_S[min(refusals.count, len(WAITS_S)) - 1] * 1_000

    def forget_the_process(self, epoch: bytes) -> None:
        """What only a process knows is gone."""
        self.asked_ms.clear()
        self.epoch, self.epoch_began_ms = epoch, self.boottime_ms

    def learn(self, challenge: bytes) -> None:
        """The lock has asked; of more than four questions the oldest is void."""
        self.asked_ms[challenge] = self.boottime_ms
        while len(self.asked_ms) > 4:
            del self.asked_ms[next(iter(self.asked_ms))]

    def burn(self, bundle: VerifiedBundle) -> None:
        """Whoever answers a question has answered it."""
        if bundle.command.challenge is not None:
            self.asked_ms.pop(bundle.command.challenge, None)
