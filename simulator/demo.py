"""`python -m simulator demo`: one command opens a simulated door, the whole path with real processes.

Exits 0 only if every promise held. Ends only what it started, also after Ctrl-C or a fault.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shlex
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from firmware_protocol.errors import ProtocolError
from simulator.demo_forgery import past_is_rewritten
from simulator.demo_home import HomeFiles
from simulator.demo_offline import carer_opens, much_is_refused
from simulator.demo_online import alarm_centre, alarm_centre_unlocks, link_comes_up
from simulator.demo_outage import gateway_dies_and_returns
from simulator.demo_processes import ProcessError
from simulator.demo_promises import Broken, Ledger, Promise
from simulator.demo_report import Summary, Teller
from simulator.demo_return import broker_returns, honest_resend
from simulator.demo_stage import People, Phones, Stage, door_for
from simulator.demo_world import World, find_mosquitto
from simulator.mqtt_client import MqttError, MqttVersion
from simulator.office import Office
from simulator.phone_radio import PhoneRadioError
from simulator.seams import SystemEntropy

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence

EXIT_HELD: Final = 0
EXIT_BROKEN: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
STORY_S_MAX: Final = 150.0
"""The story is given up after so long, whatever hangs."""
SEED_SIZE: Final = 32
_FAULTS: Final = (
    *(ProcessError, MqttError, PhoneRadioError, ProtocolError),
    *(OSError, TimeoutError, LookupError, ValueError),  # a gateway that is broken may say anything, or nothing
)
"""What may go wrong in a scene without the next one being pointless."""


async def _tell_story(stage: Stage) -> None:
    with _telling(stage):
        async with alarm_centre(stage.world, stage.people, stage.door) as centre:
            await _attempt(stage, link_comes_up(stage, centre))
            await _attempt(stage, alarm_centre_unlocks(stage, centre))
    await stage.world.central.stop()
    await stage.world.stop_broker()
    stage.teller.scene(3, "the broker is stopped, and the central log with it")
    opened = None
    with _telling(stage):
        opened = await carer_opens(stage)
    if opened is not None:
        await _attempt(stage, much_is_refused(stage, opened))
    await _attempt(stage, gateway_dies_and_returns(stage))
    await _attempt(stage, broker_returns(stage))
    if opened is not None:
        await _attempt(stage, honest_resend(stage, opened.bundle, opened.visit.raw_receipts))
    await _attempt(stage, past_is_rewritten(stage))


async def _attempt(stage: Stage, scene: Coroutine[object, object, object]) -> None:
    """Play a scene; where it fails, say so and let the story go on."""
    with _telling(stage):
        await scene


@contextlib.contextmanager
def _telling(stage: Stage) -> Iterator[None]:
    try:
        yield
    except _FAULTS as error:
        stage.teller.fault(f"the scene ended early: {type(error).__name__}: {error}")


class _ToldEnoughError(Exception):
    """What the story was told for has been seen."""


async def play(
    world: World,
    people: People,
    teller: Teller,
    *,
    story_s_max: float = STORY_S_MAX,
    until_broken: Promise | None = None,
) -> tuple[Ledger, Summary]:
    """Set up, tell the story, and return what came of it. It ends early where `until_broken` is found broken.

    Raises:
        ProcessError: the world did not come up.
    """

    def note_broken(broken: Broken) -> None:
        teller.broken(broken)
        if broken.promise is until_broken:
            raise _ToldEnoughError

    ledger = Ledger(on_broken=note_broken)
    summary = Summary(broker=world.broker_name, mqtt=world.mqtt.value)
    await world.set_up(now_s=people.now_s)
    teller.hint(f"set up: air, lock, {world.broker_name}, central log; provisioned in {world.files.root}")
    teller.begin()
    door = door_for(people.office, people.home, now_s=people.now_s)
    async with Phones(world, door) as phones:
        stage = Stage(
            world=world, people=people, door=door, phones=phones, teller=teller, ledger=ledger, summary=summary
        )
        try:
            async with asyncio.timeout(story_s_max):
                await _tell_story(stage)
        except TimeoutError:
            teller.fault(f"the story was given up after {story_s_max:.0f} s")
        except _ToldEnoughError:
            teller.hint("the story ends here, as was asked for")
    summary.story_ms = teller.elapsed_ms
    return ledger, summary


async def _run(arguments: argparse.Namespace, mosquitto: str | None, mqtt: MqttVersion, root: Path) -> int:
    _stop_on_sigterm()
    teller = Teller(as_json=arguments.json, now_ms=lambda: time.monotonic_ns() // 1_000_000)
    office = Office(SystemEntropy().token(SEED_SIZE))
    people = People(office, office.home("Oak Street 12"), now_s=int(time.time()))
    world = World(HomeFiles(root=root), office, people.home, mosquitto=mosquitto, mqtt=mqtt)
    try:
        until_broken = None if arguments.until_broken is None else Promise(arguments.until_broken)
        ledger, summary = await play(world, people, teller, until_broken=until_broken)
        teller.finish(ledger, summary)
        if not ledger.all_held:
            teller.hint(f"the daemon's last words:\n{world.gateway.tail()}")
        if arguments.stay:
            await _stay(world, teller)
    except ProcessError as error:
        teller.fault(f"not set up: {error}")
        for child in world.children:
            teller.hint(f"{child.name}:\n{child.tail()}")
        return EXIT_BROKEN
    finally:
        await world.tear_down()
    return EXIT_HELD if ledger.all_held else EXIT_BROKEN


async def _stay(world: World, teller: Teller) -> None:
    teller.hint("it goes on until Ctrl-C; try:")
    teller.hint(f"  {shlex.join(world.status_words())}")
    teller.hint(f"  tail -f {world.files.log('gateway')}")
    with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C or SIGTERM: staying is over, and it ends in order
        await asyncio.Event().wait()


def _stop_on_sigterm() -> None:
    """Let SIGTERM end the demo as Ctrl-C does: nothing that was started stays behind."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def main(argv: Sequence[str]) -> int:
    """Run the demo; see the module."""
    parser = argparse.ArgumentParser(prog="simulator demo", description="One command opens a simulated door.")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout; the story goes to stderr")
    parser.add_argument("--stay", action="store_true", help="leave everything running until Ctrl-C")
    parser.add_argument("--broker", choices=("auto", "mosquitto", "embedded"), default="auto")
    parser.add_argument("--protocol", choices=[version.value for version in MqttVersion], help="of MQTT")
    parser.add_argument(
        "--until-broken",
        choices=[promise.value for promise in Promise],
        metavar="PROMISE",
        help="end the story where this promise is found broken",
    )
    parser.add_argument("--keep-dir", type=Path, metavar="DIR", help="keep all files there; must not exist yet")
    arguments = parser.parse_args(argv)
    mosquitto = None if arguments.broker == "embedded" else find_mosquitto()
    if mosquitto is None and arguments.broker == "mosquitto":
        parser.error("mosquitto is not installed")
    mqtt = MqttVersion(arguments.protocol or (MqttVersion.V311 if mosquitto is None else MqttVersion.V5))
    if mosquitto is None and mqtt is MqttVersion.V5:
        parser.error("the embedded broker speaks 3.1.1 only")
    root = _folder(parser, arguments.keep_dir)
    try:
        return asyncio.run(_run(arguments, mosquitto, mqtt, root))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return EXIT_INTERRUPTED
    finally:
        if arguments.keep_dir is None:
            shutil.rmtree(root, ignore_errors=True)


def _folder(parser: argparse.ArgumentParser, keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="carelock-"))
    try:
        keep.mkdir(parents=True)
    except OSError as error:
        parser.error(f"--keep-dir {keep}: {error.strerror}")
    return keep.absolute()
