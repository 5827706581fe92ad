"""A phone at the door while MQTT is flooded at twice the rate that the daemon can refuse, beside that phone in peace.

The flood is a known carer's command with a bad signature, from a process of its own through a real mosquitto. In it an
operator unlocks by an open alarm, through the same broker, again and again until a receipt, as the alarm centre does.
That link and watchdog hold, that the flood is one alarm, and that a command that came too late is dead, does not depend
on the machine: `tests/simulation/test_flood.py` has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.bench_unlock import Deaf, NotingLink, open_provisioned, submit
from benchmarks.home import ROOT
from benchmarks.memory import resident_kib
from benchmarks.rows import BenchError, Row, percentile
from firmware_protocol.chains import make_bundle, parse_bundle
from firmware_protocol.relay import AnswerKind, RelayAnswer
from firmware_protocol.vocabulary import OfflineClass
from gatewayd.channel import Channel, Submission
from gatewayd.uplink.broker import PahoBroker
from gatewayd.uplink.seam import BrokerSettings, Outgoing
from simulator.office import Office, unlock_over_mqtt
from tests.support.mosquitto import Mosquitto

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd.house import House
    from gatewayd.uplink.seam import BrokerSession
    from simulator.office import Holder, Home

REFUSAL_COUNT: Final = 500
VISIT_COUNT: Final = 60
PAUSE_S: Final = 0.05
MORE_MS_MAX: Final = 100
"""What a flood may cost a phone, at p95."""
GROWTH_KIB_MAX: Final = 4_096
TTL_S: Final = 30
RESEND_S: Final = 0.5
GRACE_S: Final = 2.0
"""In which a command that is dead would still move something, if it could."""
ALARM_REF: Final = bytes(range(16))
CONNECT_S_MAX: Final = 30


@dataclass
class Scene:
    """A house with its uplink at a broker, a carer and an operator."""

    house: House
    home: Home
    office: Office
    carer: Holder
    link: NotingLink
    now_s: int
    visit_count: int = 0

    def forged(self) -> bytes:
        """Return a command of the carer's in which one bit of the signature is another."""
        bundle = submit(self.house, self.carer, self.home, 10**5, self.now_s).bundle
        command, *chain = parse_bundle(bundle)
        return make_bundle(command[:-1] + bytes((command[-1] ^ 1,)), *chain)

    async def visits_ms(self) -> list[float]:
        """Let the carer come to the door, and see how long each command takes to the link."""
        spent_ms = []
        for _ in range(VISIT_COUNT):
            self.visit_count += 1
            submission, before = (
                submit(self.house, self.carer, self.home, self.visit_count, self.now_s),
                len(self.link.ordered_s),
            )
            started_s = time.perf_counter()
            await self.house.door(submission, Deaf())
            if len(self.link.ordered_s) == before:
                raise BenchError("a visit was refused")
            spent_ms.append((self.link.ordered_s[-1] - started_s) * 1_000)
            await asyncio.sleep(PAUSE_S)
        return spent_ms


async def refusals_per_s(scene: Scene) -> float:
    """Return how many forged commands the daemon refuses a second with nothing else to do."""
    forged = scene.forged()
    started_s = time.perf_counter()
    for _ in range(REFUSAL_COUNT):
        await scene.house.door(Submission(channel=Channel.MQTT, bundle=forged), Deaf())
    return REFUSAL_COUNT / (time.perf_counter() - started_s)


