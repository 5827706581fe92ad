"""`gatewayd status`: how the running daemon does."""

from __future__ import annotations

import asyncio
from pathlib import Path  # noqa: TC003 - the command line's parser reads annotations
from typing import Final

from gatewayd import exits
from gatewayd.cli.say import DEFAULT_CONFIG, give, give_json, tell_error, tell_problems
from gatewayd.cli.status_text import status_text
from gatewayd.config.loader import load_folders
from gatewayd.config.problems import ConfigError
from gatewayd.control.client import ControlClient
from gatewayd.control.messages import ControlError

WATCH_S: Final = 2
_CLEAR: Final = "\x1b[2J\x1b[H"


def status(
    *, config: Path = DEFAULT_CONFIG, socket: Path | None = None, watch: bool = False, json: bool = False
) -> int:
    """Show gateway, locks, broker, outbox, clock and rights, each with its age.

    Exits 0 where the daemon answered, 1 where it did not, 78 where the configuration cannot be read.

    Args:
        config: The configuration file, which says where the daemon's socket is.
        socket: The daemon's socket, in place of what the configuration says.
        watch: Show it again every two seconds, until Ctrl-C.
        json: Print the document as the daemon gave it.
    """
    try:
        path = load_folders(config).control_path if socket is None else socket
        if watch:
            asyncio.run(_watch(path, as_json=json))
        _show(path, as_json=json)
    except ConfigError as error:
        tell_problems(error)
        return exits.CONFIG
    except ControlError as error:
        tell_error(error)
        return exits.FAILED
    return exits.OK


async def _watch(path: Path, *, as_json: bool) -> None:
    while True:
        if not as_json:
            give(_CLEAR)
        _show(path, as_json=as_json)
        await asyncio.sleep(WATCH_S)


def _show(path: Path, *, as_json: bool) -> None:
    with ControlClient(path) as client:
        document = client.status()
    if as_json:
        give_json(document.to_json())
    else:
        give(status_text(document))
