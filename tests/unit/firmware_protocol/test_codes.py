from __future__ import annotations

import re

import pytest

from firmware_protocol.codes import Code, CodeClass, UnknownCodeError
from firmware_protocol.errors import LocalProtocolError, ProtocolError, RemoteProtocolError


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.name)
def test_each_row_is_found_by_its_number_and_by_its_name(code: Code) -> None:
    assert Code.from_wire(code.wire) is code
    assert Code.from_dotted(code.dotted) is code


def test_no_number_and_no_name_stands_twice() -> None:
    assert len({code.wire for code in Code}) == len(Code)
    assert len({code.dotted for code in Code}) == len(Code)


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.name)
def test_a_number_fits_one_byte_and_a_name_fits_logs_and_topics(code: Code) -> None:
    assert 0x01 <= code.wire <= 0x7F
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)?", code.dotted)


@pytest.mark.parametrize("number", sorted(set(range(-1, 0x102)) - {code.wire for code in Code}))
def test_no_other_number_is_a_code(number: int) -> None:
    with pytest.raises(UnknownCodeError):
        Code.from_wire(number)


@pytest.mark.parametrize("name", ["", "EXPIRED", "command.Expired", "command", "command.expired "])
def test_no_other_name_is_a_code(name: str) -> None:
    with pytest.raises(UnknownCodeError):
        Code.from_dotted(name)


def test_only_the_motor_and_two_outcomes_leave_room_for_a_movement() -> None:
    may_have_moved = {code for code in Code if code.may_have_executed}
    assert may_have_moved == {
        Code.MOTOR_BLOCKED,
        Code.MOTOR_TIMEOUT,
        Code.LOW_VOLTAGE,
        Code.POSITION_UNKNOWN,
        Code.DONE,
        Code.MAY_HAVE_EXECUTED,
    }


def test_nothing_that_may_have_moved_the_bolt_asks_to_be_sent_again() -> None:
    assert all(code.code_class is not CodeClass.RETRY for code in Code if code.may_have_executed)


def test_a_fault_of_the_other_side_names_its_code_and_keeps_it() -> None:
    error = RemoteProtocolError(Code.EXPIRED, "an hour old")
    assert (error.code, error.detail, str(error)) == (Code.EXPIRED, "an hour old", "command.expired: an hour old")


def test_whose_fault_it_was_is_in_the_type() -> None:
    assert issubclass(RemoteProtocolError, ProtocolError)
    assert issubclass(LocalProtocolError, ProtocolError)
    assert not issubclass(RemoteProtocolError, LocalProtocolError)
