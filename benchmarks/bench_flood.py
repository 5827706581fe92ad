"""A phone at the door while MQTT is flooded at twice the rate that the daemon can refuse, beside that phone in peace.

The flood is a known carer's command with a bad signature, from a process of its own through a real mosquitto. In it an
operator sends a command of her own, again and again until a receipt, as the alarm centre does.
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
from firmware_protocol.vocabulary import OfflineClass
from gatewayd.channel import Channel, Submission
from gatewayd.uplink.broker import PahoBroker
from gatewayd.uplink.seam import BrokerSettings
from simulator.office import Office, unlock_over_mqtt
from tests.support.mosquitto import Mosquitto

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd.house import House
    from simulator.office import Holder, Home

REFUSAL_COUNT: Final = 500
VISIT_COUNT: Final = 60
PAUSE_S: Final = 0.05
MORE_MS_MAX: Final = 100
"""What a flood may cost a phone, at p95."""
GROWTH_KIB_MAX: Final = 4_096
TTL_S: Final = 30
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


async def centre_overshoot_s(scene: Scene) -> float:
    """Send an operator's command until something came of it, and return by how much that was late; 0: it was not."""
    epoch = scene.house.epoch
    issued_s = epoch.now_s(scene.house.base.seams.clock.now().boottime_ms)
    bundle = unlock_over_mqtt(
        scene.office.operator("olga", now_s=scene.now_s),
        scene.home,
        epoch=epoch.value,
        issued_s=issued_s,
        command_id=bytes(16),
        now_s=scene.now_s,
        ttl_s=TTL_S,
    )
    answered = asyncio.Event()

    class Centre(Deaf):
        async def receipt(self, raw: bytes) -> None:  # noqa: ARG002 - the seam's signature
            """Hear it."""
            answered.set()

    started_s = time.perf_counter()
    while not answered.is_set() and time.perf_counter() - started_s < TTL_S:
        await scene.house.door(Submission(channel=Channel.MQTT, bundle=bundle), Centre())
        await asyncio.sleep(0.5)
    return max(0.0, time.perf_counter() - started_s - TTL_S)


async def measure(folder: Path) -> list[Row]:
    """Peace, then flood, on one house."""
    office, now_s = Office(b"bench"), int(time.time())
    home = office.home("bench")
    async with Mosquitto(folder) as mosquitto:
        settings = BrokerSettings(host="127.0.0.1", port=mosquitto.port, client_id="bench", tls=None)
        house = await open_provisioned(folder, office, home, now_s, broker=PahoBroker(settings))
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
        late_s = await centre_overshoot_s(scene)
        grown_kib = max(0, resident_kib() - before_kib)
    return [
        Row(
            name=f"a phone's command, MQTT flooded at {2 * alone:.0f}/s, p95",
            unit="ms",
            floor=peace_ms,
            figure=flood_ms,
            figure_max=peace_ms + MORE_MS_MAX,
        ),
        Row(name="a centre's command in the flood, late by", unit="s", floor=TTL_S, figure=late_s, figure_max=0),
        Row(
            name="memory grown in the flood", unit="KiB", floor=before_kib, figure=grown_kib, figure_max=GROWTH_KIB_MAX
        ),
    ]


def run() -> list[Row]:
    """Measure once: the flood is the long part."""
    with tempfile.TemporaryDirectory(prefix="gatewayd-bench-") as folder:
        return asyncio.run(measure(Path(folder)))
