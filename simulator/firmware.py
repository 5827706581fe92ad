"""One boot of the lock's firmware: what it does with what the gateway, the phones and the sensors say.

Sans-I/O: it is called, it calls pipes, mechanics and flash, and asks its clock to be called later. Everything in
this object is RAM, and is gone with the power.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import CAPABILITY_PAIRING, CAPABILITY_VERIFY, INSTALL_BUTTON_MS, PROTOCOL_VERSION
from firmware_protocol.errands import Courier, OwnerCommit, OwnerOrder, TimeGet, TimeSet
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.hello import HELLO_NONCE_SIZE
from firmware_protocol.lock_log import RecordType
from firmware_protocol.messages import (
    CommandQuery,
    ErrorRecord,
    EventNotification,
    LockCommand,
    LogAck,
    LogHeadRecord,
    LogRead,
    Pong,
    RelayClose,
    RelayData,
    State,
    StateEvent,
    StateGet,
)
from firmware_protocol.noise import DH_SIZE, KeyPair
from firmware_protocol.pairing import LockPairing
from firmware_protocol.session import (
    Confirmed,
    LockSession,
    PairingOpened,
    PeerClosing,
    RecordReceived,
    StatusWanted,
)
from firmware_protocol.vocabulary import LOG_ID_SIZE, Bolt
from simulator.boot_clock import BootClock
from simulator.lock_alone import LoneDesk, LoneParts
from simulator.lock_answers import Answers
from simulator.lock_commands import CommandBook, unfinished
from simulator.lock_diary import Diary, Note
from simulator.lock_doorstep import Arrival
from simulator.lock_link import GatewayLink
from simulator.lock_owner import OwnerBook
from simulator.lock_relay import PhoneRelay
from simulator.lock_time import LockTime, receipt_time_s
from simulator.mechanics import Sensed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from firmware_protocol.messages import Message
    from firmware_protocol.session import Event
    from simulator.flash import Flash
    from simulator.lock_keys import LockKeys
    from simulator.mechanics import Mechanics
    from simulator.seams import Entropy, Scheduler
    from simulator.wire import Beacon, Pipe

VERSION: Final = "simulated 1.0"
MODEL: Final = b"simulated"
BATTERY_WARNING_MV: Final = 4_800
TIME_STEP_S: Final = 5
"""A correction of the wall clock by less is not worth a record."""
FORMER_MAY: Final = (StateGet, CommandQuery, LogRead, LogAck, LogHeadRecord, Pong, ErrorRecord)
"""What a session with the owner before may ask."""
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
        beacon: Beacon,
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
        self._time = LockTime(flash, self._clock.up_ms)
        self._answers = Answers(keys=keys, flash=flash, mechanics=mechanics, up_ms=self._clock.up_ms)
        self._owner = OwnerBook(
            keys=keys,
            flash=flash,
            diary=self._diary,
            time=self._time,
            up_ms=self._clock.up_ms,
            sign_head=self._answers.log_head,
        )
        self._lone = LoneDesk(
            LoneParts(
                keys=keys,
                flash=flash,
                diary=self._diary,
                mechanics=mechanics,
                commands=self._commands,
                owner=self._owner,
                time=self._time,
                entropy=entropy,
                up_ms=self._clock.up_ms,
            )
        )
        self._relay = PhoneRelay(
            clock=self._clock,
            entropy=entropy,
            send=self._tell,
            is_gateway_live=lambda: self.is_live,
            set_phone_waiting=beacon.set_phone_waiting,
            lone=self._lone,
        )
        self._beacon = beacon
        self._arrival: Arrival | None = None
        self._link: GatewayLink | None = None
        self._peer_key: bytes | None = None
        """Of whoever pairs over the link; None in a session."""
        self._is_former = False
        """Whether the session is with the owner before."""
        self._notified_seq = 0
        self._has_warned = False
        self._write_boot()
        self._show_installable()
        mechanics.on_sensed = lambda sensed: self._clock.turn(lambda: self._on_sensed(sensed))

    @property
    def is_live(self) -> bool:
        """Whether a gateway's session is confirmed."""
        return self._link is not None and self._link.is_live and not self._is_former and self._peer_key is None

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

    def press_install_button(self) -> None:
        """Let somebody inside the home say that the lock may be paired now."""
        self._owner.press_button()
        self._show_installable()
        self._clock.call_later(INSTALL_BUTTON_MS, self._show_installable)

    def factory_reset(self) -> None:
        """Let somebody at the lock wipe its pairing and its log."""
        self._owner.factory_reset(self._entropy)
        self._notified_seq = 0
        if self._link is not None:
            self._link.close(Code.LINK_DOWN)
        self._show_installable()

    def gateway_connected(self, pipe: Pipe) -> None:
        """See `PeripheralHandler`: wait for a HELLO."""
        self._arrival = Arrival(
            pipe=pipe,
            clock=self._clock,
            on_known=lambda pairs, values: self._begin(pipe, values, pairs=pairs),
        )

    def gateway_value(self, value: bytes) -> None:
        """See `PeripheralHandler`."""
        if self._link is not None:
            self._link.receive(value)
        elif self._arrival is not None:
            self._arrival.receive(value)

    def gateway_disconnected(self) -> None:
        """See `PeripheralHandler`."""
        if self._arrival is not None:
            self._arrival.forget()
            self._arrival = None
        link, self._link = self._link, None
        if link is not None:
            link.forget()
            self._gateway_went()

    def _begin(self, pipe: Pipe, values: Sequence[bytes], *, pairs: bool) -> None:
        """Make the session that the gateway has come for, and hand it what came."""
        arrival = self._arrival
        if arrival is None:
            return
        if pairs and not self._owner.is_installable:
            arrival.turn_away(Code.NOT_INSTALLING)
            return
        self._owner.begin_link()
        self._peer_key, self._is_former = (b"" if pairs else None), False
        self._link = GatewayLink(
            pipe=pipe,
            session=self._pairing(pipe, arrival.began_ms) if pairs else self._session(pipe, arrival.began_ms),
            clock=self._clock,
            on_event=self._on_event,
            on_closed=self._gateway_went,
        )
        for value in values:
            self._link.receive(value)

    def _session(self, pipe: Pipe, now_ms: int) -> LockSession:
        return LockSession(
            keys=self._keys.link,
            gateway_key=self._owner.gateway_key,
            former=self._owner.former,
            ephemeral=KeyPair.from_private(self._entropy.token(DH_SIZE)),
            boot_nonce=self._boot_nonce,
            firmware=VERSION,
            session_ctr=self._flash.values.session_ctr,
            version_floor=max(PROTOCOL_VERSION, self._flash.values.version_floor),
            value_size_max=pipe.value_size_max,
            now_ms=now_ms,
            capabilities=self._capabilities(),
        )

    def _pairing(self, pipe: Pipe, now_ms: int) -> LockPairing:
        return LockPairing(
            keys=self._keys.link,
            label=self._keys.label,
            ephemeral=KeyPair.from_private(self._entropy.token(DH_SIZE)),
            boot_nonce=self._boot_nonce,
            firmware=VERSION,
            capabilities=self._capabilities(),
            version_floor=max(PROTOCOL_VERSION, self._flash.values.version_floor),
            value_size_max=pipe.value_size_max,
            now_ms=now_ms,
        )

    def _capabilities(self) -> int:
        verifies = CAPABILITY_VERIFY if self._keys.roots else 0
        return verifies | (CAPABILITY_PAIRING if self._owner.is_installable else 0)

    def _gateway_went(self) -> None:
        self._lone.gateway_went()
        self._relay.gateway_went()

    def _show_installable(self) -> None:
        self._beacon.set_installable(self._owner.is_installable)

    def _write_boot(self) -> None:
        if not self._flash.values.log_id:
            self._flash.format(self._entropy.token(LOG_ID_SIZE))
        notes, values, command = unfinished(self._flash)
        self._diary.write(
            Note(type=RecordType.BOOT), *notes, values={**values, "boot": self._diary.boot}, command=command
        )
        self._owner.take_factory_pairing()

    def _tell(self, message: Message) -> None:
        """Send to the gateway, if it is there."""
        if self._link is not None:
            self._link.send(message)

    def _on_event(self, event: Event) -> None:
        link = self._link
        if link is None:
            return
        match event:
            case StatusWanted(is_former=is_former) if isinstance(link.session, LockSession):
                self._is_former = is_former
                link.session.answer(self._answers.status(self._owner.trust, is_former=is_former))
            case Confirmed() if isinstance(link.session, LockSession):
                self._on_confirmed(event, link.session.version)
            case PairingOpened(peer_key=peer_key):
                self._peer_key = peer_key
            case RecordReceived(corr=corr, message=message):
                self._on_message(message, lambda answer: link.send(answer, corr))
            case PeerClosing(authenticated=True):
                link.close(Code.LINK_DOWN)
            case _:
                pass

    def _on_confirmed(self, event: Confirmed, version: int) -> None:
        confirm, is_former = event.confirm, self._is_former
        values = self._owner.confirmed(is_former=is_former, session_ctr=confirm.session_ctr, version=version)
        if is_former:
            self._flash.write(values=values)
            return
        notes = [Note(type=RecordType.SESSION, actor=self._flash.values.gateway_id)]
        if confirm.utc_lo_s is not None and confirm.utc_hi_s is not None:
            notes += self._set_time(confirm.utc_lo_s, confirm.utc_hi_s)
        self._diary.write(*notes, values=values)
        self._lone.gateway_came()
        self._relay.gateway_came()

    def _set_time(self, lo_s: int, hi_s: int) -> list[Note]:
        if not self._time.take_interval(lo_s, hi_s):
            return []
        before_s = self._diary.wall_s
        self._diary.set_wall(lo_s, hi_s)
        is_step = before_s is None or abs((self._diary.wall_s or 0) - before_s) > TIME_STEP_S
        return [Note(type=RecordType.TIME)] if is_step else []

    def _on_message(self, message: Message, answer: Callable[[Message], None]) -> None:
        if self._is_former and not isinstance(message, FORMER_MAY):
            answer(ErrorRecord(code=Code.RIGHTS, may_have_executed=False))
            return
        match message:
            case StateGet():
                answer(self._answers.state(State))
            case LockCommand():
                self._commands.obey(message, answer)
            case CommandQuery(command_seq=seq):
                answer(self._commands.result(seq))
            case LogRead():
                answer(self._answers.log_batch(message, is_former=self._is_former))
            case LogAck():
                self._answers.take_log_ack(message, is_former=self._is_former)
            case LogHeadRecord(head=None):
                last_seq = self._answers.view(is_former=self._is_former).last_seq
                answer(LogHeadRecord(head=self._answers.log_head(last_seq)))
            case LogHeadRecord():
                raise RemoteProtocolError(Code.MALFORMED, "a head from one that has no log here")
            case _:
                self._on_errand(message, answer)

    def _on_errand(self, message: Message, answer: Callable[[Message], None]) -> None:
        match message:
            case RelayData():
                self._relay.answered(message)
            case RelayClose():
                self._relay.closed(message)
            case Courier() | OwnerOrder() | OwnerCommit():
                self._on_owner(message, answer)
            case TimeGet():
                answer(self._time.state())
            case TimeSet(receipt=receipt):
                answer(self._take_receipt(receipt))
            case _:
                pass  # a PONG or an ERROR needs no answer

    def _on_owner(self, message: Courier | OwnerOrder | OwnerCommit, answer: Callable[[Message], None]) -> None:
        owner = (self._flash.values.gateway_key, self._flash.values.owner_epoch)
        reply = self._owner.take(message, self._peer_key)
        if reply is not None:
            answer(reply)
        if owner != (self._flash.values.gateway_key, self._flash.values.owner_epoch):
            if self._peer_key is None:
                self._is_former = True  # from here on this session only hands the log over
                self._gateway_went()
            self._show_installable()

    def _take_receipt(self, receipt: bytes) -> Message:
        try:
            time_s = receipt_time_s(
                receipt, keyset=self._owner.trust.require_keyset(), gateway_id=self._flash.values.gateway_id
            )
        except RemoteProtocolError as error:
            return ErrorRecord(code=error.code, may_have_executed=False)
        if raised := self._time.raised(time_s):
            self._diary.write(Note(type=RecordType.TIME), values=raised)
        return self._time.state()

    def _on_sensed(self, sensed: Sensed) -> None:
        kind = _SENSED.get(sensed)
        if kind is None:
            is_out = self._mechanics.bolt is Bolt.LOCKED
            kind = RecordType.KNOB_LOCKED if is_out else RecordType.KNOB_UNLOCKED
        self._diary.write(Note(type=kind))
        self._tell(self._answers.state(StateEvent))

    def _on_moved(self) -> None:
        if self._mechanics.battery_mv < BATTERY_WARNING_MV and not self._has_warned:
            self._has_warned = True
            self._diary.write(Note(type=RecordType.LOW_BATTERY, result=self._mechanics.battery_mv))
        self._tell(self._answers.state(StateEvent))
