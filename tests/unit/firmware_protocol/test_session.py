"""Both ends of a link, with real bytes between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from firmware_protocol import link_session
from firmware_protocol.codes import Code
from firmware_protocol.constants import (
    CAPABILITY_VERIFY,
    HANDSHAKE_MS_MAX,
    PING_IDLE_MS,
    REASSEMBLY_MS_MAX,
    SESSION_AGE_MS_MAX,
    SESSION_CTR_STEP_MAX,
    SESSION_RECORD_COUNT_MAX,
    SESSION_SILENCE_MS_MAX,
)
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.fragments import Fragmenter, FragmentKind
from firmware_protocol.hello import MAGIC, GatewayHello, LockHello, PlainClose, encode_plain
from firmware_protocol.messages import (
    Confirm,
    LogBatch,
    Ping,
    Pong,
    State,
    StateGet,
)
from firmware_protocol.noise import KeyPair
from firmware_protocol.session import (
    CORR_PING,
    Confirmed,
    FormerOwner,
    LinkAuthenticated,
    LockSession,
    PeerClosing,
    RecordReceived,
    SessionState,
    StatusWanted,
)
from firmware_protocol.vocabulary import Bolt, DoorLeaf
from tests.support.session_pair import GATEWAY_KEYS, LOCK_KEYS, LOG_ID, START_MS, SessionPair, status

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

STATE = State(bolt=Bolt.LOCKED, door=DoorLeaf.CLOSED, battery_mv=5_800, motor_busy=False, tampered=False, up_ms=5)
BATCH = LogBatch(
    log_id=LOG_ID, from_seq=1, previous=bytes(32), records=tuple(bytes([n]) * 96 for n in range(16)), more=True
)


def flip(value: bytes, *, byte: int = -1) -> bytes:
    changed = bytearray(value)
    changed[byte] ^= 1
    return bytes(changed)


def refused(code: Code) -> AbstractContextManager[pytest.ExceptionInfo[RemoteProtocolError]]:
    return pytest.raises(RemoteProtocolError, match=f"^{code.dotted}:")


# The way to a live session.


def test_a_session_without_a_number_is_given_one_after_what_the_lock_has_proven() -> None:
    pair = SessionPair(session_ctr=None, lock_session_ctr=40)
    with pytest.raises(LocalProtocolError, match="has its number"):
        pair.gateway.resume(41)
    pair.until_unconfirmed()
    with pytest.raises(LocalProtocolError, match="nothing to confirm"):
        pair.gateway.confirm(utc_lo_s=None, utc_hi_s=None)
    pair.gateway.resume(41)
    with pytest.raises(LocalProtocolError, match="has its number"):
        pair.gateway.resume(42)
    pair.gateway.confirm(utc_lo_s=None, utc_hi_s=None)
    pair.carry()
    assert pair.lock_events[-1] == Confirmed(confirm=Confirm(session_ctr=41))


@pytest.mark.parametrize("value_size_max", [20, 182, 244, 512])
def test_two_sessions_come_up_and_carry_records_at_every_value_size(value_size_max: int) -> None:
    pair = SessionPair(value_size_max=value_size_max)
    pair.until_unconfirmed()
    assert pair.gateway_events == [LinkAuthenticated(status=status(), version=1)]
    assert (pair.gateway.state, pair.lock.state) == (SessionState.UNCONFIRMED, SessionState.UNCONFIRMED)
    pair.gateway.confirm(utc_lo_s=100, utc_hi_s=160)
    pair.carry()
    assert pair.lock_events == [
        StatusWanted(),
        Confirmed(confirm=Confirm(session_ctr=5, utc_lo_s=100, utc_hi_s=160)),
    ]
    pair.gateway.send(StateGet(), corr=7)
    pair.lock.send(BATCH, corr=8)
    pair.carry()
    assert pair.lock_events[2:] == [RecordReceived(corr=7, message=StateGet())]
    assert pair.gateway_events[1:] == [RecordReceived(corr=8, message=BATCH)]


def test_values_never_exceed_what_the_link_carries() -> None:
    pair = SessionPair(value_size_max=20).until_ready()
    pair.lock.send(BATCH)
    values = pair.lock.take_values()
    assert max(len(value) for value in values) == 20
    assert len(values) > 80


def test_nothing_can_be_sent_before_the_session_is_live() -> None:
    pair = SessionPair()
    for session in (pair.gateway, pair.lock):
        with pytest.raises(LocalProtocolError, match="HELLO"):
            session.send(StateGet())
    with pytest.raises(LocalProtocolError, match="nothing to confirm"):
        pair.gateway.confirm(utc_lo_s=None, utc_hi_s=None)
    with pytest.raises(LocalProtocolError, match="nothing to answer"):
        pair.lock.answer(status())


def test_a_lock_answers_once_and_only_when_asked() -> None:
    pair = SessionPair()
    pair.to_lock(*pair.gateway.take_values())
    with pytest.raises(LocalProtocolError, match="nothing to answer in HANDSHAKE"):
        pair.lock.answer(status())
    pair.carry()
    with pytest.raises(LocalProtocolError, match="nothing to answer"):
        pair.lock.answer(status())


def test_a_session_is_confirmed_once() -> None:
    pair = SessionPair().until_ready()
    with pytest.raises(LocalProtocolError, match="nothing to confirm in READY"):
        pair.gateway.confirm(utc_lo_s=None, utc_hi_s=None)


def test_nothing_is_sealed_without_keys() -> None:
    pair = SessionPair()
    pair.gateway.state = SessionState.READY  # a bug of ours
    with pytest.raises(LocalProtocolError, match="before there are keys"):
        pair.gateway.send(StateGet())


# Attacks on the handshake.


def test_attack_a_replayed_first_handshake_message_leaves_the_lock_inert() -> None:
    heard = SessionPair()
    hello = heard.gateway.take_values()
    first = heard.to_gateway(*heard.to_lock(*hello))
    # The same lock, later: same boot nonce, but it draws a new ephemeral key. The attacker has only the recording.
    again = SessionPair(seed=2)
    again.to_lock(*hello)
    again.to_lock(*first)
    assert again.lock.state is SessionState.UNCONFIRMED
    recorded = heard.to_gateway(*heard.to_lock(*first))
    heard.gateway.confirm(utc_lo_s=None, utc_hi_s=None)
    recorded += heard.gateway.take_values()
    with refused(Code.DENIED):
        again.to_lock(*recorded)
    with pytest.raises(LocalProtocolError):
        again.lock.send(STATE)
    assert not any(isinstance(event, Confirmed) for event in again.lock_events)


@pytest.mark.parametrize("end", ["gateway", "lock"])
def test_attack_a_flipped_bit_in_either_hello_ends_the_handshake(end: str) -> None:
    pair = SessionPair()
    # The last byte of the gateway's HELLO is its nonce's; of the lock's, its firmware's name.
    values = [flip(value) if end == "gateway" else value for value in pair.gateway.take_values()]
    back = [flip(value) if end == "lock" else value for value in pair.to_lock(*values)]
    with refused(Code.DENIED):
        pair.to_lock(*pair.to_gateway(*back))


def test_attack_another_lock_cannot_stand_in_for_this_one() -> None:
    pair = SessionPair(lock_keys=KeyPair.from_private(bytes([3]) * 32))
    with refused(Code.DENIED):
        pair.carry()


def test_attack_a_lock_that_has_not_the_key_cannot_answer_the_handshake() -> None:
    pair = SessionPair()
    back = pair.to_lock(*pair.gateway.take_values())
    answers = pair.to_lock(*pair.to_gateway(*back))
    with refused(Code.DENIED):
        pair.to_gateway(*(flip(value) for value in answers))


@pytest.mark.parametrize(
    ("theirs", "floor", "accepted"),
    [((0, 1), 1, True), ((1, 9), 1, True), ((0, 0), 0, False), ((2, 9), 1, False), ((1, 1), 2, False)],
    ids=["older too", "newer too", "only older", "only newer", "below the floor"],
)
@pytest.mark.parametrize("end", ["gateway", "lock"])
def test_attack_a_downgrade_below_the_floor_is_refused_by_both_ends(
    end: str, theirs: tuple[int, int], floor: int, *, accepted: bool
) -> None:
    pair = SessionPair(version_floor=floor)
    low, high = theirs
    hello: GatewayHello | LockHello
    if end == "lock":
        hello = GatewayHello(magic=MAGIC, version_min=low, version_max=high, capabilities=0, nonce=bytes(8))
    else:
        hello = LockHello(version_min=low, version_max=high, capabilities=0, boot_nonce=bytes(8), firmware="x")
    values = Fragmenter(244).fragment(FragmentKind.PLAIN, encode_plain(hello))
    receive = pair.to_lock if end == "lock" else pair.to_gateway
    if accepted:
        assert receive(*values)
    else:
        with refused(Code.VERSION):
            receive(*values)


@pytest.mark.parametrize(
    ("confirmed", "accepted"),
    [(3, True), (4, True), (5, False), (6, False)],
    ids=["well behind", "just behind", "same", "ahead"],
)
def test_attack_a_lock_that_has_confirmed_our_session_or_a_later_one_has_seen_a_clone(
    confirmed: int, *, accepted: bool
) -> None:
    pair = SessionPair(session_ctr=5, lock_session_ctr=confirmed)
    if accepted:
        pair.until_ready()
        assert pair.lock.state is SessionState.READY
    else:
        with refused(Code.CLONE_SUSPECT):
            pair.carry()
        assert pair.gateway.state is SessionState.HANDSHAKE


@pytest.mark.parametrize(
    ("step", "accepted"),
    [(0, False), (-1, False), (1, True), (SESSION_CTR_STEP_MAX, True), (SESSION_CTR_STEP_MAX + 1, False)],
    ids=["used", "rolled back", "next", "longest step", "leap"],
)
def test_attack_a_used_or_leaping_session_counter_is_a_clone_to_the_lock(step: int, *, accepted: bool) -> None:
    lock_ctr = 10
    pair = SessionPair(session_ctr=lock_ctr + step, lock_session_ctr=lock_ctr)
    pair.lock_session_ctr = 0  # what it says in the handshake is a lie, so that the gateway goes on
    pair.until_unconfirmed()
    pair.gateway.confirm(utc_lo_s=None, utc_hi_s=None)
    if accepted:
        pair.carry()
        assert pair.lock.state is SessionState.READY
    else:
        with refused(Code.CLONE_SUSPECT):
            pair.carry()
        assert pair.lock.state is SessionState.UNCONFIRMED


def test_attack_a_record_before_confirm_is_refused_and_never_told() -> None:
    pair = SessionPair()
    pair.until_unconfirmed()
    pair.gateway.state = SessionState.READY  # a gateway that has the keys and skips CONFIRM
    pair.gateway.send(StateGet(), corr=1)
    with refused(Code.NOT_CONFIRMED):
        pair.carry()
    assert pair.lock_events == [StatusWanted()]


def test_attack_a_record_before_there_are_keys_is_refused() -> None:
    for value in Fragmenter(244).fragment(FragmentKind.RECORD, bytes(40)):
        pair = SessionPair()
        with refused(Code.NOT_CONFIRMED):
            pair.to_gateway(value)
        with refused(Code.NOT_CONFIRMED):
            pair.to_lock(value)


def test_a_second_confirm_is_refused() -> None:
    pair = SessionPair().until_ready()
    pair.gateway.send(Confirm(session_ctr=6))
    with refused(Code.NOT_CONFIRMED):
        pair.carry()


def test_a_lock_never_confirms() -> None:
    pair = SessionPair().until_ready()
    pair.lock.send(Confirm(session_ctr=6))
    with refused(Code.UNSUPPORTED_TYPE):
        pair.carry()


def test_a_second_hello_is_refused() -> None:
    pair = SessionPair()
    hello = pair.gateway.take_values()
    pair.to_lock(*hello)
    second = GatewayHello(magic=MAGIC, version_min=1, version_max=1, capabilities=0, nonce=bytes(8))
    fragmenter = Fragmenter(244)
    fragmenter.fragment(FragmentKind.PLAIN, b"x")  # so that the sequence number is the one that is due
    with refused(Code.MALFORMED):
        pair.to_lock(*fragmenter.fragment(FragmentKind.PLAIN, encode_plain(second)))


@pytest.mark.parametrize("end", ["gateway", "lock"])
def test_a_handshake_message_before_the_hellos_is_refused(end: str) -> None:
    pair = SessionPair()
    receive = pair.to_lock if end == "lock" else pair.to_gateway
    with refused(Code.MALFORMED):
        receive(*Fragmenter(244).fragment(FragmentKind.HANDSHAKE, bytes(48)))


def test_attack_a_second_first_message_before_the_answer_is_the_other_sides_fault() -> None:
    pair = SessionPair()
    [first] = pair.to_gateway(*pair.to_lock(*pair.gateway.take_values()))
    assert pair.lock.receive_value(first, START_MS) == (StatusWanted(),)
    again = bytes([first[0] + 1]) + first[1:]  # the next sequence number
    with refused(Code.MALFORMED):
        pair.lock.receive_value(again, START_MS)


# Attacks on the records.


def spoil_reordered(values: list[bytes]) -> list[bytes]:
    return [values[1], values[0], *values[2:]]


def spoil_duplicated(values: list[bytes]) -> list[bytes]:
    return [values[0], *values]


def spoil_lost(values: list[bytes]) -> list[bytes]:
    return values[1:]


def spoil_flipped(values: list[bytes]) -> list[bytes]:
    return [*values[:-1], flip(values[-1])]


def spoil_flipped_header(values: list[bytes]) -> list[bytes]:
    return [flip(values[0], byte=0), *values[1:]]


def spoil_garbage(values: list[bytes]) -> list[bytes]:
    return [bytes(range(200)), *values]


def spoil_empty(values: list[bytes]) -> list[bytes]:
    return [b"", *values]


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_reordered,
        spoil_duplicated,
        spoil_lost,
        spoil_flipped,
        spoil_flipped_header,
        spoil_garbage,
        spoil_empty,
    ],
)
@pytest.mark.parametrize("value_size_max", [20, 512])
@pytest.mark.parametrize("end", ["gateway", "lock"])
def test_attack_values_that_are_not_what_was_sent_end_the_session(spoil: object, value_size_max: int, end: str) -> None:
    assert callable(spoil)
    pair = SessionPair(value_size_max=value_size_max).until_ready()
    sender, receive = (pair.lock, pair.to_gateway) if end == "gateway" else (pair.gateway, pair.to_lock)
    messages = (Pong(up_ms=1), Pong(up_ms=2))
    for message in messages:
        sender.send(message, corr=1)
    with pytest.raises(RemoteProtocolError):
        receive(*spoil(list(sender.take_values())))
    told = pair.gateway_events + pair.lock_events
    assert [event for event in told if event != RecordReceived(corr=1, message=messages[0])] == []


def test_attack_no_second_guess_after_a_record_that_is_not_authentic() -> None:
    pair = SessionPair().until_ready()
    pair.lock.send(STATE)
    [value] = pair.lock.take_values()
    with refused(Code.DENIED):
        pair.to_gateway(flip(value))
    next_in_sequence = bytes([value[0] & 0xF0 | (value[0] + 1) & 0x0F]) + value[1:]
    with pytest.raises(LocalProtocolError, match="failed before"):
        pair.to_gateway(next_in_sequence)
    with pytest.raises(LocalProtocolError, match="failed before"):
        pair.gateway.send(StateGet())
    with pytest.raises(LocalProtocolError, match="failed before"):
        pair.gateway.tick(START_MS)


def test_attack_a_record_replayed_in_its_own_session_is_refused() -> None:
    pair = SessionPair().until_ready()
    pair.gateway.send(StateGet(), corr=3)
    [value] = pair.gateway.take_values()
    pair.to_lock(value)
    again = bytes([value[0] & 0xF0 | (value[0] + 1) & 0x0F]) + value[1:]
    with refused(Code.DENIED):
        pair.to_lock(again)


def test_attack_a_record_of_an_earlier_session_is_refused_in_the_next() -> None:
    earlier = SessionPair(seed=1).until_ready()
    earlier.gateway.send(StateGet(), corr=3)
    held_back = earlier.gateway.take_values()
    later = SessionPair(seed=2, session_ctr=6, lock_session_ctr=5).until_ready()
    with refused(Code.DENIED):
        later.to_lock(*held_back)


def test_a_record_of_the_wrong_direction_is_refused() -> None:
    pair = SessionPair().until_ready()
    pair.lock.send(StateGet())
    with refused(Code.UNSUPPORTED_TYPE):
        pair.carry()


# Pings, patience, age.


def test_an_idle_line_is_pinged_after_fifteen_seconds_and_the_answer_tells_the_uptime() -> None:
    pair = SessionPair().until_ready()
    pair.now_ms = START_MS + PING_IDLE_MS - 1
    pair.gateway.tick(pair.now_ms)
    assert pair.gateway.take_values() == ()
    assert pair.gateway.next_deadline_ms() == pair.now_ms + 1
    pair.now_ms += 1
    pair.gateway.tick(pair.now_ms)
    pair.carry()
    assert pair.gateway_events == [RecordReceived(corr=CORR_PING, message=Pong(up_ms=pair.now_ms))]
    assert pair.lock_events == []
    assert pair.gateway.next_deadline_ms() == pair.now_ms + PING_IDLE_MS


def test_a_lock_pings_too_and_a_gateway_tells_no_uptime() -> None:
    pair = SessionPair().until_ready()
    pair.now_ms += PING_IDLE_MS
    pair.lock.tick(pair.now_ms)
    pair.carry()
    assert pair.lock_events == [RecordReceived(corr=CORR_PING, message=Pong(up_ms=0))]


def test_forty_five_seconds_of_silence_are_the_end_on_both_sides() -> None:
    pair = SessionPair().until_ready()
    for session in (pair.gateway, pair.lock):
        pings = 0
        for now_ms in range(START_MS, START_MS + SESSION_SILENCE_MS_MAX, PING_IDLE_MS):
            session.tick(now_ms)
            pings += len(session.take_values())
        session.tick(START_MS + SESSION_SILENCE_MS_MAX - 1)
        assert pings == 2
        with refused(Code.LINK_DOWN):
            session.tick(START_MS + SESSION_SILENCE_MS_MAX)


def test_attack_plain_chatter_does_not_keep_a_session_alive() -> None:
    pair = SessionPair().until_ready()
    pair.now_ms += SESSION_SILENCE_MS_MAX
    hint = Fragmenter(244)
    for _ in range(2):  # the lock has sent its HELLO and handshake message
        hint.fragment(FragmentKind.PLAIN, b"x")
    values = hint.fragment(FragmentKind.PLAIN, encode_plain(PlainClose(code=Code.BUSY)))
    pair.to_gateway(*values)
    with refused(Code.LINK_DOWN):
        pair.gateway.tick(pair.now_ms)


def test_the_handshake_has_ten_seconds() -> None:
    pair = SessionPair()
    for session in (pair.gateway, pair.lock):
        assert session.next_deadline_ms() == START_MS + HANDSHAKE_MS_MAX
        session.tick(START_MS + HANDSHAKE_MS_MAX - 1)
        with refused(Code.LINK_DOWN):
            session.tick(START_MS + HANDSHAKE_MS_MAX)


def test_an_unfinished_message_ends_the_session_at_the_deadline_that_is_told() -> None:
    pair = SessionPair(value_size_max=20).until_ready()
    pair.lock.send(BATCH)
    pair.to_gateway(pair.lock.take_values()[0])
    deadline_ms = pair.gateway.next_deadline_ms()
    assert deadline_ms == START_MS + REASSEMBLY_MS_MAX + 1
    pair.gateway.tick(deadline_ms - 1)
    with refused(Code.MALFORMED):
        pair.gateway.tick(deadline_ms)


@pytest.mark.parametrize("now_ms", [START_MS, START_MS + PING_IDLE_MS, START_MS + 44_999])
def test_a_tick_at_the_deadline_always_moves_the_deadline(now_ms: int) -> None:
    pair = SessionPair().until_ready()
    pair.gateway.tick(now_ms)
    while (deadline_ms := pair.gateway.next_deadline_ms()) < START_MS + SESSION_SILENCE_MS_MAX:
        pair.gateway.tick(deadline_ms)
        assert pair.gateway.next_deadline_ms() > deadline_ms


@pytest.mark.parametrize(
    ("age_ms", "due"), [(SESSION_AGE_MS_MAX - 1, False), (SESSION_AGE_MS_MAX, True)], ids=["23:59:59", "24 h"]
)
def test_a_session_is_renewed_after_a_day(age_ms: int, *, due: bool) -> None:
    assert SessionPair().until_ready().gateway.renewal_due(START_MS + age_ms) is due


def test_a_session_is_renewed_with_a_tenth_of_its_records_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_session, "SESSION_RECORD_COUNT_MAX", 10)
    pair = SessionPair().until_ready()  # CONFIRM was the gateway's first
    for _ in range(7):
        pair.gateway.send(StateGet())
    pair.carry()
    assert not pair.gateway.renewal_due(START_MS)
    pair.gateway.send(StateGet())
    pair.carry()
    assert pair.gateway.renewal_due(START_MS)
    assert pair.lock.renewal_due(START_MS)
    pair.gateway.send(StateGet())
    with pytest.raises(LocalProtocolError, match="no records are left"):
        pair.gateway.send(StateGet())


def test_a_session_ends_when_the_records_are_used_up_and_a_ping_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = SessionPair().until_ready()
    monkeypatch.setattr(link_session, "SESSION_RECORD_COUNT_MAX", 1)
    with refused(Code.LINK_DOWN):
        pair.gateway.tick(START_MS + PING_IDLE_MS)


def test_attack_pings_that_use_up_our_records_are_the_other_sides_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = SessionPair().until_ready()
    monkeypatch.setattr(link_session, "SESSION_RECORD_COUNT_MAX", 3)
    pair.gateway.send(Ping())
    pair.lock.send(STATE)
    pair.lock.send(STATE)
    pair.lock.send(STATE)
    with refused(Code.LINK_DOWN):
        pair.carry()


def test_attack_a_peer_that_goes_on_after_its_last_record_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = SessionPair().until_ready()
    pair.lock.send(STATE)
    monkeypatch.setattr(link_session, "SESSION_RECORD_COUNT_MAX", 0)
    with refused(Code.NOT_CONFIRMED):
        pair.carry()
    assert SESSION_RECORD_COUNT_MAX == 65_536


# Goodbyes.


def test_a_goodbye_in_a_live_session_is_authenticated() -> None:
    pair = SessionPair().until_ready()
    pair.lock.close(Code.LINK_DOWN)
    pair.carry()
    assert pair.gateway_events == [PeerClosing(code=Code.LINK_DOWN, authenticated=True)]


@pytest.mark.parametrize("rounds", [0, 1], ids=["before any word", "after the hellos"])
def test_a_goodbye_before_there_are_keys_is_a_hint(rounds: int) -> None:
    pair = SessionPair()
    for _ in range(rounds):
        pair.to_gateway(*pair.to_lock(*pair.gateway.take_values()))
    pair.lock.close(Code.BUSY)
    pair.to_gateway(*pair.lock.take_values())
    assert pair.gateway_events == [PeerClosing(code=Code.BUSY, authenticated=False)]


def test_a_goodbye_never_fails_when_the_records_are_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = SessionPair().until_ready()
    monkeypatch.setattr(link_session, "SESSION_RECORD_COUNT_MAX", 1)
    pair.gateway.close(Code.LINK_DOWN)
    pair.carry()
    assert pair.lock_events == [PeerClosing(code=Code.LINK_DOWN, authenticated=False)]


def test_a_goodbye_is_possible_after_a_failure() -> None:
    pair = SessionPair().until_ready()
    with pytest.raises(RemoteProtocolError):
        pair.to_lock(b"garbage")
    pair.lock.close(Code.MALFORMED)
    pair.to_gateway(*pair.lock.take_values())
    assert pair.gateway_events == [PeerClosing(code=Code.MALFORMED, authenticated=True)]


# The owner before this one, and a session that hands an order over.

FORMER_KEYS = KeyPair.from_private(bytes([5]) * 32)


def lock_with_former(*, session_ctr: int = 40) -> LockSession:
    return LockSession(
        keys=LOCK_KEYS,
        gateway_key=FORMER_KEYS.public,
        former=FormerOwner(gateway_key=GATEWAY_KEYS.public, session_ctr=session_ctr),
        ephemeral=KeyPair.from_private(bytes([20]) * 32),
        boot_nonce=bytes(8),
        firmware="test 1.0",
        session_ctr=0,
        version_floor=1,
        value_size_max=244,
        now_ms=START_MS,
    )


def test_a_lock_tells_the_former_owner_from_the_owner() -> None:
    pair = SessionPair(session_ctr=41)
    pair.lock = lock_with_former()
    pair.until_unconfirmed()
    assert pair.lock_events == [StatusWanted(is_former=True)]


@pytest.mark.parametrize(("session_ctr", "is_refused"), [(40, True), (41, False)])
def test_the_former_owners_sessions_go_on_counting_where_they_were(session_ctr: int, is_refused: bool) -> None:  # noqa: FBT001 - a parameter
    pair = SessionPair(session_ctr=session_ctr, lock_session_ctr=4)
    pair.lock = lock_with_former()
    pair.until_unconfirmed()
    pair.gateway.confirm(utc_lo_s=None, utc_hi_s=None)
    if is_refused:
        with refused(Code.CLONE_SUSPECT):
            pair.carry()
    else:
        pair.carry()
        assert pair.lock.state is SessionState.READY


def test_attack_a_third_gateway_is_neither_the_owner_nor_the_one_before() -> None:
    pair = SessionPair()
    pair.lock = LockSession(
        keys=LOCK_KEYS,
        gateway_key=FORMER_KEYS.public,
        former=FormerOwner(gateway_key=KeyPair.from_private(bytes([6]) * 32).public, session_ctr=0),
        ephemeral=KeyPair.from_private(bytes([20]) * 32),
        boot_nonce=bytes(8),
        firmware="test 1.0",
        session_ctr=0,
        version_floor=1,
        value_size_max=244,
        now_ms=START_MS,
    )
    with refused(Code.DENIED):
        pair.carry()


@pytest.mark.parametrize(
    ("next_owner_epoch", "is_refused"), [(0, True), (3, True), (4, False)], ids=["no order", "the same epoch", "higher"]
)
def test_only_an_order_of_a_higher_owner_epoch_excuses_a_lock_that_is_ahead(
    next_owner_epoch: int,
    is_refused: bool,  # noqa: FBT001 - a parameter
) -> None:
    pair = SessionPair(session_ctr=5, lock_session_ctr=900, next_owner_epoch=next_owner_epoch, owner_epoch=3)
    if is_refused:
        with refused(Code.CLONE_SUSPECT):
            pair.until_unconfirmed()
        return
    pair.until_unconfirmed()
    pair.gateway.confirm(utc_lo_s=None, utc_hi_s=None)
    pair.carry()
    (confirmed,) = [event for event in pair.lock_events if isinstance(event, Confirmed)]
    assert confirmed.confirm.session_ctr == 901


def test_a_gateway_learns_what_the_lock_can_do() -> None:
    pair = SessionPair(capabilities=CAPABILITY_VERIFY)
    pair.until_unconfirmed()
    (authenticated,) = pair.gateway_events
    assert isinstance(authenticated, LinkAuthenticated)
    assert authenticated.capabilities == CAPABILITY_VERIFY
