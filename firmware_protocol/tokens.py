"""Who may do what: Keyset, Authority, Grant, OperatorGrant (docs/protocol.md §4).

Each class is one signed object. Nothing here is trusted by itself: `chains.py` verifies the envelope
first and reads the payload second. Times are UTC seconds. CWT claim numbers are those of RFC 8392 §4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from firmware_protocol.constants import ID_SIZE, LARGE_OBJECT_SIZE_MAX
from firmware_protocol.schema import (
    Choice,
    Flags,
    Many,
    Name,
    Octets,
    Row,
    Uint,
    malformed,
    octets,
    uint,
    wire,
    wire_field,
)
from firmware_protocol.signed import SignedMap
from firmware_protocol.vocabulary import CTI_SIZE, KEY_SIZE, OfflineClass, Rights, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_protocol.cbor import Value

ROLE_KEY_COUNT_MAX: Final = 16
GRANT_LOCK_COUNT_MAX: Final = 32
GRANT_WINDOW_COUNT_MAX: Final = 32

_ISS, _SUB, _AUD, _EXP, _NBF, _IAT, _CTI, _CNF = range(1, 9)
_PRIVATE: Final = -70_001
_ED25519: Final = ((1, 1), (-1, 6))
"""`kty` OKP and `crv` Ed25519 (RFC 9053 §7.1)."""
_COSE_KEY_KEYS: Final = frozenset({1, -1, -2})
_KEY: Final = Octets(KEY_SIZE, KEY_SIZE)
_IDS: Final = Many(Octets(ID_SIZE, ID_SIZE), count_max=GRANT_LOCK_COUNT_MAX, count_min=1)


@dataclass(frozen=True, slots=True)
class ConfirmationKey:
    """An Ed25519 public key as a COSE_Key map (RFC 8152 §13.2), for the claim `cnf`."""

    def encode(self, value: bytes) -> Value:
        """Return the map."""
        return {1: 1, -1: 6, -2: value}

    def decode(self, value: Value, where: str) -> bytes:
        """Return the 32 bytes of the key."""
        if not isinstance(value, dict) or value.keys() != _COSE_KEY_KEYS:
            raise malformed(where, "not a COSE_Key of an Ed25519 key")
        for key, number in _ED25519:
            if type(value[key]) is not int or value[key] != number:  # Python's True equals 1, and CBOR's is no number
                raise malformed(where, "not a COSE_Key of an Ed25519 key")
        return _KEY.decode(value[-2], where)


class RoleKeys(NamedTuple):
    """The keys of one role and how many of them must sign."""

    threshold: int
    keys: tuple[bytes, ...]
    """Ed25519 public keys, 32 bytes each, distinct."""


_ROLE_KEYS: Final = Row(
    RoleKeys,
    (
        Uint(value_max=ROLE_KEY_COUNT_MAX, value_min=1),
        Many(_KEY, count_max=ROLE_KEY_COUNT_MAX, count_min=1),
    ),
)


@dataclass(frozen=True, slots=True)
class RoleTable:
    """A map from role numbers to `RoleKeys`."""

    def encode(self, value: Mapping[Role, RoleKeys]) -> Value:
        """Return the map."""
        return {int(role): _ROLE_KEYS.encode(held) for role, held in value.items()}

    def decode(self, value: Value, where: str) -> Mapping[Role, RoleKeys]:
        """Return the table."""
        if not isinstance(value, dict):
            raise malformed(where, "not a map")
        table: dict[Role, RoleKeys] = {}
        for number, listed in value.items():
            role: Any = Choice(Role).decode(number, where)
            held: RoleKeys = _ROLE_KEYS.decode(listed, where)
            if len(set(held.keys)) != len(held.keys) or held.threshold > len(held.keys):
                raise malformed(where, "a key listed twice, or a threshold beyond the keys")
            table[role] = held
        return table


@wire
class Keyset(SignedMap):
    """Which keys hold which role; signed by 2 of 3 distinct pinned root keys."""

    DOMAIN: ClassVar[str] = "keyset"
    SIZE_MAX: ClassVar[int] = LARGE_OBJECT_SIZE_MAX

    version: int = uint(0, value_min=1)
    exp_s: int = uint(1)
    """Past it only the alarm role and class 2 are still served."""
    roles: Mapping[Role, RoleKeys] = wire_field(2, RoleTable())

    def problem(self) -> str | None:
        """A key holds one role: its kid tells which, and no thief of one key both raises an alarm and answers it."""
        keys = [key for held in self.roles.values() for key in held.keys]
        return None if len(set(keys)) == len(keys) else "a key with two roles"


@wire
class Authority(SignedMap):
    """What one provider may grant at one gateway; signed by the authority role."""

    DOMAIN: ClassVar[str] = "authority"

    issuer: str = wire_field(_ISS, Name())
    provider: str = wire_field(_SUB, Name())
    gateway_id: bytes = octets(_AUD, ID_SIZE)
    exp_s: int = uint(_EXP)
    iat_s: int = uint(_IAT)
    cti: bytes = octets(_CTI, CTI_SIZE)
    provider_key: bytes = wire_field((_CNF, 1), ConfirmationKey())
    """Ed25519 public key that signs the provider's grants."""
    lock_ids: tuple[bytes, ...] = wire_field((_PRIVATE, 0), _IDS)
    rights_max: Rights = wire_field((_PRIVATE, 1), Flags(Rights))
    grant_life_s_max: int = uint((_PRIVATE, 2))
    offline_class_max: OfflineClass = wire_field((_PRIVATE, 3), Choice(OfflineClass))


