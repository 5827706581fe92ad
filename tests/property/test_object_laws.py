"""Laws that hold for every signed object and every record, whatever bytes come."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_protocol import cbor, cose
from firmware_protocol.chains import Known, parse_bundle, verify_bundle, verify_grant, verify_keyset
from firmware_protocol.codes import Code
from firmware_protocol.directions import FROM_GATEWAY, FROM_LOCK
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.messages import decode_record, encode_record
from firmware_protocol.schema import (
    Choice,
    CodeNumber,
    Flags,
    Many,
    Name,
    Octets,
    Row,
    Text,
    Truth,
    Uint,
)
from firmware_protocol.tokens import ConfirmationKey, Keyset, RoleKeys, RoleTable
from firmware_protocol.vectors.examples import VALUES, signed_example
from firmware_protocol.vocabulary import Role
from simulator.office import Office, unlock_at_door

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.messages import Message
    from firmware_protocol.schema import Codec, WireField, WireMap

RECORDS = sorted({*FROM_GATEWAY.values(), *FROM_LOCK.values()}, key=lambda kind: kind.TYPE)
KINDS: list[type[WireMap]] = [*VALUES, *RECORDS]
OFFICE = Office(b"laws")
HOME = OFFICE.home("storgatan-1")
NOW_S = 1_800_000_000
KEYSET = verify_keyset(OFFICE.keyset(now_s=NOW_S), roots=OFFICE.root_public_keys)
CARER = OFFICE.carer(HOME, "care-north", "carer-17", now_s=NOW_S)
BUNDLE = unlock_at_door(CARER, HOME, challenge=bytes(16), command_id=bytes(16), now_s=NOW_S)
NOTHING_KNOWN = Known(keyset=KEYSET, find_grant=lambda _: None, find_authority=lambda _: None)


def role_tables() -> st.SearchStrategy[Any]:
    def table(counts: list[int]) -> dict[Role, RoleKeys]:
        keys = iter(bytes([number]) * 32 for number in range(256))
        held = {role: tuple(next(keys) for _ in range(count)) for role, count in zip(Role, counts, strict=True)}
        return {role: RoleKeys(len(some), some) for role, some in held.items() if some}

    return st.lists(st.integers(0, 3), min_size=len(Role), max_size=len(Role)).map(table)


STRATEGIES: dict[type[Any], Callable[[Any], st.SearchStrategy[Any]]] = {
    Uint: lambda codec: st.integers(codec.value_min, codec.value_max),
    Octets: lambda codec: st.binary(min_size=codec.size_min, max_size=min(codec.size_max, 200)),
    Text: lambda codec: st.text(
        st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=codec.size_max
    ),
    Name: lambda _: st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True),
    Choice: lambda codec: st.sampled_from(list(codec.kind)),
    Flags: lambda codec: st.integers(0, sum(codec.kind)).map(codec.kind),
    Truth: lambda _: st.booleans(),
    CodeNumber: lambda _: st.sampled_from(list(Code)),
    Many: lambda codec: st.lists(
        values_of(codec.item), min_size=codec.count_min, max_size=min(codec.count_max, codec.count_min + 3)
    ).map(tuple),
    Row: lambda codec: st.tuples(*map(values_of, codec.parts)).map(lambda row: codec.build(*row)),
    ConfirmationKey: lambda _: st.binary(min_size=32, max_size=32),
    RoleTable: lambda _: role_tables(),
}
"""By shape: what a field of it may hold."""


def values_of(codec: Codec) -> st.SearchStrategy[Any]:
    return STRATEGIES[type(codec)](codec)


def is_required(field: WireField) -> bool:
    return type(field.default) is object


def maps(kind: type[WireMap]) -> st.SearchStrategy[WireMap]:
    fields = {
        field.name: values_of(field.codec) if is_required(field) else st.just(field.default) | values_of(field.codec)
        for field in kind.FIELDS
    }
    return st.fixed_dictionaries(fields).map(lambda chosen: kind(**chosen)).filter(lambda made: made.problem() is None)


def some_map() -> st.SearchStrategy[WireMap]:
    # Commands and infos are drawn from their examples: few random ones have a whole freshness or a whole nonce.
    drawn = [maps(kind) for kind in KINDS if kind.__name__ not in {"Command", "GatewayInfo"}]
    examples = [st.just(value) for value, _ in VALUES.values()]
    return st.one_of(*drawn, *examples)


@given(some_map())
def test_every_value_has_one_encoding_and_comes_back_from_it(value: WireMap) -> None:
    data = value.to_bytes()
    read = type(value).from_bytes(data)
    assert read == value
    assert read.to_bytes() == data


@given(some_map(), st.data())
def test_other_bytes_are_another_value_or_refused(value: WireMap, data: st.DataObject) -> None:
    changed = bytearray(value.to_bytes())
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = type(value).from_bytes(bytes(changed))
    except RemoteProtocolError:
        return
    assert read != value
    assert read.to_bytes() == bytes(changed)


@given(st.sampled_from(KINDS), st.binary(max_size=120))
def test_any_bytes_are_a_value_or_refused(kind: type[WireMap], data: bytes) -> None:
    try:
        value = kind.from_bytes(data)
    except RemoteProtocolError:
        return
    assert value.to_bytes() == data


KEYS = st.integers(-24, 23) | st.just(-70_001)
LEAVES = st.integers(-(2**64), 2**64 - 1) | st.booleans() | st.none() | st.binary(max_size=33) | st.text(max_size=9)
TREES = st.recursive(
    LEAVES, lambda deeper: st.lists(deeper, max_size=4) | st.dictionaries(KEYS, deeper, max_size=6), max_leaves=12
)


@given(st.sampled_from(list(VALUES)), st.data())
def test_any_value_in_place_of_a_field_is_refused_or_read_as_itself(kind: type[WireMap], data: st.DataObject) -> None:
    example = VALUES[kind][0]  # type: ignore[index]  # KINDS are more than VALUES
    tree = cbor.decode(example.to_bytes(), size_max=kind.SIZE_MAX)
    assert isinstance(tree, dict)
    changed = {**tree, data.draw(st.sampled_from(sorted(tree))): data.draw(TREES)}
    encoded = cbor.encode(changed)
    try:
        value = kind.from_bytes(encoded)
    except RemoteProtocolError:
        return
    assert value.to_bytes() == encoded


@given(some_map(), st.integers(0, 0xFFFF))
def test_a_record_comes_back_with_its_number(value: WireMap, corr: int) -> None:
    if type(value) in RECORDS:
        message: Message = value  # type: ignore[assignment]  # RECORDS are messages
        accepted = FROM_GATEWAY if message.TYPE in FROM_GATEWAY else FROM_LOCK
        assert decode_record(encode_record(message, corr), accepted) == (corr, message)


# --------------------------------------------------------------------------------------------- what comes off the wire


@given(st.binary(max_size=300))
def test_any_bytes_as_a_bundle_a_grant_or_a_keyset_are_only_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        verify_bundle(data, known=NOTHING_KNOWN)
    with pytest.raises(RemoteProtocolError):
        verify_grant(data, None, known=NOTHING_KNOWN)
    with pytest.raises(RemoteProtocolError):
        verify_keyset(data, roots=OFFICE.root_public_keys)


@given(st.data())
def test_no_byte_of_a_bundle_can_be_changed(data: st.DataObject) -> None:
    changed = bytearray(BUNDLE)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RemoteProtocolError):
        verify_bundle(bytes(changed), known=NOTHING_KNOWN)


@given(st.integers(0, len(BUNDLE) - 1))
def test_a_bundle_cut_short_anywhere_is_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        verify_bundle(BUNDLE[:size], known=NOTHING_KNOWN)


@given(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=3))
def test_no_other_objects_make_a_bundle(kinds: list[Any]) -> None:
    bundle = cbor.encode(tuple(signed_example(kind) for kind in kinds))
    with pytest.raises(RemoteProtocolError):
        verify_bundle(bundle, known=NOTHING_KNOWN)


@given(st.permutations(list(parse_bundle(BUNDLE))), st.integers(1, 3))
def test_only_the_one_order_of_a_bundle_is_verified(parts: list[bytes], count: int) -> None:
    bundle = cbor.encode(tuple(parts[:count]))
    if bundle == BUNDLE:
        assert verify_bundle(bundle, known=NOTHING_KNOWN).proof.raw == CARER.grant
        return
    with pytest.raises(RemoteProtocolError):
        verify_bundle(bundle, known=NOTHING_KNOWN)


@given(st.sets(st.integers(0, 2)), st.permutations(range(3)))
def test_two_distinct_roots_and_no_fewer_make_a_keyset(chosen: set[int], order: list[int]) -> None:
    signers = [OFFICE.roots[place] for place in order if place in chosen]
    if not signers:
        return
    signed = OFFICE.keyset(now_s=NOW_S, signers=[*signers, signers[0]])
    if len(chosen) >= 2:
        assert verify_keyset(signed, roots=OFFICE.root_public_keys) == KEYSET
    else:
        with pytest.raises(RemoteProtocolError):
            verify_keyset(signed, roots=OFFICE.root_public_keys)


@given(st.integers(1, 2**53 - 1), st.integers(0, 2**53 - 1))
def test_numbers_of_any_size_are_signed_and_read(version: int, exp_s: int) -> None:
    keyset = replace(KEYSET, version=version, exp_s=exp_s)
    signed = cose.sign_many(keyset.to_bytes(), keys=OFFICE.roots[:2], domain=Keyset.DOMAIN)
    assert verify_keyset(signed, roots=OFFICE.root_public_keys) == keyset
