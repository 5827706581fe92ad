"""Who a simulated lock is: its own keys, the gateway it belongs to, and the file that holds them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from nacl.signing import SigningKey

from firmware_protocol.constants import ID_SIZE, PAIRING_SECRET_SIZE
from firmware_protocol.noise import KeyPair
from firmware_protocol.pairing import LockLabel, link_key_fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.seams import Entropy

_KEY_SIZE = 32
_MODE = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class LockKeys:
    """What is burnt in at the factory, and a pairing made there, if any: it takes effect at the first boot."""

    name: str
    """For people who read the simulator's output; the lock never sends it."""
    link: KeyPair
    """X25519."""
    log_key: SigningKey = field(repr=False)
    """Ed25519; signs log heads, and names the lock."""
    gateway_key: bytes = b""
    """X25519 public key, 32 bytes; empty where the lock comes without an owner."""
    gateway_id: bytes = b""
    """8 bytes; the actor in SESSION records."""
    owner_epoch: int = 1
    """Of the pairing at the factory; 0 without."""
    secret: bytes = field(default=bytes(PAIRING_SECRET_SIZE), repr=False)
    """32 bytes, printed on the label."""
    roots: tuple[bytes, ...] = ()
    """Ed25519 root keys that the lock trusts. Without them it obeys no order and decides nothing alone."""

    @property
    def lock_id(self) -> bytes:
        """The first 8 bytes of SHA-256(the lock's Ed25519 public key)."""
        return hashlib.sha256(bytes(self.log_key.verify_key)).digest()[:ID_SIZE]

    @property
    def label(self) -> LockLabel:
        """What the QR code on the lock says."""
        return LockLabel(
            lock_id=self.lock_id,
            secret=self.secret,
            link_key_fingerprint=link_key_fingerprint(self.link.public),
        )

    @classmethod
    def generate(cls, entropy: Entropy, *, name: str, gateway_key: bytes, gateway_id: bytes) -> Self:
        """Make a lock that is paired with this gateway."""
        return cls(
            name=name,
            link=KeyPair.from_private(entropy.token(_KEY_SIZE)),
            log_key=SigningKey(entropy.token(_KEY_SIZE)),
            gateway_key=gateway_key,
            gateway_id=gateway_id,
        )

    def save(self, path: Path) -> None:
        """Write the home file, readable by its owner only: it holds the lock's private keys."""
        document = {
            "name": self.name,
            "lock_link_private": self.link.private.hex(),
            "lock_log_private": bytes(self.log_key).hex(),
            "gateway_link_public": self.gateway_key.hex(),
            "gateway_id": self.gateway_id.hex(),
            "owner_epoch": self.owner_epoch,
            "secret": self.secret.hex(),
            "roots": [root.hex() for root in self.roots],
        }
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE), "w") as file:
            json.dump(document, file, indent=2)
            file.write("\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the home file.

        Raises:
            OSError: it can't be read.
            ValueError: it is not one.
        """
        try:
            document = json.loads(path.read_text())
            return cls(
                name=str(document["name"]),
                link=KeyPair.from_private(bytes.fromhex(document["lock_link_private"])),
                log_key=SigningKey(bytes.fromhex(document["lock_log_private"])),
                gateway_key=bytes.fromhex(document["gateway_link_public"]),
                gateway_id=bytes.fromhex(document["gateway_id"]),
                owner_epoch=int(document["owner_epoch"]),
                secret=bytes.fromhex(document.get("secret", "00" * PAIRING_SECRET_SIZE)),
                roots=tuple(bytes.fromhex(root) for root in document.get("roots", ())),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a lock's home file") from error
