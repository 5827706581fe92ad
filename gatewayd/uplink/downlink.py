"""Routes what comes from the broker. Everything may be hostile: what is not understood is counted and dropped."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Final

import structlog

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.relay import AnswerKind
from firmware_protocol.sealed import is_sealed
from gatewayd.channel import Channel, Submission
from gatewayd.errors import GatewayError
from gatewayd.plain_text import shown
from gatewayd.uplink.pace import Pace
from gatewayd.uplink.payloads import (
    ReplyTo,
    Request,
    Unreadable,
    answer,
    read_command,
    read_info_request,
    read_request,
    rejection,
    reply_to,
)
from gatewayd.uplink.ports import RefusedError
from gatewayd.uplink.sorting import Sorting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import NoReturn

    from firmware_protocol.topics import Topics
    from gatewayd.channel import Submit
    from gatewayd.uplink.home_assistant import Announcements
    from gatewayd.uplink.outlet import Outlet
    from gatewayd.uplink.ports import AlarmIntake, InfoSource, LogMail, Requests, SignedObjects
    from gatewayd.uplink.seals import Seals
    from gatewayd.uplink.seam import BrokerSession, Incoming

SUBMISSION_COUNT_MAX: Final = 32
"""Commands at work at once. Only what is permitted stays long, and that is bounded by the limits of the door."""
DENIED_INTERVAL_S: Final = 1.0
"""Unauthenticated answers: at most one in so many seconds, whoever asks."""
INFO_COUNT_PER_S: Final = 5
REQUEST_COUNT_PER_S: Final = 5

log = structlog.get_logger(__name__)


@unique
class Drop(StrEnum):
    """Why a message went no further."""

    TOPIC = "topic"
    """Nothing that was subscribed to."""
    RETAINED = "retained"
    """A stored copy of what must be fresh."""
    UNREADABLE = "unreadable"
    REFUSED = "refused"
    """Readable, but not signed by whom it claims, or not for us."""
    FLOOD = "flood"
    """More than is answered or worked at."""
    FAULT = "fault"
    """We failed at it ourselves."""


class MqttResponder:
    """A `channel.Responder` for one request over MQTT."""

    def __init__(
        self, reply_to: ReplyTo, send: Callable[[ReplyTo, AnswerKind, bytes], None], may_deny: Callable[[], bool]
    ) -> None:
        self._reply_to = reply_to
        self._send = send
        self._may_deny = may_deny

    async def receipt(self, raw: bytes) -> None:
        """See `Responder.receipt`."""
        self._send(self._reply_to, AnswerKind.RECEIPT, raw)

    async def info(self, raw: bytes) -> None:
        """See `Responder.info`."""
        self._send(self._reply_to, AnswerKind.INFO, raw)

    async def denied(self) -> None:
        """See `Responder.denied`."""
        if self._may_deny():
            self._send(self._reply_to, AnswerKind.DENIED, b"")


class Downlink:
    """Hands each message to whom it is for."""

    def __init__(  # noqa: PLR0913 - everybody whom a message may be for
        self,
        *,
        topics: Topics,
        submit: Submit,
        objects: SignedObjects,
        alarms: AlarmIntake,
        infos: InfoSource,
        requests: Requests,
        log_mail: LogMail,
        outlet: Outlet,
        seals: Seals,
        announcements: Announcements | None = None,
    ) -> None:
        self._announcements = announcements
        self._seals = seals
        self._topics = topics
        self._submit = submit
        self._objects = objects
        self._infos = infos
        self._requests = requests
        self._verbs = {topics.request(verb): verb for verb in requests.verbs}
        self._request_pace = Pace(burst=REQUEST_COUNT_PER_S, interval_s=1 / REQUEST_COUNT_PER_S)
        self._outlet = outlet
        self._denials = Pace(burst=1, interval_s=DENIED_INTERVAL_S)
        self._info_pace = Pace(burst=INFO_COUNT_PER_S, interval_s=1 / INFO_COUNT_PER_S)
        self._submissions: set[asyncio.Task[None]] = set()
        self._takers: Mapping[str, Callable[[bytes], Awaitable[None]]] = {
            topics.alarm: alarms.take_alarm,
            topics.log_receipt: log_mail.take_log_mail,
            topics.authority_keyset: objects.take_keyset,
            topics.authority_state: objects.take_state,
        }
        self._live_only = {topics.alarm, topics.log_receipt}
        self._folders: Mapping[str, Callable[[bytes], Awaitable[None]]] = {
            topics.authority_provider(""): objects.take_authority,
            topics.authority_grant(""): objects.take_grant,
        }
        self._sorting = Sorting(
            documents=(topics.authority_keyset, topics.authority_state, topics.authority_provider("")),
            grants=(topics.authority_grant(""),),
        )
        self.dropped: Counter[Drop] = Counter()
        """Messages that went no further, by reason, since the start."""

    async def run(self, session: BrokerSession) -> NoReturn:
        """Read the messages of one session until it ends, ahead of `work`.

        What it has brought outlives it: the broker knows it to be delivered, and an open door is not left half open
        because the internet has gone.

        Raises:
            BrokerError: the session has ended.
        """
        while True:
            await self._sorting.put(await session.next_message())

    async def work(self) -> NoReturn:
        """Route what the sessions bring, the most needed first, for ever."""
        while True:
            await self.route(await self._sorting.get())
            await asyncio.sleep(0)  # in a flood the next one is here already: the phone at the door has its turn first

    async def route(self, incoming: Incoming) -> None:
        """Handle one message; returns when it is done, but for a command, which goes on by itself. Never raises."""
        if incoming.topic == self._topics.command:
            await self._take_command(incoming)
        elif incoming.topic == self._topics.request("info"):
            await self._take_info_request(incoming)
        elif incoming.topic in self._verbs:
            await self._take_request(incoming, self._verbs[incoming.topic])
        elif self._announcements is not None and incoming.topic == self._announcements.birth_topic:
            if not incoming.retained:  # a stored one is of before this session, which wrote everything anyway
                self._announcements.take_birth(incoming.payload, asyncio.get_running_loop().time())
        else:
            await self._take_object(incoming)

    async def finish(self) -> None:
        """Wait until every command that is at work has come to its end."""
        while self._submissions:
            await asyncio.wait(self._submissions)

    async def _take_command(self, incoming: Incoming) -> None:
        if incoming.retained:
            self._reject_retained(incoming)
        elif len(self._submissions) >= SUBMISSION_COUNT_MAX:
            self._drop(Drop.FLOOD, incoming, "too many commands at once")
        else:
            request = self._read(incoming, lambda message: read_command(message, self._topics), self._topics.response)
            if request is not None:
                self._begin(request)

    def _reject_retained(self, incoming: Incoming) -> None:
        # Attack: yesterday's unlock, stored at the broker for whenever the gateway comes back.
        request = read_command(incoming, self._topics)
        if isinstance(request, Unreadable):
            self._drop(Drop.UNREADABLE, incoming, request.reason)
            return
        self._drop(Drop.RETAINED, incoming, "a command must not be retained")
        if self._may_deny():
            self._outlet.send(rejection(request.reply_to))

    def _read(
        self, incoming: Incoming, read: Callable[[Incoming], Request | Unreadable], default_topic: str
    ) -> Request | None:
        """Return the request in a message, sealed or not; drop it where there is none."""
        try:
            opened = self._seals.open(incoming.payload)
            request = read(replace(incoming, payload=opened.payload))
        except RemoteProtocolError as error:
            request = Unreadable(reason=str(error))
        else:
            if isinstance(request, Request):
                return replace(request, reply_to=replace(request.reply_to, answer_key=opened.answer_key))
        self._drop(Drop.UNREADABLE, incoming, request.reason)
        # Attack: a box that was tampered with must not be told from one that holds nonsense.
        if is_sealed(incoming.payload) and self._may_deny():
            self._send(reply_to(incoming, self._topics, default_topic), AnswerKind.DENIED, b"")
        return None

    def _send(self, reply: ReplyTo, kind: AnswerKind, body: bytes) -> None:
        self._outlet.send(self._seals.close(answer(reply, kind, body), reply.answer_key))

    def _begin(self, request: Request) -> None:
        responder = MqttResponder(request.reply_to, self._send, self._may_deny)
        submission = Submission(channel=Channel.MQTT, bundle=request.body)
        task = asyncio.get_running_loop().create_task(self._guarded_submit(submission, responder))
        self._submissions.add(task)
        task.add_done_callback(self._submissions.discard)

    async def _guarded_submit(self, submission: Submission, responder: MqttResponder) -> None:
        try:
            await self._submit(submission, responder)
        except Exception:
            # A bug behind one command must not take the next one's channel with it.
            log.exception("downlink.fault", topic=self._topics.command)
            self.dropped[Drop.FAULT] += 1

    async def _take_info_request(self, incoming: Incoming) -> None:
        request = read_info_request(incoming, self._topics)
        if isinstance(request, Unreadable):
            self._drop(Drop.UNREADABLE, incoming, request.reason)
        elif incoming.retained:
            self._drop(Drop.RETAINED, incoming, "a nonce must not be retained")
        elif not self._info_pace.allows(asyncio.get_running_loop().time()):
            self._drop(Drop.FLOOD, incoming, "more requests than are answered")
        else:
            self._send(request.reply_to, AnswerKind.INFO, self._infos.info(request.body))

    async def _take_request(self, incoming: Incoming, verb: str) -> None:
        if incoming.retained:
            self._drop(Drop.RETAINED, incoming, "a request must not be retained")
            return
        if not self._request_pace.allows(asyncio.get_running_loop().time()):
            self._drop(Drop.FLOOD, incoming, "more requests than are answered")
            return
        where = self._topics.response_to(verb)
        request = self._read(incoming, lambda message: read_request(message, self._topics, verb), where)
        if request is not None:
            reply = request.reply_to
            await self._hand_over(incoming, lambda body: self._answer_request(verb, body, reply), request.body)

    async def _answer_request(self, verb: str, body: bytes, reply: ReplyTo) -> None:
        try:
            kind, answered = await self._requests.take_request(verb, body)
        except RemoteProtocolError as error:
            if error.code in {Code.WRONG_EPOCH, Code.EXPIRED}:
                self._send(reply, AnswerKind.INFO, self._infos.info(b""))
            elif self._may_deny():
                self._send(reply, AnswerKind.DENIED, b"")
            raise
        self._send(reply, kind, answered)

    async def _take_object(self, incoming: Incoming) -> None:
        take = self._taker(incoming.topic)
        if take is None:
            self._drop(Drop.TOPIC, incoming, "nothing is taken from there")
        elif incoming.retained and incoming.topic in self._live_only:
            self._drop(Drop.RETAINED, incoming, "it must not be retained")
        elif incoming.payload:  # an empty one says that a retained object was taken away; what it said stays signed
            await self._hand_over(incoming, take)

    def _taker(self, topic: str) -> Callable[[bytes], Awaitable[None]] | None:
        folder, slash, _ = topic.rpartition("/")
        return self._takers.get(topic) or self._folders.get(folder + slash)

    async def _hand_over(
        self, incoming: Incoming, take: Callable[[bytes], Awaitable[None]], body: bytes | None = None
    ) -> None:
        try:
            await take(self._seals.open(incoming.payload).payload if body is None else body)
        except (RemoteProtocolError, RefusedError) as error:
            self._drop(Drop.REFUSED, incoming, str(error))
        except GatewayError as error:
            self._drop(Drop.FAULT, incoming, str(error))
        except Exception:
            log.exception("downlink.fault", topic=shown(incoming.topic))
            self.dropped[Drop.FAULT] += 1

    def _may_deny(self) -> bool:
        return self._denials.allows(asyncio.get_running_loop().time())

    def _drop(self, drop: Drop, incoming: Incoming, reason: str) -> None:
        self.dropped[drop] += 1
        # A line for the first, the 2nd, 4th, 8th … of a kind: a flood must not fill the disk with its own story.
        count = self.dropped[drop]
        level = log.warning if count & (count - 1) == 0 else log.debug
        level("downlink.dropped", drop=drop.value, topic=shown(incoming.topic), reason=reason, count=count)
