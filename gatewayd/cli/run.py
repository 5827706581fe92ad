"""`gatewayd run`: the daemon."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path  # noqa: TC003 - the command line's parser reads annotations

from gatewayd import exits, logs
from gatewayd.cli.say import DEFAULT_CONFIG, tell_problems
from gatewayd.config.loader import load
from gatewayd.config.problems import ConfigError


def run(*, config: Path = DEFAULT_CONFIG) -> int:
    """Run the daemon until it is told to stop (SIGTERM, SIGINT).

    Exits 0 when it was stopped, 70 after a fault, 78 where the configuration cannot work.

    Args:
        config: The configuration file; drop-ins are read from conf.d beside it.
    """
    try:
        checked = load(config)
    except ConfigError as error:
        tell_problems(error)
        return exits.CONFIG
    journal = logs.is_journal(os.environ, sys.stderr.fileno())
    logs.set_up(level=checked.settings.log.level, style=checked.settings.log.format, journal=journal)
    from gatewayd import daemon  # noqa: PLC0415 - radio, broker and store: nothing else needs them, nor a bad file

    gc.freeze()  # what is here now stays: it need never be looked through
    return daemon.run(checked)
