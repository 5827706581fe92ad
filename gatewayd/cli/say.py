"""How commands speak: data to stdout, messages to stderr."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gatewayd.plain_text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

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


class NotGivenError(Exception):
    """Standard output takes no more, and somebody waits for it: a full disk, or a stick that was pulled out."""


def give(text: str) -> None:
    """Print data.

    Raises:
        NotGivenError: it cannot be written.
        BrokenPipeError: whoever read has gone.
    """
    with _giving():
        print(text)


def finish() -> None:
    """See that what was printed is out, while it can still be told that it is not; raises as `give` does."""
    with _giving():
        if sys.stdout is not None:
            sys.stdout.flush()


@contextmanager
def _giving() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise NotGivenError(f"standard output: {error.strerror}; what was written of it is not whole") from error


def give_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print data for machines."""
    give(json.dumps(value, indent=2))
