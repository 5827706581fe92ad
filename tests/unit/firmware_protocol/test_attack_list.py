"""The attack list of the contract, a test a row, named as the attack. Details stand with the modules' own tests."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import firmware_protocol
from firmware_protocol import cbor, cose
from firmware_protocol.chains import Known, make_bundle, open_by_role, verify_bundle, verify_keyset
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.messages import LockCommand, Pong
from firmware_protocol.noise import KeyPair
from firmware_protocol.orders import DecommissionOrder, PairingOrder
from firmware_protocol.ownership import Ownership, judge_order, open_order
from firmware_protocol.pairing import link_key_fingerprint
from firmware_protocol.session import RecordReceived, SessionState, StatusWanted
from firmware_protocol.signed import open_signed, sign
from firmware_protocol.statements import AuthorityState, CommandReceipt
from firmware_protocol.tokens import Authority, Grant, Keyset
from firmware_protocol.vectors import own
from firmware_protocol.vectors.examples import (
    AUTHORITY,
    COMMAND,
    GATEWAY_ID,
    GATEWAY_LINK,
    GRANT,
    LOCK_ID,
    LOCK_LINK,
    NOW_S,
    PUBLIC,
    SIGNED_COMMAND,
    SIGNED_GRANT,
    SIGNERS,
    VALUES,
    signed_example,
)
from firmware_protocol.vocabulary import Action, Rights, Role
from tests.support.session_pair import SessionPair

if TYPE_CHECKING:
    from collections.abc import Callable

ROOTS = [PUBLIC[name] for name in ("root 1", "root 2", "root 3")]
KEYSET = verify_keyset(signed_example(Keyset), roots=ROOTS)
KNOWN = Known(keyset=KEYSET, find_grant=lambda _: None, find_authority=lambda _: None)


def refusal(act: Callable[[], object]) -> Code:
    with pytest.raises(RemoteProtocolError) as caught:
        act()
    return caught.value.code


def pairing_order() -> PairingOrder:
    order = VALUES[PairingOrder][0]
    assert isinstance(order, PairingOrder)
    return order


def paired(**changes: object) -> Ownership:
    known = Ownership(
        lock_id=LOCK_ID,
        link_key=LOCK_LINK.public,
        owner_epoch=0,
        gateway_id=None,
        peer_key=GATEWAY_LINK.public,
        utc_lo_s=NOW_S,
    )
    return replace(known, **changes)  # type: ignore[arg-type]  # each test names a field of it


# ------------------------------------------------------------------------------------------------------------ the link


def test_attack_message_1_of_kk_is_replayed_and_the_lock_stays_inert() -> None:
    recorded = SessionPair()
    hello = recorded.gateway.take_values()
    message_1 = recorded.to_gateway(*recorded.to_lock(*hello))
    recorded.to_gateway(*recorded.to_lock(*message_1))
    recorded.gateway.confirm(utc_lo_s=None, utc_hi_s=None)
    confirm = recorded.gateway.take_values()
    victim = SessionPair(seed=2)
    victim.to_lock(*hello, *message_1)
    assert victim.lock_events == [StatusWanted()]
    assert victim.lock.state is SessionState.UNCONFIRMED
    assert refusal(lambda: victim.to_lock(*confirm)) is Code.DENIED
    assert victim.lock_events == [StatusWanted()]


@pytest.mark.parametrize("bit", range(0, 8 * 20, 7))
def test_attack_any_bit_of_a_hello_is_flipped(bit: int) -> None:
    pair = SessionPair()
    (hello,) = pair.gateway.take_values()
    at = 3 + bit // 8  # behind the fragment's header and length
    spoiled = hello[:at] + bytes((hello[at] ^ 1 << bit % 8,)) + hello[at + 1 :]

    def meet() -> None:
        back = pair.to_lock(spoiled)
        pair.to_lock(*pair.to_gateway(*back))

    assert refusal(meet) in {Code.DENIED, Code.MALFORMED, Code.VERSION, Code.UNSUPPORTED_TYPE}
    assert pair.lock_events == []


def test_attack_a_version_below_the_floor_is_offered() -> None:
    pair = SessionPair(version_floor=2)
    assert refusal(lambda: pair.to_lock(*pair.gateway.take_values())) is Code.VERSION


@pytest.mark.parametrize(
    "spoil",
    [
        lambda first, _: (first, first),
        lambda _, second: (second,),
        lambda first, second: (second, first),
    ],
    ids=["duplicated", "lost", "reordered"],
)
def test_attack_a_notification_is_lost_duplicated_or_reordered(
    spoil: Callable[[bytes, bytes], tuple[bytes, ...]],
) -> None:
    pair = SessionPair().until_ready()
    pair.lock.send(Pong(up_ms=1), corr=1)
    pair.lock.send(Pong(up_ms=2), corr=2)
    first, second = pair.lock.take_values()
    assert refusal(lambda: pair.to_gateway(*spoil(first, second))) is Code.MALFORMED


def test_attack_two_gateways_use_the_same_key() -> None:
    # The clone took the lock to session 9; the true gateway comes with the next of its own numbers.
    true = SessionPair(session_ctr=6, lock_session_ctr=9)
    assert refusal(true.carry) is Code.CLONE_SUSPECT


def test_attack_the_session_counter_is_burnt_in_one_step() -> None:
    thief = SessionPair(session_ctr=4 + 65_537)
    thief.until_unconfirmed()
    thief.gateway.confirm(utc_lo_s=None, utc_hi_s=None)
    assert refusal(thief.carry) is Code.CLONE_SUSPECT


def test_attack_a_held_back_lock_command_carries_its_own_death() -> None:
    pair = SessionPair().until_ready()
    command = LockCommand(
        command_seq=1,
        action=Action.UNLOCK,
        command_hash=bytes(16),
        command_id=bytes(16),
        actor_kid=bytes(8),
        before_up_ms=70_000,
    )
    pair.gateway.send(command, corr=1)
    pair.now_ms += 20_000
    pair.to_lock(*pair.gateway.take_values())
    (received,) = pair.lock_events
    assert isinstance(received, RecordReceived)
    assert isinstance(received.message, LockCommand)
    # However late it comes, the bound is the one that was sealed: the lock compares it with its own uptime (§10.5).
    assert received.message.before_up_ms == 70_000


# --------------------------------------------------------------------------------------------------------- the objects


def test_attack_a_grant_is_presented_as_the_command() -> None:
    bundle = make_bundle(SIGNED_GRANT, SIGNED_GRANT, signed_example(Authority))
    assert refusal(lambda: verify_bundle(bundle, known=KNOWN)) is Code.BAD_SIGNATURE


def test_attack_a_pairing_order_is_presented_as_a_decommission_order() -> None:
    order = signed_example(PairingOrder)
    code = refusal(lambda: open_by_role(DecommissionOrder, order, keyset=KEYSET, role=Role.PAIRING))
    assert code is Code.BAD_SIGNATURE
    relabelled = cose.sign1(VALUES[PairingOrder][0].to_bytes(), key=SIGNERS["pairing"], domain="unpair")
    assert refusal(lambda: open_order(relabelled, keyset=KEYSET)) is Code.MALFORMED


def test_attack_the_state_of_another_gateway_is_told_apart_by_its_audience() -> None:
    state = open_by_role(AuthorityState, signed_example(AuthorityState), keyset=KEYSET, role=Role.STATUS)
    assert state.audience == (GATEWAY_ID,)
    two = cbor.encode({3: [GATEWAY_ID, bytes(8)], 4: 1, 6: 1, 7: bytes(16), -70_001: {0: 1, 1: 1, 2: [], 3: [], 4: []}})
    signed = cose.sign1(two, key=SIGNERS["status"], domain=AuthorityState.DOMAIN)
    code = refusal(lambda: open_by_role(AuthorityState, signed, keyset=KEYSET, role=Role.STATUS))
    assert code is Code.MALFORMED


@pytest.mark.parametrize(("stored", "step"), [(1, 0), (1, -1), (1, 65_537)])
def test_attack_the_owner_epoch_is_burnt_or_used_again(stored: int, step: int) -> None:
    order = replace(pairing_order(), owner_epoch=max(stored + step, 1))
    assert judge_order(order, paired(owner_epoch=stored)) is Code.OWNER_EPOCH


@pytest.mark.parametrize(
    "wrong",
    [
        {"lock_id": bytes(8)},
        {"lock_link_key_fingerprint": link_key_fingerprint(KeyPair.from_private(bytes(32)).public)},
    ],
    ids=["id", "key"],
)
def test_attack_an_order_for_another_lock(wrong: dict[str, bytes]) -> None:
    order = replace(pairing_order(), **wrong)  # type: ignore[arg-type]  # each is a field of it
    assert judge_order(order, paired()) is Code.WRONG_AUDIENCE


def test_attack_a_grant_that_is_wider_than_its_authority_gives_what_both_give() -> None:
    wide = sign(replace(GRANT, rights=Rights.UNLOCK | Rights.SERVICE, exp_s=AUTHORITY.exp_s + 1), SIGNERS["provider"])
    command = sign(replace(COMMAND, grant_sha256=hashlib.sha256(wide).digest()), SIGNERS["device"])
    bundle = verify_bundle(make_bundle(command, wide, signed_example(Authority)), known=KNOWN)
    assert (bundle.proof.rights, bundle.proof.exp_s) == (Rights.UNLOCK, AUTHORITY.exp_s)


def test_attack_a_chain_in_another_order() -> None:
    parts = (SIGNED_COMMAND, SIGNED_GRANT, signed_example(Authority))
    for turned in ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        bundle = make_bundle(*(parts[index] for index in turned))
        assert refusal(lambda bundle=bundle: verify_bundle(bundle, known=KNOWN)) in {  # type: ignore[misc]
            Code.MALFORMED,
            Code.BAD_SIGNATURE,
            Code.UNKNOWN_SIGNER,
        }


def test_attack_a_key_stands_twice_in_a_signed_map() -> None:
    payload = GRANT.to_bytes()
    count, entries = payload[0] & 0x1F, payload[1:]
    first = cbor.encode({1: GRANT.issuer})[1:]
    twice = bytes((0xA0 + count + 1,)) + first + entries
    signed = cose.sign1(twice, key=SIGNERS["provider"], domain=Grant.DOMAIN)
    assert refusal(lambda: open_signed(Grant, signed, PUBLIC["provider"])) is Code.MALFORMED


def test_attack_a_receipt_for_another_command_names_another_hash() -> None:
    receipt = open_signed(CommandReceipt, signed_example(CommandReceipt), PUBLIC["gateway"])
    varied = SIGNED_COMMAND[:-1] + bytes((SIGNED_COMMAND[-1] ^ 1,))
    assert receipt.command_sha256 == hashlib.sha256(SIGNED_COMMAND).digest()
    assert receipt.command_sha256 != hashlib.sha256(varied).digest()


# ----------------------------------------------------------------------------------------------------------- the codes


def test_every_code_that_the_package_raises_is_shown_by_a_vector() -> None:
    source = Path(firmware_protocol.__file__).parent
    raised = set()
    for path in source.glob("*.py"):
        raised |= set(re.findall(r"RemoteProtocolError\(\s*Code\.([A-Z_]+)", path.read_text()))
    shown = {case["error"] for _, text in own.documents() for case in json.loads(text)["cases"]}
    assert raised - shown == set()
    assert shown - {None} <= {code.name for code in Code}
