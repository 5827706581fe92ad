"""`gatewayd status`: how the running daemon does."""

from __future__ import annotations

import asyncio
from pathlib import Path  # noqa: TC003 - the command line's parser reads annotations
from typing import Final, NoReturn

from gatewayd import exits
from gatewayd.cli.say import DEFAULT_CONFIG, give, give_json, tell, tell_error, tell_problems
from gatewayd.cli.status_text import status_text
from gatewayd.config.loader import load_folders
from gatewayd.config.problems import ConfigError
from gatewayd.control.client import ControlClient
from gatewayd.control.messages import ControlCode, ControlError
from gatewayd.plain_text import printable

WATCH_S: Final = 2
wait = asyncio.sleep
"""What passes between two looks; a test lets the daemon come and go in it."""
_CLEAR: Final = "\x1b[2J\x1b[H"


def status(
    *, config: Path = DEFAULT_CONFIG, socket: Path | None = None, watch: bool = False, json: bool = False
) -> int:
    """Show gateway, locks, broker, outbox, clock and rights, each with its age.

    Exits 0 where the daemon answered, 1 where it did not, 78 where the configuration cannot be read; watching, by what
    the last look before Ctrl-C has seen.

    Args:
        config: The configuration file, which says where the daemon's socket is.
        socket: The daemon's socket, in place of what the configuration says.
        watch: Show it again every two seconds, until Ctrl-C; a daemon that is away is waited for.
        json: Print the document as the daemon gave it.
    """
    try:
        path = load_folders(config).control_path if socket is None else socket
        if watch:
            return _watched(path, as_json=json)
        _show(path, as_json=json)
    except ConfigError as error:
        tell_problems(error)
        return exits.CONFIG
    except ControlError as error:
        tell_error(error)
        return exits.FAILED
    return exits.OK


def _watched(path: Path, *, as_json: bool) -> int:
    watch = Watch(path, as_json=as_json)
    try:
        asyncio.run(watch.run())
    except KeyboardInterrupt:
        return exits.FAILED if watch.is_away else exits.OK


class Watch:
    """Shows the daemon again and again, and waits where it is away: it may be about to come back."""

    def __init__(self, path: Path, *, as_json: bool) -> None:
        self._path = path
        self._as_json = as_json
        self.is_away = False
        """Whether the last look found nobody."""

    async def run(self) -> NoReturn:
        """Look for ever.

        Raises:
            ControlError: it answers, and waiting would not make it say more.
        """
        while True:
            self._look()
            await wait(WATCH_S)

    def _look(self) -> None:
        was_away, self.is_away = self.is_away, False
        if not self._as_json:
            give(_CLEAR)
        try:
            _show(self._path, as_json=self._as_json)
        except ControlError as error:
            if error.code != ControlCode.UNREACHABLE:
                raise
            self.is_away = True
            # What was shown before is gone from the screen: an old state must not be taken for a new one.
            if not (was_away and self._as_json):
                tell(printable(f"gatewayd: not running, waiting: {error.detail}"))


def _show(path: Path, *, as_json: bool) -> None:
    with ControlClient(path) as client:
        document = client.status()
    if as_json:
        give_json(document.to_json())
    else:
        give(status_text(document))
