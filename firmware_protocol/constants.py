"""Numbers fixed by docs/protocol.md, each naming its section.

A number here is part of the contract: changing one changes the protocol's version. Choices that
each side may make for itself (back-off, buffer counts) stand beside the code that makes them.
"""

from __future__ import annotations

from typing import Final

# §2 encoding
OBJECT_SIZE_MAX: Final = 1_024
"""Longest signed object, in bytes; refused before anything is parsed."""
LARGE_OBJECT_SIZE_MAX: Final = 4_096
"""Longest Keyset or AuthorityState, in bytes."""
CBOR_DEPTH_MAX: Final = 8
"""Deepest nesting of arrays, maps and tags."""
CBOR_ITEM_COUNT_MAX: Final = 512
"""Most data items in one object, counted before they are built; and no more than one for two bytes of its cap."""
CBOR_MAP_COUNT_MAX: Final = 16
"""Most maps in one object: a map of two bytes costs its reader a hundred times as much."""

# §3 envelopes
KID_SIZE: Final = 8
"""A key id: the first bytes of SHA-256(public key)."""
ID_SIZE: Final = 8
"""A gateway or lock id: the first bytes of SHA-256(its Ed25519 public key)."""
DOMAIN_PREFIX: Final = "carelock/1/"
"""Every `external_aad` starts with it; the digit is the version of the objects."""

# §5 bundles
BUNDLE_SIZE_MAX: Final = 1_900
"""Longest bundle, in bytes: with Noise and the relay record it still fits one message (§7)."""

# §6 GATT
SERVICE_UUID: Final = "c4e10001-3a5d-4f2b-9c27-6d1f0e8a7b10"
"""The one service; the only thing by which a listener may recognise a lock."""
INFO_UUID: Final = "c4e10002-3a5d-4f2b-9c27-6d1f0e8a7b10"
"""Read: protocol version range and model, no ids."""
RX_UUID: Final = "c4e10003-3a5d-4f2b-9c27-6d1f0e8a7b10"
"""Write and write without response: gateway to lock."""
TX_UUID: Final = "c4e10004-3a5d-4f2b-9c27-6d1f0e8a7b10"
"""Notify: lock to gateway. The link whose central subscribes here is the gateway's."""
PHONE_RX_UUID: Final = "c4e10005-3a5d-4f2b-9c27-6d1f0e8a7b10"
"""Write and write without response: phone to lock."""
PHONE_TX_UUID: Final = "c4e10006-3a5d-4f2b-9c27-6d1f0e8a7b10"
"""Notify: lock to phone. A link whose central subscribes here is a phone's."""
ADVERTISED_COMPANY_ID: Final = 0xFFFF
"""Company id of the manufacturer data: the Bluetooth SIG's number for those that have none. It identifies nothing;
service data would name it better, but a 128-bit one does not fit beside the service UUID in 31 bytes."""
ADVERTISED_PHONE_WAITING: Final = 0x01
"""Bit of the one byte of manufacturer data: a phone waits at the lock. The other bits are sent as 0 and ignored."""

ADVERTISED_INSTALL_MODE: Final = 0x02
"""Bit of the same byte: the lock can be paired. It has no owner, or its install button was pressed."""

# §7 fragments
MESSAGE_SIZE_MAX: Final = 2_048
"""Longest message that fragments may carry, in bytes."""
VALUE_SIZE_MAX: Final = 512
"""Longest attribute value; BlueZ cuts longer ones silently."""
REASSEMBLY_MS_MAX: Final = 2_000
"""Longest time between FIRST and LAST, in milliseconds."""

# §8 handshake
PROTOCOL_VERSION: Final = 1
"""The only version there is so far."""
PROLOGUE_LABEL: Final = b"carelock-link/1"
SESSION_CTR_STEP_MAX: Final = 65_536
"""Largest step of session_ctr and of the owner epoch that a peer accepts."""
SESSION_RECORD_COUNT_MAX: Final = 65_536
"""Records per direction before a new handshake."""
SESSION_AGE_MS_MAX: Final = 24 * 3_600 * 1_000
"""Age of a session before a new handshake, in milliseconds."""
HANDSHAKE_MS_MAX: Final = 10_000
"""Longest time from connect to CONFIRM, in milliseconds, on both sides."""
PING_IDLE_MS: Final = 15_000
"""Either side pings after so long without an authenticated record."""
SESSION_SILENCE_MS_MAX: Final = 45_000
"""Either side drops the session after so long without an authenticated record."""

