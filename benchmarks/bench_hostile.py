"""What one session holds, and what the costliest bytes cost beside the largest valid object."""

from __future__ import annotations

import time
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from benchmarks.costly_inputs import CAP_MIN, PEAK_RATIO_MAX, READERS, Reader, by_climbing, by_hand, peak_bytes
from benchmarks.rows import Row
from firmware_protocol.codes import Code
from firmware_protocol.constants import ID_SIZE, MESSAGE_SIZE_MAX
from firmware_protocol.hello import LockStatus
from firmware_protocol.noise import KeyPair
from firmware_protocol.session import GatewaySession, LockSession
from firmware_protocol.statements import PROVIDER_CUT_COUNT_MAX, REVOKED_COUNT_MAX, AuthorityState

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION_COUNT: Final = 64
SESSION_KIB_MAX: Final = 64.0
RATIO_TIME_MAX: Final = 4.0
CLIMB_ROUND_COUNT: Final = 300
ROUND_COUNT: Final = 40
CALLS_PER_ROUND: Final = 10
VALUE_SIZE: Final = 244


def live_session(number: int) -> tuple[GatewaySession, LockSession]:
    """Return both ends of a session that is up, each in the middle of the longest message."""
    keys = [KeyPair.from_private(bytes([seed]) * 32) for seed in (1, 2)]
    ephemerals = [KeyPair.from_private(number.to_bytes(2, "big") * 16), KeyPair.from_private(bytes([7]) * 32)]
    shared: dict[str, Any] = {"version_floor": 1, "value_size_max": VALUE_SIZE, "now_ms": 0}
    gateway = GatewaySession(
        keys=keys[0], lock_key=keys[1].public, ephemeral=ephemerals[0], nonce=bytes(8), session_ctr=1, **shared
    )
    lock = LockSession(
        keys=keys[1],
        gateway_key=keys[0].public,
        ephemeral=ephemerals[1],
        boot_nonce=bytes(8),
        firmware="bench",
        session_ctr=0,
        **shared,
    )
    carry(gateway, lock)
    lock.answer(
        LockStatus(
            session_ctr=0,
            boot=1,
            up_ms=1,
            log_id=bytes(16),
            log_next_seq=1,
            log_copied_seq=0,
            log_received_seq=0,
            command_seq=0,
            command_code=Code.FAILED,
        )
    )
    carry(gateway, lock)
    gateway.confirm(utc_lo_s=None, utc_hi_s=None)
    carry(gateway, lock)
    for end in (gateway, lock):
        first = MESSAGE_SIZE_MAX.to_bytes(2, "big") + bytes(VALUE_SIZE - 3)
        seq = 3 if end is lock else 2
        end.receive_value(bytes((0x20 | seq,)) + first, 0)
        for step in range(1, 8):
            end.receive_value(bytes((seq + step & 0x0F,)) + bytes(VALUE_SIZE - 1), 0)
    return gateway, lock


def carry(gateway: GatewaySession, lock: LockSession) -> None:
    """Carry values until both ends are silent."""
    while values := gateway.take_values():
        for value in values:
            lock.receive_value(value, 0)
        for value in lock.take_values():
            gateway.receive_value(value, 0)
    for value in lock.take_values():
        gateway.receive_value(value, 0)


def session_row() -> Row:
    """Memory of one end of a live session, half a message in its hands."""
    live_session(0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        sessions = [live_session(number) for number in range(1, SESSION_COUNT + 1)]
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    figure = held / (2 * len(sessions)) / 1_024
    name = "memory of one session / its longest message"
    return Row(name=name, unit="KiB", floor=MESSAGE_SIZE_MAX / 1_024, figure=figure, figure_max=SESSION_KIB_MAX)


def full_state() -> bytes:
    """The largest valid object: an AuthorityState with every list full."""
    return AuthorityState(
        audience=(bytes(ID_SIZE),),
        exp_s=2**53 - 1,
        iat_s=2**53 - 1,
        cti=bytes(16),
        seq=2**53 - 1,
        keyset_version=1,
        revoked_kids=tuple(bytes([number]) * 8 for number in range(REVOKED_COUNT_MAX)),
        revoked_ctis=tuple(bytes([number]) * 16 for number in range(REVOKED_COUNT_MAX)),
        provider_iat_min_s=tuple((f"p{number}", 2**31) for number in range(PROVIDER_CUT_COUNT_MAX)),
    ).to_bytes()


def best_us(act: Callable[[], object]) -> float:
    """The best CPU time of one call, in microseconds."""
    rounds = []
    for _ in range(ROUND_COUNT):
        started_s = time.thread_time()
        for _ in range(CALLS_PER_ROUND):
            act()
        rounds.append((time.thread_time() - started_s) / CALLS_PER_ROUND * 1e6)
    return min(rounds)


def costly(reader: Reader) -> list[bytes]:
    """What is tried on one reader."""
    found = by_climbing(reader, seed=1, round_count=CLIMB_ROUND_COUNT)
    return [found, *(data for _, data in by_hand(reader.size_max))]


def run() -> list[Row]:
    """One session; then the worst over all readers."""
    state = full_state()
    inputs = {reader: costly(reader) for reader in READERS}
    slowest_us = max(best_us(partial(reader.refuse, data)) for reader, tried in inputs.items() for data in tried)
    peaks = [
        (peak_bytes(reader, data) / max(reader.size_max, CAP_MIN), reader, data)
        for reader, tried in inputs.items()
        for data in tried
    ]
    _, reader, data = max(peaks, key=lambda peak: peak[0])
    return [
        session_row(),
        Row(
            name="costliest refusal / largest valid object read",
            unit="µs",
            floor=best_us(lambda: AuthorityState.from_bytes(state)),
            figure=slowest_us,
            ratio_max=RATIO_TIME_MAX,
        ),
        Row(
            name=f"peak of the costliest refusal / its cap ({reader.name})",
            unit="B",
            floor=max(reader.size_max, CAP_MIN),
            figure=peak_bytes(reader, data),
            ratio_max=PEAK_RATIO_MAX,
        ),
    ]
