"""The cases of whole sessions, made by two real ends and hands on the wire between them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.constants import HANDSHAKE_MS_MAX, SESSION_CTR_STEP_MAX, SESSION_SILENCE_MS_MAX
from firmware_protocol.fragments import Fragmenter, FragmentKind
from firmware_protocol.hello import GatewayHello, LockHello, LockStatus, PlainClose, encode_plain, link_prologue
from firmware_protocol.messages import (
    Bye,
    Confirm,
    LockCommand,
    Message,
    Ping,
    State,
    StateEvent,
    StateGet,
    encode_record,
)
from firmware_protocol.noise import KK, HandshakeState
from firmware_protocol.vectors.example_records import PLAIN, RECORDS, STATUS
from firmware_protocol.vectors.examples import (
    GATEWAY_EPHEMERAL,
    GATEWAY_LINK,
    LOCK_EPHEMERAL,
    LOCK_LINK,
    NOW_S,
    PHONE_EPHEMERAL,
    STRANGER_LINK,
)
from firmware_protocol.vectors.session_side import START_MS, Side, carry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from firmware_protocol.hello import PlainMessage
    from firmware_protocol.vectors.case import Case

_CTR: Final = STATUS.session_ctr + 1
_VALUE_SIZE: Final = 244
_CONFIRM: Final = [NOW_S, NOW_S + 1]


def _gateway(value_size: int = _VALUE_SIZE, **changes: Any) -> Side:  # noqa: ANN401 - JSON
    facts = {
        "static": GATEWAY_LINK.private.hex(),
        "ephemeral": GATEWAY_EPHEMERAL.private.hex(),
        "remote_static": LOCK_LINK.public.hex(),
        "nonce": "b1" * 8,
        "session_ctr": _CTR,
        "version_floor": 1,
        "value_size": value_size,
    }
    return Side("gateway", facts | changes)


def _lock(value_size: int = _VALUE_SIZE, **changes: Any) -> Side:  # noqa: ANN401 - JSON
    facts = {
        "static": LOCK_LINK.private.hex(),
        "ephemeral": LOCK_EPHEMERAL.private.hex(),
        "remote_static": GATEWAY_LINK.public.hex(),
        "nonce": "b2" * 8,
        "session_ctr": STATUS.session_ctr,
        "version_floor": 1,
        "value_size": value_size,
        "firmware": "1.0.0",
    }
    return Side("lock", facts | changes)


def _record(message: Message, corr: int = 1) -> str:
    return encode_record(message, corr).hex()


def _asked(gateway: Side, lock: Side) -> None:
    """Bring both to the moment at which the lock has read message 1."""
    carry(gateway, lock)


def _unconfirmed(gateway: Side, lock: Side, status: LockStatus = STATUS) -> None:
    _asked(gateway, lock)
    lock.do(answer=status.to_bytes().hex())
    carry(gateway, lock)


def _ready(gateway: Side, lock: Side) -> None:
    _unconfirmed(gateway, lock)
    gateway.do(confirm=_CONFIRM)
    carry(gateway, lock)


def _ready_pair() -> tuple[Side, Side]:
    gateway, lock = _gateway(), _lock()
    _ready(gateway, lock)
    return gateway, lock


def _sealed(plaintext: bytes) -> bytes:
    """Return record 0 of the gateway of this session."""
    prologue = link_prologue(encode_plain(_gateway_hello()), encode_plain(_lock_hello()))
    ends = [
        HandshakeState(KK, initiator=initiator, prologue=prologue, s=s, e=e, rs=rs, psk=None)
        for initiator, s, e, rs in (
            (True, GATEWAY_LINK, GATEWAY_EPHEMERAL, LOCK_LINK.public),
            (False, LOCK_LINK, LOCK_EPHEMERAL, GATEWAY_LINK.public),
        )
    ]
    gateway, lock = ends
    lock.read_message(gateway.write_message(b""))
    gateway.read_message(lock.write_message(STATUS.to_bytes()))
    return gateway.split()[0].encrypt(b"", plaintext)


def _plain(message: PlainMessage, seq: int = 0) -> bytes:
    return _at_seq(FragmentKind.PLAIN, encode_plain(message), seq)


def _at_seq(kind: FragmentKind, data: bytes, seq: int) -> bytes:
    (value,) = Fragmenter(512).fragment(kind, data)
    return bytes((value[0] | seq,)) + value[1:]


def good() -> Iterator[Case]:
    """Yield sessions in which nothing is wrong."""
    for value_size in (20, _VALUE_SIZE):
        gateway, lock = _gateway(value_size), _lock(value_size)
        _ready(gateway, lock)
        gateway.do(record=_record(RECORDS[StateGet]))
        lock.do(record=_record(RECORDS[State]))
        gateway.do(record=_record(RECORDS[LockCommand], 2))
        carry(gateway, lock)
        gateway.do(record=_record(RECORDS[Ping], 3))
        lock.do(record=_record(RECORDS[StateEvent], 0))
        lock.do(record=_record(RECORDS[Bye], 0))
        carry(gateway, lock)
        for side in (gateway, lock):
            yield side.case(f"a whole session at ATT MTU {value_size + 3}")
    gateway, lock = _gateway(session_ctr=STATUS.session_ctr + SESSION_CTR_STEP_MAX), _lock()
    _ready(gateway, lock)
    yield lock.case("the largest step of the session counter")
    lock = _lock()
    lock.receive(_plain(PLAIN[PlainClose]))
    yield lock.case("a plain goodbye is a hint, and nothing else changes")


def bad_for_lock() -> Iterator[Case]:
    """Yield what a lock must not put up with."""
    gateway, lock = _gateway(), _lock()
    lock.receive(*gateway.take())
    (hello,) = lock.take()
    gateway.receive(hello[:-1] + bytes((hello[-1] ^ 1,)))
    lock.receive(*gateway.take())
    yield lock.case("a flipped bit in its own HELLO on the way")
    gateway, lock = _gateway(), _lock()
    (hello,) = gateway.take()
    lock.receive(hello[:-1] + bytes((hello[-1] ^ 1,)))
    gateway.receive(*lock.take())
    lock.receive(*gateway.take())
    yield lock.case("a flipped bit in the gateway's HELLO")
    yield from _replayed()
    yield from _owners()
    yield from _hellos(_lock, "lock")
    lock = _lock()
    lock.receive(_plain(replace(_gateway_hello(), version_min=2, version_max=3)))
    yield lock.case("a gateway that speaks later versions only")
    lock = _lock(version_floor=2)
    lock.receive(_plain(_gateway_hello()))
    yield lock.case("a version below the floor")
    gateway, lock = _gateway(), _lock()
    _asked(gateway, lock)
    lock.receive(_at_seq(FragmentKind.HANDSHAKE, bytes(48), 2))
    yield lock.case("a second message 1 before the answer")
    for name, ctr, known in (("used before", _CTR, _CTR), ("that leaps", SESSION_CTR_STEP_MAX + 1, 0)):
        gateway, lock = _gateway(session_ctr=ctr), _lock(session_ctr=known)
        _unconfirmed(gateway, lock, replace(STATUS, session_ctr=0))  # a lock that lies, so that the gateway goes on
        gateway.do(confirm=_CONFIRM)
        lock.receive(*gateway.take())
        yield lock.case(f"CONFIRM with a counter {name}")
    gateway, lock = _gateway(), _lock()
    _unconfirmed(gateway, lock)
    lock.receive(_at_seq(FragmentKind.RECORD, _sealed(encode_record(RECORDS[StateGet], 1)), 2))
    yield lock.case("another record instead of CONFIRM")
    gateway, lock = _ready_pair()
    confirm = bytes.fromhex(_record(RECORDS[Confirm], 0))
    gateway.do(record=confirm.hex())
    lock.receive(*gateway.take())
    yield lock.case("a second CONFIRM")
    gateway, lock = _ready_pair()
    gateway.do(record=_record(RECORDS[State]))
    lock.receive(*gateway.take())
    yield lock.case("a record that only locks send")


def _replayed() -> Iterator[Case]:
    gateway, lock = _gateway(), _lock()
    hello = gateway.waiting
    lock.receive(*gateway.take())
    gateway.receive(*lock.take())
    first = gateway.waiting
    lock.receive(*gateway.take())
    lock.do(answer=STATUS.to_bytes().hex())
    gateway.receive(*lock.take())
    gateway.do(confirm=_CONFIRM)
    confirm = gateway.take()
    again = _lock(ephemeral=PHONE_EPHEMERAL.private.hex())
    again.receive(*hello)
    again.receive(*first)
    again.do(answer=STATUS.to_bytes().hex())
    yield _copied(again).case("HELLO and message 1 replayed within one start: answered, and inert")
    again.receive(*confirm)
    yield again.case("and the recorded CONFIRM replayed behind them")
    later = _lock(nonce="b3" * 8)
    later.receive(*hello)
    later.receive(*first)
    yield later.case("HELLO and message 1 replayed after a restart")


def _owners() -> Iterator[Case]:
    gateway = _gateway()
    nobodys = _lock(remote_static=None)
    carry(gateway, nobodys)
    yield nobodys.case("message 1 to a lock that belongs to nobody")
    former = {"remote_static": GATEWAY_LINK.public.hex(), "session_ctr": STATUS.session_ctr}
    for name, owner in (("another owner", STRANGER_LINK.public.hex()), ("nobody", None)):
        gateway, lock = _gateway(), _lock(remote_static=owner, session_ctr=0, former=former)
        _ready(gateway, lock)
        yield lock.case(f"a session of the owner before {name}")
    gateway, lock = _gateway(next_owner_epoch=9), _lock(session_ctr=_CTR + 40)
    ahead = replace(STATUS, session_ctr=_CTR + 40, owner_epoch=8)
    _unconfirmed(gateway, lock, ahead)
    gateway.do(confirm=[None, None])
    carry(gateway, lock)
    yield gateway.case("a lock that is ahead, and an order of a higher owner epoch to hand over")
    gateway, lock = _gateway(next_owner_epoch=8), _lock(session_ctr=_CTR + 40)
    _unconfirmed(gateway, lock, ahead)
    yield gateway.case("a lock that is ahead, and an order that is not above its owner epoch")


def _copied(side: Side) -> Side:
    """Return the same story so far, told to another side."""
    other = Side(side.role, side.facts)
    other.steps = [dict(step) for step in side.steps]
    return other


def _hellos(make: Callable[[], Side], role: str) -> Iterator[Case]:
    hello = _gateway_hello() if role == "lock" else _lock_hello()
    for name, values in (
        ("a second HELLO", [_plain(hello), _plain(hello, 1)]),
        ("a handshake message before the HELLO", [_at_seq(FragmentKind.HANDSHAKE, bytes(48), 0)]),
        ("a record before the HELLO", [_at_seq(FragmentKind.RECORD, bytes(32), 0)]),
        ("a record before the handshake", [_plain(hello), _at_seq(FragmentKind.RECORD, bytes(32), 1)]),
        ("its own HELLO", [_plain(_lock_hello() if role == "lock" else _gateway_hello())]),
        ("a plain type that there is not", [_at_seq(FragmentKind.PLAIN, b"\x7f\xa0", 0)]),
    ):
        side = make()
        for value in values:
            side.receive(value)
        yield side.case(name)


def bad_for_gateway() -> Iterator[Case]:
    """Yield what a gateway must not put up with."""
    yield from _hellos(_gateway, "gateway")
    gateway = _gateway(version_floor=2)
    gateway.receive(_plain(_lock_hello()))
    yield gateway.case("a version below the floor")
    gateway, lock = _gateway(), _lock(static=STRANGER_LINK.private.hex())
    hello = gateway.take()
    lock.receive(*hello)
    gateway.receive(*lock.take())
    gateway.receive(_at_seq(FragmentKind.HANDSHAKE, STRANGER_LINK.public + bytes(54), 1))
    yield gateway.case("message 2 of somebody who has not the lock's key")
    gateway, lock = _gateway(), _lock()
    _asked(gateway, lock)
    lock.do(answer=STATUS.to_bytes().hex())
    (second,) = lock.take()
    gateway.receive(second[:-1] + bytes((second[-1] ^ 1,)))
    yield gateway.case("message 2 with a flipped bit")
    for name, ctr in (("our session", _CTR), ("a later session", _CTR + 9)):
        gateway, lock = _gateway(), _lock()
        _unconfirmed(gateway, lock, replace(STATUS, session_ctr=ctr))
        yield gateway.case(f"a lock that has confirmed {name}")
    gateway, lock = _ready_pair()
    lock.do(record=_record(RECORDS[StateGet]))
    gateway.receive(*lock.take())
    yield gateway.case("a record that only gateways send")


def bad_for_both() -> Iterator[Case]:
    """Yield what neither must put up with."""
    for role in ("gateway", "lock"):
        message = RECORDS[StateEvent] if role == "gateway" else RECORDS[StateGet]

        def told(role: str = role, message: Message = message) -> tuple[Side, bytes, bytes]:
            gateway, lock = _ready_pair()
            reader, writer = (gateway, lock) if role == "gateway" else (lock, gateway)
            writer.do(record=_record(message, 0))
            writer.do(record=_record(message, 0))
            one, two = writer.take()
            return reader, one, two

        reader, one, _ = told()
        reader.receive(one[:-1] + bytes((one[-1] ^ 1,)))
        yield reader.case("a record with a flipped bit")
        reader, _, two = told()
        reader.receive(two)
        yield reader.case("a lost value")
        reader, one, _ = told()
        reader.receive(one)
        reader.receive(one)
        yield reader.case("a value twice")
        reader, one, two = told()
        reader.receive(one)
        reader.receive(bytes((two[0],)) + one[1:])
        yield reader.case("a record twice, each in a value of its own")
        reader, one, two = told()
        reader.receive(bytes((one[0],)) + two[1:])
        yield reader.case("records in another order")
        reader, one, _ = told()
        reader.receive(bytes((one[0] & 0x3F | FragmentKind.HANDSHAKE << 6,)) + one[1:])
        yield reader.case("a handshake message in a live session")
        reader, one, _ = told()
        reader.do(tick=START_MS + SESSION_SILENCE_MS_MAX)
        yield reader.case("45 seconds of silence")
    for side in (_gateway(), _lock()):
        side.do(tick=START_MS + HANDSHAKE_MS_MAX)
        yield side.case("no handshake within 10 seconds")


def _gateway_hello() -> GatewayHello:
    hello = PLAIN[GatewayHello]
    assert isinstance(hello, GatewayHello)  # noqa: S101 - the table is by class
    return hello


def _lock_hello() -> LockHello:
    hello = PLAIN[LockHello]
    assert isinstance(hello, LockHello)  # noqa: S101
    return hello
