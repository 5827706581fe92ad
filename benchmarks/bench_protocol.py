"""What the protocol costs beside its cryptography: a bundle verified, a record sealed, carried and opened.

Floor and figure alternate in short rounds of CPU time, and each is the best of its rounds: on a busy machine a round
is disturbed often, the best of many hardly ever.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from nacl.bindings import crypto_aead_chacha20poly1305_ietf_decrypt, crypto_aead_chacha20poly1305_ietf_encrypt
from nacl.signing import VerifyKey

from benchmarks.rows import Row
from firmware_protocol import cose
from firmware_protocol.chains import Known, parse_bundle, verify_bundle, verify_keyset
from firmware_protocol.constants import DOMAIN_PREFIX, OBJECT_SIZE_MAX
from firmware_protocol.fragments import Fragmenter, FragmentKind, Reassembler
from firmware_protocol.noise import CipherState
from firmware_protocol.vocabulary import Role
from simulator.office import Office, unlock_at_door

if TYPE_CHECKING:
    from collections.abc import Callable

ROUND_COUNT: Final = 150
CALLS_PER_ROUND: Final = 20
RATIO_BUNDLE_MAX: Final = 1.5
"""1.4 is reached on a quiet machine; the rest is three strict parsings in Python."""
RATIO_RECORD_MAX: Final = 2.0
"""1.6 is reached."""
RATIO_SMALL_MAX: Final = 4.0
"""2.4 is reached at ATT MTU 23, the worst that there is."""
RECORD: Final = bytes(64)
VALUE_SIZE: Final = 244
"""Of ATT MTU 247, which phones and BlueZ agree on: the record is one fragment."""
SMALL_VALUE_SIZE: Final = 20
"""Of ATT MTU 23, the least that there is: five fragments."""
NOW_S: Final = 1_800_000_000


def measure(floor: Callable[[], object], figure: Callable[[], object]) -> tuple[float, float]:
    """Return the best CPU time of one call of each, in microseconds."""
    floors, figures = [], []
    for _ in range(ROUND_COUNT):
        floors.append(round_us(floor))
        figures.append(round_us(figure))
    return min(floors), min(figures)


def round_us(act: Callable[[], object]) -> float:
    started_s = time.thread_time()
    for _ in range(CALLS_PER_ROUND):
        act()
    return (time.thread_time() - started_s) / CALLS_PER_ROUND * 1e6


def bundle_row() -> Row:
    """A carer's bundle at the door, beside its three signatures alone."""
    office = Office(b"bench")
    home = office.home("storgatan-1")
    carer = office.carer(home, "care-north", "carer-17", now_s=NOW_S)
    bundle = unlock_at_door(carer, home, challenge=bytes(16), command_id=bytes(16), now_s=NOW_S)
    keyset = verify_keyset(office.keyset(now_s=NOW_S), roots=office.root_public_keys)

    def stranger(_: bytes) -> None:
        return None

    signed = [
        signed_bytes(part, VerifyKey(bytes(key.verify_key)), domain)
        for part, key, domain in zip(
            parse_bundle(bundle),
            (carer.key, office.signing_key("provider-care-north"), office.role_keys[Role.AUTHORITY]),
            ("command", "grant", "authority"),
            strict=True,
        )
    ]

    def verify_alone() -> None:
        for key, message, signature in signed:
            key.verify(message, signature)

    def verify_first() -> None:
        # A verifier that has seen none of it: the daemon remembers proven grants, and then only the command is left.
        verify_bundle(bundle, known=Known(keyset=keyset, find_grant=stranger, find_authority=stranger))

    floor, figure = measure(verify_alone, verify_first)
    name = "bundle of 3 verified / its 3 signatures"
    return Row(name=name, unit="µs", floor=floor, figure=figure, ratio_max=RATIO_BUNDLE_MAX)


def signed_bytes(data: bytes, key: VerifyKey, domain: str) -> tuple[VerifyKey, bytes, bytes]:
    """Return what PyNaCl needs to verify a signed object."""
    envelope = cose.parse(data, size_max=OBJECT_SIZE_MAX)
    (entry,) = envelope.signatures
    message = cose.sig_structure1(entry.protected, f"{DOMAIN_PREFIX}{domain}".encode(), envelope.payload)
    return key, message, entry.signature


def record_row(name: str, value_size: int, ratio_max: float | None) -> Row:
    """One record through both ends of a session, beside PyNaCl's seal and open of the same bytes."""
    key, nonce = bytes(32), bytes(12)
    sealing, opening = CipherState(key), CipherState(key)
    fragmenter, reassembler = Fragmenter(value_size), Reassembler()

    def seal_and_open() -> None:
        sealed = crypto_aead_chacha20poly1305_ietf_encrypt(RECORD, b"", nonce, key)
        crypto_aead_chacha20poly1305_ietf_decrypt(sealed, b"", nonce, key)

    def carry() -> None:
        for value in fragmenter.fragment(FragmentKind.RECORD, sealing.encrypt(b"", RECORD)):
            message = reassembler.receive_value(value, 0)
            if message is not None:
                opening.decrypt(b"", message.data)

    floor, figure = measure(seal_and_open, carry)
    return Row(name=name, unit="µs", floor=floor, figure=figure, ratio_max=ratio_max)


def run() -> list[Row]:
    """One bundle and one record."""
    return [
        bundle_row(),
        record_row("64 B record sealed, carried, opened / PyNaCl", VALUE_SIZE, RATIO_RECORD_MAX),
        record_row("the same in fragments of 20 B", SMALL_VALUE_SIZE, RATIO_SMALL_MAX),
    ]
