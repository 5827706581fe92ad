"""The reservation on a real store: what a decision writes, and that it writes all of it or nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import CommandReceipt
from firmware_protocol.vocabulary import Action, OfflineClass, Phase, Rights, Tier
from gatewayd.access.limits import REFUSAL_BURST, REFUSAL_INTERVAL_MS
from gatewayd.access.lockout import FREE_COUNT, NEVER_REFUSED
from gatewayd.access.uses import Uses
from gatewayd.access.verdicts import Denied, Permitted, Repeated
from gatewayd.reservation import Attempt
from gatewayd.settings import LimitSettings
from gatewayd.store import alarms, commands
from gatewayd.store.lockouts import load_lockout
from gatewayd.store.trust import StoredGrant, find_grant
from gatewayd.timekeeping import TimeInterval
from gatewayd.trust_keeper import Paper
from tests.support.decision_bench import DecisionBench, PowerCutError
from tests.support.homes import BOOTTIME_MS, NOW_S, PROVIDER, TestHome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from firmware_protocol.chains import VerifiedBundle
    from gatewayd.reservation import Asked, Decided
    from gatewayd.store.database import Transaction

HOME: Final = TestHome.make()
LOCK_ID: Final = HOME.home.lock_id
NOW_MS: Final = NOW_S * 1_000
REF: Final = bytes(range(16))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[DecisionBench]:
    """Return a gateway's decision on a fresh store."""
    bench = DecisionBench(tmp_path / "store.sqlite", HOME)
    yield bench
    bench.close()


def at_door(bench: DecisionBench, number: int = 1, **grant: Any) -> VerifiedBundle:
    """Return a carer's fresh command at the door, over a challenge that the lock has just given."""
    action = grant.pop("action", Action.UNLOCK)
    challenge = f"challenge-{number}"
    bench.challenges.learn(LOCK_ID, HOME.office.token(challenge), bench.clock.boottime_ms)
    return HOME.at_door(HOME.carer(**grant), challenge=challenge, command=f"command-{number}", action=action)


def over_mqtt(bench: DecisionBench, holder: Any, number: int = 1, **options: Any) -> VerifiedBundle:
    return HOME.over_mqtt(holder, command=f"command-{number}", **({"epoch": bench.epoch.value} | options))


def entries(bench: DecisionBench) -> list[dict[str, Any]]:
    rows = bench.run(lambda tx: tx.execute("SELECT leaf FROM entries ORDER BY idx"))
    return [json.loads(leaf) for (leaf,) in rows]


def told(decided: Decided) -> CommandReceipt:
    return open_signed(CommandReceipt, decided.receipt, bytes(HOME.home.gateway_signing_key.verify_key))


def row_of(bench: DecisionBench, bundle: VerifiedBundle) -> commands.SeenCommand:
    seen = bench.run(lambda tx: commands.find_seen(tx, bundle.signer_kid, bundle.command.command_id))
    assert isinstance(seen, commands.SeenCommand)
    return seen


def test_an_attempt_knows_the_row_that_its_own_transaction_wrote_and_no_other(bench: DecisionBench) -> None:
    bundle = at_door(bench)
    attempt, repeated = Attempt(asked=bench.asked(bundle)), Attempt(asked=bench.asked(bundle))
    decided = bench.run(lambda tx: bench.reservations.attempt(bench.page(tx), attempt))
    row = row_of(bench, bundle)
    assert attempt.decided is decided
    assert attempt.is_row(row)
    assert not attempt.is_row(replace(row, command_seq=2)), "decided anew, after this one was not kept"
    assert not attempt.is_row(replace(row, command_sha256=bytes(32))), "other bytes under its id"
    assert not repeated.is_row(row), "it was never run"
    assert isinstance(bench.run(lambda tx: bench.reservations.attempt(bench.page(tx), repeated)).verdict, Repeated)
    assert not repeated.is_row(row)
    assert not repeated.is_row(replace(row, command_seq=None)), "a refusal's"


