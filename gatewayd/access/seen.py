"""Whether this command has been here before. Law 2: a command acts at most once."""

from __future__ import annotations

from dataclasses import dataclass

from firmware_protocol.codes import Code
from gatewayd.access.verdicts import Denied, Repeated


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the durable store remembers under (kid, command id)."""

    command_sha256: bytes
    receipt: bytes


def judge_seen(seen: Seen | None, command_sha256: bytes) -> Repeated | Denied | None:
    """Return the recorded answer, ID_REUSED, or None for a command that was never seen.

    A lost receipt must not make a carer pull the latch twice, so the same bytes are answered again,
    also when their challenge is burnt. Other bytes under the same id are an attack or a broken signer.
    """
    if seen is None:
        return None
    if seen.command_sha256 != command_sha256:
        return Denied(code=Code.ID_REUSED)
    return Repeated(receipt=seen.receipt)
