"""Objects in pieces: whole again, or refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.constants import COURIER_CHUNK_SIZE_MAX, COURIER_OBJECT_SIZE_MAX
from firmware_protocol.courier import CourierDesk, Delivery, pieces
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.vocabulary import Parcel

if TYPE_CHECKING:
    from firmware_protocol.errands import Courier

DATA = bytes(range(256)) * 8
PIECES = tuple(pieces(Parcel.STATE, DATA))


def desk(size_max: int = 65_536) -> CourierDesk:
    return CourierDesk(size_max=size_max)


@pytest.mark.parametrize("size", [1, COURIER_CHUNK_SIZE_MAX, COURIER_CHUNK_SIZE_MAX + 1, COURIER_OBJECT_SIZE_MAX])
def test_an_object_is_whole_after_its_last_piece_and_not_before(size: int) -> None:
    data = bytes(size)
    one = desk()
    *before, last = [one.take(piece) for piece in pieces(Parcel.KEYSET, data)]
    assert before == [None] * (-(-size // COURIER_CHUNK_SIZE_MAX) - 1)
    assert last == Delivery(kind=Parcel.KEYSET, sha256=hashlib.sha256(data).digest(), data=data)


@pytest.mark.parametrize("size", [0, COURIER_OBJECT_SIZE_MAX + 1])
def test_what_no_courier_may_carry_is_our_own_mistake(size: int) -> None:
    with pytest.raises(LocalProtocolError):
        next(pieces(Parcel.ENTRY, bytes(size)))


def test_one_object_after_the_other() -> None:
    one = desk()
    for _ in range(2):
        assert [one.take(piece) for piece in PIECES][-1] is not None


def test_a_piece_at_the_beginning_forgets_what_was_not_finished() -> None:
    one = desk()
    one.take(PIECES[0])
    assert [one.take(piece) for piece in PIECES][-1] is not None


@pytest.mark.parametrize(
    "order",
    [
        pytest.param([PIECES[1]], id="without its beginning"),
        pytest.param([PIECES[0], PIECES[2]], id="a piece is missing"),
        pytest.param([PIECES[0], PIECES[1], PIECES[1]], id="a piece twice"),
        pytest.param([PIECES[0], replace(PIECES[1], sha256=bytes(32))], id="a piece of another object"),
        pytest.param([PIECES[0], replace(PIECES[1], kind=Parcel.KEYSET)], id="another kind in the middle"),
        pytest.param([PIECES[0], replace(PIECES[1], total=8_000)], id="another length in the middle"),
        pytest.param([*PIECES, PIECES[2]], id="a piece after the end"),
    ],
)
def test_attack_pieces_out_of_order_are_malformed(order: list[Courier]) -> None:
    one = desk()
    for piece in order[:-1]:
        one.take(piece)
    with pytest.raises(RemoteProtocolError, match="malformed"):
        one.take(order[-1])


def test_attack_an_object_that_is_not_what_its_hash_says_is_malformed() -> None:
    one = desk()
    one.take(PIECES[0])
    one.take(replace(PIECES[1], chunk=bytes(COURIER_CHUNK_SIZE_MAX)))
    with pytest.raises(RemoteProtocolError, match="malformed"):
        one.take(PIECES[2])


def test_attack_a_visit_that_brings_more_than_it_may_is_refused_and_holds_no_memory() -> None:
    one = desk(size_max=2 * COURIER_CHUNK_SIZE_MAX)
    for _ in range(2):
        assert one.take(PIECES[0]) is None
    with pytest.raises(RemoteProtocolError, match="too_large"):
        one.take(PIECES[0])