@wire
class Grant(SignedMap):
    """What one carer's device may do, and when; signed by the provider, or by the authority role itself."""

    DOMAIN: ClassVar[str] = "grant"

    issuer: str = wire_field(_ISS, Name())
    """The provider's name; must be the Authority's subject."""
    subject: str = wire_field(_SUB, Name())
    """Pseudonym of the person."""
    locks: tuple[bytes, ...] = wire_field(_AUD, _IDS)
    """`blinded_lock(cti, lock id)` of each lock."""
    exp_s: int = uint(_EXP)
    nbf_s: int = uint(_NBF)
    iat_s: int = uint(_IAT)
    cti: bytes = octets(_CTI, CTI_SIZE)
    device_key: bytes = wire_field((_CNF, 1), ConfirmationKey())
    rights: Rights = wire_field((_PRIVATE, 0), Flags(Rights))
    windows: tuple[tuple[int, int], ...] = wire_field(
        (_PRIVATE, 1),
        Many(Row(lambda start, end: (start, end), (Uint(), Uint())), count_max=GRANT_WINDOW_COUNT_MAX),
    )
    """Visits, `(from, to)`: `from` included, `to` not. None at all permits nothing."""
    use_count_max: int | None = uint((_PRIVATE, 2), default=None)
    offline_class: OfflineClass = wire_field((_PRIVATE, 3), Choice(OfflineClass), default=OfflineClass.SHIFT)
    state_seq_min: int = uint((_PRIVATE, 4), default=0)
    """The gateway must hold an AuthorityState of at least this number."""


@wire
class OperatorGrant(SignedMap):
    """One operator's shift at the alarm centre, for every lock; signed by the alarm role."""

    DOMAIN: ClassVar[str] = "operator"

    issuer: str = wire_field(_ISS, Name())
    subject: str = wire_field(_SUB, Name())
    exp_s: int = uint(_EXP)
    nbf_s: int = uint(_NBF)
    iat_s: int = uint(_IAT)
    cti: bytes = octets(_CTI, CTI_SIZE)
    operator_key: bytes = wire_field((_CNF, 1), ConfirmationKey())
    rights: Rights = wire_field((_PRIVATE, 0), Flags(Rights))
