"""`python -m simulator COMMAND …`: one process of the simulated world each."""

from __future__ import annotations

import importlib
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS: Final = MappingProxyType(
    {
        "air": "simulator.air:main",
        "central": "simulator.central:main",
        "demo": "simulator.demo:main",
        "erase": "simulator.central_people:main",
        "broker": "simulator.embedded_broker:main",
        "lock": "simulator.lock_process:main",
    }
)
"""Name to `module:function`; the function takes the remaining arguments and returns the exit code."""

EXIT_USAGE: Final = 2


def main(argv: list[str]) -> int:
    """Run the command named by `argv[0]` with the rest of `argv`; modules of other commands are never imported."""
    if not argv or argv[0] not in COMMANDS:
        sys.stderr.write(f"usage: python -m simulator {{{'|'.join(COMMANDS)}}} …\n")
        return EXIT_USAGE
    module_name, _, function_name = COMMANDS[argv[0]].partition(":")
    command = cast("Callable[[list[str]], int]", getattr(importlib.import_module(module_name), function_name))
    return command(argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
