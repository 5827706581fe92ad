"""The oracle's lock against this project's ends of the link: by bytes, by session, and with the daemon's own link."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from firmware_protocol.courier import pieces
from firmware_protocol.errands import CourierAck, OwnerCommit, OwnerOrder, OwnerResult
from firmware_protocol.lock_log import LogPosition, verify_batch
from firmware_protocol.messages import (
    CommandAccepted,
    CommandQuery,
    CommandResult,
    Confirm,
    EventNotification,
    LockCommand,
    LogAck,
    LogBatch,
    LogHeadRecord,
    LogRead,
    Pong,
    State,
    StateEvent,
    StateGet,
)
from firmware_protocol.noise import KeyPair
from firmware_protocol.orders import PairingOrder
from firmware_protocol.pairing import GatewayPairing, LockLabel, link_key_fingerprint
from firmware_protocol.session import (
    GatewaySession,
    LinkAuthenticated,
    PairingOpened,
    RecordReceived,
    SessionState,
)
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import LogHead
from firmware_protocol.tokens import Keyset
from firmware_protocol.vectors.examples import LOCK_ID, signed_example
from firmware_protocol.vocabulary import Action, Bolt, Parcel
from gatewayd.link.adapter import Adapter
from gatewayd.link.ports import LockTarget
from gatewayd.link.supervisor import LinkSupervisor
from tests.oracle import cbor, envelope
from tests.oracle.lock import CLONE_SUSPECT, HangUpError, Memory, OracleLock
from tests.oracle.noise import public_of
from tests.oracle.peripheral import OraclePeripheral
from tests.support.link_home import LinkHome, move
from tests.support.memory_radio import ADDRESS, MemoryRadio
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from firmware_protocol.messages import Message

VECTORS = Path(__file__).resolve().parents[2] / "docs" / "vectors"
GATEWAY = KeyPair.from_private(b"\x21" * 32)
LOCK_PRIVATE = b"\x22" * 32
LOG_SEED = b"\x0e" * 32
LOG_ID = b"\xa7" * 16
VALUE_SIZES = [20, 21, 182, 244, 509, 512]
"""Of the ATT MTUs 23, 24, 185, 247, 512 and 515; 517 gives 512 too."""


def memory(**changes: Any) -> Memory:
    facts = {"link_private": LOCK_PRIVATE, "log_seed": LOG_SEED, "log_id": LOG_ID, "gateway_link_key": GATEWAY.public}
    return Memory(**facts | changes)


class Meeting:
    """The daemon's session, the oracle's lock, and the values between them."""

    def __init__(self, gateway: GatewaySession | GatewayPairing, lock: OracleLock) -> None:
        self.gateway = gateway
        self.lock = lock
        self.events: list[Any] = []

    def carry(self) -> list[Any]:
        """Carry values until both are silent; return what the gateway has learned."""
        begun = len(self.events)
        back: list[bytes] = []
        while (values := self.gateway.take_values()) or back:
            back += [answer for value in values for answer in self.lock.receive(value)]
            for value in back:
                self.events += self.gateway.receive_value(value, 1_000)
            back = []
        return self.events[begun:]

    def notify(self, values: list[bytes]) -> list[Any]:
        begun = len(self.events)
        for value in values:
            self.events += self.gateway.receive_value(value, 1_000)
        return self.events[begun:]

    def ask(self, message: Message, corr: int = 7) -> list[Any]:
        """Send a record and return the messages that answer it."""
        self.gateway.send(message, corr=corr)
        answers = self.carry()
        assert all(isinstance(answer, RecordReceived) and answer.corr == corr for answer in answers)
        return [answer.message for answer in answers]


def gateway_session(*, value_size: int = 244, session_ctr: int = 8) -> GatewaySession:
    return GatewaySession(
        keys=GATEWAY,
        lock_key=public_of(LOCK_PRIVATE),
        ephemeral=KeyPair.from_private(b"\x23" * 32),
        nonce=b"\xb1" * 8,
        session_ctr=session_ctr,
        version_floor=1,
        value_size_max=value_size,
        now_ms=1_000,
    )


def oracle_lock(kept: Memory, *, value_size: int = 244, installing: bool = False) -> OracleLock:
    return OracleLock(
        kept, ephemeral=b"\x24" * 32, boot_nonce=b"\xb2" * 8, value_size=value_size, installing=installing
    )


def met(*, value_size: int = 244, kept: Memory | None = None, session_ctr: int = 8) -> Meeting:
    """Bring a session up to READY on both sides."""
    lock = oracle_lock(kept or memory(), value_size=value_size)
    meeting = Meeting(gateway_session(value_size=value_size, session_ctr=session_ctr), lock)
    (authenticated,) = meeting.carry()
    assert isinstance(authenticated, LinkAuthenticated)
    meeting.gateway.confirm(utc_lo_s=1_800_000_000, utc_hi_s=1_800_000_001)  # type: ignore[union-attr]
    meeting.carry()
    assert (meeting.gateway.state, lock.state) == (SessionState.READY, "READY")
    return meeting


# ------------------------------------------------------------------------------------------------------- sessions


@pytest.mark.parametrize("value_size", VALUE_SIZES)
def test_a_session_comes_up_at_the_first_meeting(value_size: int) -> None:
    meeting = met(value_size=value_size)
    status = meeting.events[0].status
    assert (status.log_id, status.log_next_seq, status.session_ctr, status.boot) == (LOG_ID, 2, 0, 1)
    assert meeting.lock.memory.session_ctr == 8
    assert meeting.lock.confirmed_time == (1_800_000_000, 1_800_000_001)
    (state,) = meeting.ask(StateGet())
    assert isinstance(state, State)
    assert (state.bolt, state.battery_mv) == (Bolt.LOCKED, 3_000)


def test_a_command_moves_the_oracles_bolt_once() -> None:
    meeting = met()
    command = LockCommand(
        command_seq=1,
        action=Action.UNLOCK,
        command_hash=bytes(16),
        command_id=b"\xe5" * 16,
        actor_kid=b"\x01" * 8,
        before_up_ms=2_000,
    )
    meeting.gateway.send(command, corr=7)
    accepted, result, *unasked = (event.message for event in meeting.carry())
    assert [type(message) for message in unasked] == [StateEvent, EventNotification]
    assert isinstance(accepted, CommandAccepted)
    assert isinstance(result, CommandResult)
    assert (result.code.name, result.bolt, result.log_seq) == ("DONE", Bolt.UNLOCKED, 3)
    (again,) = meeting.ask(command)
    assert again.code.name == "DUPLICATE"
    (asked,) = meeting.ask(CommandQuery(command_seq=1))
    assert (asked.code.name, asked.log_seq) == ("DONE", 3)
    (unknown,) = meeting.ask(CommandQuery(command_seq=9))
    assert (unknown.code.name, unknown.log_seq) == ("FAILED", None)


def test_the_oracles_log_continues_what_the_gateway_holds() -> None:
    meeting = met()
    kept = meeting.lock.memory
    for number in range(20):
        kept.append(30 + number % 2, up_ms=60_000 + number)
    position = LogPosition.start(LOG_ID)
    more = True
    while more:
        (batch,) = meeting.ask(LogRead(from_seq=position.seq + 1, count_max=16))
        assert isinstance(batch, LogBatch)
        _, position = verify_batch(position, from_seq=batch.from_seq, previous=batch.previous, records=batch.records)
        more = batch.more
    assert (position.seq, position.head) == (21, kept.heads[-1])
    assert meeting.ask(LogAck(copied_seq=21, received_seq=20)) == []
    assert meeting.lock.acked == [(21, 20)]
    (answer,) = meeting.ask(LogHeadRecord())
    head = open_signed(LogHead, answer.head, envelope.public_of(LOG_SEED))
    assert (head.to_seq, head.head) == (21, position.head)
    (refused,) = meeting.ask(LogRead(from_seq=23, count_max=1))
    assert refused.code.name == "LOG_GAP"


def test_what_the_oracle_says_unasked_is_understood() -> None:
    meeting = met()
    (event,) = meeting.notify(meeting.lock.notify(0x12, meeting.lock.door()))
    assert (event.corr, type(event.message)) == (0, StateEvent)
    (hint,) = meeting.notify(meeting.lock.notify(0x34, {0: 1}))
    assert hint.message.log_seq == 1
    assert meeting.notify(meeting.lock.notify(0x02, {})) == []  # a ping is answered by the session itself
    assert meeting.carry() == []
    assert meeting.ask(StateGet())


def test_the_gateways_pings_are_answered_with_the_locks_uptime() -> None:
    meeting = met()
    meeting.gateway.tick(1_000 + 15_000)
    (pong,) = meeting.carry()
    assert isinstance(pong.message, Pong)
    assert pong.message.up_ms == meeting.lock.up_ms


def test_both_refuse_a_session_that_was_used_before() -> None:
    kept = memory(session_ctr=8)
    meeting = Meeting(gateway_session(session_ctr=8), oracle_lock(kept))
    with pytest.raises(Exception, match="later session"):
        meeting.carry()
    liar = oracle_lock(kept)
    liar.status = lambda: OracleLock.status(oracle_lock(memory()))  # type: ignore[method-assign]
    meeting = Meeting(gateway_session(session_ctr=8), liar)
    meeting.carry()
    meeting.gateway.confirm(utc_lo_s=None, utc_hi_s=None)  # type: ignore[union-attr]
    with pytest.raises(HangUpError) as caught:
        meeting.carry()
    assert caught.value.code == CLONE_SUSPECT


# ---------------------------------------------------------------------------------------------- byte for byte


@pytest.mark.parametrize("mtu", [23, 247])
def test_the_oracle_says_the_very_bytes_of_the_vectors(mtu: int) -> None:
    document = json.loads((VECTORS / "sessions.json").read_text())
    (case,) = [case for case in document["cases"] if case["name"] == f"lock: a whole session at ATT MTU {mtu}"]
    facts = case["facts"]
    lock = OracleLock(
        memory(session_ctr=facts["session_ctr"]),
        ephemeral=bytes.fromhex(facts["ephemeral"]),
        boot_nonce=bytes.fromhex(facts["nonce"]),
        value_size=facts["value_size"],
        firmware=facts["firmware"],
    )
    lock.status = lambda: cbor.decode(bytes.fromhex(answered(case)))  # type: ignore[method-assign]
    said: list[bytes] = []
    for step in case["steps"]:
        if any(event.startswith("record") for event in step.get("events", ())):
            break  # from here on the two locks are in different homes
        if "receive" in step:
            said += lock.receive(bytes.fromhex(step["receive"]))
    vectors = [bytes.fromhex(value) for step in case["steps"] for value in step["send"]]
    assert said == vectors[: len(said)]
    assert lock.state == "READY"


def answered(case: dict[str, Any]) -> str:
    (status,) = [step["answer"] for step in case["steps"] if "answer" in step]
    return str(status)


def test_the_oracle_hangs_up_where_the_vectors_say_so() -> None:
    document = json.loads((VECTORS / "sessions.json").read_text())
    codes = {
        "MALFORMED": 2,
        "NOT_CONFIRMED": 6,
        "DENIED": 0x7F,
        "CLONE_SUSPECT": 0x57,
        "VERSION": 5,
        "UNSUPPORTED_TYPE": 4,
    }
    judged = 0
    for case in document["cases"]:
        simple = case["role"] == "lock" and case["error"] in codes and not case["facts"].get("former")
        if not simple or any("record" in step for step in case["steps"]):
            continue
        facts = case["facts"]
        owner = facts["remote_static"]
        lock = OracleLock(
            memory(
                session_ctr=facts["session_ctr"],
                version_floor=facts["version_floor"],
                gateway_link_key=None if owner is None else bytes.fromhex(owner),
            ),
            ephemeral=bytes.fromhex(facts["ephemeral"]),
            boot_nonce=bytes.fromhex(facts["nonce"]),
            value_size=facts["value_size"],
        )
        *received, last = [bytes.fromhex(step["receive"]) for step in case["steps"] if "receive" in step]
        for value in received:
            lock.receive(value)
        with pytest.raises(HangUpError) as caught:
            lock.receive(last)
        assert caught.value.code == codes[case["error"]], case["name"]
        judged += 1
    assert judged > 15


# -------------------------------------------------------------------------------------------------- pairing


@pytest.mark.parametrize("value_size", [20, 244])
def test_the_oracle_is_paired_with_the_secret_of_its_label(value_size: int) -> None:
    kept = memory(gateway_link_key=None, label_secret=b"\x27" * 32)
    lock = oracle_lock(kept, value_size=value_size, installing=True)
    label = LockLabel(
        lock_id=LOCK_ID,
        secret=b"\x27" * 32,
        link_key_fingerprint=link_key_fingerprint(public_of(LOCK_PRIVATE)),
    )
    gateway = GatewayPairing(
        keys=GATEWAY,
        label=label,
        ephemeral=KeyPair.from_private(b"\x23" * 32),
        nonce=b"\xb1" * 8,
        version_floor=1,
        value_size_max=value_size,
        now_ms=1_000,
    )
    meeting = Meeting(gateway, lock)
    (opened,) = meeting.carry()
    assert isinstance(opened, PairingOpened)
    assert opened.peer_key == public_of(LOCK_PRIVATE)
    (laid,) = meeting.ask(OwnerOrder(order=signed_example(PairingOrder)), corr=1)
    assert isinstance(laid, OwnerResult)
    assert (laid.code.name, laid.owner_epoch) == ("PERMITTED", 0)
    keyset = signed_example(Keyset)
    for piece in pieces(Parcel.KEYSET, keyset):
        (taken,) = meeting.ask(piece, corr=2)
        assert isinstance(taken, CourierAck)
        assert taken.sha256 == hashlib.sha256(keyset).digest()
    (done,) = meeting.ask(OwnerCommit(), corr=3)
    assert (done.code.name, done.owner_epoch, done.log_seq) == ("DONE", 1, 2)
    head = open_signed(LogHead, done.head, envelope.public_of(LOG_SEED))
    assert (head.lock_id, head.to_seq) == (LOCK_ID, 2)
    assert kept.gateway_link_key == GATEWAY.public
    met(kept=kept, session_ctr=1)


# ----------------------------------------------------------------------------------- the daemon's own link


def test_the_daemons_link_keeps_and_commands_the_oracles_lock() -> None:
    async def story() -> None:
        home = LinkHome()
        kept = memory(gateway_link_key=home.gateway_keys.public)
        handler = OraclePeripheral(kept)
        home.radio = MemoryRadio(handler, home.random)
        home.link = LinkSupervisor(
            target=LockTarget(
                lock_id=kept.lock_id,
                lock_key=public_of(LOCK_PRIVATE),
                log_key=envelope.public_of(LOG_SEED),
                address=ADDRESS,
            ),
            keys=home.gateway_keys,
            adapter=Adapter(radio=home.radio, ledger=home.ledger, clock=home.clock),
            ledger=home.ledger,
            listener=home.diary,
            submit=home.desk,
            clock=home.clock,
            entropy=home.entropy,
            random=home.random,
        )
        async with home.running():
            result = await home.link.execute(move(1))
            assert (result.code.name, result.bolt) == ("DONE", Bolt.UNLOCKED)
            await home.until(lambda: home.ledger.position is not None and home.ledger.position.seq == 3)
            assert home.ledger.position is not None
            assert home.ledger.position.head == kept.heads[-1]
            handler.drop()
            await home.until(lambda: handler.links == 2)
            await home.until_ready()
        assert kept.bolt == int(Bolt.UNLOCKED)
        assert home.diary.alerts == []

    run_virtual(story())


def test_confirm_is_the_only_record_the_oracle_takes_first() -> None:
    meeting = Meeting(gateway_session(), oracle_lock(memory()))
    meeting.carry()
    assert meeting.lock.state == "UNCONFIRMED"
    meeting.gateway.state = SessionState.READY
    meeting.gateway.send(StateGet(), corr=1)
    with pytest.raises(HangUpError):
        meeting.carry()
    assert Confirm.TYPE == 1
