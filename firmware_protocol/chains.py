"""Bundle bytes and pinned keys → VerifiedBundle (docs/protocol.md §5).

The chain is walked from the root down, and nothing is read before its signature has been checked by
a key that stands above it: Keyset → (Authority →) Grant or OperatorGrant → Command. What fails here
fails for somebody who has proved nothing. What a verified bundle may do is `access`'s question.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from firmware_protocol import cbor, cose
from firmware_protocol.codes import Code
from firmware_protocol.commands import Command
from firmware_protocol.constants import BUNDLE_SIZE_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.schema import Many, Octets, malformed
from firmware_protocol.signed import SignedMap
from firmware_protocol.tokens import Authority, Grant, Keyset, OperatorGrant
from firmware_protocol.vocabulary import OfflineClass, Rights, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from firmware_protocol.cose import Envelope
    from firmware_protocol.tokens import RoleKeys

ROOT_THRESHOLD: Final = 2
"""Distinct pinned root keys that must sign a Keyset."""
BUNDLE_OBJECT_COUNT_MAX: Final = 3
_OBJECTS: Final = Many(Octets(1, BUNDLE_SIZE_MAX), count_max=BUNDLE_OBJECT_COUNT_MAX, count_min=1)
_LONE: Final = b"\x81"
"""Array of one: a bundle without a grant."""
OPERATOR_COUNT: Final = 2
"""Operators who sign where one does not suffice."""
PROOF_COUNT_MAX: Final = 256
"""Most verified grants remembered; the one verified longest ago goes."""
_GRANTS_BY_ROLE: Final = ((Role.ALARM, OperatorGrant), (Role.AUTHORITY, Grant))
"""The roles that may sign a grant without an Authority between, and which kind."""
S = TypeVar("S", bound=SignedMap)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedGrant:
    """A grant whose chain of signatures reaches the Keyset; made by `verify_grant` only."""

    grant: Grant | OperatorGrant
    sha256: bytes
    raw: bytes
    authority: Authority | None
    """None where the authority role, or for an operator the alarm role, signed it directly."""
    issuer_kid: bytes
    authority_raw: bytes | None = None
    """The authority as received."""

    @property
    def holder_key(self) -> bytes:
        """The Ed25519 key that commands under this grant are signed with."""
        return self.grant.operator_key if isinstance(self.grant, OperatorGrant) else self.grant.device_key

    @property
    def is_operator(self) -> bool:
        """Whether the alarm centre acts."""
        return isinstance(self.grant, OperatorGrant)

    @property
    def rights(self) -> Rights:
        """What grant and authority both permit."""
        return self.grant.rights if self.authority is None else self.grant.rights & self.authority.rights_max

    @property
    def exp_s(self) -> int:
        """The earlier of the two ends."""
        return self.grant.exp_s if self.authority is None else min(self.grant.exp_s, self.authority.exp_s)

    @property
    def kids(self) -> tuple[bytes, ...]:
        """Every key of the chain below the Keyset's roles, for revocation."""
        return (self.issuer_kid, cose.kid_of(self.holder_key))

    @property
    def ctis(self) -> tuple[bytes, ...]:
        """Every numbered object of the chain, for revocation."""
        return (self.grant.cti,) if self.authority is None else (self.grant.cti, self.authority.cti)

    @property
    def is_emergency(self) -> bool:
        """Whether it is of those for whom the door must open when it matters: an operator's, or of class 2."""
        return isinstance(self.grant, OperatorGrant) or self.grant.offline_class is OfflineClass.RESPONDER

    @property
    def provider(self) -> str | None:
        """The provider's name; None for the alarm centre."""
        return None if self.is_operator else self.grant.issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBundle:
    """A command that its holder signed under a verified grant; made by `verify_bundle` only."""

    command: Command
    command_sha256: bytes
    signer_kid: bytes
    """Of two operators the first: the one whose grant `grant_sha256` names."""
    proof: VerifiedGrant
    second: VerifiedGrant | None = None
    """The second operator's grant, where two have signed; of another key than `proof`'s, perhaps of the same person."""

    @property
    def proofs(self) -> tuple[VerifiedGrant, ...]:
        """The grant of each signer: every one of them must hold."""
        return (self.proof,) if self.second is None else (self.proof, self.second)

    @property
    def is_emergency(self) -> bool:
        """See `VerifiedGrant.is_emergency`."""
        return self.proof.is_emergency


class Proofs:
    """Grants whose chain has been verified under one Keyset: no signature is checked twice.

    A new Keyset needs a new one of these. Bytes are looked up whole, so that nothing but the very bytes that
    were verified is found.
    """

    def __init__(self) -> None:
        self._proofs: dict[tuple[bytes, bytes | None, bytes | None], VerifiedGrant] = {}

    def find(self, grant: bytes, given: bytes | None, held: bytes | None) -> VerifiedGrant | None:
        """Return what was made of this grant beside these two authorities."""
        return self._proofs.get((grant, given, held))

    def keep(self, grant: bytes, given: bytes | None, held: bytes | None, proof: VerifiedGrant) -> None:
        """Remember it."""
        if len(self._proofs) >= PROOF_COUNT_MAX:
            del self._proofs[next(iter(self._proofs))]
        self._proofs[grant, given, held] = proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the verifier holds already: a bundle may leave it out."""

    keyset: Keyset
    find_grant: Callable[[bytes], bytes | None]
    """SHA-256 → signed grant, or None."""
    find_authority: Callable[[bytes], bytes | None]
    """kid of a provider's key → signed Authority, or None."""
    proofs: Proofs = field(default_factory=Proofs)
    """Shared by all that is verified under this Keyset."""