def test_a_permitted_command_is_reserved_open_with_its_receipt_and_its_entry(bench: DecisionBench) -> None:
    bundle = at_door(bench, use_count_max=3)
    decided = bench.ask(bundle)
    assert isinstance(decided.verdict, Permitted)
    assert (decided.journal_index, decided.command_seq, decided.without_disk) == (0, 1, False)
    assert row_of(bench, bundle) == commands.SeenCommand(
        kid=bundle.signer_kid,
        command_id=bundle.command.command_id,
        command_sha256=bundle.command_sha256,
        lock_id=LOCK_ID,
        grant_cti=bundle.proof.grant.cti,
        action=Action.UNLOCK,
        reserved_utc_s=NOW_S,
        command_seq=1,
        receipt=decided.receipt,
        code=Code.PERMITTED.wire,
        journal_index=0,
        use_name=0,
    )
    assert bench.run(commands.open_intents) == (row_of(bench, bundle),)
    assert bench.run(lambda tx: commands.load_uses(tx, bundle.proof.grant.cti)) == Uses(count=1)
    assert told(decided) == CommandReceipt(
        gateway_id=HOME.home.gateway_id,
        log_id=bench.journal.log_id,
        lock_id=LOCK_ID,
        command_sha256=bundle.command_sha256,
        phase=Phase.DECIDED,
        code=Code.PERMITTED,
        journal_index=0,
        utc_lo_s=NOW_S,
        utc_hi_s=NOW_S,
    )


def test_the_entry_says_who_asked_for_what_on_which_evidence(bench: DecisionBench) -> None:
    bench.state, bench.tier = HOME.state(seq=7), Tier.STALE
    bundle = at_door(bench)
    bench.ask(bundle)
    (entry,) = entries(bench)
    assert entry["type"] == "carelock.command.decided"
    assert entry["data"] == {
        "action": "unlock",
        "alarm_ref": None,
        "channel": "relay",
        "code": Code.PERMITTED.dotted,
        "command_id": bundle.command.command_id.hex(),
        "command_sha256": bundle.command_sha256.hex(),
        "grant": bundle.proof.grant.cti.hex(),
        "keyset_version": HOME.keyset.version,
        "provider": PROVIDER,
        "role": "carer",
        "second_signer": None,
        "second_subject": None,
        "signer": bundle.signer_kid.hex(),
        "state_seq": 7,
        "subject": "anna",
        "tier": "stale",
    }


def test_an_operators_entry_names_the_alarm_and_goes_first(bench: DecisionBench) -> None:
    bench.run(lambda tx: alarms.open_alarm(tx, LOCK_ID, REF, BOOTTIME_MS + 1))
    bundle = over_mqtt(bench, HOME.office.operator("olga", now_s=NOW_S), alarm_ref=REF)
    decided = bench.ask(bundle)
    assert isinstance(decided.verdict, Permitted)
    (entry,) = entries(bench)
    data = entry["data"]
    assert (data["role"], data["subject"], data["provider"]) == ("operator", "olga", None)
    assert (data["alarm_ref"], data["channel"], data["state_seq"]) == (REF.hex(), "mqtt", None)
    assert entry["priority"] is True


def test_two_operators_are_both_named(bench: DecisionBench) -> None:
    olga, otto = (HOME.office.operator(person, now_s=NOW_S) for person in ("olga", "otto"))
    bundle = HOME.together(olga, otto, epoch=bench.epoch.value)
    assert isinstance(bench.ask(bundle).verdict, Permitted)
    (entry,) = entries(bench)
    data = entry["data"]
    assert (data["subject"], data["second_subject"]) == ("olga", "otto")
    assert (data["signer"], data["second_signer"]) == (
        bundle.signer_kid.hex(),
        kid_of(bytes(otto.key.verify_key)).hex(),
    )


def test_a_revocation_that_is_held_is_read_for_the_decision(bench: DecisionBench) -> None:
    bundle = at_door(bench)
    bench.state = HOME.state(revoked_kids=(bundle.signer_kid,))
    assert bench.ask(bundle).verdict == Denied(code=Code.REVOKED)


def test_a_copy_of_a_call_for_help_calls_nobody(bench: DecisionBench) -> None:
    bench.ask(at_door(bench, 1))
    other = HOME.over_mqtt(
        HOME.carer(), command="command-1", epoch=bench.epoch.value, action=Action.UNLOCK_UNDER_DURESS
    )
    assert bench.ask(other).verdict == Denied(code=Code.ID_REUSED)
    assert "carelock.duress.signalled" not in [entry["type"] for entry in entries(bench)]


def test_a_carers_permitted_visit_is_no_priority_and_a_responders_is(bench: DecisionBench) -> None:
    bench.ask(at_door(bench, 1))
    bench.ask(at_door(bench, 2, offline_class=OfflineClass.RESPONDER))
    assert ["priority" in entry and entry["priority"] for entry in entries(bench)] == [False, True]


