"""A whole world in memory on virtual time: one home's gateway, its lock, a phone, a broker, the central log.

Everything but radio, broker and clocks is the real thing: the gateway's house on a real SQLite file, the
lock's firmware, the central log. One seed is one trace.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.chains import verify_keyset
from firmware_protocol.noise import KeyPair
from firmware_protocol.relay import AnswerKind, RelayAnswer
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import CommandReceipt, GatewayInfo
from firmware_protocol.topics import Topics
from firmware_protocol.vocabulary import Action, Bolt, Role
from gatewayd.foundation import Plan, Seams
from gatewayd.house import House, open_house
from gatewayd.identity import Identity
from gatewayd.link.radio import RadioError
from gatewayd.provisioning.intake import take_in
from gatewayd.provisioning.papers import Papers
from gatewayd.settings import LimitSettings
from gatewayd.store.store import Store
from gatewayd.uplink.seam import Incoming
from simulator.central_log import CentralLog, Directory, Now
from simulator.central_store import CentralStore
from simulator.flash import Flash
from simulator.flash_media import MemoryMedium
from simulator.lock import SimulatedLock
from simulator.lock_keys import LockKeys
from simulator.mechanics import Mechanics
from simulator.office import Holder, Office, unlock_at_door, unlock_over_mqtt, unlock_together
from simulator.phone import Phone, verify_door
from simulator.seams import LoopScheduler
from tests.support.faulty_disk import FaultyDisk
from tests.support.hanging_executor import HangingExecutor
from tests.support.inline_executor import InlineExecutor
from tests.support.manual_clock import ManualClock
from tests.support.memory_broker import MemoryBroker
from tests.support.memory_radio import MemoryRadio
from tests.support.schema_documents import problem_of
from tests.support.seeded_entropy import SeededEntropy
from tests.support.virtual_loop import START_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nacl.public import PrivateKey

    from gatewayd.link.radio import SurveyingRadio
    from simulator.phone import LockLink as PhoneLink
    from simulator.phone import Visit

NOW_S: Final = 1_800_000_000
"""UTC when the world begins, in 2027."""
PROVIDER: Final = "north-care"
MOTOR_MS: Final = 800


class MemoryWorld:
    """Made inside a running virtual loop."""

    def __init__(
        self, folder: Path, seed: int, *, unsealing_key: PrivateKey | None = None, limits: LimitSettings | None = None
    ) -> None:
        self.random = Random(seed)
        self.entropy = SeededEntropy(seed)
        self.clock = ManualClock()
        self.office = Office(seed.to_bytes(8, "big"))
        self.home = self.office.home("home-1")
        self.keyset = self.office.keyset(now_s=NOW_S)
        self.door = self.office.door(self.home)
        self.topics = Topics.of(self.home.gateway_id)
        self.store_path = folder / f"gateway-{seed}.sqlite"
        self.limits = limits or LimitSettings()
        self.machine_boot = "the first boot"
        self.addresses: dict[bytes, str] = {}
        """Where the configuration says that locks are."""
        self.disk = FaultyDisk(f"disk-{folder}-{seed}")
        self.executor = HangingExecutor()
        self.mechanics = Mechanics(LoopScheduler(), motor_ms=MOTOR_MS)
        self.lock = self._lock()
        self.radio = MemoryRadio(self.lock, self.random)
        self.lock.attach_beacon(self.radio)
        self.broker = MemoryBroker(self.random)
        self.central_store = CentralStore()
        self.central = CentralLog(
            store=self.central_store,
            directory=self._directory(),
            receipt_key=self.office.role_keys[Role.RECEIPT],
            unsealing_key=unsealing_key,
        )
        self.discovery_prefix: str | None = None
        self.seal_to = None if unsealing_key is None else bytes(unsealing_key.public_key)
        self.trace: list[str] = []
        """Every message over the broker, with the moment."""
        self.house: House | None = None
        self.answers: list[RelayAnswer] = []
        """What came on the gateway's `response` topics."""
        self._store: Store | None = None
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._listen()

    def utc_s(self) -> int:
        """The true time."""
        return NOW_S + int(asyncio.get_running_loop().time()) - START_S

    # The radio: a world on another rung has another one.

    link_faults: tuple[type[Exception], ...] = (RadioError,)
    """What the phones' links raise when they are gone."""

    def gateway_radio(self) -> SurveyingRadio:
        """Return the radio of a program that starts on the gateway."""
        return self.radio

    async def lose_radio(self) -> None:
        """End that radio with its program, which gets no last word."""
        self.radio.drop_link()

    async def connect_phone(self) -> PhoneLink:
        """Connect a phone to the lock."""
        return self.radio.connect_phone()

    # The gateway.

    async def make_store(self) -> None:
        """Make an empty store."""
        await Store.create(self.store_path, log_id=self.entropy.token(16), executor=InlineExecutor()).close()

    async def plant_door(self, door: bytes) -> None:
        """Write a signed Door into the store of a stopped gateway, past the provisioning."""
        store = Store.open(self.store_path, executor=InlineExecutor())
        await store.run(lambda tx: tx.execute("UPDATE lock_homes SET door = ?", (door,)))
        await store.close()

    async def provision(self, *, owner_epoch: int = 1) -> None:
        """Take the home's papers in, as an installer does; make the store if there is none."""
        if not self.store_path.exists():
            await self.make_store()
        papers = Papers.model_construct(
            keyset=self.keyset,
            authorities=(self.office.authority(self.home, PROVIDER, now_s=NOW_S),),
            state=self.office.state(self.home, now_s=NOW_S),
            doors=(self.door,),
            pairing_orders=(self.office.pairing_order(self.home, now_s=NOW_S, owner_epoch=owner_epoch),),
        )
        await self.take_papers(papers)

    async def take_papers(self, *every: Papers) -> None:
        """Take papers into the store, one after the other, while no daemon has it."""
        store = Store.open(self.store_path, executor=InlineExecutor())
        try:
            for papers in every:
                await take_in(
                    papers,
                    store,
                    identity=self.identity,
                    roots=self.office.root_public_keys,
                    clock=self.clock,
                    entropy=self.entropy,
                    machine_boot=self.machine_boot,
                )
        finally:
            await store.close()

    @property
    def identity(self) -> Identity:
        return Identity(signing_key=self.home.gateway_signing_key, link_keys=self.home.gateway_link_keys)

    async def start_gateway(self) -> House:
        """Start the daemon's house on the store; when it stops by its own will it is started again, as by systemd."""
        self.house = await self._open()
        self._running = asyncio.create_task(self._live(self.house))
        return self.house

    async def _live(self, house: House) -> None:
        await house.run(self._stop)
        while house.must_restart:
            await self._close()
            self.house = house = await self._open()
            await house.run(self._stop)

    async def _open(self) -> House:
        self._store = Store.open(self.store_path, executor=self.executor, vfs=self.disk.name)
        seams = Seams(
            store=self._store,
            radio=self.gateway_radio(),
            broker=self.broker.client("gateway"),
            clock=self.clock,
            entropy=self.entropy,
            random=self.random,
            machine_boot=self.machine_boot,
        )
        plan = Plan(
            identity=self.identity,
            roots=self.office.root_public_keys,
            limits=self.limits,
            seal_to=self.seal_to,
            discovery_prefix=self.discovery_prefix,
            addresses=self.addresses,
        )
        self._stop = asyncio.Event()
        return await open_house(seams, plan)

    async def stop_gateway(self) -> None:
        """Stop it as systemd does."""
        self._stop.set()
        if self._running is not None:
            await self._running
        await self.lose_radio()
        await self._leave()

    async def kill_gateway(self) -> None:
        """End it as SIGKILL does: nothing gets a last word."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
        await self.lose_radio()
        self.broker.drop("gateway")
        await self._leave()

    async def _leave(self) -> None:
        await self._close()
        self.house, self._running = None, None

    async def _close(self) -> None:
        if self._store is not None:
            await self._store.close()  # on a disk that takes nothing the log stays as it is
        self._store = None

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[House]:
        """A provisioned gateway for the length of a block."""
        await self.provision()
        try:
            yield await self.start_gateway()
        finally:
            await self.kill_gateway()

    async def settled(self, *, within_s: float = 300) -> None:
        """Wait until the lock is within reach and the central log has signed for everything.

        Raises:
            TimeoutError: it did not come to that.
        """
        async with asyncio.timeout(within_s):
            while not await self.is_settled():
                await asyncio.sleep(0.1)

    async def is_settled(self) -> bool:
        """Whether the lock is within reach and nothing is owed to the central log."""
        if self.house is None or not all(link.ready for link in self.house.links.values()):
            return False
        marks = await self.house.ledger.marks()
        return marks.size == marks.received

    # People.

    def carer(self, person: str = "anna", **grant: object) -> Holder:
        """Return a carer on shift."""
        options = {"now_s": self.utc_s()} | grant
        signed = self.office.grant(self.home, PROVIDER, person, **options)  # type: ignore[arg-type]  # forwarded
        return self.office.carer(self.home, PROVIDER, person, now_s=self.utc_s(), grant=signed)

    async def visit(self, holder: Holder) -> Visit:
        """Let a carer unlock at the door, over the lock's relay."""
        return await self.visit_with(lambda challenge: self.unlock_bundle(holder, challenge))

    def unlock_bundle(self, holder: Holder, challenge: bytes, *, action: Action = Action.UNLOCK) -> bytes:
        """Return a new command of this carer's over a challenge, with its whole chain."""
        return unlock_at_door(
            holder,
            self.home,
            challenge=challenge,
            command_id=self.entropy.token(16),
            now_s=self.utc_s(),
            action=action,
        )

    async def visit_with(self, make_bundle: object) -> Visit:
        """Let a phone bring any bundle to the door."""
        phone = Phone(
            door=verify_door(self.door, keyset=verify_keyset(self.keyset, roots=self.office.root_public_keys)),
            new_ephemeral=lambda: KeyPair.from_private(self.entropy.token(32)),
            link_faults=self.link_faults,
        )
        return await phone.visit(await self.connect_phone(), make_bundle)  # type: ignore[arg-type]  # forwarded

    async def ask_info(self) -> GatewayInfo:
        """Ask the gateway where it stands, as the alarm centre does."""
        nonce = self.entropy.token(16)
        self.send(self.topics.request("info"), nonce)
        answer = await self.next_answer(AnswerKind.INFO)
        info = open_signed(GatewayInfo, answer.body, bytes(self.home.gateway_signing_key.verify_key))
        if info.nonce != nonce:
            raise ValueError("an info over another nonce")
        return info

    async def raise_alarm(self) -> bytes:
        """Let the intake open an alarm and return its reference."""
        info, alarm_ref = await self.ask_info(), self.entropy.token(16)
        place = info.locks[0]
        self.send(
            self.topics.alarm,
            self.office.alarm(self.home, alarm_ref=alarm_ref, epoch=place.epoch, exp_s=place.now_s + 30),
        )
        return alarm_ref

    async def close_alarm(self, alarm_ref: bytes) -> None:
        """Let the intake close an alarm."""
        place = (await self.ask_info()).locks[0]
        self.send(
            self.topics.alarm,
            self.office.alarm(self.home, alarm_ref=alarm_ref, epoch=place.epoch, exp_s=place.now_s + 30, opens=False),
        )

    async def unlock_from_centre(self, *, alarm_ref: bytes | None, operator: str = "olga") -> list[CommandReceipt]:
        """Let an operator unlock over MQTT and return the receipts that came."""
        info = await self.ask_info()
        bundle = unlock_over_mqtt(
            self.office.operator(operator, now_s=self.utc_s()),
            self.home,
            epoch=info.locks[0].epoch,
            issued_s=info.locks[0].now_s,
            command_id=self.entropy.token(16),
            now_s=self.utc_s(),
            alarm_ref=alarm_ref,
        )
        return await self.command(bundle)

    async def unlock_together(self, first: str = "olga", second: str = "otto") -> list[CommandReceipt]:
        """Let two operators unlock over MQTT where no alarm is open, and return the receipts that came."""
        info, now_s = await self.ask_info(), self.utc_s()
        bundle = unlock_together(
            self.office.operator(first, now_s=now_s),
            self.office.operator(second, now_s=now_s),
            self.home,
            epoch=info.locks[0].epoch,
            issued_s=info.locks[0].now_s,
            command_id=self.entropy.token(16),
            now_s=now_s,
        )
        return await self.command(bundle)

    async def command(self, bundle: bytes) -> list[CommandReceipt]:
        """Send a bundle over MQTT and return the receipts that came."""
        self.send(self.topics.command, bundle)
        receipts = [await self.next_receipt()]
        if receipts[0].code.dotted == "outcome.permitted":
            receipts.append(await self.next_receipt())
        return receipts

    async def next_receipt(self) -> CommandReceipt:
        """Return the next receipt on the response topics."""
        answer = await self.next_answer(AnswerKind.RECEIPT)
        return open_signed(CommandReceipt, answer.body, bytes(self.home.gateway_signing_key.verify_key))

    async def next_answer(self, kind: AnswerKind) -> RelayAnswer:
        """Return the next answer of a kind, within 30 virtual seconds."""
        async with asyncio.timeout(30):
            while True:
                for position, answer in enumerate(self.answers):
                    if answer.kind is kind:
                        return self.answers.pop(position)
                await asyncio.sleep(0.01)

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish as somebody of the world's."""
        self.broker.send(Incoming(topic=topic, payload=payload, retained=False), retain=retain)

    def relock(self) -> None:
        """Let a hand inside turn the knob, if the bolt is withdrawn."""
        if self.mechanics.bolt is Bolt.UNLOCKED:
            self.mechanics.hand_turns_knob()

    # Truth.

    @property
    def command_movements(self) -> list[bytes]:
        """The command ids that the motor has moved for, in order."""
        return [movement.command_id for movement in self.mechanics.movements if movement.command_id is not None]

    def events(self) -> list[dict[str, Any]]:
        """What the central log has verified, in order."""
        (held,) = self.central_store.logs()
        indexes = range(held.frontier.size)
        leaves = [self.central_store.leaf(held.gateway_id, held.log_id, index) for index in indexes]
        return [json.loads(leaf or b"") for leaf in leaves]

    def codes(self, kind: str) -> list[str]:
        """The codes of all verified events of a type."""
        return [event["data"]["code"] for event in self.events() if event["type"] == kind]

    def digest(self) -> str:
        """Everything that was seen, as one hash."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()

    def _directory(self) -> Directory:
        return Directory(
            gateway_keys={self.home.gateway_id: bytes(self.home.gateway_signing_key.verify_key)},
            lock_log_keys={self.home.lock_id: bytes(self.home.lock_log_key.verify_key)},
        )

    def _lock(self) -> SimulatedLock:
        keys = LockKeys(
            name="home-1",
            link=self.home.lock_link_keys,
            log_key=self.home.lock_log_key,
            gateway_key=self.home.gateway_link_keys.public,
            gateway_id=self.home.gateway_id,
        )
        return SimulatedLock(keys, Flash(MemoryMedium()), self.mechanics, LoopScheduler(), self.entropy)

    def _listen(self) -> None:
        for name in (
            "state",
            "info",
            "health",
            "response",
            "response/+",
            "log/entries",
            "log/checkpoint",
            "log/receipt",
        ):
            self.broker.listen(f"carelock/v1/+/{name}", self._note)
        self.broker.listen("carelock/v1/+/lock/+/state", self._note)
        self.broker.listen("carelock/v1/+/lock/+/availability", self._note)
        self.broker.listen("carelock/v1/+/response", self._take_answer)
        self.broker.listen("carelock/v1/+/response/+", self._take_answer)
        self.connect_central()

    def connect_central(self) -> None:
        """Let the central log listen."""
        self.broker.listen("carelock/v1/+/log/entries", self._take_entry)
        self.broker.listen("carelock/v1/+/log/checkpoint", self._take_checkpoint)

    def disconnect_central(self) -> None:
        """Let the central log hear nothing."""
        self.broker.hush(self._take_entry)
        self.broker.hush(self._take_checkpoint)

    def _note(self, message: Incoming) -> None:
        problem = problem_of(message.topic, message.payload) if message.payload else None
        assert problem is None, f"{message.topic} does not fit its schema: {problem}"
        moment = f"{asyncio.get_running_loop().time():.6f}"
        self.trace.append(f"{moment} {message.topic} {hashlib.sha256(message.payload).hexdigest()}")

    def _take_answer(self, message: Incoming) -> None:
        self.answers.append(RelayAnswer.from_bytes(message.payload))

    def _take_entry(self, message: Incoming) -> None:
        gateway_id = _gateway_of(message.topic)
        self._reply(gateway_id, self.central.take_entry(gateway_id, message.payload, self.central_now()))

    def _take_checkpoint(self, message: Incoming) -> None:
        gateway_id = _gateway_of(message.topic)
        self._reply(gateway_id, self.central.take_checkpoint(gateway_id, message.payload, self.central_now()))

    def _reply(self, gateway_id: bytes, answer: bytes | None) -> None:
        if answer is not None:
            # After a turn of the loop: a central log is a process of its own.
            asyncio.get_running_loop().call_later(0.005, self.send, Topics.of(gateway_id).log_receipt, answer)

    def central_now(self) -> Now:
        """Read the clocks of the central log."""
        return Now(utc_s=self.utc_s(), monotonic_ms=int(asyncio.get_running_loop().time() * 1_000))


def _gateway_of(topic: str) -> bytes:
    return bytes.fromhex(topic.split("/")[2])