def verify_keyset(data: bytes, *, roots: Sequence[bytes]) -> Keyset:
    """Return the Keyset that two distinct pinned root keys have signed.

    Raises:
        RemoteProtocolError: malformed, or too few of `roots` signed it.
    """
    return open_by_roots(Keyset, data, roots=roots)


def open_by_roots(kind: type[S], data: bytes, *, roots: Sequence[bytes]) -> S:
    """Return the object in `data`, which two distinct pinned root keys have signed.

    Raises:
        RemoteProtocolError: malformed, or too few of `roots` signed it.
    """
    envelope = cose.parse(data, size_max=kind.SIZE_MAX)
    pinned = {cose.kid_of(root): root for root in roots}
    if not envelope.is_multi or len(envelope.verify_many(pinned, domain=kind.DOMAIN)) < ROOT_THRESHOLD:
        raise RemoteProtocolError(Code.BAD_SIGNATURE, f"fewer than two pinned root keys signed the {kind.DOMAIN}")
    return kind.from_bytes(envelope.payload)


def open_by_role(kind: type[S], data: bytes, *, keyset: Keyset, role: Role) -> S:
    """Return the object in `data`, signed by enough keys of `role`.

    Raises:
        RemoteProtocolError: UNKNOWN_SIGNER, BAD_SIGNATURE or malformed.
    """
    envelope = cose.parse(data, size_max=kind.SIZE_MAX)
    return kind.from_bytes(_payload_by_role(envelope, kind.DOMAIN, keyset=keyset, role=role))


def verify_grant(grant: bytes, authority: bytes | None, *, known: Known) -> VerifiedGrant:
    """Return a grant whose signatures lead to the Keyset.

    The kid only picks which key and which domain to try; the signature decides.

    Raises:
        RemoteProtocolError: UNKNOWN_SIGNER, BAD_SIGNATURE, TOO_LARGE or malformed, which an authority that
            the grant does not need is too: nobody would verify it.
    """
    envelope = cose.parse(grant, size_max=Grant.SIZE_MAX)
    held = known.find_authority(envelope.signatures[0].kid)
    proof = known.proofs.find(grant, authority, held)
    if proof is None:
        proof = _verify_grant(envelope, authority, held, known.keyset)
        known.proofs.keep(grant, authority, held, proof)
    return proof


def verify_bundle(data: bytes, *, known: Known) -> VerifiedBundle:
    """Return the command in `data`, every signature from it up to the Keyset checked.

    Raises:
        RemoteProtocolError: UNKNOWN_SIGNER, BAD_SIGNATURE, MISSING_GRANT, TOO_LARGE or malformed.
    """
    parts = parse_bundle(data)
    envelope = cose.parse(parts[0], size_max=Command.SIZE_MAX)
    if envelope.is_multi:
        return _verify_pair(envelope, parts[1:], known)
    if len(parts) > 1:
        proof = verify_grant(parts[1], parts[2] if len(parts) > 2 else None, known=known)  # noqa: PLR2004 - the authority
        command = Command.from_bytes(envelope.verify(proof.holder_key, domain=Command.DOMAIN))
    else:
        proof, command = _verify_lone(envelope, known)
    if command.grant_sha256 != proof.sha256 or command.second_grant_sha256 is not None:
        raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "the command names another grant, or one more")
    return VerifiedBundle(
        command=command,
        command_sha256=envelope.sha256,
        signer_kid=envelope.signatures[0].kid,
        proof=proof,
    )


def parse_bundle(data: bytes) -> tuple[bytes, ...]:
    """Return the signed objects in a bundle: Command, then Grant or OperatorGrant, then Authority.

    Raises:
        RemoteProtocolError: TOO_LARGE or malformed.
    """
    value = cbor.decode(data, size_max=BUNDLE_SIZE_MAX)
    return _OBJECTS.decode(value, "bundle")


def named_grant(data: bytes) -> bytes | None:
    """Return the SHA-256 of the grant that a lone command names; None for a bundle that brings its grants.

    Nothing of it is verified: it only says what to have at hand.
    """
    try:
        parts = parse_bundle(data) if data.startswith(_LONE) else ()
        envelopes = [cose.parse(part, size_max=Command.SIZE_MAX) for part in parts]
        return next((Command.from_bytes(envelope.payload).grant_sha256 for envelope in envelopes), None)
    except RemoteProtocolError:
        return None  # whoever verifies it will say why


def make_bundle(*objects: bytes) -> bytes:
    """Return the bundle of these signed objects."""
    return cbor.encode(objects)


