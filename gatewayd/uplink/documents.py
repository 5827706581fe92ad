"""The retained state documents: what anybody who may read the broker sees of a gateway and its doors.

JSON with sorted keys. Pseudonymous ids only (law 9), and a state says when it was seen (law 10): a reader lets
it decay into unknown after `stale_after_s`, because a gateway that is gone cannot take its words back.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Document(BaseModel):
    """One retained document."""

    # Built when first shown, not while the daemon starts.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def to_payload(self) -> bytes:
        """Return the JSON, the same bytes for the same values."""
        return json.dumps(self.model_dump(mode="json"), separators=(",", ":"), sort_keys=True).encode()


class GatewayState(Document):
    """Topic `state`; its offline form is also the will."""

    state: Literal["online", "offline"]
    boot: int = Field(ge=0)
    """Count of starts of this gateway: an old `online` of an earlier boot shows as such."""


class GatewayInfoDocument(Document):
    """Topic `info`: what the gateway is, with its GatewayInfo over no nonce (which proves tier, never time)."""

    version: str
    boot: int = Field(ge=0)
    log_id: str
    """Hex: which journal it writes."""
    info: str
    """Base64 of the signed GatewayInfo."""


class Health(Document):
    """Topic `health`, renewed every `interval_s` seconds."""

    tier: Literal["fresh", "stale", "cold", "suspect"]
    state_seq: int = Field(ge=0)
    keyset_version: int = Field(ge=0)
    time_trusted: bool
    store_writable: bool
    outbox_depth: int = Field(ge=0)
    """Entries that the central log has not signed for."""
    dropped_count: int = Field(ge=0)
    """Messages from the broker that were not understood, since the start."""
    radio_failed: bool = False
    """Everything was tried, and no lock answers over the adapter."""
    connect_hour_count_max: int = Field(default=0, ge=0)
    """Connections to a lock in the last hour, of the lock with most: what they cost is its battery."""
    interval_s: int = Field(ge=1)


class LockState(Document):
    """Topic `lock/<id>/state`: the door as its lock last said, over an authenticated link."""

    bolt: Literal["unknown", "locked", "locking", "unlocked", "unlocking", "jammed"]
    door: Literal["unknown", "closed", "open"]
    battery_mv: int | None = None
    motor_busy: bool = False
    tampered: bool = False
    observed_at: str
    """RFC 3339 UTC: not earlier than this; see `time_trusted`."""
    time_trusted: bool
    age_s: int = Field(ge=0)
    """How old the observation was when this was published."""
    stale_after_s: int = Field(ge=1)
    """A reader shows unknown once the observation is older."""


class LockAvailability(Document):
    """Topic `lock/<id>/availability`: the BLE link, not the broker's."""

    state: Literal["online", "offline"]
    cause: str | None = None
    """Dotted code of why it is offline."""
