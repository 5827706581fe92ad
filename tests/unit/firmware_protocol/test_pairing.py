"""Pairing: the label, the handshake of strangers, and what neither side lets happen in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.constants import CAPABILITY_PAIRING, PAIRING_MS_MAX, PAIRING_PROLOGUE_LABEL, PING_IDLE_MS
from firmware_protocol.errands import OwnerCommit, OwnerOrder, OwnerResult
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.fragments import Fragmenter, FragmentKind, Reassembler
from firmware_protocol.hello import MAGIC, GatewayHello, LockHello, PlainClose, encode_plain, link_prologue
from firmware_protocol.messages import Confirm, StateGet
from firmware_protocol.noise import XXPSK3, HandshakeState, KeyPair
from firmware_protocol.pairing import Doorstep, LockLabel
from firmware_protocol.session import LockSession, PairingOpened, PeerClosing, RecordReceived, SessionState
from tests.support.pairing_pair import GATEWAY_KEYS, LABEL, LOCK_KEYS, START_MS, PairingPair
from tests.support.protocol_document import PATH, tables
from tests.support.session_pair import SessionPair

HANDSHAKE_SIZES: Final = [48, 96, 64]


def hello(*, pairs: bool, versions: tuple[int, int] = (1, 1)) -> bytes:
    return encode_plain(
        GatewayHello(
            magic=MAGIC,
            version_min=versions[0],
            version_max=versions[1],
            capabilities=CAPABILITY_PAIRING if pairs else 0,
            nonce=bytes(8),
        )
    )


def lock_hello(*, can_be_paired: bool = True) -> bytes:
    return encode_plain(
        LockHello(
            version_min=1,
            version_max=1,
            capabilities=CAPABILITY_PAIRING if can_be_paired else 0,
            boot_nonce=bytes(8),
            firmware="test 1.0",
        )
    )


def plain(message: bytes) -> tuple[bytes, ...]:
    return Fragmenter(244).fragment(FragmentKind.PLAIN, message)


# ------------------------------------------------------------------------------------------------------------- label


def test_a_label_comes_back_from_its_text_and_a_qr_code_holds_it_as_capitals() -> None:
    text = LABEL.to_text()
    assert LockLabel.from_text(text) == LABEL
    assert text.startswith("CARELOCK:1:")
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:")
    assert len(text) == 109


def test_a_label_that_is_printed_does_not_show_its_secret() -> None:
    assert LABEL.secret.hex() not in repr(LABEL)
    assert repr(LABEL.secret) not in repr(LABEL)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("https://example.org/", id="another QR code"),
        pytest.param("CARELOCK:2:" + LABEL.to_text()[11:], id="another version"),
        pytest.param(LABEL.to_text()[:-1], id="the last letter is missing"),
        pytest.param(LABEL.to_text()[:60], id="half of it"),
        pytest.param(LABEL.to_text() + "A", id="a letter too many"),
        pytest.param(LABEL.to_text().lower(), id="small letters"),
        pytest.param(LABEL.to_text() + "=", id="padding"),
        pytest.param(LABEL.to_text().replace("CARELOCK:1:", "CARELOCK:1:1"), id="a digit that base32 does not have"),
        pytest.param("CARELOCK:1:ÄÖ", id="letters that base32 does not have"),
    ],
)
def test_what_is_not_the_whole_text_of_a_label_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed"):
        LockLabel.from_text(text)


# --------------------------------------------------------------------------------------------------------- handshake


def test_two_strangers_with_one_secret_know_each_others_keys_and_exchange_records() -> None:
    pair = PairingPair().carry()
    assert pair.gateway_events == [PairingOpened(peer_key=LOCK_KEYS.public, version=1)]
    assert pair.lock_events == [PairingOpened(peer_key=GATEWAY_KEYS.public, version=1)]
    pair.gateway.send(OwnerOrder(order=b"order"), corr=3)
    pair.carry()
    assert pair.lock_events[1:] == [RecordReceived(corr=3, message=OwnerOrder(order=b"order"))]
    pair.lock.send(OwnerResult(code=Code.PERMITTED, owner_epoch=0), corr=3)
    pair.carry()
    assert pair.gateway_events[1:] == [
        RecordReceived(corr=3, message=OwnerResult(code=Code.PERMITTED, owner_epoch=0)),
    ]


def test_the_handshake_has_the_sizes_of_the_document() -> None:
    pair = PairingPair(value_size_max=244)
    to_lock, to_gateway = Reassembler(), Reassembler()
    sizes = []
    values = pair.gateway.take_values()
    for _ in range(3):
        back = pair.to_lock(*values)
        for reassembler, said in ((to_lock, values), (to_gateway, back)):
            messages = [message for value in said if (message := reassembler.receive_value(value, 0)) is not None]
            sizes += [len(message.data) for message in messages if message.kind is FragmentKind.HANDSHAKE]
        values = pair.to_gateway(*back)
    assert sizes == HANDSHAKE_SIZES


def test_attack_wrong_qr_secret_the_lock_opens_nothing() -> None:
    pair = PairingPair(read=replace(LABEL, secret=bytes(32)))
    with pytest.raises(RemoteProtocolError, match="denied"):
        pair.carry()
    assert pair.lock_events == []
    with pytest.raises(LocalProtocolError):
        pair.lock.receive_value(b"\x00", START_MS)


def test_attack_another_lock_answers_and_learns_nothing_of_the_gateway() -> None:
    pair = PairingPair(lock_keys=KeyPair.from_private(bytes([7]) * 32))
    with pytest.raises(RemoteProtocolError, match="wrong_audience"):
        pair.carry()
    assert pair.gateway_events == []
    assert pair.gateway.take_values() == ()


def test_attack_a_flipped_bit_in_a_hello_ends_the_pairing() -> None:
    pair = PairingPair()
    values = list(pair.gateway.take_values())
    values[-1] = values[-1][:-1] + bytes([values[-1][-1] ^ 1])
    first = pair.to_gateway(*pair.to_lock(*values))
    with pytest.raises(RemoteProtocolError, match="denied"):
        pair.to_lock(*first)


def test_attack_a_lock_that_says_that_it_has_an_owner_is_not_paired() -> None:
    pair = PairingPair()
    with pytest.raises(RemoteProtocolError, match="not_installing"):
        pair.to_gateway(*plain(lock_hello(can_be_paired=False)))


@pytest.mark.parametrize("floors", [(2, 1), (1, 2)], ids=["the gateway's floor", "the lock's floor"])
def test_attack_a_version_below_the_floor_ends_the_pairing(floors: tuple[int, int]) -> None:
    with pytest.raises(RemoteProtocolError, match="version"):
        PairingPair(version_floors=floors).carry()


def test_attack_a_payload_in_the_handshake_is_malformed() -> None:
    pair = PairingPair(value_size_max=244)
    own, fragmenter = hello(pairs=True), Fragmenter(244)
    (answer,) = pair.to_lock(*fragmenter.fragment(FragmentKind.PLAIN, own))
    noise = HandshakeState(
        XXPSK3,
        initiator=True,
        prologue=link_prologue(own, answer[3:], label=PAIRING_PROLOGUE_LABEL),
        s=GATEWAY_KEYS,
        e=KeyPair.from_private(bytes([10]) * 32),
        rs=None,
        psk=LABEL.secret,
    )
    values = fragmenter.fragment(FragmentKind.HANDSHAKE, noise.write_message(b"payload"))
    with pytest.raises(RemoteProtocolError, match="malformed"):
        pair.to_lock(*values)


@pytest.mark.parametrize("message", [StateGet(), Confirm(session_ctr=1)], ids=lambda message: type(message).__name__)
def test_attack_records_of_a_session_are_unsupported_in_a_pairing(message: StateGet | Confirm) -> None:
    pair = PairingPair().carry()
    pair.gateway.send(message, corr=1)
    with pytest.raises(RemoteProtocolError, match="unsupported_type"):
        pair.carry()


def test_attack_a_session_hello_does_not_become_a_pairing_nor_the_other_way_round() -> None:
    pairing, session = PairingPair(), SessionPair()
    hellos = session.gateway.take_values()
    first = session.to_gateway(*pairing.to_lock(*hellos))
    with pytest.raises(RemoteProtocolError, match="denied"):
        pairing.to_lock(*first)


# -------------------------------------------------------------------------------------------------------------- time


def test_a_pairing_lasts_a_minute_on_both_sides_however_busy_it_is() -> None:
    pair = PairingPair().carry()
    while pair.now_ms + PING_IDLE_MS < START_MS + PAIRING_MS_MAX:
        pair.now_ms += PING_IDLE_MS
        pair.gateway.tick(pair.now_ms)
        pair.lock.tick(pair.now_ms)
        pair.carry()
    for end in (pair.gateway, pair.lock):
        assert end.next_deadline_ms() == START_MS + PAIRING_MS_MAX
        end.tick(START_MS + PAIRING_MS_MAX - 1)
        with pytest.raises(RemoteProtocolError, match="link_down"):
            end.tick(START_MS + PAIRING_MS_MAX)


def test_a_goodbye_in_a_pairing_is_authentic() -> None:
    pair = PairingPair().carry()
    pair.lock.close(Code.BUSY)
    pair.carry()
    assert pair.gateway_events[-1] == PeerClosing(code=Code.BUSY, authenticated=True)


# ---------------------------------------------------------------------------------------------------------- doorstep


@pytest.mark.parametrize("pairs", [True, False])
def test_the_first_message_tells_what_a_gateway_has_come_for(pairs: bool) -> None:  # noqa: FBT001 - a parameter
    doorstep = Doorstep()
    values = Fragmenter(20).fragment(FragmentKind.PLAIN, hello(pairs=pairs))
    found = [doorstep.wants_pairing(value, 0) for value in values]
    assert found == [None] * (len(values) - 1) + [pairs]
    assert doorstep.values == values


def test_a_first_message_that_is_no_hello_is_left_to_the_session_to_refuse() -> None:
    values = Fragmenter(244).fragment(FragmentKind.HANDSHAKE, bytes(48))
    assert Doorstep().wants_pairing(values[0], 0) is False


def test_attack_a_first_message_of_another_shape_drops_the_link() -> None:
    with pytest.raises(RemoteProtocolError, match="malformed"):
        Doorstep().wants_pairing(plain(b"\x01\xff")[0], 0)


# ------------------------------------------------------------------------------------------------------------ states

COLUMNS: Final = ["HELLO", "handshake", "record", "altered record", "PlainClose"]


def said_to_gateway(state: SessionState, column: str) -> str:
    """Bring a pairing gateway into a state, say one thing to it, and return what it does in the words of §8.3."""
    pair = PairingPair(value_size_max=244)
    fragmenter, lock_side = Fragmenter(244), Reassembler()
    due: dict[str, bytes] = {}
    back = pair.to_lock(*pair.gateway.take_values())
    due["HELLO"] = _whole(lock_side, back)
    if state is not SessionState.HELLO:
        handshake_values = pair.to_gateway(*fragmenter.fragment(FragmentKind.PLAIN, due["HELLO"]))
        due["handshake"] = _whole(lock_side, pair.to_lock(*handshake_values))
    if state is SessionState.READY:
        last = pair.to_gateway(*fragmenter.fragment(FragmentKind.HANDSHAKE, due["handshake"]))
        pair.to_lock(*last)
        pair.lock.send(OwnerResult(code=Code.PERMITTED, owner_epoch=0), corr=1)
        due["record"] = _whole(lock_side, pair.lock.take_values())
    assert pair.gateway.state is state
    record = due.get("record", bytes(40))
    said = {
        "HELLO": (FragmentKind.PLAIN, due["HELLO"]),
        "handshake": (FragmentKind.HANDSHAKE, due.get("handshake", bytes(96))),
        "record": (FragmentKind.RECORD, record),
        "altered record": (FragmentKind.RECORD, record[:-1] + bytes([record[-1] ^ 1])),
        "PlainClose": (FragmentKind.PLAIN, _close()),
    }[column]
    before = len(pair.gateway_events)
    try:
        pair.to_gateway(*fragmenter.fragment(*said))
    except RemoteProtocolError as error:
        return error.code.name
    if pair.gateway.state is not state:
        return pair.gateway.state.name
    (event,) = pair.gateway_events[before:]
    return "hint" if isinstance(event, PeerClosing) else "taken"


def _whole(reassembler: Reassembler, values: tuple[bytes, ...]) -> bytes:
    (message,) = [message for value in values if (message := reassembler.receive_value(value, 0)) is not None]
    return message.data


def _close() -> bytes:
    return encode_plain(PlainClose(code=Code.BUSY))


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("state", [SessionState.HELLO, SessionState.HANDSHAKE, SessionState.READY])
def test_a_gateway_that_pairs_does_in_each_state_what_the_table_says(state: SessionState, column: str) -> None:
    rows = {row[0]: row[1:] for row in tables(PATH.read_text(), "states")["pairing gateway"]}
    assert said_to_gateway(state, column) == rows[state.name][COLUMNS.index(column)]


def test_a_lock_that_belongs_to_nobody_has_no_session_with_anybody() -> None:
    lock = LockSession(
        keys=LOCK_KEYS,
        gateway_key=None,
        ephemeral=KeyPair.from_private(bytes([20]) * 32),
        boot_nonce=bytes(8),
        firmware="test 1.0",
        session_ctr=0,
        version_floor=1,
        value_size_max=244,
        now_ms=0,
    )
    pair = SessionPair()
    pair.lock = lock
    with pytest.raises(RemoteProtocolError, match="denied"):
        pair.carry()


def test_a_commit_needs_no_body() -> None:
    assert OwnerCommit().to_bytes() == b"\xa0"
