"""A gateway's uplink on a bench: a real journal in a real store, the office's real central log, a broker in memory."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import TYPE_CHECKING, Final, Self

from firmware_protocol.relay import AnswerKind
from firmware_protocol.topics import Topics
from firmware_protocol.vocabulary import Role
from gatewayd.journal.events import GatewayHeartbeat, TimeStamp
from gatewayd.journal.journal import Journal
from gatewayd.store import entries
from gatewayd.store.store import Store
from gatewayd.uplink.board import Board
from gatewayd.uplink.downlink import Downlink
from gatewayd.uplink.ledger import Ledger
from gatewayd.uplink.outbox import Outbox
from gatewayd.uplink.outlet import Outlet
from gatewayd.uplink.seals import Seals
from gatewayd.uplink.seam import Incoming
from gatewayd.uplink.uplink import Uplink
from simulator.central_log import CentralLog, Directory, Now
from simulator.central_store import CentralStore
from simulator.office import Office
from tests.support.manual_clock import ManualClock
from tests.support.memory_broker import MemoryBroker
from tests.support.seeded_entropy import SeededEntropy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor
    from pathlib import Path
    from types import TracebackType

    from firmware_protocol.checkpoint import Checkpoint
    from gatewayd.channel import Responder, Submission
    from gatewayd.journal.journal import Marks, SignedAt
    from gatewayd.store.store import Transaction
    from gatewayd.uplink.seam import Broker

UTC_S: Final = 1_800_000_000
"""The central log's clock when the loop starts."""
BOOT: Final = 7


class Ears:
    """Everything that the uplink tells the rest of the house, written down; stands for the door and its rooms."""

    def __init__(self) -> None:
        self.objects: list[tuple[str, bytes]] = []
        self.submissions: list[Submission] = []
        self.receipts: list[tuple[int, int, SignedAt | None]] = []
        """Time in seconds, size, when it was signed."""
        self.rolled_back_to: list[int] = []
        self.alerts: list[str] = []
        self.alert_details: dict[str, str] = {}
        self.refusal: Exception | None = None
        """What the next object is refused with."""
        self.story: Callable[[Submission, Responder], Awaitable[None]] | None = None
        """What is done about a submission."""
        self.receipt_keys: tuple[bytes, ...] = ()

    async def __call__(self, submission: Submission, responder: Responder) -> None:
        self.submissions.append(submission)
        if self.story is not None:
            await self.story(submission, responder)

    async def take_keyset(self, data: bytes) -> None:
        self._take("keyset", data)

    async def take_authority(self, data: bytes) -> None:
        self._take("authority", data)

    async def take_state(self, data: bytes) -> None:
        self._take("state", data)

    async def take_grant(self, data: bytes) -> None:
        self._take("grant", data)

    async def take_alarm(self, data: bytes) -> None:
        self._take("alarm", data)

    verbs = ("drift",)

    async def take_request(self, verb: str, bundle: bytes) -> tuple[AnswerKind, bytes]:
        self._take(f"request {verb}", bundle)
        return AnswerKind.REPORT, b"report of " + bundle

    async def receipt_accepted(self, *, time_s: int, checkpoint: Checkpoint, signed_at: SignedAt | None) -> None:
        self.receipts.append((time_s, checkpoint.size, signed_at))

    async def rolled_back(self, checkpoint: Checkpoint) -> None:
        self.rolled_back_to.append(checkpoint.size)

    async def doubted(self, code: str, detail: str) -> None:
        await self.alert(code, detail)

    async def alert(self, code: str, detail: str) -> None:
        self.alerts.append(code)
        self.alert_details[code] = detail

    def info(self, nonce: bytes) -> bytes:
        return b"info over " + nonce

    def _take(self, kind: str, data: bytes) -> None:
        if self.refusal is not None:
            refusal, self.refusal = self.refusal, None
            raise refusal
        self.objects.append((kind, data))


class CentralPost:
    """The central log's connection to the broker in memory."""

    def __init__(self, bench: UplinkBench) -> None:
        self._bench = bench
        self.log = bench.new_central()
        self.entries: list[bytes] = []
        self.checkpoint_count = 0
        self.loses_entries = 0
        """So many of the next entries are lost on the way to it."""
        self.queue_count_max: int | None = None
        """The broker holds so many entries for it, from one checkpoint to the next, and drops what is more."""
        self._queued_count = 0

    def connect(self) -> None:
        """Subscribe."""
        topics = self._bench.topics
        self._bench.broker.listen(topics.log_entries, self._take_entry)
        self._bench.broker.listen(topics.log_checkpoint, self._take_checkpoint)

    def disconnect(self) -> None:
        """Go."""
        self._bench.broker.hush(self._take_entry)
        self._bench.broker.hush(self._take_checkpoint)

    def answer(self, answer: bytes | None) -> None:
        """Publish an answer, if there is one."""
        if answer is not None:
            self._bench.broker.send(Incoming(topic=self._bench.topics.log_receipt, payload=answer, retained=False))

    def _take_entry(self, message: Incoming) -> None:
        self._queued_count += 1
        if self.queue_count_max is not None and self._queued_count > self.queue_count_max:
            return
        if self.loses_entries:
            self.loses_entries -= 1
            return
        self.entries.append(message.payload)
        self.answer(self.log.take_entry(self._bench.home.gateway_id, message.payload, self._bench.central_now()))

    def _take_checkpoint(self, message: Incoming) -> None:
        self.checkpoint_count += 1
        self._queued_count = 0
        self.answer(self.log.take_checkpoint(self._bench.home.gateway_id, message.payload, self._bench.central_now()))


