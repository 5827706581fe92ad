"""A lock, written from docs/protocol.md, carelock.cddl and docs/vectors: no code of the project in it.

It has an owner, or it waits to be paired; it has a log; its motor needs no time. What it keeps over a restart is in
`Memory`; `OracleLock` is one connection of the gateway's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from tests.oracle import cbor, envelope, fragments
from tests.oracle.noise import handshake

DENIED, MALFORMED, NOT_CONFIRMED, CLONE_SUSPECT, UNSUPPORTED_TYPE = 0x7F, 0x02, 0x06, 0x57, 0x04
BUSY, TOO_LATE, SUPERSEDED, DUPLICATE, LOG_GAP, NOT_INSTALLING = 0x01, 0x15, 0x47, 0x51, 0x20, 0x61
FAILED, DONE, PERMITTED = 0x32, 0x31, 0x30
BOLT_LOCKED, BOLT_UNLOCKED = 1, 3


class HangUpError(Exception):
    """The lock drops the link; `code` says why (§15)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"{code:#04x}")
        self.code = code


@dataclass
class Memory:
    """What a lock keeps (§8.2, §10.5, §12, §18.1)."""

    link_private: bytes
    log_seed: bytes
    log_id: bytes
    label_secret: bytes = bytes(32)
    gateway_link_key: bytes | None = None
    owner_epoch: int = 0
    session_ctr: int = 0
    command_seq: int = 0
    command_code: int = FAILED
    boot: int = 1
    version_floor: int = 1
    copied: int = 0
    received: int = 0
    bolt: int = BOLT_LOCKED
    records: list[bytes] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    command_ids: list[bytes] = field(default_factory=list)
    results: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.heads.append(hashlib.sha256(b"carelock/ev1" + self.log_id).digest())
        self.append(1, up_ms=0)

    @property
    def lock_id(self) -> bytes:
        return envelope.kid(envelope.public_of(self.log_seed))

    def append(self, kind: int, *, up_ms: int, actor: Any = None, cmd_id: Any = None, result: Any = None) -> int:
        seq = len(self.records) + 1
        record = cbor.encode([seq, self.boot, up_ms // 1000, None, kind, actor, cmd_id, result])
        self.records.append(record)
        self.heads.append(hashlib.sha256(b"carelock/ev1" + self.heads[-1] + record).digest())
        return seq

    def signed_head(self) -> bytes:
        payload = {0: self.lock_id, 1: self.log_id, 2: 1, 3: len(self.records), 4: self.heads[-1]}
        return envelope.sign1(payload, self.log_seed, "lockhead")


class OracleLock:
    """One link of the gateway's."""

    def __init__(
        self,
        memory: Memory,
        *,
        ephemeral: bytes,
        boot_nonce: bytes,
        value_size: int,
        firmware: str = "1.0.0",
        installing: bool = False,
    ) -> None:
        self.memory = memory
        self.up_ms = 1000
        self.state = "HELLO"
        self.confirmed_time: tuple[int | None, int | None] | None = None
        self.acked: list[tuple[int, int]] = []
        self.order: bytes | None = None
        self.couriers: list[dict[int, Any]] = []
        self._ephemeral = ephemeral
        self._boot_nonce = boot_nonce
        self._firmware = firmware
        self._installing = installing
        self._sender = fragments.Sender(value_size)
        self._receiver = fragments.Receiver()
        self._noise: Any = None
        self._out: list[bytes] = []

    def receive(self, value: bytes) -> list[bytes]:
        """Take a value that was written to RX, and return the values to notify on TX."""
        try:
            message = self._receiver.take(value, self.up_ms)
        except fragments.BrokenLinkError:
            raise HangUpError(MALFORMED) from None
        if message is not None:
            kind, data = message
            (self._record, self._handshake, self._plain)[kind](data)
        return self.take()

    def take(self) -> list[bytes]:
        """Return what is still to be notified."""
        out, self._out = self._out, []
        return out

    # §8.1, §8.2

    def _plain(self, data: bytes) -> None:
        if data[0] == 4:
            return
        if data[0] != 1:
            raise HangUpError(UNSUPPORTED_TYPE)
        if self.state != "HELLO":
            raise HangUpError(MALFORMED)
        hello = cbor.decode(data[1:])
        if hello[0] != b"CLK1" or hello[1] > hello[2]:
            raise HangUpError(MALFORMED)
        if min(hello[2], 1) < max(hello[1], 1, self.memory.version_floor):
            raise HangUpError(0x05)
        capabilities = 1 if self._installing else 0
        own = b"\x02" + cbor.encode({1: 1, 2: 1, 3: capabilities, 4: self._boot_nonce, 5: self._firmware})
        self._send(fragments.PLAIN, own)
        pairs = bool(hello[3] & 1)
        label = b"carelock-pair/1" if pairs else b"carelock-link/1"
        prologue = label + len(data).to_bytes(2, "big") + data + len(own).to_bytes(2, "big") + own
        if pairs:
            self._noise = handshake(
                "XXpsk3",
                initiator=False,
                prologue=prologue,
                e=self._ephemeral,
                s=self.memory.link_private,
                psk=self.memory.label_secret,
            )
            self.state = "PAIRING"
        else:
            self.state = "HANDSHAKE"
            if self.memory.gateway_link_key is None:
                return
            self._noise = handshake(
                "KK",
                initiator=False,
                prologue=prologue,
                e=self._ephemeral,
                s=self.memory.link_private,
                rs=self.memory.gateway_link_key,
            )

    def _handshake(self, data: bytes) -> None:
        if self.state not in {"HANDSHAKE", "PAIRING"}:
            raise HangUpError(MALFORMED)
        if self._noise is None:
            raise HangUpError(DENIED)  # it belongs to nobody
        try:
            payload = bytes(self._noise.read_message(data))
        except Exception:  # noqa: BLE001 - whatever the library says, it did not authenticate
            raise HangUpError(DENIED) from None
        if payload:
            raise HangUpError(MALFORMED)
        if self.state == "PAIRING":
            if self._noise.handshake_finished:
                self.state = "READY"
            else:
                self._send(fragments.HANDSHAKE, bytes(self._noise.write_message(b"")))
            return
        self._send(fragments.HANDSHAKE, bytes(self._noise.write_message(cbor.encode(self.status()))))
        self.state = "UNCONFIRMED"

    def status(self) -> dict[int, Any]:
        """LockStatus (§8.2); what is at its default is left out."""
        memory = self.memory
        status = {
            0: memory.session_ctr,
            1: memory.boot,
            2: self.up_ms,
            3: memory.log_id,
            4: len(memory.records) + 1,
            5: memory.copied,
            6: memory.received,
            7: memory.command_seq,
            8: memory.command_code,
        }
        return status | ({10: memory.owner_epoch} if memory.owner_epoch else {})

    # §9

    def _record(self, data: bytes) -> None:
        if self.state not in {"UNCONFIRMED", "READY"}:
            raise HangUpError(NOT_CONFIRMED)
        try:
            plain = bytes(self._noise.decrypt(data))
        except Exception:  # noqa: BLE001
            raise HangUpError(DENIED) from None
        kind, corr = plain[0], int.from_bytes(plain[1:3], "big")
        handler = self._handlers().get(kind)
        if handler is None:
            raise HangUpError(UNSUPPORTED_TYPE)
        body = cbor.decode(plain[3:])
        if self.state == "UNCONFIRMED" and kind != 0x01:
            raise HangUpError(NOT_CONFIRMED)
        handler(corr, body)

    def _handlers(self) -> dict[int, Any]:
        return {
            0x01: self._confirm,
            0x02: lambda corr, _: self.say(0x03, corr, {0: self.up_ms}),
            0x03: lambda *_: None,
            0x0F: lambda *_: None,
            0x10: lambda corr, _: self.say(0x11, corr, self.door()),
            0x20: self._command,
            0x23: self._query,
            0x30: self._log_read,
            0x32: self._log_ack,
            0x33: lambda corr, _: self.say(0x33, corr, {0: self.memory.signed_head()}),
            0x53: self._courier,
            0x79: self._owner_order,
            0x7B: self._owner_commit,
        }

    def say(self, kind: int, corr: int, body: dict[int, Any]) -> None:
        record = bytes([kind]) + corr.to_bytes(2, "big") + cbor.encode(body)
        self._send(fragments.RECORD, bytes(self._noise.encrypt(record)))

    def notify(self, kind: int, body: dict[int, Any]) -> list[bytes]:
        """Say something unasked: its corr is 0 (§9.2)."""
        self.say(kind, 0, body)
        return self.take()

    def _send(self, kind: int, data: bytes) -> None:
        self._out += self._sender.cut(kind, data)

    def _refuse(self, corr: int, code: int) -> None:
        self.say(0x7E, corr, {0: code, 1: int(code == DUPLICATE)})

    def _confirm(self, _: int, body: dict[int, Any]) -> None:
        if self.state != "UNCONFIRMED":
            raise HangUpError(NOT_CONFIRMED)
        if not 0 < body[0] - self.memory.session_ctr <= 65536:
            raise HangUpError(CLONE_SUSPECT)
        self.memory.session_ctr = body[0]
        self.confirmed_time = (body.get(1), body.get(2))
        self.state = "READY"

    def door(self) -> dict[int, Any]:
        return {0: self.memory.bolt, 1: 1, 2: 3000, 3: 0, 4: 0, 5: self.up_ms}

    # §10

    def _command(self, corr: int, body: dict[int, Any]) -> None:
        seq, action, _, command_id, actor, before = (body[key] for key in range(6))
        memory = self.memory
        if command_id in memory.command_ids[-256:]:
            return self._refuse(corr, DUPLICATE)
        if seq <= memory.command_seq:
            return self._refuse(corr, SUPERSEDED)
        if self.up_ms >= before:
            return self._refuse(corr, TOO_LATE)
        memory.command_ids.append(command_id)
        memory.command_seq, memory.command_code = seq, PERMITTED
        memory.append(12, up_ms=self.up_ms, actor=actor, cmd_id=command_id)
        self.say(0x21, corr, {0: seq, 1: self.up_ms})
        memory.bolt = BOLT_UNLOCKED if action == 1 else BOLT_LOCKED
        told = memory.append(13, up_ms=self.up_ms, actor=actor, cmd_id=command_id, result=DONE)
        memory.command_code = DONE
        memory.results[seq] = (DONE, told)
        self.say(0x22, corr, {0: seq, 1: DONE, 2: memory.bolt, 3: told, 4: self.up_ms})
        self.say(0x12, 0, self.door())
        self.say(0x34, 0, {0: told})
        return None

    def _query(self, corr: int, body: dict[int, Any]) -> None:
        code, told = self.memory.results.get(body[0], (FAILED, None))
        answer = {0: body[0], 1: code, 2: self.memory.bolt, 4: self.up_ms}
        self.say(0x22, corr, answer | ({} if told is None else {3: told}))

    # §12

    def _log_read(self, corr: int, body: dict[int, Any]) -> None:
        start, count = body[0], body[1]
        memory = self.memory
        if start > len(memory.records) + 1:
            return self._refuse(corr, LOG_GAP)
        records = memory.records[start - 1 : start - 1 + count]
        more = start - 1 + len(records) < len(memory.records)
        self.say(0x31, corr, {0: memory.log_id, 1: start, 2: memory.heads[start - 1], 3: records, 4: int(more)})
        return None

    def _log_ack(self, _: int, body: dict[int, Any]) -> None:
        if body[1] > body[0]:
            raise HangUpError(MALFORMED)
        self.memory.copied, self.memory.received = body[0], body[1]
        self.acked.append((body[0], body[1]))

    # §18, §20

    def _owner_order(self, corr: int, body: dict[int, Any]) -> None:
        self.order = body[0]
        self.say(0x7A, corr, {0: PERMITTED, 1: self.memory.owner_epoch})

    def _courier(self, corr: int, body: dict[int, Any]) -> None:
        self.couriers.append(body)
        if body.get(2, 0) + len(body[4]) == body[3]:
            self.say(0x54, corr, {0: body[1], 1: DONE})

    def _owner_commit(self, corr: int, _: dict[int, Any]) -> None:
        if self.order is None:
            return self._refuse(corr, 0x62)
        order = cbor.decode(cbor.decode(self.order).value[2])
        self.memory.gateway_link_key = order[3]
        self.memory.owner_epoch, self.memory.session_ctr, self.memory.command_seq = order[5], 0, 0
        told = self.memory.append(2, up_ms=self.up_ms)
        self.say(0x7A, corr, {0: DONE, 1: order[5], 2: told, 3: self.memory.signed_head()})
        return None
