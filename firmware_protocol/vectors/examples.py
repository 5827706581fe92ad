"""One example of every signed object, from keys that anybody can write down (docs/protocol.md, appendix A).

The seed of signing key n is the byte n, 32 times; so is the private half of X25519 key n.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from nacl.signing import SigningKey

from firmware_protocol.codes import Code
from firmware_protocol.commands import Alarm, Command, Request
from firmware_protocol.cose import id_of, kid_of
from firmware_protocol.noise import KeyPair
from firmware_protocol.orders import DecommissionOrder, Door, PairingOrder
from firmware_protocol.pairing import LockLabel, link_key_fingerprint
from firmware_protocol.signed import sign, sign_many
from firmware_protocol.statements import (
    AuthorityState,
    BugReport,
    CommandReceipt,
    Conflict,
    DriftReport,
    GatewayInfo,
    LockEpoch,
    LogHead,
)
from firmware_protocol.tokens import Authority, Grant, Keyset, OperatorGrant, RoleKeys
from firmware_protocol.vocabulary import Action, OfflineClass, Phase, Rights, Role, Tier, blinded_lock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_protocol.signed import SignedMap

NOW_S: Final = 1_800_000_000
SIGNERS: Final = {
    name: SigningKey(bytes([number]) * 32)
    for number, name in enumerate(
        [
            "root 1",
            "root 2",
            "root 3",
            "authority",
            "alarm",
            "intake",
            "status",
            "pairing",
            "receipt",
            "provider",
            "device",
            "operator",
            "gateway",
            "lock",
            "second operator",
        ],
        start=1,
    )
}
PUBLIC: Final = {name: bytes(key.verify_key) for name, key in SIGNERS.items()}
GATEWAY_LINK: Final = KeyPair.from_private(b"\x21" * 32)
LOCK_LINK: Final = KeyPair.from_private(b"\x22" * 32)
GATEWAY_EPHEMERAL: Final = KeyPair.from_private(b"\x23" * 32)
LOCK_EPHEMERAL: Final = KeyPair.from_private(b"\x24" * 32)
PHONE_EPHEMERAL: Final = KeyPair.from_private(b"\x25" * 32)
STRANGER_LINK: Final = KeyPair.from_private(b"\x26" * 32)
PAIRING_SECRET: Final = b"\x27" * 32
"""What the lock's label carries, 32 bytes."""
GATEWAY_ID: Final = id_of(PUBLIC["gateway"])
LOCK_ID: Final = id_of(PUBLIC["lock"])
LABEL: Final = LockLabel(
    lock_id=LOCK_ID, secret=PAIRING_SECRET, link_key_fingerprint=link_key_fingerprint(LOCK_LINK.public)
)

_AUTHORITY_CTI, _GRANT_CTI, _OPERATOR_CTI, _STATE_CTI, _INSTALLER_CTI = (bytes([n]) * 16 for n in range(0xA1, 0xA6))
LOG_ID: Final = b"\xa6" * 16
LOCK_LOG_ID: Final = b"\xa7" * 16
EPOCH: Final = b"\xe1" * 16
CHALLENGE: Final = b"\xe2" * 16
NONCE: Final = b"\xe3" * 16
ALARM_REF: Final = b"\xe4" * 16
_COMMAND_ID, _REQUEST_ID = b"\xe5" * 16, b"\xe6" * 16
_HEAD: Final = b"\xe7" * 32

KEYSET: Final = Keyset(
    version=1,
    exp_s=NOW_S + 365 * 86_400,
    roles={
        Role.ROOT: RoleKeys(2, (PUBLIC["root 1"], PUBLIC["root 2"], PUBLIC["root 3"])),
        Role.AUTHORITY: RoleKeys(1, (PUBLIC["authority"],)),
        Role.ALARM: RoleKeys(1, (PUBLIC["alarm"],)),
        Role.INTAKE: RoleKeys(1, (PUBLIC["intake"],)),
        Role.STATUS: RoleKeys(1, (PUBLIC["status"],)),
        Role.PAIRING: RoleKeys(1, (PUBLIC["pairing"],)),
        Role.RECEIPT: RoleKeys(1, (PUBLIC["receipt"],)),
    },
)
AUTHORITY: Final = Authority(
    issuer="municipality",
    provider="care-north",
    gateway_id=GATEWAY_ID,
    exp_s=NOW_S + 90 * 86_400,
    iat_s=NOW_S - 60,
    cti=_AUTHORITY_CTI,
    provider_key=PUBLIC["provider"],
    lock_ids=(LOCK_ID,),
    rights_max=Rights.UNLOCK | Rights.LOCK,
    grant_life_s_max=86_400,
    offline_class_max=OfflineClass.SHIFT,
)
GRANT: Final = Grant(
    issuer="care-north",
    subject="carer-17",
    locks=(blinded_lock(_GRANT_CTI, LOCK_ID),),
    exp_s=NOW_S + 36_000,
    nbf_s=NOW_S - 60,
    iat_s=NOW_S - 60,
    cti=_GRANT_CTI,
    device_key=PUBLIC["device"],
    rights=Rights.UNLOCK | Rights.LOCK,
    windows=((NOW_S - 60, NOW_S + 36_000),),
)
OPERATOR_GRANT: Final = OperatorGrant(
    issuer="municipality",
    subject="operator-3",
    exp_s=NOW_S + 36_000,
    nbf_s=NOW_S - 60,
    iat_s=NOW_S - 60,
    cti=_OPERATOR_CTI,
    operator_key=PUBLIC["operator"],
    rights=Rights.UNLOCK,
)
SIGNED_GRANT: Final = sign(GRANT, SIGNERS["provider"])
COMMAND: Final = Command(
    lock_id=LOCK_ID,
    gateway_id=GATEWAY_ID,
    action=Action.UNLOCK,
    command_id=_COMMAND_ID,
    challenge=CHALLENGE,
    grant_sha256=hashlib.sha256(SIGNED_GRANT).digest(),
    signer_clock_s=NOW_S,
)
SIGNED_COMMAND: Final = sign(COMMAND, SIGNERS["device"])

