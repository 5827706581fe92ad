"""Takes the alarm intake's word that an alarm is open for a home, or closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from firmware_protocol.chains import open_by_role
from firmware_protocol.codes import Code
from firmware_protocol.commands import Alarm
from firmware_protocol.constants import UNLOCK_TTL_S_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.vocabulary import Role
from gatewayd.journal.events import AlarmClosed, AlarmOpened
from gatewayd.store import alarms

if TYPE_CHECKING:
    from gatewayd.access.freshness import Epochs
    from gatewayd.recorder import Page, Recorder
    from gatewayd.roll import Roll
    from gatewayd.timekeeping import Clock
    from gatewayd.trust_keeper import TrustKeeper

OPEN_MS: Final = 60 * 60 * 1_000
"""An accepted alarm stays open so long on CLOCK_BOOTTIME, or until it is closed."""
SHUT_MS: Final = (UNLOCK_TTL_S_MAX + 1) * 1_000
"""So long after its end an opening that was signed before it could be played again; the epoch's second is rounded."""
SHUT_COUNT_MAX: Final = 256
"""Most ends remembered for that; the first goes. The intake alone signs them."""


class AlarmMemory(Protocol):
    """Remembers accepted alarms beside the disk."""

    def note_alarm(self, alarm: Alarm, until_ms: int) -> None:
        """Remember it: open until this reading of CLOCK_BOOTTIME, or closed."""

    def note_alarm_kept(self, alarm: Alarm) -> None:
        """The disk has it."""


class AlarmDesk:
    """The one place where alarms are opened and closed (implements `uplink.ports.AlarmIntake`)."""

    def __init__(
        self,
        *,
        gateway_id: bytes,
        roll: Roll,
        clock: Clock,
        epochs: Epochs,
        trust: TrustKeeper,
        recorder: Recorder,
        memory: AlarmMemory,
    ) -> None:
        """`memory` hears of every accepted alarm: a disk that fails must not make anybody forget it."""
        self._gateway_id = gateway_id
        self._roll = roll
        self._clock = clock
        self._epochs = epochs
        self._trust = trust
        self._recorder = recorder
        self._memory = memory
        self._shut_until_ms: dict[tuple[bytes, bytes], int] = {}
        """By lock and alarm. No restart need keep it: it begins another epoch."""

    async def take_alarm(self, data: bytes) -> None:
        """Open or close an alarm; the same word twice changes nothing.

        Raises:
            RemoteProtocolError: not signed by the intake role (never the alarm role's key: whoever answers an
                alarm must not be able to invent it), for another home, not of now, or over already.
            StoreError: it could not be kept, and holds until the next start.
        """
        alarm = open_by_role(Alarm, data, keyset=self._trust.require_keyset(), role=Role.INTAKE)
        boottime_ms = self._clock.now().boottime_ms
        self._check(alarm, boottime_ms)
        self._note_end(alarm, boottime_ms)
        until_ms = boottime_ms + OPEN_MS
        self._memory.note_alarm(alarm, until_ms)
        await self._recorder.run(lambda page: keep_alarm(page, alarm, boottime_ms=boottime_ms, until_ms=until_ms))
        self._memory.note_alarm_kept(alarm)

    def _check(self, alarm: Alarm, boottime_ms: int) -> None:
        epoch = self._epochs.current
        now_s = epoch.now_s(boottime_ms)
        if alarm.gateway_id != self._gateway_id or alarm.lock_id not in self._roll.lock_ids:
            raise RemoteProtocolError(Code.WRONG_AUDIENCE, "an alarm for another home")
        if alarm.epoch != epoch.value:
            raise RemoteProtocolError(Code.WRONG_EPOCH, "an alarm of an earlier start")
        if now_s >= alarm.exp_s:
            raise RemoteProtocolError(Code.EXPIRED, "an alarm that waited too long")
        if alarm.exp_s - now_s > UNLOCK_TTL_S_MAX:
            raise RemoteProtocolError(Code.TTL_TOO_LONG, "an alarm for later")

    def _note_end(self, alarm: Alarm, boottime_ms: int) -> None:
        # Attack: a broker plays the opening again after the end, and one operator suffices for another hour.
        key = (alarm.lock_id, alarm.alarm_ref)
        if alarm.opens:
            if boottime_ms < self._shut_until_ms.get(key, boottime_ms):
                raise RemoteProtocolError(Code.SUPERSEDED, "an alarm that has just ended")
            return
        self._shut_until_ms.pop(key, None)
        self._shut_until_ms[key] = boottime_ms + SHUT_MS
        while len(self._shut_until_ms) > SHUT_COUNT_MAX:
            del self._shut_until_ms[next(iter(self._shut_until_ms))]


def keep_alarm(page: Page, alarm: Alarm, *, boottime_ms: int, until_ms: int) -> None:
    """Open the alarm until `until_ms`, or close it; the same word twice changes nothing."""
    held = alarms.is_open(page.tx, alarm.lock_id, alarm.alarm_ref, boottime_ms)
    if alarm.opens and not held and boottime_ms < until_ms:
        alarms.prune_alarms(page.tx, boottime_ms)
        alarms.open_alarm(page.tx, alarm.lock_id, alarm.alarm_ref, until_ms)
        page.append(AlarmOpened(lock_id=alarm.lock_id, ref=alarm.alarm_ref.hex(), priority=True))
    elif held and not alarm.opens:
        alarms.close_alarm(page.tx, alarm.lock_id, alarm.alarm_ref)
        page.append(AlarmClosed(lock_id=alarm.lock_id, ref=alarm.alarm_ref.hex(), priority=True))
