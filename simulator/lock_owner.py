"""Whose lock this is: orders laid down, judged and committed in one write (docs/protocol.md §18)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import COURIER_VISIT_SIZE_MAX, INSTALL_BUTTON_MS
from firmware_protocol.courier import CourierDesk
from firmware_protocol.errands import Courier, CourierAck, OwnerCommit, OwnerOrder, OwnerResult
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.lock_log import RecordType
from firmware_protocol.messages import ErrorRecord
from firmware_protocol.orders import PairingOrder
from firmware_protocol.ownership import Ownership, judge_order, open_order
from firmware_protocol.session import FormerOwner
from firmware_protocol.vocabulary import LOG_ID_SIZE, Parcel
from simulator.lock_diary import Note
from simulator.lock_trust import LockTrust

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from firmware_protocol.courier import Delivery
    from firmware_protocol.messages import Message
    from firmware_protocol.orders import DecommissionOrder
    from firmware_protocol.ownership import Order
    from simulator.flash import Flash, Value
    from simulator.lock_diary import Diary
    from simulator.lock_keys import LockKeys
    from simulator.lock_time import LockTime
    from simulator.seams import Entropy

PENDING_COUNT_MAX: Final = 20
"""Most objects that one pairing hands over."""
_NOBODY: Final[Mapping[str, Value]] = {"gateway_key": b"", "gateway_id": b"", "owner_seq": 1}
_NO_FORMER: Final[Mapping[str, Value]] = {
    "former_key": b"",
    "former_id": b"",
    "former_session_ctr": 0,
    "former_owner_seq": 1,
    "former_last_seq": 0,
}


class OwnerBook:
    """Owner, former owner and trust, as they stand in the flash; what is under way is RAM and goes with the link."""

    def __init__(
        self,
        *,
        keys: LockKeys,
        flash: Flash,
        diary: Diary,
        time: LockTime,
        up_ms: Callable[[], int],
        sign_head: Callable[[int], bytes],
    ) -> None:
        """`sign_head` signs a LogHead up to a record."""
        self._keys = keys
        self._flash = flash
        self._diary = diary
        self._time = time
        self._up_ms = up_ms
        self._sign_head = sign_head
        self._button_ms: int | None = None
        self._desk = CourierDesk(size_max=COURIER_VISIT_SIZE_MAX)
        self._order: bytes | None = None
        self._pending: list[Delivery] = []

    # How it stands.

    @property
    def gateway_key(self) -> bytes | None:
        """The owner's X25519 key; None: the lock belongs to nobody."""
        return self._flash.values.gateway_key or None

    @property
    def former(self) -> FormerOwner | None:
        """The owner before, while its slot is kept."""
        values = self._flash.values
        if not values.former_key:
            return None
        return FormerOwner(gateway_key=values.former_key, session_ctr=values.former_session_ctr)

    @property
    def is_installable(self) -> bool:
        """Whether the lock can be paired now."""
        if not self._keys.roots:
            return False
        is_pressed = self._button_ms is not None and self._up_ms() - self._button_ms < INSTALL_BUTTON_MS
        return self.gateway_key is None or is_pressed

    @property
    def trust(self) -> LockTrust:
        """The signed objects that the lock holds."""
        values = self._flash.values
        return LockTrust(
            roots=self._keys.roots,
            keyset_raw=values.keyset,
            state_raw=values.state,
            authorities=values.authorities,
        )

    # What happens to it.

    def take_factory_pairing(self) -> None:
        """Pin the owner that the lock came with, at its first boot."""
        if self._keys.owner_epoch > self._flash.values.owner_epoch:
            values: dict[str, Value] = {
                "owner_epoch": self._keys.owner_epoch,
                "session_ctr": 0,
                "gateway_key": self._keys.gateway_key,
                "gateway_id": self._keys.gateway_id,
            }
            self._diary.write(Note(type=RecordType.OWNER), values=values)

    def press_button(self) -> None:
        """Let the lock be paired for ten minutes."""
        self._button_ms = self._up_ms()

    def factory_reset(self, entropy: Entropy) -> None:
        """Wipe the pairing and the log; keep the lock's own keys and the owner epoch."""
        log_id = entropy.token(LOG_ID_SIZE)
        wiped: dict[str, Value] = {**_NOBODY, **_NO_FORMER, **LockTrust(roots=()).values(), "session_ctr": 0}
        self._diary.begin_anew(log_id, Note(type=RecordType.RESET), values=wiped)

    def begin_link(self) -> None:
        """Forget what an earlier link left under way."""
        self._desk = CourierDesk(size_max=COURIER_VISIT_SIZE_MAX)
        self._order = None
        self._pending.clear()

    def confirmed(self, *, is_former: bool, session_ctr: int, version: int) -> dict[str, Value]:
        """Return what a CONFIRM changes in the flash; the owner's first one empties the former owner's slot."""
        floor: dict[str, Value] = {"version_floor": max(version, self._flash.values.version_floor)}
        if is_former:
            return {**floor, "former_session_ctr": session_ctr}
        emptied = _NO_FORMER if self._flash.values.former_key else {}
        return {**floor, **emptied, "session_ctr": session_ctr}

    def take(self, message: Courier | OwnerOrder | OwnerCommit, peer_key: bytes | None) -> Message | None:
        """Do what the owner, or whoever pairs (`peer_key`), asks; return the answer, if it is time for one."""
        try:
            match message:
                case OwnerOrder(order=order):
                    self._order = order
                    return OwnerResult(code=Code.PERMITTED, owner_epoch=self._flash.values.owner_epoch)
                case OwnerCommit():
                    return self._commit(peer_key)
                case Courier():
                    return self._take_piece(message)
        except RemoteProtocolError as error:
            return ErrorRecord(code=error.code, may_have_executed=False)

    def admit(self, delivery: Delivery) -> Code:
        """Keep an object that came to the lock with an owner; return what became of it."""
        trust = self.trust
        try:
            newer = trust.admit(delivery.kind, delivery.data, gateway_id=self._flash.values.gateway_id)
        except RemoteProtocolError as error:
            return error.code
        if newer != trust:
            state = newer.state
            floor = {} if state is None else self._time.raised(state.iat_s)
            self._flash.write(values={**newer.values(), **floor})
        return Code.DONE

    def _take_piece(self, piece: Courier) -> Message | None:
        if piece.sha256 is None:
            raise RemoteProtocolError(Code.UNSUPPORTED_TYPE, "a lock gives no objects on this link")
        delivery = self._desk.take(piece)
        if delivery is None:
            return None
        if self._order is None:
            return CourierAck(sha256=delivery.sha256, code=self.admit(delivery))
        if len(self._pending) >= PENDING_COUNT_MAX:
            raise RemoteProtocolError(Code.TOO_LARGE, "more objects than a pairing hands over")
        self._pending.append(delivery)
        return CourierAck(sha256=delivery.sha256, code=Code.DONE)

    def _commit(self, peer_key: bytes | None) -> Message:
        raw, self._order = self._order, None
        pending, self._pending = self._pending, []
        if raw is None:
            raise RemoteProtocolError(Code.NO_ORDER, "a commit without an order")
        values = self._flash.values
        trust = self.trust
        for delivery in pending:
            if delivery.kind is Parcel.KEYSET:
                trust = trust.admit(delivery.kind, delivery.data, gateway_id=b"")
        order = open_order(raw, keyset=trust.require_keyset())
        known = Ownership(
            lock_id=self._keys.lock_id,
            link_key=self._keys.link.public,
            owner_epoch=values.owner_epoch,
            gateway_id=values.gateway_id or None,
            peer_key=peer_key,
            utc_lo_s=self._time.now().lo_s,
        )
        if code := judge_order(order, known):
            raise RemoteProtocolError(code, "this order does not take effect")
        return self._take_effect(order, trust, pending)

    def _take_effect(self, order: Order, trust: LockTrust, pending: list[Delivery]) -> Message:
        seq = self._pin(order, trust, pending) if isinstance(order, PairingOrder) else self._release(order)
        self._button_ms = None
        return OwnerResult(code=Code.DONE, owner_epoch=order.owner_epoch, log_seq=seq, head=self._sign_head(seq))

    def _pin(self, order: PairingOrder, trust: LockTrust, pending: list[Delivery]) -> int:
        values = self._flash.values
        moves = order.gateway_id != values.gateway_id
        if moves:
            trust = LockTrust(roots=trust.roots, keyset_raw=trust.keyset_raw)  # the rest was for another gateway
        for delivery in pending:
            trust = trust.admit(delivery.kind, delivery.data, gateway_id=order.gateway_id)
        state = trust.state
        floor_s = max(order.iat_s, 0 if state is None else state.iat_s)
        changes: dict[str, Value] = {
            **trust.values(),
            **self._time.raised(floor_s),
            **self._as_former(),
            "gateway_key": order.gateway_link_key,
            "gateway_id": order.gateway_id,
            "owner_epoch": order.owner_epoch,
            "session_ctr": 0,
        }
        note = Note(type=RecordType.OWNER, actor=order.gateway_id)
        ends = ("former_last_seq", "owner_seq") if moves else ("former_last_seq",)
        return self._diary.write(note, values=changes, last_seq_as=ends)

    def _release(self, order: DecommissionOrder) -> int:
        changes: dict[str, Value] = {
            **LockTrust(roots=()).values(),
            **self._as_former(),
            **_NOBODY,
            "owner_epoch": order.owner_epoch,
            "session_ctr": 0,
        }
        note = Note(type=RecordType.RELEASED, actor=order.gateway_id)
        return self._diary.write(note, values=changes, last_seq_as=("former_last_seq",))

    def _as_former(self) -> Mapping[str, Value]:
        values = self._flash.values
        if not values.gateway_key:
            return _NO_FORMER
        return {
            "former_key": values.gateway_key,
            "former_id": values.gateway_id,
            "former_session_ctr": values.session_ctr,
            "former_owner_seq": values.owner_seq,
        }
