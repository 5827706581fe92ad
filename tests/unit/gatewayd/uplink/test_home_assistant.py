"""What Home Assistant is told: sensors and events, never anything to press."""

from __future__ import annotations

import json
from typing import Any

import pytest

from firmware_protocol.topics import Topics
from gatewayd.uplink.home_assistant import EVENT_TYPES, discovery, to_payload

TOPICS = Topics("0123456789abcdef")
LOCK = bytes.fromhex("8899aabbccddeeff")
FOUND = dict(discovery("homeassistant", TOPICS, [LOCK], version="1.0"))
DOOR = FOUND["homeassistant/device/0123456789abcdef/8899aabbccddeeff/config"]
GATEWAY = FOUND["homeassistant/device/0123456789abcdef/gateway/config"]


def rendered(template: str, value: dict[str, Any]) -> str:
    """Evaluate the one form of template that the sensors have: a table and a default, as Jinja would."""
    inner = template.removeprefix("{{ ").removesuffix(" }}")
    for name, each in value.items():
        inner = inner.replace(f"value_json.{name}", repr(each))
    return str(eval(inner, {}))


def test_attack_there_is_nothing_that_could_be_pressed() -> None:
    """A lock entity, a button or a switch would send unsigned commands, and teach people to expect that they work."""
    for document in FOUND.values():
        for component in document["components"].values():
            assert component["platform"] in {"binary_sensor", "sensor", "event"}
            assert not [key for key in component if "command" in key]
    assert b"command_topic" not in b"".join(map(to_payload, FOUND.values()))


@pytest.mark.parametrize(
    ("bolt", "shown", "jammed"),
    [
        ("locked", "OFF", "OFF"),
        ("unlocked", "ON", "OFF"),
        ("jammed", "None", "ON"),
        ("locking", "None", "OFF"),
        ("unknown", "None", "None"),
    ],
)
def test_a_bolt_is_shown_as_locked_only_where_it_is(bolt: str, shown: str, jammed: str) -> None:
    state = {"bolt": bolt}
    assert rendered(DOOR["components"]["bolt"]["value_template"], state) == shown
    assert rendered(DOOR["components"]["jammed"]["value_template"], state) == jammed


def test_out_of_reach_is_another_thing_than_jammed() -> None:
    link = DOOR["components"]["link"]
    assert link["state_topic"] == TOPICS.lock_availability(LOCK)
    assert rendered(link["value_template"], {"state": "offline"}) == "OFF"


def test_every_entity_has_an_id_of_its_own_and_goes_with_the_gateway() -> None:
    ids = [each["unique_id"] for document in FOUND.values() for each in document["components"].values()]
    assert len(ids) == len(set(ids)) == 7
    assert {document["availability_topic"] for document in FOUND.values()} == {TOPICS.state}
    assert DOOR["device"]["via_device"] == GATEWAY["device"]["identifiers"][0]


def test_events_are_the_journals_own_and_the_same_bytes_each_time() -> None:
    event = GATEWAY["components"]["event"]
    assert event["event_types"] == list(EVENT_TYPES)
    assert event["state_topic"] == TOPICS.log_entries
    assert json.loads(to_payload(GATEWAY)) == GATEWAY
    assert to_payload(GATEWAY) == to_payload(json.loads(to_payload(GATEWAY)))