def _verify_lone(envelope: Envelope, known: Known) -> tuple[VerifiedGrant, Command]:
    # The only place where a payload is read before its signature is checked: the hash in it picks the
    # cached grant whose key then must verify it. A forged hash picks another key and fails there.
    named = Command.from_bytes(envelope.payload).grant_sha256
    grant = known.find_grant(named)
    if grant is None:
        raise RemoteProtocolError(Code.MISSING_GRANT, "the grant is neither in the bundle nor known")
    proof = verify_grant(grant, None, known=known)
    return proof, Command.from_bytes(envelope.verify(proof.holder_key, domain=Command.DOMAIN))


def _verify_pair(envelope: Envelope, grants: Sequence[bytes], known: Known) -> VerifiedBundle:
    """Verify what two operators have signed together.

    The list of signatures is itself not signed. It must be the two named grants' holders in their order: a broker
    that turns it round, or adds to it, has made another object of it, and no second command.
    """
    if len(grants) != OPERATOR_COUNT or len(envelope.signatures) != OPERATOR_COUNT:
        raise RemoteProtocolError(Code.MISSING_GRANT, "a command of two signers needs both their grants")
    proof, second = (verify_grant(grant, None, known=known) for grant in grants)
    if not proof.is_operator or not second.is_operator:
        raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "only operators sign together")
    kids = tuple(cose.kid_of(each.holder_key) for each in (proof, second))
    if kids[0] == kids[1] or kids != tuple(entry.kid for entry in envelope.signatures):
        raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "not signed by the two holders in the order of their grants")
    envelope.verify_many(dict(zip(kids, (proof.holder_key, second.holder_key), strict=True)), domain=Command.DOMAIN)
    command = Command.from_bytes(envelope.payload)
    if (command.grant_sha256, command.second_grant_sha256) != (proof.sha256, second.sha256):
        raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "the command names other grants")
    return VerifiedBundle(
        command=command, command_sha256=envelope.sha256, signer_kid=kids[0], proof=proof, second=second
    )


def _verify_grant(envelope: Envelope, given: bytes | None, held: bytes | None, keyset: Keyset) -> VerifiedGrant:
    issuer_kid = envelope.signatures[0].kid
    for role, kind in _GRANTS_BY_ROLE:
        if _key(keyset.roles.get(role), issuer_kid) is not None:
            if given is not None:
                raise malformed("bundle", "an authority beside a grant that needs none")
            payload = _payload_by_role(envelope, kind.DOMAIN, keyset=keyset, role=role)
            return _verified(envelope, kind.from_bytes(payload), None, None)
    delegated, raw = _authority(given, held, keyset)
    payload = envelope.verify(delegated.provider_key, domain=Grant.DOMAIN)
    narrowed = Grant.from_bytes(payload)
    if narrowed.issuer != delegated.provider:
        raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "the grant's issuer is not the authority's provider")
    return _verified(envelope, narrowed, delegated, raw)


def _authority(given: bytes | None, held: bytes | None, keyset: Keyset) -> tuple[Authority, bytes]:
    """Return the newer of the authority in the bundle and the one that the verifier holds.

    Who presents an older one wants the rights that the newer one has taken away.
    """
    if given is None or given == held:
        if held is None:
            raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "no authority names the grant's signer")
        return open_by_role(Authority, held, keyset=keyset, role=Role.AUTHORITY), held
    presented = open_by_role(Authority, given, keyset=keyset, role=Role.AUTHORITY)
    if held is not None:
        try:
            kept = open_by_role(Authority, held, keyset=keyset, role=Role.AUTHORITY)
        except RemoteProtocolError:
            return presented, given  # signed under an earlier Keyset, which this one no longer bears out
        if kept.iat_s >= presented.iat_s:
            return kept, held
    return presented, given


def _verified(
    envelope: Envelope, grant: Grant | OperatorGrant, authority: Authority | None, authority_raw: bytes | None
) -> VerifiedGrant:
    return VerifiedGrant(
        grant=grant,
        sha256=envelope.sha256,
        raw=envelope.raw,
        authority=authority,
        issuer_kid=envelope.signatures[0].kid,
        authority_raw=authority_raw,
    )


def _key(held: RoleKeys | None, kid: bytes) -> bytes | None:
    """Return the key of a role that a kid points at."""
    if held is not None:
        for key in held.keys:
            if cose.kid_of(key) == kid:
                return key
    return None


def _payload_by_role(envelope: Envelope, domain: str, *, keyset: Keyset, role: Role) -> bytes:
    held = keyset.roles.get(role)
    if held is None:
        raise RemoteProtocolError(Code.UNKNOWN_SIGNER, f"the keyset gives nobody the role {role.name}")
    if envelope.is_multi:
        if len(envelope.verify_many({cose.kid_of(key): key for key in held.keys}, domain=domain)) < held.threshold:
            raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "too few keys of the role signed")
        return envelope.payload
    key = _key(held, envelope.signatures[0].kid)
    if key is None or held.threshold > 1:
        raise RemoteProtocolError(Code.UNKNOWN_SIGNER, f"not enough keys of the role {role.name}")
    return envelope.verify(key, domain=domain)
