"""`python -m gatewayd` and the command `gatewayd`."""

from __future__ import annotations

import sys
from typing import NoReturn

from gatewayd.cli.app import main as run_command


def main() -> NoReturn:
    """Run the command that the command line names, and exit with its code."""
    sys.exit(run_command())


if __name__ == "__main__":
    main()
