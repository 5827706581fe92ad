from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from simulator.demo_promises import Broken, Ledger, Promise
from simulator.demo_report import Summary, Teller, wants_colour

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Ticking:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.ms = 0

    def __call__(self) -> int:
        return self.ms


def all_shown() -> Ledger:
    ledger = Ledger()
    for promise in Promise:
        ledger.check(promise, held=True, detail="")
    return ledger


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())


def test_a_scene_is_one_line_with_the_time_since_the_story_began(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Ticking()
    teller = Teller(as_json=False, now_ms=clock)
    clock.ms = 9_000
    teller.begin()
    clock.ms = 10_250
    teller.scene(3, "the broker is stopped")
    assert capsys.readouterr().out == "  1.25 s 3 the broker is stopped\n"


def test_a_broken_promise_is_named_in_the_story_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    teller = Teller(as_json=False, now_ms=Ticking())
    ledger = all_shown()
    ledger.check(Promise.EXPIRY, held=False, detail="it opened")
    teller.broken(Broken(promise=Promise.EXPIRY, detail="it opened"))
    teller.finish(ledger, Summary(broker="mosquitto", mqtt="5", refusals={"command.rights": 2}, story_ms=1_500))
    lines = capsys.readouterr().out.splitlines()
    assert "✗ expiry: an expired grant opens nothing — it opened" in lines[0]
    assert "broken: expiry (an expired grant opens nothing): it opened" in lines
    assert any(line.split() == ["command.rights", "2"] for line in lines)
    assert lines[-1] == f"{len(Promise) - 1} of {len(Promise)} promises held, mosquitto, MQTT 5, 1.5 s"


def test_what_was_not_shown_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Teller(as_json=False, now_ms=Ticking()).finish(Ledger(), Summary())
    assert "not shown: link-up (an encrypted session with the lock is up)" in capsys.readouterr().out


def test_machines_get_one_document_and_people_still_the_story(capsys: pytest.CaptureFixture[str]) -> None:
    teller = Teller(as_json=True, now_ms=Ticking())
    teller.scene(1, "the daemon is up")
    ledger = all_shown()
    ledger.check(Promise.WINDOW, held=False, detail="it opened")
    teller.finish(ledger, Summary(latencies_ms={"unlock": 12}))
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert "the daemon is up" in printed.err
    assert (document["held"], document["broken"]) == (False, ["window"])
    assert document["promises"]["window"] == {
        "held": False,
        "sentence": "outside its window a grant opens nothing",
        "detail": "it opened",
    }
    assert document["scenes"] == [{"step": 1, "at_ms": 0, "text": "the daemon is up"}]
    assert document["latencies_ms"] == {"unlock": 12}


def test_a_document_of_a_story_in_which_all_held_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Teller(as_json=True, now_ms=Ticking()).finish(all_shown(), Summary())
    document = json.loads(capsys.readouterr().out)
    assert (document["held"], document["broken"]) == (True, [])
