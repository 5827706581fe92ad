"""A scripted lock behind a supervised link, in virtual time."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from nacl.signing import SigningKey

from gatewayd.link.adapter import Adapter
from gatewayd.link.ports import LockTarget
from gatewayd.link.supervisor import LinkSupervisor
from tests.support.link_home import Desk, Diary, HomeWaits, MemoryLedger
from tests.support.manual_clock import ManualClock
from tests.support.memory_radio import MemoryRadio
from tests.support.scripted_lock import ScriptedLock
from tests.support.seeded_entropy import SeededEntropy
from tests.support.session_pair import GATEWAY_KEYS, LOCK_KEYS

if TYPE_CHECKING:
    from gatewayd.link.radio import Radio

LOCK_ID = b"scripted"
LOG_KEY = SigningKey(bytes(32))


class ScriptedHome(HomeWaits):
    """Make it in a running loop. `make_link` may be given a radio of a worse kind."""

    def __init__(self, *, seed: int = 1) -> None:
        self.random = Random(seed)
        self.entropy = SeededEntropy(seed)
        self.clock = ManualClock()
        self.lock = ScriptedLock()
        self.radio = MemoryRadio(self.lock, self.random)
        self.ledger = MemoryLedger()
        self.diary = Diary()
        self.desk = Desk()
        self.adapter = Adapter(radio=self.radio, ledger=self.ledger, clock=self.clock)
        self.link = self.make_link()

    def make_link(self, radio: Radio | None = None) -> LinkSupervisor:
        """Return a new supervisor."""
        return LinkSupervisor(
            target=LockTarget(
                lock_id=LOCK_ID, lock_key=LOCK_KEYS.public, log_key=bytes(LOG_KEY.verify_key), address=None
            ),
            keys=GATEWAY_KEYS,
            adapter=Adapter(radio=radio, ledger=self.ledger, clock=self.clock) if radio else self.adapter,
            ledger=self.ledger,
            listener=self.diary,
            submit=self.desk,
            clock=self.clock,
            entropy=self.entropy,
            random=self.random,
        )
