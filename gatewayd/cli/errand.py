"""What the installer's commands share: a gateway whose daemon runs or does not, and how an errand ends."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from firmware_protocol.errors import RemoteProtocolError
from gatewayd import exits
from gatewayd.cli.ask import NobodyAnswersError
from gatewayd.cli.provision import hand_over, open_store
from gatewayd.cli.say import STOP_FIRST, give, give_json, tell, tell_problems
from gatewayd.config.files import FileProblem
from gatewayd.config.loader import load
from gatewayd.config.problems import ConfigError
from gatewayd.control.client import ControlClient
from gatewayd.control.messages import ControlError, ErrandDocument
from gatewayd.errors import GatewayError
from gatewayd.link.bleak_radio import BleakRadio
from gatewayd.link.radio import RadioError
from gatewayd.plain_text import printable
from gatewayd.provisioning.installation import Site
from gatewayd.provisioning.papers import ProvisioningError
from gatewayd.store.store import StoreCode, StoreError
from gatewayd.system_clock import SystemClock, SystemEntropy, machine_boot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gatewayd.channel import Entropy
    from gatewayd.config.values import Config
    from gatewayd.link.radio import SurveyingRadio
    from gatewayd.provisioning.installation import Outcome
    from gatewayd.store.store import Store
    from gatewayd.timekeeping import Clock


Document: TypeAlias = "dict[str, Any]"


class Errand(Protocol):
    """What is to be done at a lock, by whomever has store and radio."""

    @property
    def needs_stop(self) -> str | None:
        """Why a running daemon cannot do it; None: it can."""

    async def at(self, site: Site) -> Outcome:
        """Do it here, the daemon being stopped."""

    def ask(self, client: ControlClient) -> ErrandDocument:
        """Have the running daemon do it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What an errand takes of the unit that it is done on, where no daemon has it."""

    open_store: Callable[[Path], Store]
    """Opens the store at a path, or makes it with its folder."""
    open_radio: Callable[[Config], SurveyingRadio]
    clock: Clock
    entropy: Entropy
    boot: str
    """See `system_clock.machine_boot`."""


def run_errand(
    prepare: Callable[[], Errand],
    config: Path,
    *,
    done: str,
    tried: str = "",
    as_json: bool,
    after: Callable[[Config, ErrandDocument], Document | None] = lambda *_: None,
) -> int:
    """Prepare an errand, do it, and say how it ended; `done` is the line for people. Returns the exit code.

    `after` is done once the errand has come to its end, and belongs to it; `tried` is the line where it has brought
    something.
    """
    try:
        loaded = load(config)
        outcome = _ended(loaded, prepare())
        also = after(loaded, outcome)
    except ConfigError as error:
        tell_problems(error)
        return exits.CONFIG
    except KeyboardInterrupt:
        tell("gatewayd: interrupted; a running daemon goes on with it, and the same command again says how it ended")
    except (FileProblem, GatewayError, RadioError, RemoteProtocolError) as error:
        tell("\n".join(printable(line) for line in _said(error)))
    else:
        if as_json:
            give_json(
                {
                    "lock_id": outcome.lock_id,
                    "owner_epoch": outcome.owner_epoch,
                    "was_done": outcome.was_done,
                }
                | ({} if also is None else {"test": also})
            )
        else:
            gone_on = "an earlier try had come as far as the lock, and is finished now; " if outcome.was_done else ""
            give(
                f"lock {outcome.lock_id}, owner epoch {outcome.owner_epoch}: {gone_on}{done if also is None else tried}"
            )
        return exits.OK
    return exits.FAILED


def _said(error: FileProblem | GatewayError | RadioError | RemoteProtocolError) -> Iterator[str]:
    """Yield what is wrong, one line each: what, where, what to do next, and the code where it is in the reference."""
    match error:
        case FileProblem():
            yield f"gatewayd: {error}"
        case ProvisioningError(problems=problems):
            yield from (f"gatewayd: {problem}" for problem in problems)
        case StoreError(code=StoreCode.LOCKED):
            yield STOP_FIRST
        case NobodyAnswersError(detail=detail):
            yield f"gatewayd: {detail}"
        case RemoteProtocolError(code=code, detail=detail):
            yield f"gatewayd: {detail} ({code.dotted})"
        case _:
            for line in (error.detail or "the radio failed").splitlines():
                yield f"gatewayd: {line} ({error.code})"


def _ended(config: Config, errand: Errand) -> ErrandDocument:
    """Have the daemon do it, so that every other door is served meanwhile; where none runs, do it here."""
    try:
        client = ControlClient(config.control_path)
    except ControlError:
        # Nobody listens: the daemon is stopped, or hangs and has the store.
        outcome = asyncio.run(do_here(config, errand, _this_machine()))
        return ErrandDocument(lock_id=outcome.lock_id.hex(), owner_epoch=outcome.owner_epoch, was_done=outcome.was_done)
    with client:
        if errand.needs_stop is not None:
            raise ProvisioningError([errand.needs_stop])
        return errand.ask(client)


async def do_here(config: Config, errand: Errand, machine: Machine) -> Outcome:
    """Do an errand on the unit itself; raises as the errand does, and `StoreError` where a daemon has the store."""
    store = machine.open_store(config.store_path)
    radio = machine.open_radio(config)
    try:
        return await errand.at(
            Site(
                store=store,
                radio=radio,
                identity=config.identity(),
                roots=config.roots,
                clock=machine.clock,
                entropy=machine.entropy,
                progress=tell,
                machine_boot=machine.boot,
            )
        )
    finally:
        await radio.close()
        await store.close()
        hand_over(config.store_path)


def _this_machine() -> Machine:
    return Machine(
        open_store=open_store,
        open_radio=_open_radio,
        clock=SystemClock(),
        entropy=SystemEntropy(),
        boot=machine_boot(os.environ),
    )


def _open_radio(config: Config) -> BleakRadio:
    radio = config.settings.radio
    return BleakRadio.from_settings(backend=radio.backend, options=radio.options, adapter=radio.adapter)
