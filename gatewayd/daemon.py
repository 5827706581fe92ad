"""The composition root of the process: real seams around the house, signals in, notifications out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from random import Random
from typing import TYPE_CHECKING, Final

import structlog

from firmware_protocol.errors import RemoteProtocolError
from gatewayd import exits
from gatewayd.control.server import ControlServer
from gatewayd.control.store_eraser import StoreEraser
from gatewayd.control.store_log import StoreLog
from gatewayd.errors import GatewayError
from gatewayd.explainer import Explainer
from gatewayd.foundation import Plan, Seams
from gatewayd.house import open_house
from gatewayd.link.bleak_radio import BleakRadio
from gatewayd.link.radio import RadioCode
from gatewayd.metrics import write_metrics
from gatewayd.overview import Overview
from gatewayd.rights_view import RightsView
from gatewayd.service_manager import ServiceManager, Watchdog
from gatewayd.store.ballast import BALLAST_SIZE
from gatewayd.store.salvage import finish, salvage
from gatewayd.store.store import Store, StoreCode, StoreError
from gatewayd.system_clock import SystemClock, SystemEntropy, machine_boot
from gatewayd.uplink.broker import PahoBroker
from gatewayd.uplink.sealing import SEAL_KEY_UNUSABLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd.config.values import Config
    from gatewayd.control.messages import ErrandSource
    from gatewayd.control.report_wire import ReportSource
    from gatewayd.house import House

LOG_ID_SIZE: Final = 16
BEAT_S: Final = 5.0
"""How often each part is asked for a sign of completed work, in seconds; more often where systemd is stricter."""
STALL_MS_MAX: Final = 300_000
"""A disk that hangs for less is no reason to start again, in milliseconds: a kernel gives a device up sooner."""

_log = structlog.get_logger()


def run(config: Config) -> int:
    """Run the daemon until it is told to stop, and return the exit code."""
    try:
        return asyncio.run(_main(config))
    except (GatewayError, RemoteProtocolError) as error:
        # Only what stands in the way of starting comes out of the parts.
        _log.error("daemon.refused", detail=str(error))
        return exits.CONFIG if _needs_a_person(error) else exits.SOFTWARE
    except Exception:  # noqa: BLE001 - the last line of defence: a traceback in the log, and systemd starts us again
        _log.exception("daemon.crashed")
        return exits.SOFTWARE


def _needs_a_person(error: GatewayError | RemoteProtocolError) -> bool:
    if isinstance(error, GatewayError):
        return error.code in {
            StoreCode.DAMAGED,
            StoreCode.FOREIGN,
            StoreCode.NEWER_SCHEMA,
            SEAL_KEY_UNUSABLE,
            RadioCode.BACKEND_UNUSABLE,
        }
    return True  # what the store holds was not signed by the pinned roots


async def _main(config: Config) -> int:
    clock, entropy = SystemClock(), SystemEntropy()
    manager = ServiceManager.from_environment(os.environ)
    store = _open_store(config, entropy)
    radio = BleakRadio.from_settings(
        backend=config.settings.radio.backend,
        options=config.settings.radio.options,
        adapter=config.settings.radio.adapter,
    )
    seams = Seams(
        store=store,
        radio=radio,
        broker=PahoBroker(config.broker()),
        clock=clock,
        entropy=entropy,
        random=Random(entropy.token(16)),  # noqa: S311 - jitter; secrets come from `entropy`
        machine_boot=machine_boot(os.environ),
    )
    try:
        house = await open_house(seams, _plan(config))
        overview = Overview(house)
        control = ControlServer(
            config.control_path,
            status=overview,
            journal=StoreLog(store),
            explainer=Explainer(house),
            rights=RightsView(house),
            eraser=StoreEraser(house.base.recorder),
            errands=lambda: _installer_desk(house, radio),
            reports=lambda: _daemon_view(house, overview),
        )
        await control.open()
        try:
            async with _metered(config, overview, house):
                await _live(house, manager, Watchdog(manager, ("loop", "store"), clock=clock))
        finally:
            await control.close()
    finally:
        try:
            await radio.close()
        finally:
            await _close(store)
    return exits.SOFTWARE if house.must_restart else exits.OK


async def _close(store: Store) -> None:
    fault = await store.close()
    if fault is not None:
        _log.warning(
            "store.unfolded", code=fault.code, detail=f"{fault.detail}; nothing is lost, the next start folds it"
        )


def _installer_desk(house: House, radio: BleakRadio) -> ErrandSource:
    from gatewayd.installer_desk import InstallerDesk  # noqa: PLC0415 - a megabyte that most days nobody needs

    return InstallerDesk(house, radio)


def _daemon_view(house: House, overview: Overview) -> ReportSource:
    from gatewayd.bugreport.daemon_view import DaemonView  # noqa: PLC0415 - asked for on a bad day only

    return DaemonView(status=overview, dropped=lambda: _dropped(house), store=house.base.seams.store)


def _dropped(house: House) -> dict[str, int]:
    return {drop.value: count for drop, count in house.downlink.dropped.items()}


@contextlib.asynccontextmanager
async def _metered(config: Config, overview: Overview, house: House) -> AsyncIterator[None]:
    """Keep the file of metrics, where one is wanted."""
    wanted = config.settings.metrics
    if wanted.file is None:
        yield
        return
    writing = asyncio.create_task(
        write_metrics(
            config.resolve(wanted.file),
            status=overview,
            dropped=lambda: _dropped(house),
            interval_s=wanted.interval_s,
        )
    )
    try:
        yield
    finally:
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing


async def _live(house: House, manager: ServiceManager, watchdog: Watchdog) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, house, manager)
    _log.info("daemon.ready", gateway=house.base.plan.identity.gateway_id.hex(), locks=len(house.links))
    manager.ready()
    manager.status(f"{len(house.links)} locks, tier {house.statements.tier().name.lower()}")
    beating = asyncio.create_task(beat(house, watchdog))
    try:
        await house.run(stop)
    finally:
        manager.stopping()
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
    _log.info("daemon.stopped")


async def beat(house: House, watchdog: Watchdog) -> None:
    """Feed the watchdog from completed work: a turn of the loop, and a transaction through the writer."""
    clock, stalled_ms = house.base.seams.clock, None
    while True:
        await asyncio.sleep(min(BEAT_S, watchdog.feed_s))
        watchdog.beat("loop")
        try:
            await house.ledger.marks()
        except StoreError as error:
            # A disk that fails is told and survived. One that hangs would hang the next start too, and that one could
            # serve no emergency; only where it lasts may it be our own thread that hangs.
            _log.warning("store.unavailable", code=error.code)
            now_ms = clock.now().monotonic_ms
            stalled_ms = (stalled_ms or now_ms) if error.code == StoreCode.STALLED else None
            if stalled_ms is not None and now_ms - stalled_ms >= STALL_MS_MAX:
                continue
        else:
            stalled_ms = None
        watchdog.beat("store")


def _reload(house: House, manager: ServiceManager) -> None:
    # What can change while we run arrives signed, over the broker. A reload only says that we are well.
    manager.reloading(house.base.seams.clock.now().monotonic_ms)
    manager.ready()


def _open_store(config: Config, entropy: SystemEntropy) -> Store:
    path, log_id = config.store_path, entropy.token(LOG_ID_SIZE)
    if finish(path):
        _log.warning("store.salvaged", path=str(path))
    try:
        return Store.open(path, ballast_size=BALLAST_SIZE)
    except StoreError as error:
        if error.code == StoreCode.DAMAGED:
            _log.error("store.damaged", detail=error.detail)
            salvaged = salvage(path, log_id=log_id)
            _log.error("store.salvaged", path=str(path), aside=str(salvaged.aside), rows=salvaged.row_count)
            return Store.open(path, ballast_size=BALLAST_SIZE)
        if error.code != StoreCode.ABSENT:
            raise
    # Nothing there at all: a new gateway, or one whose card was wiped. It starts with no locks, knows nobody
    # and writes a new log, so nothing of an earlier life can be replayed at it. Anything else is left alone.
    _log.warning("store.created", path=str(path))
    return Store.create(path, log_id=log_id, ballast_size=BALLAST_SIZE)


def _plan(config: Config) -> Plan:
    return Plan(
        identity=config.identity(),
        roots=config.roots,
        limits=config.limits(),
        heartbeat_s=config.settings.journal.heartbeat_s,
        retain_count=config.settings.journal.retain_count,
        addresses=config.addresses(),
        seal_to=config.seal_to,
        discovery_prefix=config.settings.home_assistant.discovery_prefix,
    )
