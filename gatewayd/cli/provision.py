"""`gatewayd provision`: keys and homes from a file of signed objects into the store."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path  # noqa: TC003 - the command line's parser reads annotations
from typing import TYPE_CHECKING

from gatewayd import exits
from gatewayd.cli.say import DEFAULT_CONFIG, STOP_FIRST, give, tell, tell_error, tell_problems
from gatewayd.config.files import FileProblem, read_file
from gatewayd.config.loader import load
from gatewayd.config.problems import ConfigError
from gatewayd.plain_text import printable
from gatewayd.provisioning.intake import take_in
from gatewayd.provisioning.papers import FILE_SIZE_MAX, ProvisioningError, read_papers
from gatewayd.store.store import Store, StoreCode, StoreError
from gatewayd.system_clock import SystemClock, SystemEntropy, machine_boot

if TYPE_CHECKING:
    from gatewayd.config.values import Config
    from gatewayd.provisioning.papers import Papers

LOG_ID_SIZE = 16


def provision(file: Path, /, *, config: Path = DEFAULT_CONFIG) -> int:
    """Take signed objects in: Keyset, Authorities, AuthorityState, and a PairingOrder with its Door for each lock.

    Everything is verified up to the pinned root keys; all of it is kept or nothing. The daemon must be stopped. The
    same file again changes nothing.

    Args:
        file: JSON with keyset, authorities, state, doors and pairing_orders, each object in base64url.
        config: The configuration file of the gateway.
    """
    try:
        papers = read_papers(read_file(file, size_max=FILE_SIZE_MAX))
        lines = asyncio.run(_take_in(papers, load(config)))
    except ConfigError as error:
        tell_problems(error)
        return exits.CONFIG
    except FileProblem as problem:
        tell(printable(f"gatewayd: {file}: {problem}"))
        return exits.FAILED
    except ProvisioningError as error:
        tell("\n".join(f"{file}: {problem}" for problem in error.problems))
        tell("gatewayd: nothing was kept")
        return exits.FAILED
    except StoreError as error:
        tell(STOP_FIRST) if error.code == StoreCode.LOCKED else tell_error(error)
        return exits.FAILED
    give("\n".join(lines))
    return exits.OK


async def _take_in(papers: Papers, config: Config) -> tuple[str, ...]:
    store = open_store(config.store_path)
    try:
        return await take_in(
            papers,
            store,
            identity=config.identity(),
            roots=config.roots,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            machine_boot=machine_boot(os.environ),
        )
    finally:
        await store.close()
        hand_over(config.store_path)


def open_store(path: Path) -> Store:
    """Open the store, or make it with its folder.

    Raises:
        StoreError: it cannot be used.
    """
    if path.exists():
        return Store.open(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Store.create(path, log_id=SystemEntropy().token(LOG_ID_SIZE))


def hand_over(path: Path) -> None:
    """Give the store to the owner of its folder: root provisions, the service's user runs the daemon."""
    owner = path.parent.stat()
    if os.geteuid() == 0:
        for file in path.parent.glob(f"{path.name}*"):
            # Attack: whoever has taken the service over lays a link here, and has root give away what it points to.
            os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)
