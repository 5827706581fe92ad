"""A broker in memory for virtual time: several clients, retained messages, wills, seeded latency and faults.

Everything waits through the running loop and all chance comes from the caller's `Random`, so one seed is one
trace. It keeps nothing over a stop, as mosquitto without persistence; what it acknowledged is then gone.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gatewayd.uplink.inbox import Inbox
from gatewayd.uplink.seam import (
    Broker,
    BrokerCode,
    BrokerError,
    BrokerSession,
    Incoming,
    Outgoing,
    PublishOutcome,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

CONNECT_S_MAX: Final = 15.0
"""How long connecting to a broker that does not answer takes, in virtual seconds."""


@dataclass(frozen=True)
class Subscription:
    """One filter and who gets what matches it."""

    filter: str
    deliver: Callable[[Incoming], None]


class MemoryBroker:
    """The broker itself, the world's side: listeners, publishers and faults."""

    def __init__(self, random: Random, *, latency_ms: tuple[float, float] = (1, 20)) -> None:
        self._random = random
        self._latency_ms = latency_ms
        self._running = True
        self._black_hole = False
        self._sessions: dict[str, MemorySession] = {}
        self._listeners: list[Subscription] = []
        self.retained: dict[str, bytes] = {}
        self.refused_topics: set[str] = set()
        """Topics whose publishes get a PUBACK of refusal, and filters whose subscriptions are not granted."""
        self.reports_no_subscribers = True
        """MQTT 5; a 3.1.1 broker says DELIVERED also where nobody listens."""
        self.connect_count = 0
        self.publish_counts: Counter[str] = Counter()
        """Publishes by clients, by topic, whatever became of them."""

    # The world's side.

    def client(self, client_id: str) -> Broker:
        """Return the seam for one client; two with the same id throw each other out."""
        return MemoryClient(self, client_id)

    def listen(self, topic_filter: str, deliver: Callable[[Incoming], None]) -> None:
        """Subscribe somebody of the world's: always connected, gets retained messages as any subscriber."""
        self._listeners.append(Subscription(topic_filter, deliver))
        for topic, payload in self.retained.items():
            if matches(topic_filter, topic):
                deliver(Incoming(topic=topic, payload=payload, retained=True))

    def hush(self, deliver: Callable[[Incoming], None]) -> None:
        """Unsubscribe somebody of the world's from everything."""
        self._listeners = [listener for listener in self._listeners if listener.deliver != deliver]

    def send(self, message: Incoming, *, retain: bool = False) -> bool:
        """Publish as somebody of the world's; False where nobody gets it. Does nothing while stopped."""
        if not self._running:
            return False
        if retain:
            self._retain(message.topic, message.payload)
        return self._route(replace(message, retained=False))

    # Faults.

    def stop(self) -> None:
        """Kill the broker: all sessions end without a word, nothing retained is kept."""
        self._running = False
        self.retained.clear()
        for session in list(self._sessions.values()):
            session.end(BrokerCode.LOST, "the broker is gone")
        self._sessions.clear()

    def start(self) -> None:
        """Run again."""
        self._running = True

    def drop(self, client_id: str) -> None:
        """Cut one client's connection; its will is published."""
        session = self._sessions.get(client_id)
        if session is not None:
            self.forget(session, publish_will=True)
            session.end(BrokerCode.LOST, "the connection ended")

    def set_black_hole(self, black_hole: bool) -> None:  # noqa: FBT001 - a setter of one flag
        """Let everything that is sent vanish, while connections look alive."""
        self._black_hole = black_hole

    # What clients use.

    async def accept(self, client_id: str, will: Outgoing) -> MemorySession:
        """Open a session; one with the same id ends."""
        await asyncio.sleep(self.delay_s())
        if self._black_hole:
            await asyncio.sleep(CONNECT_S_MAX)
            raise BrokerError(BrokerCode.TIMEOUT, "no answer")
        if not self._running:
            raise BrokerError(BrokerCode.UNREACHABLE, "nothing listens")
        self.connect_count += 1
        earlier = self._sessions.get(client_id)
        if earlier is not None:
            self.forget(earlier, publish_will=True)
            earlier.end(BrokerCode.TAKEN_OVER, "Session taken over")
        session = MemorySession(self, client_id, will)
        self._sessions[client_id] = session
        return session

    def forget(self, session: MemorySession, *, publish_will: bool) -> None:
        """End the broker's side of a session."""
        if self._sessions.get(session.client_id) is session:
            del self._sessions[session.client_id]
            if publish_will and self._running:
                self.take(session.will)

    def take(self, message: Outgoing) -> PublishOutcome:
        """Take a publish of a client's."""
        self.publish_counts[message.topic] += 1
        if message.topic in self.refused_topics:
            return PublishOutcome.REFUSED
        if message.retain:
            self._retain(message.topic, message.payload)
        heard = self._route(
            Incoming(topic=message.topic, payload=message.payload, retained=False, correlation=message.correlation)
        )
        if heard or not self.reports_no_subscribers:
            return PublishOutcome.DELIVERED
        return PublishOutcome.NO_SUBSCRIBERS

    def delay_s(self) -> float:
        """Return how long the next thing takes on its way, in seconds."""
        return self._random.uniform(*self._latency_ms) / 1_000

    @property
    def swallows(self) -> bool:
        """Whether what is sent vanishes."""
        return self._black_hole

    def _retain(self, topic: str, payload: bytes) -> None:
        if payload:
            self.retained[topic] = payload
        else:
            self.retained.pop(topic, None)

    def _route(self, message: Incoming) -> bool:
        hearing = [each.deliver for each in self._listeners if matches(each.filter, message.topic)]
        hearing.extend(each.deliver for each in self._sessions.values() if each.wants(message.topic))
        for deliver in hearing:
            deliver(message)
        return bool(hearing)


