"""A gateway's keys, sealed for the office: all that a spare unit needs beside a new order. Pure.

The journal is not in it. A spare begins a log of its own, so that no restored copy can fork one; what the lock wrote
is in the lock until the central log has signed for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.signing import SigningKey

from firmware_protocol import cbor
from firmware_protocol.chains import open_by_role, verify_keyset
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.noise import KeyPair
from firmware_protocol.orders import PairingOrder
from firmware_protocol.schema import Octets, Row, Uint
from firmware_protocol.vocabulary import Role
from gatewayd.identity import Identity
from gatewayd.provisioning.papers import ProvisioningError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd.provisioning.papers import Papers

BACKUP_SIZE_MAX: Final = 1_024
"""Longest backup, in bytes."""
_VERSION: Final = 1
_CONTENT: Final = Row(lambda *parts: parts, (Uint(_VERSION, _VERSION), Octets(32, 32), Octets(32, 32)))


def seal(identity: Identity, *, recovery_key: bytes) -> bytes:
    """Return the gateway's two private keys, which only the office's recovery key (X25519, 32 bytes) opens."""
    content = cbor.encode((_VERSION, bytes(identity.signing_key), identity.link_keys.private))
    return SealedBox(PublicKey(recovery_key)).encrypt(content)


def unseal(data: bytes, *, recovery_private: bytes) -> Identity:
    """Return the keys in a backup.

    Raises:
        ProvisioningError: another key sealed it, or it is damaged.
    """
    try:
        content = SealedBox(PrivateKey(recovery_private)).decrypt(data)
        _, seed, private = _CONTENT.decode(cbor.decode(content, size_max=BACKUP_SIZE_MAX), "backup")
    except (CryptoError, RemoteProtocolError, ValueError, TypeError):
        raise ProvisioningError(["this recovery key does not open the backup, or the backup is damaged"]) from None
    return Identity(signing_key=SigningKey(seed), link_keys=KeyPair.from_private(private))


def check_order(papers: Papers, *, restored: Identity, spare_link_key: bytes, roots: Sequence[bytes]) -> None:
    """See that the office has ordered the locks of the restored gateway to take the spare unit's link key.

    Without that the restored keys would be a second holder of keys that may still be in use somewhere.

    Raises:
        ProvisioningError: with what to ask the office for.
    """
    if papers.keyset is None or not papers.pairing_orders:
        raise ProvisioningError([_wanted(restored, spare_link_key)])
    try:
        keyset = verify_keyset(papers.keyset, roots=roots)
        orders = [open_by_role(PairingOrder, raw, keyset=keyset, role=Role.PAIRING) for raw in papers.pairing_orders]
    except RemoteProtocolError as error:
        raise ProvisioningError([f"the papers: {error.detail} ({error.code.dotted})"]) from error
    for order in orders:
        if (order.gateway_identity_key, order.gateway_link_key) != (restored.public_key, spare_link_key):
            raise ProvisioningError([_wanted(restored, spare_link_key)])


def _wanted(restored: Identity, spare_link_key: bytes) -> str:
    return (
        f"ask the office first for a pairing order of a higher owner epoch: gateway {restored.gateway_id.hex()}, "
        f"link key {spare_link_key.hex()}"
    )