def test_a_refused_command_is_closed_with_its_code_and_moves_nothing(bench: DecisionBench) -> None:
    bundle = at_door(bench, rights=Rights.LOCK)
    decided = bench.ask(bundle)
    assert isinstance(decided.verdict, Denied)
    assert (decided.journal_index, decided.command_seq) == (0, None)
    row = row_of(bench, bundle)
    assert (row.code, row.command_seq, row.use_name, row.receipt) == (Code.RIGHTS.wire, None, None, decided.receipt)
    assert bench.run(commands.open_intents) == ()
    assert (told(decided).code, told(decided).retry_after_s) == (Code.RIGHTS, None)
    assert entries(bench)[0]["data"]["code"] == Code.RIGHTS.dotted
    assert bench.run(lambda tx: load_lockout(tx, bundle.signer_kid, LOCK_ID)).refusal_count == 1


def test_a_refusal_for_the_rate_says_when_to_come_back(tmp_path: Path) -> None:
    bench = DecisionBench(tmp_path / "store.sqlite", HOME, limits=LimitSettings(lock_burst=2, interval_ms=1_500))
    assert isinstance(bench.ask(at_door(bench, 1)).verdict, Permitted)
    refused = bench.ask(at_door(bench, 2))
    assert told(refused).code is Code.RATE_LIMITED
    assert told(refused).retry_after_s == 3
    bench.advance(2_999)
    assert told(bench.ask(at_door(bench, 3))).retry_after_s == 1
    bench.advance(1)
    assert isinstance(bench.ask(at_door(bench, 4)).verdict, Permitted)
    bench.close()


def test_the_same_bytes_again_get_the_recorded_receipt_and_write_nothing(bench: DecisionBench) -> None:
    bundle = at_door(bench)
    first = bench.ask(bundle)
    again = bench.ask(bundle)
    assert again.verdict == Repeated(receipt=first.receipt)
    assert (again.receipt, again.journal_index, again.command_seq) == (first.receipt, None, None)
    assert len(entries(bench)) == 1


def test_other_bytes_under_a_used_id_leave_the_first_row_and_raise_an_alarm(bench: DecisionBench) -> None:
    bundle = at_door(bench, 1)
    first = bench.ask(bundle)
    bench.challenges.learn(LOCK_ID, HOME.office.token("challenge-2"), bench.clock.boottime_ms)
    other = HOME.at_door(HOME.carer(), challenge="challenge-2", command="command-1")
    refused = bench.ask(other)
    assert refused.verdict == Denied(code=Code.ID_REUSED)
    assert refused.journal_index == 1
    assert row_of(bench, bundle).receipt == first.receipt
    _, decided, alert = entries(bench)
    assert (decided["data"]["code"], decided["priority"]) == (Code.ID_REUSED.dotted, True)
    assert (alert["type"], alert["data"]["code"], alert["priority"]) == (
        "carelock.alert.raised",
        Code.ID_REUSED.dotted,
        True,
    )
    assert bundle.signer_kid.hex() in alert["data"]["detail"]
    assert decided["source"] == alert["source"]
    assert alert["source"].endswith(f"/locks/{LOCK_ID.hex()}")


def test_each_lock_counts_its_commands_from_one_and_above_what_it_has_seen(bench: DecisionBench) -> None:
    assert [bench.ask(at_door(bench, number)).command_seq for number in (1, 2)] == [1, 2]
    bundle = at_door(bench, 3)
    asked = replace(bench.asked(bundle), command_seq_floor=9)
    decided = bench.run(lambda tx: bench.reservations.decide(bench.page(tx), asked))
    assert decided.command_seq == 10


def test_a_command_under_duress_calls_for_help_and_looks_like_an_unlock(bench: DecisionBench) -> None:
    bundle = at_door(bench, action=Action.UNLOCK_UNDER_DURESS)
    assert isinstance(bench.ask(bundle).verdict, Permitted)
    decided, help_ = entries(bench)
    assert decided["data"]["action"] == "unlock"
    assert help_["type"] == "carelock.duress.signalled"
    assert help_["source"].endswith(f"/locks/{LOCK_ID.hex()}")
    assert help_["priority"] is True
    assert help_["data"] == {"subject": "anna", "command_id": bundle.command.command_id.hex()}