class MemoryClient:
    """A `seam.Broker`."""

    def __init__(self, broker: MemoryBroker, client_id: str) -> None:
        self._broker = broker
        self._client_id = client_id

    async def connect(self, will: Outgoing) -> BrokerSession:
        """See `Broker.connect`."""
        return await self._broker.accept(self._client_id, will)


class MemorySession:
    """A `seam.BrokerSession`."""

    def __init__(self, broker: MemoryBroker, client_id: str, will: Outgoing) -> None:
        self._broker = broker
        self.client_id = client_id
        self.will = will
        self.filters: list[str] = []
        self._prefixes: tuple[str, ...] = ()
        self._inbox = Inbox(lambda: None)
        self._up = Line(broker)
        self._down = Line(broker)
        self._unanswered: set[asyncio.Future[PublishOutcome]] = set()
        self._ended: BrokerError | None = None

    async def subscribe(self, filters: Sequence[str]) -> None:
        """See `BrokerSession.subscribe`."""
        self._raise_if_ended()
        await asyncio.sleep(self._broker.delay_s())
        self._raise_if_ended()
        refused = [name for name in filters if name in self._broker.refused_topics]
        if refused:
            raise BrokerError(BrokerCode.NOT_PERMITTED, f"not granted: {', '.join(refused)}")
        self.filters.extend(filters)
        self._prefixes = tuple(each.partition("+")[0].partition("#")[0] for each in self.filters)
        for name in filters:
            for topic, payload in self._broker.retained.items():
                if matches(name, topic):
                    self.deliver(Incoming(topic=topic, payload=payload, retained=True))

    def publish(self, message: Outgoing) -> asyncio.Future[PublishOutcome]:
        """See `BrokerSession.publish`."""
        answered: asyncio.Future[PublishOutcome] = asyncio.get_running_loop().create_future()
        if self._ended is not None:
            _fail(answered, self._ended)
        else:
            self._unanswered.add(answered)
            self._up.send(lambda: self._arrive(message, answered))
        return answered

    async def next_message(self) -> Incoming:
        """See `BrokerSession.next_message`."""
        return await self._inbox.get()

    async def close(self) -> None:
        """See `BrokerSession.close`."""
        if self._ended is None:
            self._broker.forget(self, publish_will=False)
            self.end(BrokerCode.CLOSED, "closed here")

    def wants(self, topic: str) -> bool:
        """Tell whether the client has subscribed to this topic."""
        # A thousand clients ask this of each message: most are not of their part of the tree.
        return topic.startswith(self._prefixes) and any(matches(each, topic) for each in self.filters)

    def deliver(self, message: Incoming) -> None:
        """Send a message down to the client."""
        self._down.send(lambda: self._inbox.put(message) if self._ended is None else None)

    def end(self, code: BrokerCode, detail: str) -> None:
        """End the session on the client's side now; what is on its way is lost."""
        if self._ended is None:
            self._ended = BrokerError(code, detail)
            self._inbox.end(code, detail)
            for answered in self._unanswered:
                _fail(answered, self._ended)
            self._unanswered.clear()

    def _arrive(self, message: Outgoing, answered: asyncio.Future[PublishOutcome]) -> None:
        if self._ended is None:
            outcome = self._broker.take(message)
            self._down.send(lambda: self._answer(answered, outcome))

    def _answer(self, answered: asyncio.Future[PublishOutcome], outcome: PublishOutcome) -> None:
        self._unanswered.discard(answered)
        if not answered.done():
            answered.set_result(outcome)

    def _raise_if_ended(self) -> None:
        if self._ended is not None:
            raise BrokerError(self._ended.broker_code, self._ended.detail)


class Line:
    """One direction of a connection: things take their time, but never overtake each other."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._steps: deque[Callable[[], None]] = deque()
        self._latest_s = 0.0

    def send(self, step: Callable[[], None]) -> None:
        """Do `step` when what was sent has arrived; never, where it is swallowed."""
        if self._broker.swallows:
            return
        loop = asyncio.get_running_loop()
        self._steps.append(step)
        self._latest_s = max(loop.time() + self._broker.delay_s(), self._latest_s)
        # The timer takes the oldest, whichever that is: the loop does not keep the order of equal times.
        loop.call_at(self._latest_s, self._arrive)

    def _arrive(self) -> None:
        self._steps.popleft()()


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a filter with `+` and a final `#` covers a topic."""
    levels, wanted = topic.split("/"), topic_filter.split("/")
    if wanted[-1] == "#":
        return len(levels) >= len(wanted) - 1 and matches("/".join(wanted[:-1]), "/".join(levels[: len(wanted) - 1]))
    return len(levels) == len(wanted) and all(name in ("+", level) for name, level in zip(wanted, levels, strict=True))


def _fail(answered: asyncio.Future[PublishOutcome], error: BrokerError) -> None:
    if not answered.done():
        answered.set_exception(BrokerError(error.broker_code, error.detail))
        answered.exception()  # nobody need be waiting
