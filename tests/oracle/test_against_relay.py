"""The oracle's phone against this project's decider: what it signs is verified, what it is told it understands."""

from __future__ import annotations

from typing import Any

import pytest

from firmware_protocol.chains import Known, verify_bundle, verify_keyset
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.noise import KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer, RelayDecider
from firmware_protocol.statements import CommandReceipt, GatewayInfo
from firmware_protocol.tokens import Keyset
from firmware_protocol.vectors.examples import GATEWAY_ID, LOCK_ID, NOW_S, PUBLIC, signed_example
from firmware_protocol.vocabulary import Rights
from tests.oracle import cbor, envelope
from tests.oracle.phone import Office, OraclePhone, Visit

CHALLENGE = b"\xe2" * 16
COMMAND_ID = b"\xe5" * 16
DECIDER = KeyPair.from_private(b"\x21" * 32)
OFFICE = Office(authority_seed=b"\x04" * 32, provider_seed=b"\x0a" * 32)
PHONE = OraclePhone(device_seed=b"\x0b" * 32, office=OFFICE, gateway_id=GATEWAY_ID, lock_id=LOCK_ID)
ROOTS = [PUBLIC[name] for name in ("root 1", "root 2", "root 3")]


def known() -> Known:
    keyset = verify_keyset(signed_example(Keyset), roots=ROOTS)
    return Known(keyset=keyset, find_grant=lambda _: None, find_authority=lambda _: None)


def visit(*, challenge: bytes = CHALLENGE, decider_key: bytes = DECIDER.public) -> tuple[Visit, RelayDecider]:
    decider = RelayDecider(keys=DECIDER, challenge=CHALLENGE, ephemeral=KeyPair.from_private(b"\x23" * 32))
    return Visit(decider_key=decider_key, challenge=challenge, ephemeral=b"\x25" * 32), decider


def test_the_oracles_bundle_is_verified_from_the_roots_down() -> None:
    bundle = verify_bundle(PHONE.bundle(challenge=CHALLENGE, command_id=COMMAND_ID, now_s=NOW_S), known=known())
    assert bundle.command.challenge == CHALLENGE
    assert bundle.proof.rights == Rights.UNLOCK | Rights.LOCK
    assert bundle.proof.grant.subject == "carer-17"


def test_a_flipped_bit_in_it_is_noticed() -> None:
    signed = PHONE.bundle(challenge=CHALLENGE, command_id=COMMAND_ID, now_s=NOW_S)
    with pytest.raises(RemoteProtocolError):
        verify_bundle(signed[:-1] + bytes([signed[-1] ^ 1]), known=known())


def test_a_visit_goes_from_the_bundle_to_the_last_receipt() -> None:
    phone, decider = visit()
    bundle = PHONE.bundle(challenge=CHALLENGE, command_id=COMMAND_ID, now_s=NOW_S)
    assert decider.read_bundle(phone.say(bundle)) == bundle
    receipt = signed_example(CommandReceipt)
    for kind, body in ((AnswerKind.INFO, signed_example(GatewayInfo)), (AnswerKind.RECEIPT, receipt)):
        assert phone.hear(decider.answer(RelayAnswer(kind=kind, body=body))) == {0: int(kind), 1: body}
    assert phone.hear(decider.answer(RelayAnswer(kind=AnswerKind.DENIED))) == {0: 2}


def test_a_receipt_says_what_the_oracle_reads_in_it() -> None:
    payload: dict[int, Any] = cbor.decode(envelope.open1(signed_example(CommandReceipt), PUBLIC["gateway"], "receipt"))
    assert (payload[2], payload[4], payload[5]) == (LOCK_ID, 2, Code.DONE.wire)


@pytest.mark.parametrize(
    "changes", [{"challenge": bytes(16)}, {"decider_key": KeyPair.from_private(b"\x26" * 32).public}], ids=str
)
def test_another_challenge_or_another_decider_and_nobody_understands_anybody(changes: dict[str, bytes]) -> None:
    phone, decider = visit(**changes)
    with pytest.raises(RemoteProtocolError) as caught:
        decider.read_bundle(phone.say(b"\x80"))
    assert caught.value.code is Code.DENIED
