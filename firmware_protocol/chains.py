"""Bundle bytes and pinned keys → VerifiedBundle (docs/protocol.md §5).

The chain is walked from the root down, and nothing is read before its signature has been checked by
a key that stands above it: Keyset → (Authority →) Grant or OperatorGrant → Command. What fails here
fails for somebody who has proved nothing. What a verified bundle may do is `access`'s question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from firmware_protocol import cbor, cose
from firmware_protocol.codes import Code
from firmware_protocol.commands import Command
from firmware_protocol.constants import BUNDLE_SIZE_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.schema import Many, Octets, malformed
from firmware_protocol.signed import SignedMap
from firmware_protocol.tokens import Authority, Grant, Keyset, OperatorGrant
from firmware_protocol.vocabulary import Rights, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from firmware_protocol.cose import Envelope

ROOT_THRESHOLD: Final = 2
"""Distinct pinned root keys that must sign a Keyset."""
BUNDLE_OBJECT_COUNT_MAX: Final = 3
_OBJECTS: Final = Many(Octets(1, BUNDLE_SIZE_MAX), count_max=BUNDLE_OBJECT_COUNT_MAX, count_min=1)
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
    def provider(self) -> str | None:
        """The provider's name; None for the alarm centre."""
        return None if self.is_operator else self.grant.issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBundle:
    """A command that its holder signed under a verified grant; made by `verify_bundle` only."""

    command: Command
    command_sha256: bytes
    signer_kid: bytes
    proof: VerifiedGrant


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the verifier holds already: a bundle may leave it out."""

    keyset: Keyset
    find_grant: Callable[[bytes], bytes | None]
    """SHA-256 → signed grant, or None."""
    find_authority: Callable[[bytes], bytes | None]
    """kid of a provider's key → signed Authority, or None."""


def verify_keyset(data: bytes, *, roots: Sequence[bytes]) -> Keyset:
    """Return the Keyset that two distinct pinned root keys have signed.

    Raises:
        RemoteProtocolError: malformed, or too few of `roots` signed it.
    """
    envelope = cose.parse(data, size_max=Keyset.SIZE_MAX)
    pinned = {cose.kid_of(root): root for root in roots}
    if not envelope.is_multi or len(envelope.verify_many(pinned, domain=Keyset.DOMAIN)) < ROOT_THRESHOLD:
        raise RemoteProtocolError(Code.BAD_SIGNATURE, "fewer than two pinned root keys signed the keyset")
    return Keyset.from_bytes(envelope.payload)


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
    issuer_kid = envelope.signatures[0].kid
    for role, kind in _GRANTS_BY_ROLE:
        if _holds(known.keyset, role, issuer_kid):
            if authority is not None:
                raise malformed("bundle", "an authority beside a grant that needs none")
            payload = _payload_by_role(envelope, kind.DOMAIN, keyset=known.keyset, role=role)
            return _verified(envelope, kind.from_bytes(payload), None)
    return _verify_delegated(envelope, authority or known.find_authority(issuer_kid), known.keyset)


def verify_bundle(data: bytes, *, known: Known) -> VerifiedBundle:
    """Return the command in `data`, every signature from it up to the Keyset checked.

    Raises:
        RemoteProtocolError: UNKNOWN_SIGNER, BAD_SIGNATURE, MISSING_GRANT, TOO_LARGE or malformed.
    """
    parts = parse_bundle(data)
    envelope = cose.parse(parts[0], size_max=Command.SIZE_MAX)
    if envelope.is_multi:
        raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "a command of several signers")
    if len(parts) > 1:
        proof = verify_grant(parts[1], parts[2] if len(parts) > 2 else None, known=known)  # noqa: PLR2004 - the authority
        command = Command.from_bytes(envelope.verify(proof.holder_key, domain=Command.DOMAIN))
    else:
        proof, command = _verify_lone(envelope, known)
    if command.grant_sha256 != proof.sha256:
        raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "the command names another grant")
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


def _verify_delegated(envelope: Envelope, authority: bytes | None, keyset: Keyset) -> VerifiedGrant:
    if authority is None:
        raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "no authority names the grant's signer")
    delegated = open_by_role(Authority, authority, keyset=keyset, role=Role.AUTHORITY)
    grant = Grant.from_bytes(envelope.verify(delegated.provider_key, domain=Grant.DOMAIN))
    if grant.issuer != delegated.provider:
        raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "the grant's issuer is not the authority's provider")
    return _verified(envelope, grant, delegated)


def _verified(envelope: Envelope, grant: Grant | OperatorGrant, authority: Authority | None) -> VerifiedGrant:
    return VerifiedGrant(
        grant=grant,
        sha256=envelope.sha256,
        raw=envelope.raw,
        authority=authority,
        issuer_kid=envelope.signatures[0].kid,
    )


def _holds(keyset: Keyset, role: Role, kid: bytes) -> bool:
    held = keyset.roles.get(role)
    return held is not None and any(cose.kid_of(key) == kid for key in held.keys)


def _payload_by_role(envelope: Envelope, domain: str, *, keyset: Keyset, role: Role) -> bytes:
    held = keyset.roles.get(role)
    if held is None:
        raise RemoteProtocolError(Code.UNKNOWN_SIGNER, f"the keyset gives nobody the role {role.name}")
    keys = {cose.kid_of(key): key for key in held.keys}
    if envelope.is_multi:
        if len(envelope.verify_many(keys, domain=domain)) < held.threshold:
            raise RemoteProtocolError(Code.UNKNOWN_SIGNER, "too few keys of the role signed")
        return envelope.payload
    key = keys.get(envelope.signatures[0].kid)
    if key is None or held.threshold > 1:
        raise RemoteProtocolError(Code.UNKNOWN_SIGNER, f"not enough keys of the role {role.name}")
    return envelope.verify(key, domain=domain)
