"""How commands speak: data to stdout, messages to stderr."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gatewayd.plain_text import printable

if TYPE_CHECKING:
    from gatewayd.config.problems import ConfigError
    from gatewayd.errors import GatewayError

DEFAULT_CONFIG: Final = Path("/etc/gatewayd/config.toml")
STOP_FIRST: Final = "gatewayd: stop the daemon first: systemctl stop gatewayd"
"""Where it does not answer on its control socket, or the command is one that it cannot run."""


def tell(text: str) -> None:
    """Print a message, one or more lines."""
    print(text, file=sys.stderr)


def tell_error(error: GatewayError) -> None:
    """Print why a command could not do it."""
    tell(printable(f"gatewayd: {error.detail} ({error.code})"))


def tell_problems(error: ConfigError) -> None:
    """Print every mistake of a configuration, one a line."""
    count = len(error.problems)
    tell("\n".join(map(str, error.problems)))
    tell(f"gatewayd: {count} problem{'' if count == 1 else 's'} in the configuration")


def give(text: str) -> None:
    """Print data."""
    print(text)


def give_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print data for machines."""
    print(json.dumps(value, indent=2))
