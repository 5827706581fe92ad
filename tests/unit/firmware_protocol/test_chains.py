"""Every way to get a bundle, a grant or a Keyset past the verifier, by name."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from firmware_protocol import cbor, cose
from firmware_protocol.chains import (
    PROOF_COUNT_MAX,
    Known,
    Proofs,
    VerifiedBundle,
    make_bundle,
    named_grant,
    open_by_role,
    parse_bundle,
    verify_bundle,
    verify_grant,
    verify_keyset,
)
from firmware_protocol.codes import Code
from firmware_protocol.commands import Alarm, Command
from firmware_protocol.constants import BUNDLE_SIZE_MAX, OBJECT_SIZE_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.signed import open_signed, sign, sign_many
from firmware_protocol.tokens import Authority, Grant, Keyset, OperatorGrant, RoleKeys
from firmware_protocol.vocabulary import Action, OfflineClass, Rights, Role
from simulator.office import Holder, Office, unlock_at_door, unlock_over_mqtt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nacl.signing import SigningKey

NOW_S = 1_800_000_000
OFFICE = Office(b"chains")
ROLE_KEYS = OFFICE.role_keys
HOME = OFFICE.home("storgatan-1")
ROOTS = OFFICE.root_public_keys
SIGNED_KEYSET = OFFICE.keyset(now_s=NOW_S)
KEYSET = verify_keyset(SIGNED_KEYSET, roots=ROOTS)
CARER = OFFICE.carer(HOME, "care-north", "carer-17", now_s=NOW_S)
OPERATOR = OFFICE.operator("operator-3", now_s=NOW_S)
PROVIDER_KEY = OFFICE.signing_key("provider-care-north")
STRANGER = OFFICE.signing_key("stranger")


def public(key: SigningKey) -> bytes:
    return bytes(key.verify_key)


def known(keyset: Keyset = KEYSET, grants: Sequence[bytes] = (), authorities: Sequence[bytes] = ()) -> Known:
    """What a verifier with these cached objects knows; they are cached under their true names."""
    by_hash = {hashlib.sha256(grant).digest(): grant for grant in grants}
    by_kid = {
        cose.kid_of(Authority.from_bytes(cose.parse(each, size_max=OBJECT_SIZE_MAX).payload).provider_key): each
        for each in authorities
    }
    return Known(keyset=keyset, find_grant=by_hash.get, find_authority=by_kid.get)


def command(holder: Holder = CARER, **changes: object) -> Command:
    plain = Command(
        lock_id=HOME.lock_id,
        gateway_id=HOME.gateway_id,
        action=Action.UNLOCK,
        command_id=OFFICE.token("command"),
        challenge=OFFICE.token("challenge"),
        grant_sha256=holder.grant_sha256,
        signer_clock_s=NOW_S,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # the fields of Command


def refusal(act: Callable[[], object]) -> Code:
    with pytest.raises(RemoteProtocolError) as caught:
        act()
    return caught.value.code


def refusal_of_bundle(data: bytes, knowing: Known | None = None) -> Code:
    return refusal(lambda: verify_bundle(data, known=known() if knowing is None else knowing))


def refusal_of_grant(grant: bytes, authority: bytes | None = None, knowing: Known | None = None) -> Code:
    return refusal(lambda: verify_grant(grant, authority, known=known() if knowing is None else knowing))


def with_roles(**changes: RoleKeys | None) -> Keyset:
    roles: dict[Role, RoleKeys] = dict(KEYSET.roles)
    for name, held in changes.items():
        if held is None:
            del roles[Role[name]]
        else:
            roles[Role[name]] = held
    return replace(KEYSET, roles=roles)


# ------------------------------------------------------------------------------------------------- what is accepted


def carer_bundle() -> bytes:
    return unlock_at_door(
        CARER, HOME, challenge=OFFICE.token("challenge"), command_id=OFFICE.token("command"), now_s=NOW_S
    )


def test_a_carers_bundle_is_verified_from_the_keyset_down_to_the_command() -> None:
    bundle = carer_bundle()
    verified = verify_bundle(bundle, known=known())
    assert verified.command == command()
    assert verified.command_sha256 == hashlib.sha256(parse_bundle(bundle)[0]).digest()
    assert verified.signer_kid == cose.kid_of(public(CARER.key))
    assert verified.proof.raw == CARER.grant
    assert verified.proof.sha256 == CARER.grant_sha256


def test_a_delegated_grant_says_whose_it_is_and_what_can_revoke_it() -> None:
    proof = verify_grant(CARER.grant, CARER.authority, known=known())
    assert isinstance(proof.grant, Grant)
    assert proof.authority is not None
    assert proof.holder_key == public(CARER.key)
    assert not proof.is_operator
    assert proof.provider == "care-north"
    assert proof.kids == (cose.kid_of(public(PROVIDER_KEY)), cose.kid_of(public(CARER.key)))
    assert proof.ctis == (proof.grant.cti, proof.authority.cti)


def test_an_operators_bundle_needs_no_authority() -> None:
    bundle = unlock_over_mqtt(
        OPERATOR,
        HOME,
        epoch=OFFICE.token("epoch"),
        issued_s=100,
        command_id=OFFICE.token("command"),
        now_s=NOW_S,
        alarm_ref=OFFICE.token("alarm"),
    )
    proof = verify_bundle(bundle, known=known()).proof
    assert proof.is_operator
    assert proof.provider is None
    assert proof.authority is None
    assert proof.holder_key == public(OPERATOR.key)
    assert proof.ctis == (proof.grant.cti,)
    assert proof.rights == Rights.UNLOCK | Rights.LOCK
    assert proof.exp_s == proof.grant.exp_s
    assert proof.issuer_kid == cose.kid_of(public(ROLE_KEYS[Role.ALARM]))


def direct_grant() -> bytes:
    """Return a grant that the authority role signed without a provider between."""
    grant = open_signed(Grant, CARER.grant, public(PROVIDER_KEY))
    return sign(grant, ROLE_KEYS[Role.AUTHORITY])


def test_a_grant_signed_by_the_authority_role_itself_needs_no_authority() -> None:
    holder = Holder(key=CARER.key, grant=direct_grant())
    proof = verify_bundle(holder.bundle(holder.sign(command(holder))), known=known()).proof
    assert isinstance(proof.grant, Grant)
    assert proof.authority is None
    assert proof.provider == "care-north"
    assert proof.ctis == (proof.grant.cti,)


def test_a_cached_authority_need_not_be_in_the_bundle() -> None:
    assert CARER.authority is not None
    bundle = make_bundle(CARER.sign(command()), CARER.grant)
    assert verify_bundle(bundle, known=known(authorities=[CARER.authority])).command == command()


def test_a_cached_grant_and_authority_leave_the_command_alone_in_the_bundle() -> None:
    assert CARER.authority is not None
    bundle = make_bundle(CARER.sign(command()))
    knowing = known(grants=[CARER.grant], authorities=[CARER.authority])
    assert verify_bundle(bundle, known=knowing) == verify_bundle(carer_bundle(), known=known())


@pytest.mark.parametrize(
    ("given_s", "held_s", "used_s"),
    [
        pytest.param(NOW_S, NOW_S + 1, NOW_S + 1, id="the held one is newer"),
        pytest.param(NOW_S + 1, NOW_S, NOW_S + 1, id="the presented one is newer"),
    ],
)
def test_the_newer_authority_counts_whoever_brings_it(given_s: int, held_s: int, used_s: int) -> None:
    given, held = (OFFICE.authority(HOME, "care-north", now_s=issued_s) for issued_s in (given_s, held_s))
    proof = verify_grant(CARER.grant, given, known=known(authorities=[held]))
    assert proof.authority is not None
    assert proof.authority.iat_s == used_s - 60
    assert proof.authority_raw == (given if used_s == given_s else held)


def test_attack_an_older_authority_in_the_bundle_brings_no_right_back_that_was_taken_away() -> None:
    narrowed = OFFICE.authority(HOME, "care-north", now_s=NOW_S + 1, rights=Rights.LOCK)
    proof = verify_grant(CARER.grant, CARER.authority, known=known(authorities=[narrowed]))
    assert proof.rights == Rights.LOCK


def test_of_two_authorities_of_one_second_the_held_one_counts() -> None:
    other = OFFICE.authority(HOME, "care-north", now_s=NOW_S, rights=Rights.LOCK)
    assert verify_grant(CARER.grant, other, known=known(authorities=[CARER.authority or b""])).rights != Rights.LOCK


def test_a_held_authority_that_this_keyset_does_not_bear_out_stands_in_nobodys_way() -> None:
    theirs = Office(b"an earlier office").authority(HOME, "care-north", now_s=NOW_S + 9)
    knowing = Known(keyset=KEYSET, find_grant=lambda _: None, find_authority=lambda _: theirs)
    assert verify_grant(CARER.grant, CARER.authority, known=knowing).authority_raw == CARER.authority


# --------------------------------------------------------------------------------------------- delegation only narrows


@pytest.mark.parametrize(
    ("granted", "allowed", "both"),
    [
        (Rights.UNLOCK, Rights.UNLOCK | Rights.LOCK, Rights.UNLOCK),
        (Rights.UNLOCK | Rights.LOCK, Rights.LOCK, Rights.LOCK),
        (Rights.UNLOCK, Rights.LOCK, Rights(0)),
    ],
    ids=["grant narrower", "authority narrower", "nothing in common"],
)
def test_a_chain_gives_the_rights_that_both_give(granted: Rights, allowed: Rights, both: Rights) -> None:
    authority = OFFICE.authority(HOME, "care-north", now_s=NOW_S, rights=allowed)
    grant = OFFICE.grant(HOME, "care-north", "carer-17", now_s=NOW_S, rights=granted)
    assert verify_grant(grant, authority, known=known()).rights == both


@pytest.mark.parametrize("lead_s", [-1, 0, 1], ids=["grant ends first", "together", "authority ends first"])
def test_a_chain_ends_with_whichever_ends_first(lead_s: int) -> None:
    signed = OFFICE.authority(HOME, "care-north", now_s=NOW_S)
    authority = open_signed(Authority, signed, public(ROLE_KEYS[Role.AUTHORITY]))
    grant = OFFICE.grant(HOME, "care-north", "carer-17", now_s=NOW_S, exp_s=authority.exp_s + lead_s)
    proof = verify_grant(grant, signed, known=known())
    assert proof.exp_s == authority.exp_s + min(lead_s, 0)


# ----------------------------------------------------------------------------------------------- attacks on the bundle


def parts_of(bundle: bytes) -> tuple[bytes, ...]:
    return parse_bundle(bundle)


PART_NAMES = ("command", "grant", "authority")


@pytest.mark.parametrize("part", range(3), ids=PART_NAMES)
def test_attack_a_flipped_bit_in_any_byte_of_any_object_opens_nothing(part: int) -> None:
    parts = list(parts_of(carer_bundle()))
    original = parts[part]
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= 1 << position % 8
        parts[part] = bytes(changed)
        code = refusal_of_bundle(make_bundle(*parts))
        assert code in {Code.MALFORMED, Code.TOO_LARGE, Code.UNKNOWN_SIGNER, Code.BAD_SIGNATURE}


def test_attack_a_command_of_a_stranger_under_somebodys_grant() -> None:
    bundle = CARER.bundle(sign(command(), STRANGER))
    assert refusal_of_bundle(bundle) is Code.BAD_SIGNATURE


def test_attack_a_command_of_another_carer_of_the_same_provider() -> None:
    other = OFFICE.carer(HOME, "care-north", "carer-18", now_s=NOW_S)
    assert refusal_of_bundle(CARER.bundle(other.sign(command()))) is Code.BAD_SIGNATURE


def test_attack_a_grant_of_a_stranger_without_an_authority() -> None:
    grant = sign(open_signed(Grant, CARER.grant, public(PROVIDER_KEY)), STRANGER)
    holder = Holder(key=CARER.key, grant=grant)
    assert refusal_of_bundle(holder.bundle(holder.sign(command(holder)))) is Code.UNKNOWN_SIGNER


def test_attack_a_grant_of_a_stranger_under_the_providers_authority() -> None:
    grant = sign(open_signed(Grant, CARER.grant, public(PROVIDER_KEY)), STRANGER)
    assert refusal_of_grant(grant, CARER.authority) is Code.BAD_SIGNATURE


def test_attack_an_authority_of_a_stranger() -> None:
    assert CARER.authority is not None
    content = open_signed(Authority, CARER.authority, public(ROLE_KEYS[Role.AUTHORITY]))
    assert refusal_of_grant(CARER.grant, sign(content, STRANGER)) is Code.UNKNOWN_SIGNER


def test_attack_an_authority_signed_by_the_provider_that_it_names() -> None:
    assert CARER.authority is not None
    content = open_signed(Authority, CARER.authority, public(ROLE_KEYS[Role.AUTHORITY]))
    assert refusal_of_grant(CARER.grant, sign(content, PROVIDER_KEY)) is Code.UNKNOWN_SIGNER


@pytest.mark.parametrize("role", [Role.ALARM, Role.INTAKE, Role.STATUS, Role.PAIRING, Role.RECEIPT])
def test_attack_an_authority_signed_by_another_role(role: Role) -> None:
    assert CARER.authority is not None
    content = open_signed(Authority, CARER.authority, public(ROLE_KEYS[Role.AUTHORITY]))
    assert refusal_of_grant(CARER.grant, sign(content, ROLE_KEYS[role])) is Code.UNKNOWN_SIGNER


def test_attack_a_carer_who_delegates_to_a_friend() -> None:
    friend = replace(open_signed(Grant, CARER.grant, public(PROVIDER_KEY)), device_key=public(STRANGER))
    holder = Holder(key=STRANGER, grant=sign(friend, CARER.key), authority=CARER.authority)
    assert refusal_of_bundle(holder.bundle(holder.sign(command(holder)))) is Code.BAD_SIGNATURE


def test_attack_the_authority_of_another_provider() -> None:
    other = OFFICE.authority(HOME, "care-south", now_s=NOW_S)
    assert refusal_of_grant(CARER.grant, other) is Code.BAD_SIGNATURE


def test_attack_the_authority_of_another_provider_in_the_cache() -> None:
    other = OFFICE.authority(HOME, "care-south", now_s=NOW_S)
    assert refusal_of_grant(CARER.grant, None, known(authorities=[other])) is Code.UNKNOWN_SIGNER


def test_attack_a_cache_that_answers_with_the_wrong_authority() -> None:
    other = OFFICE.authority(HOME, "care-south", now_s=NOW_S)
    lying = Known(keyset=KEYSET, find_grant=lambda _: None, find_authority=lambda _: other)
    assert refusal_of_grant(CARER.grant, None, lying) is Code.BAD_SIGNATURE


def test_attack_a_provider_that_issues_in_the_name_of_another() -> None:
    content = open_signed(Grant, CARER.grant, public(PROVIDER_KEY))
    grant = sign(replace(content, issuer="care-south"), PROVIDER_KEY)
    assert refusal_of_grant(grant, CARER.authority) is Code.UNKNOWN_SIGNER


def as_domain(data: bytes, domain: str, key: SigningKey) -> bytes:
    """Return the payload of a signed object, signed anew for another domain."""
    return cose.sign1(cose.parse(data, size_max=4_096).payload, key=key, domain=domain)


def test_attack_a_grant_presented_as_the_command() -> None:
    assert CARER.authority is not None
    assert refusal_of_bundle(make_bundle(CARER.grant, CARER.grant, CARER.authority)) is Code.BAD_SIGNATURE


def test_attack_a_command_payload_signed_as_something_else() -> None:
    other = as_domain(CARER.sign(command()), "request", CARER.key)
    assert refusal_of_bundle(CARER.bundle(other)) is Code.BAD_SIGNATURE


def test_attack_a_command_presented_as_the_grant() -> None:
    signed = CARER.sign(command())
    assert CARER.authority is not None
    assert refusal_of_bundle(make_bundle(signed, signed, CARER.authority)) is Code.BAD_SIGNATURE


def test_attack_an_operator_grant_signed_by_a_provider() -> None:
    content = open_signed(OperatorGrant, OPERATOR.grant, public(ROLE_KEYS[Role.ALARM]))
    assert refusal_of_grant(sign(content, PROVIDER_KEY), CARER.authority) is Code.BAD_SIGNATURE


def test_attack_an_operator_grants_payload_signed_as_a_grant() -> None:
    grant = as_domain(OPERATOR.grant, Grant.DOMAIN, PROVIDER_KEY)
    assert refusal_of_grant(grant, CARER.authority) is Code.MALFORMED


def test_attack_an_operator_grant_signed_by_the_authority_role() -> None:
    content = open_signed(OperatorGrant, OPERATOR.grant, public(ROLE_KEYS[Role.ALARM]))
    assert refusal_of_grant(sign(content, ROLE_KEYS[Role.AUTHORITY])) is Code.BAD_SIGNATURE


def test_attack_a_carers_grant_signed_by_the_alarm_role() -> None:
    content = open_signed(Grant, CARER.grant, public(PROVIDER_KEY))
    assert refusal_of_grant(sign(content, ROLE_KEYS[Role.ALARM])) is Code.BAD_SIGNATURE


def test_attack_an_operator_grant_presented_as_the_authority() -> None:
    assert refusal_of_grant(CARER.grant, OPERATOR.grant) is Code.UNKNOWN_SIGNER


def test_attack_a_grant_presented_as_the_authority() -> None:
    assert refusal_of_grant(CARER.grant, CARER.grant) is Code.UNKNOWN_SIGNER


ORDERS = {
    "grant first": (1, 0, 2),
    "authority first": (2, 0, 1),
    "authority second": (0, 2, 1),
    "backwards": (2, 1, 0),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_attack_a_bundle_in_another_order(order: tuple[int, ...]) -> None:
    parts = parts_of(carer_bundle())
    assert refusal_of_bundle(make_bundle(*(parts[place] for place in order))) in {
        Code.BAD_SIGNATURE,
        Code.UNKNOWN_SIGNER,
        Code.MALFORMED,
    }


@pytest.mark.parametrize("holder", [OPERATOR, Holder(key=CARER.key, grant=direct_grant())], ids=["operator", "direct"])
@pytest.mark.parametrize("extra", [b"\x00", CARER.authority], ids=["junk", "authority"])
def test_attack_something_unverified_beside_a_grant_that_needs_no_authority(holder: Holder, extra: bytes) -> None:
    bundle = make_bundle(holder.sign(command(holder)), holder.grant, extra)
    assert refusal_of_bundle(bundle) is Code.MALFORMED


def test_attack_a_command_under_another_grant_of_the_same_carer() -> None:
    wider = OFFICE.grant(HOME, "care-north", "carer-17", now_s=NOW_S, number=1)
    assert CARER.authority is not None
    bundle = make_bundle(CARER.sign(command()), wider, CARER.authority)
    assert refusal_of_bundle(bundle) is Code.UNKNOWN_SIGNER


def test_attack_a_command_that_names_no_known_grant() -> None:
    assert refusal_of_bundle(make_bundle(CARER.sign(command()))) is Code.MISSING_GRANT


def test_attack_a_cached_grant_whose_authority_is_not_known() -> None:
    assert refusal_of_bundle(make_bundle(CARER.sign(command())), known(grants=[CARER.grant])) is Code.UNKNOWN_SIGNER


def test_attack_a_lone_command_that_names_somebody_elses_cached_grant() -> None:
    assert CARER.authority is not None
    forged = sign(command(), STRANGER)
    knowing = known(grants=[CARER.grant], authorities=[CARER.authority])
    assert refusal_of_bundle(make_bundle(forged), knowing) is Code.BAD_SIGNATURE


def test_attack_a_lone_command_with_another_payload_than_was_signed() -> None:
    assert CARER.authority is not None
    payload = command().to_bytes()
    forged = CARER.sign(command()).replace(payload, command(action=Action.LOCK).to_bytes())
    knowing = known(grants=[CARER.grant], authorities=[CARER.authority])
    assert refusal_of_bundle(make_bundle(forged), knowing) is Code.BAD_SIGNATURE


def test_attack_a_cache_that_answers_with_another_grant_than_was_named() -> None:
    other = OFFICE.grant(HOME, "care-north", "carer-17", now_s=NOW_S, number=1)
    lying = Known(keyset=KEYSET, find_grant=lambda _: other, find_authority=lambda _: CARER.authority)
    assert refusal_of_bundle(make_bundle(CARER.sign(command())), lying) is Code.UNKNOWN_SIGNER


# Two operators.

SECOND = OFFICE.operator("operator-4", now_s=NOW_S)


def together(**changes: object) -> Command:
    named = {"grant_sha256": OPERATOR.grant_sha256, "second_grant_sha256": SECOND.grant_sha256} | changes
    return command(OPERATOR, **named)


def pair_bundle(signed: bytes | None = None, *grants: bytes) -> bytes:
    signed = sign_many(together(), [OPERATOR.key, SECOND.key]) if signed is None else signed
    return make_bundle(signed, *(grants or (OPERATOR.grant, SECOND.grant)))


def test_two_operators_sign_one_command() -> None:
    verified = verify_bundle(pair_bundle(), known=known())
    assert verified.signer_kid == cose.kid_of(public(OPERATOR.key))
    assert verified.second is not None
    assert [proof.sha256 for proof in verified.proofs] == [OPERATOR.grant_sha256, SECOND.grant_sha256]
    assert verified.is_emergency
    assert verified.command_sha256 == hashlib.sha256(parse_bundle(pair_bundle())[0]).digest()


DIRECT = Holder(key=CARER.key, grant=direct_grant())
PAIRS: Mapping[str, Callable[[], bytes]] = {
    "signatures in the other order": lambda: pair_bundle(sign_many(together(), [SECOND.key, OPERATOR.key])),
    "one signature twice": lambda: pair_bundle(sign_many(together(), [OPERATOR.key, OPERATOR.key])),
    "one operator's grant twice": lambda: pair_bundle(
        sign_many(together(second_grant_sha256=OPERATOR.grant_sha256), [OPERATOR.key, OPERATOR.key]),
        OPERATOR.grant,
        OPERATOR.grant,
    ),
    "a stranger beside the first": lambda: pair_bundle(sign_many(together(), [OPERATOR.key, STRANGER])),
    "the grants in the other order": lambda: pair_bundle(None, SECOND.grant, OPERATOR.grant),
    "grants that it does not name": lambda: pair_bundle(
        sign_many(together(grant_sha256=bytes(32)), [OPERATOR.key, SECOND.key])
    ),
    "no second grant named": lambda: pair_bundle(
        sign_many(together(second_grant_sha256=None), [OPERATOR.key, SECOND.key])
    ),
    "a carer as the second": lambda: pair_bundle(
        sign_many(together(), [OPERATOR.key, DIRECT.key]), OPERATOR.grant, DIRECT.grant
    ),
    "a carer as the second, whom the command names": lambda: pair_bundle(
        sign_many(together(second_grant_sha256=DIRECT.grant_sha256), [OPERATOR.key, DIRECT.key]),
        OPERATOR.grant,
        DIRECT.grant,
    ),
    "a carer as the first, whom the command names": lambda: pair_bundle(
        sign_many(together(grant_sha256=DIRECT.grant_sha256), [DIRECT.key, SECOND.key]), DIRECT.grant, SECOND.grant
    ),
    "a carer as the first": lambda: pair_bundle(
        sign_many(together(), [DIRECT.key, SECOND.key]), DIRECT.grant, SECOND.grant
    ),
}


@pytest.mark.parametrize("bundle", PAIRS.values(), ids=PAIRS)
def test_attack_what_looks_like_two_operators(bundle: Callable[[], bytes]) -> None:
    assert refusal_of_bundle(bundle()) is Code.UNKNOWN_SIGNER


COUNTS: Mapping[str, Callable[[], bytes]] = {
    "one grant": lambda: pair_bundle(None, OPERATOR.grant),
    "one signature": lambda: pair_bundle(sign_many(together(), [OPERATOR.key])),
    "a third signature": lambda: pair_bundle(sign_many(together(), [OPERATOR.key, SECOND.key, STRANGER])),
}


@pytest.mark.parametrize("bundle", COUNTS.values(), ids=COUNTS)
def test_attack_two_operators_who_are_more_or_fewer(bundle: Callable[[], bytes]) -> None:
    assert refusal_of_bundle(bundle()) is Code.MISSING_GRANT


@pytest.mark.parametrize("which", [0, 1])
def test_attack_a_forged_signature_of_one_of_two(which: int) -> None:
    signed = sign_many(together(), [OPERATOR.key, SECOND.key])
    signature = cose.parse(signed, size_max=1_024).signatures[which].signature
    assert refusal_of_bundle(pair_bundle(signed.replace(signature, bytes(64)))) is Code.BAD_SIGNATURE


def test_attack_one_operator_signs_what_names_two() -> None:
    assert refusal_of_bundle(OPERATOR.bundle(OPERATOR.sign(together()))) is Code.UNKNOWN_SIGNER


# What has been verified is not verified again.


def test_a_grant_is_verified_once_and_found_by_its_very_bytes() -> None:
    knowing = known()
    first = verify_grant(CARER.grant, CARER.authority, known=knowing)
    assert verify_grant(bytes(CARER.grant), CARER.authority, known=knowing) is first


def test_a_grant_is_verified_anew_when_the_held_authority_has_changed_and_once_under_each() -> None:
    assert CARER.authority is not None
    held: list[bytes] = [CARER.authority]
    knowing = replace(known(), find_authority=lambda _: held[0])
    first = verify_grant(CARER.grant, None, known=knowing)
    assert verify_grant(CARER.grant, None, known=knowing) is first
    key = OFFICE.role_keys[Role.AUTHORITY]
    held[0] = sign(replace(open_signed(Authority, held[0], public(key)), rights_max=Rights.LOCK), key)
    narrowed = verify_grant(CARER.grant, None, known=knowing)
    assert narrowed.rights == Rights.LOCK
    assert verify_grant(CARER.grant, None, known=knowing) is narrowed


def test_attack_what_was_refused_is_never_remembered() -> None:
    knowing = known()
    forged = sign(open_signed(Grant, CARER.grant, public(PROVIDER_KEY)), STRANGER)
    for _ in range(2):
        assert refusal_of_grant(forged, CARER.authority, knowing) is Code.BAD_SIGNATURE


def test_remembered_grants_are_bounded_and_the_oldest_goes() -> None:
    proofs, proof = Proofs(), verify_grant(CARER.grant, CARER.authority, known=known())
    for number in range(PROOF_COUNT_MAX + 1):
        proofs.keep(number.to_bytes(2, "big"), None, None, proof)
    assert proofs.find(bytes(2), None, None) is None
    assert proofs.find(b"\x00\x01", None, None) is proof
    assert proofs.find(PROOF_COUNT_MAX.to_bytes(2, "big"), None, None) is proof


def test_attack_a_delegated_grant_of_several_signers() -> None:
    content = open_signed(Grant, CARER.grant, public(PROVIDER_KEY))
    assert refusal_of_grant(sign_many(content, [PROVIDER_KEY, STRANGER]), CARER.authority) is Code.BAD_SIGNATURE


@pytest.mark.parametrize(
    "bundle",
    [
        b"",
        cbor.encode(()),
        cbor.encode({}),
        cbor.encode(b""),
        cbor.encode((b"",)),
        cbor.encode((0,)),
        cbor.encode((b"\x00",) * 4),
        b"\x9f\xff",
        cbor.encode((b"\x00",)) + b"\x00",
        cbor.encode((b"\x00",)),
    ],
    ids=[
        "nothing",
        "no object",
        "a map",
        "bytes",
        "an empty object",
        "a number",
        "four objects",
        "of indefinite length",
        "bytes after the end",
        "an object that is no envelope",
    ],
)
def test_what_is_not_a_bundle_is_malformed(bundle: bytes) -> None:
    assert refusal_of_bundle(bundle) is Code.MALFORMED


def test_a_bundle_of_exactly_the_allowed_size_is_parsed_and_one_byte_more_is_not() -> None:
    longest = make_bundle(bytes(BUNDLE_SIZE_MAX - 4))
    assert len(longest) == BUNDLE_SIZE_MAX
    assert parse_bundle(longest) == (bytes(BUNDLE_SIZE_MAX - 4),)
    assert refusal(lambda: parse_bundle(make_bundle(bytes(BUNDLE_SIZE_MAX - 3)))) is Code.TOO_LARGE


@pytest.mark.parametrize("part", range(3), ids=PART_NAMES)
def test_attack_an_object_above_its_own_cap_inside_a_bundle_that_is_not(part: int) -> None:
    parts = list(parts_of(carer_bundle()))
    signer = (CARER.key, PROVIDER_KEY, ROLE_KEYS[Role.AUTHORITY])[part]
    domain = (Command, Grant, Authority)[part].DOMAIN
    parts[part] = cose.sign1(bytes(OBJECT_SIZE_MAX), key=signer, domain=domain)
    assert refusal_of_bundle(make_bundle(*parts)) is Code.TOO_LARGE


# ------------------------------------------------------------------------------------------------------ the Keyset


def refusal_of_keyset(data: bytes, roots: Sequence[bytes] = ROOTS) -> Code:
    return refusal(lambda: verify_keyset(data, roots=roots))


@pytest.mark.parametrize("signers", [(0, 1), (0, 2), (1, 2), (2, 1), (0, 1, 2)])
def test_any_two_distinct_pinned_roots_make_a_keyset(signers: tuple[int, ...]) -> None:
    signed = OFFICE.keyset(now_s=NOW_S, signers=[OFFICE.roots[place] for place in signers])
    assert verify_keyset(signed, roots=ROOTS) == KEYSET


def test_attack_a_keyset_of_one_root() -> None:
    assert refusal_of_keyset(OFFICE.keyset(now_s=NOW_S, signers=OFFICE.roots[:1])) is Code.BAD_SIGNATURE


def test_attack_a_keyset_of_one_root_as_a_sign1() -> None:
    assert refusal_of_keyset(sign(KEYSET, OFFICE.roots[0])) is Code.BAD_SIGNATURE


def test_attack_a_keyset_of_the_same_root_twice() -> None:
    signed = OFFICE.keyset(now_s=NOW_S, signers=[OFFICE.roots[0], OFFICE.roots[0]])
    assert refusal_of_keyset(signed) is Code.BAD_SIGNATURE


def test_attack_a_keyset_of_one_root_and_a_stranger() -> None:
    signed = OFFICE.keyset(now_s=NOW_S, signers=[OFFICE.roots[0], STRANGER])
    assert refusal_of_keyset(signed) is Code.BAD_SIGNATURE


def test_attack_a_keyset_of_roots_that_are_not_pinned() -> None:
    strangers = Office(b"another municipality")
    assert refusal_of_keyset(strangers.keyset(now_s=NOW_S)) is Code.BAD_SIGNATURE


def test_attack_a_keyset_signed_by_the_roots_that_it_names_itself() -> None:
    own = Office(b"another municipality")
    keyset = with_roles(ROOT=RoleKeys(2, own.root_public_keys))
    assert refusal_of_keyset(sign_many(keyset, own.roots[:2])) is Code.BAD_SIGNATURE


def test_attack_a_keyset_where_one_of_two_root_signatures_is_false() -> None:
    changed = bytearray(SIGNED_KEYSET)
    changed[-1] ^= 1
    assert refusal_of_keyset(bytes(changed)) is Code.BAD_SIGNATURE


def test_attack_a_keyset_payload_signed_by_two_roots_for_another_domain() -> None:
    signed = cose.sign_many(KEYSET.to_bytes(), keys=OFFICE.roots[:2], domain="state")
    assert refusal_of_keyset(signed) is Code.BAD_SIGNATURE


def test_attack_a_keyset_where_a_root_is_pinned_twice() -> None:
    signed = OFFICE.keyset(now_s=NOW_S, signers=[OFFICE.roots[0], OFFICE.roots[0]])
    assert refusal_of_keyset(signed, [ROOTS[0], ROOTS[0]]) is Code.BAD_SIGNATURE


def test_two_roots_cannot_make_a_keyset_that_is_none() -> None:
    signed = cose.sign_many(cbor.encode({0: 1}), keys=OFFICE.roots[:2], domain="keyset")
    assert refusal_of_keyset(signed) is Code.MALFORMED


# ------------------------------------------------------------------------------------------------- roles, thresholds

ALARM_OBJECT = Alarm(
    gateway_id=HOME.gateway_id,
    lock_id=HOME.lock_id,
    alarm_ref=OFFICE.token("alarm"),
    epoch=OFFICE.token("epoch"),
    exp_s=60,
    opens=True,
)
INTAKE_KEY, SECOND_KEY, THIRD_KEY = (
    ROLE_KEYS[Role.INTAKE],
    OFFICE.signing_key("second"),
    OFFICE.signing_key("third"),
)
TWO_OF_THREE = with_roles(INTAKE=RoleKeys(2, (public(INTAKE_KEY), public(SECOND_KEY), public(THIRD_KEY))))


def open_alarm(data: bytes, keyset: Keyset = KEYSET) -> Alarm:
    return open_by_role(Alarm, data, keyset=keyset, role=Role.INTAKE)


def test_an_object_signed_by_its_role_opens() -> None:
    assert open_alarm(sign(ALARM_OBJECT, INTAKE_KEY)) == ALARM_OBJECT


def test_any_key_of_a_role_will_do_where_one_is_enough() -> None:
    keyset = with_roles(INTAKE=RoleKeys(1, (public(INTAKE_KEY), public(SECOND_KEY))))
    assert open_alarm(sign(ALARM_OBJECT, SECOND_KEY), keyset) == ALARM_OBJECT
    assert open_alarm(sign_many(ALARM_OBJECT, [SECOND_KEY]), keyset) == ALARM_OBJECT


@pytest.mark.parametrize("role", [role for role in ROLE_KEYS if role is not Role.INTAKE])
def test_attack_an_alarm_signed_by_another_role(role: Role) -> None:
    assert refusal(lambda: open_alarm(sign(ALARM_OBJECT, ROLE_KEYS[role]))) is Code.UNKNOWN_SIGNER


def test_attack_an_object_of_a_role_that_nobody_holds() -> None:
    keyset = with_roles(INTAKE=None)
    assert refusal(lambda: open_alarm(sign(ALARM_OBJECT, INTAKE_KEY), keyset)) is Code.UNKNOWN_SIGNER


def test_attack_a_borrowed_kid_of_the_role() -> None:
    signed = sign(ALARM_OBJECT, STRANGER).replace(cose.kid_of(public(STRANGER)), cose.kid_of(public(INTAKE_KEY)))
    assert refusal(lambda: open_alarm(signed)) is Code.BAD_SIGNATURE


def test_two_keys_open_where_the_threshold_is_two() -> None:
    assert open_alarm(sign_many(ALARM_OBJECT, [THIRD_KEY, SECOND_KEY]), TWO_OF_THREE) == ALARM_OBJECT


TOO_FEW: Mapping[str, Callable[[], bytes]] = {
    "one signature": lambda: sign_many(ALARM_OBJECT, [INTAKE_KEY]),
    "one signature as a sign1": lambda: sign(ALARM_OBJECT, INTAKE_KEY),
    "the same key twice": lambda: sign_many(ALARM_OBJECT, [INTAKE_KEY, INTAKE_KEY]),
    "one key and a stranger": lambda: sign_many(ALARM_OBJECT, [INTAKE_KEY, STRANGER]),
    "one key and another role": lambda: sign_many(ALARM_OBJECT, [INTAKE_KEY, ROLE_KEYS[Role.ALARM]]),
}


@pytest.mark.parametrize("make", TOO_FEW.values(), ids=TOO_FEW)
def test_attack_too_few_keys_for_a_threshold_of_two(make: Callable[[], bytes]) -> None:
    assert refusal(lambda: open_alarm(make(), TWO_OF_THREE)) is Code.UNKNOWN_SIGNER


def test_attack_a_false_signature_beside_a_good_one() -> None:
    signed = bytearray(sign_many(ALARM_OBJECT, [INTAKE_KEY, SECOND_KEY]))
    signed[-1] ^= 1
    assert refusal(lambda: open_alarm(bytes(signed), TWO_OF_THREE)) is Code.BAD_SIGNATURE


def test_an_operator_grant_of_two_alarm_keys_opens_where_the_threshold_is_two() -> None:
    alarm_key = ROLE_KEYS[Role.ALARM]
    keyset = with_roles(ALARM=RoleKeys(2, (public(alarm_key), public(SECOND_KEY))))
    content = open_signed(OperatorGrant, OPERATOR.grant, public(alarm_key))
    signed = sign_many(content, [alarm_key, SECOND_KEY])
    assert verify_grant(signed, None, known=known(keyset)).grant == content
    assert refusal_of_grant(OPERATOR.grant, None, known(keyset)) is Code.UNKNOWN_SIGNER


def test_attack_a_grant_under_a_keyset_that_names_no_authority_and_no_alarm_centre() -> None:
    bare = known(with_roles(AUTHORITY=None, ALARM=None))
    assert refusal_of_grant(CARER.grant, CARER.authority, bare) is Code.UNKNOWN_SIGNER
    assert refusal_of_grant(OPERATOR.grant, None, bare) is Code.UNKNOWN_SIGNER


def test_a_grant_wider_than_its_authority_is_verified_and_left_to_the_decision() -> None:
    authority = OFFICE.authority(HOME, "care-north", now_s=NOW_S, offline_class_max=OfflineClass.ONLINE)
    grant = OFFICE.grant(HOME, "care-north", "carer-17", now_s=NOW_S, offline_class=OfflineClass.RESPONDER)
    proof = verify_grant(grant, authority, known=known())
    assert isinstance(proof.grant, Grant)
    assert proof.authority is not None
    assert proof.grant.offline_class > proof.authority.offline_class_max


def test_the_same_bytes_give_the_same_verified_bundle() -> None:
    first = verify_bundle(carer_bundle(), known=known())
    assert isinstance(first, VerifiedBundle)
    assert verify_bundle(carer_bundle(), known=known()) == first


def test_the_grant_that_a_lone_command_names_is_read_before_anything_is_verified() -> None:
    whole = unlock_at_door(CARER, HOME, challenge=bytes(16), command_id=bytes(16), now_s=NOW_S)
    signed, grant, _ = parse_bundle(whole)
    assert named_grant(make_bundle(signed)) == hashlib.sha256(grant).digest()
    for nothing in (whole, b"", b"\x80", make_bundle(grant), make_bundle(b"x")):
        assert named_grant(nothing) is None
