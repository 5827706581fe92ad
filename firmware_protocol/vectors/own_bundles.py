"""Vectors of bundles: the chain from pinned roots to a command, and what breaks it (docs/protocol.md §5)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from firmware_protocol import cbor, cose
from firmware_protocol.chains import Known, VerifiedBundle, make_bundle, verify_bundle, verify_keyset
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.signed import sign, sign_many
from firmware_protocol.tokens import Authority, Keyset, OperatorGrant
from firmware_protocol.vectors.case import Case, document
from firmware_protocol.vectors.examples import (
    AUTHORITY,
    COMMAND,
    GRANT,
    OPERATOR_GRANT,
    PUBLIC,
    SIGNED_COMMAND,
    SIGNED_GRANT,
    SIGNERS,
    signed_example,
)
from firmware_protocol.vectors.tally import Tally
from firmware_protocol.vocabulary import Rights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_protocol.commands import Command
    from firmware_protocol.tokens import Grant

KIND: Final = "bundles"
_AUTHORITY: Final = signed_example(Authority)
_OPERATOR_GRANT: Final = signed_example(OperatorGrant)
_OPERATORS_MAY: Final = (OPERATOR_GRANT.rights, OPERATOR_GRANT.exp_s)
_SECOND_GRANT: Final = replace(
    OPERATOR_GRANT, subject="operator-4", cti=bytes(16), operator_key=PUBLIC["second operator"]
)


def documents() -> Iterator[tuple[str, Case]]:
    """Yield the one file of bundles."""
    about = (
        "The verifier pins `roots`, has verified `keyset`, and holds `known_grants` (found by the SHA-256 of the "
        "signed grant) and `known_authorities` (found by the kid of their provider_key). Good: `rights` and `exp_s` "
        "are what the whole chain permits."
    )
    roots = [PUBLIC[name].hex() for name in ("root 1", "root 2", "root 3")]
    keyset = signed_example(Keyset).hex()
    yield "bundles", document(KIND, "5", about, roots=roots, keyset=keyset, cases=list(_cases()))


def judge(given: Case) -> Tally:
    """Verify every bundle from the roots down."""
    roots = [bytes.fromhex(root) for root in given["roots"]]
    keyset = verify_keyset(bytes.fromhex(given["keyset"]), roots=roots)
    tally = Tally()
    for case in given["cases"]:
        expected = (case["error"], case.get("rights"), case.get("exp_s"))
        tally.judge(case["name"], is_right=_verified(case, keyset) == expected)
    return tally


def _verified(case: Case, keyset: Keyset) -> tuple[str | None, int | None, int | None]:
    grants = {hashlib.sha256(bytes.fromhex(text)).digest(): bytes.fromhex(text) for text in case["known_grants"]}
    authorities = {_provider_kid(bytes.fromhex(text)): bytes.fromhex(text) for text in case["known_authorities"]}
    known = Known(keyset=keyset, find_grant=grants.get, find_authority=authorities.get)
    try:
        bundle: VerifiedBundle = verify_bundle(bytes.fromhex(case["bundle"]), known=known)
    except RemoteProtocolError as error:
        return error.code.name, None, None
    return None, int(bundle.proof.rights), bundle.proof.exp_s


def _provider_kid(signed: bytes) -> bytes:
    return cose.kid_of(Authority.from_bytes(cose.parse(signed, size_max=Authority.SIZE_MAX).payload).provider_key)


def _good(name: str, bundle: bytes, rights: Rights, exp_s: int, **known: bytes) -> Case:
    return _case(name, bundle, None, **known) | {"rights": int(rights), "exp_s": exp_s}


def _case(name: str, bundle: bytes, error: Code | None, *, grant: bytes = b"", authority: bytes = b"") -> Case:
    return {
        "name": name,
        "error": None if error is None else error.name,
        "bundle": bundle.hex(),
        "known_grants": [grant.hex()] if grant else [],
        "known_authorities": [authority.hex()] if authority else [],
    }


def _command(signed_grant: bytes, signer: str, command: Command = COMMAND) -> bytes:
    return sign(replace(command, grant_sha256=hashlib.sha256(signed_grant).digest()), SIGNERS[signer])


def _with(grant: Grant, signer: str, authority: bytes = _AUTHORITY) -> bytes:
    signed_grant = sign(grant, SIGNERS[signer])
    return make_bundle(_command(signed_grant, "device"), signed_grant, authority)


def _cases() -> Iterator[Case]:
    both, end = GRANT.rights & AUTHORITY.rights_max, min(GRANT.exp_s, AUTHORITY.exp_s)
    whole = make_bundle(SIGNED_COMMAND, SIGNED_GRANT, _AUTHORITY)
    alone, pair = make_bundle(SIGNED_COMMAND), make_bundle(SIGNED_COMMAND, SIGNED_GRANT)
    operators = make_bundle(_command(_OPERATOR_GRANT, "operator"), _OPERATOR_GRANT)
    direct = sign(GRANT, SIGNERS["authority"])
    yield _good("command, grant, authority", whole, both, end)
    yield _good("the authority is known", pair, both, end, authority=_AUTHORITY)
    yield _good("grant and authority are known", alone, both, end, grant=SIGNED_GRANT, authority=_AUTHORITY)
    yield _good("an operator's", operators, *_OPERATORS_MAY)
    yield _good("a grant of the authority role itself", _of(direct), GRANT.rights, GRANT.exp_s)
    wide = replace(GRANT, rights=Rights.UNLOCK | Rights.LOCK | Rights.SERVICE, exp_s=AUTHORITY.exp_s + 1)
    yield _good("a grant wider than its authority gives what both give", _with(wide, "provider"), both, AUTHORITY.exp_s)
    yield from _forged(whole)
    yield from _of_two()
    yield from _presented_as_another()
    yield _case("nothing else is known", pair, Code.UNKNOWN_SIGNER)
    yield _case("the grant is not known", alone, Code.MISSING_GRANT)
    yield _case("no object", cbor.encode([]), Code.MALFORMED)
    yield _case("four objects", make_bundle(SIGNED_COMMAND, SIGNED_GRANT, _AUTHORITY, _AUTHORITY), Code.MALFORMED)
    yield _case("larger than 1900 bytes", make_bundle(SIGNED_COMMAND, bytes(1_720)), Code.TOO_LARGE)
    yield _case("an object larger than 1024 bytes", make_bundle(SIGNED_COMMAND, bytes(1_025)), Code.TOO_LARGE)


def _of(signed_grant: bytes, *, signer: str = "device") -> bytes:
    return make_bundle(_command(signed_grant, signer), signed_grant)


def _of_two() -> Iterator[Case]:
    second_grant = sign(_SECOND_GRANT, SIGNERS["alarm"])
    named = replace(
        COMMAND,
        grant_sha256=hashlib.sha256(_OPERATOR_GRANT).digest(),
        second_grant_sha256=hashlib.sha256(second_grant).digest(),
    )
    first, second = SIGNERS["operator"], SIGNERS["second operator"]
    both = sign_many(named, [first, second])
    yield _good("two operators", make_bundle(both, _OPERATOR_GRANT, second_grant), *_OPERATORS_MAY)
    grants = (_OPERATOR_GRANT, second_grant)
    turned, alike = sign_many(named, [second, first]), sign_many(named, [first, first])
    for name, objects, code in (
        ("two operators: one grant is missing", (both, _OPERATOR_GRANT), Code.MISSING_GRANT),
        ("two operators: signed by one alone", (sign_many(named, [first]), *grants), Code.MISSING_GRANT),
        ("two operators: a third signature", (sign_many(named, [first, second, first]), *grants), Code.MISSING_GRANT),
        (
            "two operators: signatures in another order",
            (turned, *grants),
            Code.UNKNOWN_SIGNER,
        ),
        ("two operators: grants in another order", (both, *reversed(grants)), Code.UNKNOWN_SIGNER),
        (
            "two operators who are one key",
            (alike, *grants[:1], *grants[:1]),
            Code.UNKNOWN_SIGNER,
        ),
        ("two operators: a false second signature", (both[:-1] + bytes((both[-1] ^ 1,)), *grants), Code.BAD_SIGNATURE),
        ("an operator and a carer", (both, _OPERATOR_GRANT, sign(GRANT, SIGNERS["authority"])), Code.UNKNOWN_SIGNER),
        ("one operator's command that names two grants", (sign(named, first), _OPERATOR_GRANT), Code.UNKNOWN_SIGNER),
    ):
        yield _case(name, make_bundle(*objects), code)


def _forged(whole: bytes) -> Iterator[Case]:
    for name, offset in (("command", 150), ("grant", 350), ("authority", len(whole) - 1)):
        flipped = whole[:offset] + bytes((whole[offset] ^ 1,)) + whole[offset + 1 :]
        yield _case(f"a flipped bit in the {name}", flipped, Code.BAD_SIGNATURE)
    strangers_command = make_bundle(_command(SIGNED_GRANT, "provider"), SIGNED_GRANT, _AUTHORITY)
    yield _case("a stranger's command under somebody's grant", strangers_command, Code.BAD_SIGNATURE)
    yield _case("a stranger's grant", _with(GRANT, "operator"), Code.BAD_SIGNATURE)
    other = sign(AUTHORITY, SIGNERS["status"])
    yield _case("an authority of another role", _with(GRANT, "provider", other), Code.UNKNOWN_SIGNER)
    own = sign(AUTHORITY, SIGNERS["provider"])
    yield _case("an authority that the provider signed itself", _with(GRANT, "provider", own), Code.UNKNOWN_SIGNER)
    issuer = replace(GRANT, issuer="care-south")
    yield _case("a grant in the name of another provider", _with(issuer, "provider"), Code.UNKNOWN_SIGNER)
    two = cose.sign_many(COMMAND.to_bytes(), keys=[SIGNERS["device"], SIGNERS["operator"]], domain="command")
    yield _case("a carer's command of two signers", make_bundle(two, SIGNED_GRANT, _AUTHORITY), Code.UNKNOWN_SIGNER)
    another = sign(replace(GRANT, cti=bytes(16)), SIGNERS["provider"])
    yield _case(
        "a command that names another grant", make_bundle(SIGNED_COMMAND, another, _AUTHORITY), Code.UNKNOWN_SIGNER
    )
    beside = make_bundle(_command(_OPERATOR_GRANT, "operator"), _OPERATOR_GRANT, _AUTHORITY)
    yield _case("an authority beside a grant that needs none", beside, Code.MALFORMED)


def _presented_as_another() -> Iterator[Case]:
    as_command = make_bundle(SIGNED_GRANT, SIGNED_GRANT, _AUTHORITY)
    yield _case("a grant presented as the command", as_command, Code.BAD_SIGNATURE)
    as_grant = make_bundle(SIGNED_COMMAND, SIGNED_COMMAND, _AUTHORITY)
    yield _case("a command presented as the grant", as_grant, Code.BAD_SIGNATURE)
    as_authority = make_bundle(SIGNED_COMMAND, SIGNED_GRANT, SIGNED_GRANT)
    yield _case("a grant presented as the authority", as_authority, Code.UNKNOWN_SIGNER)
    turned = make_bundle(SIGNED_COMMAND, _AUTHORITY, SIGNED_GRANT)
    yield _case("a chain in another order", turned, Code.MALFORMED)
    yield _case("a carer's grant of the alarm role", _of(sign(GRANT, SIGNERS["alarm"])), Code.BAD_SIGNATURE)
    of_provider = sign(OPERATOR_GRANT, SIGNERS["provider"])
    yield _case(
        "an operator's grant of a provider",
        make_bundle(_command(of_provider, "operator"), of_provider, _AUTHORITY),
        Code.BAD_SIGNATURE,
    )
