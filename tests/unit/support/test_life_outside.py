"""Whoever watches laws 8 to 11 from outside sees each of them broken, and nothing where they are kept."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
import structlog

from gatewayd.uplink.seam import Incoming
from simulator.office import Office
from tests.support.life_outside import (
    Cost,
    Outsider,
    Truth,
    cost_problems,
    object_problems,
    objects_in,
    rows_of,
    secret_forms,
    shown_problems,
    words_in,
)
from tests.support.life_world import LifeWorld
from tests.support.memory_radio import ADDRESS
from tests.support.memory_world import NOW_S, PROVIDER
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

LOCKED: Final = {
    "bolt": "locked",
    "door": "closed",
    "age_s": 10,
    "stale_after_s": 120,
    "observed_at": "2027-01-15T08:00:00Z",
}
SECRET: Final = bytes(range(200, 232))


def truth() -> Truth:
    """Unlocked until 500 s, locked from then on."""
    told = Truth()
    told.note(0, "unlocked", "closed")
    told.note(500, "locked", "closed")
    return told


@pytest.mark.parametrize(
    ("changes", "now_s", "problem"),
    [
        ({}, 600, None),
        ({"bolt": "unknown", "door": "unknown", "age_s": 999}, 600, None),
        ({"age_s": None}, 600, "without its age"),
        ({"observed_at": None}, 600, "without its age"),
        ({"stale_after_s": None}, 600, "without its age"),
        ({"stale_after_s": 3_600}, 600, "may be shown for"),
        ({"age_s": 121}, 900, "is shown, 121 s old"),
        ({}, 505, "and then it was"),
        ({"bolt": "unlocked"}, 600, "and then it was"),
        ({"bolt": "unlocked"}, 505, None),
    ],
)
def test_law_10_a_shown_state_that_is_old_or_was_never_true_is_seen(
    changes: Mapping[str, Any], now_s: float, problem: str | None
) -> None:
    document = {name: value for name, value in (LOCKED | dict(changes)).items() if value is not None}
    found = list(shown_problems(json.dumps(document).encode(), truth(), now_s))
    assert (found == []) if problem is None else (problem in "; ".join(found))


@pytest.mark.parametrize(
    ("payload", "is_seen"),
    [
        (SECRET, True),
        (b"before" + SECRET + b"after", True),
        (json.dumps({"a": [{"b": SECRET.hex()}]}).encode(), True),
        (json.dumps({"a": SECRET.hex().upper()}).encode(), True),
        (json.dumps({"a": base64.b64encode(b"around" + SECRET).decode()}).encode(), True),
        (json.dumps({"a": base64.urlsafe_b64encode(b"it" + SECRET).rstrip(b"=").decode()}).encode(), True),
        (json.dumps({SECRET.hex(): 1}).encode(), True),
        (json.dumps({"a": SECRET[1:].hex(), "b": 7, "c": None}).encode(), False),
        (SECRET[:-1], False),
    ],
)
def test_law_9_what_can_be_read_is_found_in_whichever_form(payload: bytes, *, is_seen: bool) -> None:
    assert bool(list(words_in(payload, secret_forms(SECRET, "a key")))) is is_seen


def forgeries() -> dict[str, tuple[str, Callable[[Office, LifeWorld], bytes]]]:
    return {
        "keyset": ("keyset", lambda office, _: office.keyset(now_s=NOW_S, version=9)),
        "state": ("state", lambda office, world: office.state(world.home, now_s=NOW_S, seq=9)),
        "authority": ("authority", lambda office, world: office.authority(world.home, PROVIDER, now_s=NOW_S)),
        "grant": ("grant", lambda office, world: office.grant(world.home, PROVIDER, "person-eve", now_s=NOW_S)),
        "order": ("order", lambda office, world: office.pairing_order(world.home, now_s=NOW_S)),
        "door": ("door", lambda office, world: office.door(world.home)),
    }


@pytest.mark.parametrize("name", forgeries())
def test_law_8_an_object_that_somebody_else_has_signed_is_seen_in_a_store_and_a_true_one_is_not(
    tmp_path: Path, name: str
) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 91)
        await world.provision()
        held = objects_in(rows_of(world.store_path))
        assert all(held[each] for each in ("keyset", "state", "authority", "order", "door"))
        assert list(object_problems(held, world.office)) == []
        kind, make = forgeries()[name]
        held[kind].append(make(Office(b"eve"), world))
        assert len(list(object_problems(held, world.office))) == 1

    run_virtual(story())


def watched(folder: Path, act: Callable[[LifeWorld, Outsider], None], *, seals: bool = False) -> list[str]:
    """Return what an outsider has to say of something that is done in the world."""

    async def story() -> list[str]:
        world = LifeWorld(folder, 92)
        world.seal_to = bytes(32) if seals else None
        outsider = Outsider(world)
        await asyncio.sleep(1)
        act(world, outsider)
        return outsider.breaches

    return run_virtual(story())


def says(topic: Callable[[LifeWorld], str], payload: Callable[[LifeWorld], Mapping[str, Any]]) -> Callable[..., None]:
    return lambda world, outsider: outsider.hear(
        Incoming(topic=topic(world), payload=json.dumps(payload(world)).encode(), retained=False)
    )


def health(world: LifeWorld) -> str:
    return world.topics.health


def entries(world: LifeWorld) -> str:
    return world.topics.log_entries


def lock_state(world: LifeWorld) -> str:
    return world.topics.lock_state(world.home.lock_id)


NOW: Final = "2027-01-15T08:00:00Z"
BREACHES: Final = {
    "who was here, for everybody": (says(health, lambda _: {"last": "person-anna"}), False, "who was here"),
    "the name of the home": (says(health, lambda world: {"x": world.home.label}), False, "the name of the home"),
    "where the lock is": (says(health, lambda _: {"x": ADDRESS}), False, "on the air"),
    "a name in a topic": (says(lambda world: f"{world.topics.health}/person-a", lambda _: {}), False, "who was here"),
    "a key": (says(entries, lambda world: {"time": NOW, "x": world.lock.keys.label.secret.hex()}), False, "the label"),
    "an entry in the clear": (says(entries, lambda _: {"type": "carelock.command.decided"}), True, "what happened"),
    "a door, where all is sealed": (says(lock_state, lambda _: LOCKED | {"age_s": 0}), True, "entries are sealed"),
    "a door that is not so": (says(lock_state, lambda _: LOCKED | {"bolt": "unlocked"}), False, "and then it was"),
    "an entry from ahead": (says(entries, lambda _: {"time": "2037-01-15T08:00:00Z"}), False, "law 8: an entry of"),
}


@pytest.mark.parametrize(("act", "seals", "problem"), BREACHES.values(), ids=BREACHES)
def test_what_is_said_on_the_broker_against_the_law_is_seen(
    tmp_path: Path, act: Callable[..., None], *, seals: bool, problem: str
) -> None:
    assert problem in "; ".join(watched(tmp_path, act, seals=seals))


def test_what_others_say_and_what_is_as_it_should_be_is_no_breach(tmp_path: Path) -> None:
    def act(world: LifeWorld, outsider: Outsider) -> None:
        for topic, document in (
            (world.topics.command, {"x": "person-anna"}),
            (world.topics.authority_keyset, {"x": world.home.label}),
            (entries(world), {"time": NOW, "subject": "person-anna"}),
            (lock_state(world), LOCKED | {"age_s": 0}),
        ):
            says(lambda _, topic=topic: topic, lambda _, document=document: document)(world, outsider)  # type: ignore[misc]
        assert outsider.heard_count == 2

    assert watched(tmp_path, act) == []


def logs(outsider: Outsider, **event: object) -> None:
    with suppress(structlog.DropEvent):
        outsider.log(None, "", {"event": "something", "level": "info"} | event)


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        ({}, None),
        ({"level": "error", "event": "alert.raised"}, None),
        ({"level": "error"}, "law 11"),
        ({"level": "info", "exc_info": True}, "law 11"),
        ({"key": "secret"}, "law 9"),
    ],
)
def test_a_log_that_tells_a_secret_or_of_a_fault_that_nobody_foresaw_is_seen(
    tmp_path: Path, event: dict[str, object], problem: str | None
) -> None:
    def act(world: LifeWorld, outsider: Outsider) -> None:
        named = {name: world.lock.keys.label.secret if value == "secret" else value for name, value in event.items()}
        logs(outsider, **{name: value.hex() if isinstance(value, bytes) else value for name, value in named.items()})

    found = watched(tmp_path, act)
    assert (found == []) if problem is None else (problem in found[0])


def test_a_lock_that_believes_a_future_and_a_dead_gateway_that_is_shown_alive_are_seen(tmp_path: Path) -> None:
    def act(world: LifeWorld, outsider: Outsider) -> None:
        outsider.check("nothing yet")
        world.lock.flash.values.time_floor_s = world.utc_s() + 3_600
        world.broker.retained[world.topics.state] = b'{"state": "online", "boot": 1}'
        with pytest.raises(AssertionError, match=r"has not come.*is shown as online"):
            outsider.check("now")

    watched(tmp_path, act)


def test_law_11_a_row_a_file_or_an_entry_that_bad_input_has_cost_is_seen(tmp_path: Path) -> None:
    async def story() -> None:
        world = LifeWorld(tmp_path, 93)
        await world.provision()
        before = Cost.now(world)
        assert list(cost_problems(before, before)) == []
        with closing(sqlite3.connect(world.store_path)) as database:
            database.execute("INSERT INTO buckets VALUES ('lock', 7)")
            database.commit()
        (world.store_folder / "half-written.key").write_bytes(b"half")
        after = replace(Cost.now(world), entry_count=-1)
        assert list(cost_problems(before, after)) == [
            "law 11: table buckets was changed",
            "law 11: a file was written",
            "law 11: entries of the journal are gone",
        ]

    run_virtual(story())
