"""What the central log answers: receipts free entries, conflicts ask for them again. Pure.

Both arrive over a broker that is not trusted. A receipt that is forged, replayed, foreign or ahead of us
frees nothing; a conflict is evidence against us only with a checkpoint that we have signed ourselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Final, TypeAlias

from firmware_protocol import cose
from firmware_protocol.checkpoint import origin_of, verify_checkpoint, verify_cosignature
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from firmware_protocol.checkpoint import Checkpoint, Cosignature

RECEIPT_NAME_PREFIX: Final = "carelock/receipt/"


@unique
class ReceiptRefusal(StrEnum):
    """Why an answer of the central log counts for nothing."""

    MALFORMED = "receipt.malformed"
    NOT_OURS = "receipt.not_ours"
    """No checkpoint of this log that this gateway has signed."""
    ANOTHER_LOG = "receipt.another_log"
    """A conflict about another log of this gateway: one that it has ended, or that a card put back knows nothing of."""
    UNKNOWN_SIGNER = "receipt.unknown_signer"
    """Not signed by a key of the receipt role."""
    AHEAD = "receipt.ahead"
    """Covers more than has been sent."""
    FORGOTTEN = "receipt.forgotten"
    """Over a checkpoint too old to be remembered; a newer one is under way."""
    FORK = "receipt.fork"
    """Over another tree of this size than ours."""
    NO_EVIDENCE = "receipt.no_evidence"
    """A conflict that shows nothing and asks for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptAccepted:
    """The central log holds every entry below `size`."""

    size: int
    time_s: int
    """UTC seconds by the central log's clock when it signed."""
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRefused:
    """It counts for nothing."""

    code: ReceiptRefusal
    checkpoint: Checkpoint | None = None
    """The checkpoint in it, where this gateway's own key has signed it: evidence, whoever brought it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendFrom:
    """The central log asks for the entries from `size` on again."""

    size: int
    proven: bool
    """It showed a checkpoint of ours; without one a resend is a favour, to be done seldom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """This gateway's key has signed a tree that is not a beginning of ours: a restored copy, or a second holder."""

    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictRefused:
    """It counts for nothing."""

    code: ReceiptRefusal


ReceiptVerdict: TypeAlias = ReceiptAccepted | ReceiptRefused
ConflictVerdict: TypeAlias = ResendFrom | RolledBack | ConflictRefused


def receipt_name(public: bytes) -> str:
    """Return the name under which the holder of this Ed25519 key cosigns."""
    return RECEIPT_NAME_PREFIX + cose.kid_of(public).hex()


def is_receipt_name(name: str) -> bool:
    """Tell whether somebody cosigns under this name as a central log."""
    return name.startswith(RECEIPT_NAME_PREFIX)


def take_receipt(
    data: bytes,
    *,
    origin: str,
    own_key: bytes,
    receipt_keys: Sequence[bytes],
    root_at: Callable[[int], bytes | None],
    sent_size: int,
) -> ReceiptVerdict:
    """Judge a cosigned checkpoint.

    `own_key` and `receipt_keys` are Ed25519 public keys; `root_at` gives our own root at a size, None where
    it is not remembered; nothing at or beyond `sent_size` can have been received. That an old receipt comes
    again is no fault: the mark that it moves never goes back.
    """
    try:
        checkpoint = verify_checkpoint(data, name=origin, public=own_key)
    except RemoteProtocolError as error:
        return ReceiptRefused(code=_refusal_of(error, ReceiptRefusal.NOT_OURS))
    cosignature = _cosignature(data, receipt_keys)
    if cosignature is None:
        return ReceiptRefused(code=ReceiptRefusal.UNKNOWN_SIGNER, checkpoint=checkpoint)
    if checkpoint.size > sent_size:
        return ReceiptRefused(code=ReceiptRefusal.AHEAD, checkpoint=checkpoint)
    root = root_at(checkpoint.size)
    if root is None:
        return ReceiptRefused(code=ReceiptRefusal.FORGOTTEN, checkpoint=checkpoint)
    if root != checkpoint.root:
        return ReceiptRefused(code=ReceiptRefusal.FORK, checkpoint=checkpoint)
    return ReceiptAccepted(size=checkpoint.size, time_s=cosignature.time_s, checkpoint=checkpoint)


def take_conflict(
    data: bytes,
    *,
    gateway_id: bytes,
    log_id: bytes,
    own_key: bytes,
    receipt_keys: Sequence[bytes],
    root_at: Callable[[int], bytes | None],
    own_size: int,
) -> ConflictVerdict:
    """Judge a signed Conflict; only a checkpoint of ours in it can prove that we were rolled back."""
    conflict = _signed_conflict(data, receipt_keys)
    if isinstance(conflict, ReceiptRefusal):
        return ConflictRefused(code=conflict)
    if (conflict.gateway_id, conflict.log_id) != (gateway_id, log_id):
        is_of_us = conflict.gateway_id == gateway_id
        return ConflictRefused(code=ReceiptRefusal.ANOTHER_LOG if is_of_us else ReceiptRefusal.NOT_OURS)
    if conflict.checkpoint is not None:
        origin = origin_of(gateway_id.hex(), log_id.hex())
        try:
            checkpoint = verify_checkpoint(conflict.checkpoint, name=origin, public=own_key)
        except RemoteProtocolError as error:
            return ConflictRefused(code=_refusal_of(error, ReceiptRefusal.NOT_OURS))
        if contradicts(checkpoint, root_at=root_at, own_size=own_size):
            return RolledBack(checkpoint=checkpoint)
    if conflict.size >= own_size:
        return ConflictRefused(code=ReceiptRefusal.NO_EVIDENCE)
    return ResendFrom(size=conflict.size, proven=conflict.checkpoint is not None)


def conflict_evidence(
    data: bytes, *, gateway_id: bytes, log_id: bytes, own_key: bytes, receipt_keys: Sequence[bytes]
) -> Checkpoint | None:
    """Return the checkpoint of this log, signed by us, that a signed Conflict of the central log shows; None: none."""
    conflict = _signed_conflict(data, receipt_keys)
    if isinstance(conflict, ReceiptRefusal) or conflict.checkpoint is None:
        return None
    try:
        return verify_checkpoint(conflict.checkpoint, name=origin_of(gateway_id.hex(), log_id.hex()), public=own_key)
    except RemoteProtocolError:
        return None


def contradicts(checkpoint: Checkpoint, *, root_at: Callable[[int], bytes | None], own_size: int) -> bool:
    """Tell whether a checkpoint that our own key has signed states a tree that ours does not begin with."""
    root = root_at(checkpoint.size)
    return checkpoint.size > own_size or (root is not None and root != checkpoint.root)


def _cosignature(data: bytes, receipt_keys: Sequence[bytes]) -> Cosignature | None:
    for public in receipt_keys:
        try:
            return verify_cosignature(data, name=receipt_name(public), public=public)
        except RemoteProtocolError:
            continue
    return None


def _signed_conflict(data: bytes, receipt_keys: Sequence[bytes]) -> Conflict | ReceiptRefusal:
    refusal = ReceiptRefusal.UNKNOWN_SIGNER
    for public in receipt_keys:
        try:
            return open_signed(Conflict, data, public)
        except RemoteProtocolError as error:
            refusal = _refusal_of(error, ReceiptRefusal.UNKNOWN_SIGNER)
    return refusal


def _refusal_of(error: RemoteProtocolError, signature_refusal: ReceiptRefusal) -> ReceiptRefusal:
    return signature_refusal if error.code is Code.BAD_SIGNATURE else ReceiptRefusal.MALFORMED
