from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from firmware_protocol import cbor, cose
from firmware_protocol.codes import Code
from firmware_protocol.constants import DOMAIN_PREFIX, LARGE_OBJECT_SIZE_MAX, OBJECT_SIZE_MAX
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.orders import DecommissionOrder
from firmware_protocol.signed import open_signed, sign, sign_many
from firmware_protocol.statements import AuthorityState, Conflict, GatewayInfo
from firmware_protocol.tokens import Grant, Keyset
from firmware_protocol.vectors.examples import GRANT, PUBLIC, SIGNERS, VALUES, signed_example

if TYPE_CHECKING:
    from firmware_protocol.signed import SignedMap

KINDS = list(VALUES)
SINGLE = [kind for kind in KINDS if kind is not Keyset]


def refusal(kind: type[SignedMap], data: bytes, signer: str) -> Code:
    with pytest.raises(RemoteProtocolError) as caught:
        open_signed(kind, data, PUBLIC[signer])
    return caught.value.code


@pytest.mark.parametrize("kind", SINGLE, ids=lambda kind: kind.__name__)
def test_what_was_signed_opens_with_the_signers_key(kind: type[SignedMap]) -> None:
    value, signer = VALUES[kind]
    assert open_signed(kind, signed_example(kind), PUBLIC[signer]) == value


@pytest.mark.parametrize("kind", SINGLE, ids=lambda kind: kind.__name__)
def test_attack_another_key_signed_it(kind: type[SignedMap]) -> None:
    assert refusal(kind, signed_example(kind), "root 3") is Code.BAD_SIGNATURE


@pytest.mark.parametrize("presented", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("kind", SINGLE, ids=lambda kind: kind.__name__)
def test_attack_an_object_presented_as_another(kind: type[SignedMap], presented: type[SignedMap]) -> None:
    if presented is not kind:
        assert refusal(presented, signed_example(kind), VALUES[kind][1]) is Code.BAD_SIGNATURE


def test_every_kind_has_a_domain_of_its_own() -> None:
    assert len({kind.DOMAIN for kind in KINDS}) == len(KINDS)
    assert DOMAIN_PREFIX == "carelock/1/"


def test_the_signature_is_checked_before_the_payload_is_read() -> None:
    nonsense = cose.sign1(b"\xff", key=SIGNERS["root 3"], domain=Grant.DOMAIN)
    assert refusal(Grant, nonsense, "provider") is Code.BAD_SIGNATURE
    assert refusal(Grant, nonsense, "root 3") is Code.MALFORMED


def test_an_object_of_several_signers_does_not_open_as_one_of_one() -> None:
    assert refusal(Grant, sign_many(GRANT, [SIGNERS["provider"]]), "provider") is Code.BAD_SIGNATURE


def test_two_signatures_stand_in_the_order_of_their_keys() -> None:
    envelope = cose.parse(signed_example(Keyset), size_max=Keyset.SIZE_MAX)
    assert [entry.kid for entry in envelope.signatures] == [
        cose.kid_of(PUBLIC["root 1"]),
        cose.kid_of(PUBLIC["root 2"]),
    ]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_only_keyset_info_and_state_may_be_large(kind: type[SignedMap]) -> None:
    size_max = LARGE_OBJECT_SIZE_MAX if kind in {Keyset, GatewayInfo, AuthorityState} else OBJECT_SIZE_MAX
    assert size_max == kind.SIZE_MAX


def conflict(checkpoint_size: int) -> Conflict:
    value = VALUES[Conflict][0]
    assert isinstance(value, Conflict)
    return replace(value, checkpoint=bytes(checkpoint_size))


def test_an_object_of_exactly_the_allowed_size_opens_and_one_byte_more_is_refused_unparsed() -> None:
    padding = OBJECT_SIZE_MAX - len(cose.sign1(bytes(256), key=SIGNERS["lock"], domain=Grant.DOMAIN)) + 256
    at_bound = cose.sign1(bytes(padding), key=SIGNERS["lock"], domain=Grant.DOMAIN)
    assert len(at_bound) == OBJECT_SIZE_MAX
    assert refusal(Grant, at_bound, "lock") is Code.MALFORMED  # the signature holds, the payload is no grant
    beyond = cose.sign1(bytes(padding + 1), key=SIGNERS["lock"], domain=Grant.DOMAIN)
    assert refusal(Grant, beyond, "lock") is Code.TOO_LARGE


def test_what_would_be_too_large_to_read_is_not_signed() -> None:
    windows = tuple((2**40 + number, 2**41) for number in range(32))
    locks = tuple(number.to_bytes(8, "big") for number in range(32))
    with pytest.raises(LocalProtocolError, match="1024 allowed"):
        sign(replace(GRANT, windows=windows, locks=locks), SIGNERS["provider"])
    assert sign(replace(GRANT, windows=windows[:16], locks=locks), SIGNERS["provider"])


def test_what_several_sign_has_the_same_bound() -> None:
    assert len(sign_many(conflict(300), [SIGNERS["receipt"]] * 3)) <= OBJECT_SIZE_MAX
    with pytest.raises(LocalProtocolError, match="1024 allowed"):
        sign_many(conflict(600), [SIGNERS["receipt"]] * 8)


def test_a_field_out_of_bounds_is_not_signed() -> None:
    order = VALUES[DecommissionOrder][0]
    assert isinstance(order, DecommissionOrder)
    with pytest.raises(LocalProtocolError):
        sign(replace(order, owner_epoch=0), SIGNERS["pairing"])


def test_the_payload_is_the_value_and_nothing_else() -> None:
    value, _ = VALUES[DecommissionOrder]
    envelope = cose.parse(signed_example(DecommissionOrder), size_max=OBJECT_SIZE_MAX)
    assert envelope.payload == value.to_bytes()
    assert cbor.decode(envelope.payload, size_max=OBJECT_SIZE_MAX) == {
        field.path[0]: getattr(value, field.name) for field in DecommissionOrder.FIELDS
    }
