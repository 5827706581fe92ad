"""What is said in plain: both HELLOs, the prologue, versions."""

from __future__ import annotations

import pytest

from firmware_protocol import cbor
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.hello import (
    FROM_GATEWAY_PLAIN,
    FROM_LOCK_PLAIN,
    MAGIC,
    PLAIN_SIZE_MAX,
    TO_PHONE_PLAIN,
    GatewayHello,
    LockHello,
    LockStatus,
    PhoneHello,
    PlainClose,
    PlainMessage,
    common_version,
    decode_plain,
    encode_plain,
    link_prologue,
)
from firmware_protocol.vocabulary import Decider
from tests.support.session_pair import status

GATEWAY_HELLO = GatewayHello(magic=MAGIC, version_min=0, version_max=255, capabilities=2**32 - 1, nonce=bytes(8))
LOCK_HELLO = LockHello(version_min=1, version_max=1, capabilities=0, boot_nonce=bytes(8), firmware="f" * 32)
PHONE_HELLO = PhoneHello(challenge=bytes(16), decider=Decider.LOCK)
CLOSE = PlainClose(code=Code.BUSY)


@pytest.mark.parametrize(
    ("message", "accepted"),
    [
        (GATEWAY_HELLO, FROM_GATEWAY_PLAIN),
        (CLOSE, FROM_GATEWAY_PLAIN),
        (LOCK_HELLO, FROM_LOCK_PLAIN),
        (CLOSE, FROM_LOCK_PLAIN),
        (PHONE_HELLO, TO_PHONE_PLAIN),
        (CLOSE, TO_PHONE_PLAIN),
    ],
)
def test_plain_messages_arrive_as_they_were_said(
    message: PlainMessage, accepted: dict[int, type[PlainMessage]]
) -> None:
    assert decode_plain(encode_plain(message), accepted) == message


@pytest.mark.parametrize(
    ("message", "accepted"),
    [
        (LOCK_HELLO, FROM_GATEWAY_PLAIN),
        (PHONE_HELLO, FROM_GATEWAY_PLAIN),
        (GATEWAY_HELLO, FROM_LOCK_PLAIN),
        (PHONE_HELLO, FROM_LOCK_PLAIN),
        (LOCK_HELLO, TO_PHONE_PLAIN),
    ],
)
def test_attack_a_hello_reflected_to_its_own_side_is_refused(
    message: PlainMessage, accepted: dict[int, type[PlainMessage]]
) -> None:
    with pytest.raises(RemoteProtocolError, match="unsupported_type"):
        decode_plain(encode_plain(message), accepted)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x01" + cbor.encode({0: b"CLK2", 1: 1, 2: 1, 3: 0, 4: bytes(8)}),
        b"\x01" + cbor.encode({0: MAGIC, 1: 2, 2: 1, 3: 0, 4: bytes(8)}),
        b"\x01" + cbor.encode({0: MAGIC, 1: 1, 2: 256, 3: 0, 4: bytes(8)}),
        b"\x01" + cbor.encode({0: MAGIC, 1: 1, 2: 1, 3: 0, 4: bytes(9)}),
        b"\x01" + cbor.encode({0: MAGIC, 1: 1, 2: 1, 3: 0, 4: bytes(8), 5: 0}),
    ],
    ids=["empty", "no body", "magic", "empty range", "version", "nonce", "unknown field"],
)
def test_attack_a_gateway_hello_out_of_shape_is_malformed(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_plain(data, FROM_GATEWAY_PLAIN)


@pytest.mark.parametrize(
    "fields",
    [
        {1: 2, 2: 1, 3: 0, 4: bytes(8), 5: "x"},
        {1: 1, 2: 1, 3: 0, 4: bytes(8), 5: "x" * 33},
        {1: 1, 2: 1, 3: 0, 4: bytes(8), 5: "two\nlines"},
        {1: 1, 2: 1, 3: 0, 4: bytes(8), 5: ""},
    ],
    ids=["empty range", "long name", "forged log line", "no name"],
)
def test_attack_a_lock_hello_out_of_shape_is_malformed(fields: dict[int, object]) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_plain(b"\x02" + cbor.encode(fields), FROM_LOCK_PLAIN)  # type: ignore[arg-type]  # that is the point


def test_attack_a_plain_message_beyond_its_cap_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(RemoteProtocolError, match="too_large"):
        decode_plain(b"\x04" + bytes(PLAIN_SIZE_MAX + 1), FROM_LOCK_PLAIN)


def test_a_status_arrives_as_it_was_said_with_and_without_an_epoch() -> None:
    plain = status()
    assert LockStatus.from_bytes(plain.to_bytes()) == plain
    with pytest.raises(RemoteProtocolError, match="malformed"):
        LockStatus.from_bytes(plain.to_bytes()[:-1])


def test_the_prologue_binds_both_hellos_with_their_lengths() -> None:
    assert link_prologue(b"ab", b"c") == b"carelock-link/1\x00\x02ab\x00\x01c"
    assert link_prologue(b"ab", b"c") != link_prologue(b"a", b"bc")


@pytest.mark.parametrize(
    ("own", "other", "floor", "version"),
    [
        ((1, 3), (2, 9), 0, 3),
        ((2, 9), (1, 3), 0, 3),
        ((1, 1), (1, 1), 1, 1),
        ((1, 3), (1, 2), 2, 2),
        ((1, 3), (1, 2), 3, None),
        ((1, 3), (4, 5), 0, None),
        ((4, 5), (1, 3), 0, None),
    ],
    ids=["highest", "highest of theirs", "only one", "at the floor", "below the floor", "they newer", "they older"],
)
def test_the_highest_common_version_is_spoken_or_none(
    own: tuple[int, int], other: tuple[int, int], floor: int, version: int | None
) -> None:
    if version is None:
        with pytest.raises(RemoteProtocolError, match=r"link\.version"):
            common_version(own=own, other=other, floor=floor)
    else:
        assert common_version(own=own, other=other, floor=floor) == version
