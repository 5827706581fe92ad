"""Phones at a lock that has no gateway: the lock verifies, decides, moves and signs (docs/protocol.md §19)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_protocol.chains import verify_bundle
from firmware_protocol.codes import Code
from firmware_protocol.constants import CHALLENGE_AGE_MS_MAX, COURIER_VISIT_SIZE_MAX, LOCK_ALONE_MS
from firmware_protocol.courier import CourierDesk
from firmware_protocol.errands import CourierAck
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.lock_log import RecordType
from firmware_protocol.noise import DH_SIZE, KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer, RelayDecider
from firmware_protocol.signed import sign
from firmware_protocol.statements import CommandReceipt
from firmware_protocol.vocabulary import HASH_SIZE, Parcel, Phase
from simulator.lock_decider import LoneFacts, decide_alone
from simulator.lock_diary import Note
from simulator.lock_time import receipt_time_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.chains import VerifiedBundle
    from firmware_protocol.courier import Delivery
    from simulator.flash import Flash
    from simulator.lock_commands import CommandBook
    from simulator.lock_diary import Diary
    from simulator.lock_keys import LockKeys
    from simulator.lock_owner import OwnerBook
    from simulator.lock_time import LockTime
    from simulator.mechanics import Mechanics
    from simulator.seams import Entropy


@dataclass(frozen=True, slots=True, kw_only=True)
class LoneParts:
    """What such a lock works with."""

    keys: LockKeys
    flash: Flash
    diary: Diary
    mechanics: Mechanics
    commands: CommandBook
    owner: OwnerBook
    time: LockTime
    entropy: Entropy
    up_ms: Callable[[], int]


class LoneDesk:
    """Knows since when there is no gateway, and begins the visits of phones."""

    def __init__(self, parts: LoneParts) -> None:
        self._parts = parts
        self._left_ms: int | None = parts.up_ms()
        """Since when no session is confirmed; None while one is."""

    def gateway_came(self) -> None:
        """A session is confirmed."""
        self._left_ms = None

    def gateway_went(self) -> None:
        """It has ended."""
        if self._left_ms is None:
            self._left_ms = self._parts.up_ms()

    @property
    def decides(self) -> bool:
        """Whether the lock is alone for long enough, has an owner, and knows whose signatures count."""
        parts = self._parts
        if self._left_ms is None or parts.up_ms() - self._left_ms < LOCK_ALONE_MS:
            return False
        return parts.owner.gateway_key is not None and parts.owner.trust.keyset is not None

    def visit(self, challenge: bytes, reply: Callable[[bytes], None], close: Callable[[Code], None]) -> LoneVisit:
        """Begin with a phone that was given this challenge."""
        return LoneVisit(self._parts, challenge, reply, close)


class LoneVisit:
    """One phone, from its bundle to the last courier."""

    def __init__(
        self, parts: LoneParts, challenge: bytes, reply: Callable[[bytes], None], close: Callable[[Code], None]
    ) -> None:
        self._parts = parts
        self._challenge: bytes | None = challenge
        self._began_ms = parts.up_ms()
        self._reply = reply
        self._close = close
        ephemeral = KeyPair.from_private(parts.entropy.token(DH_SIZE))
        self._relay = RelayDecider(keys=parts.keys.link, challenge=challenge, ephemeral=ephemeral)
        self._desk = CourierDesk(size_max=COURIER_VISIT_SIZE_MAX)
        self._is_known = False

    def hear_bundle(self, data: bytes) -> None:
        """Take the phone's message 1.

        Raises:
            RemoteProtocolError: it is none for this lock; the phone's link ends.
        """
        raw = self._relay.read_bundle(data)
        try:
            bundle = verify_bundle(raw, known=self._parts.owner.trust.known())
        except RemoteProtocolError:
            self._answer(AnswerKind.DENIED, b"")
            self._close(Code.DENIED)
            return
        self._is_known = bundle.command.challenge == self._challenge  # a recorded command proves nothing of its bearer
        code = self._decide(bundle)
        if code is Code.PERMITTED:
            self._move(bundle)
        else:
            self._refuse(bundle, code)

    def hear_courier(self, data: bytes) -> None:
        """Take what the phone brings after its answer.

        Raises:
            RemoteProtocolError: it is nothing that a known phone may send; its link ends.
        """
        if not self._is_known:
            raise RemoteProtocolError(Code.DENIED, "couriers from nobody")
        piece = self._relay.read_courier(data)
        if piece.sha256 is None:
            self._acknowledge(bytes(HASH_SIZE), Code.UNSUPPORTED_TYPE)
            return
        delivery = self._desk.take(piece)
        if delivery is not None:
            self._acknowledge(delivery.sha256, self._take(delivery))

    def _decide(self, bundle: VerifiedBundle) -> Code:
        parts = self._parts
        is_old = parts.up_ms() - self._began_ms >= CHALLENGE_AGE_MS_MAX
        challenge, self._challenge = None if is_old else self._challenge, None
        facts = LoneFacts(
            lock_id=parts.keys.lock_id,
            gateway_id=parts.flash.values.gateway_id,
            challenge=challenge,
            seen_ids=parts.flash.values.command_ids,
            keyset=parts.owner.trust.require_keyset(),
            state=parts.owner.trust.state,
            present=parts.time.now(),
            is_motor_busy=parts.mechanics.is_motor_busy,
        )
        return decide_alone(bundle, facts)

    def _refuse(self, bundle: VerifiedBundle, code: Code) -> None:
        note = Note(
            type=RecordType.REFUSED,
            actor=bundle.signer_kid,
            cmd_id=bundle.command.command_id,
            result=code.wire,
        )
        self._parts.diary.write(note)
        self._give_receipt(bundle, Phase.DECIDED, code)

    def _move(self, bundle: VerifiedBundle) -> None:
        command = bundle.command

        def finish(code: Code) -> None:
            self._give_receipt(bundle, Phase.OUTCOME, code)

        def accepted() -> None:
            self._give_receipt(bundle, Phase.DECIDED, Code.PERMITTED)

        self._parts.commands.move_alone(
            command.action, command.command_id, bundle.signer_kid, accepted=accepted, finished=finish
        )

    def _give_receipt(self, bundle: VerifiedBundle, phase: Phase, code: Code) -> None:
        parts, present = self._parts, self._parts.time.now()
        receipt = CommandReceipt(
            gateway_id=parts.flash.values.gateway_id,
            log_id=parts.flash.values.log_id,
            lock_id=parts.keys.lock_id,
            command_sha256=bundle.command_sha256,
            phase=phase,
            code=code,
            lock_log_seq=parts.flash.last_seq,
            utc_lo_s=present.lo_s,
            utc_hi_s=present.hi_s,
        )
        self._answer(AnswerKind.RECEIPT, sign(receipt, parts.keys.log_key))

    def _take(self, delivery: Delivery) -> Code:
        parts = self._parts
        if delivery.kind is not Parcel.RECEIPT:
            return parts.owner.admit(delivery)
        try:
            time_s = receipt_time_s(
                delivery.data, keyset=parts.owner.trust.require_keyset(), gateway_id=parts.flash.values.gateway_id
            )
        except RemoteProtocolError as error:
            return error.code
        if raised := parts.time.raised(time_s):
            parts.flash.write(values=raised)
        return Code.DONE

    def _acknowledge(self, sha256: bytes, code: Code) -> None:
        self._answer(AnswerKind.COURIER_ACK, CourierAck(sha256=sha256, code=code).to_bytes())

    def _answer(self, kind: AnswerKind, body: bytes) -> None:
        self._reply(self._relay.answer(RelayAnswer(kind=kind, body=body)))
