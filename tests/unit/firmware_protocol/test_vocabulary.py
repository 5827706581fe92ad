from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.vocabulary import (
    RIGHT_FOR,
    Action,
    Bolt,
    Decider,
    DoorLeaf,
    OfflineClass,
    Phase,
    Rights,
    Role,
    Tier,
    blinded_lock,
)

if TYPE_CHECKING:
    from enum import IntEnum

CTI, LOCK_ID = bytes(range(16)), bytes(range(8))

NUMBERS: dict[type[IntEnum], dict[str, int]] = {
    Action: {"UNLOCK": 1, "LOCK": 2, "UNLOCK_UNDER_DURESS": 3},
    OfflineClass: {"ONLINE": 0, "SHIFT": 1, "RESPONDER": 2},
    Role: {"ROOT": 1, "AUTHORITY": 2, "ALARM": 3, "INTAKE": 4, "STATUS": 5, "PAIRING": 6, "RECEIPT": 7},
    Tier: {"FRESH": 0, "STALE": 1, "COLD": 2, "SUSPECT": 3},
    Phase: {"DECIDED": 1, "OUTCOME": 2},
    Bolt: {"UNKNOWN": 0, "LOCKED": 1, "LOCKING": 2, "UNLOCKED": 3, "UNLOCKING": 4, "JAMMED": 5},
    DoorLeaf: {"UNKNOWN": 0, "CLOSED": 1, "OPEN": 2},
    Decider: {"GATEWAY": 0, "LOCK": 1},
}


@pytest.mark.parametrize("kind", NUMBERS, ids=lambda kind: kind.__name__)
def test_the_numbers_on_the_wire_never_move(kind: type[IntEnum]) -> None:
    assert {member.name: int(member) for member in kind} == NUMBERS[kind]


def test_each_right_is_one_bit() -> None:
    assert {right.name: int(right) for right in Rights} == {"UNLOCK": 1, "LOCK": 2, "SERVICE": 4}


def test_every_movement_needs_a_right_of_its_own() -> None:
    assert RIGHT_FOR.keys() == set(Action)
    movements = {action for action in Action if action.movement is action}
    assert len({RIGHT_FOR[movement] for movement in movements}) == len(movements)


def test_under_duress_the_lock_is_told_and_the_grant_is_asked_what_an_unlock_would_be() -> None:
    assert Action.UNLOCK_UNDER_DURESS.movement is Action.UNLOCK
    assert RIGHT_FOR[Action.UNLOCK_UNDER_DURESS] is RIGHT_FOR[Action.UNLOCK]


def test_a_lock_is_blinded_by_the_grant_that_names_it() -> None:
    assert blinded_lock(CTI, LOCK_ID) == hashlib.sha256(CTI + LOCK_ID).digest()[:8]


def test_attack_the_same_door_cannot_be_linked_over_two_grants() -> None:
    assert blinded_lock(CTI, LOCK_ID) != blinded_lock(CTI[::-1], LOCK_ID)