@contextlib.asynccontextmanager
async def flood(scene: Scene, port: int, rate: float, folder: Path) -> AsyncIterator[None]:
    """Flood the command topic for the length of a block."""
    (folder / "forged").write_bytes(scene.forged())
    words = (str(port), scene.house.topics.command, str(rate), str(folder / "forged"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.flooder", *words, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        await asyncio.sleep(1)
        yield
    finally:
        process.kill()
        await process.wait()


async def centre_answered_s(scene: Scene, broker: PahoBroker) -> float:
    """Let an operator unlock by an open alarm, through the broker, and return after how long the centre had a receipt.

    A command that has found no way through the flood within its life is dead: that is its whole life, and no movement.

    Raises:
        BenchError: the bolt was ordered to move twice, or too late, or the receipt said otherwise.
    """
    house, epoch = scene.house, scene.house.epoch
    issued_s = epoch.now_s(house.base.seams.clock.now().boottime_ms)
    await house.alarm_desk.take_alarm(
        scene.office.alarm(scene.home, alarm_ref=ALARM_REF, epoch=epoch.value, exp_s=issued_s + TTL_S)
    )
    bundle = unlock_over_mqtt(
        scene.office.operator("olga", now_s=scene.now_s),
        scene.home,
        epoch=epoch.value,
        issued_s=issued_s,
        command_id=bytes(16),
        now_s=scene.now_s,
        alarm_ref=ALARM_REF,
        ttl_s=TTL_S,
    )
    ordered = len(scene.link.ordered_s)
    session = await broker.connect(Outgoing(topic=house.topics.response_to("gone"), payload=b"", qos=0))
    started_s = time.perf_counter()
    try:
        await session.subscribe([house.topics.response])
        async with asyncio.timeout(TTL_S):
            await _first_receipt(session, house.topics.command, bundle)
        answered_s, moved_count = time.perf_counter() - started_s, 1
    except TimeoutError:
        await asyncio.sleep(GRACE_S)
        answered_s, moved_count = TTL_S, 0
    finally:
        await session.close()
    if len(scene.link.ordered_s) != ordered + moved_count:
        raise BenchError("the centre's command moved the bolt otherwise than its receipt says")
    return answered_s


async def _first_receipt(session: BrokerSession, command_topic: str, bundle: bytes) -> None:
    """Send the same bytes until a receipt, as the centre does."""
    answered = asyncio.ensure_future(_receipt(session))
    while not answered.done():
        await session.publish(Outgoing(topic=command_topic, payload=bundle))
        await asyncio.wait({answered}, timeout=RESEND_S)


async def _receipt(session: BrokerSession) -> None:
    while RelayAnswer.from_bytes((await session.next_message()).payload).kind is not AnswerKind.RECEIPT:
        pass  # what the flood is denied with


def settings_of(client_id: str, port: int) -> BrokerSettings:
    """Return how to reach the broker of this bench."""
    return BrokerSettings(host="127.0.0.1", port=port, client_id=client_id, tls=None)


async def measure(folder: Path) -> list[Row]:
    """Peace, then flood, on one house."""
    office, now_s = Office(b"bench"), int(time.time())
    home = office.home("bench")
    async with Mosquitto(folder) as mosquitto:
        broker = PahoBroker(settings_of("bench", mosquitto.port))
        house = await open_provisioned(folder, office, home, now_s, broker=broker)
        link = NotingLink()
        house.links[home.lock_id] = link  # type: ignore[assignment]  # what the door asks of a link, it does
        signed = office.grant(home, "care", "anna", now_s=now_s, offline_class=OfflineClass.RESPONDER)
        carer = office.carer(home, "care", "anna", now_s=now_s, grant=signed)
        scene = Scene(house=house, home=home, office=office, carer=carer, link=link, now_s=now_s)
        uplink = asyncio.create_task(house.uplink.run())
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                while not house.uplink.status.connected:  # noqa: ASYNC110 - its status is the truth
                    await asyncio.sleep(0.05)
            return await compare(scene, mosquitto.port, folder)
        finally:
            uplink.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await uplink
            await house.base.seams.store.close()


async def compare(scene: Scene, port: int, folder: Path) -> list[Row]:
    """Return the rows."""
    alone = await refusals_per_s(scene)
    peace_ms = percentile(await scene.visits_ms(), 95)
    async with flood(scene, port, 2 * alone, folder):
        before_kib = resident_kib()
        flood_ms = percentile(await scene.visits_ms(), 95)
        answered_s = await centre_answered_s(scene, PahoBroker(settings_of("centre", port)))
        grown_kib = max(0, resident_kib() - before_kib)
    return [
        Row(
            name=f"a phone's command, MQTT flooded at {2 * alone:.0f}/s, p95",
            unit="ms",
            floor=peace_ms,
            figure=flood_ms,
            figure_max=peace_ms + MORE_MS_MAX,
        ),
        Row(
            name="a centre's unlock by alarm, through the flooded broker, to its receipt",
            unit="s",
            floor=TTL_S,
            figure=answered_s,
            figure_max=TTL_S,
        ),
        Row(
            name="memory grown in the flood", unit="KiB", floor=before_kib, figure=grown_kib, figure_max=GROWTH_KIB_MAX
        ),
    ]


def run() -> list[Row]:
    """Measure once: the flood is the long part."""
    with tempfile.TemporaryDirectory(prefix="gatewayd-bench-") as folder:
        return asyncio.run(measure(Path(folder)))
