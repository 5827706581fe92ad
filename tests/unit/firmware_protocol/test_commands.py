from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from firmware_protocol.commands import Alarm, ChallengeFreshness, Command, EpochFreshness, Request
from firmware_protocol.errors import LocalProtocolError
from firmware_protocol.vectors.examples import ALARM_REF, CHALLENGE, COMMAND, EPOCH, VALUES
from firmware_protocol.vocabulary import Action
from tests.support.payloads import Tree, assert_malformed, assert_read, changed, read, tree_of

AT_DOOR = tree_of(COMMAND)
FAR_AWAY_COMMAND = replace(COMMAND, challenge=None, epoch=EPOCH, issued_s=100, exp_s=130)
FAR_AWAY = tree_of(FAR_AWAY_COMMAND)
ALARM_TREE, REQUEST_TREE = tree_of(VALUES[Alarm][0]), tree_of(VALUES[Request][0])

# ------------------------------------------------------------------------------------------------------------ Command


def test_a_command_over_a_challenge_comes_back_with_its_freshness() -> None:
    command = read(Command, AT_DOOR)
    assert command == COMMAND
    assert command.freshness == ChallengeFreshness(challenge=CHALLENGE)
    assert AT_DOOR.keys() == {1, 2, 3, 4, 5, 8, 10}


def test_a_command_under_an_epoch_comes_back_with_its_freshness() -> None:
    command = read(Command, FAR_AWAY)
    assert command == FAR_AWAY_COMMAND
    assert command.freshness == EpochFreshness(epoch=EPOCH, issued_s=100, exp_s=130)
    assert FAR_AWAY.keys() == {1, 2, 3, 4, 6, 7, 8, 10, 11}


@pytest.mark.parametrize("present", list(product([False, True], repeat=4)))
def test_a_command_has_a_challenge_alone_or_a_whole_epoch(present: tuple[bool, ...]) -> None:
    fields: dict[int, object] = {5: CHALLENGE, 6: EPOCH, 7: 130, 11: 100}
    tree = {key: value for key, value in AT_DOOR.items() if key not in fields}
    tree |= {key: fields[key] for key, is_there in zip(fields, present, strict=True) if is_there}
    if present in {(True, False, False, False), (False, True, True, True)}:
        assert_read(Command, tree)
    else:
        assert_malformed(Command, tree)


def test_a_command_without_freshness_is_our_own_mistake() -> None:
    stale = replace(COMMAND, challenge=None)
    with pytest.raises(LocalProtocolError):
        stale.to_bytes()
    with pytest.raises(ValueError, match="no freshness"):
        _ = stale.freshness


@pytest.mark.parametrize("action", list(Action))
def test_each_action_has_its_number(action: Action) -> None:
    assert read(Command, changed(AT_DOOR, (3,), int(action))).action is action


def test_an_alarm_reference_is_carried_where_there_is_one() -> None:
    assert read(Command, changed(AT_DOOR, (9,), ALARM_REF)).alarm_ref == ALARM_REF


BAD_FIELDS: dict[str, tuple[int, object]] = {
    "no action": (3, 0),
    "an action of a later version": (3, 4),
    "true as the action": (3, True),
    "a lock id of 7 bytes": (1, bytes(7)),
    "a lock id of 9 bytes": (1, bytes(9)),
    "a gateway id of 7 bytes": (2, bytes(7)),
    "a command id of 15 bytes": (4, bytes(15)),
    "a command id of 17 bytes": (4, bytes(17)),
    "a challenge of 15 bytes": (5, bytes(15)),
    "no challenge, spelled out": (5, None),
    "a hash of 31 bytes": (8, bytes(31)),
    "a hash of 33 bytes": (8, bytes(33)),
    "an alarm reference of 15 bytes": (9, bytes(15)),
    "an alarm reference that is text": (9, "reason"),
    "a clock before 1970": (10, -1),
    "key 0": (0, 0),
    "key 12": (12, 0),
    "the claims of a token": (-70_001, {}),
}


@pytest.mark.parametrize(("key", "value"), BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_a_command_with_another_field_is_refused(key: int, value: object) -> None:
    assert_malformed(Command, changed(AT_DOOR, (key,), value))


@pytest.mark.parametrize("key", [1, 2, 3, 4, 8, 10])
def test_a_command_lacks_nothing(key: int) -> None:
    assert_malformed(Command, changed(AT_DOOR, (key,), ...))


@pytest.mark.parametrize("key", [7, 11])
def test_seconds_under_an_epoch_are_whole_and_not_negative(key: int) -> None:
    assert_read(Command, changed(FAR_AWAY, (key,), 0))
    for value in (-1, 2**53, True, b"\x01"):
        assert_malformed(Command, changed(FAR_AWAY, (key,), value))


# -------------------------------------------------------------------------------------------------- Alarm and Request


@pytest.mark.parametrize(("number", "opens"), [(0, False), (1, True)])
def test_an_alarm_opens_or_closes(number: int, opens: bool) -> None:  # noqa: FBT001 - a table's column
    assert read(Alarm, changed(ALARM_TREE, (5,), number)).opens is opens


@pytest.mark.parametrize("value", [2, True, False, None], ids=["two", "true", "false", "null"])
def test_an_alarm_does_nothing_else(value: object) -> None:
    assert_malformed(Alarm, changed(ALARM_TREE, (5,), value))


BAD_OBJECTS: dict[str, tuple[type[Any], Tree, int, object]] = {
    f"{kind.__name__} key {key} {why}": (kind, tree, key, value)
    for kind, tree in ((Alarm, ALARM_TREE), (Request, REQUEST_TREE))
    for key in range(6)
    for why, value in (("missing", ...), ("an array", ()), ("null", None), ("a map", {}))
}


@pytest.mark.parametrize(("kind", "tree", "key", "value"), BAD_OBJECTS.values(), ids=BAD_OBJECTS)
def test_a_field_missing_or_of_another_type_is_refused(kind: type[Any], tree: Tree, key: int, value: object) -> None:
    assert_malformed(kind, changed(tree, (key,), value))


@pytest.mark.parametrize("verb", ["Reset", "a/b", "", "a" * 33, "+"])
def test_a_verb_is_a_name_that_fits_a_topic(verb: str) -> None:
    assert_malformed(Request, changed(REQUEST_TREE, (1,), verb))


@pytest.mark.parametrize("key", [6, -1])
def test_a_field_of_a_later_version_is_refused(key: int) -> None:
    assert_malformed(Alarm, changed(ALARM_TREE, (key,), 0))
    assert_malformed(Request, changed(REQUEST_TREE, (key,), 0))