def test_an_epoch_commands_second_is_remembered_and_an_earlier_one_is_superseded(bench: DecisionBench) -> None:
    later = over_mqtt(bench, HOME.carer(), 1, issued_s=100)
    assert isinstance(bench.ask(later).verdict, Permitted)
    earlier = over_mqtt(bench, HOME.carer(), 2, issued_s=99)
    assert bench.ask(earlier).verdict == Denied(code=Code.SUPERSEDED)
    bench.restart()
    of_now = over_mqtt(bench, HOME.carer(), 3, issued_s=0)
    assert isinstance(bench.ask(of_now).verdict, Permitted)


def test_uses_lock_out_and_alarms_are_read_from_the_store(bench: DecisionBench) -> None:
    assert isinstance(bench.ask(at_door(bench, 1, use_count_max=1)).verdict, Permitted)
    assert bench.ask(at_door(bench, 2, use_count_max=1)).verdict.code is Code.USES_SPENT  # type: ignore[union-attr]
    for number in range(3, 3 + FREE_COUNT):
        bench.ask(at_door(bench, number, windows=()))
    locked_out = bench.ask(at_door(bench, 20))
    assert isinstance(locked_out.verdict, Denied)
    assert (locked_out.verdict.code, told(locked_out).retry_after_s) == (Code.LOCKED_OUT, 10)
    olga = HOME.office.operator("olga", now_s=NOW_S)
    closed = bench.ask(over_mqtt(bench, olga, 21, alarm_ref=REF))
    assert closed.verdict == Denied(code=Code.ALARM_NOT_OPEN)
    bench.run(lambda tx: alarms.open_alarm(tx, LOCK_ID, REF, BOOTTIME_MS + 1))
    assert isinstance(bench.ask(over_mqtt(bench, olga, 22, alarm_ref=REF)).verdict, Permitted)
    bench.advance(1)
    assert bench.ask(over_mqtt(bench, olga, 23, alarm_ref=REF)).verdict == Denied(code=Code.ALARM_NOT_OPEN)


def test_who_is_let_in_again_starts_with_a_clean_slate(bench: DecisionBench) -> None:
    for number in range(FREE_COUNT):
        bench.ask(at_door(bench, number, windows=()))
    assert isinstance(bench.ask(at_door(bench, 10)).verdict, Permitted)
    bundle = at_door(bench, 11, windows=())
    bench.ask(bundle)
    assert bench.run(lambda tx: load_lockout(tx, bundle.signer_kid, LOCK_ID)).refusal_count == 1


def test_the_installers_grant_is_read_by_lock(bench: DecisionBench) -> None:
    bench.tier, bench.time = Tier.COLD, TimeInterval(lo_ms=NOW_MS)
    bundle = at_door(bench, 1)
    assert bench.ask(bundle).verdict == Denied(code=Code.TIER)
    bench.installer_ctis = {LOCK_ID: bundle.proof.grant.cti}
    assert isinstance(bench.ask(at_door(bench, 2)).verdict, Permitted)
    bench.installer_ctis = {bytes(8): bundle.proof.grant.cti}
    assert bench.ask(at_door(bench, 3)).verdict == Denied(code=Code.TIER)


def test_a_command_through_another_lock_than_it_names_is_refused(bench: DecisionBench) -> None:
    bundle = at_door(bench)
    asked = bench.asked(bundle, through=bytes(8))
    decided = bench.run(lambda tx: bench.reservations.decide(bench.page(tx), asked))
    assert decided.verdict == Denied(code=Code.WRONG_AUDIENCE)


def test_untrusted_time_leaves_the_receipts_upper_end_open(bench: DecisionBench) -> None:
    bench.tier, bench.time = Tier.COLD, TimeInterval(lo_ms=NOW_MS)
    receipt = told(bench.ask(at_door(bench, offline_class=OfflineClass.RESPONDER)))
    assert (receipt.utc_lo_s, receipt.utc_hi_s) == (NOW_S, None)


def test_a_power_cut_before_the_commit_leaves_nothing_and_the_command_is_new_again(bench: DecisionBench) -> None:
    bundle = at_door(bench, use_count_max=1)
    with pytest.raises(PowerCutError):
        bench.ask(bundle, power_fails=True)
    assert entries(bench) == []
    assert bench.run(partial(commands.find_seen, kid=bundle.signer_kid, command_id=bundle.command.command_id)) is None
    assert bench.run(lambda tx: commands.load_uses(tx, bundle.proof.grant.cti)).count == 0
    assert bench.ask(bundle).verdict == Denied(code=Code.CHALLENGE_UNKNOWN)  # it bought one look, and that was it
    assert isinstance(bench.ask(at_door(bench, 2, use_count_max=1)).verdict, Permitted)


