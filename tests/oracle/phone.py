"""A carer's phone, written from docs/protocol.md §4, §5, §10 and §11: no code of the project in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from tests.oracle import cbor, envelope
from tests.oracle.noise import handshake

UNLOCK, LOCK = 1, 2


@dataclass(frozen=True)
class Office:
    """Who signs what: seeds of the authority role and of a provider, and what they sign."""

    authority_seed: bytes
    provider_seed: bytes

    def authority(self, *, gateway_id: bytes, lock_id: bytes, now_s: int) -> bytes:
        key = {1: 1, -1: 6, -2: envelope.public_of(self.provider_seed)}
        private = {0: [lock_id], 1: UNLOCK | LOCK, 2: 86400, 3: 1}
        claims = {1: "municipality", 2: "care-north", 3: gateway_id, 4: now_s + 7776000, 6: now_s - 60}
        return envelope.sign1(
            claims | {7: b"\xa1" * 16, 8: {1: key}, -70001: private}, self.authority_seed, "authority"
        )

    def grant(self, *, device_public: bytes, lock_id: bytes, now_s: int) -> bytes:
        cti = b"\xa2" * 16
        key = {1: 1, -1: 6, -2: device_public}
        private = {0: UNLOCK | LOCK, 1: [[now_s - 60, now_s + 36000]]}
        claims = {1: "care-north", 2: "carer-17", 3: [hashlib.sha256(cti + lock_id).digest()[:8]]}
        times = {4: now_s + 36000, 5: now_s - 60, 6: now_s - 60}
        return envelope.sign1(claims | times | {7: cti, 8: {1: key}, -70001: private}, self.provider_seed, "grant")


@dataclass(frozen=True)
class OraclePhone:
    device_seed: bytes
    office: Office
    gateway_id: bytes
    lock_id: bytes

    def bundle(self, *, challenge: bytes, command_id: bytes, now_s: int, action: int = UNLOCK) -> bytes:
        public = envelope.public_of(self.device_seed)
        grant = self.office.grant(device_public=public, lock_id=self.lock_id, now_s=now_s)
        authority = self.office.authority(gateway_id=self.gateway_id, lock_id=self.lock_id, now_s=now_s)
        payload = {
            1: self.lock_id,
            2: self.gateway_id,
            3: action,
            4: command_id,
            5: challenge,
            8: hashlib.sha256(grant).digest(),
            10: now_s,
        }
        return cbor.encode([envelope.sign1(payload, self.device_seed, "command"), grant, authority])


class Visit:
    """One channel of a phone (§11)."""

    def __init__(self, *, decider_key: bytes, challenge: bytes, ephemeral: bytes) -> None:
        self._noise = handshake(
            "NK", initiator=True, prologue=b"carelock-relay/1" + challenge, e=ephemeral, rs=decider_key
        )

    def say(self, bundle: bytes) -> bytes:
        return bytes(self._noise.write_message(bundle))

    def hear(self, message: bytes) -> dict[int, Any]:
        """Read a RelayAnswer: message 2 first, and transport messages behind it."""
        finished = self._noise.handshake_finished
        plain = self._noise.decrypt(message) if finished else self._noise.read_message(message)
        answer: dict[int, Any] = cbor.decode(bytes(plain))
        return answer
