"""`python -m gatewayd` and the command `gatewayd`."""

from __future__ import annotations

import gc
import sys
from typing import Final, NoReturn

COLLECT_EVERY: Final = 30_000
"""Objects made before Python looks for garbage, not 700: what imports make is none, and looking costs every start."""


def main() -> NoReturn:
    """Run the command that the command line names, and exit with its code."""
    gc.set_threshold(COLLECT_EVERY)
    from gatewayd.cli.app import main as run_command  # noqa: PLC0415 - after the line above

    sys.exit(run_command())


if __name__ == "__main__":
    main()
