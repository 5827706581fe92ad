from __future__ import annotations

import pytest

from firmware_protocol.topics import TOPIC_SIZE_MAX, Topics

GATEWAY_ID = bytes.fromhex("00ff10a0b0c0d0e0")
LOCK_ID = bytes.fromhex("0123456789abcdef")
BELOW = "carelock/v1/00ff10a0b0c0d0e0"
TOPICS = Topics.of(GATEWAY_ID)

NAMED = {
    "state": TOPICS.state,
    "info": TOPICS.info,
    "health": TOPICS.health,
    "lock/0123456789abcdef/state": TOPICS.lock_state(LOCK_ID),
    "lock/0123456789abcdef/availability": TOPICS.lock_availability(LOCK_ID),
    "log/entries": TOPICS.log_entries,
    "log/checkpoint": TOPICS.log_checkpoint,
    "log/receipt": TOPICS.log_receipt,
    "command": TOPICS.command,
    "alarm": TOPICS.alarm,
    "response": TOPICS.response,
    "response/centre-1": TOPICS.response_to("centre-1"),
    "request/info": TOPICS.request("info"),
    "authority/keyset": TOPICS.authority_keyset,
    "authority/state": TOPICS.authority_state,
    "authority/provider/care-north": TOPICS.authority_provider("care-north"),
    "authority/grants/17": TOPICS.authority_grant("17"),
}


@pytest.mark.parametrize(("name", "topic"), NAMED.items(), ids=NAMED)
def test_each_topic_has_its_place_below_the_gateway(name: str, topic: str) -> None:
    assert topic == f"{BELOW}/{name}"


def covers(topic_filter: str, topic: str) -> bool:
    """MQTT's rule for `+`: it stands for exactly one level."""
    wanted, given = topic_filter.split("/"), topic.split("/")
    return len(wanted) == len(given) and all(w in {"+", g} for w, g in zip(wanted, given, strict=True))


@pytest.mark.parametrize(("name", "topic"), NAMED.items(), ids=NAMED)
def test_a_gateway_hears_what_is_for_it_and_never_what_it_says_itself(name: str, topic: str) -> None:
    incoming = {"command", "alarm", "log/receipt", "request/info"}
    is_heard = any(covers(topic_filter, topic) for topic_filter in TOPICS.subscriptions)
    assert is_heard is (name in incoming or name.startswith("authority/"))


def test_no_filter_reaches_beyond_its_own_gateway_or_any_number_of_levels() -> None:
    for topic_filter in TOPICS.subscriptions:
        assert topic_filter.startswith(f"{BELOW}/")
        assert "#" not in topic_filter
        assert "+" not in topic_filter.removesuffix("/+")
    assert len(set(TOPICS.subscriptions)) == len(TOPICS.subscriptions)


@pytest.mark.parametrize("name", ["a", "centre-1", "A_b-9", "x" * (TOPIC_SIZE_MAX - len(BELOW) - len("/response/"))])
def test_a_sender_may_choose_one_level_below_response(name: str) -> None:
    assert TOPICS.accepts_response_topic(f"{BELOW}/response/{name}")


FOREIGN = {
    "nothing": "",
    "the level above": f"{BELOW}/response",
    "no name": f"{BELOW}/response/",
    "two levels": f"{BELOW}/response/a/b",
    "the level above by dots": f"{BELOW}/response/../command",
    "a wildcard": f"{BELOW}/response/+",
    "every level": f"{BELOW}/response/#",
    "a space": f"{BELOW}/response/a b",
    "a null character": f"{BELOW}/response/a\0",
    "a letter beyond ASCII": f"{BELOW}/response/å",
    "a digit beyond ASCII": f"{BELOW}/response/\u0661",
    "half a surrogate pair": f"{BELOW}/response/\ud800",
    "one byte too long": f"{BELOW}/response/" + "x" * (TOPIC_SIZE_MAX - len(BELOW) - len("/response/") + 1),
    "another gateway": "carelock/v1/1111111111111111/response/a",
    "our own commands": f"{BELOW}/command",
    "another version": f"{BELOW}/response/a".replace("v1", "v2"),
    "the broker's own": "$SYS/response/a",
    "shared": f"$share/a/{BELOW}/response/a",
    "a prefix before": f"x{BELOW}/response/a",
}


@pytest.mark.parametrize("topic", FOREIGN.values(), ids=FOREIGN)
def test_attack_our_credentials_publish_nowhere_else(topic: str) -> None:
    assert not TOPICS.accepts_response_topic(topic)
