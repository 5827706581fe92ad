"""Drains the journal to the central log: in order, at least once, until a receipt covers it.

Three marks: what the journal holds (*size*), what a broker has taken (*sent*: its word, a hint), and what the
central log has signed for (*received*: the only one that counts). As long as *received* is behind, the newest
checkpoint is offered again: a central log that missed something says from where, and that part is sent again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

from gatewayd.errors import GatewayError
from gatewayd.journal.journal import JournalError
from gatewayd.journal.receipts import ConflictRefused, ReceiptRefusal, ReceiptRefused, ResendFrom, RolledBack
from gatewayd.uplink.ledger import Received
from gatewayd.uplink.pace import Pace
from gatewayd.uplink.patience import Patience
from gatewayd.uplink.ports import RefusedError
from gatewayd.uplink.seam import PUBLISH_WINDOW_COUNT, BrokerError, Outgoing, PublishOutcome
from gatewayd.uplink.stride import Stride

if TYPE_CHECKING:
    from firmware_protocol.topics import Topics
    from gatewayd.uplink.ledger import Ledger
    from gatewayd.uplink.ports import Alerts, LogWatcher
    from gatewayd.uplink.sealing import Sealer
    from gatewayd.uplink.seam import BrokerSession

WINDOW_COUNT: Final = PUBLISH_WINDOW_COUNT - 4
"""Most entries in flight: an answer to an unlock must not queue behind a full window of a backlog."""
READ_COUNT_MAX: Final = 256
READ_SIZE_MAX: Final = 262_144
"""Entries held in memory at once, by count and by bytes, however long the journal has grown."""
PATIENCE_S_MIN: Final = 1.0
PATIENCE_S_MAX: Final = 30.0
"""Wait for a receipt before the checkpoint is offered again, and before a refused entry is tried again."""
REWIND_INTERVAL_S: Final = 1.0
"""At most one rewind in so long: a replayed conflict answer must not make us send for ever."""
FORGERIES: Final = frozenset(
    {ReceiptRefusal.NOT_OURS, ReceiptRefusal.UNKNOWN_SIGNER, ReceiptRefusal.AHEAD, ReceiptRefusal.FORK}
)
"""What no central log of ours says by mistake: somebody else writes on its topic, or it holds another history."""
ALERT_AFTER_S: Final = 30.0
"""Refused for so long, it is no restart of the central log any more, and a person must hear of it."""

log = structlog.get_logger(__name__)


class Outbox:
    """The one sender of entries and checkpoints. It outlives sessions; `run` is called with each."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        topics: Topics,
        grown: asyncio.Event,
        watcher: LogWatcher,
        alerts: Alerts,
        seal: Sealer | None = None,
    ) -> None:
        """Begin; `grown` is set by whoever appends to the journal, after the commit, and cleared here.

        With `seal` what it makes of an entry is published in the entry's place.
        """
        self._seal = seal
        self._ledger = ledger
        self._topics = topics
        self._grown = grown
        self._watcher = watcher
        self._alerts = alerts
        self._patience = Patience(min_s=PATIENCE_S_MIN, max_s=PATIENCE_S_MAX)
        self._stride = Stride()
        self._rewinds = Pace(burst=1, interval_s=REWIND_INTERVAL_S)
        self._sent: int | None = None
        """In memory it is ahead of the durable mark; None until that has been read."""
        self._rewind_to: int | None = None
        self._rewound_to: int | None = None
        """From where it was last asked for again, since the last receipt: said once, however often it is asked."""
        self._asked_again = False
        """The central log asked for entries, perhaps for ones that it had signed for: it is a new one."""
        self._offered: int | None = None
        """Size of the checkpoint that waits for its receipt."""
        self._quiet_until_s = 0.0
        """Before this neither the same checkpoint is offered again nor a refused entry tried."""
        self._entries = Refusals(alerts, "entries")
        self._checkpoints = Refusals(alerts, "checkpoints")

    async def run(self, session: BrokerSession) -> None:
        """Drain over one session until it ends.

        Raises:
            BrokerError: the session has ended.
        """
        self._answered()
        while True:
            self._grown.clear()
            await self._wait(await self._turn_or_patience(session))

    async def take_log_mail(self, data: bytes) -> None:
        """Take a receipt or a conflict answer; see `ports.LogMail`."""
        match await self._ledger.take_mail(data):
            case Received() as received:
                self._asked_again = self._asked_again and not received.covers_all
                self._stride.received(received.checkpoint.size)
                self._rewound_to = None
                self._answered()
                await self._watcher.receipt_accepted(
                    time_s=received.time_s, checkpoint=received.checkpoint, signed_at=received.signed_at
                )
            case ResendFrom(size=size):
                self.resend(size)
            case RolledBack(checkpoint=checkpoint):
                await self._watcher.rolled_back(checkpoint)
            case ReceiptRefused(code=code) | ConflictRefused(code=code):
                if code in FORGERIES:
                    await self._alerts.alert(code, "an answer that the central log cannot have given; it frees nothing")
                raise RefusedError(code, "an answer of the central log")

    def resend(self, index: int) -> None:
        """Send the entries from `index` on again, and the checkpoint over them, also what a receipt covers.

        Raises:
            RefusedError: it was asked for just before.
        """
        if not self._rewinds.allows(asyncio.get_running_loop().time()):
            raise RefusedError("conflict.too_soon", f"a resend from {index} on was asked for just before")
        self._rewind_to = index
        self._stride.lost(index)
        self._answered()

    def _answered(self) -> None:
        self._patience.reset()
        self._quiet_until_s = 0.0
        self._offered = None
        self._grown.set()

    async def _turn_or_patience(self, session: BrokerSession) -> float | None:
        try:
            return await self._turn(session)
        except BrokerError:
            raise
        except GatewayError as error:
            # A disk that fails must not cost us the session: answers and alarms still go out.
            log.warning("outbox.fault", code=error.code, detail=error.detail)
            if isinstance(error, JournalError):
                await self._watcher.doubted(error.code, error.detail)
            return self._patience.next_s()

    async def _turn(self, session: BrokerSession) -> float | None:
        """Send what there is to send; return how long to wait for an answer, None where nothing is open."""
        marks = await self._ledger.marks()
        self._sent = max(marks.oldest, marks.sent if self._sent is None else self._sent)
        if self._rewind_to is not None:
            await self._rewind(self._sent, self._rewind_to)
        is_awaited = self._offered == marks.size or (self._offered is not None and self._stride.is_over(self._sent))
        if self._quiet_s() > 0 and (self._is_refused() or is_awaited):
            return self._quiet_s()
        if not await self._drain(session, self._sent):
            return self._fall_quiet()
        return 0 if self._rewind_wanted() else await self._offer_checkpoint(session, self._sent)

    async def _rewind(self, sent: int, to: int) -> None:
        self._rewind_to = None
        rewound = await self._ledger.rewind(sent, to)
        if rewound is None:
            await self._alerts.alert("log.pruned", f"the central log asks for entry {to}, which is no longer here")
            return
        say = log.debug if rewound == self._rewound_to else log.info
        say("outbox.rewound", to=rewound)
        self._rewound_to = rewound
        self._sent, self._asked_again = rewound, True

    def _is_refused(self) -> bool:
        return self._entries.lasting or self._checkpoints.lasting

    def _rewind_wanted(self) -> bool:
        return self._rewind_to is not None

    async def _drain(self, session: BrokerSession, sent: int) -> bool:
        """Send entries up to where a checkpoint is due, or a rewind is wanted; False where the broker refused one."""
        read: deque[tuple[int, bytes]] = deque()
        window: deque[tuple[int, asyncio.Future[PublishOutcome]]] = deque()
        following, end = sent, self._stride.end(sent)
        while True:
            if self._rewind_wanted():
                read.clear()
            elif not read and following < end:
                count = min(READ_COUNT_MAX, end - following)
                read.extend(await self._ledger.entries(following, count, READ_SIZE_MAX))
                end = end if read else following  # what is appended from now on is for the next turn
            # While it is refused, the broker is asked with one entry and not with a windowful.
            while read and len(window) < (1 if self._entries.lasting else WINDOW_COUNT):
                index, leaf = read.popleft()
                payload = leaf if self._seal is None else self._seal(index, leaf)
                window.append((index, session.publish(Outgoing(topic=self._topics.log_entries, payload=payload))))
                following = index + 1
            if not window:
                return True
            index, answered = window.popleft()
            if not await self._entries.was_taken(answered):
                await asyncio.gather(*(later for _, later in window))
                return False
            self._sent = index + 1

    async def _offer_checkpoint(self, session: BrokerSession, sent: int) -> float | None:
        note = await self._ledger.offer(sent, again=self._asked_again)
        if note is not None:
            if sent != self._offered and not self._is_refused():
                self._patience.reset()
            message = Outgoing(topic=self._topics.log_checkpoint, payload=note)
            if not await self._checkpoints.was_taken(session.publish(message)):
                return self._fall_quiet()
            self._offered = sent
        if (await self._ledger.marks()).size > sent and (note is None or not self._stride.is_over(sent)):
            return 0
        return None if note is None else self._fall_quiet()

    def _fall_quiet(self) -> float:
        wait_s = self._patience.next_s()
        self._quiet_until_s = asyncio.get_running_loop().time() + wait_s
        return wait_s

    def _quiet_s(self) -> float:
        return self._quiet_until_s - asyncio.get_running_loop().time()

    async def _wait(self, wait_s: float | None) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._grown.wait()
        except TimeoutError:
            return


class Refusals:
    """Watches whether the broker takes what is published, and has somebody told where it goes on refusing."""

    def __init__(self, alerts: Alerts, what: str) -> None:
        self._alerts = alerts
        self._what = what
        self._since_s: float | None = None
        self._alerted = False

    @property
    def lasting(self) -> bool:
        """Whether the last publish was refused."""
        return self._since_s is not None

    async def was_taken(self, answered: asyncio.Future[PublishOutcome]) -> bool:
        """Tell whether a broker took a publish and somebody was there for it.

        Raises:
            BrokerError: the session ended first.
        """
        outcome = await answered
        if outcome is PublishOutcome.DELIVERED:
            self._since_s, self._alerted = None, False
            return True
        now_s = asyncio.get_running_loop().time()
        if self._since_s is None:
            self._since_s = now_s
            log.warning("outbox.refused", what=self._what, outcome=outcome.value)
        elif now_s - self._since_s >= ALERT_AFTER_S and not self._alerted:
            self._alerted = True
            await self._alerts.alert(f"log.{outcome.value}", f"the central log does not get our {self._what}")
        return False