class UplinkBench:
    """`async with UplinkBench(folder) as bench` in a virtual loop; nothing runs before `start`."""

    def __init__(
        self, folder: Path, *, seed: int = 1, client: Broker | None = None, executor: Executor | None = None
    ) -> None:
        """Begin; `client` and `executor` are for a real broker in real time, with the store's own thread as None."""
        self.office = Office(b"uplink")
        self.home = self.office.home("home-1")
        self.topics = Topics.of(self.home.gateway_id)
        self.broker = MemoryBroker(Random(seed))
        self.client = client or self.broker.client("gateway")
        self.ears = Ears()
        self.receipt_key = self.office.role_keys[Role.RECEIPT]
        self.ears.receipt_keys = (bytes(self.receipt_key.verify_key),)
        self.clock = ManualClock()
        self.log_id = self.office.token("log")
        self.store = Store.create(folder / "store.sqlite", log_id=self.log_id, executor=executor)
        self.journal = Journal(gateway_id=self.home.gateway_id, log_id=self.log_id, store=entries)
        self.grown = asyncio.Event()
        self.outlet = Outlet()
        self.board = Board()
        self.random = Random(seed + 1)
        self.central = CentralPost(self)
        self._task: asyncio.Task[None] | None = None
        self.build()

    def build(self) -> None:
        """Make the parts that a restart makes anew."""
        self.ledger = Ledger(
            store=self.store,
            journal=self.journal,
            key=self.home.gateway_signing_key,
            receipt_keys=self.ears,
            clock=self.clock,
            boot=BOOT,
        )
        self.outbox = Outbox(
            ledger=self.ledger, topics=self.topics, grown=self.grown, watcher=self.ears, alerts=self.ears
        )
        self.downlink = Downlink(
            topics=self.topics,
            submit=self.ears,
            objects=self.ears,
            alarms=self.ears,
            infos=self.ears,
            requests=self.ears,
            log_mail=self.outbox,
            outlet=self.outlet,
            seals=Seals(keys=self.home.gateway_link_keys, entropy=SeededEntropy(1)),
        )
        self.uplink = Uplink(
            broker=self.client,
            topics=self.topics,
            boot=BOOT,
            downlink=self.downlink,
            outbox=self.outbox,
            outlet=self.outlet,
            board=self.board,
            alerts=self.ears,
            random=self.random,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.stop()
        await self.store.close()

    def start(self) -> None:
        """Run the uplink."""
        self._task = asyncio.get_running_loop().create_task(self.uplink.run())

    async def stop(self) -> None:
        """Stop it as the daemon does."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def append(self, count: int) -> None:
        """Append heartbeats to the journal."""
        beat = GatewayHeartbeat(tier="fresh", state_seq=1, keyset_version=1)
        stamp = TimeStamp(lo_ms=UTC_S * 1_000, hi_ms=None)

        def work(tx: Transaction) -> None:
            for _ in range(count):
                self.journal.append(tx, beat, time=stamp, salt=bytes(16))

        await self.store.run(work)
        self.grown.set()

    async def marks(self) -> Marks:
        """Return how far the journal is."""
        return await self.store.run(self.journal.marks)

    async def leaves(self) -> list[bytes]:
        """Return all entries."""
        read = await self.store.run(lambda tx: self.journal.entries(tx, 0, 1_000, 10_000_000))
        return [leaf for _, leaf in read]

    async def until(self, reached: Callable[[], bool], *, within_s: float = 60) -> float:
        """Wait for something to become true and return how long it took, in virtual seconds."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while not reached():
            assert loop.time() - began_s < within_s, "it never happened"
            await asyncio.sleep(0.005 if within_s <= 600 else 0.2)
        return loop.time() - began_s

    async def until_received(self, size: int, *, within_s: float = 60) -> float:
        """Wait until the central log has signed for so many entries."""
        return await self.until(lambda: any(each[1] >= size for each in self.ears.receipts), within_s=within_s)

    def send(self, topic: str, payload: bytes, **options: object) -> bool:
        """Publish to the gateway as somebody."""
        retained = bool(options.pop("retained", False))
        message = Incoming(topic=topic, payload=payload, retained=False, **options)  # type: ignore[arg-type]  # as given
        return self.broker.send(message, retain=retained)

    def new_central(self, store: CentralStore | None = None) -> CentralLog:
        """Return an empty central log with the office's key, in memory or in `store`."""
        directory = Directory(
            gateway_keys={self.home.gateway_id: bytes(self.home.gateway_signing_key.verify_key)}, lock_log_keys={}
        )
        return CentralLog(store=store or CentralStore(), directory=directory, receipt_key=self.receipt_key)

    def central_now(self) -> Now:
        """Read the central log's clocks."""
        elapsed_s = asyncio.get_running_loop().time()
        return Now(utc_s=UTC_S + int(elapsed_s), monotonic_ms=int(elapsed_s * 1_000))
