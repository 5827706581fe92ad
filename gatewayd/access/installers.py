"""Who has just paired a lock may try it, also where nobody can yet tell the time. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

INSTALLER_MS: Final = 60 * 60 * 1_000
"""How long after the pairing the installer's grant is admitted without trusted time, on CLOCK_BOOTTIME."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """When a lock was paired, and whose grant may try it."""

    installer_cti: bytes
    """As the signed PairingOrder names it."""
    machine_boot: str
    """CLOCK_BOOTTIME counts within one boot of the machine: after another the hour is over, however long it was."""
    boottime_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Installers:
    """Every lock's pairing, and the boot that this machine is in."""

    pairings: Mapping[bytes, Pairing]
    """By lock id."""
    machine_boot: str

    def open_at(self, boottime_ms: int) -> Mapping[bytes, bytes]:
        """Return, by lock, the installer's grant that is still admitted."""
        return MappingProxyType(
            {
                lock_id: pairing.installer_cti
                for lock_id, pairing in self.pairings.items()
                if pairing.machine_boot == self.machine_boot and 0 <= boottime_ms - pairing.boottime_ms < INSTALLER_MS
            }
        )
