"""One boot of the lock's firmware: what it does with what the gateway, the phones and the sensors say.

Sans-I/O: it is called, it calls pipes, mechanics and flash, and asks its clock to be called later. Everything in
this object is RAM, and is gone with the power.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import PROTOCOL_VERSION
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.hello import HELLO_NONCE_SIZE, LockStatus
from firmware_protocol.lock_log import RecordType
from firmware_protocol.messages import (
    CommandQuery,
    ErrorRecord,
    EventNotification,
    LockCommand,
    LogAck,
    LogBatch,
    LogHeadRecord,
    LogRead,
    RelayClose,
    RelayData,
    State,
    StateEvent,
    StateGet,
)
from firmware_protocol.noise import DH_SIZE, KeyPair
from firmware_protocol.session import Confirmed, LockSession, PeerClosing, RecordReceived, StatusWanted
from firmware_protocol.signed import sign
from firmware_protocol.statements import LogHead
from firmware_protocol.vocabulary import LOG_ID_SIZE, Bolt
from simulator.boot_clock import BootClock
from simulator.lock_commands import CommandBook, unfinished
from simulator.lock_diary import Diary, Note
from simulator.lock_link import GatewayLink
from simulator.lock_relay import PhoneRelay
from simulator.mechanics import Sensed

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.messages import Confirm, Message
    from firmware_protocol.session import Event
    from simulator.flash import Flash
    from simulator.lock_keys import LockKeys
    from simulator.mechanics import Mechanics
    from simulator.seams import Entropy, Scheduler
    from simulator.wire import Pipe

VERSION: Final = "simulated 1.0"
MODEL: Final = b"simulated"
BATTERY_WARNING_MV: Final = 4_800
TIME_STEP_S: Final = 5
"""A correction of the wall clock by less is not worth a record."""
_SENSED: Final = {
    Sensed.DOOR_OPENED: RecordType.DOOR_OPENED,
    Sensed.DOOR_CLOSED: RecordType.DOOR_CLOSED,
    Sensed.TAMPERED: RecordType.TAMPER,
}


class Firmware:
    """Boots on a loaded `flash`. `turn` runs a piece of work, then `settle`, and ends all at a power loss.

    Raises:
        PowerLostError: already again.
    """

    def __init__(
        self,
        *,
        keys: LockKeys,
        flash: Flash,
        mechanics: Mechanics,
        scheduler: Scheduler,
        entropy: Entropy,
        set_phone_waiting: Callable[[bool], None],
        turn: Callable[[Callable[[], None]], None],
    ) -> None:
        self._keys = keys
        self._flash = flash
        self._mechanics = mechanics
        self._entropy = entropy
        self._clock = BootClock(scheduler, turn)
        self._boot_nonce = entropy.token(HELLO_NONCE_SIZE)
        self._diary = Diary(flash, self._clock.up_ms, boot=flash.values.boot + 1)
        self._commands = CommandBook(
            flash=flash, diary=self._diary, mechanics=mechanics, clock=self._clock, on_moved=self._on_moved
        )
        self._relay = PhoneRelay(
            clock=self._clock,
            entropy=entropy,
            send=self._tell,
            is_gateway_live=lambda: self.is_live,
            set_phone_waiting=set_phone_waiting,
        )
        self._link: GatewayLink | None = None
        self._notified_seq = 0
        self._has_warned = False
        self._write_boot()
        mechanics.on_sensed = lambda sensed: self._clock.turn(lambda: self._on_sensed(sensed))

    @property
    def is_live(self) -> bool:
        """Whether a gateway's session is confirmed."""
        return self._link is not None and self._link.is_live

    @property
    def up_ms(self) -> int:
        """The uptime, in milliseconds."""
        return self._clock.up_ms()

    @property
    def phones(self) -> PhoneRelay:
        """Where phones go."""
        return self._relay

    def settle(self) -> None:
        """Send what the last turn has to say."""
        if self._link is None:
            return
        if self.is_live and self._flash.last_seq > self._notified_seq:
            self._notified_seq = self._flash.last_seq
            self._link.send(EventNotification(log_seq=self._notified_seq))
        self._link.settle()

    def gateway_connected(self, pipe: Pipe) -> None:
        """See `PeripheralHandler`: wait for a HELLO."""
        session = LockSession(
            keys=self._keys.link,
            gateway_key=self._keys.gateway_key,
            ephemeral=KeyPair.from_private(self._entropy.token(DH_SIZE)),
            boot_nonce=self._boot_nonce,
            firmware=VERSION,
            session_ctr=self._flash.values.session_ctr,
            version_floor=PROTOCOL_VERSION,
            value_size_max=pipe.value_size_max,
            now_ms=self.up_ms,
        )
        self._link = GatewayLink(
            pipe=pipe,
            session=session,
            clock=self._clock,
            on_event=self._on_event,
            on_closed=self._relay.gateway_went,
        )

    def gateway_value(self, value: bytes) -> None:
        """See `PeripheralHandler`."""
        if self._link is not None:
            self._link.receive(value)

    def gateway_disconnected(self) -> None:
        """See `PeripheralHandler`."""
        link, self._link = self._link, None
        if link is not None:
            link.forget()
            self._relay.gateway_went()

    def _write_boot(self) -> None:
        if not self._flash.values.log_id:
            self._flash.format(self._entropy.token(LOG_ID_SIZE))
        notes, command = unfinished(self._flash)
        values = {"boot": self._diary.boot}
        self._diary.write(Note(type=RecordType.BOOT), *notes, values=values, command=command)
        if self._keys.owner_epoch > self._flash.values.owner_epoch:
            values = {"owner_epoch": self._keys.owner_epoch, "session_ctr": 0}
            self._diary.write(Note(type=RecordType.OWNER), values=values)

    def _tell(self, message: Message) -> None:
        """Send to the gateway, if it is there."""
        if self._link is not None:
            self._link.send(message)

    def _on_event(self, event: Event) -> None:
        link = self._link
        if link is None:
            return
        match event:
            case StatusWanted():
                link.session.answer(self._status())
            case Confirmed(confirm=confirm):
                self._on_confirmed(confirm)
            case RecordReceived(corr=corr, message=message):
                self._on_message(message, lambda answer: link.send(answer, corr))
            case PeerClosing(authenticated=True):
                link.close(Code.LINK_DOWN)
            case _:
                pass

    def _on_confirmed(self, confirm: Confirm) -> None:
        notes = [Note(type=RecordType.SESSION, actor=self._keys.gateway_id)]
        if confirm.utc_lo_s is not None and confirm.utc_hi_s is not None:
            before_s = self._diary.wall_s
            self._diary.set_wall(confirm.utc_lo_s, confirm.utc_hi_s)
            if before_s is None or abs((self._diary.wall_s or 0) - before_s) > TIME_STEP_S:
                notes.append(Note(type=RecordType.TIME))
        self._diary.write(*notes, values={"session_ctr": confirm.session_ctr})
        self._relay.gateway_came()

    def _on_message(self, message: Message, answer: Callable[[Message], None]) -> None:
        match message:
            case StateGet():
                answer(self._state(State))
            case LockCommand():
                self._commands.obey(message, answer)
            case CommandQuery(command_seq=seq):
                answer(self._commands.result(seq))
            case LogRead():
                answer(self._log_batch(message))
            case LogAck():
                self._on_log_ack(message)
            case LogHeadRecord(head=None):
                answer(LogHeadRecord(head=self._log_head()))
            case RelayData():
                self._relay.answered(message)
            case RelayClose():
                self._relay.closed(message)
            case LogHeadRecord():
                raise RemoteProtocolError(Code.MALFORMED, "a head from one that has no log here")
            case _:
                pass  # a PONG or an ERROR needs no answer

    def _on_log_ack(self, ack: LogAck) -> None:
        if ack.copied_seq > self._flash.last_seq:
            raise RemoteProtocolError(Code.MALFORMED, "acknowledges records that do not exist")
        values = self._flash.values
        changes = {
            "copied_seq": max(ack.copied_seq, values.copied_seq),
            "received_seq": max(ack.received_seq, values.received_seq),
        }
        if changes != {"copied_seq": values.copied_seq, "received_seq": values.received_seq}:
            self._flash.write(values=changes)

    def _on_sensed(self, sensed: Sensed) -> None:
        kind = _SENSED.get(sensed)
        if kind is None:
            is_out = self._mechanics.bolt is Bolt.LOCKED
            kind = RecordType.KNOB_LOCKED if is_out else RecordType.KNOB_UNLOCKED
        self._diary.write(Note(type=kind))
        self._tell(self._state(StateEvent))

    def _on_moved(self) -> None:
        if self._mechanics.battery_mv < BATTERY_WARNING_MV and not self._has_warned:
            self._has_warned = True
            self._diary.write(Note(type=RecordType.LOW_BATTERY, result=self._mechanics.battery_mv))
        self._tell(self._state(StateEvent))

    def _status(self) -> LockStatus:
        last = self._flash.last_command
        return LockStatus(
            session_ctr=self._flash.values.session_ctr,
            boot=self._flash.values.boot,
            up_ms=self.up_ms,
            log_id=self._flash.values.log_id,
            log_next_seq=self._flash.last_seq + 1,
            log_copied_seq=self._flash.values.copied_seq,
            log_received_seq=self._flash.values.received_seq,
            command_seq=0 if last is None else last.seq,
            command_code=Code.FAILED if last is None else last.code,
        )

    def _state(self, kind: type[State]) -> State:
        return kind(
            bolt=self._mechanics.bolt,
            door=self._mechanics.door,
            battery_mv=self._mechanics.battery_mv,
            motor_busy=self._mechanics.is_motor_busy,
            tampered=self._mechanics.tampered,
            up_ms=self.up_ms,
        )

    def _log_batch(self, read: LogRead) -> Message:
        if not self._flash.first_seq <= read.from_seq <= self._flash.last_seq + 1:
            return ErrorRecord(code=Code.LOG_GAP, may_have_executed=False)
        records = self._flash.records_from(read.from_seq, read.count_max)
        return LogBatch(
            log_id=self._flash.values.log_id,
            from_seq=read.from_seq,
            previous=self._flash.head_at(read.from_seq - 1),
            records=records,
            more=read.from_seq + len(records) <= self._flash.last_seq,
        )

    def _log_head(self) -> bytes:
        head = LogHead(
            lock_id=self._keys.lock_id,
            log_id=self._flash.values.log_id,
            from_seq=self._flash.first_seq,
            to_seq=self._flash.last_seq,
            head=self._flash.head,
        )
        return sign(head, self._keys.log_key)
