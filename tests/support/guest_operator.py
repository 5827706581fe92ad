"""An operator who gives many commands under few alarms: what is slow in a guest is done once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.vocabulary import COMMAND_ID_SIZE, CTI_SIZE
from simulator.office import unlock_over_mqtt
from tests.support.errands import Errand

if TYPE_CHECKING:
    from simulator.alarm_centre import AlarmCentre, Standing
    from tests.support.real_home import RealHome

ALARM_TTL_S: Final = 30
COMMAND_MS_MAX: Final = 30_000
"""How long an answer is waited for, in milliseconds; what is late here says nothing of a real gateway."""
STANDING_MS_MAX: Final = 20_000
"""How old the gateway's word about its clock may be, in milliseconds."""


class GuestOperator:
    """At the alarm centre; a person of that name, with a budget of their own."""

    def __init__(self, home: RealHome, centre: AlarmCentre, *, name: str) -> None:
        self._home = home
        self._centre = centre
        self._holder = home.people.office.operator(name, now_s=home.people.now_s)
        self._standing: Standing | None = None
        self._alarm_ref = b""

    async def unlock(self) -> Errand:
        """Send one new command and wait for its end."""
        people, home, centre = self._home.people, self._home.people.home, self._centre
        standing = await self._stand()
        bundle = unlock_over_mqtt(
            self._holder,
            home,
            epoch=standing.epoch_of(home.lock_id),
            issued_s=standing.now_s(home.lock_id, centre.now_ms()),
            command_id=people.entropy.token(COMMAND_ID_SIZE),
            now_s=people.now_s,
            alarm_ref=self._alarm_ref,
        )
        errand = Errand(bundle=bundle)
        errand.take(await centre.command(bundle, patience_ms=COMMAND_MS_MAX))
        return errand

    async def _stand(self) -> Standing:
        if self._standing is not None and self._centre.now_ms() - self._standing.heard_ms < STANDING_MS_MAX:
            return self._standing
        people, home = self._home.people, self._home.people.home
        self._standing = await self._centre.ask_info(patience_ms=COMMAND_MS_MAX)
        assert self._standing is not None, "the gateway does not say where it stands"
        if not self._alarm_ref:
            self._alarm_ref = people.entropy.token(CTI_SIZE)
            now_s = self._standing.now_s(home.lock_id, self._centre.now_ms())
            epoch = self._standing.epoch_of(home.lock_id)
            alarm = people.office.alarm(home, alarm_ref=self._alarm_ref, epoch=epoch, exp_s=now_s + ALARM_TTL_S)
            await self._centre.raise_alarm(alarm)
            await self._centre.ask_info(patience_ms=COMMAND_MS_MAX)  # with this answer the alarm is on disk
        return self._standing
