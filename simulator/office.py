"""The office: root authority, provider, alarm intake, alarm centre and central log as holders of keys.

Issues every signed object that a home needs. All keys come from one seed, so that a story can be told
twice; a real office keeps its root keys offline and apart.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nacl.signing import SigningKey

from firmware_protocol.chains import make_bundle
from firmware_protocol.commands import Alarm, Command, Request
from firmware_protocol.constants import GRANT_LIFE_S_MAX
from firmware_protocol.cose import id_of
from firmware_protocol.noise import KeyPair
from firmware_protocol.orders import DecommissionOrder, Door, PairingOrder
from firmware_protocol.signed import sign, sign_many
from firmware_protocol.statements import AuthorityState
from firmware_protocol.tokens import Authority, Grant, Keyset, OperatorGrant, RoleKeys
from firmware_protocol.vocabulary import Action, OfflineClass, Rights, Role, blinded_lock
from simulator.lock_keys import LockKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYSET_LIFE_S: Final = 365 * 24 * 3_600
AUTHORITY_LIFE_S: Final = 90 * 24 * 3_600
STATE_LIFE_S: Final = 6 * 3_600
SHIFT_S: Final = 10 * 3_600
ISSUER: Final = "municipality"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The keys of one gateway and the lock that it serves."""

    label: str
    gateway_signing_key: SigningKey = field(repr=False)
    gateway_link_keys: KeyPair = field(repr=False)
    lock_log_key: SigningKey = field(repr=False)
    lock_link_keys: KeyPair = field(repr=False)

    @property
    def gateway_id(self) -> bytes:
        """8 bytes."""
        return id_of(bytes(self.gateway_signing_key.verify_key))

    @property
    def lock_id(self) -> bytes:
        """8 bytes."""
        return id_of(bytes(self.lock_log_key.verify_key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A person's key and the grant that names it."""

    key: SigningKey = field(repr=False)
    grant: bytes
    authority: bytes | None = None
    """The provider's Authority; an operator's grant needs none."""

    def bundle(self, command: bytes) -> bytes:
        """Return the command with its whole chain."""
        chain = (self.grant,) if self.authority is None else (self.grant, self.authority)
        return make_bundle(command, *chain)

    def sign(self, command: Command) -> bytes:
        """Return the signed command."""
        return sign(command, self.key)

    @property
    def grant_sha256(self) -> bytes:
        """What a command names its grant by."""
        return hashlib.sha256(self.grant).digest()


class Office:
    """Every key above a home's, from one seed."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self.roots = tuple(self.signing_key(f"root-{number}") for number in range(3))
        self.role_keys: dict[Role, SigningKey] = {
            role: self.signing_key(f"role-{role.name}") for role in Role if role is not Role.ROOT
        }

    def token(self, label: str, size: int = 16) -> bytes:
        """Return bytes that only this label of this seed gives."""
        return hashlib.sha256(self._seed + label.encode()).digest()[:size]

    def signing_key(self, label: str) -> SigningKey:
        """Return the Ed25519 key of this label."""
        return SigningKey(self.token(f"ed25519-{label}", 32))

    def home(self, label: str) -> Home:
        """Return the keys of a home."""
        return Home(
            label=label,
            gateway_signing_key=self.signing_key(f"gateway-{label}"),
            gateway_link_keys=KeyPair.from_private(self.token(f"x25519-gateway-{label}", 32)),
            lock_log_key=self.signing_key(f"lock-{label}"),
            lock_link_keys=KeyPair.from_private(self.token(f"x25519-lock-{label}", 32)),
        )

    @property
    def root_public_keys(self) -> tuple[bytes, ...]:
        """What every gateway and lock pins."""
        return tuple(bytes(root.verify_key) for root in self.roots)

    def keyset(self, *, now_s: int, version: int = 1, signers: Sequence[SigningKey] | None = None) -> bytes:
        """Return a Keyset signed by two roots (or by others, for an attack)."""
        roles: dict[Role, RoleKeys] = {
            role: RoleKeys(1, (bytes(key.verify_key),)) for role, key in self.role_keys.items()
        }
        roles[Role.ROOT] = RoleKeys(2, self.root_public_keys)
        keyset = Keyset(version=version, exp_s=now_s + KEYSET_LIFE_S, roles=roles)
        return sign_many(keyset, self.roots[:2] if signers is None else signers)

    def authority(
        self,
        home: Home,
        provider: str,
        *,
        now_s: int,
        rights: Rights = Rights.UNLOCK | Rights.LOCK,
        offline_class_max: OfflineClass = OfflineClass.RESPONDER,
    ) -> bytes:
        """Return what a provider may grant at a home."""
        authority = Authority(
            issuer=ISSUER,
            provider=provider,
            gateway_id=home.gateway_id,
            exp_s=now_s + AUTHORITY_LIFE_S,
            iat_s=now_s - 60,
            cti=self.token(f"authority-{provider}-{home.label}-{now_s}"),
            provider_key=bytes(self.signing_key(f"provider-{provider}").verify_key),
            lock_ids=(home.lock_id,),
            rights_max=rights,
            grant_life_s_max=GRANT_LIFE_S_MAX if offline_class_max < OfflineClass.RESPONDER else 30 * 24 * 3_600,
            offline_class_max=offline_class_max,
        )
        return sign(authority, self.role_keys[Role.AUTHORITY])

    def grant(  # noqa: PLR0913 - what a provider chooses
        self,
        home: Home,
        provider: str,
        person: str,
        *,
        now_s: int,
        windows: Sequence[tuple[int, int]] | None = None,
        nbf_s: int | None = None,
        exp_s: int | None = None,
        rights: Rights = Rights.UNLOCK | Rights.LOCK,
        use_count_max: int | None = None,
        offline_class: OfflineClass = OfflineClass.SHIFT,
        state_seq_min: int = 0,
        number: int = 0,
    ) -> bytes:
        """Return a carer's grant for a shift that began a minute ago."""
        start_s = now_s - 60 if nbf_s is None else nbf_s
        end_s = start_s + SHIFT_S if exp_s is None else exp_s
        cti = self.token(f"grant-{person}-{home.label}-{start_s}-{end_s}-{number}")
        grant = Grant(
            issuer=provider,
            subject=person,
            locks=(blinded_lock(cti, home.lock_id),),
            exp_s=end_s,
            nbf_s=start_s,
            iat_s=min(start_s, now_s),
            cti=cti,
            device_key=bytes(self.signing_key(f"device-{person}").verify_key),
            rights=rights,
            windows=((start_s, end_s),) if windows is None else tuple(windows),
            use_count_max=use_count_max,
            offline_class=offline_class,
            state_seq_min=state_seq_min,
        )
        return sign(grant, self.signing_key(f"provider-{provider}"))

    def carer(self, home: Home, provider: str, person: str, *, now_s: int, grant: bytes | None = None) -> Holder:
        """Return a carer with a shift grant (or another grant) and the provider's authority."""
        return Holder(
            key=self.signing_key(f"device-{person}"),
            grant=self.grant(home, provider, person, now_s=now_s) if grant is None else grant,
            authority=self.authority(home, provider, now_s=now_s),
        )

    def operator(
        self,
        person: str,
        *,
        now_s: int,
        rights: Rights = Rights.UNLOCK | Rights.LOCK,
        life_s: int = SHIFT_S,
        key: SigningKey | None = None,
    ) -> Holder:
        """Return an alarm centre operator on a shift that began a minute ago, with their own key or another one."""
        key = self.signing_key(f"device-{person}") if key is None else key
        grant = OperatorGrant(
            issuer=ISSUER,
            subject=person,
            exp_s=now_s - 60 + life_s,
            nbf_s=now_s - 60,
            iat_s=now_s - 60,
            cti=self.token(f"operator-{person}-{now_s}"),
            operator_key=bytes(key.verify_key),
            rights=rights,
        )
        return Holder(key=key, grant=sign(grant, self.role_keys[Role.ALARM]))

    def installer(
        self, home: Home, person: str, *, now_s: int, owner_epoch: int = 1, life_s: int = 4 * 3_600
    ) -> Holder:
        """Return who fits a lock: a grant that the authority role signs itself and the lock's PairingOrder names."""
        cti = self.installer_cti(home, owner_epoch)
        grant = Grant(
            issuer=ISSUER,
            subject=person,
            locks=(blinded_lock(cti, home.lock_id),),
            exp_s=now_s - 60 + life_s,
            nbf_s=now_s - 60,
            iat_s=now_s - 60,
            cti=cti,
            device_key=bytes(self.signing_key(f"device-{person}").verify_key),
            rights=Rights.UNLOCK | Rights.LOCK | Rights.SERVICE,
            windows=((now_s - 60, now_s - 60 + life_s),),
        )
        return Holder(key=self.signing_key(f"device-{person}"), grant=sign(grant, self.role_keys[Role.AUTHORITY]))

    def installer_cti(self, home: Home, owner_epoch: int) -> bytes:
        """Return the name of the installer's grant of this pairing."""
        return self.token(f"installer-{home.label}-{owner_epoch}")

    def request(
        self,
        home: Home,
        verb: str,
        *,
        epoch: bytes,
        exp_s: int,
        request_id: bytes,
        arguments: bytes | None = None,
        signers: Sequence[SigningKey] | None = None,
    ) -> bytes:
        """Return a request and its arguments, signed by the status role, or by several root keys."""
        body = b"\xa0" if arguments is None else arguments
        request = Request(
            gateway_id=home.gateway_id,
            verb=verb,
            arguments_sha256=hashlib.sha256(body).digest(),
            epoch=epoch,
            exp_s=exp_s,
            request_id=request_id,
        )
        signed = sign(request, self.role_keys[Role.STATUS]) if signers is None else sign_many(request, signers)
        return make_bundle(signed) if arguments is None else make_bundle(signed, arguments)

    def alarm(self, home: Home, *, alarm_ref: bytes, epoch: bytes, exp_s: int, opens: bool = True) -> bytes:
        """Return the intake's word that an alarm is open, or closed."""
        alarm = Alarm(
            gateway_id=home.gateway_id,
            lock_id=home.lock_id,
            alarm_ref=alarm_ref,
            epoch=epoch,
            exp_s=exp_s,
            opens=opens,
        )
        return sign(alarm, self.role_keys[Role.INTAKE])

    def state(
        self,
        home: Home,
        *,
        now_s: int,
        seq: int = 1,
        keyset_version: int = 1,
        revoked_kids: Sequence[bytes] = (),
        revoked_ctis: Sequence[bytes] = (),
        provider_iat_min_s: Sequence[tuple[str, int]] = (),
    ) -> bytes:
        """Return what has been revoked, for one gateway."""
        state = AuthorityState(
            audience=(home.gateway_id,),
            exp_s=now_s + STATE_LIFE_S,
            iat_s=now_s - 5,
            cti=self.token(f"state-{seq}-{now_s}"),
            seq=seq,
            keyset_version=keyset_version,
            revoked_kids=tuple(revoked_kids),
            revoked_ctis=tuple(revoked_ctis),
            provider_iat_min_s=tuple(provider_iat_min_s),
        )
        return sign(state, self.role_keys[Role.STATUS])

    def lock_keys(self, home: Home) -> LockKeys:
        """Return the lock of a home as it leaves the factory: it belongs to nobody and knows the roots."""
        return LockKeys(
            name=home.label,
            link=home.lock_link_keys,
            log_key=home.lock_log_key,
            owner_epoch=0,
            secret=self.token(f"label-{home.label}", 32),
            roots=self.root_public_keys,
        )

    def pairing_order(
        self,
        home: Home,
        *,
        now_s: int,
        owner_epoch: int = 1,
        gateway_link_key: bytes | None = None,
        life_s: int = 24 * 3_600,
    ) -> bytes:
        """Return the order that gives a lock to a gateway; another link key than the home's rotates it."""
        order = PairingOrder(
            lock_id=home.lock_id,
            lock_link_key_fingerprint=hashlib.sha256(home.lock_link_keys.public).digest()[:16],
            gateway_id=home.gateway_id,
            gateway_link_key=gateway_link_key or home.gateway_link_keys.public,
            gateway_identity_key=bytes(home.gateway_signing_key.verify_key),
            owner_epoch=owner_epoch,
            installer_grant_cti=self.installer_cti(home, owner_epoch),
            iat_s=now_s - 5,
            exp_s=now_s + life_s,
        )
        return sign(order, self.role_keys[Role.PAIRING])

    def decommission_order(self, home: Home, *, now_s: int, owner_epoch: int = 2, life_s: int = 24 * 3_600) -> bytes:
        """Return the order that takes a lock from its gateway."""
        order = DecommissionOrder(
            lock_id=home.lock_id, gateway_id=home.gateway_id, owner_epoch=owner_epoch, exp_s=now_s + life_s
        )
        return sign(order, self.role_keys[Role.PAIRING])

    def door(self, home: Home, *, gateway_link_key: bytes | None = None) -> bytes:
        """Return what a phone needs to talk to this door."""
        door = Door(
            lock_id=home.lock_id,
            gateway_id=home.gateway_id,
            lock_link_key=home.lock_link_keys.public,
            lock_log_key=bytes(home.lock_log_key.verify_key),
            gateway_link_key=gateway_link_key or home.gateway_link_keys.public,
            gateway_identity_key=bytes(home.gateway_signing_key.verify_key),
            label=home.label,
        )
        return sign(door, self.role_keys[Role.STATUS])


def unlock_at_door(
    holder: Holder,
    home: Home,
    *,
    challenge: bytes,
    command_id: bytes,
    now_s: int,
    action: Action = Action.UNLOCK,
) -> bytes:
    """Return the bundle of a carer who stands at the door."""
    command = Command(
        lock_id=home.lock_id,
        gateway_id=home.gateway_id,
        action=action,
        command_id=command_id,
        challenge=challenge,
        grant_sha256=holder.grant_sha256,
        signer_clock_s=now_s,
    )
    return holder.bundle(holder.sign(command))


def unlock_over_mqtt(  # noqa: PLR0913 - what a command names
    holder: Holder,
    home: Home,
    *,
    epoch: bytes,
    issued_s: int,
    command_id: bytes,
    now_s: int,
    ttl_s: int = 30,
    alarm_ref: bytes | None = None,
    action: Action = Action.UNLOCK,
) -> bytes:
    """Return the bundle of somebody far away who knows the gateway's epoch."""
    command = Command(
        lock_id=home.lock_id,
        gateway_id=home.gateway_id,
        action=action,
        command_id=command_id,
        epoch=epoch,
        issued_s=issued_s,
        exp_s=issued_s + ttl_s,
        grant_sha256=holder.grant_sha256,
        alarm_ref=alarm_ref,
        signer_clock_s=now_s,
    )
    return holder.bundle(holder.sign(command))


def unlock_together(  # noqa: PLR0913 - what a command names
    first: Holder,
    second: Holder,
    home: Home,
    *,
    epoch: bytes,
    issued_s: int,
    command_id: bytes,
    now_s: int,
    ttl_s: int = 30,
    action: Action = Action.UNLOCK,
) -> bytes:
    """Return the bundle of two operators who open where no alarm is open."""
    command = Command(
        lock_id=home.lock_id,
        gateway_id=home.gateway_id,
        action=action,
        command_id=command_id,
        epoch=epoch,
        issued_s=issued_s,
        exp_s=issued_s + ttl_s,
        grant_sha256=first.grant_sha256,
        second_grant_sha256=second.grant_sha256,
        signer_clock_s=now_s,
    )
    return make_bundle(sign_many(command, (first.key, second.key)), first.grant, second.grant)
