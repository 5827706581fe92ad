"""The contract between gateway, lock firmware, phones and centre (docs/protocol.md). Sans-I/O.

`__all__` is the public API, by the sections of the document; everything else may change without notice.

- §1, §15: what can go wrong: `errors`, `codes`. `RemoteProtocolError` is the other side's fault: on a link, hang up.
- §2 to §4: signed objects, frozen values ⇄ bytes: `schema`, `signed`, `cose`, `vocabulary`, `tokens`, `commands`,
  `statements`, `orders`. Times are whole seconds of UTC, or of an epoch where the name of the field says so.
- §5: bundles and chains: `chains`.
- §7 to §9: the link, both roles, attribute values in and events out: `fragments`, `hello`, `noise`, `messages`,
  `errands`, `link_session`, `session`. The caller brings milliseconds of its own monotonic clock, keys and nonces.
- §11: phones: `relay`. §12: the lock's log: `lock_log`. §13: journal and receipts: `merkle`, `checkpoint`, `erased`.
- §14: the broker: `topics`.
- §18 to §20: `pairing`, `ownership`, `courier`. §21: sealed messages: `sealed`.

A name is looked up when it is asked for: whoever imports one module does not pay for the others. Inside this repository
the modules are imported directly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from firmware_protocol.chains import (
        Known,
        Proofs,
        VerifiedBundle,
        VerifiedGrant,
        make_bundle,
        open_by_role,
        parse_bundle,
        verify_bundle,
        verify_grant,
        verify_keyset,
    )
    from firmware_protocol.checkpoint import (
        Checkpoint,
        Cosignature,
        NoteSignature,
        SignedNote,
        cosign,
        note_key_id,
        origin_of,
        parse_note,
        sign_checkpoint,
        verify_checkpoint,
        verify_cosignature,
    )
    from firmware_protocol.codes import Code, CodeClass, UnknownCodeError
    from firmware_protocol.commands import Alarm, ChallengeFreshness, Command, EpochFreshness, Request
    from firmware_protocol.cose import Envelope, id_of, kid_of, parse
    from firmware_protocol.courier import CourierDesk, Delivery, pieces
    from firmware_protocol.erased import ErasedEntry
    from firmware_protocol.errands import (
        Courier,
        CourierAck,
        OwnerCommit,
        OwnerOrder,
        OwnerResult,
        TimeGet,
        TimeSet,
        TimeState,
    )
    from firmware_protocol.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
    from firmware_protocol.fragments import Fragmenter, FragmentKind, Reassembler
    from firmware_protocol.hello import GatewayHello, LockHello, LockStatus, PhoneHello, PlainClose, PlainMessage
    from firmware_protocol.link_session import (
        Confirmed,
        LinkAuthenticated,
        LinkSession,
        PairingOpened,
        PeerClosing,
        RecordReceived,
        SessionState,
        StatusWanted,
    )
    from firmware_protocol.lock_log import Importance, LogPosition, LogRecord, RecordType, chain, genesis, verify_batch
    from firmware_protocol.merkle import (
        Frontier,
        consistency_proof,
        inclusion_proof,
        leaf_hash,
        node_hash,
        root_of,
        verify_consistency,
        verify_inclusion,
    )
    from firmware_protocol.messages import (
        Bye,
        CommandAccepted,
        CommandQuery,
        CommandResult,
        Confirm,
        ErrorRecord,
        EventNotification,
        LockCommand,
        LogAck,
        LogBatch,
        LogHeadRecord,
        LogRead,
        Message,
        Ping,
        Pong,
        RelayClose,
        RelayData,
        RelayOpen,
        State,
        StateEvent,
        StateGet,
        decode_record,
        encode_record,
    )
    from firmware_protocol.noise import CipherState, HandshakeState, KeyPair
    from firmware_protocol.orders import DecommissionOrder, Door, PairingOrder
    from firmware_protocol.ownership import Ownership, judge_order, open_order
    from firmware_protocol.pairing import Doorstep, GatewayPairing, LockLabel, LockPairing, link_key_fingerprint
    from firmware_protocol.relay import AnswerKind, RelayAnswer, RelayDecider, RelayPhone
    from firmware_protocol.schema import WireMap
    from firmware_protocol.sealed import Sealed, SealedBody, is_sealed, seal, unseal
    from firmware_protocol.session import FormerOwner, GatewaySession, LockSession
    from firmware_protocol.signed import SignedMap, open_signed, sign, sign_many
    from firmware_protocol.statements import (
        AuthorityState,
        BugReport,
        CommandReceipt,
        Conflict,
        DriftReport,
        GatewayInfo,
        LockEpoch,
        LogHead,
    )
    from firmware_protocol.tokens import Authority, Grant, Keyset, OperatorGrant, RoleKeys
    from firmware_protocol.topics import Topics
    from firmware_protocol.vocabulary import (
        Action,
        Bolt,
        Decider,
        DoorLeaf,
        OfflineClass,
        Parcel,
        Phase,
        Rights,
        Role,
        Tier,
        blinded_lock,
    )
else:

    def __getattr__(name: str) -> object:
        """Return a name of the public API (PEP 562); a type checker has the imports above.

        Raises:
            AttributeError: it is none.
        """
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        modules = (import_module(f"{__name__}.{module_name}") for module_name in _MODULES)
        homes = (vars(each) for each in modules if name in vars(each))
        return next(home[name] for home in homes if home[name].__module__ == home["__name__"])


__all__ = [
    "Action",
    "Alarm",
    "AnswerKind",
    "Authority",
    "AuthorityState",
    "Bolt",
    "BugReport",
    "Bye",
    "ChallengeFreshness",
    "Checkpoint",
    "CipherState",
    "Code",
    "CodeClass",
    "Command",
    "CommandAccepted",
    "CommandQuery",
    "CommandReceipt",
    "CommandResult",
    "Confirm",
    "Confirmed",
    "Conflict",
    "Cosignature",
    "Courier",
    "CourierAck",
    "CourierDesk",
    "Decider",
    "DecommissionOrder",
    "Delivery",
    "Door",
    "DoorLeaf",
    "Doorstep",
    "DriftReport",
    "Envelope",
    "EpochFreshness",
    "ErasedEntry",
    "ErrorRecord",
    "EventNotification",
    "FormerOwner",
    "FragmentKind",
    "Fragmenter",
    "Frontier",
    "GatewayHello",
    "GatewayInfo",
    "GatewayPairing",
    "GatewaySession",
    "Grant",
    "HandshakeState",
    "Importance",
    "KeyPair",
    "Keyset",
    "Known",
    "LinkAuthenticated",
    "LinkSession",
    "LocalProtocolError",
    "LockCommand",
    "LockEpoch",
    "LockHello",
    "LockLabel",
    "LockPairing",
    "LockSession",
    "LockStatus",
    "LogAck",
    "LogBatch",
    "LogHead",
    "LogHeadRecord",
    "LogPosition",
    "LogRead",
    "LogRecord",
    "Message",
    "NoteSignature",
    "OfflineClass",
    "OperatorGrant",
    "OwnerCommit",
    "OwnerOrder",
    "OwnerResult",
    "Ownership",
    "PairingOpened",
    "PairingOrder",
    "Parcel",
    "PeerClosing",
    "Phase",
    "PhoneHello",
    "Ping",
    "PlainClose",
    "PlainMessage",
    "Pong",
    "Proofs",
    "ProtocolError",
    "Reassembler",
    "RecordReceived",
    "RecordType",
    "RelayAnswer",
    "RelayClose",
    "RelayData",
    "RelayDecider",
    "RelayOpen",
    "RelayPhone",
    "RemoteProtocolError",
    "Request",
    "Rights",
    "Role",
    "RoleKeys",
    "Sealed",
    "SealedBody",
    "SessionState",
    "SignedMap",
    "SignedNote",
    "State",
    "StateEvent",
    "StateGet",
    "StatusWanted",
    "Tier",
    "TimeGet",
    "TimeSet",
    "TimeState",
    "Topics",
    "UnknownCodeError",
    "VerifiedBundle",
    "VerifiedGrant",
    "WireMap",
    "blinded_lock",
    "chain",
    "consistency_proof",
    "cosign",
    "decode_record",
    "encode_record",
    "genesis",
    "id_of",
    "inclusion_proof",
    "is_sealed",
    "judge_order",
    "kid_of",
    "leaf_hash",
    "link_key_fingerprint",
    "make_bundle",
    "node_hash",
    "note_key_id",
    "open_by_role",
    "open_order",
    "open_signed",
    "origin_of",
    "parse",
    "parse_bundle",
    "parse_note",
    "pieces",
    "root_of",
    "seal",
    "sign",
    "sign_checkpoint",
    "sign_many",
    "unseal",
    "verify_batch",
    "verify_bundle",
    "verify_checkpoint",
    "verify_consistency",
    "verify_cosignature",
    "verify_grant",
    "verify_inclusion",
    "verify_keyset",
]

_MODULES: Final = (
    "errors",
    "codes",
    "vocabulary",
    "schema",
    "signed",
    "cose",
    "tokens",
    "commands",
    "statements",
    "orders",
    "chains",
    "fragments",
    "noise",
    "hello",
    "messages",
    "errands",
    "link_session",
    "session",
    "relay",
    "lock_log",
    "merkle",
    "checkpoint",
    "erased",
    "topics",
    "pairing",
    "ownership",
    "courier",
    "sealed",
)
"""Where the names above are looked for."""
