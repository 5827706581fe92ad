"""Vectors of every signed object: its payload, its signature, and what must be refused (docs/protocol.md §2 to §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from firmware_protocol import cbor, cose
from firmware_protocol.chains import verify_keyset
from firmware_protocol.codes import Code
from firmware_protocol.constants import DOMAIN_PREFIX
from firmware_protocol.signed import open_signed
from firmware_protocol.tokens import Keyset
from firmware_protocol.vectors import spoil
from firmware_protocol.vectors.case import Case, document, error_of, rule_of
from firmware_protocol.vectors.examples import PUBLIC, SIGNERS, VALUES
from firmware_protocol.vectors.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nacl.signing import SigningKey

    from firmware_protocol.signed import SignedMap

KIND: Final = "signed object"
ROOTS: Final = ("root 1", "root 2", "root 3")
_STRANGER: Final = "device"
"""A key that signs none of these but the Command; there the provider is the stranger."""
_OTHER_STRANGER: Final = "provider"


def documents() -> Iterator[tuple[str, Case]]:
    """Yield one document an object: the name of its file, and its content."""
    for kind, (value, names) in VALUES.items():
        signers = [SIGNERS[name] for name in names.split(", ")]
        keys = [PUBLIC[name] for name in (ROOTS if kind is Keyset else names.split(", "))]
        yield (
            f"object-{kind.DOMAIN}",
            document(
                KIND,
                "4",
                f"{kind.__name__}, signed, and what is refused of it. `rule` is the payload's in carelock.cddl.",
                rule=rule_of(kind),
                object=kind.__name__,
                domain=DOMAIN_PREFIX + kind.DOMAIN,
                size_max=kind.SIZE_MAX,
                verify_keys=[key.hex() for key in keys],
                signing_seeds=[bytes(key).hex() for key in signers],
                cases=list(_cases(value, signers)),
            ),
        )


def judge(given: Case) -> Tally:
    """Verify and read every case with this package."""
    tally = Tally()
    (kind,) = [kind for kind in VALUES if kind.__name__ == given["object"]]
    keys = [bytes.fromhex(key) for key in given["verify_keys"]]
    for case in given["cases"]:
        data = bytes.fromhex(case["signed"])
        tally.judge(case["name"], is_right=error_of(_opened, kind, data, keys) == case["error"])
    return tally


def _opened(kind: type[SignedMap], data: bytes, keys: Sequence[bytes]) -> SignedMap:
    return verify_keyset(data, roots=keys) if kind is Keyset else open_signed(kind, data, keys[0])


def _cases(value: SignedMap, signers: Sequence[SigningKey]) -> Iterator[Case]:
    payload = value.to_bytes()
    yield _case("as in the document", _signed(payload, signers, value.DOMAIN), None, payload, "good")
    for name, data in spoil.variants(value):
        yield _case(name, _signed(data, signers, value.DOMAIN), None, data, "good")
    for layer, faults in (("shape", spoil.shapes(value)), ("encoding", spoil.encodings(payload))):
        for name, data in faults:
            if data:
                yield _case(name, _signed(data, signers, value.DOMAIN), Code.MALFORMED, data, layer)
    for name, data, code in _envelopes(payload, signers, value):
        yield _case(f"envelope: {name}", data, code, None, "envelope")


def _case(name: str, signed: bytes, error: Code | None, payload: bytes | None, layer: str) -> Case:
    case = {"name": name, "error": None if error is None else error.name, "layer": layer, "signed": signed.hex()}
    return case if payload is None or error is not None else case | {"payload": payload.hex()}


def _signed(payload: bytes, signers: Sequence[SigningKey], domain: str) -> bytes:
    if len(signers) > 1:
        return cose.sign_many(payload, keys=signers, domain=domain)
    return cose.sign1(payload, key=signers[0], domain=domain)


def _envelopes(payload: bytes, signers: Sequence[SigningKey], value: SignedMap) -> Iterator[tuple[str, bytes, Code]]:
    good, domain = _signed(payload, signers, value.DOMAIN), value.DOMAIN
    stranger = SIGNERS[_OTHER_STRANGER if SIGNERS[_STRANGER] in signers else _STRANGER]
    yield "signature with a flipped bit", good[:-1] + bytes((good[-1] ^ 1,)), Code.BAD_SIGNATURE
    at = good.index(payload) + len(payload) - 1
    yield "payload with a flipped bit", good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :], Code.BAD_SIGNATURE
    yield "signed for another domain", _signed(payload, signers, "other"), Code.BAD_SIGNATURE
    yield "signed by a stranger", _signed(payload, [stranger] * len(signers), domain), Code.BAD_SIGNATURE
    yield "a byte behind the end", good + b"\x00", Code.MALFORMED
    yield "cut short", good[:-1], Code.MALFORMED
    yield "without its tag", good[1 if good[0] == cbor.TAG_SIGN1 | 0xC0 else 2 :], Code.MALFORMED
    yield "larger than its cap", good + bytes(value.SIZE_MAX + 1 - len(good)), Code.TOO_LARGE
    if len(signers) > 1:
        yield from _keyset_envelopes(payload, signers, domain, stranger)
    else:
        yield from _sign1_envelopes(payload, signers[0], domain, stranger)


def _sign1_envelopes(
    payload: bytes, signer: SigningKey, domain: str, stranger: SigningKey
) -> Iterator[tuple[str, bytes, Code]]:
    good = cbor.decode(cose.sign1(payload, key=signer, domain=domain), size_max=spoil.SIZE_ANY)
    assert isinstance(good, cbor.Tag)  # noqa: S101 - it has just been made
    protected, _, _, signature = good.value
    forged = cbor.decode(cose.sign1(payload, key=stranger, domain=domain), size_max=spoil.SIZE_ANY)
    assert isinstance(forged, cbor.Tag)  # noqa: S101
    other_algorithm = b"\xa2\x01\x26" + protected[3:]
    for name, parts in (
        ("with an unprotected header", [protected, {4: b"x"}, payload, signature]),
        ("with another algorithm", [other_algorithm, {}, payload, signature]),
        ("without a protected header", [b"", {}, payload, signature]),
        ("without a kid", [b"\xa1\x01\x27", {}, payload, signature]),
        ("with a detached payload", [protected, {}, None, signature]),
        ("with a signature of 65 bytes", [protected, {}, payload, signature + b"\x00"]),
        ("with a part too many", [protected, {}, payload, signature, b""]),
    ):
        yield name, cbor.encode(cbor.Tag(cbor.TAG_SIGN1, parts)), Code.MALFORMED
    borrowed: list[Any] = [protected, {}, payload, forged.value[3]]
    yield "signed by a stranger who borrows the kid", _tagged1(borrowed), Code.BAD_SIGNATURE
    yield "as a COSE_Sign of one signature", cose.sign_many(payload, keys=[signer], domain=domain), Code.BAD_SIGNATURE


def _keyset_envelopes(
    payload: bytes, signers: Sequence[SigningKey], domain: str, stranger: SigningKey
) -> Iterator[tuple[str, bytes, Code]]:
    first, second = signers
    third = SIGNERS[ROOTS[2]]
    for name, keys in (
        ("signed by one root", [first]),
        ("signed by one root twice", [first, first]),
        ("signed by one root and a stranger", [first, stranger]),
    ):
        yield name, cose.sign_many(payload, keys=keys, domain=domain), Code.BAD_SIGNATURE
    yield "signed by one root as a COSE_Sign1", cose.sign1(payload, key=first, domain=domain), Code.BAD_SIGNATURE
    nine = cbor.decode(cose.sign_many(payload, keys=[first], domain=domain), size_max=spoil.SIZE_ANY)
    assert isinstance(nine, cbor.Tag)  # noqa: S101
    body, _, _, (entry,) = nine.value
    yield "with nine signatures", cbor.encode(cbor.Tag(cbor.TAG_SIGN, [body, {}, payload, [entry] * 9])), Code.MALFORMED
    yield "with no signature", cbor.encode(cbor.Tag(cbor.TAG_SIGN, [body, {}, payload, []])), Code.MALFORMED
    three = cose.sign_many(payload, keys=[first, second, third], domain=domain)
    yield "two good signatures and a false one of a root", three[:-1] + bytes((three[-1] ^ 1,)), Code.BAD_SIGNATURE


def _tagged1(parts: list[Any]) -> bytes:
    return cbor.encode(cbor.Tag(cbor.TAG_SIGN1, parts))