def test_explaining_reads_the_same_facts_and_writes_nothing(bench: DecisionBench) -> None:
    bundle = at_door(bench)
    bench.ask(bundle)
    other = at_door(bench, 2)
    asked = bench.asked(other)
    size = len(entries(bench))
    facts = bench.run(lambda tx: bench.reservations.facts(tx, bench.time, asked))
    assert facts.bucket_states
    assert (facts.time, facts.tier, facts.state, facts.keyset) == (bench.time, bench.tier, None, HOME.keyset)
    assert (facts.gateway_id, facts.lock_ids) == (HOME.home.gateway_id, frozenset({LOCK_ID}))
    assert (facts.seen, facts.came_through, facts.limits) == (None, LOCK_ID, LimitSettings())
    assert len(entries(bench)) == size


def refused_until_unrecorded(bench: DecisionBench) -> None:
    """Let the carer be refused so often that no more entries are written, for a reason that locks nobody out."""
    for number in range(100, 100 + REFUSAL_BURST):
        assert (
            bench.ask(HOME.at_door(HOME.carer(), challenge="never", command=f"command-{number}")).journal_index
            is not None
        )


def test_a_holder_who_is_refused_all_the_time_fills_no_disk_and_is_told_all_the_same(bench: DecisionBench) -> None:
    refused_until_unrecorded(bench)
    size = len(entries(bench))
    bundle = HOME.at_door(HOME.carer(), challenge="never", command="command-1")
    decided = bench.ask(bundle)
    receipt = told(decided)
    assert (decided.verdict, decided.journal_index) == (Denied(code=Code.CHALLENGE_UNKNOWN), None)
    assert (receipt.code, receipt.journal_index, receipt.command_sha256) == (
        Code.CHALLENGE_UNKNOWN,
        None,
        bundle.command_sha256,
    )
    assert (receipt.phase, receipt.lock_id, receipt.retry_after_s) == (Phase.DECIDED, LOCK_ID, None)
    assert len(entries(bench)) == size
    assert isinstance(bench.ask(at_door(bench, 2)).verdict, Permitted)
    bench.advance(REFUSAL_INTERVAL_MS)
    assert bench.ask(HOME.at_door(HOME.carer(), challenge="never", command="command-3")).journal_index is not None


def test_an_unrecorded_refusal_says_when_to_come_back_too(tmp_path: Path) -> None:
    bench = DecisionBench(tmp_path / "store.sqlite", HOME, limits=LimitSettings(lock_burst=2))
    refused_until_unrecorded(bench)
    assert isinstance(bench.ask(at_door(bench, 1)).verdict, Permitted)
    refused = bench.ask(at_door(bench, 2))
    assert (told(refused).code, told(refused).retry_after_s, refused.journal_index) == (Code.RATE_LIMITED, 120, None)
    bench.close()


def test_forced_lock_out_by_replay_of_an_unrecorded_refusal_is_impossible(bench: DecisionBench) -> None:
    refused_until_unrecorded(bench)
    overheard = over_mqtt(bench, HOME.carer(windows=()), 1)
    for _ in range(10):
        assert bench.ask(overheard).verdict.code is Code.OUTSIDE_WINDOW  # type: ignore[union-attr]
    assert bench.run(lambda tx: load_lockout(tx, overheard.signer_kid, LOCK_ID)) == NEVER_REFUSED
    assert isinstance(bench.ask(at_door(bench, 2)).verdict, Permitted)


def decide(bench: DecisionBench, asked: Asked, tx: Transaction) -> Decided:
    return bench.reservations.decide(bench.page(tx), asked)


def test_what_a_permitted_command_brought_is_kept_with_it_and_what_a_refused_one_brought_is_not(
    bench: DecisionBench,
) -> None:
    for number, windows in ((1, ()), (2, ((NOW_S, NOW_S + 60),))):
        bundle = at_door(bench, number, windows=windows)
        proof = bundle.proof
        stored = StoredGrant(
            sha256=proof.sha256, issuer_kid=proof.issuer_kid, cti=proof.grant.cti, exp_s=proof.exp_s, raw=proof.raw
        )
        asked = replace(
            bench.asked(bundle), paper=Paper(grant=stored, authority=proof.authority_raw, authority_kid=bytes(8))
        )
        bench.run(partial(decide, bench, asked))
        assert bench.run(partial(find_grant, sha256=proof.sha256)) == (proof.raw if windows else None)
