"""`python -m gatewayd` and the command `gatewayd`."""

from __future__ import annotations

import gc
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command that the command line names, and exit with its code."""
    # Nothing that imports make is garbage, and looking for some takes a tenth of a start. `run`, which stays, turns the
    # collector on again; the other commands end before they need it.
    gc.disable()
    from gatewayd.cli.app import main as run_command  # noqa: PLC0415 - see above

    sys.exit(run_command())


if __name__ == "__main__":
    main()
