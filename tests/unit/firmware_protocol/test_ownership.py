"""Which orders take effect: both sides of each boundary, each attack by its name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.chains import verify_keyset
from firmware_protocol.codes import Code
from firmware_protocol.constants import OWNER_EPOCH_STEP_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.orders import DecommissionOrder, PairingOrder
from firmware_protocol.ownership import Ownership, judge_order, open_order
from firmware_protocol.signed import open_signed, sign
from firmware_protocol.vocabulary import Role
from simulator.office import Office

if TYPE_CHECKING:
    from firmware_protocol.ownership import Order

NOW_S = 1_800_000_000
OFFICE = Office(b"ownership")
HOME, OTHER_HOME = OFFICE.home("home-1"), OFFICE.home("home-2")
KEYSET = verify_keyset(OFFICE.keyset(now_s=NOW_S), roots=OFFICE.root_public_keys)
PAIRING_KEY = bytes(OFFICE.role_keys[Role.PAIRING].verify_key)
SIGNED = OFFICE.pairing_order(HOME, now_s=NOW_S, owner_epoch=5)
PAIRING = open_signed(PairingOrder, SIGNED, PAIRING_KEY)
DECOMMISSION = DecommissionOrder(lock_id=HOME.lock_id, gateway_id=HOME.gateway_id, owner_epoch=5, exp_s=NOW_S + 86_400)
UNOWNED = Ownership(
    lock_id=HOME.lock_id,
    link_key=HOME.lock_link_keys.public,
    owner_epoch=4,
    gateway_id=None,
    peer_key=HOME.gateway_link_keys.public,
    utc_lo_s=NOW_S,
)
OWNED = replace(UNOWNED, gateway_id=HOME.gateway_id, peer_key=None)


def test_the_order_of_this_lock_and_this_gateway_takes_effect() -> None:
    assert open_order(SIGNED, keyset=KEYSET) == PAIRING
    assert judge_order(PAIRING, UNOWNED) is None


def test_the_owner_may_hand_over_an_order_for_itself_with_another_link_key() -> None:
    rotated = replace(PAIRING, gateway_link_key=bytes([9]) * 32)
    assert judge_order(rotated, OWNED) is None


def test_the_owner_may_hand_over_the_order_that_ends_its_time() -> None:
    signed = sign(DECOMMISSION, OFFICE.role_keys[Role.PAIRING])
    assert open_order(signed, keyset=KEYSET) == DECOMMISSION
    assert judge_order(DECOMMISSION, OWNED) is None


@pytest.mark.parametrize(
    ("epoch", "code"),
    [
        pytest.param(3, Code.OWNER_EPOCH, id="before the last"),
        pytest.param(4, Code.OWNER_EPOCH, id="the last again"),
        pytest.param(5, None, id="the next"),
        pytest.param(4 + OWNER_EPOCH_STEP_MAX, None, id="the largest step"),
        pytest.param(5 + OWNER_EPOCH_STEP_MAX, Code.OWNER_EPOCH, id="a leap that would burn the counter"),
    ],
)
@pytest.mark.parametrize(("order", "known"), [(PAIRING, UNOWNED), (PAIRING, OWNED), (DECOMMISSION, OWNED)])
def test_attack_replayed_order_or_burnt_counter(order: Order, known: Ownership, epoch: int, code: Code | None) -> None:
    assert judge_order(replace(order, owner_epoch=epoch), known) is code


@pytest.mark.parametrize(("order", "known"), [(PAIRING, UNOWNED), (DECOMMISSION, OWNED)])
def test_attack_order_for_another_lock(order: Order, known: Ownership) -> None:
    assert judge_order(order, replace(known, lock_id=OTHER_HOME.lock_id)) is Code.WRONG_AUDIENCE


def test_attack_order_with_the_right_id_and_another_locks_key() -> None:
    other = replace(UNOWNED, link_key=OTHER_HOME.lock_link_keys.public)
    assert judge_order(PAIRING, other) is Code.WRONG_AUDIENCE


def test_attack_somebody_elses_order_presented_by_another_gateway() -> None:
    thief = replace(UNOWNED, peer_key=OTHER_HOME.gateway_link_keys.public)
    assert judge_order(PAIRING, thief) is Code.WRONG_AUDIENCE


def test_attack_a_gateway_id_that_is_not_that_of_its_key() -> None:
    assert judge_order(replace(PAIRING, gateway_id=OTHER_HOME.gateway_id), UNOWNED) is Code.WRONG_AUDIENCE


def test_attack_the_owner_gives_the_lock_away_in_a_session() -> None:
    assert judge_order(PAIRING, replace(OWNED, gateway_id=OTHER_HOME.gateway_id)) is Code.WRONG_AUDIENCE


def test_attack_a_stranger_with_the_label_takes_a_lock_down() -> None:
    pairing_link = replace(OWNED, peer_key=HOME.gateway_link_keys.public)
    assert judge_order(DECOMMISSION, pairing_link) is Code.WRONG_AUDIENCE


def test_attack_a_lock_of_nobody_is_taken_down() -> None:
    assert judge_order(DECOMMISSION, replace(OWNED, gateway_id=None)) is Code.WRONG_AUDIENCE


@pytest.mark.parametrize(("exp_s", "code"), [(NOW_S + 1, None), (NOW_S, Code.EXPIRED)])
@pytest.mark.parametrize(("order", "known"), [(PAIRING, UNOWNED), (DECOMMISSION, OWNED)])
def test_attack_expired_order(order: Order, known: Ownership, exp_s: int, code: Code | None) -> None:
    assert judge_order(replace(order, exp_s=exp_s), known) is code


def test_attack_an_order_signed_by_another_role_is_refused() -> None:
    for token in (PAIRING, DECOMMISSION):
        with pytest.raises(RemoteProtocolError, match="unknown_signer"):
            open_order(sign(token, OFFICE.role_keys[Role.STATUS]), keyset=KEYSET)


def test_attack_a_forged_order_is_refused() -> None:
    forged = SIGNED[:-1] + bytes([SIGNED[-1] ^ 1])
    with pytest.raises(RemoteProtocolError, match="bad_signature"):
        open_order(forged, keyset=KEYSET)


def test_attack_a_pairing_order_presented_as_a_decommission_order() -> None:
    # Each verifies only under its own domain, whatever whoever hands it over calls it.
    assert isinstance(open_order(SIGNED, keyset=KEYSET), PairingOrder)
    with pytest.raises(RemoteProtocolError, match="bad_signature"):
        open_signed(DecommissionOrder, SIGNED, PAIRING_KEY)
