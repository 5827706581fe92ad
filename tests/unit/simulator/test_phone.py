from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.hello import PlainClose
from firmware_protocol.noise import KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer
from firmware_protocol.vocabulary import Phase, Tier
from simulator.office import unlock_at_door
from simulator.phone import HELLO_MS_MAX, INFO_MS_MAX, Phone, verify_door
from tests.support.door_decider import CHALLENGE, DoorDecider, LinkGoneError
from tests.support.homes import NOW_S, PROVIDER, TestHome
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulator.phone import Visit

    Script = Callable[[DoorDecider, bytes], Sequence[RelayAnswer | PlainClose | None]]


@pytest.fixture(scope="module")
def home() -> TestHome:
    return TestHome.make()


def bundle_for(home: TestHome) -> Callable[[bytes], bytes]:
    holder = home.office.carer(home.home, PROVIDER, "anna", now_s=NOW_S)
    return lambda challenge: unlock_at_door(
        holder, home.home, challenge=challenge, command_id=home.office.token("id"), now_s=NOW_S
    )


def visit(
    home: TestHome, script: Script, *, greets: bool = True, patience_ms: int = 15_000
) -> tuple[Visit, DoorDecider]:
    async def main() -> tuple[Visit, DoorDecider]:
        door = verify_door(home.office.door(home.home), keyset=home.keyset)
        ephemeral = KeyPair.from_private(bytes(31) + b"\x01")
        phone = Phone(door=door, new_ephemeral=lambda: ephemeral, link_faults=(LinkGoneError,))
        link = DoorDecider(home.home, script, greets=greets)
        return await phone.visit(link, bundle_for(home), patience_ms=patience_ms), link

    return run_virtual(main())


def test_a_permitted_command_brings_home_the_decision_and_the_outcome(home: TestHome) -> None:
    done, link = visit(home, lambda d, _: [d.receipt(Code.PERMITTED), d.receipt(Code.DONE, phase=Phase.OUTCOME)])
    assert [receipt.code for receipt in done.receipts] == [Code.PERMITTED, Code.DONE]
    assert (done.final, done.denied, done.unverified_count, link.closed) == (Code.DONE, False, 0, True)
    assert link.bundle == bundle_for(home)(CHALLENGE)


def test_the_bundle_is_made_over_the_challenge_of_this_lock(home: TestHome) -> None:
    seen: list[bytes] = []

    async def main() -> None:
        door = verify_door(home.office.door(home.home), keyset=home.keyset)
        phone = Phone(
            door=door, new_ephemeral=lambda: KeyPair.from_private(bytes(31) + b"\x02"), link_faults=(LinkGoneError,)
        )

        def make(challenge: bytes) -> bytes:
            seen.append(challenge)
            return bundle_for(home)(challenge)

        await phone.visit(DoorDecider(home.home, lambda d, _: [d.receipt(Code.RIGHTS)]), make)

    run_virtual(main())
    assert seen == [CHALLENGE]


def test_a_refusal_ends_the_visit(home: TestHome) -> None:
    refused, _ = visit(home, lambda d, _: [d.receipt(Code.OUTSIDE_WINDOW)])
    assert (refused.final, refused.elapsed_ms) == (Code.OUTSIDE_WINDOW, 0)


@pytest.mark.parametrize("code", [Code.EXPIRED, Code.WRONG_AUDIENCE, Code.WRONG_EPOCH])
def test_a_refusal_that_an_info_explains_waits_for_it(home: TestHome, code: Code) -> None:
    refused, _ = visit(home, lambda d, _: [d.receipt(code), d.info()])
    assert refused.final is code
    assert refused.info is not None
    assert refused.info.tier is Tier.FRESH


def test_an_info_that_never_comes_is_not_waited_for_long(home: TestHome) -> None:
    refused, _ = visit(home, lambda d, _: [d.receipt(Code.EXPIRED)], patience_ms=INFO_MS_MAX * 2)
    assert (refused.final, refused.info) == (Code.EXPIRED, None)


