"""How much memory a process holds, read where Linux says it."""

from __future__ import annotations

from pathlib import Path


def resident_kib(pid: int | str = "self") -> int:
    """VmRSS of a process, in KiB.

    Raises:
        ProcessLookupError: the process is gone or is a zombie, which holds nothing.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ProcessLookupError(pid)
