from __future__ import annotations

from simulator.demo_promises import SENTENCES, Broken, Ledger, Promise


def test_every_promise_has_a_sentence() -> None:
    assert SENTENCES.keys() == set(Promise)
    assert all(SENTENCES.values())


def test_a_promise_that_was_never_shown_does_not_hold() -> None:
    ledger = Ledger()
    for promise in list(Promise)[1:]:
        ledger.check(promise, held=True, detail="")
    assert not ledger.all_held
    assert ledger.missing == (next(iter(Promise)),)
    ledger.check(next(iter(Promise)), held=True, detail="")
    assert ledger.all_held


def test_a_broken_promise_stays_broken_and_is_told_once() -> None:
    told: list[Broken] = []
    ledger = Ledger(on_broken=told.append)
    for promise in Promise:
        ledger.check(promise, held=True, detail="")
    assert ledger.check(Promise.EXPIRY, held=False, detail="it opened") is False
    assert ledger.check(Promise.EXPIRY, held=False, detail="it opened again") is False
    assert ledger.check(Promise.EXPIRY, held=True, detail="") is True
    assert told == [Broken(promise=Promise.EXPIRY, detail="it opened")]
    assert (ledger.broken, ledger.all_held) == ({Promise.EXPIRY: "it opened"}, False)
