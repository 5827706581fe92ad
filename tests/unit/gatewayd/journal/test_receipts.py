"""What the central log's answers may do. The broker between us is the attacker."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from nacl.signing import SigningKey

from firmware_protocol.checkpoint import Checkpoint, cosign, sign_checkpoint
from firmware_protocol.signed import sign
from firmware_protocol.statements import GatewayInfo
from firmware_protocol.vocabulary import Tier
from gatewayd.journal.receipts import (
    ConflictRefused,
    ConflictVerdict,
    ReceiptAccepted,
    ReceiptRefusal,
    ReceiptRefused,
    ReceiptVerdict,
    ResendFrom,
    RolledBack,
    receipt_name,
    take_conflict,
    take_receipt,
)
from tests.support.journal_bench import (
    CENTRAL,
    GATEWAY,
    GATEWAY_ID,
    LOG_ID,
    RECEIPT_S,
    STRANGER,
    conflict,
    public,
    receipt,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ORIGIN = f"carelock/{GATEWAY_ID.hex()}/{LOG_ID.hex()}"
ROOTS = {size: bytes([size]) * 32 for size in range(1, 21)}
NEXT_CENTRAL = SigningKey(b"n" * 32)
KEYS = (public(NEXT_CENTRAL), public(CENTRAL))


def note(size: int = 10, *, root: bytes | None = None, key: SigningKey = GATEWAY, origin: str = ORIGIN) -> bytes:
    checkpoint = Checkpoint(origin=origin, size=size, root=ROOTS.get(size, bytes(32)) if root is None else root)
    return sign_checkpoint(checkpoint, key=key, name=origin)


def take(
    data: bytes,
    *,
    sent_size: int = 10,
    root_at: Callable[[int], bytes | None] = ROOTS.get,
    receipt_keys: Sequence[bytes] = KEYS,
) -> ReceiptVerdict:
    return take_receipt(
        data,
        origin=ORIGIN,
        own_key=public(GATEWAY),
        receipt_keys=receipt_keys,
        root_at=root_at,
        sent_size=sent_size,
    )


def refusal(verdict: ReceiptVerdict) -> ReceiptRefusal | None:
    return verdict.code if isinstance(verdict, ReceiptRefused) else None


@pytest.mark.parametrize("key", [CENTRAL, NEXT_CENTRAL], ids=["the key", "the key that it rotates to"])
def test_a_receipt_by_any_key_of_the_receipt_role_counts(key: SigningKey) -> None:
    verdict = take(receipt(note(), key=key))
    assert isinstance(verdict, ReceiptAccepted)
    assert (verdict.size, verdict.time_s, verdict.checkpoint.root) == (10, RECEIPT_S, ROOTS[10])


def test_attack_our_own_checkpoint_without_a_cosignature_is_no_receipt() -> None:
    assert refusal(take(note())) is ReceiptRefusal.UNKNOWN_SIGNER


def test_attack_a_cosignature_by_a_stranger_is_no_receipt() -> None:
    assert refusal(take(receipt(note(), key=STRANGER))) is ReceiptRefusal.UNKNOWN_SIGNER


def test_attack_a_stranger_under_the_central_logs_name_is_no_receipt() -> None:
    forged = cosign(note(), key=STRANGER, name=receipt_name(public(CENTRAL)), time_s=RECEIPT_S)
    assert refusal(take(forged)) is ReceiptRefusal.UNKNOWN_SIGNER


def test_attack_a_cosignature_moved_to_another_size_is_no_receipt() -> None:
    cosignature = receipt(note(9)).splitlines(keepends=True)[-1]
    assert refusal(take(note(10) + cosignature)) is ReceiptRefusal.UNKNOWN_SIGNER


@pytest.mark.parametrize("field", ["time", "signature"])
def test_attack_an_altered_cosignature_is_no_receipt(field: str) -> None:
    lines = receipt(note()).decode().splitlines(keepends=True)
    *words, encoded = lines[-1].split()
    raw = bytearray(base64.b64decode(encoded))
    raw[5 if field == "time" else -1] ^= 1
    lines[-1] = " ".join([*words, base64.b64encode(raw).decode()]) + "\n"
    assert refusal(take("".join(lines).encode())) in {ReceiptRefusal.UNKNOWN_SIGNER, ReceiptRefusal.MALFORMED}


def test_attack_a_receipt_over_another_gateways_checkpoint_is_not_ours() -> None:
    assert refusal(take(receipt(note(key=STRANGER)))) is ReceiptRefusal.NOT_OURS


def test_attack_a_receipt_over_our_earlier_log_is_not_ours() -> None:
    earlier = f"carelock/{GATEWAY_ID.hex()}/{bytes(16).hex()}"
    assert refusal(take(receipt(note(origin=earlier)))) is ReceiptRefusal.NOT_OURS


@pytest.mark.parametrize(
    ("sent_size", "expected"), [(9, ReceiptRefusal.AHEAD), (10, None)], ids=["one beyond", "exactly"]
)
def test_attack_a_receipt_covers_at_most_what_has_been_sent(sent_size: int, expected: ReceiptRefusal | None) -> None:
    assert refusal(take(receipt(note(10)), sent_size=sent_size)) is expected


def test_a_receipt_over_a_checkpoint_that_is_forgotten_is_refused() -> None:
    assert refusal(take(receipt(note()), root_at=lambda _: None)) is ReceiptRefusal.FORGOTTEN


def test_a_receipt_over_another_root_of_our_own_signature_is_a_fork_and_keeps_the_evidence() -> None:
    verdict = take(receipt(note(root=bytes(32))))
    assert isinstance(verdict, ReceiptRefused)
    assert verdict.code is ReceiptRefusal.FORK
    assert verdict.checkpoint is not None
    assert verdict.checkpoint.root == bytes(32)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"\n\n", b"carelock", note()[:-2], bytes(5_000), note().replace(b"\n10\n", b"\n010\n")],
    ids=["empty", "not text", "blank", "a word", "cut", "too long", "a number of another form"],
)
def test_attack_bytes_that_are_no_note_are_refused(data: bytes) -> None:
    assert refusal(take(data)) in {ReceiptRefusal.MALFORMED, ReceiptRefusal.NOT_OURS}


def test_evidence_is_only_what_our_own_key_has_signed() -> None:
    verdict = take(receipt(note(50, key=STRANGER)))
    assert isinstance(verdict, ReceiptRefused)
    assert verdict.checkpoint is None


def judge(data: bytes, *, own_size: int = 10, receipt_keys: Sequence[bytes] = KEYS) -> ConflictVerdict:
    return take_conflict(
        data,
        gateway_id=GATEWAY_ID,
        log_id=LOG_ID,
        own_key=public(GATEWAY),
        receipt_keys=receipt_keys,
        root_at=ROOTS.get,
        own_size=own_size,
    )


def test_a_conflict_with_our_checkpoint_asks_for_what_the_central_log_lacks() -> None:
    assert judge(conflict(size=4, checkpoint=note(4))) == ResendFrom(size=4, proven=True)


def test_attack_a_conflict_without_our_checkpoint_only_resends() -> None:
    assert judge(conflict(size=0)) == ResendFrom(size=0, proven=False)


@pytest.mark.parametrize("size", [10, 11, 2**40], ids=["our size", "one more", "far ahead"])
def test_attack_a_conflict_ahead_of_us_without_our_checkpoint_proves_nothing(size: int) -> None:
    assert judge(conflict(size=size)) == ConflictRefused(code=ReceiptRefusal.NO_EVIDENCE)


def test_a_checkpoint_of_ours_ahead_of_us_proves_that_we_were_rolled_back() -> None:
    verdict = judge(conflict(size=11, checkpoint=note(11)))
    assert isinstance(verdict, RolledBack)
    assert verdict.checkpoint.size == 11


def test_a_checkpoint_of_ours_at_our_size_proves_nothing() -> None:
    assert judge(conflict(size=10, checkpoint=note(10))) == ConflictRefused(code=ReceiptRefusal.NO_EVIDENCE)


def test_a_checkpoint_of_ours_with_another_root_proves_a_second_holder_of_the_key() -> None:
    assert isinstance(judge(conflict(size=4, checkpoint=note(4, root=bytes(32)))), RolledBack)


def test_attack_a_checkpoint_ahead_of_us_signed_by_a_stranger_proves_nothing() -> None:
    forged = conflict(size=11, checkpoint=note(11, key=STRANGER))
    assert judge(forged) == ConflictRefused(code=ReceiptRefusal.NOT_OURS)


def test_attack_a_checkpoint_of_our_earlier_log_proves_nothing() -> None:
    earlier = note(11, origin=f"carelock/{GATEWAY_ID.hex()}/{bytes(16).hex()}")
    assert judge(conflict(size=11, checkpoint=earlier)) == ConflictRefused(code=ReceiptRefusal.NOT_OURS)


def test_attack_a_conflict_signed_by_a_stranger_is_refused() -> None:
    verdict = judge(conflict(size=11, checkpoint=note(11), key=STRANGER))
    assert verdict == ConflictRefused(code=ReceiptRefusal.UNKNOWN_SIGNER)


@pytest.mark.parametrize(
    ("foreign", "code"),
    [
        (conflict(size=4, gateway_id=bytes(8)), ReceiptRefusal.NOT_OURS),
        (conflict(size=4, log_id=bytes(16)), ReceiptRefusal.ANOTHER_LOG),
    ],
    ids=["gateway", "log"],
)
def test_attack_a_conflict_about_another_log_is_refused(foreign: bytes, code: ReceiptRefusal) -> None:
    assert judge(foreign) == ConflictRefused(code=code)


def test_attack_another_object_of_the_central_logs_key_is_no_conflict() -> None:
    info = GatewayInfo(
        nonce=b"", gateway_id=GATEWAY_ID, locks=(), state_seq=0, keyset_version=1, tier=Tier.FRESH, ttl_s_max=60
    )
    assert judge(sign(info, CENTRAL)) == ConflictRefused(code=ReceiptRefusal.UNKNOWN_SIGNER)


def test_attack_bytes_that_are_no_conflict_are_refused() -> None:
    assert judge(b"\xd2\x84") == ConflictRefused(code=ReceiptRefusal.MALFORMED)


def test_without_any_receipt_key_nothing_counts() -> None:
    assert refusal(take(receipt(note()), receipt_keys=())) is ReceiptRefusal.UNKNOWN_SIGNER
    assert judge(conflict(size=1), receipt_keys=()) == ConflictRefused(code=ReceiptRefusal.UNKNOWN_SIGNER)
