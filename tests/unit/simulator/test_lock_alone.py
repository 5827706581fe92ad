"""A lock that decides alone: what it lets in, for how long, and at most once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from firmware_protocol.chains import make_bundle
from firmware_protocol.codes import Code
from firmware_protocol.commands import Command
from firmware_protocol.constants import CHALLENGE_AGE_MS_MAX, LOCK_ALONE_MS, LOCK_EVIDENCE_AGE_S_MAX
from firmware_protocol.courier import pieces
from firmware_protocol.errands import CourierAck
from firmware_protocol.fragments import FragmentKind
from firmware_protocol.hello import PhoneHello, PlainClose, decode_plain
from firmware_protocol.lock_log import LogRecord, RecordType
from firmware_protocol.noise import KeyPair
from firmware_protocol.relay import AnswerKind, RelayPhone
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import CommandReceipt
from firmware_protocol.vocabulary import Action, Bolt, Decider, OfflineClass, Parcel, Phase, Rights
from simulator.office import unlock_at_door
from tests.support.lock_bench import MOTOR_MS, BenchPhone
from tests.support.owner_bench import NOW_S, PROVIDER, OwnerBench

if TYPE_CHECKING:
    from firmware_protocol.relay import RelayAnswer
    from simulator.office import Holder

DAY_MS: Final = LOCK_EVIDENCE_AGE_S_MAX * 1_000


class Visitor:
    """One phone at the lock."""

    def __init__(self, bench: OwnerBench) -> None:
        self.bench = bench
        self.phone: BenchPhone = bench.phone()
        (message,) = self.phone.read()
        self.hello = decode_plain(message.data, {PhoneHello.TYPE: PhoneHello, PlainClose.TYPE: PlainClose})
        self._relay: RelayPhone | None = None

    @property
    def challenge(self) -> bytes:
        assert isinstance(self.hello, PhoneHello)
        return self.hello.challenge

    def say(self, bundle: bytes) -> list[RelayAnswer]:
        self._relay = RelayPhone(
            decider_key=self.bench.keys.link.public,
            challenge=self.challenge,
            ephemeral=KeyPair.from_private(self.bench.entropy.token(32)),
        )
        self.phone.write(*self.phone.values(self._relay.open(bundle)))
        return self.answers()

    def bring(self, kind: Parcel, data: bytes) -> CourierAck:
        assert self._relay is not None
        for piece in pieces(kind, data):
            self.phone.write(*self.phone.values(self._relay.courier(piece), FragmentKind.RECORD))
        (answer,) = self.answers()
        assert answer.kind is AnswerKind.COURIER_ACK
        return CourierAck.from_bytes(answer.body)

    def answers(self) -> list[RelayAnswer]:
        assert self._relay is not None
        messages = self.phone.read()
        return [self._relay.read(message.data) for message in messages if message.kind is not FragmentKind.PLAIN]

    def receipts(self, answers: list[RelayAnswer]) -> list[CommandReceipt]:
        key = bytes(self.bench.keys.log_key.verify_key)
        return [open_signed(CommandReceipt, answer.body, key) for answer in answers]


def alone(*, away_ms: int = LOCK_ALONE_MS) -> OwnerBench:
    """Return a paired lock whose gateway has given it the time and is gone for so long."""
    bench = OwnerBench()
    bench.pair(bench.home)
    bench.live_owner(bench.home, 1, utc_s=(NOW_S, NOW_S)).pipe.disconnect()
    bench.scheduler.advance(away_ms)
    return bench


def carer(bench: OwnerBench, *, now_s: int = NOW_S, **grant: Any) -> Holder:
    signed = bench.office.grant(bench.home, PROVIDER, "anna", **({"now_s": now_s} | grant))
    return bench.office.carer(bench.home, PROVIDER, "anna", now_s=NOW_S, grant=signed)


def unlock(bench: OwnerBench, holder: Holder, challenge: bytes, *, number: int = 1) -> bytes:
    name = hashlib.sha256(str(number).encode()).digest()[:16]
    return unlock_at_door(holder, bench.home, challenge=challenge, command_id=name, now_s=NOW_S)


def decided(bench: OwnerBench, holder: Holder, *, number: int = 1) -> Code:
    visitor = Visitor(bench)
    answers = visitor.say(unlock(bench, holder, visitor.challenge, number=number))
    (receipt,) = visitor.receipts(answers)
    visitor.phone.pipe.disconnect()
    return receipt.code


def test_a_phone_opens_by_the_locks_own_decision_and_both_receipts_are_the_locks() -> None:
    bench = alone()
    visitor = Visitor(bench)
    assert isinstance(visitor.hello, PhoneHello)
    assert visitor.hello.decider is Decider.LOCK
    bundle = unlock(bench, carer(bench), visitor.challenge)
    (permitted,) = visitor.receipts(visitor.say(bundle))
    assert (permitted.phase, permitted.code) == (Phase.DECIDED, Code.PERMITTED)
    assert (permitted.gateway_id, permitted.lock_id) == (bench.home.gateway_id, bench.keys.lock_id)
    assert (permitted.log_id, permitted.journal_index) == (bench.flash.values.log_id, None)
    intent = LogRecord.from_bytes(bench.flash.records_from(permitted.lock_log_seq or 0, 1)[0])
    assert intent.type is RecordType.COMMAND_INTENT
    bench.scheduler.advance(MOTOR_MS)
    (outcome,) = visitor.receipts(visitor.answers())
    assert (outcome.phase, outcome.code) == (Phase.OUTCOME, Code.DONE)
    assert bench.mechanics.bolt is Bolt.UNLOCKED


@pytest.mark.parametrize(("away_ms", "decides"), [(LOCK_ALONE_MS - 1, False), (LOCK_ALONE_MS, True)])
def test_a_lock_waits_ten_seconds_for_its_gateway(away_ms: int, decides: bool) -> None:  # noqa: FBT001 - a parameter
    bench = alone(away_ms=away_ms)
    hello = Visitor(bench).hello
    assert isinstance(hello, PhoneHello) is decides
    if not decides:
        assert hello == PlainClose(code=Code.LINK_DOWN)


def test_with_its_gateway_there_a_lock_decides_nothing() -> None:
    bench = alone()
    bench.live_owner(bench.home, 2)
    hello = Visitor(bench).hello
    assert isinstance(hello, PhoneHello)
    assert hello.decider is Decider.GATEWAY


def test_a_lock_of_nobody_decides_nothing() -> None:
    bench = OwnerBench()
    bench.scheduler.advance(LOCK_ALONE_MS)
    assert Visitor(bench).hello == PlainClose(code=Code.LINK_DOWN)


@pytest.mark.parametrize(
    ("away_ms", "code"), [(DAY_MS - 60_000, Code.PERMITTED), (DAY_MS + 60_000, Code.TIER)], ids=["a day", "longer"]
)
def test_a_shift_is_let_in_for_a_day_of_silence(away_ms: int, code: Code) -> None:
    bench = alone(away_ms=away_ms)
    now_s = NOW_S + away_ms // 1_000
    bench.flash.write(values={"state": bench.office.state(bench.home, now_s=NOW_S + 600, seq=2)})
    assert decided(bench, carer(bench, now_s=now_s)) is code


def test_a_shift_is_not_let_in_on_an_old_state_however_good_the_time_is() -> None:
    bench = alone()
    now_s = NOW_S + LOCK_EVIDENCE_AGE_S_MAX + 60
    bench.live_owner(bench.home, 2, utc_s=(now_s, now_s)).pipe.disconnect()
    bench.scheduler.advance(LOCK_ALONE_MS)
    assert decided(bench, carer(bench, now_s=now_s)) is Code.TIER


def test_after_a_restart_only_responders_are_let_in() -> None:
    bench = alone()
    bench.lock.power_cycle()
    bench.scheduler.advance(LOCK_ALONE_MS)
    assert decided(bench, carer(bench)) is Code.TIER
    assert decided(bench, carer(bench, offline_class=OfflineClass.RESPONDER), number=2) is Code.PERMITTED


@pytest.mark.parametrize(
    ("grant", "code"),
    [
        ({"offline_class": OfflineClass.ONLINE}, Code.TIER),
        ({"use_count_max": 3}, Code.TIER),
        ({"rights": Rights.LOCK}, Code.RIGHTS),
        ({"windows": ((NOW_S + 3_600, NOW_S + 7_200),)}, Code.OUTSIDE_WINDOW),
        ({"windows": ()}, Code.OUTSIDE_WINDOW),
        ({"nbf_s": NOW_S + 60}, Code.NOT_YET_VALID),
        ({"nbf_s": NOW_S - 7_200, "exp_s": NOW_S + 5}, Code.EXPIRED),
        ({"exp_s": NOW_S + 40 * 86_400}, Code.TTL_TOO_LONG),
        ({"state_seq_min": 2}, Code.TIER),
        ({"state_seq_min": 1}, Code.PERMITTED),
    ],
    ids=[
        "online",
        "counted uses",
        "no right",
        "later visit",
        "no visit",
        "not yet",
        "over",
        "too long",
        "newer state",
        "this state",
    ],
)
def test_a_grant_is_judged_as_a_gateway_judges_it(grant: dict[str, Any], code: Code) -> None:
    bench = alone()
    assert decided(bench, carer(bench, **grant)) is code
    assert (len(bench.mechanics.movements) == 1) is (code is Code.PERMITTED)


def test_a_responder_unlocks_and_nothing_else() -> None:
    bench = alone()
    holder = carer(bench, offline_class=OfflineClass.RESPONDER)
    visitor = Visitor(bench)
    command = Command(
        lock_id=bench.home.lock_id,
        gateway_id=bench.home.gateway_id,
        action=Action.LOCK,
        command_id=bytes(16),
        challenge=visitor.challenge,
        grant_sha256=holder.grant_sha256,
        signer_clock_s=NOW_S,
    )
    (receipt,) = visitor.receipts(visitor.say(holder.bundle(holder.sign(command))))
    assert receipt.code is Code.RIGHTS


@pytest.mark.parametrize("revoked", ["device", "grant", "provider"])
def test_who_was_revoked_is_not_let_in_by_a_lock_either(revoked: str) -> None:
    bench = OwnerBench()
    holder = carer(bench)
    grant_cti = bench.office.token(f"grant-anna-home-1-{NOW_S - 60}-{NOW_S - 60 + 36_000}-0")
    device_kid = hashlib.sha256(bytes(holder.key.verify_key)).digest()[:8]
    revocations: dict[str, dict[str, Any]] = {
        "device": {"revoked_kids": (device_kid,)},
        "grant": {"revoked_ctis": (grant_cti,)},
        "provider": {"provider_iat_min_s": ((PROVIDER, NOW_S),)},
    }
    bench = alone()
    bench.flash.write(values={"state": bench.office.state(bench.home, now_s=NOW_S, seq=2, **revocations[revoked])})
    assert decided(bench, holder) is Code.REVOKED


# ----------------------------------------------------------------------------------------------------------- attacks


def test_attack_a_command_is_obeyed_once_over_every_restart() -> None:
    bench = alone()
    holder = carer(bench, offline_class=OfflineClass.RESPONDER)
    assert decided(bench, holder) is Code.PERMITTED
    bench.scheduler.advance(MOTOR_MS)
    assert decided(bench, holder) is Code.DUPLICATE
    bench.lock.power_cycle()
    bench.scheduler.advance(LOCK_ALONE_MS)
    assert decided(bench, holder) is Code.DUPLICATE
    assert len(bench.mechanics.movements) == 1


def test_attack_a_power_cut_in_the_stroke_does_not_free_the_command() -> None:
    bench = alone()
    holder = carer(bench, offline_class=OfflineClass.RESPONDER)
    assert decided(bench, holder) is Code.PERMITTED
    bench.scheduler.advance(MOTOR_MS // 2)
    bench.lock.power_cycle()
    last = LogRecord.from_bytes(bench.flash.records_from(bench.flash.last_seq, 1)[0])
    assert (last.type, last.result) == (RecordType.COMMAND_RESULT, Code.MAY_HAVE_EXECUTED.wire)
    bench.scheduler.advance(LOCK_ALONE_MS)
    assert decided(bench, holder) is Code.DUPLICATE


def test_attack_a_power_cut_before_the_intent_is_durable_moves_nothing() -> None:
    bench = alone()
    visitor = Visitor(bench)
    bench.medium.lose_power_at_write(1, kept_size=0)
    visitor.say(unlock(bench, carer(bench), visitor.challenge))
    assert not bench.lock.is_powered
    assert bench.mechanics.movements == []


def test_attack_a_command_over_another_challenge() -> None:
    bench = alone()
    visitor = Visitor(bench)
    answers = visitor.say(unlock(bench, carer(bench), bytes(16)))
    assert [receipt.code for receipt in visitor.receipts(answers)] == [Code.CHALLENGE_UNKNOWN]


def test_a_challenge_is_older_than_a_visit_can_last() -> None:
    assert CHALLENGE_AGE_MS_MAX > 15_000


def test_attack_a_stranger_hears_no_and_nothing_else() -> None:
    bench = alone()
    records = bench.flash.last_seq
    visitor = Visitor(bench)
    holder = carer(bench)
    forged = bench.office.carer(bench.home, "south-care", "eve", now_s=NOW_S, grant=holder.grant)
    (answer,) = visitor.say(unlock(bench, forged, visitor.challenge))
    assert (answer.kind, answer.body) == (AnswerKind.DENIED, b"")
    assert bench.flash.last_seq == records


def test_attack_a_command_for_another_gateway() -> None:
    bench = alone()
    holder = carer(bench)
    visitor = Visitor(bench)
    command = Command(
        lock_id=bench.home.lock_id,
        gateway_id=bench.other.gateway_id,
        action=Action.UNLOCK,
        command_id=bytes(16),
        challenge=visitor.challenge,
        grant_sha256=holder.grant_sha256,
        signer_clock_s=NOW_S,
    )
    (receipt,) = visitor.receipts(visitor.say(holder.bundle(holder.sign(command))))
    assert receipt.code is Code.WRONG_AUDIENCE


def test_attack_an_operator_at_the_door_of_a_lock_that_knows_of_no_alarm() -> None:
    bench = alone()
    visitor = Visitor(bench)
    operator = bench.office.operator("olga", now_s=NOW_S)
    (receipt,) = visitor.receipts(visitor.say(unlock(bench, operator, visitor.challenge)))
    assert receipt.code is Code.TIER


def test_attack_couriers_from_somebody_who_proved_nothing() -> None:
    bench = alone()
    visitor = Visitor(bench)
    visitor.say(make_bundle(b"nothing"))
    piece = next(iter(pieces(Parcel.KEYSET, bench.office.keyset(now_s=NOW_S, version=2))))
    assert visitor._relay is not None  # noqa: SLF001 - the phone's own end
    visitor.phone.write(*visitor.phone.values(visitor._relay.courier(piece), FragmentKind.RECORD))  # noqa: SLF001
    assert bench.lock.flash.values.keyset == bench.office.keyset(now_s=NOW_S)


# ---------------------------------------------------------------------------------------------------------- couriers


def test_a_phone_brings_state_and_time_to_a_lock_that_is_alone() -> None:
    bench = alone()
    visitor = Visitor(bench)
    visitor.say(unlock(bench, carer(bench), visitor.challenge))
    bench.scheduler.advance(MOTOR_MS)
    visitor.answers()
    state = bench.office.state(bench.home, now_s=NOW_S + 50, seq=9)
    ack = visitor.bring(Parcel.STATE, state)
    assert (ack.sha256, ack.code) == (hashlib.sha256(state).digest(), Code.DONE)
    assert bench.flash.values.state == state
    assert bench.flash.values.time_floor_s == NOW_S + 45
    assert visitor.bring(Parcel.ENTRY, b"entry").code is Code.UNSUPPORTED_TYPE


def test_the_gateway_finds_the_whole_story_when_it_is_back() -> None:
    bench = alone()
    holder = carer(bench)
    decided(bench, holder)
    bench.scheduler.advance(MOTOR_MS)
    bench.mechanics.hand_turns_knob()
    assert decided(bench, carer(bench, rights=Rights.LOCK), number=2) is Code.RIGHTS
    told = [LogRecord.from_bytes(raw) for raw in bench.flash.records_from(bench.flash.first_seq, 100)]
    story = [record.type for record in told][-5:]
    assert story == [
        RecordType.COMMAND_INTENT,
        RecordType.UNLOCKED,
        RecordType.COMMAND_RESULT,
        RecordType.KNOB_LOCKED,
        RecordType.REFUSED,
    ]
    actor = hashlib.sha256(bytes(holder.key.verify_key)).digest()[:8]
    assert [record.actor for record in told[-5:]] == [actor, actor, actor, None, actor]
    assert bench.live_owner(bench.home, 2).status.log_next_seq == bench.flash.last_seq
