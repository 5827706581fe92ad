"""What the installer's commands share: the gateway with its daemon stopped, and how an errand ends."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, TypeAlias

from firmware_protocol.errors import RemoteProtocolError
from gatewayd import exits
from gatewayd.cli.provision import hand_over, open_store
from gatewayd.cli.say import give, give_json, tell, tell_error, tell_problems
from gatewayd.config.files import FileProblem
from gatewayd.config.loader import load
from gatewayd.config.problems import ConfigError
from gatewayd.errors import GatewayError
from gatewayd.link.bleak_radio import BleakRadio
from gatewayd.link.radio import RadioError
from gatewayd.provisioning.installation import Site
from gatewayd.provisioning.papers import ProvisioningError
from gatewayd.store.store import StoreCode, StoreError
from gatewayd.system_clock import SystemClock, SystemEntropy, machine_boot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gatewayd.config.values import Config
    from gatewayd.provisioning.installation import Outcome

Errand: TypeAlias = "Callable[[Site], Awaitable[Outcome]]"
STOP_FIRST: Final = "gatewayd: stop the daemon first: systemctl stop gatewayd"


def run_errand(prepare: Callable[[], Errand], config: Path, *, done: str, as_json: bool) -> int:
    """Prepare an errand, do it, and say how it ended; `done` is the line for people. Returns the exit code."""
    try:
        outcome = asyncio.run(_do(load(config), prepare()))
    except ConfigError as error:
        tell_problems(error)
        return exits.CONFIG
    except FileProblem as problem:
        tell(f"gatewayd: {problem}")
    except ProvisioningError as error:
        tell("\n".join(f"gatewayd: {problem}" for problem in error.problems))
    except StoreError as error:
        tell(STOP_FIRST) if error.code == StoreCode.LOCKED else tell_error(error)
    except (GatewayError, RadioError) as error:
        tell(f"gatewayd: {error.detail} ({error.code})")
    except RemoteProtocolError as error:
        tell(f"gatewayd: {error.detail} ({error.code.dotted})")
    else:
        if as_json:
            give_json(
                {
                    "lock_id": outcome.lock_id.hex(),
                    "owner_epoch": outcome.owner_epoch,
                    "was_done": outcome.was_done,
                }
            )
        else:
            gone_on = "an earlier try had come as far as the lock, and is finished now; " if outcome.was_done else ""
            give(f"lock {outcome.lock_id.hex()}, owner epoch {outcome.owner_epoch}: {gone_on}{done}")
        return exits.OK
    return exits.FAILED


async def _do(config: Config, errand: Errand) -> Outcome:
    store = open_store(config.store_path)
    radio = BleakRadio.from_settings(
        backend=config.settings.radio.backend,
        options=config.settings.radio.options,
        adapter=config.settings.radio.adapter,
    )
    try:
        return await errand(
            Site(
                store=store,
                radio=radio,
                identity=config.identity(),
                roots=config.roots,
                clock=SystemClock(),
                entropy=SystemEntropy(),
                progress=tell,
                machine_boot=machine_boot(os.environ),
            )
        )
    finally:
        await radio.close()
        await store.close()
        hand_over(config.store_path)