CAPABILITY_PAIRING: Final = 0x01
"""Bit of a HELLO's `capabilities`. Gateway: this link is for pairing. Lock: it can be paired now."""
CAPABILITY_VERIFY: Final = 0x02
"""Bit of a lock's `capabilities`: it decides alone while it has no gateway."""

# §10 commands
LOCK_CMD_ACCEPTED_MS_MAX: Final = 300
"""Longest time from LOCK_CMD to CMD_ACCEPTED, on the lock's clock."""
WITHIN_MS_MAX: Final = 10_000
"""Longest `before_up_ms` lead over the lock's uptime at sending, in milliseconds."""
UP_MS_ANSWER_AGE_MS_MAX: Final = 40_000
"""Oldest answer from which `before_up_ms` may be computed."""
UNLOCK_TTL_S_MAX: Final = 60
"""Longest `exp_s - issued_s` of an unlock under an epoch."""
OTHER_TTL_S_MAX: Final = 300
"""Longest `exp_s - issued_s` of any other action."""

# §11 relay
CHALLENGE_SIZE: Final = 16
CHALLENGE_AGE_MS_MAX: Final = 30_000
"""A challenge is dead after so long, on CLOCK_BOOTTIME."""
RELAY_PROLOGUE_LABEL: Final = b"carelock-relay/1"
RELAY_PHONE_COUNT_MAX: Final = 2
RELAY_PROGRESS_MS_MAX: Final = 3_000
RELAY_BUNDLE_MS_MAX: Final = 8_000
RELAY_AGE_MS_MAX: Final = 15_000

COURIER_CHUNK_SIZE_MAX: Final = 896
"""Longest piece of an object in one Courier, in bytes: as an answer to a phone it still fits a RelayAnswer."""
COURIER_OBJECT_SIZE_MAX: Final = 8_192
"""Longest object that Couriers carry, in bytes: an entry of the journal."""
COURIER_VISIT_SIZE_MAX: Final = 65_536
"""Most bytes that one phone's visit carries in each direction."""
LOCK_ALONE_MS: Final = 10_000
"""A lock that verifies decides alone once it has had no confirmed session for so long, in milliseconds."""
LOCK_EVIDENCE_AGE_S_MAX: Final = 24 * 3_600
"""Oldest AuthorityState and oldest time with which a lock alone admits a grant of class SHIFT, in seconds."""

# §18 pairing
PAIRING_PROLOGUE_LABEL: Final = b"carelock-pair/1"
PAIRING_SECRET_SIZE: Final = 32
"""Bytes of the secret on the lock's label."""
PAIRING_MS_MAX: Final = 60_000
"""Longest time from connect to the end of a pairing, in milliseconds, on both sides."""
INSTALL_BUTTON_MS: Final = 600_000
"""A lock with an owner can be paired for so long after its install button was pressed, in milliseconds."""

# §21 sealed messages
SEALED_PAYLOAD_SIZE_MAX: Final = 4_096
"""Longest payload that is sealed, in bytes: a Keyset, or a request in JSON."""

# §4 life of signed objects
GRANT_LIFE_S_MAX: Final = 24 * 3_600
"""Longest life of a grant of class 0 or 1."""
RESPONDER_GRANT_LIFE_S_MAX: Final = 30 * 24 * 3_600
"""Longest life of a grant of class 2 (unlock only)."""
OPERATOR_GRANT_LIFE_S_MAX: Final = 13 * 3_600
AUTHORITY_STATE_SEQ_STEP_MAX: Final = 65_536
"""Largest step of AuthorityState.seq within one Keyset version."""
OWNER_EPOCH_STEP_MAX: Final = 65_536
"""Largest step of a lock's owner epoch from one PairingOrder to the next."""