VALUES: Final[Mapping[type[SignedMap], tuple[SignedMap, str]]] = {
    type(value): (value, signer)
    for value, signer in (
        (KEYSET, "root 1, root 2"),
        (AUTHORITY, "authority"),
        (GRANT, "provider"),
        (OPERATOR_GRANT, "alarm"),
        (
            Alarm(gateway_id=GATEWAY_ID, lock_id=LOCK_ID, alarm_ref=ALARM_REF, epoch=EPOCH, exp_s=1_060, opens=True),
            "intake",
        ),
        (COMMAND, "device"),
        (
            Request(
                gateway_id=GATEWAY_ID,
                verb="drift",
                arguments_sha256=hashlib.sha256(b"\xa0").digest(),
                epoch=EPOCH,
                exp_s=1_300,
                request_id=_REQUEST_ID,
            ),
            "status",
        ),
        (
            GatewayInfo(
                nonce=NONCE,
                gateway_id=GATEWAY_ID,
                locks=(LockEpoch(LOCK_ID, EPOCH, 1_000),),
                state_seq=1,
                keyset_version=1,
                tier=Tier.FRESH,
                ttl_s_max=60,
            ),
            "gateway",
        ),
        (
            AuthorityState(
                audience=(GATEWAY_ID,),
                exp_s=NOW_S + 21_600,
                iat_s=NOW_S - 5,
                cti=_STATE_CTI,
                seq=1,
                keyset_version=1,
                revoked_kids=(kid_of(b"\xe8" * 32),),
                revoked_ctis=(b"\xe9" * 16,),
                provider_iat_min_s=(("care-south", NOW_S - 3_600),),
            ),
            "status",
        ),
        (
            PairingOrder(
                lock_id=LOCK_ID,
                lock_link_key_fingerprint=hashlib.sha256(LOCK_LINK.public).digest()[:16],
                gateway_id=GATEWAY_ID,
                gateway_link_key=GATEWAY_LINK.public,
                gateway_identity_key=PUBLIC["gateway"],
                owner_epoch=1,
                installer_grant_cti=_INSTALLER_CTI,
                iat_s=NOW_S - 5,
                exp_s=NOW_S + 86_400,
            ),
            "pairing",
        ),
        (
            DecommissionOrder(lock_id=LOCK_ID, gateway_id=GATEWAY_ID, owner_epoch=2, exp_s=NOW_S + 86_400),
            "pairing",
        ),
        (
            Door(
                lock_id=LOCK_ID,
                gateway_id=GATEWAY_ID,
                lock_link_key=LOCK_LINK.public,
                lock_log_key=PUBLIC["lock"],
                gateway_link_key=GATEWAY_LINK.public,
                gateway_identity_key=PUBLIC["gateway"],
                label="Storgatan 1, lgh 1001",
            ),
            "status",
        ),
        (
            CommandReceipt(
                gateway_id=GATEWAY_ID,
                log_id=LOG_ID,
                lock_id=LOCK_ID,
                command_sha256=hashlib.sha256(SIGNED_COMMAND).digest(),
                phase=Phase.OUTCOME,
                code=Code.DONE,
                lock_log_seq=5,
                journal_index=7,
                utc_lo_s=NOW_S,
                utc_hi_s=NOW_S + 1,
            ),
            "gateway",
        ),
        (
            LogHead(lock_id=LOCK_ID, log_id=LOCK_LOG_ID, from_seq=1, to_seq=5, head=_HEAD),
            "lock",
        ),
        (Conflict(gateway_id=GATEWAY_ID, log_id=LOG_ID, size=7), "receipt"),
        (
            DriftReport(
                request_id=_REQUEST_ID,
                gateway_id=GATEWAY_ID,
                keyset_version=3,
                state_keyset_version=3,
                state_seq=17,
                state_sha256=hashlib.sha256(b"the signed state").digest(),
                authority_ctis=(_AUTHORITY_CTI,),
                grant_count=12,
                tier=Tier.FRESH,
                utc_lo_s=NOW_S,
                utc_hi_s=NOW_S + 1,
            ),
            "gateway",
        ),
        (
            BugReport(
                request_id=_REQUEST_ID,
                gateway_id=GATEWAY_ID,
                report_id="K7M2-9QXD",
                facts=(("version", "0.1.0"), ("tier", "stale"), ("broker-fault", "broker.tls")),
            ),
            "gateway",
        ),
    )
}
"""By class: the value, and the names of who signs it."""


def signed_example(kind: type[SignedMap]) -> bytes:
    """Return the example of this class, signed."""
    value, names = VALUES[kind]
    signers = [SIGNERS[name] for name in names.split(", ")]
    return sign(value, signers[0]) if len(signers) == 1 else sign_many(value, signers)
