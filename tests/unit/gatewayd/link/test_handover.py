"""What a lock is handed for the day when its gateway is gone, and whether the head that it signs is believed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from nacl.signing import SigningKey

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.lock_log import LogPosition
from firmware_protocol.signed import sign
from firmware_protocol.statements import LogHead
from firmware_protocol.vocabulary import Parcel
from gatewayd.link.attendance import REFRESH_MS
from gatewayd.link.log_transfer import check_head
from simulator.office import Office
from tests.support.link_home import LinkHome
from tests.support.virtual_loop import run_virtual

NOW_S = 1_790_000_000
OFFICE = Office(b"handover")
HOME = OFFICE.home("home-1")
KEY = SigningKey(bytes([5]) * 32)
LOCK_ID = b"lock-id."
POSITION = LogPosition(log_id=b"l" * 16, seq=7, head=b"h" * 32)
HEAD = LogHead(lock_id=LOCK_ID, log_id=POSITION.log_id, from_seq=1, to_seq=7, head=POSITION.head)


def verifying_home() -> LinkHome:
    return LinkHome(roots=OFFICE.root_public_keys, gateway_id=HOME.gateway_id)


def parcels(*, seq: int = 1) -> tuple[tuple[Parcel, bytes], ...]:
    return (
        (Parcel.KEYSET, OFFICE.keyset(now_s=NOW_S)),
        (Parcel.AUTHORITY, OFFICE.authority(HOME, "north-care", now_s=NOW_S)),
        (Parcel.STATE, OFFICE.state(HOME, now_s=NOW_S, seq=seq)),
    )


def test_a_lock_that_verifies_gets_keyset_authorities_and_state_and_each_once() -> None:
    async def story() -> None:
        home = verifying_home()
        home.ledger.held_parcels = parcels()
        async with home.running():
            await home.until(lambda: home.flash.values.state)
            assert hashlib.sha256(home.flash.values.keyset).digest() == hashlib.sha256(parcels()[0][1]).digest()
            assert len(home.flash.values.authorities) == 1
            writes = home.medium.write_count
            home.radio.drop_link()
            await home.until_ready()
            await home.until(lambda: home.flash.values.session_ctr == 2)
            assert home.medium.write_count - writes < 10

    run_virtual(story())


@pytest.mark.no_cover
def test_a_newer_state_reaches_the_lock_within_a_minute() -> None:
    async def story() -> None:
        home = verifying_home()
        home.ledger.held_parcels = parcels()
        async with home.running():
            await home.until(lambda: home.flash.values.state)
            home.ledger.held_parcels = parcels(seq=2)
            began_ms = home.clock.now().monotonic_ms
            await home.until(lambda: home.flash.values.state == parcels(seq=2)[2][1])
            assert home.clock.now().monotonic_ms - began_ms <= REFRESH_MS + 2_000

    run_virtual(story())


def test_a_lock_that_does_not_verify_is_handed_nothing() -> None:
    async def story() -> None:
        home = LinkHome()
        home.ledger.held_parcels = parcels()
        async with home.running():
            await home.until(lambda: home.diary.doors)
            assert home.flash.values.keyset == b""

    run_virtual(story())


def test_a_head_over_what_is_held_is_believed_and_a_longer_one_too() -> None:
    for head in (HEAD, replace(HEAD, to_seq=9, head=b"n" * 32)):
        raw = sign(head, KEY)
        assert check_head(raw, lock_id=LOCK_ID, log_key=bytes(KEY.verify_key), position=POSITION) == head


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        pytest.param(sign(HEAD, SigningKey(bytes([6]) * 32)), Code.BAD_SIGNATURE, id="another lock's signature"),
        pytest.param(sign(replace(HEAD, lock_id=bytes(8)), KEY), Code.LOG_FORK, id="another lock"),
        pytest.param(sign(replace(HEAD, log_id=bytes(16)), KEY), Code.LOG_FORK, id="another log"),
        pytest.param(sign(replace(HEAD, to_seq=6), KEY), Code.LOG_FORK, id="less than is held"),
        pytest.param(sign(replace(HEAD, head=bytes(32)), KEY), Code.LOG_FORK, id="another history"),
    ],
)
def test_attack_a_head_of_another_history_is_not_journaled(raw: bytes, code: Code) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        check_head(raw, lock_id=LOCK_ID, log_key=bytes(KEY.verify_key), position=POSITION)
    assert refused.value.code is code


def test_attack_a_head_that_another_key_signed_raises_an_alarm_and_leaves_the_journal() -> None:
    async def story() -> None:
        home = LinkHome()
        home.link = home.make_link(log_key=bytes(KEY.verify_key))
        async with home.running():
            await home.until(lambda: home.diary.alerts)
            assert home.diary.alerts == [Code.BAD_SIGNATURE]
            assert home.ledger.heads == []

    run_virtual(story())
