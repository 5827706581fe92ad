"""Settings as the parts use them: frozen values, one class a part. `config.py` reads them from files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """How often doors may be opened; token buckets that refill one each `interval_ms`."""

    lock_burst: int = 12
    """Movements of one lock at once, 2 to 100; one signer gets half of it."""
    provider_burst: int = 60
    """Movements of one provider at this gateway at once."""
    global_burst: int = 120
    """Movements at this gateway at once."""
    emergency_burst: int = 10
    """Movements of one operator or responder at one lock at once; nobody else draws from it."""
    motor_burst: int = 30
    """Strokes of one lock's motor at once, whoever asks for them."""
    motor_reserve: int = 10
    """How many of these only an emergency may use; fewer than `motor_burst`."""
    interval_ms: int = 60_000
    """One movement comes back each so many milliseconds."""
