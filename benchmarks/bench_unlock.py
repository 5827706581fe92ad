"""From signed bytes to the order to move the bolt, beside the least: the bundle's signatures and one durable commit.

The real house on a real store; only the radio's place is taken by a link that notes when it is told to move. The bundle
is a carer's with grant and authority: three signatures.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import apsw
from nacl.signing import SigningKey

from benchmarks.rows import Row, median, percentile
from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Bolt, OfflineClass
from gatewayd.__main__ import COLLECT_EVERY
from gatewayd.channel import Channel, Submission
from gatewayd.foundation import Plan, Seams
from gatewayd.house import House, open_house
from gatewayd.identity import Identity
from gatewayd.link.ports import MoveOutcome
from gatewayd.provisioning.intake import take_in
from gatewayd.provisioning.papers import Papers
from gatewayd.settings import LimitSettings
from gatewayd.store.store import Store
from gatewayd.system_clock import SystemClock, SystemEntropy
from simulator.office import Holder, Home, Office, unlock_at_door

if TYPE_CHECKING:
    from gatewayd.link.ports import BoltMove
    from gatewayd.link.radio import Radio
    from gatewayd.uplink.seam import Broker

UNLOCK_COUNT: Final = 300
SIGNATURE_COUNT: Final = 3
MEDIAN_RATIO_MAX: Final = 2.0
P99_RATIO_MAX: Final = 4.0
LIMITS: Final = LimitSettings(emergency_burst=10**6, motor_burst=10**6)
"""A responder's grant, which needs no trusted time, draws from the emergency class."""
ROW_SIZE: Final = 1_200
"""Bytes that one decision writes: an entry of the journal, the row of the command, its receipt."""


@dataclass
class NotingLink:
    """A `BoltMover` that moves nothing."""

    ordered_s: list[float] = field(default_factory=list)

    async def execute(self, move: BoltMove) -> MoveOutcome:  # noqa: ARG002 - the seam's signature
        """Note the moment."""
        self.ordered_s.append(time.perf_counter())
        return MoveOutcome(code=Code.DONE, bolt=Bolt.UNLOCKED)

    async def query(self, command_seq: int) -> MoveOutcome:  # noqa: ARG002 - the seam's signature
        """Never asked here."""
        return MoveOutcome(code=Code.DONE, bolt=Bolt.UNLOCKED)

    async def wait_ready(self) -> None:
        """Always ready."""

    last_command_seq = 0

    async def wait_heard(self, within_ms: int) -> None:
        """Always heard."""


class Deaf:
    """A `Responder` that nobody listens to."""

    async def receipt(self, raw: bytes) -> None:
        """Drop it."""

    async def info(self, raw: bytes) -> None:
        """Drop it."""

    async def denied(self) -> None:
        """Drop it."""


async def floors_ms(folder: Path) -> list[float]:
    """Three verifications and one commit on a thread of its own, each time."""
    connection = apsw.Connection(str(folder / "floor.db"))
    for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = EXTRA"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE rows (idx INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT")
    key = SigningKey.generate()
    signed, row = key.sign(bytes(200)), bytes(ROW_SIZE)
    loop, spent_ms = asyncio.get_running_loop(), []
    with ThreadPoolExecutor(max_workers=1) as writer:
        for _ in range(UNLOCK_COUNT):
            started_s = time.perf_counter()
            for _ in range(SIGNATURE_COUNT):
                key.verify_key.verify(signed.message, signed.signature)
            await loop.run_in_executor(
                writer, lambda: connection.execute("INSERT INTO rows (data) VALUES (?)", (row,)).fetchall()
            )
            spent_ms.append((time.perf_counter() - started_s) * 1_000)
        await loop.run_in_executor(writer, connection.close)
    return spent_ms


async def figures_ms(folder: Path) -> list[float]:
    """Submit one carer's command after another, and see when each reaches the link."""
    office, now_s = Office(b"bench"), int(time.time())
    home = office.home("bench")
    house = await open_provisioned(folder, office, home, now_s)
    link = NotingLink()
    house.links[home.lock_id] = link  # type: ignore[assignment]  # what the door asks of a link, it does
    signed = office.grant(home, "care", "anna", now_s=now_s, offline_class=OfflineClass.RESPONDER)
    carer = office.carer(home, "care", "anna", now_s=now_s, grant=signed)
    spent_ms = []
    for number in range(UNLOCK_COUNT):
        submission = submit(house, carer, home, number, now_s)
        started_s = time.perf_counter()
        await house.door(submission, Deaf())
        if len(link.ordered_s) != number + 1:
            raise RuntimeError("a command was refused: this would time something else")
        spent_ms.append((link.ordered_s[-1] - started_s) * 1_000)
    await house.base.seams.store.close()
    return spent_ms


def submit(house: House, carer: Holder, home: Home, number: int, now_s: int) -> Submission:
    """Return what a phone brings to the door over a challenge that the lock has given it."""
    challenge, command_id = number.to_bytes(16, "big"), (number + 10**6).to_bytes(16, "big")
    house.watch.on_challenge(home.lock_id, challenge, house.base.seams.clock.now())
    bundle = unlock_at_door(carer, home, challenge=challenge, command_id=command_id, now_s=now_s)
    return Submission(channel=Channel.RELAY, bundle=bundle, lock_id=home.lock_id, challenge=challenge)


async def open_provisioned(
    folder: Path, office: Office, home: Home, now_s: int, *, broker: Broker | None = None
) -> House:
    """Make a store, take the papers in and open a house on it, without radio and perhaps without broker."""
    identity = Identity(signing_key=home.gateway_signing_key, link_keys=home.gateway_link_keys)
    clock, entropy = SystemClock(), SystemEntropy()
    store = Store.create(folder / "figure.db", log_id=entropy.token(16))
    papers = Papers.model_construct(
        keyset=office.keyset(now_s=now_s),
        doors=(office.door(home),),
        pairing_orders=(office.pairing_order(home, now_s=now_s),),
    )
    roots = office.root_public_keys
    await take_in(papers, store, identity=identity, roots=roots, clock=clock, entropy=entropy)
    radio: Radio = None  # type: ignore[assignment]  # nothing of the house that would use them is run
    seams = Seams(
        store=store,
        radio=radio,
        broker=broker,  # type: ignore[arg-type]  # the same
        clock=clock,
        entropy=entropy,
        random=Random(0),
        machine_boot="bench",
    )
    return await open_house(seams, Plan(identity=identity, roots=roots, limits=LIMITS))


def run() -> list[Row]:
    """Floor and figure in turn, twice, so that neither has the warmer disk; garbage is looked for as in the daemon."""
    gc.set_threshold(COLLECT_EVERY)
    gc.freeze()
    floors: list[float] = []
    figures: list[float] = []
    for _ in range(2):
        for measured, into in ((floors_ms, floors), (figures_ms, figures)):
            with tempfile.TemporaryDirectory(prefix="gatewayd-bench-") as folder:
                into.extend(asyncio.run(measured(Path(folder))))
    return [
        Row(
            name="signed bytes to the order to move, median",
            unit="ms",
            floor=median(floors),
            figure=median(figures),
            ratio_max=MEDIAN_RATIO_MAX,
        ),
        Row(
            name="signed bytes to the order to move, p99",
            unit="ms",
            floor=percentile(floors, 99),
            figure=percentile(figures, 99),
            ratio_max=P99_RATIO_MAX,
        ),
    ]
