"""`gatewayd check-config`: everything that is wrong with a configuration, at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gatewayd import exits
from gatewayd.cli.say import DEFAULT_CONFIG, give, tell_problems
from gatewayd.config.loader import load
from gatewayd.config.problems import ConfigError

ConfigFile = Annotated[Path, Parameter(name=("--file", "--config"))]


def check_config(file: ConfigFile = DEFAULT_CONFIG, *, show_effective: bool = False) -> int:
    """Check the configuration as `run` would read it, and say everything that is wrong.

    Exits 0 where it can work, 78 where it cannot.

    Args:
        file: The configuration file; drop-ins are read from conf.d beside it.
        show_effective: Print every value that is in effect and where it comes from; secrets are hidden.
    """
    try:
        config = load(file)
    except ConfigError as error:
        tell_problems(error)
        return exits.CONFIG
    if show_effective:
        from gatewayd.config.example import effective  # noqa: PLC0415 - seldom asked for

        give(effective(config))
    else:
        give("\n".join(f"read: {source}" for source in config.used))
        give(f"gateway {config.identity().gateway_id.hex()}: the configuration is in order")
    return exits.OK