def test_denied_is_all_that_a_stranger_hears(home: TestHome) -> None:
    stranger, _ = visit(home, lambda _d, _b: [RelayAnswer(kind=AnswerKind.DENIED)])
    assert (stranger.denied, stranger.receipts) == (True, ())


def test_attack_a_receipt_by_another_key_is_silence(home: TestHome) -> None:
    forged, _ = visit(
        home,
        lambda d, _: [d.receipt(Code.DONE, phase=Phase.OUTCOME, key=home.office.signing_key("mallory")), None],
    )
    assert (forged.receipts, forged.unverified_count) == ((), 1)


def test_attack_a_receipt_for_another_command_is_silence(home: TestHome) -> None:
    moved, _ = visit(home, lambda d, _: [d.receipt(Code.DONE, phase=Phase.OUTCOME, command=b"other"), None])
    assert (moved.receipts, moved.unverified_count) == ((), 1)


def test_attack_an_answer_by_nobody_who_holds_the_gateways_link_key_ends_the_visit(home: TestHome) -> None:
    other = home.office.home("home-2")

    async def main() -> Visit:
        door = verify_door(home.office.door(home.home), keyset=home.keyset)
        ephemeral = KeyPair.from_private(bytes(31) + b"\x03")
        phone = Phone(door=door, new_ephemeral=lambda: ephemeral, link_faults=(LinkGoneError, RemoteProtocolError))
        return await phone.visit(DoorDecider(other, lambda d, _: [d.receipt(Code.DONE)]), bundle_for(home))

    assert run_virtual(main()).receipts == ()


def test_the_locks_reason_for_hanging_up_is_kept(home: TestHome) -> None:
    hung_up, _ = visit(home, lambda d, _: [d.receipt(Code.PERMITTED), PlainClose(code=Code.LINK_DOWN)])
    assert (hung_up.final, hung_up.closed) == (Code.PERMITTED, Code.LINK_DOWN)


def test_a_lost_link_leaves_what_was_heard_before(home: TestHome) -> None:
    lost, link = visit(home, lambda d, _: [d.receipt(Code.PERMITTED), None])
    assert (lost.final, lost.closed, link.closed) == (Code.PERMITTED, None, True)


def test_a_lock_without_a_gateway_turns_the_phone_away(home: TestHome) -> None:
    async def main() -> Visit:
        door = verify_door(home.office.door(home.home), keyset=home.keyset)
        ephemeral = KeyPair.from_private(bytes(31) + b"\x04")
        phone = Phone(door=door, new_ephemeral=lambda: ephemeral, link_faults=(LinkGoneError,))
        link = DoorDecider(home.home, lambda _d, _b: [], greets=False)
        link.say(PlainClose(code=Code.LINK_DOWN))
        return await phone.visit(link, bundle_for(home))

    turned_away = run_virtual(main())
    assert (turned_away.closed, turned_away.command_sha256) == (Code.LINK_DOWN, None)


@pytest.mark.parametrize("patience_ms", [HELLO_MS_MAX - 1, HELLO_MS_MAX, HELLO_MS_MAX + 1])
def test_a_lock_that_never_greets_is_not_waited_for(home: TestHome, patience_ms: int) -> None:
    silent, link = visit(home, lambda _d, _b: [], greets=False, patience_ms=patience_ms)
    assert (silent.receipts, silent.command_sha256, link.closed) == ((), None, True)


def test_a_gateway_that_never_answers_is_not_waited_for_longer_than_asked(home: TestHome) -> None:
    silent, link = visit(home, lambda _d, _b: [], patience_ms=4_000)
    assert (silent.receipts, silent.decided_ms, link.closed) == ((), None, True)


def test_attack_a_door_object_that_the_status_role_did_not_sign_is_refused(home: TestHome) -> None:
    mallory = TestHome.make(b"mallory")
    with pytest.raises(RemoteProtocolError) as refused:
        verify_door(mallory.office.door(home.home), keyset=home.keyset)
    assert refused.value.code is Code.UNKNOWN_SIGNER
