"""How commands end, in the numbers of sysexits.h where it has one."""

from __future__ import annotations

from typing import Final

OK: Final = 0
"""Done, or stopped as asked."""
FAILED: Final = 1
"""The command ran, and the answer is no: not whole, not reachable, not in order."""
USAGE: Final = 2
"""The command line is wrong."""
SOFTWARE: Final = 70
"""A bug, or a fault that only a restart may mend."""
CONFIG: Final = 78
"""The configuration cannot work; systemd does not restart (RestartPreventExitStatus=78)."""
